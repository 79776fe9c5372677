//! All integration tests, as one binary.

mod destinations;
mod local_destination;
mod postgres_faults;
mod postgres_login;
mod postgres_property;
mod postgres_slices;
mod postgres_source;
mod postgres_support;
mod postgres_types;
mod s3_destination;
#[path = "../support/mod.rs"]
mod support;
