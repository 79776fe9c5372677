//! Programs that misbehave: each fails the attempt within limits, and leaves nothing visible and no
//! process.

use std::path::Path;
use std::time::Duration;

use data_exchange_agent::fault::{Fault, FaultKind};

use crate::support::bulk::{Described, attempt, by_script, connection, gone, settings, source};
use crate::support::folder::Folder;

const LONG: Duration = Duration::from_secs(600);

/// The program says how many rows it wrote.
const REPORTS: &str = "reports_rows = true";

/// The fault of a script, after which there is nothing to see and nobody left.
async fn fault_of(script: &str, reports_rows: bool, timeout: Duration) -> Fault {
    let folder = Folder::new();
    let keys = if reports_rows { REPORTS } else { "" };
    let source = by_script(folder.path(), script, keys, timeout);
    let (result, visible) = attempt(&source, "SELECT 1").await;
    let fault = match result {
        Ok(receipt) => panic!("{script}: not failed: {receipt:?}"),
        Err(fault) => fault,
    };
    assert_eq!(visible, [""; 0].map(Path::new), "{script}");
    drop(source);
    gone(&folder.path().join("export").display().to_string()).await;
    fault
}

#[tokio::test]
async fn a_program_that_does_what_it_should_is_one_file() {
    let folder = Folder::new();
    let script = "printf '1,a\\n2,\\n'; echo 'rows 2' >&2";
    let (result, visible) = attempt(&by_script(folder.path(), script, REPORTS, LONG), "SELECT 1").await;
    assert_eq!(result.expect("a receipt").rows, 2);
    assert_eq!(visible.len(), 1);
}

#[tokio::test]
async fn a_program_that_is_missing_is_named_with_the_way_to_get_it() {
    let settings = settings("tests", Path::new("/nowhere/export"), "kind = \"command\"");
    let source = source(Described, connection(), settings, &data_exchange_agent::shutdown::Shutdown::new());
    let (result, visible) = attempt(&source, "SELECT 1").await;
    let fault = result.unwrap_err();
    assert_eq!((fault.kind(), visible.len()), (FaultKind::Request, 0));
    assert!(fault.chain().contains("there is no program `/nowhere/export`"), "{}", fault.chain());
    assert!(fault.hint().unwrap().contains("[bulk_utility.tests]"));
}

#[tokio::test]
async fn a_program_that_dies_fails_the_attempt() {
    for (script, expected) in [
        ("printf '1,a\\n'; echo 'the disk is full' >&2; exit 5", "exit status: 5 and said: the disk is full"),
        ("printf '1,a\\n'; kill -KILL $$", "signal: 9 (SIGKILL) and said nothing"),
    ] {
        let fault = fault_of(script, false, LONG).await;
        assert!(fault.chain().contains(expected), "{}", fault.chain());
        assert_eq!(fault.kind(), FaultKind::Transient);
    }
}

#[tokio::test]
async fn half_a_row_at_the_end_fails_the_attempt() {
    let fault = fault_of("printf '1,a\\n2,b\\n3,sec'", false, LONG).await;
    assert_eq!(fault.kind(), FaultKind::Data);
    assert!(
        fault.chain().contains("row 3, column `words`: the output ends in the middle"),
        "{}",
        fault.chain()
    );
}

#[tokio::test]
async fn a_lie_about_the_count_fails_the_attempt() {
    for (script, expected) in [
        ("printf '1,a\\n'; echo 'rows 2' >&2", "it says that it wrote 2, and 1 arrived"),
        ("printf '1,a\\n2,b\\n'; echo 'rows 1' >&2", "it says that it wrote 1, and 2 arrived"),
        ("printf '1,a\\n'; echo 'done' >&2", "do not end with the line `rows N`"),
    ] {
        let fault = fault_of(script, true, LONG).await;
        assert_eq!(fault.kind(), FaultKind::Data);
        assert!(fault.chain().contains(expected), "{}", fault.chain());
    }
}

#[tokio::test]
async fn a_program_that_hangs_or_spins_is_ended_by_the_timeout() {
    for script in [
        "printf '1,a\\n'; sleep 1000",
        "trap '' TERM; printf '1,a\\n'; while :; do sleep 1; done",
        "while :; do echo 1,a; done",
        "while :; do echo 'nobody reads this' >&2; done",
        "exec 1>&-; sleep 1000",
    ] {
        let fault = fault_of(script, false, Duration::from_secs(2)).await;
        assert_eq!(fault.kind(), FaultKind::Transient, "{script}");
        assert!(fault.chain().contains("did not end within 2s"), "{script}: {}", fault.chain());
    }
}

#[tokio::test]
async fn a_row_that_never_ends_does_not_fill_the_memory() {
    let fault = fault_of("while :; do printf 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'; done | head -c 100000000", false, LONG).await;
    assert_eq!(fault.kind(), FaultKind::Data);
    assert!(
        fault.chain().contains("row 1, column `id`: the row is longer than 67108864 bytes"),
        "{}",
        fault.chain()
    );
    assert!(fault.hint().unwrap().contains("longest_row"));
}

#[tokio::test]
async fn a_flood_of_messages_is_no_hindrance() {
    let folder = Folder::new();
    let script = "i=0; while [ $i -lt 50000 ]; do echo 'a message that nobody reads, and that is long' >&2; i=$((i+1)); done; echo 1,a";
    let (result, _) = attempt(&by_script(folder.path(), script, "", LONG), "SELECT 1").await;
    assert_eq!(result.expect("a receipt").rows, 1);
}

#[tokio::test]
async fn a_child_that_keeps_the_output_open_fails_the_attempt_and_is_ended() {
    let folder = Folder::new();
    let child = folder.path().join("child").display().to_string();
    let script = format!("printf '1,a\\n'; sh -c 'sleep 1000; : {child}' & exit 0");
    let fault = fault_of(&script, false, LONG).await;
    assert!(fault.chain().contains("keeps its output open"), "{}", fault.chain());
    gone(&child).await;
}

#[tokio::test]
async fn rows_of_another_shape_or_encoding_fail_the_attempt() {
    for (script, expected) in [
        ("printf '1\\n'", "row 1, column `id`: the row ends after 1 of 2 fields"),
        ("printf '1,a,b\\n'", "row 1 after its last column `words`"),
        ("printf 'secret,a\\n'", "row 1, column `id`: an integer was expected"),
        ("printf '1,\\377\\n'", "row 1, column `words`: a text is not valid UTF-8"),
    ] {
        let fault = fault_of(script, false, LONG).await;
        assert_eq!(fault.kind(), FaultKind::Data, "{script}");
        assert!(fault.chain().contains(expected) && !fault.chain().contains("secret"), "{}", fault.chain());
    }
}
