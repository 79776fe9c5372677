//! Any text as a file of Snowflake connections: each is proven or refused, without showing it.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| data_exchange_agent::snowflake::connection_files::fuzz(text));
