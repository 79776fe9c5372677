//! Snowflake stages as destination: on the storage of each cloud they keep its contract.

mod faults;
mod files;
mod tasks;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use data_exchange_agent::destination::snowflake_stage::SnowflakeStageDestination;
use data_exchange_agent::destination::{Destination, PartName, Target, Upload};
use data_exchange_agent::fault::Fault;
use data_exchange_agent::shutdown::Shutdown;
use data_exchange_agent::snowflake::{Client, Connection};

use crate::destinations::{Reader, check_destination};
use crate::support::proxy::Treatment;
use crate::support::snowflake::SnowflakeDouble;
use crate::support::snowflake::stage::{STAGE, Stage};
use crate::support::snowflake::stage_storage::Backend;

/// More than two blocks, and no whole number of them.
const SEVERAL_BLOCKS: usize = 16 * 1024 * 1024 + 5;

/// Takes paths as other destinations do, and puts the stage before them.
struct OnStage(SnowflakeStageDestination);

fn on_stage(target: &Target) -> Target {
    Target { path: format!("{STAGE}/{}", target.path), ..target.clone() }
}

#[async_trait]
impl Destination for OnStage {
    async fn check(&self) -> Result<(), Fault> {
        self.0.check().await
    }

    fn part_buffer_bytes(&self) -> usize {
        self.0.part_buffer_bytes()
    }

    async fn begin(&self, target: &Target) -> Result<Arc<dyn Upload>, Fault> {
        self.0.begin(&on_stage(target)).await
    }

    async fn delete(&self, target: &Target, name: &PartName) -> Result<(), Fault> {
        self.0.delete(&on_stage(target), name).await
    }
}

#[async_trait]
impl Reader for Stage {
    async fn visible(&self, path: &str) -> BTreeMap<String, Vec<u8>> {
        let folder = if path.is_empty() { String::new() } else { format!("{path}/") };
        let mut found = BTreeMap::new();
        for name in self.backend.names(path).await {
            let content = self.read(&format!("{folder}{name}")).await;
            found.insert(name, content);
        }
        found
    }

    async fn hidden(&self) -> Vec<String> {
        self.backend.hidden().await
    }

    fn shows_hidden(&self) -> bool {
        matches!(self.backend, Backend::S3 { .. })
    }

    fn location(&self, path: &str, name: &str) -> String {
        let separator = if path.is_empty() { "" } else { "/" };
        format!("{STAGE}/{path}{separator}{name}")
    }
}

async fn on(backend: Backend, key_bytes: Option<usize>) -> (Arc<Stage>, OnStage) {
    let double = SnowflakeDouble::start().await;
    let stage = Stage::on(&double, backend, key_bytes);
    (stage, OnStage(destination(double.connection())))
}

fn destination(connection: Connection) -> SnowflakeStageDestination {
    let shutdown = Shutdown::new();
    let client = Client::new(connection, &shutdown).expect("a good connection");
    SnowflakeStageDestination::new(client, &shutdown).expect("nothing is opened yet")
}

fn forward(_: &str) -> Treatment {
    Treatment::Forward
}

/// Every kind of storage that is installed, with a key of this many bytes.
async fn stages(key_bytes: Option<usize>) -> Vec<(Arc<Stage>, OnStage)> {
    let mut stages = vec![
        on(Backend::s3(forward).await, key_bytes).await,
        on(Backend::gcs(false).await, key_bytes).await,
        on(Backend::gcs(true).await, key_bytes).await,
    ];
    if let Some(azure) = Backend::azure(forward).await {
        stages.push(on(azure, key_bytes).await);
    }
    stages
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_on_s3_keeps_the_contract_of_a_destination() {
    let (stage, destination) = on(Backend::s3(forward).await, Some(16)).await;
    check_destination(&destination, &*stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_on_azure_keeps_the_contract_of_a_destination() {
    let Some(azure) = Backend::azure(forward).await else { return };
    let (stage, destination) = on(azure, Some(32)).await;
    check_destination(&destination, &*stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_on_google_keeps_the_contract_of_a_destination() {
    let (stage, destination) = on(Backend::gcs(false).await, Some(32)).await;
    check_destination(&destination, &*stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_with_signed_urls_keeps_the_contract_of_a_destination() {
    let (stage, destination) = on(Backend::gcs(true).await, None).await;
    check_destination(&destination, &*stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_of_an_emulator_in_a_directory_keeps_the_contract_of_a_destination() {
    let (stage, destination) = on(Backend::directory(), None).await;
    check_destination(&destination, &*stage).await;
}
