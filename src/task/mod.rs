//! A task and what becomes of it.
//!
//! A [`Task`] is leased as a [`Lease`], tried as an attempt, and finished with an [`Outcome`]:
//! a [`Receipt`] when it was completed, a [`Report`] when it was not.

mod id;
mod outcome;
mod progress;
mod spec;
mod traceparent;

pub use id::{InvalidTaskId, TaskId};
pub use outcome::{
    Extension, FileReceipt, Finished, Lease, LeaseId, LoadReceipt, MethodReceipt, Outcome, Receipt, Report,
};
pub use progress::{Progress, ProgressSnapshot, Waits};
pub use spec::{
    Compression, DEFAULT_MAX_ATTEMPTS, DestinationKind, DestinationSpec, FileFormat, LoadMode, LoadSpec,
    MAX_SLICES, Read, SourceSpec, Task, TaskSpec,
};
pub use traceparent::Traceparent;
