//! What the tests need around the agent: foreign servers, faults, places to write.

pub(crate) mod extraction;
pub(crate) mod folder;
pub(crate) mod postgres;
pub(crate) mod proxy;
pub(crate) mod s3;
pub(crate) mod server;
