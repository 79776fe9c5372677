//! Any bytes as the messages of a COPY: no panic, and no difference where they are cut.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| data_exchange_agent::source::postgres::fuzzing::decode(input));
