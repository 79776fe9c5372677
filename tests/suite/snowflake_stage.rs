//! Snowflake stages as destination.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use data_exchange_agent::destination::snowflake_stage::SnowflakeStageDestination;
use data_exchange_agent::destination::{Destination, Target, Upload};
use data_exchange_agent::fault::Fault;
use data_exchange_agent::shutdown::Shutdown;
use data_exchange_agent::snowflake::Client;

use crate::destinations::{Reader, check_destination, commit_files, content, target};
use crate::support::proxy::Treatment;
use crate::support::snowflake::SnowflakeDouble;
use crate::support::snowflake::stage::{STAGE, Stage};
use crate::support::snowflake::stage_storage::Backend;

/// Takes paths as other destinations do, and puts the stage before them.
struct OnStage(SnowflakeStageDestination);

#[async_trait]
impl Destination for OnStage {
    async fn check(&self) -> Result<(), Fault> {
        self.0.check().await
    }

    fn part_buffer_bytes(&self) -> usize {
        self.0.part_buffer_bytes()
    }

    async fn begin(&self, target: &Target) -> Result<Arc<dyn Upload>, Fault> {
        let path = format!("{STAGE}/{}", target.path);
        self.0.begin(&Target { path, ..target.clone() }).await
    }
}

#[async_trait]
impl Reader for Stage {
    async fn visible(&self, path: &str) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        for name in self.backend.names(path).await {
            let folder = if path.is_empty() { String::new() } else { format!("{path}/") };
            let content = self.read(&format!("{folder}{name}")).await;
            found.insert(name, content);
        }
        found
    }

    async fn hidden(&self) -> Vec<String> {
        self.backend.hidden().await
    }

    fn location(&self, path: &str, name: &str) -> String {
        let separator = if path.is_empty() { "" } else { "/" };
        format!("{STAGE}/{path}{separator}{name}")
    }
}

async fn on(backend: Backend, key_bytes: Option<usize>) -> (Arc<Stage>, OnStage) {
    let double = SnowflakeDouble::start().await;
    let stage = Stage::on(&double, backend, key_bytes);
    let shutdown = Shutdown::new();
    let client = Client::new(double.connection(), &shutdown).expect("a good connection");
    let destination = SnowflakeStageDestination::new(client, &shutdown).expect("nothing is opened yet");
    (stage, OnStage(destination))
}

fn forward(_: &str) -> Treatment {
    Treatment::Forward
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_on_s3_keeps_the_contract_of_a_destination() {
    for key_bytes in [Some(16), Some(32), None] {
        let (stage, destination) = on(Backend::s3(forward).await, key_bytes).await;
        check_destination(&destination, &*stage).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_expire_are_renewed_once_for_all_blocks() {
    let (stage, destination) = on(Backend::s3(forward).await, Some(16)).await;
    stage.backend.issued().limit(5);
    let contents: Vec<_> = (1..6).map(|seed| content(seed, 20 << 20)).collect();
    commit_files(&destination, &target("a", "p"), &contents).await;
    let found = stage.visible("p").await;
    assert_eq!(found.len(), contents.len());
    for (found, content) in found.values().zip(&contents) {
        assert!(found == content, "a file has another content");
    }
    // Each renewal is asked for once, however many blocks were refused together.
    let (asked, issued) = (stage.count("PUT"), stage.backend.issued().count());
    assert_eq!(asked, issued);
    assert!((4..=8).contains(&issued), "25 requests, 5 for each credentials: {issued}");
}
