//! Any bytes as an answer of Snowflake, a chunk of a result, or a stream of Arrow: no panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| data_exchange_agent::snowflake::result::fuzzing::decode(input));
