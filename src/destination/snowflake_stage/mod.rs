//! Internal stages of Snowflake.
//!
//! An attempt asks Snowflake once where the stage keeps its files (a PUT statement), and writes to
//! that storage itself: parts are encrypted as the stage asks, sent in blocks while they are
//! written, and become visible in the commit alone. A commit leaves a file that is on the stage
//! already with the same content as it is, because a load would take a new copy of it for a new
//! file. See `docs/adr/0009-digests-of-stage-files.md`.
//!
//! Memory: a part holds back one block that fills and two that are encrypted or on their way. On
//! storage that shows a file as soon as it is sent (Google Cloud Storage), parts wait in private
//! temporary files.

mod content;
mod listing;
mod part_writer;
mod upload;

use std::num::NonZeroU64;
use std::sync::Arc;

use async_trait::async_trait;

use self::listing::StageFiles;
use self::upload::StageUpload;
use super::{Destination, PartName, Target, Upload};
use crate::fault::{Fault, FaultKind};
use crate::shutdown::Shutdown;
use crate::snowflake::connection::Protocol;
use crate::snowflake::load::{self, LoadIdentity, RecordedLoad, TableName};
use crate::snowflake::put::StageLocation;
use crate::snowflake::put::storage::{Connections, Http, S3Clients};
use crate::snowflake::{Client, Connection, Statement};
use crate::task::{DestinationSpec, Receipt, TaskId};

/// Bytes of one block: small enough to be cheap to hold, and enough for a file of 80 GB on S3.
/// Invariant: a multiple of the block of the cipher.
const BLOCK_BYTES: usize = 8 << 20;
/// Blocks of a part that are encrypted or on their way, on any storage.
const PARALLEL_BLOCKS: usize = 2;

/// Blocks of a part that every storage takes: S3 takes the fewest, 10,000, of which the last can
/// grow by the padding of the encryption.
const MAX_BLOCKS: u64 = 9_999;

/// Writes to the stages that one Snowflake connection reaches.
#[derive(Debug)]
pub struct SnowflakeStageDestination {
    shared: Shared,
    control_table: Option<TableName>,
}

/// What the attempts share.
#[derive(Clone, Debug)]
struct Shared {
    client: Client,
    connections: Connections,
    shutdown: Shutdown,
}

impl SnowflakeStageDestination {
    /// Sends nothing. Blocks are sent by tasks of `shutdown`.
    pub fn new(client: Client, shutdown: &Shutdown) -> Result<Self, Fault> {
        let Connection { protocol, host, socket_timeout, .. } = &*client.connection();
        let is_this_machine = matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]");
        // No server of Snowflake's own is spoken to without TLS, so none of them can ask for these.
        let allows_plain = *protocol == Protocol::Http;
        let allows_directory = allows_plain && is_this_machine;
        let (http, s3) = (Http::new(*socket_timeout)?, S3Clients::new(*socket_timeout));
        let connections = Connections { http, s3, allows_plain, allows_directory };
        Ok(Self { shared: Shared { client, connections, shutdown: shutdown.clone() }, control_table: None })
    }

    /// Notes loads in this table, and not in the one beside each table that is loaded.
    #[must_use]
    pub fn with_control_table(self, control_table: Option<TableName>) -> Self {
        Self { control_table, ..self }
    }
}

#[async_trait]
impl Destination for SnowflakeStageDestination {
    async fn check(&self) -> Result<(), Fault> {
        let statement = Statement::new("SELECT 1 AS ONE");
        let answer = self.shared.client.run(&statement).await;
        answer.map(drop).map_err(|error| Fault::from(error).while_doing("run a statement in Snowflake"))
    }

    fn server(&self) -> Option<String> {
        Some(self.shared.client.connection().base_url())
    }

    fn part_buffer_bytes(&self) -> usize {
        (PARALLEL_BLOCKS + 1) * BLOCK_BYTES
    }

    fn max_file_bytes(&self) -> Option<NonZeroU64> {
        NonZeroU64::new((BLOCK_BYTES as u64).saturating_mul(MAX_BLOCKS))
    }

    async fn recorded(
        &self,
        task: &TaskId,
        attempt: u32,
        destination: &DestinationSpec,
    ) -> Result<Option<Receipt>, Fault> {
        let Some(spec) = &destination.load else { return Ok(None) };
        let location = stage(&destination.path)?;
        let identity = LoadIdentity {
            task,
            attempt,
            spec,
            stage: &location,
            control_table: self.control_table.as_ref(),
        };
        let recorded = Box::pin(load::recorded(&self.shared.client, &identity)).await?;
        Ok(recorded.map(|RecordedLoad { files, receipt }| Receipt {
            rows: receipt.rows_loaded,
            bytes: files.iter().map(|file| file.bytes).sum(),
            files,
            duration_ms: 0,
            slices: 0,
            load: Some(receipt),
            method: None,
        }))
    }

    async fn begin(&self, target: &Target) -> Result<Arc<dyn Upload>, Fault> {
        let load = target.load.clone();
        if let Some(load) = &load {
            load::check(load)?;
        }
        let location = stage(&target.path)?;
        let upload = StageUpload::begin(self.shared.clone(), target, location).await?;
        Ok(Arc::new(upload.with_load(load, self.control_table.clone())))
    }

    async fn delete(&self, target: &Target, name: &PartName) -> Result<(), Fault> {
        let Target { task, attempt, path, .. } = target;
        let client = self.shared.client.clone();
        let files = StageFiles { client, location: stage(path)?, task: task.clone(), attempt: *attempt };
        files.remove(vec![name.to_string()]).await
    }
}

fn stage(path: &str) -> Result<StageLocation, Fault> {
    StageLocation::parse(path).map_err(|error| {
        Fault::new(FaultKind::Request, "use the stage of the task")
            .because(error)
            .remedy("Correct `stage` of the task.")
    })
}
