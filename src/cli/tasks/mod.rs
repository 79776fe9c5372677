//! `tasks`: list, show, cancel, retry and watch the tasks of an agent.

mod list;
mod show;
pub(super) mod watch;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use futures::future::join_all;

use super::client::{AgentArguments, Client, ClientError, TaskView};
use super::output;
use crate::task::TaskId;

#[derive(Clone, Debug, Args)]
pub(super) struct TasksArguments {
    #[command(subcommand)]
    command: TasksCommand,
    /// Print JSON, as the agent sends it
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    agent: AgentArguments,
}

#[derive(Clone, Debug, Subcommand)]
enum TasksCommand {
    /// List tasks, newest first.
    #[command(visible_alias = "ls")]
    List(list::ListArguments),
    /// Show tasks with their attempts, errors and files.
    Show(Ids),
    /// Cancel tasks; one that runs stops at its next safe point and leaves no visible file.
    Cancel(Ids),
    /// Put failed or cancelled tasks back into the queue.
    Retry(Ids),
    /// Follow tasks until they have ended; without ids, everything that runs or waits now.
    Watch(watch::WatchArguments),
}

/// Tasks by name.
#[derive(Clone, Debug, Args)]
pub(super) struct Ids {
    /// Ids of tasks
    #[arg(value_name = "ID", required = true, value_parser = |text: &str| TaskId::parse(text))]
    ids: Vec<TaskId>,
}

pub(super) async fn run(arguments: TasksArguments) -> ExitCode {
    let client = match arguments.agent.client() {
        Ok(client) => client,
        Err(error) => return fail(&error),
    };
    let json = arguments.json;
    match arguments.command {
        TasksCommand::List(list) => list::run(&client, &list, json).await,
        TasksCommand::Show(ids) => show::run(&client, &ids.ids, json).await,
        TasksCommand::Cancel(ids) => change(&client, &ids.ids, json, Change::Cancel).await,
        TasksCommand::Retry(ids) => change(&client, &ids.ids, json, Change::Retry).await,
        TasksCommand::Watch(watch) => watch::run(&client, watch, json).await,
    }
}

/// Prints why a request was not served.
pub(super) fn fail(error: &ClientError) -> ExitCode {
    output::note(format_args!("error: {error}"));
    error.exit_code()
}

/// Prints why a request about one of several tasks was not served.
fn fail_task(id: &TaskId, error: &ClientError) -> ExitCode {
    output::note(format_args!("error: task {id}: {error}"));
    error.exit_code()
}

#[derive(Clone, Copy)]
enum Change {
    Cancel,
    Retry,
}

/// Asks for the same change of several tasks. The exit code is that of the last that was refused.
async fn change(client: &Client, ids: &[TaskId], json: bool, change: Change) -> ExitCode {
    let answers = join_all(ids.iter().map(async |id| match change {
        Change::Cancel => client.cancel(id.as_str()).await,
        Change::Retry => client.retry(id.as_str()).await,
    }))
    .await;
    let mut code = ExitCode::SUCCESS;
    for (id, answer) in ids.iter().zip(answers) {
        let shown = answer.and_then(|task| {
            if json {
                output::line(&task);
                return Ok(());
            }
            let task: TaskView = client.read(task)?;
            output::line(format_args!("{id}  {}", outcome(&task, change)));
            Ok(())
        });
        if let Err(error) = shown {
            code = fail_task(id, &error);
        }
    }
    code
}

fn outcome(task: &TaskView, change: Change) -> String {
    match change {
        Change::Cancel if task.cancel_requested => "was asked to stop".to_owned(),
        Change::Cancel => format!("is {}", task.status),
        Change::Retry => "waits again".to_owned(),
    }
}
