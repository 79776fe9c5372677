//! One limit of time for all that an extraction does on the server.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::fault::{Fault, FaultKind};

/// When an extraction has to be over: `statement_timeout` after it began. Waiting for a lock, sorting
/// before the first row and describing count as reading does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Option<(Duration, Instant)>);

impl Deadline {
    /// Begins to count; `None` is no limit.
    pub(super) fn begin(limit: Option<Duration>) -> Self {
        Self(limit.map(|limit| (limit, Instant::now() + limit)))
    }

    /// What `work` gives, unless the time is over before. Dropped work cancels its statement.
    pub(super) async fn hold<T>(
        self,
        action: &'static str,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let Some((limit, end)) = self.0 else { return work.await };
        timeout_at(end, work).await.unwrap_or_else(|_elapsed| {
            Err(Fault::new(FaultKind::Transient, action)
                .because(format!("the extraction has run for {limit:?}"))
                .remedy("Raise `statement_timeout` of the connection, use more `slices`, or find out on the server what it waits for."))
        })
    }
}
