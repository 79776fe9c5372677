//! Snowflake: who logs in where.

pub mod account;
pub mod authentication;
pub mod connection;
pub mod load;
mod private_file;
