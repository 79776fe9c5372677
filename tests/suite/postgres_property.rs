//! Random values of every exact type: what the Parquet file says is what the server prints.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::support::extraction::{column, source, table, transfer};
use crate::support::postgres;

/// Tables that are made, each with precisions of its own.
const ROUNDS: usize = 8;
const ROWS: usize = 120;

/// A column: its type, the SQL of a random value, and how the server prints it.
struct Column {
    sql_type: String,
    value: BoxedStrategy<String>,
    print: &'static str,
}

fn column_of(sql_type: impl Into<String>, value: impl Strategy<Value = String> + 'static) -> Column {
    Column { sql_type: sql_type.into(), value: value.boxed(), print: "::text" }
}

fn json_column(sql_type: impl Into<String>, value: impl Strategy<Value = String> + 'static) -> Column {
    let column = column_of(sql_type, value);
    Column { print: "json", ..column }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn any_text() -> impl Strategy<Value = String> {
    // Half of them of characters that some format somewhere gives a meaning to.
    let tricky = proptest::sample::select(
        "'\"\\,;{}()[]\n\r\t :/-+.Nul%$\u{feff}\u{301}ä𝄞".chars().collect::<Vec<_>>(),
    );
    let character = prop_oneof![tricky, any::<char>().prop_filter("PostgreSQL has no NUL", |c| *c != '\0')];
    vec(character, 0..12).prop_map(|characters| characters.into_iter().collect())
}

/// Up to `precision` digits, `scale` of them behind the point.
fn numeric(precision: usize, scale: usize) -> impl Strategy<Value = String> {
    let digit = prop_oneof![Just('0'), Just('9'), proptest::char::range('0', '9')];
    (vec(digit, 1..=precision), any::<bool>()).prop_map(move |(digits, negative)| {
        let digits: String = digits.into_iter().collect();
        let digits = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        format!("'{}{whole}.{fraction}'", if negative { "-" } else { "" })
    })
}

fn float(text: String) -> String {
    format!("'{}'", text.replace("inf", "Infinity"))
}

fn day(range: std::ops::RangeInclusive<i32>) -> impl Strategy<Value = String> {
    prop_oneof![-40_000..40_000_i32, range].prop_map(|days| format!("DATE '2000-01-01' + {days}"))
}

fn time() -> impl Strategy<Value = String> {
    let fraction = prop_oneof![Just(0), 0..1_000_000_i64];
    (0..86_400_i64, fraction).prop_map(|(seconds, fraction)| {
        format!("TIME '{:02}:{:02}:{:02}.{fraction:06}'", seconds / 3600, seconds / 60 % 60, seconds % 60)
    })
}

/// Days of timestamps that Arrow can hold as well, counted from 2000.
fn timestamp() -> impl Strategy<Value = String> {
    (day(-2_451_545..=106_700_000), time()).prop_map(|(day, time)| format!("({day}) + {time}"))
}

fn columns(precisions: [(usize, usize); 4]) -> Vec<Column> {
    let interval = (any::<i16>(), any::<i16>(), -1_000_000_000_000..1_000_000_000_000_i64);
    let nullable = |text: Option<String>| text.map_or_else(|| "NULL".to_owned(), |text| quoted(&text));
    let mut columns = vec![
        column_of("boolean", any::<bool>().prop_map(|value| value.to_string())),
        column_of("smallint", any::<i16>().prop_map(|value| value.to_string())),
        column_of("integer", any::<i32>().prop_map(|value| value.to_string())),
        column_of("bigint", any::<i64>().prop_map(|value| format!("'{value}'"))),
        column_of("oid", any::<u32>().prop_map(|value| format!("'{value}'"))),
        column_of("real", any::<f32>().prop_map(|value| float(format!("{value:?}")))),
        column_of("double precision", any::<f64>().prop_map(|value| float(format!("{value:?}")))),
        column_of(
            "numeric",
            (numeric(40, 12), 0..60_i32)
                .prop_map(|(value, exponent)| format!("{value}::numeric * 10::numeric ^ ({exponent} - 30)")),
        ),
        column_of("date", day(-2_451_545..=2_145_031_948)),
        column_of("time", time()),
        column_of("timestamp", timestamp()),
        column_of("timestamptz", timestamp().prop_map(|value| format!("({value}) AT TIME ZONE 'UTC'"))),
        column_of(
            "interval",
            interval.prop_map(|(months, days, microseconds)| {
                format!("'{months} months {days} days {microseconds} microseconds'")
            }),
        ),
        column_of("text", any_text().prop_map(|text| quoted(&text))),
        column_of("char(12)", any_text().prop_map(|text| quoted(&text))),
        column_of("uuid", any::<u128>().prop_map(|value| format!("'{value:032x}'"))),
        column_of(
            "bytea",
            vec(any::<u8>(), 0..20).prop_map(|bytes| {
                bytes.iter().fold("'\\x".to_owned(), |text, byte| text + &format!("{byte:02x}")) + "'"
            }),
        ),
        column_of("jsonb", any_text().prop_map(|text| format!("to_jsonb({}::text)", quoted(&text)))),
        column_of(
            "inet",
            (any::<u32>(), 0..=32_u32).prop_map(|(address, bits)| {
                let [a, b, c, d] = address.to_be_bytes();
                format!("'{a}.{b}.{c}.{d}/{bits}'")
            }),
        ),
        json_column(
            "text[]",
            vec(proptest::option::of(any_text()), 0..4).prop_map(move |texts| {
                let texts: Vec<String> = texts.into_iter().map(nullable).collect();
                format!("ARRAY[{}]::text[]", texts.join(", "))
            }),
        ),
        json_column(
            "numeric[]",
            vec(numeric(20, 5), 0..4).prop_map(|numbers| format!("ARRAY[{}]::numeric[]", numbers.join(", "))),
        ),
    ];
    for (precision, scale) in precisions {
        columns.push(column_of(format!("numeric({precision},{scale})"), numeric(precision, scale)));
    }
    columns
}

#[tokio::test]
async fn random_values_are_those_that_the_server_prints() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let seed: [u8; 32] = rand::random();
    let mut runner =
        TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    for round in 0..ROUNDS {
        let place = format!("seed {seed:?}, round {round}");
        let mut draw = |strategy: &BoxedStrategy<String>| -> String {
            strategy.new_tree(&mut runner).expect("no strategy here runs dry").current()
        };
        // One precision for each width of decimals, and one that is text.
        let widths = [1..=18, 19..=38, 39..=76, 77..=200_usize].map(|range| {
            let pair = range.prop_flat_map(|precision| (Just(precision), 0..=precision));
            let text = draw(&pair.prop_map(|(precision, scale)| format!("{precision} {scale}")).boxed());
            let (precision, scale) = text.split_once(' ').expect("two numbers");
            (precision.parse().expect("a number"), scale.parse().expect("a number"))
        });
        let columns = columns(widths);
        let is_null = proptest::bool::weighted(0.1).prop_map(|null| null.to_string()).boxed();
        let rows: Vec<String> = (0..ROWS)
            .map(|row| {
                let values = columns.iter().map(|column| match draw(&is_null).as_str() {
                    "true" => "NULL".to_owned(),
                    _ => draw(&column.value),
                });
                format!("({row}, {})", values.collect::<Vec<_>>().join(", "))
            })
            .collect();
        let definitions: Vec<String> =
            (0..).zip(&columns).map(|(number, column)| format!("v{number} {}", column.sql_type)).collect();
        database
            .execute(&format!(
                "DROP TABLE IF EXISTS stored; CREATE TABLE stored (row integer, {});",
                definitions.join(", ")
            ))
            .await;
        database.execute(&format!("INSERT INTO stored VALUES {}", rows.join(", "))).await;

        let found = transfer(&source(&database), &table("stored"), 1)
            .await
            .unwrap_or_else(|fault| panic!("{place}: {}", fault.chain()));
        let printed = printed(&database, &columns).await;

        let order: Vec<usize> = column(&found.rows, "row")
            .into_iter()
            .map(|row| row.expect("a number").parse().expect("a number"))
            .collect();
        assert_eq!(order.len(), ROWS, "{place}");
        for (number, definition) in columns.iter().enumerate() {
            let values = column(&found.rows, &format!("v{number}"));
            for (row, value) in order.iter().zip(values) {
                let expected =
                    printed[*row][number].as_deref().map(|text| match definition.sql_type.as_str() {
                        "real" => format!("{:?}", text.parse::<f32>().expect("a number")),
                        "double precision" => format!("{:?}", text.parse::<f64>().expect("a number")),
                        // A cast to text takes the blanks away that the value has.
                        "char(12)" => format!("{text:<12}"),
                        _ => text.to_owned(),
                    });
                assert_eq!(value, expected, "{}, row {row}, {place}", definition.sql_type);
            }
        }
    }
}

/// What the server says of each value.
async fn printed(database: &postgres::Database, columns: &[Column]) -> Vec<Vec<Option<String>>> {
    let expressions: Vec<String> = (0..)
        .zip(columns)
        .map(|(number, column)| match column.print {
            "json" => format!("to_json(v{number})::text"),
            cast => format!("v{number}{cast}"),
        })
        .collect();
    let mut connection = database.connect().await;
    let set = "SET intervalstyle = 'iso_8601'; SET extra_float_digits = 3; SET timezone = 'UTC'";
    sqlx::raw_sql(set).execute(&mut connection).await.expect("settings");
    let sql = format!("SELECT {} FROM stored ORDER BY row", expressions.join(", "));
    let rows: Vec<PgRow> =
        sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect("the texts");
    rows.iter().map(|row| (0..columns.len()).map(|number| row.get(number)).collect()).collect()
}
