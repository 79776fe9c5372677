//! Every type of SQL Server, value by value: server -> Arrow -> Parquet -> read back.
//!
//! Each case says how the server sends a value. The test double sends it in every form that the
//! protocol has for it; a real server, when `SQLSERVER_URL` names one, is asked for the value by the
//! expression. Types are those that the reader of the file sees, which has one width of decimals up to
//! 38 digits. The lists are the table of `docs/TYPES.md`, in the same order.

mod columns;
mod numbers;
mod objects;
mod texts;
mod times;

use arrow::datatypes::{DataType, TimeUnit};
use data_exchange_agent::config::{OffsetPolicy, SeventhDigit, SpatialPolicy, SqlServerSource};
use data_exchange_agent::fault::FaultKind;
use parquet::basic::LogicalType;

use crate::support::extraction::{column, query, read, refused, table, transfer};
use crate::support::sqlserver::{RealServer, open};
use crate::support::tds::{Column, Framing, Script, TdsServer, utf16};

/// An expression of T-SQL, the bytes of its value, and what the file has to say.
type Value = (&'static str, Vec<u8>, &'static str);

struct Case {
    /// The type in T-SQL.
    sql_type: &'static str,
    type_info: Vec<u8>,
    framing: Framing,
    data_type: DataType,
    values: Vec<Value>,
    servers: Servers,
}

/// The real servers that have a type, and send it as SQL Server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Servers {
    All,
    /// Babelfish lacks it, sends it in another form, or has not been asked for it.
    SqlServer,
    /// Versions of SQL Server whose catalog has a type of this name.
    Later(&'static str),
}

impl Servers {
    async fn include(self, server: &RealServer) -> bool {
        match self {
            Self::All => true,
            Self::SqlServer => !server.is_babelfish,
            Self::Later(name) => !server.is_babelfish && server.has_type(name).await,
        }
    }
}

const MICROSECONDS: TimeUnit = TimeUnit::Microsecond;
/// Latin1_General_CI_AS.
const LATIN: [u8; 5] = [0x09, 0x04, 0xd0, 0x00, 0x00];

fn case(
    sql_type: &'static str,
    type_info: &[u8],
    framing: Framing,
    data_type: DataType,
    values: Vec<Value>,
) -> Case {
    Case { sql_type, type_info: type_info.to_vec(), framing, data_type, values, servers: Servers::All }
}

impl Case {
    fn not_on_babelfish(self) -> Self {
        Self { servers: Servers::SqlServer, ..self }
    }

    fn of_later_versions(self, name: &'static str) -> Self {
        Self { servers: Servers::Later(name), ..self }
    }
}

fn with_collation(head: &[u8], collation: [u8; 5]) -> Vec<u8> {
    [head, &collation].concat()
}

/// Asks the double in each form of the protocol.
async fn check_on_the_double(case: &Case, set: impl Fn(&mut SqlServerSource)) {
    for (null_bitmap, chunk_bytes) in [(false, 8000), (true, 3), (false, 1)] {
        let column = Column::new("value", case.sql_type, &case.type_info, case.framing);
        let mut rows: Vec<_> = case.values.iter().map(|(_, bytes, _)| vec![Some(bytes.clone())]).collect();
        if case.framing != Framing::Fixed {
            rows.push(vec![None]);
        }
        let script = Script { null_bitmap, chunk_bytes, ..Script::of(vec![column], rows) };
        let server = TdsServer::start(script).await;
        let mut configuration = server.configuration();
        set(&mut configuration);
        compare(case, configuration, "SELECT value FROM t", case.framing != Framing::Fixed).await;
    }
}

/// Asks the double in each form of the protocol, then the real server.
async fn check(case: &Case, set: impl Fn(&mut SqlServerSource)) {
    check_on_the_double(case, &set).await;
    let Some(server) = RealServer::if_named().await else { return };
    if !case.servers.include(&server).await {
        return;
    }
    let rows: Vec<String> = (1..)
        .zip(case.values.iter().map(|(sql, ..)| *sql).chain(["NULL"]))
        .map(|(position, sql)| format!("SELECT {position} AS p, CAST({sql} AS {}) AS value", case.sql_type))
        .collect();
    let sql = format!("SELECT value FROM ({}) AS t ORDER BY p", rows.join(" UNION ALL "));
    let mut configuration = server.configuration;
    set(&mut configuration);
    compare(case, configuration, &sql, true).await;
}

async fn compare(case: &Case, configuration: SqlServerSource, sql: &str, has_null: bool) {
    let found = transfer(&open(configuration), &query(sql), 1)
        .await
        .unwrap_or_else(|fault| panic!("{}: {}: {:?}", case.sql_type, fault.chain(), fault.hint()));
    assert_eq!(*found.rows.schema().field(0).data_type(), case.data_type, "{}", case.sql_type);
    let expected = case.values.iter().map(|(_, _, text)| Some((*text).to_owned()));
    let expected: Vec<Option<String>> = expected.chain(has_null.then_some(None)).collect();
    assert_eq!(column(&found.rows, "value"), expected, "{}: {sql}", case.sql_type);
}

async fn check_all(cases: Vec<Case>) {
    for case in cases {
        check(&case, |_| {}).await;
    }
}

fn decimal(negative: bool, magnitude: u128, bytes: usize) -> Vec<u8> {
    [&[u8::from(!negative)][..], &magnitude.to_le_bytes()[..bytes]].concat()
}

/// Days since 0001-01-01.
fn day(days: u32) -> Vec<u8> {
    days.to_le_bytes()[..3].to_vec()
}

fn clock(units: u64, bytes: usize) -> Vec<u8> {
    units.to_le_bytes()[..bytes].to_vec()
}

const LAST_DAY: u32 = 3_652_058;
/// 2024-02-29.
const LEAP_DAY: u32 = 738_944;
