//! Snowflake: who logs in where, sessions, statements and their results.
//!
//! [`Client`] is one session for each connection, shared by everybody who asks [`Clients`] for it: it logs in at first
//! use, renews its tokens once for all, and logs in again when the server has forgotten it, with newer
//! secrets where the old ones are refused. A
//! statement keeps its name over all repetitions, so that a lost answer does not run it twice, and is
//! aborted on the server when its future is dropped. [`OwnSession`] is for transactions, where a new
//! session in place of a lost one would be wrong.
//!
//! ```text
//! Client -> Session (login, tokens, heartbeat) -> query (send, wait, abort) -> result (JSON, Arrow, chunks)
//! ```

pub mod account;
pub mod authentication;
mod client;
mod clients;
mod codes;
pub mod connection;
pub mod connection_files;
mod credentials;
mod envelope;
mod error;
mod heartbeat;
mod http;
pub mod load;
mod login;
mod private_file;
pub(crate) mod proof;
pub mod put;
mod query;
mod query_context;
mod redact;
pub mod result;
mod session;
pub(crate) mod settings;
pub mod spcs;
mod statement;

pub use client::{Client, OwnSession, QueryStatus, Submitted};
pub use clients::Clients;
pub use connection::Connection;
pub use credentials::ReadConnection;
pub use error::Error;
pub use result::{Column, Row, Table};
pub use statement::{Binding, QueryTag, Statement};
