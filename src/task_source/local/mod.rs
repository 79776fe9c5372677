//! The durable queue behind `POST /tasks`.

mod record;

pub use record::{
    AttemptRecord, AttemptState, Cancelled, Counts, Page, Retried, Submitted, TaskRecord, TaskState,
};
