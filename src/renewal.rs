//! Connections whose secrets are read again when a login is refused, so that a password can be replaced
//! while the agent runs.

use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::sync::Mutex;

use crate::config::{Problems, SourceConnection, TargetConnection};
use crate::destination::{Destination, PartName, Target, Upload};
use crate::fault::{Fault, FaultKind};
use crate::shutdown::spawn_blocking;
use crate::source::{Extraction, Query, Source, TextExport};
use crate::task::{DestinationSpec, Receipt, TaskId};

/// Reads a connection of the configuration with the secrets of now; `None` where it came from nowhere.
/// Blocks.
pub type Read<C> = dyn Fn() -> Result<Option<C>, Problems> + Send + Sync;
/// Builds the adapter of a connection.
type Build<C, A> = dyn Fn(C) -> BoxFuture<'static, Result<Arc<A>, Fault>> + Send + Sync;

/// An adapter that is replaced when its secrets are.
pub struct Renewable<C, A: ?Sized> {
    /// `source sales`, for the log.
    label: String,
    current: RwLock<Arc<A>>,
    /// What the adapter was built from and when; one renewal at a time.
    built: Mutex<(C, Option<Instant>)>,
    read: Arc<Read<C>>,
    build: Box<Build<C, A>>,
}

/// A source connection.
pub type RenewableSource = Renewable<SourceConnection, dyn Source>;
/// A target connection.
pub type RenewableDestination = Renewable<TargetConnection, dyn Destination>;

impl<C: PartialEq + Send + 'static, A: ?Sized + Send + Sync> Renewable<C, A> {
    /// An adapter that was built from `connection`.
    pub fn new(
        label: String,
        connection: C,
        adapter: Arc<A>,
        read: impl Fn() -> Result<Option<C>, Problems> + Send + Sync + 'static,
        build: impl Fn(C) -> BoxFuture<'static, Result<Arc<A>, Fault>> + Send + Sync + 'static,
    ) -> Self
    where
        C: Clone,
    {
        Self {
            label,
            current: RwLock::new(adapter),
            built: Mutex::new((connection, None)),
            read: Arc::new(read),
            build: Box::new(build),
        }
    }

    /// Asks the adapter, and once more when it was refused and there are newer secrets by then. Nothing may
    /// have happened after a refusal.
    pub async fn ask<T, F>(&self, question: impl Fn(Arc<A>) -> F) -> Result<T, Fault>
    where
        C: Clone,
        F: Future<Output = Result<T, Fault>>,
    {
        let begun = Instant::now();
        let answer = question(self.current()).await;
        if is_refused(&answer) && self.renew_since(begun).await {
            return question(self.current()).await;
        }
        answer
    }

    fn current(&self) -> Arc<A> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn renew_since(&self, since: Instant) -> bool
    where
        C: Clone,
    {
        let mut built = self.built.lock().await;
        // Somebody else was refused at the same time, and has done it.
        if built.1.is_some_and(|renewed_at| renewed_at > since) {
            return true;
        }
        let connection = match read_again(&self.label, Arc::clone(&self.read)).await {
            Some(connection) if connection != built.0 => connection,
            Some(_) | None => return false,
        };
        match (self.build)(connection.clone()).await {
            Ok(adapter) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = adapter;
                *built = (connection, Some(Instant::now()));
                tracing::info!(
                    connection = self.label,
                    "a login was refused, and there are new secrets for it"
                );
                true
            }
            Err(fault) => {
                tracing::warn!(
                    connection = self.label,
                    error = fault.chain(),
                    "the new secrets cannot be used"
                );
                false
            }
        }
    }
}

/// A connection with the secrets of now; what keeps them from being read is logged under `label`.
pub(crate) async fn read_again<C: Send + 'static>(label: &str, read: Arc<Read<C>>) -> Option<C> {
    match spawn_blocking(move || read()).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(problems)) => {
            tracing::warn!(connection = label, %problems, "the secrets of a connection cannot be read again");
            None
        }
        Err(error) => {
            tracing::error!(connection = label, %error, "the secrets of a connection cannot be read again");
            None
        }
    }
}

fn is_refused<T>(result: &Result<T, Fault>) -> bool {
    result.as_ref().is_err_and(|fault| fault.kind() == FaultKind::Credentials)
}

#[deny(clippy::missing_trait_methods, reason = "a method that is not passed on is that of no adapter")]
#[async_trait]
impl Source for RenewableSource {
    async fn check(&self) -> Result<(), Fault> {
        self.ask(|adapter| async move { adapter.check().await }).await
    }

    async fn prepare(&self, query: &Query, wanted: NonZeroUsize) -> Result<Box<dyn Extraction>, Fault> {
        self.current().prepare(query, wanted).await
    }

    async fn export_as_text(&self, query: &Query) -> Result<TextExport, Fault> {
        self.current().export_as_text(query).await
    }

    async fn renew(&self, since: Instant) -> bool {
        self.renew_since(since).await
    }
}

#[deny(clippy::missing_trait_methods, reason = "a method that is not passed on is that of no adapter")]
#[async_trait]
impl Destination for RenewableDestination {
    async fn check(&self) -> Result<(), Fault> {
        self.ask(|adapter| async move { adapter.check().await }).await
    }

    fn server(&self) -> Option<String> {
        self.current().server()
    }

    fn part_buffer_bytes(&self) -> usize {
        self.current().part_buffer_bytes()
    }

    fn max_file_bytes(&self) -> Option<NonZeroU64> {
        self.current().max_file_bytes()
    }

    async fn recorded(
        &self,
        task: &TaskId,
        attempt: u32,
        destination: &DestinationSpec,
    ) -> Result<Option<Receipt>, Fault> {
        self.current().recorded(task, attempt, destination).await
    }

    async fn begin(&self, target: &Target) -> Result<Arc<dyn Upload>, Fault> {
        self.current().begin(target).await
    }

    async fn retract(&self, target: &Target) -> Result<(), Fault> {
        self.current().retract(target).await
    }

    async fn delete(&self, target: &Target, name: &PartName) -> Result<(), Fault> {
        self.current().delete(target, name).await
    }

    async fn renew(&self, since: Instant) -> bool {
        self.renew_since(since).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::config::{LocalTarget, SqliteSource};

    /// A database that lets in whoever names the right path.
    struct Door(SourceConnection);

    fn connection(path: &str) -> SourceConnection {
        SourceConnection::Sqlite(SqliteSource { path: path.into() })
    }

    #[async_trait]
    impl Source for Door {
        async fn check(&self) -> Result<(), Fault> {
            if self.0 == connection("right") {
                return Ok(());
            }
            Err(Fault::new(FaultKind::Credentials, "log in"))
        }

        async fn prepare(&self, _: &Query, _: NonZeroUsize) -> Result<Box<dyn Extraction>, Fault> {
            Err(Fault::new(FaultKind::Bug, "prepare"))
        }
    }

    fn renewable(stored: &'static str) -> (RenewableSource, Arc<AtomicUsize>) {
        let reads = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reads);
        let read = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(Some(connection(stored)))
        };
        let build = |connection| -> BoxFuture<'static, Result<Arc<dyn Source>, Fault>> {
            Box::pin(async move { Ok(Arc::new(Door(connection)) as Arc<dyn Source>) })
        };
        let first = connection("wrong");
        let adapter: Arc<dyn Source> = Arc::new(Door(first.clone()));
        (Renewable::new("source sales".to_owned(), first, adapter, read, build), reads)
    }

    #[tokio::test]
    async fn a_refused_login_is_tried_once_more_with_new_secrets() {
        let (source, reads) = renewable("right");
        let before = Instant::now();
        assert!(source.check().await.is_ok());
        assert!(source.check().await.is_ok());
        assert_eq!(reads.load(Ordering::Relaxed), 1);
        // An attempt that began before has the old ones, and need not read again.
        assert!(source.renew(before).await);
        assert_eq!(reads.load(Ordering::Relaxed), 1);
        assert!(!source.renew(Instant::now()).await, "nothing is newer than that");
    }

    #[tokio::test]
    async fn the_same_secrets_again_are_not_tried_again() {
        let (source, reads) = renewable("wrong");
        assert_eq!(source.check().await.unwrap_err().kind(), FaultKind::Credentials);
        assert!(!source.renew(Instant::now()).await);
        assert_eq!(reads.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_target_without_secrets_stays_what_it_is() {
        let target = TargetConnection::Local(LocalTarget { root: "r".into() });
        let again = target.clone();
        let local = LocalTarget { root: "r".into() };
        let adapter: Arc<dyn Destination> =
            Arc::new(crate::destination::local::LocalDestination::new(&local));
        let build = |_| -> BoxFuture<'static, Result<Arc<dyn Destination>, Fault>> {
            Box::pin(async { Err(Fault::new(FaultKind::Bug, "nothing is built")) })
        };
        let label = "target local".to_owned();
        let destination = Renewable::new(label, target, adapter, move || Ok(Some(again.clone())), build);
        assert!(!destination.renew(Instant::now()).await);
    }
}
