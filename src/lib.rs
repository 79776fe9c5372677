//! The data exchange agent moves data out of databases into object stores, as Parquet.
//!
//! A **task** is **leased** from a **task source**, **planned**, **extracted** from a **source** as
//! **batches**, encoded into **parts**, **uploaded** to a **destination**, **committed**, and
//! **finished** with an **outcome**. The modules follow that sentence.

pub mod agent;
pub mod api;
pub mod bounds;
pub mod bulk;
pub mod catalog;
pub mod cli;
mod clock;
pub mod config;
pub mod destination;
pub mod fault;
pub mod guards;
mod heap;
pub mod history;
pub mod idle;
mod nearest;
pub mod observer;
mod quantity;
pub mod reload;
pub mod renewal;
pub mod retry;
pub mod schema;
pub mod shutdown;
pub mod snowflake;
pub mod source;
pub mod supervisor;
pub mod task;
pub mod task_source;
pub mod telemetry;
pub mod transfer;
pub mod worker;
