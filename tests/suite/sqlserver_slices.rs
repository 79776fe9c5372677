//! Several connections that read one result: every row once, and all of one moment.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_exchange_agent::config::{SqlServerConsistency, SqlServerSource};
use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::source::{Query, Source};
use data_exchange_agent::task::Read;

use crate::support::agent::eventually;
use crate::support::extraction::{column, count, query, read, read_slice, refused, table};
use crate::support::sqlserver::{RealServer, open};
use crate::support::tds::{Column, Framing, Script, Seen, TdsServer};

fn script() -> Script {
    let columns = vec![Column::int("id"), Column::nvarchar("name")];
    Script { bounds: Some(("1".into(), "100".into())), ..Script::of(columns, Vec::new()) }
}

fn by_id(read: Read) -> Query {
    Query { read, columns: None, slice_column: Some("id".into()), as_texts: false }
}

/// What the slices were told to read.
fn selects(server: &TdsServer) -> Vec<String> {
    let is_read = |sql: &String| sql.starts_with("SELECT q.[") && !sql.contains("TOP (0)");
    server.batches().into_iter().filter(is_read).collect()
}

#[tokio::test]
async fn a_table_is_divided_by_its_key_while_nobody_can_change_it() {
    let server = TdsServer::start(script()).await;
    let source = open(server.configuration());
    let extraction = source.prepare(&table("dbo.t"), count(3)).await.unwrap();
    assert_eq!(extraction.slice_count(), 3);
    for slice in 0..3 {
        extraction.open(slice, crate::support::extraction::limits()).await.unwrap();
    }
    let read: BTreeSet<String> = selects(&server).into_iter().collect();
    let columns = "SELECT q.[id] AS [id], q.[name] AS [name] FROM [dbo].[t] AS q WHERE ";
    let expected = ["q.[id] < 34 OR q.[id] IS NULL", "q.[id] >= 34 AND q.[id] < 67", "q.[id] >= 67"];
    assert_eq!(read, expected.iter().map(|condition| format!("{columns}{condition}")).collect());

    let batches = server.batches();
    let place = |word: &str| batches.iter().position(|sql| sql.contains(word)).expect(word);
    let last = |word: &str| batches.iter().rposition(|sql| sql.contains(word)).expect(word);
    let touch = "SET LOCK_TIMEOUT 2000; SELECT TOP (1) 1 FROM [dbo].[t]; SET LOCK_TIMEOUT -1;";
    let snapshots = batches.iter().filter(|sql| sql.contains("ISOLATION LEVEL SNAPSHOT")).count();
    assert_eq!(snapshots, 3);
    let touches: Vec<usize> = (0..batches.len()).filter(|index| batches[*index] == touch).collect();
    assert_eq!(touches.len(), 3, "{batches:#?}");
    assert!(last("ISOLATION LEVEL SNAPSHOT") < place("TABLOCK, HOLDLOCK"), "{batches:#?}");
    assert!(place("TABLOCK, HOLDLOCK") < touches[0] && touches[2] < place("COMMIT"), "{batches:#?}");
    assert!(
        last("COMMIT") < batches.iter().position(|sql| sql.starts_with(columns)).unwrap(),
        "{batches:#?}"
    );
}

#[tokio::test]
async fn a_query_is_divided_only_where_the_configuration_allows_it() {
    let server = TdsServer::start(script()).await;
    let query = by_id(Read::Query("SELECT id, name FROM t".into()));
    let careful = open(server.configuration());
    assert_eq!(careful.prepare(&query, count(4)).await.unwrap().slice_count(), 1);

    let configuration =
        SqlServerSource { consistency: SqlServerConsistency::Snapshot, ..server.configuration() };
    let extraction = open(configuration.clone()).prepare(&query, count(4)).await.unwrap();
    assert_eq!(extraction.slice_count(), 4);
    // Each slice would have ten rows of its own.
    let differing = by_id(Read::Query("SELECT TOP (10) id, name FROM t ORDER BY NEWID()".into()));
    let extraction = open(configuration).prepare(&differing, count(4)).await.unwrap();
    assert_eq!(extraction.slice_count(), 1);

    let configuration =
        SqlServerSource { consistency: SqlServerConsistency::Serial, ..server.configuration() };
    let extraction = open(configuration).prepare(&table("t"), count(4)).await.unwrap();
    assert_eq!(extraction.slice_count(), 1);

    let misspelt = Query { slice_column: Some("ID".into()), ..query };
    let fault = refused(&careful, &misspelt, 1).await;
    assert!(fault.hint().unwrap_or_default().contains("`id`"), "{:?}", fault.hint());

    let ratio = Column::new("ratio", "float", &[0x6d, 8], Framing::Byte);
    let server = TdsServer::start(Script::of(vec![ratio], Vec::new())).await;
    let float = Query { slice_column: Some("ratio".into()), ..misspelt };
    let fault = refused(&open(server.configuration()), &float, 1).await;
    assert!(fault.chain().contains("ranges of its type"), "{}", fault.chain());
}

#[tokio::test]
async fn without_snapshots_there_is_one_slice_or_an_error_that_says_how_to_get_them() {
    let server = TdsServer::start(Script { snapshots: false, ..script() }).await;
    let extraction = open(server.configuration()).prepare(&table("t"), count(4)).await.unwrap();
    assert_eq!(extraction.slice_count(), 1);
    assert!(!server.batches().iter().any(|sql| sql.contains("ISOLATION LEVEL SNAPSHOT")));

    let configuration =
        SqlServerSource { consistency: SqlServerConsistency::Snapshot, ..server.configuration() };
    let fault = refused(&open(configuration), &table("t"), 4).await;
    assert_eq!(fault.kind(), FaultKind::Request);
    assert!(fault.hint().unwrap_or_default().contains("ALLOW_SNAPSHOT_ISOLATION ON"), "{:?}", fault.hint());
}

#[tokio::test]
async fn identifiers_are_divided_where_the_server_orders_them_as_sql_server_does() {
    let key = Column::new("id", "uniqueidentifier", &[0x24, 16], Framing::Byte);
    let least = "00000000-0000-0000-0000-000000000000".to_owned();
    let greatest = "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF".to_owned();
    for (rises, slices) in [(true, 4), (false, 1)] {
        let bounds = Some((least.clone(), greatest.clone()));
        let server =
            TdsServer::start(Script { rises, bounds, ..Script::of(vec![key.clone()], Vec::new()) }).await;
        let extraction = open(server.configuration()).prepare(&table("t"), count(4)).await.unwrap();
        assert_eq!(extraction.slice_count(), slices);
        let literal =
            |digit| format!("CAST(N'00000000-0000-0000-0000-{digit}00000000000' AS uniqueidentifier)");
        let [first, second, third] = ["4", "8", "c"].map(literal);
        let after = |end: &str| format!("CASE WHEN q.[id] IS NULL THEN q.[id] ELSE {end} END");
        let asked = format!(
            "SELECT TOP (1) CASE WHEN {first} < {} AND {second} < {} THEN 1 ELSE 0 END FROM [t] AS q \
             WHERE q.[id] IS NOT NULL",
            after(&second),
            after(&third)
        );
        assert!(server.batches().contains(&asked), "{:#?}", server.batches());
    }
}

/// A statement of the double that takes one of the snapshots of `dbo.t`.
const TOUCH: &str = "; SELECT TOP (1) 1 FROM [dbo].[t]; SET LOCK_TIMEOUT -1;";

#[tokio::test]
async fn a_table_that_is_never_free_is_read_in_one_slice() {
    for script in [
        // A long writer; a change of the structure that waits for us while our snapshots wait for it.
        Script { refuse: Some(("TABLOCK", 1222, 16)), ..script() },
        Script { refuse: Some((TOUCH, 1222, 16)), ..script() },
        Script { refuse: Some((TOUCH, 1205, 13)), ..script() },
        Script { silent_on: Some(TOUCH), ..script() },
    ] {
        let what = format!("{:?} {:?}", script.refuse, script.silent_on);
        let server = TdsServer::start(script).await;
        let source = open(server.configuration());
        let named = table("dbo.t");
        let prepared = tokio::time::timeout(Duration::from_secs(120), source.prepare(&named, count(3)));
        let extraction = prepared.await.expect("it ends by itself").unwrap();
        assert_eq!(extraction.slice_count(), 1, "{what}");
        read_slice(&*extraction, 0).await.unwrap();
        let read = "SELECT q.[id] AS [id], q.[name] AS [name] FROM [dbo].[t] AS q";
        assert_eq!(selects(&server), [read], "{what}");
        let snapshots =
            server.batches().iter().filter(|sql| sql.contains("ISOLATION LEVEL SNAPSHOT")).count();
        assert_eq!(snapshots, 4, "{what}: three that were not taken, and that of the only slice");
        // The lock and the other snapshots are gone.
        eventually("the end of every session", async || {
            (server.seen().iter().filter(|seen| **seen == Seen::Closed).count() == 5).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_lock_that_cannot_be_had_for_another_reason_is_told() {
    let server = TdsServer::start(Script { refuse: Some(("TABLOCK", 229, 14)), ..script() }).await;
    let fault = refused(&open(server.configuration()), &table("dbo.t"), 3).await;
    assert_eq!(fault.kind(), FaultKind::Permission, "{}", fault.chain());
}

#[tokio::test]
async fn a_hint_that_undoes_snapshots_leaves_one_slice_without_them() {
    for (hint, slices) in
        [("NOLOCK", 1), ("FORCESCAN, READUNCOMMITTED", 1), ("HOLDLOCK", 1), ("FORCESCAN", 3), ("TABLOCK", 3)]
    {
        let server = TdsServer::start(script()).await;
        for consistency in [SqlServerConsistency::Exact, SqlServerConsistency::Snapshot] {
            let table_hint = Some(hint.into());
            let configuration = SqlServerSource { table_hint, consistency, ..server.configuration() };
            let extraction = open(configuration).prepare(&table("dbo.t"), count(3)).await.unwrap();
            assert_eq!(extraction.slice_count(), slices, "{hint}");
        }
        let under_snapshot = server.batches().iter().any(|sql| sql.contains("ISOLATION LEVEL SNAPSHOT"));
        assert_eq!(under_snapshot, slices > 1, "{hint}");
    }
}

#[tokio::test]
async fn rows_that_can_be_missed_are_warned_of_where_the_database_knows_no_snapshots() {
    const WARNING: &str = "can be read twice or missed";
    for (snapshots, committed_snapshots, consistency, warns) in [
        (false, false, SqlServerConsistency::Exact, true),
        (false, true, SqlServerConsistency::Exact, false),
        (true, false, SqlServerConsistency::Exact, false),
        // Somebody has said that this is meant.
        (false, false, SqlServerConsistency::Serial, false),
    ] {
        let server = TdsServer::start(Script { snapshots, committed_snapshots, ..script() }).await;
        let configuration = SqlServerSource { consistency, ..server.configuration() };
        let log = Log::default();
        let told = log.told_by(async || read(&open(configuration), &table("t"), 1).await.unwrap()).await;
        assert_eq!(
            told.contains(WARNING),
            warns,
            "{snapshots} {committed_snapshots} {consistency:?}: {told}"
        );
    }
}

/// What this thread says in the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    async fn told_by<T>(&self, work: impl AsyncFnOnce() -> T) -> String {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || log.clone()).finish();
        let guard = tracing::subscriber::set_default(subscriber);
        work().await;
        drop(guard);
        String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("UTF-8")
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_server_that_describes_nothing_is_asked_in_another_way() {
    let server = TdsServer::start(Script { describes: false, ..script() }).await;
    let with = query("WITH x AS (SELECT 1 AS id) SELECT * FROM x");
    let found = read(&open(server.configuration()), &with, 1).await.unwrap();
    assert_eq!(found.num_rows(), 0);
    assert!(server.batches().iter().any(|sql| sql.contains("sp_prepare")));
}

#[tokio::test]
async fn hints_stand_behind_the_table() {
    let server = TdsServer::start(script()).await;
    let configuration = SqlServerSource { table_hint: Some("NOLOCK".into()), ..server.configuration() };
    let chosen = Query { columns: Some(vec!["name".into()]), ..table("[dbo].[t]") };
    read(&open(configuration), &chosen, 1).await.unwrap();
    assert_eq!(selects(&server), ["SELECT q.[name] AS [name] FROM [dbo].[t] AS q WITH (NOLOCK)"]);
}

#[tokio::test]
async fn ranges_of_a_real_server_are_of_every_type_that_can_be_a_key() {
    let Some(server) = RealServer::if_named().await else { return };
    let configuration =
        SqlServerSource { consistency: SqlServerConsistency::Snapshot, ..server.configuration };
    let source = open(configuration);
    let digest = "CAST(HASHBYTES('MD5', CAST(object_id AS varchar(20))) AS binary(16))";
    let identifier = format!("CAST({digest} AS uniqueidentifier)");
    let text = format!("CAST({identifier} AS varchar(36))");
    let digits = format!("REPLACE({text}, '-', '')");
    for key in [
        "CAST(name AS varchar(200))",
        "CAST(name AS nvarchar(200))",
        "CAST(name AS nvarchar(200)) COLLATE Latin1_General_CS_AS",
        &identifier,
        &text,
        &format!("LOWER({text})"),
        &format!("CAST({digits} AS char(32))"),
        digest,
        "RIGHT('000000000' + CAST(ABS(object_id) % 1000000000 AS varchar(20)), 9)",
        "CAST(object_id AS decimal(20, 3))",
        "DATEADD(second, object_id % 1000000, CAST('2020-01-01' AS datetime2(7)))",
        "CAST(DATEADD(second, object_id % 1000000, CAST('2020-01-01' AS datetime2(7))) AS datetimeoffset(7))",
        "CAST(DATEADD(second, object_id % 10000, CAST('2020-01-01T12:00:00' AS datetime2(7))) AS time(7))",
    ] {
        let sql = format!("SELECT object_id AS id, {key} AS k FROM sys.all_objects");
        let whole =
            read(&source, &query(&sql), 1).await.unwrap_or_else(|fault| panic!("{key}: {}", fault.chain()));
        let divided = Query { slice_column: Some("k".into()), ..query(&sql) };
        let extraction = source.prepare(&divided, count(5)).await;
        let extraction = extraction.unwrap_or_else(|fault| panic!("{key}: {}", fault.chain()));
        // Babelfish has another order for identifiers than SQL Server, and finds the least of bytes as if
        // they were numbers.
        let is_unclear = server.is_babelfish && (key == identifier || key == digest);
        assert!(extraction.slice_count() > 1 || is_unclear, "{key}");
        let mut found = Vec::new();
        for slice in 0..extraction.slice_count() {
            let batch = read_slice(&*extraction, slice).await;
            found.extend(column(&batch.unwrap_or_else(|fault| panic!("{key}: {}", fault.chain())), "id"));
        }
        let mut ids = column(&whole, "id");
        ids.sort();
        found.sort();
        assert_eq!(ids, found, "{key}");
    }
}

#[tokio::test]
async fn texts_are_divided_where_the_server_orders_them_as_expected() {
    let key = Column::nvarchar("code");
    for (rises, slices) in [(true, 3), (false, 1)] {
        let bounds = Some(("it's-0".to_owned(), "it's-8".to_owned()));
        let server =
            TdsServer::start(Script { rises, bounds, ..Script::of(vec![key.clone()], Vec::new()) }).await;
        let extraction = open(server.configuration()).prepare(&table("t"), count(3)).await.unwrap();
        assert_eq!(extraction.slice_count(), slices);
        let is_asked = |sql: &String| sql.starts_with("SELECT TOP (1) CASE WHEN CAST(N'it''s-2");
        assert!(server.batches().iter().any(is_asked), "{:#?}", server.batches());
    }
}

#[tokio::test]
async fn slices_of_a_real_server_hold_every_row_once() {
    let Some(server) = RealServer::if_named().await else { return };
    let mut sql =
        vec!["SELECT object_id AS id, CAST(name AS nvarchar(200)) AS name FROM sys.all_objects".to_owned()];
    // Through the WITH, too, where the server describes it.
    if !server.is_babelfish {
        sql.push(
            "WITH o AS (SELECT object_id, name FROM sys.all_objects) \
             SELECT object_id AS id, name FROM o ORDER BY id"
                .to_owned(),
        );
    }
    let configuration =
        SqlServerSource { consistency: SqlServerConsistency::Snapshot, ..server.configuration };
    let source = open(configuration);
    for sql in sql {
        let whole = read(&source, &query(&sql), 1).await.unwrap();
        let mut ids = column(&whole, "id");
        let divided = read(&source, &by_id(Read::Query(sql)), 5).await.unwrap();
        let mut divided = column(&divided, "id");
        ids.sort();
        divided.sort();
        assert_eq!(ids, divided);
        assert!(ids.len() > 50);
    }
}
