//! Any bytes as the answer to a PUT or GET: read or refused, and what is read can encrypt.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| data_exchange_agent::snowflake::put::fuzzing::read_answer(input));
