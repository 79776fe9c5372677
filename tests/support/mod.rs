//! What the tests need around the agent: foreign servers, faults, places to write.

pub(crate) mod agent;
pub(crate) mod azurite;
pub(crate) mod blob_container;
pub(crate) mod bulk;
pub(crate) mod browser;
pub(crate) mod cloud_front;
pub(crate) mod emulator_relay;
pub(crate) mod extraction;
pub(crate) mod fakesnow;
pub(crate) mod folder;
pub(crate) mod foreign_reader;
pub(crate) mod gate;
pub(crate) mod gcs;
pub(crate) mod mysql;
#[cfg(feature = "odbc")]
pub(crate) mod odbc;
pub(crate) mod pgbouncer;
pub(crate) mod postgres;
pub(crate) mod proxy;
pub(crate) mod s3;
pub(crate) mod server;
pub(crate) mod snowflake;
pub(crate) mod sqlserver;
pub(crate) mod tds;
