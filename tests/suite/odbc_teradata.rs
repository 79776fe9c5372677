//! The SQL that a Teradata would get, as a double of another server sees it through FreeTDS; and the job that
//! is written for the same columns. Whether a Teradata accepts either is seen only where `TERADATA_URL` names one:
//! `odbc_named::databases_that_the_environment_names`.

use data_exchange_agent::bulk::BulkSource;
use data_exchange_agent::config::{ConnectionString, OdbcSource, SourceConnection, SqlDialect};
use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::shutdown::Shutdown;
use data_exchange_agent::source::{Query, Source as _};

use crate::support::bulk::{script, settings, source};
use crate::support::extraction::{column, query, read};
use crate::support::folder::Folder;
use crate::support::odbc::{self, Driver, open};
use crate::support::tds::{Column, Framing, Script, TdsServer, utf16};

fn name(type_info: &[u8], framing: Framing) -> Column {
    let collation = [0x09, 0x04, 0xd0, 0x00, 0x00];
    Column::new("name", "nvarchar", &[type_info, &collation].concat(), framing)
}

/// A server that says of `name` what a test wants, as if it were a Teradata; `None` without the driver.
async fn teradata(name: Column) -> Option<(TdsServer, OdbcSource)> {
    Driver::FreeTds.library()?;
    let columns = vec![Column::int("id"), name];
    let rows = vec![vec![Some(7_i32.to_le_bytes().to_vec()), Some(utf16("größe"))]];
    let server = TdsServer::start(Script::of(columns, rows)).await;
    let configuration = odbc::tds(&server).expect("the driver is there");
    let configuration =
        OdbcSource { dialect: Some(SqlDialect::Teradata), reads_uncommitted_rows: true, ..configuration };
    Some((server, configuration))
}

#[tokio::test]
async fn rows_are_read_without_waiting_for_writers_when_that_is_wanted() {
    let twenty = || name(&[0xe7, 40, 0], Framing::Short);
    let Some((server, configuration)) = teradata(twenty()).await else {
        return;
    };
    let found = read(&open(configuration.clone()), &query("SELECT id, name FROM t"), 1).await;
    let found = found.unwrap_or_else(|fault| panic!("{}: {:?}", fault.chain(), fault.hint()));
    assert_eq!(column(&found, "name"), [Some("größe".to_owned())]);
    let chosen = Query { columns: Some(vec!["name".into()]), ..query("SELECT id, name FROM t") };
    // The double has other columns than were chosen, which comes after what counts here.
    let _others = read(&open(configuration.clone()), &chosen, 1).await;
    let batches = server.batches();
    for expected in
        ["LOCKING ROW FOR ACCESS SELECT id, name FROM t", "LOCKING ROW FOR ACCESS SELECT s.\"name\""]
    {
        assert!(batches.iter().any(|sql| sql.starts_with(expected)), "{expected}: {batches:?}");
    }

    let (server, configuration) = teradata(twenty()).await.expect("the driver is there");
    let waits = open(OdbcSource { reads_uncommitted_rows: false, ..configuration });
    read(&waits, &query("SELECT id, name FROM t"), 1).await.expect("one row");
    let batches = server.batches();
    assert!(!batches.iter().any(|sql| sql.contains("LOCKING")), "{batches:?}");
}

/// Keeps the script of the job, and exports one row.
const TBUILD: &str = r#"
    cp "$2" "$(dirname "$0")/script"
    pipe=$(sed -n "s/.*VARCHAR FileName = '\\(.*\\)',/\\1/p" "$2")
    printf '7,"=größe"\n' > "$pipe" || exit 14
    echo 'reader: Total Rows Exported:  1'
"#;

#[tokio::test]
async fn a_text_is_cast_to_the_length_that_the_job_says() {
    let Some((_server, configuration)) = teradata(name(&[0xe7, 40, 0], Framing::Short)).await else {
        return;
    };
    let folder = Folder::new();
    let mut connection = ConnectionString::new();
    connection.add("DBCName", "td.example.com");
    let connection = SourceConnection::Odbc(OdbcSource::new(connection, Some(SqlDialect::Teradata)));
    let program = script(folder.path(), "tbuild", TBUILD);
    let settings = settings("tpt", &program, "");
    let by_tpt: BulkSource = source(open(configuration), connection, settings, &Shutdown::new());
    let found = read(&by_tpt, &query("SELECT id, name FROM t"), 1).await;
    let found = found.unwrap_or_else(|fault| panic!("{}: {:?}", fault.chain(), fault.hint()));
    assert_eq!(column(&found, "id"), [Some("7".to_owned())]);
    assert_eq!(column(&found, "name"), [Some("größe".to_owned())]);
    let script = std::fs::read_to_string(folder.path().join("script")).expect("the double keeps it");
    for line in [
        // 60 characters; 20 and the mark. Three bytes for each.
        "DEFINE SCHEMA rows_of_the_task (c1 VARCHAR(180), c2 VARCHAR(63));",
        "LOCKING ROW FOR ACCESS SELECT TRIM(CAST(s.\"id\" AS VARCHAR(60) CHARACTER SET UNICODE)), \
         ''='' || CAST(s.\"name\" AS VARCHAR(20) CHARACTER SET UNICODE) FROM (SELECT id, name FROM t",
    ] {
        assert!(script.contains(line), "{line} is not in\n{script}");
    }
}

#[tokio::test]
async fn a_text_that_could_be_cut_is_refused_before_anything_runs() {
    for column in [
        // nvarchar(max), and varbinary(20).
        name(&[0xe7, 0xff, 0xff], Framing::Chunks),
        Column::new("name", "varbinary(20)", &[0xa5, 20, 0], Framing::Short),
    ] {
        let Some((_server, configuration)) = teradata(column.clone()).await else {
            return;
        };
        let fault = open(configuration).export_as_text(&query("SELECT id, name FROM t")).await;
        let fault = fault.err().unwrap_or_else(|| panic!("{column:?} can be cut"));
        assert_eq!(fault.kind(), FaultKind::Request, "{}", fault.chain());
        assert!(fault.chain().contains("`name`") && fault.hint().is_some(), "{}", fault.chain());
    }
}
