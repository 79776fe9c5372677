//! What goes wrong between SQL Server and a batch: errors in the middle, lies, silence, cancelling.

use std::time::Duration;

use data_exchange_agent::config::SqlServerSource;
use data_exchange_agent::fault::{Fault, FaultKind};
use data_exchange_agent::source::{BatchLimits, Source};

use crate::support::agent::eventually;
use crate::support::extraction::{column, count, limits, query, read, refused, table};
use crate::support::sqlserver::{RealServer, open};
use crate::support::tds::{Column, End, Framing, Rows, Script, Seen, TdsServer};

fn numbers(rows: i32) -> (Vec<Column>, Rows) {
    let rows = (0..rows).map(|number| vec![Some(number.to_le_bytes().to_vec())]).collect();
    (vec![Column::int("number")], rows)
}

fn script(end: End) -> Script {
    let (columns, rows) = numbers(100);
    Script { end, ..Script::of(columns, rows) }
}

async fn fails(script: Script) -> Fault {
    let server = TdsServer::start(script).await;
    let result = read(&open(server.configuration()), &query("SELECT number FROM t"), 1).await;
    result.expect_err("the result is not whole")
}

#[tokio::test]
async fn an_error_in_the_middle_of_a_result_fails_with_all_that_the_server_says() {
    let error = |number, class, text| End::Error { number, state: 45, class, text, line: 3 };
    let deadlock = "Transaction (Process ID 51) was deadlocked on lock resources.";
    for (end, kind, hint) in [
        (error(1205, 13, deadlock), FaultKind::Transient, "snapshot isolation"),
        (error(8134, 16, "Divide by zero error encountered."), FaultKind::Request, "TRY_CAST"),
        (error(596, 21, "Cannot continue the execution."), FaultKind::Transient, ""),
        (error(701, 17, "There is insufficient system memory."), FaultKind::Throttled, ""),
        (error(229, 14, "The SELECT permission was denied."), FaultKind::Permission, "SELECT"),
    ] {
        let End::Error { number, class, .. } = end else { panic!("an error") };
        let fault = fails(script(end)).await;
        assert_eq!(fault.kind(), kind, "{}", fault.chain());
        let expected = format!("error {number}, state 45, class {class}, line 3");
        assert!(fault.chain().contains(&expected), "{}", fault.chain());
        assert!(fault.hint().unwrap_or_default().contains(hint), "{number}: {:?}", fault.hint());
    }
}

#[tokio::test]
async fn an_error_never_quotes_a_value() {
    let text = "Conversion failed when converting the varchar value 'secret' to data type int.";
    let fault = fails(script(End::Error { number: 245, state: 1, class: 16, text, line: 1 })).await;
    assert!(!fault.chain().contains("secret"), "{}", fault.chain());
    assert!(fault.chain().contains("a conversion failed"), "{}", fault.chain());
}

#[tokio::test]
async fn a_count_that_differs_fails() {
    let fault = fails(script(End::Done { surplus: 1 })).await;
    assert!(fault.chain().contains("100 were received and the server reports 101"), "{}", fault.chain());
    assert_eq!(fault.kind(), FaultKind::Transient, "what stands between can have done it");
}

#[tokio::test]
async fn a_second_result_fails() {
    let fault = fails(script(End::SecondResult)).await;
    assert_eq!(fault.kind(), FaultKind::Request);
    assert!(fault.chain().contains("more than one result"), "{}", fault.chain());
}

#[tokio::test]
async fn a_connection_that_ends_is_tried_again_later() {
    let fault = fails(script(End::Cut)).await;
    assert_eq!(fault.kind(), FaultKind::Transient);
}

#[tokio::test]
async fn hostile_bytes_are_refused_and_waited_for_in_vain() {
    for (name, bytes) in [
        ("an unknown token", vec![0x42; 32]),
        ("a message that ends in the middle of a row", vec![0xd1, 4, 1, 2]),
        ("a message without an end", vec![0xd1, 4, 1, 2, 3, 4]),
        ("a wrong length of a number", vec![0xd1, 3, 1, 2, 3, 0xd1]),
        ("a session state of 4 GiB", vec![0xe4, 0xff, 0xff, 0xff, 0xff]),
        ("a value of a procedure", vec![0xac, 0, 0, 0, 0, 0]),
    ] {
        let fault = fails(script(End::Bytes(bytes))).await;
        assert_eq!(fault.kind(), FaultKind::Transient, "{name}: {}", fault.chain());
        assert!(fault.hint().unwrap_or_default().contains("`host` and `port`"), "{name}: {:?}", fault.hint());
    }
    // Chunks of 4 GiB each.
    let columns = vec![Column::new("value", "varbinary(max)", &[0xa5, 0xff, 0xff], Framing::Chunks)];
    let mut bytes = vec![0xd1];
    bytes.extend((u64::MAX - 1).to_le_bytes());
    bytes.extend(u32::MAX.to_le_bytes());
    bytes.extend([0; 64]);
    let fault = fails(Script { end: End::Bytes(bytes), ..Script::of(columns, Vec::new()) }).await;
    assert_eq!(fault.kind(), FaultKind::Data, "{}", fault.chain());
}

#[tokio::test]
async fn dropping_a_stream_sends_an_attention_and_closes_the_connection() {
    let server = TdsServer::start(script(End::Hang)).await;
    let source = open(server.configuration());
    let extraction = source.prepare(&query("SELECT number FROM t"), count(1)).await.unwrap();
    let ten = BatchLimits { rows: count(10), ..limits() };
    let mut stream = extraction.open(0, ten).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().num_rows(), 10);
    drop(stream);
    eventually("the attention", async || server.seen().contains(&Seen::Attention).then_some(())).await;
    eventually("the end of the session", async || {
        (server.seen().last() == Some(&Seen::Closed)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_cancelled() {
    let server = TdsServer::start(script(End::Hang)).await;
    let limit = Duration::from_secs(2);
    let configuration = SqlServerSource { statement_timeout: Some(limit), ..server.configuration() };
    let fault = read(&open(configuration), &query("SELECT number FROM t"), 1).await.expect_err("it hangs");
    assert_eq!(fault.kind(), FaultKind::Transient);
    assert!(fault.hint().unwrap_or_default().contains("statement_timeout"), "{:?}", fault.hint());
    // On a machine that is slow enough the time is over before the statement is sent.
    if server.batches().iter().any(|sql| sql == "SELECT number FROM t") {
        eventually("the attention", async || server.seen().contains(&Seen::Attention).then_some(())).await;
    }
}

/// `work`, which has to end by itself.
async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    let patience = Duration::from_secs(120);
    tokio::time::timeout(patience, work).await.unwrap_or_else(|_elapsed| panic!("{what} never ends"))
}

#[tokio::test]
async fn the_time_of_a_statement_begins_with_its_preparation() {
    let waits = ["sp_describe", "TOP (0)", "sys.databases", "MIN(", "TABLOCK", "FROM [t] AS q WHERE"];
    let fails = waits.map(async |word| {
        let silent = Script {
            silent_on: Some(word),
            bounds: Some(("0".into(), "99".into())),
            ..script(End::Done { surplus: 0 })
        };
        let server = TdsServer::start(silent).await;
        let statement_timeout = Some(Duration::from_secs(2));
        let configuration = SqlServerSource { statement_timeout, ..server.configuration() };
        let result = in_time(word, read(&open(configuration), &table("t"), 3)).await;
        let fault = result.expect_err("a server that never answers");
        assert_eq!(fault.kind(), FaultKind::Transient, "{word}: {}", fault.chain());
        assert!(fault.hint().unwrap_or_default().contains("statement_timeout"), "{word}: {:?}", fault.hint());
        if server.batches().iter().any(|sql| sql.contains(word)) {
            eventually("the attention", async || server.seen().contains(&Seen::Attention).then_some(()))
                .await;
        }
    });
    futures::future::join_all(fails).await;
}

#[tokio::test]
async fn what_reads_nothing_is_answered_within_the_time_to_connect() {
    for word in ["SELECT 1", "SET QUOTED_IDENTIFIER"] {
        let silent = Script { silent_on: Some(word), ..script(End::Done { surplus: 0 }) };
        let server = TdsServer::start(silent).await;
        let connect_timeout = Duration::from_secs(1);
        let source = open(SqlServerSource { connect_timeout, ..server.configuration() });
        let fault = match word {
            "SELECT 1" => in_time(word, source.check()).await.expect_err("no answer"),
            _ => in_time(word, refused(&source, &table("t"), 1)).await,
        };
        assert_eq!(fault.kind(), FaultKind::Transient, "{word}: {}", fault.chain());
        assert!(fault.hint().unwrap_or_default().contains("connect_timeout"), "{word}: {:?}", fault.hint());
    }
}

#[tokio::test]
async fn batches_of_nulls_stay_within_their_bytes() {
    let columns: Vec<Column> = (0..200).map(|number| Column::nvarchar(&format!("c{number}"))).collect();
    let rows = vec![vec![None; columns.len()]];
    let nulls = Script { null_bitmap: true, repeat: 8_000, ..Script::of(columns, rows) };
    let server = TdsServer::start(nulls).await;
    let source = open(server.configuration());
    let extraction = source.prepare(&query("SELECT * FROM t"), count(1)).await.unwrap();
    // An offset of four bytes for each value; a row of NULLs has 26 bytes on the wire.
    let (bytes, row_bytes) = (64 << 10, 4 * 200);
    let limits = BatchLimits { rows: count(1_000_000), bytes: count(bytes) };
    let mut stream = extraction.open(0, limits).await.unwrap();
    let mut rows = 0;
    while let Some(batch) = stream.next().await.unwrap() {
        assert!(batch.num_rows() <= bytes / row_bytes + 1, "{} rows", batch.num_rows());
        rows += batch.num_rows();
    }
    assert_eq!(rows, 8_000);
}

#[tokio::test]
async fn a_row_that_is_longer_than_the_connection_allows_fails_with_the_setting() {
    let types: [(&str, &[u8], Framing); 2] = [
        ("varbinary(max)", &[0xa5, 0xff, 0xff], Framing::Chunks),
        ("image", &[0x22, 0xff, 0xff, 0xff, 0x7f], Framing::Pointer),
    ];
    for (name, type_info, framing) in types {
        for (length, is_short) in [(60_000, true), (70_000, false), (3_000_000, false)] {
            let column = Column::new("value", name, type_info, framing);
            let server = TdsServer::start(Script::of(vec![column], vec![vec![Some(vec![7; length])]])).await;
            let configuration = SqlServerSource { longest_row: count(64 << 10), ..server.configuration() };
            match read(&open(configuration), &query("SELECT value FROM t"), 1).await {
                Ok(found) => assert!(is_short && found.num_rows() == 1, "{name} of {length}"),
                Err(fault) => {
                    assert!(!is_short, "{name} of {length}: {}", fault.chain());
                    assert_eq!(fault.kind(), FaultKind::Data);
                    assert!(fault.chain().contains("65536"), "{}", fault.chain());
                    assert!(fault.hint().unwrap_or_default().contains("longest_row"), "{:?}", fault.hint());
                }
            }
        }
    }
}

#[tokio::test]
async fn a_statement_that_the_server_refuses_is_told_and_its_text_is_kept_out() {
    for (number, class, kind) in
        [(208, 16, FaultKind::Request), (229, 14, FaultKind::Permission), (102, 15, FaultKind::Request)]
    {
        let refusing =
            Script { refuse: Some(("sp_describe", number, class)), ..script(End::Done { surplus: 0 }) };
        let server = TdsServer::start(refusing).await;
        let fault = refused(&open(server.configuration()), &query("SELECT number FROM t"), 1).await;
        assert_eq!(fault.kind(), kind, "{}", fault.chain());
        assert!(fault.hint().is_some(), "{}", fault.chain());
        let quotes = fault.chain().contains("secret");
        assert_eq!(quotes, matches!(number, 208 | 229), "{}", fault.chain());
    }
}

#[tokio::test]
async fn what_is_no_sql_server_is_told_apart() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = TdsServer::start(script(End::Cut)).await;
    let configuration = SqlServerSource { port, ..server.configuration() };
    let other = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut socket, b"SSH-2.0-OpenSSH_9.2\r\n").await.unwrap();
        socket
    };
    let (_socket, result) = tokio::join!(other, async { open(configuration).check().await });
    let fault = result.expect_err("no SQL Server");
    assert!(fault.hint().unwrap_or_default().contains("`host` and `port`"), "{:?}", fault.hint());
}

#[tokio::test]
async fn long_results_come_in_batches_and_long_values_in_one_piece() {
    let (columns, rows) = numbers(1000);
    let script = Script { repeat: 50, ..Script::of(columns, rows) };
    let server = TdsServer::start(script).await;
    let found = read(&open(server.configuration()), &query("SELECT number FROM t"), 1).await.unwrap();
    assert_eq!(found.num_rows(), 50_000);

    let long: Vec<u8> = (0..3_000_000_u32).map(|index| (index % 251) as u8).collect();
    let columns = vec![Column::new("value", "varbinary(max)", &[0xa5, 0xff, 0xff], Framing::Chunks)];
    let server = TdsServer::start(Script::of(columns, vec![vec![Some(long.clone())], vec![None]])).await;
    let found = read(&open(server.configuration()), &query("SELECT value FROM t"), 1).await.unwrap();
    let values: &arrow::array::BinaryArray = arrow::array::AsArray::as_binary(found.column(0));
    assert_eq!(values.value(0), long);
}

#[tokio::test]
async fn a_real_server_tells_what_is_wrong_and_lives_on_when_a_stream_is_dropped() {
    let Some(server) = RealServer::if_named().await else { return };
    let source = open(server.configuration);
    for sql in
        ["SELECT a FROM no_such_table_anywhere", "SELECT no_such_column FROM sys.objects", "SELECT FROM"]
    {
        let fault = refused(&source, &query(sql), 1).await;
        assert_eq!(fault.kind(), FaultKind::Request, "{sql}: {}", fault.chain());
    }
    let endless = "SELECT CAST(a.object_id AS int) AS id FROM sys.all_objects AS a \
                   CROSS JOIN sys.all_objects AS b CROSS JOIN sys.all_objects AS c";
    let extraction = source.prepare(&query(endless), count(1)).await.unwrap();
    let mut stream = extraction.open(0, limits()).await.unwrap();
    assert!(stream.next().await.unwrap().is_some());
    drop(stream);
    let found = read(&source, &query("SELECT CAST(1 AS int) AS n"), 1).await.unwrap();
    assert_eq!(column(&found, "n"), [Some("1".to_owned())]);
}
