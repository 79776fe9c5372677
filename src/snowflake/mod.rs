//! Snowflake: who logs in where.

pub mod account;
pub mod authentication;
pub mod connection;
mod private_file;
