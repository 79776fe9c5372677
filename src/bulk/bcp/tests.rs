//! What both programs are told, by every setting of the section and of the connection.

use std::num::NonZeroU16;
use std::time::Duration;

use arrow::datatypes::DataType;

use super::section::PasswordBy;
use super::*;
use crate::bulk::{Output, Own, PrivateFolder};
use crate::config::{OffsetPolicy, Secret, SeventhDigit, SpatialPolicy, SqlServerConsistency};
use crate::schema::{Column, TableSchema};
use crate::source::sqlserver::SNAPSHOT;
use crate::source::{TextExport, TextForms};

fn source() -> SqlServerSource {
    SqlServerSource {
        host: "db".into(),
        port: 1433,
        instance: None,
        browser_port: 1434,
        database: "sales".into(),
        login: SqlServerLogin::Password { username: "reader".into(), password: Secret::new("hunter2") },
        encryption: SqlServerEncryption::Mandatory,
        trusts_any_certificate: false,
        root_certificate: None,
        host_name_in_certificate: None,
        reads_only: false,
        application_name: "data-exchange-agent".into(),
        connect_timeout: Duration::from_secs(30),
        statement_timeout: None,
        packet_bytes: SqlServerSource::DEFAULT_PACKET_BYTES,
        table_hint: None,
        longest_row: SqlServerSource::DEFAULT_LONGEST_ROW,
        consistency: SqlServerConsistency::Exact,
        datetimeoffset: OffsetPolicy::Utc,
        seventh_digit: SeventhDigit::Cut,
        spatial: SpatialPolicy::Text,
        odbc_connection: None,
    }
}

/// The program for settings that differ from the defaults like this, its folder taken out of its arguments.
fn told(
    dialect: BcpDialect,
    snapshot: bool,
    change: impl FnOnce(&mut BcpSettings, &mut SqlServerSource),
) -> (Program, Option<String>) {
    told_to_read("SELECT 1 AS a", dialect, snapshot, change)
}

/// The same for a statement that the source has made.
fn told_to_read(
    sql: &str,
    dialect: BcpDialect,
    snapshot: bool,
    change: impl FnOnce(&mut BcpSettings, &mut SqlServerSource),
) -> (Program, Option<String>) {
    let (mut bcp, mut source) = (BcpSettings { dialect: Some(dialect), ..BcpSettings::default() }, source());
    change(&mut bcp, &mut source);
    let settings = BulkUtilitySettings::new(Own::new(bcp.clone()));
    let column =
        Column { name: "a".into(), source_type: "int".into(), data_type: DataType::Int32, nullable: true };
    let export = TextExport {
        sql: sql.into(),
        session: ["SET ROWCOUNT 0;"]
            .into_iter()
            .chain(snapshot.then_some(SNAPSHOT))
            .map(str::to_owned)
            .collect(),
        schema: TableSchema::new(vec![column]).unwrap(),
        forms: TextForms::default(),
    };
    let folder = PrivateFolder::new().unwrap();
    let connection = SourceConnection::SqlServer(source);
    let job = Job { export: &export, connection: &connection, folder: &folder };
    let (mut program, layout) = Bcp::new(settings, bcp.clone()).program(&job).unwrap();
    assert_eq!(layout, Layout::new(bcp.delimiter, bcp.row_terminator, Quoting::Nul));
    let pipe = super::super::as_argument(&folder.join("rows"));
    assert_eq!(program.output, Output::NamedPipe(folder.join("rows")));
    let place = program.arguments.iter().position(|argument| *argument == pipe).unwrap();
    program.arguments[place] = "PIPE".into();
    (program, std::fs::read_to_string(folder.join("freetds.conf")).ok())
}

type Change = fn(&mut BcpSettings, &mut SqlServerSource);

#[test]
fn microsofts_program_gets_every_setting_as_an_option_of_its_own() {
    let whole = |options: &str| {
        let options = options.split_ascii_whitespace().map(str::to_owned);
        let common = ["SELECT 1 AS a", "queryout", "PIPE", "-c", "-t", "\u{1f}", "-r", "\u{1e}"];
        common.map(str::to_owned).into_iter().chain(options).collect::<Vec<_>>()
    };
    let place = "-S tcp:db,1433 -d sales";
    let login = "-U reader";
    let cases: [(Change, String); 15] = [
        (|_, _| (), format!("{place} -a 16383 -l 30 {login} -q")),
        (|bcp, _| bcp.packet_size = NonZeroU16::new(4096), format!("{place} -a 4096 -l 30 {login} -q")),
        (|_, source| source.reads_only = true, format!("{place} -a 16383 -l 30 -K ReadOnly {login} -q")),
        (|bcp, _| bcp.trusted_connection = true, format!("{place} -a 16383 -l 30 -T -q")),
        (
            |bcp, _| bcp.password_by = PasswordBy::Argument,
            format!("{place} -a 16383 -l 30 {login} -P hunter2 -q"),
        ),
        (|bcp, _| bcp.encrypt = Some(true), format!("{place} -a 16383 -l 30 {login} -Ym -q")),
        (|bcp, _| bcp.encrypt = Some(false), format!("{place} -a 16383 -l 30 {login} -Yo -q")),
        (
            |_, source| source.encryption = SqlServerEncryption::Optional,
            format!("{place} -a 16383 -l 30 {login} -Yo -q"),
        ),
        (
            |bcp, source| {
                bcp.encrypt = Some(true);
                source.encryption = SqlServerEncryption::Optional;
            },
            format!("{place} -a 16383 -l 30 {login} -Ym -q"),
        ),
        (
            |bcp, source| {
                // TDS 8.0 is encrypted before anything else.
                bcp.encrypt = Some(false);
                source.encryption = SqlServerEncryption::Strict;
            },
            format!("{place} -a 16383 -l 30 {login} -Ys -q"),
        ),
        (|_, source| source.trusts_any_certificate = true, format!("{place} -a 16383 -l 30 {login} -u -q")),
        (
            |_, source| source.instance = Some("EXPRESS".into()),
            format!("-S db\\EXPRESS -d sales -a 16383 -l 30 {login} -q"),
        ),
        (
            |_, source| source.connect_timeout = Duration::from_millis(1),
            format!("{place} -a 16383 -l 1 {login} -q"),
        ),
        (
            |_, source| source.connect_timeout = Duration::from_secs(1_000_000),
            format!("{place} -a 16383 -l 65534 {login} -q"),
        ),
        (
            |bcp, source| {
                bcp.trusted_connection = true;
                source.login = SqlServerLogin::Token(Secret::new("token"));
            },
            format!("{place} -a 16383 -l 30 -T -q"),
        ),
    ];
    for (change, expected) in cases {
        let (program, file) = told(BcpDialect::Microsoft, false, change);
        assert_eq!(program.arguments, whole(&expected));
        assert_eq!(file, None);
        let by_name = expected.contains("-U ");
        let by_input = by_name && !expected.contains("-P ");
        let input = program.input.as_ref().map(Secret::expose);
        assert_eq!(input, by_input.then_some("hunter2\n"), "{expected}");
        assert_eq!(program.secrets.iter().map(Secret::expose).any(|secret| secret == "hunter2"), by_name);
    }
}

#[test]
fn terminators_are_written_as_bcp_reads_them() {
    let change: Change = |bcp, _| (bcp.delimiter, bcp.row_terminator) = ("\\t".into(), "\r\n".into());
    for dialect in [BcpDialect::Microsoft, BcpDialect::FreeTds] {
        let (program, _) = told(dialect, false, change);
        assert_eq!(program.arguments[4..8], ["-t", "\\\\t", "-r", "\r\n"]);
    }
}

#[test]
fn a_snapshot_stands_before_the_query_or_among_the_statements_of_the_session() {
    let (program, _) = told(BcpDialect::Microsoft, true, |_, _| ());
    assert_eq!(program.arguments[0], "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; SELECT 1 AS a");
    let (program, _) = told(BcpDialect::FreeTds, true, |_, _| ());
    assert_eq!(program.arguments[0], "SELECT 1 AS a");
    let session = "SET ROWCOUNT 0; SET TRANSACTION ISOLATION LEVEL SNAPSHOT;";
    assert!(program.arguments.windows(2).any(|pair| pair == ["-O", session]), "{:?}", program.arguments);
}

/// The tests of the source show that this is what it makes of a task with `table`.
#[test]
fn a_table_is_read_with_queryout_as_a_query_is() {
    let sql = "SELECT * FROM (SELECT CONVERT(varchar(27), q.[moment], 121) AS [c1] FROM [dbo].[t] AS q) AS t";
    for dialect in [BcpDialect::Microsoft, BcpDialect::FreeTds] {
        let (program, _) = told_to_read(sql, dialect, false, |_, _| ());
        assert_eq!(program.arguments[..2], [sql, "queryout"]);
    }
}

#[test]
fn freebcp_gets_what_it_has_no_option_for_by_a_file() {
    let cases: [(Change, &str, &str); 7] = [
        (|_, _| (), "-A 16383 -U reader -P -", "port = 1433\n"),
        (|_, _| (), "", "encryption = require\n"),
        (|_, _| (), "", "ca file = system\ncheck certificate hostname = yes\n"),
        (|bcp, _| bcp.encrypt = Some(false), "", "encryption = request\n"),
        (|bcp, _| bcp.packet_size = NonZeroU16::new(512), "-A 512 -U reader -P -", ""),
        (|bcp, _| bcp.password_by = PasswordBy::Argument, "-A 16383 -U reader -P hunter2", ""),
        (|_, source| source.instance = Some("EXPRESS".into()), "", "instance = EXPRESS\n"),
    ];
    for (change, options, line) in cases {
        let (program, file) = told(BcpDialect::FreeTds, false, change);
        let file = file.expect("a file");
        let arguments = program.arguments.join(" ");
        assert!(arguments.contains("-S agent -T 2147483647 -O SET ROWCOUNT 0; -D sales"), "{arguments}");
        assert!(arguments.ends_with(options), "{arguments}");
        assert!(file.contains(line) && !file.contains("hunter2"), "{file}");
    }
    let (program, _) = told(BcpDialect::FreeTds, false, |bcp, _| bcp.trusted_connection = true);
    assert!(program.arguments.join(" ").ends_with("-A 16383"), "{:?}", program.arguments);
    assert!(program.input.is_none() && program.secrets.is_empty());
    let (_, file) = told(BcpDialect::FreeTds, false, |_, source| source.trusts_any_certificate = true);
    assert!(!file.expect("a file").contains("ca file"));
}
