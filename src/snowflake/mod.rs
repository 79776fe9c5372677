//! Snowflake: who logs in where.

pub mod account;
pub mod authentication;
pub mod connection;
pub mod connection_files;
mod private_file;
pub(crate) mod proof;
pub(crate) mod settings;
pub mod spcs;
