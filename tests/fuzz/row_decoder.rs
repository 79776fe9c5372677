//! Any bytes as the message of an SQL Server: no panic, and no difference where it is cut.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| data_exchange_agent::source::sqlserver::fuzzing::decode(input));
