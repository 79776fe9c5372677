//! Any bytes as rows of MySQL's binary protocol, and as the packets around them: no panic, and no
//! difference where they are cut.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| data_exchange_agent::source::mysql::fuzzing::decode(input));
