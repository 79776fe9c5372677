//! The real freebcp, against the double of SQL Server and a real server when `SQLSERVER_URL` names one.

use std::time::Duration;

use data_exchange_agent::bulk::BulkSource;
use data_exchange_agent::config::{
    BulkUtilitySettings, Secret, SourceConnection, SqlServerConsistency, SqlServerLogin, SqlServerSource,
};
use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::shutdown::Shutdown;
use data_exchange_agent::source::Query;

use crate::support::bulk::{self, gone, installed, settings};
use crate::support::extraction::{column, query, read, refused, table, transfer, transfer_csv};
use crate::support::folder::Folder;
use crate::support::sqlserver::{RealServer, open};
use crate::support::tds::{
    Certificate, Column, Encryption, End, Framing, PASSWORD, Script, Seen, TdsServer, USERNAME, utf16,
};

fn freebcp() -> Option<BulkUtilitySettings> {
    freebcp_with("")
}

/// The program, and more keys of its section.
fn freebcp_with(keys: &str) -> Option<BulkUtilitySettings> {
    Some(settings("bcp", &installed("freebcp")?, keys))
}

fn by_bcp(configuration: SqlServerSource, settings: BulkUtilitySettings) -> BulkSource {
    let connection = SourceConnection::SqlServer(configuration.clone());
    bulk::source(open(configuration), connection, settings, &Shutdown::new())
}

fn text(text: &str) -> Option<Vec<u8>> {
    Some(utf16(text))
}

/// Types in the source, and the texts that its casts give.
fn script() -> Script {
    let columns = vec![
        Column::int("id"),
        Column::nvarchar("words"),
        Column::new("price", "money", &[0x6e, 8], Framing::Byte),
        Column::new("moment", "datetime2(7)", &[0x2a, 7], Framing::Byte),
    ];
    let texts =
        vec![Column::int("c1"), Column::nvarchar("c2"), Column::nvarchar("c3"), Column::nvarchar("c4")];
    let rows = vec![
        vec![
            Some(vec![1, 0, 0, 0]),
            text("é漢😀 \n\t\"\\"),
            text("-922337203685477.5808"),
            text("9999-12-31 23:59:59.1234567"),
        ],
        vec![Some(vec![2, 0, 0, 0]), text(""), None, None],
        vec![None, None, text("0.0001"), text("0001-01-01 00:00:00.0000000")],
        vec![Some(vec![4, 0, 0, 0]), text("  blanks  "), text("1.0000"), text("2024-01-02 03:04:05.0000000")],
    ];
    Script { texts: Some((texts, rows)), ..Script::of(columns, Vec::new()) }
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[tokio::test]
async fn freebcp_fills_the_types_that_the_server_described() {
    let Some(settings) = freebcp() else { return };
    let server = TdsServer::start(script()).await;
    let source = by_bcp(server.configuration(), settings);
    let found = transfer(&source, &query("SELECT id, words, price, moment FROM t"), 4).await;
    let found = found.unwrap_or_else(|fault| panic!("{}: {:?}", fault.chain(), fault.hint())).rows;
    assert_eq!(column(&found, "id"), [some("1"), some("2"), None, some("4")]);
    assert_eq!(column(&found, "words"), [some("é漢😀 \n\t\"\\"), some(""), None, some("  blanks  ")]);
    assert_eq!(
        column(&found, "price"),
        [some("-922337203685477.5808"), None, some("0.0001"), some("1.0000")]
    );
    assert_eq!(
        column(&found, "moment"),
        [some("9999-12-31 23:59:59.123456"), None, some("0001-01-01 00:00:00"), some("2024-01-02 03:04:05")]
    );
    let asked = server.batches().into_iter().find(|sql| sql.starts_with("SELECT * FROM (SELECT")).unwrap();
    assert!(asked.contains("CONVERT(varchar(27), q.[c4], 121)"), "{asked}");
}

/// The `out` of a table would leave its values to the character mode of the program.
#[tokio::test]
async fn a_table_is_read_with_queryout() {
    let Some(program) = installed("freebcp") else { return };
    let folder = Folder::new();
    let text = format!(
        "printf '%s\\n' \"$1\" \"$2\" > \"$(dirname \"$0\")/told\"\nexec {} \"$@\"",
        program.display()
    );
    let settings = settings("bcp", &bulk::script(folder.path(), "freebcp", &text), "");
    let server = TdsServer::start(script()).await;
    let found = read(&by_bcp(server.configuration(), settings), &table("dbo.t"), 1).await;
    let found = found.unwrap_or_else(|fault| panic!("{}: {:?}", fault.chain(), fault.hint()));
    assert_eq!(found.num_rows(), 4);
    let told = std::fs::read_to_string(folder.path().join("told")).unwrap();
    let (statement, how) = told.split_once('\n').unwrap();
    assert_eq!(how, "queryout\n");
    for part in ["SELECT * FROM (SELECT q.[id] AS [c1], ", " FROM [dbo].[t] AS q) AS t"] {
        assert!(statement.contains(part), "{part} is not in {statement}");
    }
}

/// What the statement's casts gave stands in a CSV file as it is, where Parquet has the types of the columns.
#[tokio::test]
async fn values_of_a_csv_file_are_passed_on_with_all_their_digits() {
    let Some(settings) = freebcp() else { return };
    let mut script = script();
    script.columns.extend([
        Column::new("truth", "bit", &[0x68, 1], Framing::Byte),
        Column::new("bytes", "varbinary(4)", &[0xa5, 4, 0], Framing::Short),
    ]);
    let (columns, rows) = script.texts.as_mut().unwrap();
    columns.extend([Column::new("c5", "bit", &[0x68, 1], Framing::Byte), Column::nvarchar("c6")]);
    for row in rows.iter_mut() {
        row.extend([Some(vec![1]), text("00FF0A")]);
    }
    rows[0][1] = text("é漢😀 \n\t\"\\, x");
    let server = TdsServer::start(script).await;
    let source = by_bcp(server.configuration(), settings);
    let found = transfer_csv(&source, &query("SELECT * FROM t")).await;
    let found = found.unwrap_or_else(|fault| panic!("{}: {:?}", fault.chain(), fault.hint()));
    assert_eq!(
        found,
        "id,words,price,moment,truth,bytes\r\n\
         1,\"é漢😀 \n\t\"\"\\, x\",-922337203685477.5808,9999-12-31 23:59:59.1234567,1,00FF0A\r\n\
         2,\"\",,,1,00FF0A\r\n\
         ,,0.0001,0001-01-01 00:00:00.0000000,1,00FF0A\r\n\
         4,  blanks  ,1.0000,2024-01-02 03:04:05.0000000,1,00FF0A\r\n"
    );
    // The same rows with types: six digits, and a table in Snowflake would be made of them.
    let typed = transfer(&source, &query("SELECT * FROM t"), 1).await.unwrap().rows;
    assert_eq!(column(&typed, "moment")[0], some("9999-12-31 23:59:59.123456"));
}

/// Texts that are passed on come in the same frame: the number of fields and of rows is compared all the same.
#[tokio::test]
async fn a_terminator_or_an_error_is_found_out_in_a_csv_file_too() {
    let Some(settings) = freebcp() else { return };
    let error = End::Error { number: 8134, state: 1, class: 16, text: "Divide by zero.", line: 1 };
    for (words, end) in [("a\u{1e}b", End::Done { surplus: 0 }), ("a", error)] {
        let mut script = Script { end, ..script() };
        script.texts.as_mut().unwrap().1[0][1] = text(words);
        let server = TdsServer::start(script).await;
        let source = by_bcp(server.configuration(), settings.clone());
        transfer_csv(&source, &query("SELECT id FROM t")).await.expect_err("not a whole result");
    }
}

#[tokio::test]
async fn a_result_without_rows_is_one() {
    let Some(settings) = freebcp() else { return };
    let mut script = script();
    script.texts.as_mut().unwrap().1.clear();
    let server = TdsServer::start(script).await;
    let found = read(&by_bcp(server.configuration(), settings), &query("SELECT id FROM t"), 1).await.unwrap();
    assert_eq!((found.num_rows(), found.num_columns()), (0, 4));
}

/// A result that breaks off is called a success by the program; nothing of it may be used.
#[tokio::test]
async fn an_error_of_the_server_in_the_middle_fails_the_attempt() {
    let Some(settings) = freebcp() else { return };
    for (end, kind) in [
        (
            End::Error { number: 8134, state: 1, class: 16, text: "Divide by zero near 'secret'.", line: 1 },
            FaultKind::Request,
        ),
        (
            End::Error {
                number: 245,
                state: 1,
                class: 16,
                text: "Conversion failed when converting the varchar value 'O'Brien, secret' to data type int.",
                line: 1,
            },
            FaultKind::Request,
        ),
        (End::Error { number: 1205, state: 51, class: 13, text: "deadlock", line: 1 }, FaultKind::Transient),
        (End::Cut, FaultKind::Transient),
    ] {
        let server = TdsServer::start(Script { end: end.clone(), ..script() }).await;
        let source = by_bcp(server.configuration(), settings.clone());
        let fault = read(&source, &query("SELECT id FROM t"), 1).await.expect_err("not a whole result");
        assert_eq!(fault.kind(), kind, "{end:?}: {}", fault.chain());
        assert!(!fault.chain().contains("secret"), "{}", fault.chain());
    }
}

#[tokio::test]
async fn a_wrong_password_is_one_and_stands_nowhere() {
    let Some(settings) = freebcp() else { return };
    let server = TdsServer::start(script()).await;
    let mut wrong = server.configuration();
    wrong.login = SqlServerLogin::Password { username: USERNAME.into(), password: Secret::new("hunter2") };
    // The agent itself logs in, so that only freebcp is refused.
    let source = bulk::source(
        open(server.configuration()),
        SourceConnection::SqlServer(wrong),
        settings,
        &Shutdown::new(),
    );
    let fault = read(&source, &query("SELECT id FROM t"), 1).await.unwrap_err();
    assert_eq!(fault.kind(), FaultKind::Credentials, "{}", fault.chain());
    assert!(fault.chain().contains("18456") && !fault.chain().contains("hunter2"), "{}", fault.chain());
}

#[tokio::test]
async fn a_value_with_a_terminator_in_it_is_found_out() {
    let Some(settings) = freebcp() else { return };
    let mut script = script();
    script.texts.as_mut().unwrap().1[0][1] = text("a\u{1e}b");
    let server = TdsServer::start(script).await;
    let fault =
        read(&by_bcp(server.configuration(), settings), &query("SELECT id FROM t"), 1).await.unwrap_err();
    assert_eq!(fault.kind(), FaultKind::Data);
    assert_eq!(
        fault.chain(),
        "read rows with bcp: read row 1, column `words`: the row ends after 2 of 4 fields"
    );
    assert!(fault.hint().unwrap().contains("terminator"));
}

#[tokio::test]
async fn a_server_that_says_nothing_more_ends_with_the_timeout() {
    let Some(mut settings) = freebcp() else { return };
    let server = TdsServer::start(Script { end: End::Hang, ..script() }).await;
    settings.timeout = Duration::from_secs(3);
    let port = server.address.port().to_string();
    let marker = format!("tests of a hanging server {port}");
    let sql = format!("SELECT id FROM t -- {marker}");
    let fault = read(&by_bcp(server.configuration(), settings), &query(sql), 1).await.unwrap_err();
    assert_eq!(fault.kind(), FaultKind::Transient);
    assert!(fault.chain().contains("did not end within 3s"), "{}", fault.chain());
    gone("freebcp\0SELECT * FROM (SELECT q.[c1] AS [c1]").await;
}

#[tokio::test]
async fn what_text_cannot_say_is_refused_with_a_remedy() {
    let Some(settings) = freebcp() else { return };
    let columns = vec![Column::new("any", "sql_variant", &[0x62, 0x49, 0x1f, 0, 0], Framing::Long)];
    let server = TdsServer::start(Script::of(columns, Vec::new())).await;
    let query: Query = query("SELECT any FROM t");
    let source = by_bcp(server.configuration(), settings);
    let fault = match data_exchange_agent::source::Source::prepare(
        &source,
        &query,
        std::num::NonZeroUsize::MIN,
    )
    .await
    {
        Ok(_) => panic!("not refused"),
        Err(fault) => fault,
    };
    assert_eq!(fault.kind(), FaultKind::Request);
    assert!(
        fault.chain().contains("column `any`") && fault.hint().unwrap().contains("Cast it"),
        "{}",
        fault.chain()
    );
}

#[tokio::test]
async fn a_connection_that_bcp_cannot_log_in_to_is_refused() {
    let Some(settings) = freebcp() else { return };
    let server = TdsServer::start(script()).await;
    let mut configuration = server.configuration();
    configuration.login = SqlServerLogin::Token(Secret::new(PASSWORD));
    let source = by_bcp(configuration, settings);
    let fault = refused(&source, &query("SELECT 1 AS a"), 1).await;
    assert!(fault.chain().contains("Entra ID"), "{}", fault.chain());
}

/// One statement is as consistent as the agent's own: under a snapshot where the database allows one.
#[tokio::test]
async fn freebcp_reads_under_a_snapshot_where_the_database_allows_one() {
    let Some(settings) = freebcp() else { return };
    for (snapshots, consistency, expected) in [
        (true, SqlServerConsistency::Exact, true),
        (true, SqlServerConsistency::Snapshot, true),
        (true, SqlServerConsistency::Serial, false),
        (false, SqlServerConsistency::Exact, false),
    ] {
        let server = TdsServer::start(Script { snapshots, ..script() }).await;
        let configuration = SqlServerSource { consistency, ..server.configuration() };
        let found = read(&by_bcp(configuration, settings.clone()), &query("SELECT id FROM t"), 1).await;
        assert_eq!(found.unwrap_or_else(|fault| panic!("{}", fault.chain())).num_rows(), 4);
        let sets = server.batches().iter().any(|sql| sql.contains("ISOLATION LEVEL SNAPSHOT"));
        assert_eq!(sets, expected, "{snapshots} {consistency:?}");
    }
    let server = TdsServer::start(Script { snapshots: false, ..script() }).await;
    let configuration =
        SqlServerSource { consistency: SqlServerConsistency::Snapshot, ..server.configuration() };
    let fault = refused(&by_bcp(configuration, settings), &query("SELECT id FROM t"), 1).await;
    assert!(fault.chain().contains("does not allow snapshot isolation"), "{}", fault.chain());
}

/// Settings of the section reach the server, or the list of processes, as they say.
#[tokio::test]
async fn freebcp_does_what_its_section_says() {
    let keys = "encrypt = true\npacket_size = 8192\npassword_by = \"argument\"";
    let Some(settings) = freebcp_with(keys) else { return };
    let certificate = Certificate::new();
    let script = Script { encryption: Encryption::Off, certificate: Some(certificate.clone()), ..script() };
    let server = TdsServer::start(script).await;
    let configuration =
        SqlServerSource { root_certificate: Some(certificate.file()), ..server.configuration() };
    let found = read(&by_bcp(configuration, settings), &query("SELECT id FROM t"), 1).await;
    assert_eq!(found.unwrap_or_else(|fault| panic!("{}", fault.chain())).num_rows(), 4);
    let logins: Vec<_> = server
        .seen()
        .into_iter()
        .filter_map(|seen| match seen {
            Seen::Login { username, encrypted, packet_bytes, .. } => {
                Some((username, encrypted, packet_bytes))
            }
            _ => None,
        })
        .collect();
    let native = u32::from(SqlServerSource::DEFAULT_PACKET_BYTES.get());
    assert_eq!(logins, [(USERNAME.to_owned(), true, native), (USERNAME.to_owned(), true, 8192)]);
}

/// Without Kerberos on this machine nobody is let in, and neither name nor password goes anywhere.
#[tokio::test]
async fn a_trusted_connection_sends_neither_name_nor_password() {
    let Some(settings) = freebcp_with("trusted_connection = true") else { return };
    let server = TdsServer::start(script()).await;
    let found = read(&by_bcp(server.configuration(), settings), &query("SELECT id FROM t"), 1).await;
    found.expect_err("nobody is who the agent runs as");
    let seen = server.seen();
    let by_name =
        seen.iter().filter(|seen| matches!(seen, Seen::Login { username, .. } if username == USERNAME));
    assert_eq!(by_name.count(), 1, "the agent itself, for the description");
}

/// Types that a real server casts; those that not every server of TDS can are left to SQL Server.
#[tokio::test]
async fn a_real_server_gives_freebcp_what_it_gives_the_agent() {
    let Some(settings) = freebcp() else { return };
    let Some(server) = RealServer::if_named().await else { return };
    let mut columns = vec![
        "CAST(-5 AS int) AS i, CAST(255 AS tinyint) AS t, CAST(1 AS bit) AS b, CAST(-9223372036854775808 AS bigint) AS l",
        "CAST('12345678901234567890.0123456789' AS decimal(38,10)) AS d, CAST(-922337203685477.5808 AS money) AS m",
        "CAST('2024-02-29' AS date) AS day, CAST('23:59:59.123456' AS time(6)) AS clock",
        "CAST('2024-02-29 23:59:59.997' AS datetime) AS dt, CAST('0001-01-01 00:00:00.1234567' AS datetime2) AS dt2",
        "CAST('2024-02-29 23:59:59.1234567 +05:30' AS datetimeoffset) AS dto",
        "CAST(N'é漢😀' AS nvarchar(20)) AS n, CAST('' AS varchar(5)) AS e, CAST(NULL AS varchar(5)) AS z, CAST('a ' AS char(4)) AS c",
        "CAST('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11' AS uniqueidentifier) AS u",
        "REPLICATE(CAST(N'long ' AS nvarchar(max)), 20000) AS long",
    ];
    if !server.is_babelfish {
        columns.push(
            "CAST(0x00FF0A AS varbinary(10)) AS bytes, CAST(0.1 AS float) AS f, CAST(0.1 AS real) AS r",
        );
    }
    for columns in columns {
        let query = query(format!("SELECT {columns}"));
        let native = read(&open(server.configuration.clone()), &query, 1).await.expect("the agent reads it");
        let found = read(&by_bcp(server.configuration.clone(), settings.clone()), &query, 1)
            .await
            .unwrap_or_else(|fault| panic!("{columns}: {}: {:?}", fault.chain(), fault.hint()));
        assert_eq!(found, native, "{columns}");
    }
}
