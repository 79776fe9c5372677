//! Bulk utilities.

pub mod delimited;
pub(crate) mod process;
