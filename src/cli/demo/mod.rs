//! `demo`: the whole way on a generated sample, with nothing but this program.
//!
//! A SQLite file is generated, an agent is started on a free port, tasks are posted over HTTP and
//! watched, and the Parquet files are read back and compared with the database, sum by sum.

mod read_back;
pub(crate) mod sample;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;

use super::client::{Accepted, Client};
use super::output::say;
use super::progress::Bar;
use crate::agent::{Agent, Mode, explained};
use crate::bounds::TaskBounds;
use crate::config::{
    Application, Config, GuardSettings, HistorySettings, LocalTarget, LogSettings, QueueSettings, Renewal,
    SecretSettings, Server, SourceConnection, SqliteSource, TargetConnection, TaskSources, TransferSettings,
};
use crate::task::{ProgressSnapshot, Receipt};
use crate::telemetry::{LogFormat, init_logging};

/// Time between two looks at the tasks.
const LOOK: Duration = Duration::from_millis(100);
/// Tasks that share the sample, one for each worker.
const TASKS: u64 = 2;

#[derive(Clone, Debug, Args)]
pub(super) struct DemoArguments {
    /// Rows of the sample
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    rows: u64,
    /// Where sample and output go; must not exist [default: a new temporary directory]
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    /// Log what the agent does in detail
    #[arg(short, long)]
    debug: bool,
}

pub(super) async fn run(arguments: DemoArguments) -> ExitCode {
    if arguments.debug {
        init_logging(LogFormat::Text, true);
    }
    match demonstrate(&arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => super::interrupted("the sample stays where it is"),
        Err(error) => super::failed(&format!("{error:#}")),
    }
}

/// False when a person interrupted it.
async fn demonstrate(arguments: &DemoArguments) -> anyhow::Result<bool> {
    let directory = match &arguments.directory {
        Some(directory) => directory.clone(),
        None => std::env::temp_dir().join(format!("data-exchange-agent-demo-{}", uuid::Uuid::new_v4())),
    };
    std::fs::create_dir(&directory).with_context(|| {
        format!("create {}: choose a --directory that does not exist", directory.display())
    })?;

    let begun = Instant::now();
    let database = directory.join("sample.sqlite");
    let expected = sample::create(&database, arguments.rows).await.map_err(explained)?;
    say!(
        "sample     {} rows in {} ({:.1} s)",
        HumanCount(expected.rows),
        database.display(),
        begun.elapsed().as_secs_f64()
    );

    let output = directory.join("output");
    std::fs::create_dir(&output).context("create the output directory")?;
    let agent = Agent::start(config(&directory, &database, &output), Mode::Service).await?;
    say!("agent      http://{}", agent.address());
    let client = Client::local(agent.address())?;
    let shutdown = agent.shutdown().clone();
    let outcome = tokio::select! {
        outcome = transfer(&client, arguments.rows) => outcome.map(Some),
        _ = tokio::signal::ctrl_c() => Ok(None),
    };
    shutdown.begin_drain();
    agent.until_stopped().await;
    let Some((receipts, elapsed)) = outcome? else { return Ok(false) };

    let files: Vec<PathBuf> =
        receipts.iter().flat_map(|receipt| &receipt.files).map(path_of).collect::<Result<_, _>>()?;
    report(&receipts, elapsed);
    let found = read_back::totals(&files)?;
    say!("\nfirst rows of {}\n{}", files[0].display(), read_back::first_rows(&files[0])?);
    if found != expected {
        bail!("the files differ from the database\n  database {expected:?}\n  files    {found:?}");
    }
    say!("\nread back  {} rows; every count and sum equals the database", HumanCount(found.rows));
    say!("files      stay in {}", output.display());
    Ok(true)
}

/// Posts the tasks and watches them to their end.
async fn transfer(client: &Client, rows: u64) -> anyhow::Result<(Vec<Receipt>, Duration)> {
    let begun = Instant::now();
    let mut ids = Vec::new();
    for task in 0..TASKS {
        let (first, last) = (rows * task / TASKS + 1, rows * (task + 1) / TASKS);
        let query = format!("SELECT * FROM {} WHERE id BETWEEN {first} AND {last}", sample::TABLE);
        let task = json!({
            "source_config": {"database": "sample", "query": query},
            "destination_config": {"type": "local", "path": "orders"},
        });
        let accepted: Accepted = client.read(client.submit(task.to_string().into_bytes()).await?)?;
        let id = accepted.id_task;
        say!("posted     task {id}: {query}");
        ids.push(id);
    }
    let bar = Bar::new(Some(rows));
    let mut receipts: BTreeMap<String, Receipt> = BTreeMap::new();
    let mut total = ProgressSnapshot::default();
    while receipts.len() < ids.len() {
        tokio::time::sleep(LOOK).await;
        total = ProgressSnapshot::default();
        for id in &ids {
            let view = client.task(id).await?;
            match view.status.as_str() {
                "failed" | "cancelled" => {
                    let error = view.last_error().map_or("no error is on record", |error| &error.message);
                    bail!("task {id} {}: {error}", view.status)
                }
                _ => {}
            }
            total.rows += view.rows().unwrap_or_default();
            total.bytes += view.bytes().unwrap_or_default();
            total.parts += view.parts().unwrap_or_default();
            if let Some(receipt) = view.receipt {
                receipts.insert(id.clone(), receipt);
            }
        }
        total.rows_per_second = total.rows as f64 / begun.elapsed().as_secs_f64();
        bar.show(&total);
    }
    bar.end(&total);
    Ok((receipts.into_values().collect(), begun.elapsed()))
}

fn report(receipts: &[Receipt], elapsed: Duration) {
    let seconds = elapsed.as_secs_f64();
    let rows: u64 = receipts.iter().map(|receipt| receipt.rows).sum();
    let bytes: u64 = receipts.iter().map(|receipt| receipt.bytes).sum();
    for file in receipts.iter().flat_map(|receipt| &receipt.files) {
        say!("file       {}  {} rows  {}", file.location, HumanCount(file.rows), HumanBytes(file.bytes));
    }
    say!(
        "written    {} rows, {} in {seconds:.2} s: {} rows/s, {:.1} MB/s",
        HumanCount(rows),
        HumanBytes(bytes),
        HumanCount((rows as f64 / seconds) as u64),
        bytes as f64 / 1e6 / seconds,
    );
}

fn path_of(file: &crate::task::FileReceipt) -> anyhow::Result<PathBuf> {
    let url =
        url::Url::parse(&file.location).with_context(|| format!("read the location {}", file.location))?;
    url.to_file_path().map_err(|()| anyhow::anyhow!("{} is not a file", file.location))
}

fn config(directory: &Path, database: &Path, output: &Path) -> Config {
    let workers = NonZeroUsize::new(TASKS as usize).expect("not zero");
    Config {
        application: Application {
            workers,
            task_fetch_interval: Duration::from_secs(5),
            debug_mode: false,
            affinity: None,
            data_directory: directory.join("agent"),
            stop_grace: Duration::from_secs(30),
            memory_limit: None,
        },
        server: Server {
            host: std::net::Ipv4Addr::LOCALHOST.into(),
            port: 0,
            max_body_bytes: 1 << 20,
            max_connections: NonZeroUsize::new(800).expect("not zero"),
            max_connections_per_address: None,
            requests_per_minute: None,
            tls: None,
            api_keys: Vec::new(),
            allow_unauthenticated: false,
            allowed_hosts: Vec::new(),
        },
        task_sources: TaskSources::default(),
        bounds: TaskBounds::default(),
        secrets: SecretSettings::default(),
        transfer: TransferSettings::default(),
        log: LogSettings::default(),
        queue: QueueSettings::default(),
        history: HistorySettings::default(),
        guards: GuardSettings::default(),
        idle_shutdown: None,
        otlp: None,
        sources: [("sample".to_owned(), SourceConnection::Sqlite(SqliteSource { path: database.into() }))]
            .into(),
        source_methods: BTreeMap::new(),
        targets: [("local".to_owned(), TargetConnection::Local(LocalTarget { root: output.into() }))].into(),
        bulk_utilities: BTreeMap::new(),
        unavailable: Vec::new(),
        renewal: Renewal::default(),
    }
}
