//! Any bytes as the output of a bulk utility: no panic, and no difference where they are cut.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| data_exchange_agent::bulk::delimited::fuzzing::decode(input));
