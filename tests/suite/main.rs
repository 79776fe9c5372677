//! All integration tests, as one binary.

mod agent_transfer;
mod destinations;
mod local_destination;
mod postgres_support;
mod s3_destination;
#[path = "../support/mod.rs"]
mod support;
