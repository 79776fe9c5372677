//! Random values of every exact type: what the Parquet file says is what the server prints.

use data_exchange_agent::config::{MysqlSource, TimeMapping};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::support::extraction::{column, table, transfer};
use crate::support::mysql::{self, open};

/// Tables that are made, each with precisions of its own.
const ROUNDS: usize = 5;
const ROWS: usize = 100;

/// A column: its type, the SQL of a random value, and how the server prints it.
struct Column {
    sql_type: String,
    value: BoxedStrategy<String>,
    print: &'static str,
}

fn column_of(sql_type: impl Into<String>, value: impl Strategy<Value = String> + 'static) -> Column {
    Column { sql_type: sql_type.into(), value: value.boxed(), print: "CAST(@ AS CHAR)" }
}

fn quoted(text: &str) -> String {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("CONVERT(x'{hex}' USING utf8mb4)")
}

fn any_text() -> impl Strategy<Value = String> {
    // Half of them of characters that some format somewhere gives a meaning to.
    let tricky = proptest::sample::select(
        "'\"\\,;{}()[]\n\r\t\0 :/-+.Nul%$`#\u{feff}\u{301}ä𝄞".chars().collect::<Vec<_>>(),
    );
    vec(prop_oneof![tricky, any::<char>()], 0..12).prop_map(|characters| characters.into_iter().collect())
}

/// Up to `precision` digits, `scale` of them behind the point.
fn decimal(precision: usize, scale: usize) -> impl Strategy<Value = String> {
    let digit = prop_oneof![Just('0'), Just('9'), proptest::char::range('0', '9')];
    (vec(digit, 1..=precision), any::<bool>()).prop_map(move |(digits, negative)| {
        let digits: String = digits.into_iter().collect();
        let digits = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        format!("'{}{whole}.{fraction}'", if negative { "-" } else { "" })
    })
}

fn day() -> impl Strategy<Value = String> {
    prop_oneof![0..40_000_i32, -364_000..2_932_896_i32].prop_map(|days| {
        let date = jiff::civil::Date::new(1970, 1, 1).expect("a date") + jiff::Span::new().days(days);
        date.max(jiff::civil::Date::new(1000, 1, 1).expect("a date")).to_string()
    })
}

fn clock(hours: u32) -> impl Strategy<Value = String> {
    let fraction = prop_oneof![Just(0), 0..1_000_000_u32];
    (0..hours, 0..60_u32, 0..60_u32, fraction).prop_map(|(hour, minute, second, fraction)| {
        format!("{hour:02}:{minute:02}:{second:02}.{fraction:06}")
    })
}

fn columns(precisions: [(usize, usize); 3]) -> Vec<Column> {
    let mut columns = vec![
        column_of("tinyint", any::<i8>().prop_map(|value| value.to_string())),
        column_of("tinyint unsigned", any::<u8>().prop_map(|value| value.to_string())),
        column_of("smallint", any::<i16>().prop_map(|value| value.to_string())),
        column_of("smallint unsigned", any::<u16>().prop_map(|value| value.to_string())),
        column_of("mediumint", (-8_388_608..8_388_608_i32).prop_map(|value| value.to_string())),
        column_of("mediumint unsigned", (0..16_777_216_u32).prop_map(|value| value.to_string())),
        column_of("int", any::<i32>().prop_map(|value| value.to_string())),
        column_of("int unsigned", any::<u32>().prop_map(|value| value.to_string())),
        column_of("bigint", any::<i64>().prop_map(|value| value.to_string())),
        column_of("bigint unsigned", any::<u64>().prop_map(|value| value.to_string())),
        column_of(
            "double",
            any::<f64>()
                .prop_filter("finite", |value| value.is_finite())
                .prop_map(|value| format!("{value:e}")),
        ),
        column_of("date", day().prop_map(|day| format!("'{day}'"))),
        column_of("datetime(6)", (day(), clock(24)).prop_map(|(day, clock)| format!("'{day} {clock}'"))),
        column_of(
            "time(6)",
            (any::<bool>(), clock(838))
                .prop_map(|(negative, clock)| format!("'{}{clock}'", if negative { "-" } else { "" })),
        ),
        column_of("varchar(40)", any_text().prop_map(|text| quoted(&text))),
        column_of("longtext", any_text().prop_map(|text| quoted(&text))),
        column_of("varchar(40) CHARACTER SET utf16", any_text().prop_map(|text| quoted(&text))),
        Column {
            print: "CONCAT('\\\\x', LOWER(HEX(@)))",
            ..column_of(
                "varbinary(300)",
                vec(any::<u8>(), 0..280).prop_map(|bytes| {
                    bytes.iter().fold("x'".to_owned(), |text, byte| text + &format!("{byte:02x}")) + "'"
                }),
            )
        },
        Column {
            print: "CAST(@ + 0 AS CHAR)",
            ..column_of("bit(40)", (0..1_u64 << 40).prop_map(|value| value.to_string()))
        },
    ];
    for (precision, scale) in precisions {
        columns.push(column_of(format!("decimal({precision},{scale})"), decimal(precision, scale)));
    }
    columns
}

/// As the reader of the files here prints it: no zeros at the end of a fraction of a second.
fn as_read(sql_type: &str, text: &str) -> String {
    match sql_type {
        "double" => format!("{:?}", text.parse::<f64>().expect("a number")),
        "datetime(6)" => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        _ => text.to_owned(),
    }
}

fn unhex(text: &str) -> String {
    let digits: Vec<u8> = text.bytes().collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
    String::from_utf8(digits.chunks(2).map(byte).collect()).expect("UTF-8")
}

#[tokio::test]
async fn random_values_are_those_that_the_server_prints() {
    let seed: [u8; 32] = rand::random();
    let mut runner =
        TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    for server in mysql::servers().await {
        let database = server.create_database().await;
        let source = open(MysqlSource { time: TimeMapping::Text, ..database.configuration() });
        for round in 0..ROUNDS {
            let place = format!("{:?}, seed {seed:?}, round {round}", server.flavor);
            let mut draw = |strategy: &BoxedStrategy<String>| -> String {
                strategy.new_tree(&mut runner).expect("no strategy here runs dry").current()
            };
            // One precision for each width of decimals.
            let widths = [1..=18, 19..=38, 39..=65_usize].map(|range| {
                let pair = range.prop_flat_map(|precision| (Just(precision), 0..=precision.min(30)));
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
            let definitions: Vec<String> = (0..)
                .zip(&columns)
                .map(|(number, column)| format!("v{number} {}", column.sql_type))
                .collect();
            database
                .run(&format!(
                    "DROP TABLE IF EXISTS kept_values; CREATE TABLE kept_values (position int, {}); INSERT INTO kept_values VALUES {}",
                    definitions.join(", "),
                    rows.join(", ")
                ))
                .await;

            let found = transfer(&source, &table("kept_values"), 1)
                .await
                .unwrap_or_else(|fault| panic!("{place}: {}", fault.chain()));
            let prints: Vec<String> = (0..)
                .zip(&columns)
                .map(|(number, column)| {
                    let text = column.print.replace('@', &format!("v{number}"));
                    format!("IFNULL(HEX(CONVERT({text} USING utf8mb4)), 'NULL')")
                })
                .collect();
            let printed = database
                .run(&format!("SELECT {} FROM kept_values ORDER BY position", prints.join(", ")))
                .await;

            let order: Vec<usize> = column(&found.rows, "position")
                .into_iter()
                .map(|row| row.expect("a number").parse().expect("a number"))
                .collect();
            assert_eq!(order.len(), ROWS, "{place}");
            for (number, definition) in columns.iter().enumerate() {
                let values = column(&found.rows, &format!("v{number}"));
                for (row, value) in order.iter().zip(values) {
                    let expected = match printed[*row][number].as_str() {
                        "NULL" => None,
                        text => Some(as_read(&definition.sql_type, &unhex(text))),
                    };
                    assert_eq!(value, expected, "{}, row {row}, {place}", definition.sql_type);
                }
            }
        }
    }
}
