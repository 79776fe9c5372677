//! Access to a stage's storage for a while, and again when that while is over.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Mutex;

use super::answer::{Answer, Credentials, StageStore};
use super::statement::{SourceCompression, StageLocation};
use crate::fault::{Fault, FaultKind};
use crate::snowflake::{Client, QueryTag, Statement};

/// The statement of a grant.
#[derive(Clone, Debug)]
pub enum Request {
    /// PUT of a file with this name.
    Upload(StageLocation, String),
    /// GET of a file with this name.
    Download(StageLocation, String),
}

impl Request {
    fn sql(&self) -> String {
        match self {
            Self::Upload(location, name) => location.put(name, SourceCompression::of(name)),
            Self::Download(location, name) => location.get(name),
        }
    }
}

/// A PUT or GET statement and what its newest answer allows.
///
/// Everybody who works under a grant shares it. When the storage refuses the credentials, the same
/// statement is run again, once for all who were refused: a refusal of credentials that have been
/// replaced meanwhile asks for nothing.
pub struct Grant {
    client: Client,
    request: Request,
    tag: QueryTag,
    first: Answer,
    current: RwLock<Arc<Access>>,
    /// Held while the statement runs.
    renewal: Mutex<()>,
}

/// Credentials, and which renewal brought them.
#[derive(Debug)]
pub struct Access {
    /// What to send.
    pub credentials: Credentials,
    generation: u64,
}

impl Access {
    /// 0 for the first credentials, and 1 more for each renewal.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }
}

impl Grant {
    /// Runs the statement.
    pub async fn ask(client: Client, request: Request, tag: QueryTag) -> Result<Self, Fault> {
        let first = transfer(&client, &request, &tag).await?;
        let access = Access { credentials: first.credentials.clone(), generation: 0 };
        let current = RwLock::new(Arc::new(access));
        Ok(Self { client, request, tag, first, current, renewal: Mutex::new(()) })
    }

    /// A grant for another file of the same directory: for stores that give access to one file
    /// only.
    pub async fn for_file(&self, file_name: &str) -> Result<Self, Fault> {
        let request = match &self.request {
            Request::Upload(location, _) => Request::Upload(location.clone(), file_name.to_owned()),
            Request::Download(location, _) => Request::Download(location.clone(), file_name.to_owned()),
        };
        Self::ask(self.client.clone(), request, self.tag.clone()).await
    }

    /// The first answer: where the files are, and their encryption. Its credentials may have
    /// expired.
    #[must_use]
    pub fn answer(&self) -> &Answer {
        &self.first
    }

    /// The newest credentials.
    #[must_use]
    pub fn access(&self) -> Arc<Access> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Credentials newer than `refused`, from the server if nobody has asked it yet.
    ///
    /// Only the credentials of the new answer are taken: a file that was begun keeps its key.
    pub async fn renew(&self, refused: &Access) -> Result<Arc<Access>, Fault> {
        let _only_one = self.renewal.lock().await;
        let current = self.access();
        if current.generation != refused.generation {
            return Ok(current);
        }
        let answer = transfer(&self.client, &self.request, &self.tag).await?;
        if !is_same_place(&answer.store, &self.first.store) {
            // Files of one attempt would be in two places.
            return Err(Fault::new(FaultKind::Transient, "renew the credentials of the stage's storage")
                .because("the stage has moved to another place meanwhile"));
        }
        tracing::debug!(generation = refused.generation + 1, "the credentials of a stage were renewed");
        let access = Arc::new(Access { credentials: answer.credentials, generation: refused.generation + 1 });
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&access);
        Ok(access)
    }
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Grant").field("answer", &self.first).finish_non_exhaustive()
    }
}

async fn transfer(client: &Client, request: &Request, tag: &QueryTag) -> Result<Answer, Fault> {
    let action = "ask Snowflake for the storage of the stage";
    let statement = Statement::new(request.sql()).query_tag(tag);
    let data = client.transfer(&statement).await.map_err(|error| Fault::from(error).while_doing(action))?;
    Answer::read(&data).map_err(|error| {
        Fault::new(FaultKind::Request, action)
            .because(error)
            .remedy("This agent cannot use such a stage; report the message with the kind of the stage.")
    })
}

fn is_same_place(one: &StageStore, other: &StageStore) -> bool {
    match (one, other) {
        (StageStore::S3 { place: one, .. }, StageStore::S3 { place: other, .. })
        | (StageStore::Azure { place: one, .. }, StageStore::Azure { place: other, .. })
        | (StageStore::Gcs { place: one, .. }, StageStore::Gcs { place: other, .. }) => one == other,
        (StageStore::LocalDirectory(one), StageStore::LocalDirectory(other)) => one == other,
        _ => false,
    }
}
