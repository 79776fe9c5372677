//! `extract`: the same engine without queue and server.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use tokio_util::sync::CancellationToken;

use super::CommonArguments;
use super::output::{self, count, say};
use super::progress::Bar;
use crate::agent::{self, explained};
use crate::catalog::{AUTO, Catalog, SourceInfo};
use crate::config::{
    Config, Environment, Overrides, SourceConnection, TargetConnection, source_from_url, target_from_url,
};
use crate::destination::{Destination, Target};
use crate::fault::{Fault, FaultKind};
use crate::nearest::nearest;
use crate::shutdown::Shutdown;
use crate::snowflake::Clients;
use crate::source::Source;
use crate::task::{
    Compression, DestinationSpec, FileFormat, MethodReceipt, Progress, Read, Receipt, SourceSpec, Task,
    TaskId, TaskSpec,
};
use crate::telemetry::init_logging;
use crate::transfer::Transfer;

/// Time between two updates of the progress bar.
const REDRAW: Duration = Duration::from_millis(200);

#[derive(Clone, Debug, Args)]
pub(super) struct ExtractArguments {
    #[command(flatten)]
    common: CommonArguments,
    /// Name of a configured source connection, or a URL: postgresql://user@host/database, mysql://user@host/database, sqlite:///file
    #[arg(long, value_name = "NAME|URL")]
    source: String,
    /// The query to extract
    #[arg(long, value_name = "SQL", conflicts_with = "table", required_unless_present = "table")]
    query: Option<String>,
    /// The table to extract, `name` or `schema.name`
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
    /// file:///directory, s3://bucket/prefix, azure://account/container/prefix, gs://bucket/prefix, or the name of a configured target connection
    #[arg(long, value_name = "URL|NAME")]
    to: String,
    /// Directory or key prefix below the target
    #[arg(long, value_name = "PATH", default_value = "")]
    path: String,
    /// File format [default: parquet]
    #[arg(long, value_enum)]
    format: Option<FileFormat>,
    /// Compression [default: zstd for Parquet, none for CSV]
    #[arg(long, value_enum)]
    compression: Option<Compression>,
    /// Parallel connections to the source [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(crate::task::MAX_SLICES)))]
    slices: Option<u16>,
    /// Column whose ranges divide a query into slices
    #[arg(long, value_name = "COLUMN")]
    slice_column: Option<String>,
    /// How rows are read: native, odbc, or a bulk utility such as bcp [default: what the connection says, else native]
    #[arg(long, value_name = "NAME")]
    method: Option<String>,
    /// These columns only, in this order
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    columns: Option<Vec<String>>,
    /// A file of about this many bytes is followed by the next one
    #[arg(long, value_name = "BYTES")]
    max_file_size: Option<u64>,
    /// Name in the files: `task_ID_result_001.parquet`. The same id replaces its own files [default: a new one]
    #[arg(long, value_name = "ID", value_parser = |text: &str| TaskId::parse(text))]
    id: Option<TaskId>,
    /// Print the receipt as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: ExtractArguments) -> ExitCode {
    let overrides = Overrides { debug: arguments.common.debug, ..Overrides::default() };
    // Without a file the defaults are what is wanted here, and nothing to warn about.
    let quiet = arguments.common.config.is_none();
    let config = match super::configuration(arguments.common.config.as_deref(), &overrides, quiet) {
        Ok(config) => config,
        Err(code) => return code,
    };
    init_logging(arguments.common.log_format.unwrap_or_default(), config.application.debug_mode);
    let ends = find_source(&arguments.source, &config)
        .and_then(|source| Ok((source, find_target(&arguments.to, &config)?)));
    let (source, target) = match ends {
        Ok(ends) => ends,
        Err(problem) => return super::cannot_start(&problem),
    };
    let task = task(&arguments, &target, &config);
    let shutdown = Shutdown::new();
    let way = match way(source, &task, &config, &shutdown) {
        Ok(way) => way,
        Err(fault) => return super::cannot_start(&explained(fault).to_string()),
    };
    let json = arguments.json;
    match extract(way, &target, &task, &config, &shutdown, json).await {
        Ok(Some(receipt)) => {
            print(&receipt, json);
            ExitCode::SUCCESS
        }
        Ok(None) => super::interrupted("nothing was written"),
        Err(fault) => super::failed(&explained(fault).to_string()),
    }
}

fn find_source(text: &str, config: &Config) -> Result<SourceConnection, String> {
    if let Some(connection) = config.sources.get(text) {
        return Ok(connection.clone());
    }
    if text.contains(':') {
        return source_from_url(text, &Environment::process()).map_err(|problems| problems.to_string());
    }
    Err(unknown("--source", "source", text, config.sources.keys()))
}

fn find_target(text: &str, config: &Config) -> Result<TargetConnection, String> {
    if let Some(connection) = config.targets.get(text) {
        return Ok(connection.clone());
    }
    if text.contains(':') {
        let target = target_from_url(text, &Environment::process());
        return target.map(|(target, _path)| target).map_err(|problems| problems.to_string());
    }
    Err(unknown("--to", "target", text, config.targets.keys()))
}

fn unknown<'a>(argument: &str, what: &str, name: &str, known: impl Iterator<Item = &'a String>) -> String {
    let known: Vec<&str> = known.map(String::as_str).collect();
    let known = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "none is configured".to_owned(),
        None => format!("known: `{}`", known.join("`, `")),
    };
    format!("{argument}: `{name}` is neither a URL nor a {what} connection; {known}")
}

fn task(arguments: &ExtractArguments, target: &TargetConnection, config: &Config) -> Task {
    let read = match (&arguments.query, &arguments.table) {
        (Some(query), _) => Read::Query(query.clone()),
        (None, table) => Read::Table(table.clone().unwrap_or_default()),
    };
    Task {
        id: arguments.id.clone().unwrap_or_else(TaskId::generate),
        spec: TaskSpec {
            source: SourceSpec {
                connection: arguments.source.clone(),
                read,
                columns: arguments.columns.clone(),
                slices: arguments.slices,
                slice_column: arguments.slice_column.clone(),
                batch_size: None,
                method: arguments.method.clone().filter(|method| method != AUTO),
            },
            destination: DestinationSpec {
                kind: target.kind(),
                connection: None,
                path: arguments.path.clone(),
                format: arguments.format.unwrap_or(config.transfer.format),
                compression: arguments.compression,
                max_file_size: arguments.max_file_size,
                load: None,
            },
            max_attempts: 1,
            timeout: None,
            priority: 0,
            trace: Default::default(),
        },
    }
}

/// One attempt, with a progress bar. `None` when a person interrupted it.
async fn extract(
    (source, method): (Arc<dyn Source>, MethodReceipt),
    target: &TargetConnection,
    task: &Task,
    config: &Config,
    shutdown: &Shutdown,
    quiet: bool,
) -> Result<Option<Receipt>, Fault> {
    let begun = Instant::now();
    let snowflake = Clients::new(shutdown);
    let destination = agent::destination(target, &snowflake, shutdown).await?;
    let progress = Arc::new(Progress::default());
    let stop = CancellationToken::new();
    let bar = (!quiet).then(|| Bar::new(None));
    let work = async {
        let opened = Transfer::open(source.as_ref(), destination.as_ref(), task, &config.transfer, &progress);
        let transfer = tokio::select! {
            opened = opened => opened?.read_by(method.clone()),
            () = stop.cancelled() => return Ok(None),
        };
        let written = transfer.write(&stop).await;
        match written {
            Ok(Some(written)) => match transfer.commit(written, begun).await {
                Ok(receipt) => Ok(Some(receipt)),
                Err(fault) => {
                    take_back(&*destination, task).await;
                    Err(fault)
                }
            },
            other => {
                transfer.upload.abort().await;
                other.map(|_stopped| None)
            }
        }
    };
    tokio::pin!(work);
    let mut redraw = tokio::time::interval(REDRAW);
    let result = loop {
        tokio::select! {
            result = &mut work => break result,
            _ = redraw.tick() => {
                if let Some(bar) = &bar {
                    bar.show(&progress.snapshot());
                }
            }
            _ = tokio::signal::ctrl_c(), if !stop.is_cancelled() => stop.cancel(),
        }
    };
    if let Some(bar) = &bar {
        bar.end(&progress.snapshot());
    }
    snowflake.close().await;
    // Requests to cancel what an error left running on the server.
    shutdown.finished(Duration::from_secs(5)).await;
    result
}

/// Removes what a commit has made visible that failed in its middle.
async fn take_back(destination: &dyn Destination, task: &Task) {
    let path = task.spec.destination.path.clone();
    let target = Target { task: task.id.clone(), attempt: 1, path, load: None };
    if let Err(fault) = destination.retract(&target).await {
        output::note(format_args!("warning: files of task_{} may be visible: {}", task.id, fault.chain()));
    }
}

/// The source behind the method of the task, and who chose it. An error is one of the command line.
fn way(
    connection: SourceConnection,
    task: &Task,
    config: &Config,
    shutdown: &Shutdown,
) -> Result<(Arc<dyn Source>, MethodReceipt), Fault> {
    if (task.spec.destination.format, task.spec.destination.compression)
        == (FileFormat::Csv, Some(Compression::Snappy))
    {
        return Err(Fault::new(FaultKind::Request, "compress CSV with snappy: it cannot be")
            .remedy("Choose zstd, gzip or none."));
    }
    let spec = &task.spec.source;
    let mut catalog = Catalog::new();
    let native = agent::source(connection.clone(), shutdown)?;
    for (method, way) in agent::methods(&connection, &native, config, shutdown) {
        catalog.add_method(&spec.connection, method, way.map_err(|fault| explained(fault).to_string()));
    }
    if let Some(method) = config.source_methods.get(&spec.connection) {
        catalog.choose_method(&spec.connection, method);
    }
    catalog.add_source(&spec.connection, SourceInfo::default(), native);
    Ok((catalog.source_for(spec)?, catalog.method(spec)))
}

fn print(receipt: &Receipt, json: bool) {
    if json {
        say!("{}", serde_json::to_string(receipt).expect("a receipt is made of texts and numbers"));
        return;
    }
    for file in &receipt.files {
        say!("{}  {} rows  {}", file.location, HumanCount(file.rows), HumanBytes(file.bytes));
    }
    say!("{}", summary(receipt));
}

/// Files, rows, size and rate in one line.
pub(super) fn summary(receipt: &Receipt) -> String {
    let seconds = (receipt.duration_ms.max(1)) as f64 / 1000.0;
    format!(
        "{}, {} rows, {} in {seconds:.2} s: {} rows/s, {:.1} MB/s written",
        count(receipt.files.len() as u64, "file"),
        HumanCount(receipt.rows),
        HumanBytes(receipt.bytes),
        HumanCount((receipt.rows as f64 / seconds) as u64),
        receipt.bytes as f64 / 1e6 / seconds,
    )
}
