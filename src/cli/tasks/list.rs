//! `tasks list`.

use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::Args;
use console::Style;
use indicatif::{HumanBytes, HumanCount};
use jiff::Timestamp;

use super::fail;
use crate::cli::client::{Client, ClientError, TaskView};
use crate::cli::output::{self, status_style};
use crate::cli::table::{Cell, Column, render, terminal_width};
use crate::task_source::local::TaskState;

/// Tasks of the largest page.
const LARGEST_PAGE: usize = 500;

#[derive(Clone, Debug, Args)]
pub(super) struct ListArguments {
    /// Only tasks with this status
    #[arg(long, value_name = "STATUS", value_parser = clap::builder::PossibleValuesParser::new(TaskState::ALL.map(TaskState::as_str)))]
    status: Option<String>,
    /// Tasks at most
    #[arg(short = 'n', long, value_name = "N", default_value = "20", conflicts_with = "all")]
    limit: NonZeroUsize,
    /// All tasks that the agent remembers
    #[arg(long)]
    all: bool,
}

pub(super) async fn run(client: &Client, arguments: &ListArguments, json: bool) -> ExitCode {
    let limit = if arguments.all { usize::MAX } else { arguments.limit.get() };
    let (tasks, has_more) = match collect(client, arguments.status.as_deref(), limit).await {
        Ok(found) => found,
        Err(error) => return fail(&error),
    };
    if json {
        output::line(serde_json::to_string_pretty(&tasks).expect("what was read as JSON can be written"));
        return ExitCode::SUCCESS;
    }
    let views: Result<Vec<TaskView>, ClientError> = tasks.into_iter().map(|task| client.read(task)).collect();
    let views = match views {
        Ok(views) => views,
        Err(error) => return fail(&error),
    };
    if views.is_empty() {
        output::note(match &arguments.status {
            Some(status) => format!("no task is {status}"),
            None => "the agent has no tasks yet".to_owned(),
        });
        return ExitCode::SUCCESS;
    }
    let now = Timestamp::now();
    let rows: Vec<Vec<Cell>> = views.iter().map(|task| row(task, now)).collect();
    output::write(&render(&COLUMNS, &rows, terminal_width()));
    if has_more {
        output::note(format_args!("there are more: --limit {} or --all", limit.saturating_mul(5)));
    }
    ExitCode::SUCCESS
}

/// Reads pages until there are `limit` tasks; tells whether more are there.
pub(super) async fn collect(
    client: &Client,
    status: Option<&str>,
    limit: usize,
) -> Result<(Vec<serde_json::Value>, bool), ClientError> {
    let mut tasks = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let left = limit.saturating_sub(tasks.len());
        if left == 0 {
            return Ok((tasks, cursor.is_some()));
        }
        let mut parameters = vec![("limit", left.min(LARGEST_PAGE).to_string())];
        parameters.extend(status.map(|status| ("status", status.to_owned())));
        parameters.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page = client.page(&parameters).await?;
        tasks.extend(page.tasks);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok((tasks, false));
        }
    }
}

const COLUMNS: [Column; 8] = [
    // Wide enough for the ids that the agent makes.
    Column::text("ID").cut_to(36),
    Column::text("STATUS"),
    Column::number("AGE").dispensable(1),
    Column::number("TRIES").dispensable(6),
    Column::number("ROWS").dispensable(2),
    Column::number("SIZE").dispensable(4),
    Column::text("FROM").cut_to(12).dispensable(3),
    Column::text("TO").cut_to(10).dispensable(5),
];

fn row(task: &TaskView, now: Timestamp) -> Vec<Cell> {
    let status = if task.cancel_requested { "stopping" } else { &task.status };
    let age = task.created_at.parse::<Timestamp>().map(|created| age(now.duration_since(created).as_secs()));
    vec![
        Cell::from(&task.id),
        Cell::styled(status, status_style(&task.status)),
        Cell::styled(age.unwrap_or_default(), Style::new().dim()),
        Cell::from(task.attempts.len().to_string()),
        Cell::from(task.rows().map(|rows| HumanCount(rows).to_string()).unwrap_or_default()),
        Cell::from(task.bytes().map(|bytes| HumanBytes(bytes).to_string()).unwrap_or_default()),
        Cell::from(task.from()),
        Cell::from(task.to()),
    ]
}

/// `3s`, `12m`, `5h`, `2d`: how long something is ago, in its largest unit.
fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        for (seconds, expected) in [
            (-5, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3599, "59m"),
            (7200, "2h"),
            (172_799, "47h"),
            (172_800, "2d"),
        ] {
            assert_eq!(age(seconds), expected);
        }
    }
}
