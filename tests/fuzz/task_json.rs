//! Any bytes as the body of `POST /tasks`: no panic, and what is accepted survives the queue.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| data_exchange_agent::api::fuzzing::read(input));
