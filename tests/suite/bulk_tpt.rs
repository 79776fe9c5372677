//! Teradata Parallel Transporter, with a double in the place of `tbuild`: the script that it gets, and
//! what is made of its output. Whether a Teradata accepts the script is seen only where `TERADATA_URL` names one
//! and `tbuild` is there: `odbc_named::databases_that_the_environment_names`.

use data_exchange_agent::bulk::BulkSource;
use data_exchange_agent::config::{ConnectionString, OdbcSource, SourceConnection, SqlDialect};
use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::shutdown::Shutdown;

use crate::support::bulk::{Described, attempt, script, settings, source};
use crate::support::extraction::{column, query, read};
use crate::support::folder::Folder;

/// Does what `tbuild -f script -r folder name` does with the script of the agent: finds the pipe, writes
/// quoted rows, and says how many there were. Keeps the script for the test.
const TBUILD: &str = r#"
    [ "$1" = -f ] && [ "$3" = -r ] && [ -d "$4" ] || exit 12
    [ "$(stat -c %a "$2")" = 600 ] || exit 13
    cp "$2" "$(dirname "$0")/script"
    pipe=$(sed -n "s/.*VARCHAR FileName = '\\(.*\\)',/\\1/p" "$2")
    printf '1,"a ""b"", c"\n,\n3,""\n' > "$pipe" || exit 14
    echo 'reader: Total Rows Exported:  3'
"#;

fn by_tpt(folder: &Folder, text: &str) -> BulkSource {
    let mut connection = ConnectionString::new();
    for (name, value) in [("DBCName", "td.example.com"), ("UID", "reader"), ("PWD", "it's hunter2")] {
        connection.add(name, value);
    }
    let connection = SourceConnection::Odbc(OdbcSource::new(connection, Some(SqlDialect::Teradata)));
    let program = script(folder.path(), "tbuild", text);
    let settings = settings("tpt", &program, "");
    source(Described, connection, settings, &Shutdown::new())
}

#[tokio::test]
async fn the_script_is_private_and_its_rows_arrive() {
    let folder = Folder::new();
    let found = read(&by_tpt(&folder, TBUILD), &query("SELECT 'x' AS a"), 1).await;
    let found = found.unwrap_or_else(|fault| panic!("{}: {:?}", fault.chain(), fault.hint()));
    assert_eq!(column(&found, "id"), [Some("1".into()), None, Some("3".into())]);
    assert_eq!(column(&found, "words"), [Some("a \"b\", c".into()), None, Some(String::new())]);
    let script = std::fs::read_to_string(folder.path().join("script")).unwrap();
    for line in [
        "DEFINE SCHEMA rows_of_the_task (c1 VARCHAR(180), c2 VARCHAR(63));",
        "VARCHAR TdpId = 'td.example.com',",
        "VARCHAR UserName = 'reader',",
        "VARCHAR UserPassword = 'it''s hunter2',",
        "VARCHAR SelectStmt = 'SELECT ''x'' AS a'",
        "VARCHAR Format = 'Delimited',",
    ] {
        assert!(script.contains(line), "{line} is not in\n{script}");
    }
}

#[tokio::test]
async fn a_refused_login_and_a_lie_fail_the_attempt() {
    for (text, kind, expected) in [
        (
            "echo \"reader: TPT10508: RDBMS error 8017: it's hunter2 is invalid\"; exit 12",
            FaultKind::Credentials,
            "RDBMS error 8017",
        ),
        ("echo 'reader: Total Rows Exported:  7'", FaultKind::Data, "it says that it wrote 7, and 0 arrived"),
        ("true", FaultKind::Data, "does not say how many"),
    ] {
        let folder = Folder::new();
        let (result, visible) = attempt(&by_tpt(&folder, text), "SELECT 1").await;
        let fault = result.unwrap_err();
        assert_eq!((fault.kind(), visible.len()), (kind, 0), "{}", fault.chain());
        assert!(fault.chain().contains(expected) && !fault.chain().contains("hunter2"), "{}", fault.chain());
    }
}
