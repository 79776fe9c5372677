//! `logs`: what an agent wrote down while it ran a task.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use console::Style;
use serde_json::Value;

use super::client::{AgentArguments, Client, ClientError, LogLine};
use super::output::{self, plain, status_style};
use super::tasks::fail;
use crate::task::TaskId;

/// Lines of one request.
const PAGE: usize = 500;
/// Time between two looks for new lines.
const LOOK: Duration = Duration::from_secs(1);
/// How long an agent may be away: a restart with its drain, and a little more.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone, Debug, Args)]
pub(super) struct LogsArguments {
    /// Id of the task
    #[arg(value_name = "ID", value_parser = |text: &str| TaskId::parse(text))]
    task: TaskId,
    /// Go on with new lines until the task has ended
    #[arg(short, long)]
    follow: bool,
    /// Only this attempt, 1 for the first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    attempt: Option<u32>,
    /// Print one JSON object a line, as the agent sends them
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    agent: AgentArguments,
}

pub(super) async fn run(arguments: LogsArguments) -> ExitCode {
    let client = match arguments.agent.client() {
        Ok(client) => client,
        Err(error) => return fail(&error),
    };
    tokio::select! {
        shown = show(&client, &arguments) => match shown {
            Ok(()) => ExitCode::SUCCESS,
            Err(ClientError::Refused(refusal)) if refusal.is("unknown-route") => {
                let words = "this agent keeps no logs of tasks; it is of an older version than this command";
                fail(&ClientError::Unexpected(words.to_owned()))
            }
            Err(error) => fail(&error),
        },
        _ = tokio::signal::ctrl_c() => ExitCode::from(super::INTERRUPTED),
    }
}

async fn show(client: &Client, arguments: &LogsArguments) -> Result<(), ClientError> {
    let mut after: Option<String> = None;
    let mut away_since: Option<Instant> = None;
    loop {
        let mut parameters = vec![("limit", PAGE.to_string())];
        parameters.extend(after.as_ref().map(|after| ("after", after.clone())));
        parameters.extend(arguments.attempt.map(|attempt| ("attempt", attempt.to_string())));
        match client.logs(arguments.task.as_str(), &parameters).await {
            Ok(page) => {
                let count = page.lines.len();
                for line in page.lines {
                    print(client, line, arguments.json)?;
                }
                // Without one, the task has ended and there is no more.
                let Some(next) = page.next.as_ref().and_then(cursor) else { return Ok(()) };
                after = Some(next);
                if count == PAGE {
                    continue;
                }
                if !arguments.follow {
                    return Ok(());
                }
                away_since = None;
            }
            // An agent that restarts comes back, and has kept the lines.
            Err(error) if arguments.follow && after.is_some() && error.may_pass() => {
                if away_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A cursor is a text or a number, and nothing where there is no more.
fn cursor(next: &Value) -> Option<String> {
    match next {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn print(client: &Client, line: Value, json: bool) -> Result<(), ClientError> {
    if json {
        output::line(&line);
        return Ok(());
    }
    let line: LogLine = client.read(line)?;
    let level = line.level.to_uppercase();
    let mut text = format!(
        "{}  {}  {}{}",
        Style::new().dim().apply_to(plain(&line.time)),
        status_style(&level).apply_to(format!("{:5}", plain(&level))),
        line.attempt.map(|attempt| format!("#{attempt}  ")).unwrap_or_default(),
        plain(&line.message),
    );
    for (name, value) in &line.fields {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text += &format!("  {}{}", Style::new().dim().apply_to(format!("{}=", plain(name))), plain(&value));
    }
    output::line(text);
    Ok(())
}
