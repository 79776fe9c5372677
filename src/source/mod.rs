//! Where rows come from.
//!
//! A [`Source`] is one configured connection. [`Source::prepare`] checks a query and fixes one
//! consistent picture of its result, an [`Extraction`], whose slices are then read as streams of
//! Arrow batches.

mod block;
mod digits;
mod fixed_width;
#[cfg(any(feature = "odbc", feature = "kerberos"))]
mod late_library;
pub mod mysql;
#[cfg(feature = "odbc")]
pub mod odbc;
pub mod postgres;
mod ranges;
pub mod read_only;
mod socket;
pub mod sqlite;
pub mod sqlserver;
pub(crate) mod teradata_texts;
mod text_export;
mod tls;
mod variable_width;

#[cfg(test)]
mod fuzz_seeds;

use std::num::NonZeroUsize;
use std::time::Instant;

use arrow::array::RecordBatch;
use async_trait::async_trait;

pub use self::text_export::{TextExport, TextForms};
use crate::fault::{Fault, FaultKind};
use crate::schema::TableSchema;
use crate::task::Read;

/// What to read.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// A query or a table.
    pub read: Read,
    /// These columns only, in this order.
    pub columns: Option<Vec<String>>,
    /// Column whose ranges divide a query into slices.
    pub slice_column: Option<String>,
    /// Only the values' texts are wanted, because a file of texts is all that becomes of them. A program
    /// that writes exact ones may have them passed on as they are; everybody else reads typed values.
    pub as_texts: bool,
}

/// Upper bounds of one batch; whichever is reached first ends it. A batch has at least one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Rows.
    pub rows: NonZeroUsize,
    /// Bytes of the decoded columns, within one row.
    pub bytes: NonZeroUsize,
}

/// A configured connection to a database. Shared by all workers.
#[async_trait]
pub trait Source: Send + Sync {
    /// Logs in and runs the cheapest statement. Called by health checks, at the same time as
    /// extractions; holds nothing open afterwards.
    async fn check(&self) -> Result<(), Fault>;

    /// Checks that the query only reads, learns its columns, and fixes a snapshot that can be read
    /// in up to `wanted` slices. Reads no rows. After an error nothing is held open.
    async fn prepare(&self, query: &Query, wanted: NonZeroUsize) -> Result<Box<dyn Extraction>, Fault>;

    /// Called when an attempt that began at `since` was refused for its credentials, also by several
    /// attempts at the same time. True when there are newer ones than the attempt had, so that trying
    /// once more makes sense. Adapters leave this to [`crate::renewal`].
    async fn renew(&self, since: Instant) -> bool {
        let _no_newer_ones = since;
        false
    }

    /// Checks that the query only reads, learns its columns, and writes a statement with the same rows
    /// as texts, for a program that knows nothing else. Reads no rows, and holds nothing open
    /// afterwards. Called once for each attempt that a bulk utility runs.
    async fn export_as_text(&self, _query: &Query) -> Result<TextExport, Fault> {
        Err(Fault::new(FaultKind::Request, "describe the query for a bulk utility")
            .because("databases of this kind are not read by bulk utilities")
            .remedy("Set `method` to `native`, or leave it out."))
    }
}

/// One consistent picture of a result, held until it is dropped.
#[async_trait]
pub trait Extraction: Send + Sync {
    /// The columns. Every batch of every slice has exactly these.
    fn schema(&self) -> &TableSchema;

    /// How many slices there are; at least 1. Together they hold every row exactly once.
    fn slice_count(&self) -> usize;

    /// Starts to read slice `slice` (from 0). Called once for each slice, for several slices at
    /// the same time. Dropping the stream cancels the statement on the server.
    async fn open(&self, slice: usize, limits: BatchLimits) -> Result<Box<dyn BatchStream>, Fault>;
}

/// The rows of one slice.
#[async_trait]
pub trait BatchStream: Send {
    /// The next batch, or `None` after the last one. Not called again after `None` or an error.
    async fn next(&mut self) -> Result<Option<RecordBatch>, Fault>;
}
