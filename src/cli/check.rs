//! `check`: proves everything that tasks will need, before the first task does.

use std::fs;
use std::future::Future;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use futures::future::join_all;
use indicatif::HumanBytes;
use serde::Serialize;

use super::output::{self, say};
use crate::agent;
use crate::api::Tls;
use crate::bulk::{self, BulkUtility};
use crate::config;
use crate::config::{Config, Environment, Overrides, SourceConnection};
use crate::destination::{Destination, PartName, Target};
use crate::fault::{Fault, FaultKind};
use crate::shutdown::Shutdown;
use crate::snowflake::Clients;
use crate::task::{Compression, DestinationKind, FileFormat, TaskId};

/// Longest time for one check.
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Args)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    common: super::CommonArguments,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
    /// Do not write to the targets: only open them
    #[arg(long)]
    without_writing: bool,
}

/// What was found at one place.
#[derive(Debug, Serialize)]
struct Finding {
    /// `source sales`, for example.
    check: String,
    ok: bool,
    duration_ms: u64,
    /// What is there, or what is wrong.
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Finding {
    fn new(check: impl Into<String>, begun: Instant, result: Result<String, Fault>) -> Self {
        let (ok, detail, remedy) = match result {
            Ok(detail) => (true, detail, None),
            Err(fault) => (false, fault.chain(), fault.hint().map(str::to_owned)),
        };
        let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Self { check: check.into(), ok, duration_ms, detail, remedy }
    }
}

/// Exit code 0 when everything is as tasks need it, 1 when something is not, 2 when the
/// configuration is wrong.
pub(super) async fn run(arguments: CheckArguments) -> ExitCode {
    let begun = Instant::now();
    let explicit = arguments.common.config.as_deref();
    let (config, mut findings) = match config::load(explicit, &Overrides::default(), &Environment::process())
    {
        Ok((config, file, warnings)) => {
            let origin = file.map_or_else(|| "defaults".to_owned(), |file| file.display().to_string());
            let mut findings = vec![Finding::new("configuration", begun, Ok(origin))];
            findings.extend(
                warnings.iter().map(|warning| Finding::new("  warning", begun, Ok(warning.to_string()))),
            );
            (Some(config), findings)
        }
        Err(problems) => {
            let wrong = |problem: &config::Problem| {
                let fault = Fault::new(FaultKind::Request, problem.to_string());
                Finding::new("configuration", begun, Err(fault))
            };
            (None, problems.0.iter().map(wrong).collect())
        }
    };
    if let Some(config) = &config {
        let shutdown = Shutdown::new();
        let snowflake = Clients::new(&shutdown);
        let writing = !arguments.without_writing;
        findings.extend(check_everything(config, &snowflake, &shutdown, writing).await);
        snowflake.close().await;
        shutdown.finished(Duration::from_secs(5)).await;
    }
    if arguments.json {
        say!("{}", serde_json::to_string_pretty(&findings).expect("texts and numbers"));
    } else {
        output::write(&table(&findings));
    }
    match (config, findings.iter().all(|finding| finding.ok)) {
        (None, _) => ExitCode::from(super::CANNOT_START),
        (Some(_), true) => ExitCode::SUCCESS,
        (Some(_), false) => ExitCode::FAILURE,
    }
}

/// All checks at the same time: one that hangs does not hide the others. Every adapter is built once.
async fn check_everything(
    config: &Config,
    snowflake: &Clients,
    shutdown: &Shutdown,
    writing: bool,
) -> Vec<Finding> {
    let directory = &config.application.data_directory;
    let begun = Instant::now();
    let built = join_all(config.targets.iter().map(async |(name, target)| {
        let begun = Instant::now();
        (name, target.kind(), begun, agent::destination(target, snowflake, shutdown).await)
    }))
    .await;
    let mut findings = vec![
        Finding::new("data directory", begun, check_directory(directory)),
        Finding::new("memory", begun, check_memory(config, built.iter().flat_map(|target| &target.3))),
    ];
    if let Some(tls) = &config.server.tls {
        let begun = Instant::now();
        let loaded = Tls::load(tls).map(|_| format!("{} and its private key fit", tls.certificate.display()));
        findings.push(Finding::new("server.tls", begun, loaded));
    }
    for unavailable in &config.unavailable {
        let fault = Fault::new(FaultKind::Request, unavailable.reason.clone());
        findings.push(Finding::new(&unavailable.section, begun, Err(fault)));
    }
    findings.extend(check_utilities(config));
    let sources = config.sources.iter().map(async |(name, source)| {
        let begun = Instant::now();
        let result = limited(check_source(source.clone(), shutdown)).await;
        Finding::new(format!("source {name}"), begun, result)
    });
    let targets = built.into_iter().map(async |(name, kind, begun, destination)| {
        // A stage is named by each task, so there is none to write to yet.
        let writing = writing && kind != DestinationKind::SnowflakeStage;
        let check = async { check_target(destination?.as_ref(), writing).await };
        Finding::new(format!("target {name}"), begun, limited(check).await)
    });
    let (sources, targets) = tokio::join!(join_all(sources), join_all(targets));
    findings.extend(sources);
    findings.extend(targets);
    findings
}

/// The programs of the utilities that the configuration names.
fn check_utilities(config: &Config) -> Vec<Finding> {
    let is_wanted = |utility: &dyn BulkUtility| {
        utility.settings().has_section
            || config.source_methods.values().any(|method| method == utility.name())
    };
    let mut findings = Vec::new();
    for utility in
        bulk::utilities(&config.bulk_utilities).iter().filter(|utility| is_wanted(utility.as_ref()))
    {
        let begun = Instant::now();
        let found = bulk::find_program(utility.as_ref()).map(|program| format!("runs {}", program.display()));
        findings.push(Finding::new(format!("utility {}", utility.name()), begun, found));
        for (name, connection) in &config.sources {
            if config.source_methods.get(name).is_some_and(|method| method == utility.name()) {
                let fits = utility.supports(connection).map(|()| format!("reads connection {name}"));
                findings.push(Finding::new(format!("  {} for {name}", utility.name()), begun, fits));
            }
        }
    }
    findings
}

async fn limited(check: impl Future<Output = Result<String, Fault>>) -> Result<String, Fault> {
    tokio::time::timeout(LIMIT, check).await.unwrap_or_else(|_elapsed| {
        Err(Fault::new(FaultKind::Transient, format!("there was no answer within {LIMIT:?}"))
            .remedy("Check host, port, firewalls and proxies between this machine and that one."))
    })
}

async fn check_source(source: SourceConnection, shutdown: &Shutdown) -> Result<String, Fault> {
    let source = agent::source(source, shutdown)?;
    source.check().await?;
    Ok("logged in, and ran a query".to_owned())
}

async fn check_target(destination: &dyn Destination, writing: bool) -> Result<String, Fault> {
    destination.check().await?;
    if !writing {
        return Ok("opened".to_owned());
    }
    let task = TaskId::parse("check").expect("a valid id");
    write_nothing(
        destination,
        &Target { task, attempt: 1, path: ".data-exchange-check".to_owned(), load: None },
    )
    .await?;
    Ok("opened, wrote a file that nobody saw, and removed it".to_owned())
}

/// Stores a part and aborts the upload: no reader sees anything of it.
async fn write_nothing(destination: &dyn Destination, place: &Target) -> Result<(), Fault> {
    let upload = destination.begin(place).await?;
    let stored = async {
        let name = PartName::new(&place.task, NonZeroU32::MIN, FileFormat::Csv, Compression::None);
        let mut part = upload.create(&name).await?;
        part.write(Bytes::from_static(b"written by a check, to be removed\n")).await?;
        part.finish(0).await
    }
    .await;
    upload.abort().await;
    stored.map(|_part| ())
}

fn check_directory(directory: &Path) -> Result<String, Fault> {
    let action = || format!("write to the data directory {}", directory.display());
    let fault = |error: std::io::Error| {
        Fault::new(FaultKind::Request, action())
            .because(error)
            .remedy("Set application.data_directory to a directory that this user may write to.")
    };
    fs::create_dir_all(directory).map_err(fault)?;
    let file = directory.join(format!(".check-{}", std::process::id()));
    let written = fs::File::create(&file).and_then(|mut file| {
        file.write_all(b"check")?;
        file.sync_all()
    });
    let removed = fs::remove_file(&file);
    written.and(removed).map_err(fault)?;
    Ok(format!("{} can be written to", directory.display()))
}

fn check_memory<'d>(
    config: &Config,
    destinations: impl Iterator<Item = &'d Arc<dyn Destination>>,
) -> Result<String, Fault> {
    let ceiling = agent::check_memory(config, destinations)
        .map_err(|error| Fault::new(FaultKind::Request, format!("{error:#}")))?;
    let ceiling = HumanBytes(ceiling);
    Ok(match config.application.memory_limit {
        Some(limit) => format!("tasks take up to {ceiling} of {}", HumanBytes(limit.get())),
        None => format!("tasks take up to {ceiling}; application.memory_limit sets no bound"),
    })
}

/// The findings as aligned text, for a person.
fn table(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.check.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let result = if finding.ok { "ok    " } else { "FAILED" };
        let time = format!("{} ms", finding.duration_ms);
        text += &format!("{:width$}  {result}  {time:>8}  {}\n", finding.check, finding.detail);
        if let Some(remedy) = &finding.remedy {
            text += &format!("{:width$}                    {remedy}\n", "");
        }
    }
    text
}
