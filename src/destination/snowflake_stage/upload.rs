//! The files of one attempt: known from their beginning, published together, or discarded.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};

use super::listing::{Listing, StageFiles};
use super::part_writer::StagePartWriter;
use super::{Shared, content};
use crate::destination::{
    LoadRequest, PartName, PartWriter, StoredPart, Target, Upload, in_time_to_clean_up,
};
use crate::fault::{Fault, FaultKind};
use crate::shutdown::Shutdown;
use crate::snowflake::load::{self, LoadJob, TableName};
use crate::snowflake::put::answer::Command;
use crate::snowflake::put::digest::Finished;
use crate::snowflake::put::storage::{self, Metadata, StagedFile, Storage};
use crate::snowflake::put::{EncryptionMaterial, Grant, Request, StageLocation};
use crate::task::{FileReceipt, LoadReceipt, TaskId};

/// Files that are published or discarded at the same time.
const PARALLEL_FILES: usize = 8;

pub(super) struct StageUpload {
    attempt: Arc<Attempt>,
    load: Option<LoadRequest>,
    control_table: Option<TableName>,
}

/// What the upload and its writers share.
pub(super) struct Attempt {
    shared: Shared,
    files: StageFiles,
    grant: Arc<Grant>,
    storage: Arc<dyn Storage>,
    /// What was on the stage when the attempt began; `None` on storage that notices by itself when
    /// a newer attempt has published.
    before: Option<Listing>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Invariant: a file is here before anything of it is sent, so that an abort finds it.
    files: Vec<Arc<KnownFile>>,
    is_closed: bool,
}

/// A file of this attempt.
pub(super) struct KnownFile {
    /// Names it among the files of the attempt.
    pub(super) token: String,
    pub(super) staged: Arc<dyn StagedFile>,
    finished: OnceLock<(Finished, Metadata)>,
}

impl KnownFile {
    /// Notes that everything is stored.
    pub(super) fn finished(&self, finished: Finished, metadata: Metadata) {
        let _ = self.finished.set((finished, metadata));
    }
}

impl StageUpload {
    /// Asks for the storage of the stage, and removes what an earlier attempt left unseen.
    pub(super) async fn begin(
        shared: Shared,
        target: &Target,
        location: StageLocation,
    ) -> Result<Self, Fault> {
        let Target { task, attempt, .. } = target;
        let prefix = PartName::prefix(task);
        let client = shared.client.clone();
        let files = StageFiles { client, location, task: task.clone(), attempt: *attempt };
        // The answer is about the directory; which file is named decides nothing.
        let request = Request::Upload(files.location.clone(), format!("{prefix}001.parquet"));
        let grant = Arc::new(Grant::ask(shared.client.clone(), request, files.tag()).await?);
        if grant.answer().command != Command::Upload {
            return Err(Fault::new(FaultKind::Request, format!("store files in `{}`", files.location))
                .because("the server did not answer with an upload"));
        }
        let storage = storage::open(Arc::clone(&grant), &shared.connections)?;
        let before = match discard_earlier(&*storage, &files.task).await {
            true => None,
            false => Some(files.list().await?),
        };
        let state = Mutex::default();
        let attempt = Arc::new(Attempt { shared, files, grant, storage, before, state });
        Ok(Self { attempt, load: None, control_table: None })
    }

    /// Loads the files into a table after they are published.
    pub(super) fn with_load(self, load: Option<LoadRequest>, control_table: Option<TableName>) -> Self {
        Self { load, control_table, ..self }
    }
}

/// Discards what is not visible of a task; see [`Storage::discard_earlier`].
async fn discard_earlier(storage: &dyn Storage, task: &TaskId) -> bool {
    let prefix = PartName::prefix(task);
    let task = task.clone();
    let is_own = move |name: &str| PartName::belongs_to(name, &task);
    storage.discard_earlier(&prefix, &is_own).await
}

impl Attempt {
    pub(super) fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    pub(super) fn shutdown(&self) -> &Shutdown {
        &self.shared.shutdown
    }

    /// The key of the stage, when its files are encrypted here. That of the first answer, for all
    /// files: a renewal brings another one, and either is good.
    pub(super) fn material(&self) -> Option<&EncryptionMaterial> {
        self.grant.answer().encryption.first()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn create(&self, name: &PartName) -> Result<Arc<KnownFile>, Fault> {
        let staged = self.storage.create(name.as_str())?;
        let token = uuid::Uuid::new_v4().to_string();
        let file = Arc::new(KnownFile { token, staged, finished: OnceLock::new() });
        let mut state = self.state();
        if state.is_closed {
            let action = format!("create `{name}`: the attempt has ended");
            return Err(Fault::new(FaultKind::Bug, action));
        }
        state.files.push(Arc::clone(&file));
        Ok(file)
    }

    async fn publish(&self, parts: &[StoredPart]) -> Result<Vec<FileReceipt>, Fault> {
        let files = parts.iter().map(|part| self.finished_file(part)).collect::<Result<Vec<_>, _>>()?;
        let listing = self.files.list().await?;
        if self.before.as_ref().is_some_and(|before| *before != listing) {
            return Err(Fault::new(
                FaultKind::Transient,
                format!("store files in `{}`", self.files.location),
            )
            .because("another attempt of the task has changed its files meanwhile"));
        }
        // Collected first: a closure inside the stream would have to hold for every lifetime.
        let published: Vec<_> =
            parts.iter().zip(&files).map(|(part, file)| self.publish_one(part, file, &listing)).collect();
        stream::iter(published).buffer_unordered(PARALLEL_FILES).try_collect::<()>().await?;
        let is_ours = |name: &String| parts.iter().any(|part| part.name.as_str() == name);
        self.files.remove(listing.into_keys().filter(|name| !is_ours(name)).collect()).await?;
        Ok(parts
            .iter()
            .map(|part| FileReceipt {
                location: format!("{}{}", self.files.location, part.name),
                rows: part.rows,
                bytes: part.bytes,
                sha256: part.sha256.clone(),
            })
            .collect())
    }

    fn finished_file(&self, part: &StoredPart) -> Result<Arc<KnownFile>, Fault> {
        let state = self.state();
        let known = state.files.iter().find(|file| file.token == part.token && file.finished.get().is_some());
        known.cloned().ok_or_else(|| {
            let action = format!("commit `{}`: it is not a finished part of this attempt", part.name);
            Fault::new(FaultKind::Bug, action)
        })
    }

    async fn publish_one(&self, part: &StoredPart, file: &KnownFile, listing: &Listing) -> Result<(), Fault> {
        let (finished, metadata) = file.finished.get().expect("only finished files are published");
        let name = part.name.as_str();
        // Another length is another content; the same length asks for a closer look.
        let may_be_same = listing.get(name).is_some_and(|listed| listed.bytes == Some(finished.stored_bytes));
        if may_be_same
            && content::is_same(&self.shared, &self.files, &*self.storage, name, finished.content).await?
        {
            tracing::info!(
                task.id = %self.files.task, file = name, stage = %self.files.location,
                "a file is on the stage already with the same content; it stays as it is"
            );
            return Ok(());
        }
        file.staged.publish(metadata).await?;
        self.state().files.retain(|known| known.token != file.token);
        Ok(())
    }

    /// Discards every file that is not published.
    async fn discard(&self) {
        let files = {
            let mut state = self.state();
            state.is_closed = true;
            std::mem::take(&mut state.files)
        };
        let discarded: Vec<_> = files.iter().map(|file| file.staged.discard()).collect();
        let discarded = stream::iter(discarded).buffer_unordered(PARALLEL_FILES).collect::<()>();
        if !in_time_to_clean_up(self.shutdown(), discarded).await {
            tracing::warn!(
                task.id = %self.files.task, files = files.len(),
                "the storage of the stage did not discard all unfinished files in time; nobody sees them"
            );
        }
    }
}

#[async_trait]
impl Upload for StageUpload {
    async fn create(&self, name: &PartName) -> Result<Box<dyn PartWriter>, Fault> {
        let file = self.attempt.create(name)?;
        Ok(Box::new(StagePartWriter::new(Arc::clone(&self.attempt), file, name.clone())?))
    }

    async fn commit(&self, parts: Vec<StoredPart>) -> Result<Vec<FileReceipt>, Fault> {
        let result = self.attempt.publish(&parts).await;
        // After an error, what is not visible yet; after success, what was begun and is not among
        // `parts`, or was there already.
        self.attempt.discard().await;
        if result.is_ok() {
            // An attempt that lost its lease may have begun files since this one began.
            discard_earlier(&*self.attempt.storage, &self.attempt.files.task).await;
        }
        result
    }

    async fn load(&self, files: &[FileReceipt]) -> Result<Option<LoadReceipt>, Fault> {
        let Some(request) = &self.load else { return Ok(None) };
        let StageFiles { client, location, task, attempt } = &self.attempt.files;
        let control_table = self.control_table.as_ref();
        let job = LoadJob { task, attempt: *attempt, request, stage: location, files, control_table };
        Box::pin(load::run(client, &job)).await.map(Some)
    }

    async fn abort(&self) {
        self.attempt.discard().await;
    }
}
