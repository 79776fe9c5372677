//! Doubles of the tests as one program, for the benchmark.
//!
//! ```text
//! doubles snowflake <endpoint> <bucket> <key> <secret>
//! doubles sqlserver <rows of lineitem: tabs between, dates as days since 0001-01-01> <times>
//! ```
#![expect(dead_code, unused_imports, reason = "this needs a corner of what supports all tests")]
#![expect(clippy::print_stdout, reason = "it answers the benchmark on its standard output")]

#[path = "doubles/snowflake.rs"]
mod snowflake;
#[path = "doubles/sqlserver.rs"]
mod sqlserver;
#[path = "../support/mod.rs"]
mod support;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["snowflake", endpoint, bucket, key, secret] => {
            snowflake::serve(endpoint, bucket, [key, secret]).await
        }
        ["sqlserver", rows, times] => sqlserver::serve(rows, times.parse().expect("a number of times")).await,
        // Whoever runs every benchmark of the package means the measurements of others.
        _ => println!("usage: doubles snowflake|sqlserver ...; see tests/bench/doubles.py"),
    }
}
