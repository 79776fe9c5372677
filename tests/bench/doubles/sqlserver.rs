//! The double of SQL Server, which sends the rows of a file again and again: what the agent's own work costs
//! is then seen without a server that computes.
//!
//! It prints `listening on <address>`, and ends with its standard input.

use crate::support::tds::{Column, Framing, Rows, Script, TdsServer};

/// Latin1_General_CI_AS.
const COLLATION: [u8; 5] = [0x09, 0x04, 0xd0, 0x00, 0x00];

/// How a column is declared, and so how its values arrive.
#[derive(Clone, Copy)]
enum Kind {
    BigInt,
    Int,
    /// `decimal(15,2)`.
    Decimal,
    Date,
    Char(u16),
    VarChar(u16),
}

const LINEITEM: [(&str, Kind); 16] = [
    ("l_orderkey", Kind::BigInt),
    ("l_partkey", Kind::BigInt),
    ("l_suppkey", Kind::BigInt),
    ("l_linenumber", Kind::Int),
    ("l_quantity", Kind::Decimal),
    ("l_extendedprice", Kind::Decimal),
    ("l_discount", Kind::Decimal),
    ("l_tax", Kind::Decimal),
    ("l_returnflag", Kind::Char(1)),
    ("l_linestatus", Kind::Char(1)),
    ("l_shipdate", Kind::Date),
    ("l_commitdate", Kind::Date),
    ("l_receiptdate", Kind::Date),
    ("l_shipinstruct", Kind::Char(25)),
    ("l_shipmode", Kind::Char(10)),
    ("l_comment", Kind::VarChar(44)),
];

/// Serves until standard input ends.
pub(crate) async fn serve(file: &str, times: usize) {
    let text = std::fs::read_to_string(file).expect("the file of rows can be read");
    let rows: Rows = text.lines().map(row).collect();
    let columns = LINEITEM.iter().map(|(name, kind)| column(name, *kind)).collect();
    let server = TdsServer::start(Script { repeat: times, ..Script::of(columns, rows) }).await;
    println!("listening on {}", server.address);
    tokio::task::block_in_place(|| std::io::stdin().lines().for_each(drop));
}

/// TYPE_INFO as the protocol writes it for columns without NULL ([MS-TDS] 2.2.5.4).
fn column(name: &str, kind: Kind) -> Column {
    let text = |token: u8, bytes: u16| [&[token][..], &bytes.to_le_bytes(), &COLLATION].concat();
    let (type_name, type_info, framing) = match kind {
        Kind::BigInt => ("bigint".into(), vec![0x7f], Framing::Fixed),
        Kind::Int => ("int".into(), vec![0x38], Framing::Fixed),
        Kind::Decimal => ("decimal(15,2)".into(), vec![0x6a, 9, 15, 2], Framing::Byte),
        Kind::Date => ("date".into(), vec![0x28], Framing::Byte),
        Kind::Char(bytes) => (format!("char({bytes})"), text(0xaf, bytes), Framing::Short),
        Kind::VarChar(bytes) => (format!("varchar({bytes})"), text(0xa7, bytes), Framing::Short),
    };
    Column { nullable: false, ..Column::new(name, &type_name, &type_info, framing) }
}

fn row(line: &str) -> Vec<Option<Vec<u8>>> {
    let fields: Vec<&str> = line.split('\t').collect();
    assert_eq!(fields.len(), LINEITEM.len(), "a row of lineitem: {line}");
    LINEITEM.iter().zip(fields).map(|((_, kind), field)| Some(value(*kind, field))).collect()
}

fn value(kind: Kind, field: &str) -> Vec<u8> {
    match kind {
        Kind::BigInt => field.parse::<i64>().expect("a number").to_le_bytes().to_vec(),
        Kind::Int => field.parse::<i32>().expect("a number").to_le_bytes().to_vec(),
        Kind::Decimal => {
            let unscaled: i64 = field.replace('.', "").parse().expect("a decimal with two digits");
            // 1 is plus.
            [&[u8::from(unscaled >= 0)][..], &unscaled.unsigned_abs().to_le_bytes()].concat()
        }
        // Days since 0001-01-01, in three bytes.
        Kind::Date => field.parse::<u32>().expect("a number of days").to_le_bytes()[..3].to_vec(),
        Kind::Char(bytes) => format!("{field:<width$}", width = usize::from(bytes)).into_bytes(),
        Kind::VarChar(_) => field.as_bytes().to_vec(),
    }
}
