//! The user's own program: what it is told, and what it may write.

use std::time::Duration;

use data_exchange_agent::fault::FaultKind;

use crate::support::bulk::by_script;
use crate::support::extraction::{column, query, read, transfer};
use crate::support::folder::Folder;

const LONG: Duration = Duration::from_secs(600);

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[tokio::test]
async fn placeholders_become_whole_arguments_and_no_shell_reads_them() {
    let folder = Folder::new();
    let script = r#"for word in "$@"; do printf '%s,"%s"\n' "$#" "$word"; done"#;
    let arguments = r#"arguments = "--sql={query} {host}:{port} {database} {username} '{no name}'""#;
    let source = by_script(folder.path(), script, arguments, LONG);
    let sql = "SELECT 1; rm -rf $HOME `id` {host} ' *";
    let found = transfer(&source, &query(sql), 1).await.expect("rows").rows;
    assert_eq!(column(&found, "id"), vec![some("5"); 5]);
    assert_eq!(
        column(&found, "words"),
        [
            some(&format!("--sql={sql}")),
            some("example.com:1"),
            some("db"),
            some("someone"),
            some("{no name}")
        ]
    );
}

#[tokio::test]
async fn the_password_is_in_a_variable_and_masked_in_messages() {
    let folder = Folder::new();
    let script = r#"printf '1,"%s"\n' "$EXPORT_PASSWORD""#;
    let found = read(&by_script(folder.path(), script, "", LONG), &query("SELECT 1"), 1).await.unwrap();
    assert_eq!(column(&found, "words"), [some("hunter2")]);
    let script = r#"echo "cannot log in with $EXPORT_PASSWORD" >&2; exit 4"#;
    let fault = read(&by_script(folder.path(), script, "", LONG), &query("SELECT 1"), 1).await.unwrap_err();
    assert_eq!(
        fault.chain(),
        "export with tests: it ended with exit status: 4 and said: cannot log in with ***"
    );
}

#[tokio::test]
async fn it_may_write_a_file_which_is_a_pipe() {
    let folder = Folder::new();
    let keys = "arguments = \"{output}\"\nformat = \"delimited\"\ndelimiter = \"|\"\nnull = \"<null>\"\n\
        reports_rows = true";
    let script =
        r#"i=0; while [ $i -lt 5000 ]; do echo "$i|<null>"; i=$((i+1)); done > "$1"; echo "rows 5000""#;
    let found = read(&by_script(folder.path(), script, keys, LONG), &query("SELECT 1"), 1).await.unwrap();
    assert_eq!((found.num_rows(), found.column(1).null_count()), (5000, 5000));
}

#[tokio::test]
async fn a_header_has_to_have_the_names_of_the_columns() {
    let folder = Folder::new();
    let keys = "delimiter = \";\"\nheader = true";
    let source = by_script(folder.path(), r#"printf 'id;words\n7;"a;""b"\n'"#, keys, LONG);
    let found = read(&source, &query("SELECT 1"), 1).await.unwrap();
    assert_eq!(column(&found, "words"), [some("a;\"b")]);
    let source = by_script(folder.path(), r"printf 'words;id\n'", keys, LONG);
    let fault = read(&source, &query("SELECT 1"), 1).await.unwrap_err();
    assert_eq!(fault.kind(), FaultKind::Data);
    assert!(fault.chain().contains("the names of the columns"), "{}", fault.chain());
}
