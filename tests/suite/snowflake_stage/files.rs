//! The files on a stage: encrypted, described, kept when they are the same, at the price of few statements.

use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{OnStage, SEVERAL_BLOCKS, destination, forward, stages};
use crate::destinations::{Reader, commit_files, content, target};
use crate::support::folder::Folder;
use crate::support::snowflake::SnowflakeDouble;
use crate::support::snowflake::stage::Stage;
use crate::support::snowflake::stage_storage::Backend;
use crate::support::{fakesnow, s3};

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_length_and_none_are_used() {
    for key_bytes in [Some(16), Some(32), None] {
        for (stage, destination) in stages(key_bytes).await {
            let contents = [content(1, SEVERAL_BLOCKS), content(2, 8 << 20), content(3, 100), Vec::new()];
            commit_files(&destination, &target("a", "p"), &contents).await;
            let found: Vec<_> = stage.visible("p").await.into_values().collect();
            assert!(found == contents, "with a key of {key_bytes:?} bytes, a file has another content");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_says_what_is_in_it() {
    for (stage, destination) in stages(Some(16)).await {
        let contents = [content(1, 1000), content(2, SEVERAL_BLOCKS)];
        commit_files(&destination, &target("a", "p"), &contents).await;
        for (number, content) in (1..).zip(&contents) {
            let object =
                stage.backend.get(&format!("p/task_a_result_00{number}.parquet")).await.expect("stored");
            let digest = STANDARD.encode(Sha256::digest(content));
            match &stage.backend {
                // S3 wants to know it before the first block is sent.
                Backend::S3 { .. } if number == 2 => assert_eq!(object.digest, None),
                _ => assert_eq!(object.digest, Some(digest)),
            }
            if let Backend::Azure { .. } = &stage.backend {
                let md5 = STANDARD.encode(Md5::digest(&object.content));
                assert_eq!(object.metadata.get("content-md5"), Some(&md5));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_there_with_the_same_content_stays_as_it_is() {
    for (stage, destination) in stages(Some(16)).await {
        let own = target("a", "p");
        let contents = [content(1, 1000), content(2, SEVERAL_BLOCKS), content(3, 500)];
        let receipts = commit_files(&destination, &own, &contents).await;
        let before = stage.backend.list("p/").await;

        let again = commit_files(&destination, &own, &contents).await;
        assert_eq!(again, receipts);
        assert_eq!(stage.backend.list("p/").await, before, "nothing was stored anew");
        // A long file on S3 has no digest, and is read to know what is in it.
        if let Backend::S3 { .. } = stage.backend {
            assert_eq!(stage.count("GET"), 1);
        }
        assert_eq!(stage.backend.hidden().await, Vec::<String>::new());

        // The same lengths, and one other content.
        let changed = [contents[0].clone(), content(9, SEVERAL_BLOCKS), content(8, 500)];
        commit_files(&destination, &own, &changed).await;
        let after = stage.backend.list("p/").await;
        let same: Vec<bool> = before.iter().zip(&after).map(|(before, after)| before == after).collect();
        assert_eq!(same, [true, false, false]);
        let found: Vec<_> = stage.visible("p").await.into_values().collect();
        assert!(found == changed, "a file has another content");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stage_that_is_measured_is_a_stage_like_the_others() {
    let Backend::S3 { bucket, .. } = Backend::s3(forward).await else { panic!("it is S3") };
    let endpoint = format!("http://{}", s3::server_address());
    let double = SnowflakeDouble::start().await;
    let stage = Stage::on(&double, Backend::store(&endpoint, &bucket.name, ["key", "secret"]), Some(16));
    let destination = OnStage(destination(double.connection()));
    let contents = [content(1, 1000), content(2, SEVERAL_BLOCKS)];
    commit_files(&destination, &target("a", "p"), &contents).await;
    assert!(stage.visible("p").await.into_values().eq(contents), "a file has another content");
    // A login, PUT and LIST.
    assert_eq!(double.requests(), 3);
    assert!(double.busy() > Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_task_costs_few_statements() {
    for (stage, destination) in stages(Some(16)).await {
        commit_files(&destination, &target("a", "p"), &[content(1, 1000)]).await;
        let counts = ["PUT", "LIST", "REMOVE", "GET"].map(|verb| stage.count(verb));
        let expected = match &stage.backend {
            // Where blocks can be discarded, nobody has to look twice.
            Backend::S3 { .. } | Backend::Azure { .. } => [1, 1, 0, 0],
            Backend::Gcs { is_presigned: false, .. } => [1, 2, 0, 0],
            Backend::Gcs { is_presigned: true, .. } => [2, 2, 0, 0],
            Backend::Directory { .. } | Backend::Store { .. } => panic!("it is none of them"),
        };
        assert_eq!(counts, expected);
    }
}

/// What only the vendor's own reader can say: that it can read the files.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_decrypted_by_the_connector_of_snowflake() {
    let Some(python) = fakesnow::python_if_installed() else { return };
    let folder = Folder::new();
    for key_bytes in [16, 32] {
        let mut wanted = Vec::new();
        let mut expected = Vec::new();
        for (number, (stage, destination)) in stages(Some(key_bytes)).await.into_iter().enumerate() {
            let contents = [content(1, SEVERAL_BLOCKS), content(2, 4096), content(3, 13)];
            commit_files(&destination, &target("a", "p"), &contents).await;
            for (name, content) in stage.backend.names("p").await.into_iter().zip(contents) {
                let object = stage.backend.get(&format!("p/{name}")).await.expect("stored");
                let file = folder.path().join(format!("{number}-{name}"));
                let output = folder.path().join(format!("{number}-{name}.decrypted"));
                std::fs::write(&file, &object.content).unwrap();
                let description = object.description.expect("it is encrypted");
                wanted.push(json!({
                    "file": file, "output": output, "key": object.key, "iv": object.vector,
                    "master_key": stage.master_key(&description), "matdesc": description,
                }));
                expected.push((output, object.digest, content));
            }
        }
        let found = run_python(&python, &Value::from(wanted));
        for ((output, digest, content), found) in expected.iter().zip(found.as_array().unwrap()) {
            assert!(std::fs::read(output).unwrap() == *content, "{} has another content", output.display());
            if let Some(digest) = digest {
                assert_eq!(found["digest"], *digest);
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "tests start the programs that they compare with")]
fn run_python(python: &str, input: &Value) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/stage_reader.py");
    let mut reader = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start Python");
    serde_json::to_writer(reader.stdin.take().expect("it is piped"), input).expect("the script reads");
    let output = reader.wait_with_output().expect("wait for Python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("the script writes JSON")
}
