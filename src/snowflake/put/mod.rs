//! Files on internal stages: PUT, and as much of GET as it takes to compare.
//!
//! ```text
//! StageLocation -> PUT statement -> Answer -> Grant -> Storage -> StagedFile: blocks ... publish
//! ```
//!
//! The server answers a PUT with a place in a cloud's storage, credentials for a while, and the
//! key of the stage where its files are encrypted by the client. This module speaks to that
//! storage. It knows no tasks; `destination::snowflake_stage` makes attempts of it.

pub mod answer;
pub mod digest;
pub mod encryption;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod grant;
pub mod statement;
pub mod storage;

pub use answer::{Answer, EncryptionMaterial};
pub use grant::{Grant, Request};
pub use statement::StageLocation;
