//! `extract` and `demo`: the same engine without a queue, from a terminal.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use url::Url;

use crate::support::agent::{Finished, Place, files_below};
use crate::support::foreign_reader;
use crate::support::postgres::{self, Database};
use crate::support::s3::{Bucket, server_address};

/// Rows of the table `numbers`.
const ROWS: u64 = 30_000;

async fn create_numbers(database: &Database) {
    let sql = format!(
        "CREATE TABLE numbers AS SELECT id, md5(id::text) AS text FROM generate_series(1::bigint, {ROWS}) AS id;
         ANALYZE numbers"
    );
    database.execute(&sql).await;
}

fn receipt(finished: &Finished) -> Value {
    assert_eq!(finished.code, Some(0), "{finished:?}");
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

fn assert_numbers(files: &[PathBuf], rows: u64) {
    if foreign_reader::is_installed() {
        let sql = "SELECT count(*), count(DISTINCT id), sum(id), \
                   count(CASE WHEN text = md5(CAST(id AS varchar)) THEN 1 END) FROM result";
        let expected = [rows, rows, rows * (rows + 1) / 2, rows].map(|number| Some(number.to_string()));
        assert_eq!(foreign_reader::query(files, sql).rows, [expected]);
    }
}

#[tokio::test]
async fn extract_writes_a_table_to_a_directory() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    create_numbers(&database).await;
    let place = Place::new();
    let directory = place.path().join("it's a directory");
    let to = Url::from_file_path(&directory).unwrap().to_string();
    let arguments = [
        "extract",
        "--source",
        &database.url(),
        "--table",
        "numbers",
        "--to",
        &to,
        "--slices",
        "2",
        "--json",
    ];
    let finished = place.run(&arguments).await;
    let receipt = receipt(&finished);
    assert_eq!((&receipt["rows"], &receipt["slices"]), (&ROWS.into(), &2.into()));
    let files = foreign_reader::paths(&directory, &files_below(&directory));
    assert_eq!(files.len(), receipt["files"].as_array().unwrap().len());
    assert_numbers(&files, ROWS);
    assert_eq!(finished.stderr, "", "nothing to say, and no bar where there is no terminal");

    // The same id replaces its own files, whatever their number.
    let again = |rows: &'static str| {
        let query = format!("SELECT * FROM numbers WHERE id <= {rows}");
        let arguments = [
            "extract",
            "--source",
            &database.url(),
            "--query",
            &query,
            "--to",
            "local",
            "--path",
            "again",
            "--id",
            "one",
            "--max-file-size",
            "65536",
            "--config",
        ]
        .map(str::to_owned);
        let file = place.configuration();
        let place = &place;
        async move {
            let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            arguments.push(file.to_str().unwrap());
            place.run(&arguments).await
        }
    };
    let finished = again("30000").await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout.contains("30,000 rows"), "{finished:?}");
    let first = files_below(&place.output());
    let finished = again("10").await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(files_below(&place.output()), ["again/task_one_result_001.parquet"]);
    assert!(first.len() > 1, "{first:?}");
    assert_numbers(&foreign_reader::paths(&place.output(), &files_below(&place.output())), 10);
}

#[tokio::test]
async fn extract_writes_a_query_to_s3() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    create_numbers(&database).await;
    let bucket = Bucket::new().await;
    let place = Place::new();
    let to = format!("s3://{}/some/prefix", bucket.name);
    let source = database.url();
    let arguments = [
        "extract",
        "--source",
        &source,
        "--query",
        "SELECT * FROM numbers",
        "--slice-column",
        "id",
        "--slices",
        "2",
        "--to",
        &to,
        "--compression",
        "snappy",
        "--json",
    ];
    let endpoint = format!("http://{}", server_address());
    let environment = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", "writer"),
        ("AWS_SECRET_ACCESS_KEY", "planted-store-secret"),
        ("AWS_REGION", "us-east-1"),
    ];
    let finished = place.run_with(&arguments, &environment).await;
    let receipt = receipt(&finished);
    assert_eq!(receipt["rows"], ROWS);
    let objects = bucket.objects("some/prefix/").await;
    assert_eq!(objects.len(), receipt["files"].as_array().unwrap().len());
    assert_eq!(bucket.unfinished_uploads().await, Vec::<String>::new());
    let mut files = Vec::new();
    for (key, content) in &objects {
        let path = place.path().join(key.rsplit('/').next().unwrap());
        fs::write(&path, content).unwrap();
        files.push(path);
    }
    assert_numbers(&files, ROWS);
}

#[tokio::test]
async fn extract_says_what_is_wrong_and_how_to_go_on() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let place = Place::new();
    let source = database.url();
    let to = Url::from_file_path(place.output()).unwrap().to_string();
    for (arguments, word) in [
        (vec!["--source", &source, "--to", &to], "--query"),
        (vec!["--source", &source, "--to", &to, "--query", "SELECT 1", "--table", "t"], "--table"),
        (vec!["--source", &source, "--to", &to, "--table", "t", "--slices", "0"], "--slices"),
        (vec!["--source", "sales", "--to", &to, "--table", "t"], "`sales`"),
        (vec!["--source", "oracle://host/x", "--to", &to, "--table", "t"], "oracle"),
        (vec!["--source", &source, "--to", "ftp://host/x", "--table", "t"], "ftp"),
        (vec!["--source", &source, "--to", &to, "--table", "t", "--method", "natve"], "natve"),
        (
            vec![
                "--source",
                &source,
                "--to",
                &to,
                "--table",
                "t",
                "--format",
                "csv",
                "--compression",
                "snappy",
            ],
            "snappy",
        ),
    ] {
        let finished = place.run(&[&["extract"], arguments.as_slice()].concat()).await;
        assert_eq!(finished.code, Some(2), "{arguments:?}: {finished:?}");
        assert!(finished.stderr.contains(word), "{arguments:?}: {finished:?}");
    }
    for (read, word) in [
        (["--table", "not_there"], "not_there"),
        (["--query", "DELETE FROM t"], "query"),
        (["--query", "SELECT nothing FROM nowhere"], "nowhere"),
    ] {
        let finished = place.run(&["extract", "--source", &source, "--to", &to, read[0], read[1]]).await;
        assert_eq!(finished.code, Some(1), "{read:?}: {finished:?}");
        assert!(finished.stderr.starts_with("error: "), "{read:?}: {finished:?}");
        assert!(finished.stderr.contains(word), "{read:?}: {finished:?}");
        assert!(finished.stderr.contains(". "), "a hint follows: {finished:?}");
    }
    let nobody = "postgresql://user:planted-password@127.0.0.1:1/d";
    let finished = place.run(&["extract", "--source", nobody, "--to", &to, "--table", "t"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(!finished.stderr.contains("planted-password"), "{finished:?}");
    assert_eq!(files_below(&place.output()), Vec::<String>::new());
}

#[tokio::test]
async fn the_demo_needs_nothing_and_writes_what_it_read() {
    let place = Place::new();
    let directory = place.path().join("demo");
    let arguments = ["demo", "--rows", "20000", "--directory", directory.to_str().unwrap()];
    let finished = place.run(&arguments).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout.contains("20,000 rows"), "{finished:?}");
    let output = directory.join("output");
    let files = foreign_reader::paths(&output, &files_below(&output));
    assert_eq!(files.len(), 2, "{files:?}");
    if foreign_reader::is_installed() {
        let found = foreign_reader::query(&files, "SELECT count(*), sum(id), count(DISTINCT id) FROM result");
        let expected = ["20000", "200010000", "20000"].map(|number| Some(number.to_owned()));
        assert_eq!(found.rows, [expected]);
    }
    let finished = place.run(&arguments).await;
    assert_eq!(finished.code, Some(1), "the directory is there already: {finished:?}");
    assert!(finished.stderr.contains("--directory"), "{finished:?}");
}
