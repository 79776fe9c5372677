//! `run`: the agent as a service.

use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::CommonArguments;
use crate::agent::{Agent, Mode};
use crate::config::Overrides;
use crate::shutdown::Shutdown;
use crate::telemetry::init_logging;

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
        host: arguments.host,
        port: arguments.port,
        debug: arguments.common.debug,
    };
    let config = match super::configuration(arguments.common.config.as_deref(), &overrides, false) {
        Ok(config) => config,
        Err(code) => return code,
    };
    init_logging(arguments.common.log_format, config.application.debug_mode);
    let mode = if arguments.once { Mode::Once } else { Mode::Service };
    let agent = match Agent::start(config, mode).await {
        Ok(agent) => agent,
        Err(error) => return super::cannot_start(&format!("{error:#}")),
    };
    // Printed also where logs go elsewhere: with port 0 nobody could know it otherwise.
    println!("listening on {}", agent.url());
    let signals = watch_signals(agent.shutdown().clone());
    let stopped = agent.until_stopped();
    tokio::pin!(signals, stopped);
    let ended = tokio::select! {
        ended = &mut stopped => ended,
        () = &mut signals => stopped.await,
    };
    if ended { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The first SIGTERM or SIGINT drains, the second one aborts. Resolves after the second.
async fn watch_signals(shutdown: Shutdown) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::warn!("signals cannot be watched; only kill -9 will end this process");
        return std::future::pending().await;
    };
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    next().await;
    shutdown.begin_drain();
    next().await;
    shutdown.begin_abort();
}
