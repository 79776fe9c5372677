//! `check`: proves everything that tasks will need, before the first task does.

mod clock;
mod report;
mod target;
mod task_sources;

use std::fs;
use std::future::Future;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use futures::future::join_all;
use indicatif::HumanBytes;
use serde::Serialize;
use uuid::Uuid;

use super::output::{self, say};
use super::table::terminal_width;
use crate::agent;
use crate::api::Tls;
use crate::bulk::{self, BulkUtility};
use crate::catalog;
use crate::config;
use crate::config::{Config, Environment, Overrides, SourceConnection};
use crate::destination::Destination;
use crate::fault::{Fault, FaultKind};
use crate::guards::free_space;
use crate::shutdown::{Shutdown, spawn_blocking};
use crate::snowflake::Clients;
use crate::source::Source;
use crate::task::DestinationKind;

/// How the path of what is written and removed again begins.
const PLACE: &str = ".data-exchange-check";
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
    /// A stage that tasks will name, to write to it in every target that is Snowflake
    #[arg(long, value_name = "STAGE", conflicts_with = "without_writing")]
    stage: Option<String>,
}

/// What was found at one place.
#[derive(Debug, Serialize)]
struct Finding {
    /// `source sales`, for example.
    check: String,
    ok: bool,
    /// Nothing that keeps tasks from running: `ok` is true.
    #[serde(rename = "warning")]
    is_warning: bool,
    /// It belongs to the finding before it; a table shows that.
    #[serde(skip)]
    is_part: bool,
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
        Self { check: check.into(), ok, is_warning: false, is_part: false, duration_ms, detail, remedy }
    }

    /// More about what the finding before it is about.
    fn part(check: impl Into<String>, begun: Instant, result: Result<String, Fault>) -> Self {
        Self { is_part: true, ..Self::new(check, begun, result) }
    }

    /// Something in the configuration that an operator should know.
    fn warning(begun: Instant, warning: &config::Warning) -> Self {
        Self { is_warning: true, ..Self::part("warning", begun, Ok(warning.to_string())) }
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
            findings.extend(warnings.iter().map(|warning| Finding::warning(begun, warning)));
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
        let writing = Writing { is_wanted: !arguments.without_writing, stage: arguments.stage.as_deref() };
        findings.extend(check_everything(config, &snowflake, &shutdown, writing).await);
        snowflake.close().await;
        shutdown.finished(Duration::from_secs(5)).await;
    }
    if arguments.json {
        say!("{}", serde_json::to_string_pretty(&findings).expect("texts and numbers"));
    } else {
        output::write(&report::table(&findings, terminal_width()));
    }
    match (config, findings.iter().all(|finding| finding.ok)) {
        (None, _) => ExitCode::from(super::CANNOT_START),
        (Some(_), true) => ExitCode::SUCCESS,
        (Some(_), false) => ExitCode::FAILURE,
    }
}

/// Where files are written to and removed again.
#[derive(Clone, Copy)]
struct Writing<'a> {
    is_wanted: bool,
    /// For targets whose tasks name a stage.
    stage: Option<&'a str>,
}

impl Writing<'_> {
    /// The path of a file in a target; `None` when nothing is to be written there. It is another one each
    /// time: two targets may lead to one bucket, and two checks may run at the same moment.
    fn place(self, kind: DestinationKind) -> Option<String> {
        if !self.is_wanted {
            return None;
        }
        let place = format!("{PLACE}-{}", Uuid::new_v4().simple());
        match kind {
            // A stage is named by each task, so there is none to write to unless somebody names one.
            DestinationKind::SnowflakeStage => {
                self.stage.map(|stage| format!("{}/{place}", stage.trim_end_matches('/')))
            }
            _ => Some(place),
        }
    }
}

/// All checks at the same time: one that hangs does not hide the others. Every adapter is built once.
async fn check_everything(
    config: &Config,
    snowflake: &Clients,
    shutdown: &Shutdown,
    writing: Writing<'_>,
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
    let servers = clock::servers(config, built.iter().flat_map(|target| &target.3));
    findings.extend(check_space(config).await);
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
        let place = writing.place(kind);
        let checked = match destination {
            Ok(destination) => target::check(&*destination, kind, place).await,
            Err(fault) => Err(fault),
        };
        Finding::new(format!("target {name}"), begun, checked)
    });
    let ways = config.sources.iter().filter(|(name, source)| has_odbc_side(config, name, source));
    let ways = ways.map(async |(name, source)| {
        let begun = Instant::now();
        let check = async { ask(agent::odbc_source(source)?.as_ref()).await };
        Finding::new(format!("source {name} by odbc"), begun, limited(check).await)
    });
    let (sources, ways, targets, task_sources, clocks) = tokio::join!(
        join_all(sources),
        join_all(ways),
        join_all(targets),
        task_sources::check(config, snowflake),
        clock::check(servers)
    );
    findings.extend(sources);
    findings.extend(ways);
    findings.extend(targets);
    findings.extend(task_sources);
    findings.extend(clocks);
    findings
}

/// Whether tasks can read a connection through ODBC beside its own protocol, or do when they say nothing.
fn has_odbc_side(config: &Config, name: &str, source: &SourceConnection) -> bool {
    let is_native = !matches!(source, SourceConnection::Odbc(_));
    let is_chosen = config.source_methods.get(name).is_some_and(|method| method == catalog::ODBC);
    is_native && (is_chosen || source.odbc().is_some())
}

/// Free space of the file systems that the agent writes to, against what the guards want.
async fn check_space(config: &Config) -> Vec<Finding> {
    let least = config.guards.min_free_disk;
    let looks = agent::written_places(config).into_iter().map(async |(name, path)| {
        let begun = Instant::now();
        let look = async {
            let shown = path.display().to_string();
            let free = spawn_blocking(move || free_space(&path)).await.ok().flatten();
            judge_space(&shown, free, least)
        };
        Finding::new(format!("space of {name}"), begun, limited(look).await)
    });
    join_all(looks).await
}

fn judge_space(path: &str, free: Option<u64>, least: u64) -> Result<String, Fault> {
    let Some(free) = free else { return Ok(format!("the system does not tell how much {path} has free")) };
    if free >= least {
        return Ok(format!("{path} has {} free, {} are wanted", HumanBytes(free), HumanBytes(least)));
    }
    let action =
        format!("start tasks: {path} has {} free, and {} are wanted", HumanBytes(free), HumanBytes(least));
    Err(Fault::new(FaultKind::Request, action).remedy("Free space there, or lower guards.min_free_disk."))
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
                findings.push(Finding::part(format!("{} for {name}", utility.name()), begun, fits));
            }
        }
    }
    findings
}

async fn limited<T>(check: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    tokio::time::timeout(LIMIT, check).await.unwrap_or_else(|_elapsed| {
        Err(Fault::new(FaultKind::Transient, format!("there was no answer within {LIMIT:?}"))
            .remedy("Check host, port, firewalls and proxies between this machine and that one."))
    })
}

async fn check_source(source: SourceConnection, shutdown: &Shutdown) -> Result<String, Fault> {
    ask(agent::source(source, shutdown)?.as_ref()).await
}

async fn ask(source: &dyn Source) -> Result<String, Fault> {
    source.check().await?;
    Ok("logged in, and ran a query".to_owned())
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_program_gets_names_without_layout_and_is_told_what_a_warning_is() {
        let begun = Instant::now();
        let failed = Fault::new(FaultKind::Request, "export with bcp").remedy("Set `method`.");
        let findings = [
            Finding { is_warning: true, ..Finding::part("warning", begun, Ok("it is old".to_owned())) },
            Finding::part("bcp for crm", begun, Err(failed)),
        ];
        let findings = findings.map(|finding| Finding { duration_ms: 7, ..finding });
        let expected = json!([
            {"check": "warning", "ok": true, "warning": true, "duration_ms": 7, "detail": "it is old"},
            {
                "check": "bcp for crm", "ok": false, "warning": false, "duration_ms": 7,
                "detail": "export with bcp", "remedy": "Set `method`.",
            },
        ]);
        assert_eq!(serde_json::to_value(findings).expect("texts and numbers"), expected);
    }
}
