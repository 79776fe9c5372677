//! The command line: one file a command. `output` is the only one that writes to the terminal.
//!
//! Exit codes: 0 done; 1 it ran and failed, or a task did; 2 it could not start (arguments, files or
//! configuration); 3 no agent answers; 4 the agent refused. docs/COMMAND_LINE.md has them for people.

mod check;
mod client;
mod config;
pub(crate) mod demo;
mod extract;
mod logs;
mod output;
mod progress;
mod run;
mod shell;
mod submit;
mod table;
mod tasks;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use crate::config::{Config, Environment, Overrides, load};
use crate::task::MAX_SLICES;
use crate::telemetry::LogFormat;

/// The exit code of a start that failed.
const CANNOT_START: u8 = 2;
/// What a shell shows of a program that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

/// Moves data out of databases into object stores, as Parquet.
#[derive(Debug, Parser)]
#[command(name = "data-exchange-agent", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::RunArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the REST API and run tasks (the default).
    Run(run::RunArguments),
    /// Extract one query or table now, without queue and server.
    Extract(Box<extract::ExtractArguments>),
    /// Prove that everything tasks will need is there: configuration, connections, places to write.
    #[command(visible_aliases = ["test", "doctor"])]
    Check(check::CheckArguments),
    /// Show the whole way on a generated sample: no server, no network, no configuration.
    Demo(demo::DemoArguments),
    /// Hand tasks from a file to an agent.
    Submit(submit::SubmitArguments),
    /// List, show, cancel, retry and watch the tasks of an agent.
    Tasks(tasks::TasksArguments),
    /// Show what an agent wrote down while it ran a task.
    Logs(logs::LogsArguments),
    /// Show the configuration as the agent understands it.
    Config(config::ConfigArguments),
    /// Write the completion script of a shell to stdout.
    Completion(shell::CompletionArguments),
    /// Write the manual page to stdout, or those of all commands into a folder.
    Man(shell::ManArguments),
}

/// Arguments that every command with a configuration has.
#[derive(Clone, Debug, Args)]
struct CommonArguments {
    /// Configuration file [default: ./configuration.toml, then ~/.data_exchange_agent/configuration.toml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Log what the agent does in detail
    #[arg(short, long)]
    debug: bool,
    /// How log lines look [default: text, or what the configuration says]
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
}

/// Runs the command of the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    // Before there is a second thread.
    crate::heap::settle();
    #[cfg(feature = "odbc")]
    crate::source::odbc::use_utf8_by_default();
    let cli = Cli::parse();
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return cannot_start(&format!("start the runtime: {error}")),
    };
    let code = runtime.block_on(async {
        match cli.command {
            None => run::run(cli.run).await,
            Some(Command::Run(arguments)) => run::run(arguments).await,
            Some(Command::Extract(arguments)) => extract::run(*arguments).await,
            Some(Command::Check(arguments)) => check::run(arguments).await,
            Some(Command::Demo(arguments)) => demo::run(arguments).await,
            Some(Command::Submit(arguments)) => submit::run(arguments).await,
            Some(Command::Tasks(arguments)) => tasks::run(arguments).await,
            Some(Command::Logs(arguments)) => logs::run(arguments).await,
            Some(Command::Config(arguments)) => config::run(&arguments),
            Some(Command::Completion(arguments)) => shell::completion(&arguments),
            Some(Command::Man(arguments)) => shell::man(&arguments),
        }
    });
    // An encoder thread that still holds a batch must not keep the process.
    runtime.shutdown_background();
    code
}

/// Threads that tasks can hold at the same time, at most: the workers of an agent, the slices of a task, and
/// for each slice its reader, its driver, its encoder and an upload. Threads are made when they are needed and
/// go again; with fewer of them than tasks hold, those that wait for another one would wait for ever.
const MAX_BLOCKING_THREADS: usize = 100 * MAX_SLICES as usize * 4 + 512;

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().max_blocking_threads(MAX_BLOCKING_THREADS).enable_all().build()
}

fn cannot_start(problem: &str) -> ExitCode {
    output::note(format_args!("error: {problem}"));
    ExitCode::from(CANNOT_START)
}

/// The end of a command that Ctrl-C has ended.
fn interrupted(state: &str) -> ExitCode {
    output::note(format_args!("interrupted: {state}"));
    ExitCode::from(INTERRUPTED)
}

fn failed(problem: &str) -> ExitCode {
    output::note(format_args!("error: {problem}"));
    ExitCode::FAILURE
}

/// The proven configuration. Prints every problem or warning.
fn configuration(explicit: Option<&Path>, overrides: &Overrides, quiet: bool) -> Result<Config, ExitCode> {
    match load(explicit, overrides, &Environment::process()) {
        Ok((config, _file, warnings)) => {
            for warning in warnings.iter().filter(|_warning| !quiet) {
                output::note(format_args!("warning: {warning}"));
            }
            Ok(config)
        }
        Err(problems) => {
            for problem in &problems.0 {
                output::note(format_args!("error: {problem}"));
            }
            Err(ExitCode::from(CANNOT_START))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};
    use std::time::Duration;

    use super::*;
    use crate::shutdown::spawn_blocking;

    #[test]
    fn work_of_many_slices_at_the_same_time_does_not_wait_for_each_other() {
        // More than the runtime has threads for by itself; none of them ends before all have begun.
        const THREADS: usize = 600;

        let runtime = runtime().unwrap();
        let all = Arc::new(Barrier::new(THREADS));
        let ended = runtime.block_on(async {
            let work: Vec<_> = (0..THREADS)
                .map(|_| {
                    let all = Arc::clone(&all);
                    spawn_blocking(move || all.wait().is_leader())
                })
                .collect();
            tokio::time::timeout(Duration::from_secs(60), futures::future::join_all(work)).await.is_ok()
        });
        runtime.shutdown_background();
        assert!(ended, "some wait for a thread");
    }
}
