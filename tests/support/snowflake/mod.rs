//! Doubles of what Snowflake does and no emulator has.

pub(crate) mod queue;
pub(crate) mod queue_server;
