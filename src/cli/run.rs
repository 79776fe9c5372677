//! `run`: the agent as a service.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::CommonArguments;
use crate::agent::{Agent, Mode, Pulse, explained};
use crate::config::{self, Config, Environment, Overrides};
use crate::fault::Fault;
use crate::reload::{Reload, log_level};
use crate::shutdown::{Shutdown, spawn_blocking};
use crate::supervisor::Supervisor;
use crate::telemetry::{LogControl, LogOptions, OtlpSender, Traces, start_logging};

/// Longest time for a look at the agent before a sign of life is withheld.
const PULSE_LIMIT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Args)]
pub(super) struct RunArguments {
    #[command(flatten)]
    common: CommonArguments,
    /// Tasks that run at the same time, 1 to 100 [default: 4]
    #[arg(short, long, value_name = "N")]
    workers: Option<i64>,
    /// Longest time between two looks for tasks, in seconds [default: 5]
    #[arg(short, long, value_name = "SECONDS")]
    interval: Option<u64>,
    /// Address to listen on [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    /// Port to listen on; 0 takes a free one [default: 5001]
    #[arg(short, long)]
    port: Option<u16>,
    /// Run what the queues have, then exit: 0 when every task completed, 1 when one failed
    #[arg(long)]
    once: bool,
}

pub(super) async fn run(arguments: RunArguments) -> ExitCode {
    let overrides = Overrides {
        workers: arguments.workers,
        interval: arguments.interval,
        host: arguments.host.clone(),
        port: arguments.port,
        debug: arguments.common.debug,
    };
    let config = match super::configuration(arguments.common.config.as_deref(), &overrides, false) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let senders = Shutdown::new();
    let traces = match start_traces(&config, &senders) {
        Ok(traces) => traces,
        Err(error) => return super::cannot_start(&format!("{:#}", explained(error))),
    };
    // Dropped last, so that every line is written.
    let _log = start_logging(log_options(&arguments, &config, traces.as_ref()));
    let supervisor = Supervisor::of(&Environment::process());
    let mode = if arguments.once { Mode::Once } else { Mode::Service };
    let mut agent = match Agent::start(config, mode).await {
        Ok(agent) => agent,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the agent cannot start");
            return super::cannot_start(&format!("{error:#}"));
        }
    };
    // Watched before anybody knows that the agent is there: until then a signal ends the process.
    let (stops, hangups) = (Stops::watch(), signal(SignalKind::hangup()));
    // Printed also where logs go elsewhere: with port 0 nobody could know it otherwise.
    // A reader that has gone away is no reason for a service to stop.
    let _nobody_reads = writeln!(std::io::stdout().lock(), "listening on {}", agent.url());
    let ready = format!("Listening on {}", agent.address());
    supervisor.ready(&ready);
    let shutdown = agent.shutdown().clone();
    let reload = agent.take_reload().expect("it was not taken before");
    let pulse = agent.pulse();
    let background = async {
        tokio::join!(
            watch_stops(stops, &shutdown),
            watch_configuration(hangups, reload, &arguments, &overrides, &supervisor, &ready),
            show_life(pulse, &supervisor),
            async {
                shutdown.draining().await;
                supervisor.stopping();
            },
        )
    };
    let background = Box::pin(background);
    // The first of them never ends before the second one does.
    let ended = tokio::select! {
        ended = Box::pin(agent.until_stopped()) => ended,
        _ = background => unreachable!("signals are watched for ever"),
    };
    if let Some(traces) = traces {
        traces.end().await;
    }
    if ended { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn start_traces(config: &Config, senders: &Shutdown) -> Result<Option<Traces>, Fault> {
    let Some(settings) = config.otlp.as_ref().filter(|settings| settings.traces) else { return Ok(None) };
    Traces::start(settings, OtlpSender::new(settings, senders)?).map(Some)
}

fn log_options(arguments: &RunArguments, config: &Config, traces: Option<&Traces>) -> LogOptions {
    LogOptions {
        format: arguments.common.log_format.or(config.log.format).unwrap_or_default(),
        level: log_level(config),
        files: config.log.rotation(&config.application.data_directory),
        traces: traces.map(Traces::tracer),
    }
}

/// Reads the configuration again at each SIGHUP, and lets go of the log file, which somebody may have
/// moved away. A configuration with problems changes nothing.
async fn watch_configuration(
    hangups: io::Result<Signal>,
    mut reload: Reload,
    arguments: &RunArguments,
    overrides: &Overrides,
    supervisor: &Supervisor,
    ready: &str,
) {
    let Ok(mut hangups) = hangups else {
        tracing::warn!("SIGHUP cannot be watched; a new configuration needs a restart");
        return std::future::pending().await;
    };
    while hangups.recv().await.is_some() {
        supervisor.reloading();
        LogControl::of_process().reopen();
        // A secret may come from a program or a service that takes its time: signals and the sign of life
        // for systemd must not wait for it.
        let (explicit, overrides) = (arguments.common.config.clone(), overrides.clone());
        let loaded =
            spawn_blocking(move || config::load(explicit.as_deref(), &overrides, &Environment::process()));
        let Ok(loaded) = loaded.await else {
            tracing::error!("reading the configuration panicked; the agent goes on with the one that it has");
            supervisor.ready(ready);
            continue;
        };
        match loaded {
            Ok((config, file, warnings)) => {
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                let changes = reload.apply(&config);
                tracing::info!(
                    file = file.map(|file| file.display().to_string()),
                    changed = list(&changes.applied),
                    needs_restart = list(&changes.needs_restart),
                    "the configuration was read again"
                );
            }
            Err(problems) => {
                for problem in &problems.0 {
                    tracing::error!("{problem}");
                }
                tracing::error!(
                    problems = problems.0.len(),
                    "the new configuration has problems; the agent goes on with the one that it has"
                );
            }
        }
        supervisor.ready(ready);
    }
    std::future::pending().await
}

fn list(keys: &[String]) -> String {
    if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") }
}

/// Gives systemd a sign of life, twice in the time after which it would end the agent, for as long as
/// the agent is whole.
async fn show_life(pulse: Pulse, supervisor: &Supervisor) {
    let Some(limit) = supervisor.watchdog() else { return std::future::pending().await };
    loop {
        if tokio::time::timeout(PULSE_LIMIT.min(limit / 2), pulse.is_felt()).await == Ok(true) {
            supervisor.alive();
        } else {
            tracing::error!("the agent is not whole: systemd gets no sign of life and will restart it");
        }
        tokio::time::sleep(limit / 2).await;
    }
}

/// What asks the agent to stop.
struct Stops {
    terminate: Signal,
    interrupt: Signal,
}

impl Stops {
    /// What comes from now on is kept for [`Self::next`].
    fn watch() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The first SIGTERM or SIGINT drains, the second one aborts.
async fn watch_stops(stops: io::Result<Stops>, shutdown: &Shutdown) {
    let Ok(mut stops) = stops else {
        tracing::warn!("signals cannot be watched; only kill -9 will end this process");
        return std::future::pending().await;
    };
    stops.next().await;
    shutdown.begin_drain();
    stops.next().await;
    shutdown.begin_abort();
    std::future::pending().await
}
