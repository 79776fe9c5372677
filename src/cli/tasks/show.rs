//! `tasks show`.

use std::fmt::Write as _;
use std::process::ExitCode;

use console::Style;
use indicatif::{HumanBytes, HumanCount};

use super::fail;
use crate::cli::client::{AttemptView, Client, TaskView};
use crate::cli::output::{self, count, plain, status_style};
use crate::cli::table::{Cell, Column, render, terminal_width, wrap};
use crate::task::TaskId;

/// Width of the names on the left.
const LABEL: usize = 10;

pub(super) async fn run(client: &Client, ids: &[TaskId], json: bool) -> ExitCode {
    let mut shown = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for id in ids {
        match client.task_json(id.as_str()).await {
            Ok(task) => shown.push(task),
            // The others are there all the same.
            Err(error) => code = super::fail_task(id, &error),
        }
    }
    if json {
        // One task is an object and several are an array, as in what `submit` takes.
        let text = match shown.as_slice() {
            [] => return code,
            [one] if ids.len() == 1 => serde_json::to_string_pretty(one),
            many => serde_json::to_string_pretty(many),
        };
        output::line(text.expect("what was read as JSON can be written"));
        return code;
    }
    let width = terminal_width();
    for (index, task) in shown.into_iter().enumerate() {
        let task: TaskView = match client.read(task) {
            Ok(task) => task,
            Err(error) => return fail(&error),
        };
        if index > 0 {
            output::line("");
        }
        output::write(&text(&task, width));
    }
    code
}

fn text(task: &TaskView, width: Option<usize>) -> String {
    let mut text = String::new();
    let mut entry = |label: &str, value: &str| {
        let label = format!("{label:LABEL$}");
        let room = width.map_or(usize::MAX, |width| width.saturating_sub(LABEL + 1).max(20));
        for (index, line) in wrap(&plain(value), room).iter().enumerate() {
            let label =
                if index == 0 { Style::new().bold().apply_to(&label).to_string() } else { " ".repeat(LABEL) };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{label} {line}");
        }
    };
    entry("task", &task.id);
    entry("status", &status(task));
    entry("from", &task.from());
    entry("to", &task.to());
    entry("accepted", &moment(&task.created_at));
    entry("changed", &moment(&task.updated_at));
    let (tries, allowed) = (task.attempts.len(), task.request.max_attempts);
    entry(
        "tries",
        &if u32::try_from(tries).is_ok_and(|tries| tries <= allowed) {
            format!("{tries} of {allowed}")
        } else {
            // A person put it back, or the agent died meanwhile: both do not count.
            format!("{tries}, of which {allowed} may fail in a row")
        },
    );
    if task.request.priority != 0 {
        entry("priority", &task.request.priority.to_string());
    }
    if let Some(rows) = task.rows() {
        entry("rows", &figures(task, rows));
    }
    if let Some(load) = task.receipt.as_ref().and_then(|receipt| receipt.load.as_ref()) {
        entry(
            "loaded",
            &format!(
                "{}: {} rows inserted, {} updated, {} deleted",
                load.table,
                HumanCount(load.rows_inserted),
                HumanCount(load.rows_updated),
                HumanCount(load.rows_deleted)
            ),
        );
    }
    if let Some(error) = task.last_error().filter(|_| task.status != "completed") {
        entry("error", &format!("{} ({})", error.message, error.kind));
        if let Some(hint) = &error.hint {
            entry("remedy", hint);
        }
    }
    if !task.attempts.is_empty() {
        text.push('\n');
        let rows: Vec<Vec<Cell>> = task.attempts.iter().map(attempt).collect();
        text += &render(&ATTEMPTS, &rows, width);
    }
    if let Some(receipt) = task.receipt.as_ref().filter(|receipt| !receipt.files.is_empty()) {
        text.push('\n');
        let file = |file: &crate::task::FileReceipt| {
            vec![
                Cell::from(HumanCount(file.rows).to_string()),
                Cell::from(HumanBytes(file.bytes).to_string()),
                Cell::from(&file.location),
            ]
        };
        let rows: Vec<Vec<Cell>> = receipt.files.iter().map(file).collect();
        // A place is there to be copied: it is never cut.
        text += &render(&FILES, &rows, width);
    }
    text
}

const ATTEMPTS: [Column; 5] = [
    Column::number("TRY"),
    Column::text("OUTCOME"),
    Column::text("BEGAN").dispensable(2),
    Column::text("ENDED").dispensable(1),
    Column::text("ERROR").cut_to(20),
];

const FILES: [Column; 3] = [Column::number("ROWS"), Column::number("SIZE"), Column::text("FILE")];

fn attempt(attempt: &AttemptView) -> Vec<Cell> {
    let error = attempt.error.as_ref().map_or("", |error| error.message.as_str());
    vec![
        Cell::from(attempt.number.to_string()),
        Cell::styled(&attempt.status, status_style(&attempt.status)),
        Cell::from(moment(&attempt.started_at)),
        Cell::from(attempt.finished_at.as_deref().map(moment).unwrap_or_default()),
        Cell::from(error),
    ]
}

fn status(task: &TaskView) -> String {
    let mut text = task.status.clone();
    if task.cancel_requested {
        text += ", was asked to stop";
    }
    if let Some(next) = &task.next_attempt_at {
        text += &format!(", tried again at {} or later", moment(next));
    }
    text
}

fn figures(task: &TaskView, rows: u64) -> String {
    format!(
        "{} in {}, {}, {} rows/s",
        HumanCount(rows),
        count(task.parts().unwrap_or_default(), "file"),
        HumanBytes(task.bytes().unwrap_or_default()),
        HumanCount(task.rows_per_second() as u64),
    )
}

/// A moment without what nobody reads: `2026-11-20 08:30:01 UTC`.
fn moment(timestamp: &str) -> String {
    match timestamp.parse::<jiff::Timestamp>() {
        Ok(moment) => moment.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => timestamp.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_task_shows_its_error_and_the_remedy() {
        let task: TaskView = serde_json::from_str(
            r#"{"id":"orders","status":"failed","created_at":"2026-11-20T08:30:00.125Z","updated_at":"2026-11-20T08:30:01.25Z",
            "request":{"source_config":{"database":"sales","query":"SELECT\n *  FROM orders"},
                "destination_config":{"type":"s3","path":"orders/"},"max_attempts":3,"priority":5},
            "attempts":[{"number":1,"status":"failed","started_at":"2026-11-20T08:30:00.2Z","finished_at":"2026-11-20T08:30:01Z",
                "error":{"kind":"request","message":"prepare the query: there is no table `orders`","hint":"Create it."}}]}"#,
        )
        .unwrap();
        assert_eq!(
            text(&task, Some(60)),
            "task       orders\n\
             status     failed\n\
             from       sales: SELECT * FROM orders\n\
             to         s3: orders/\n\
             accepted   2026-11-20 08:30:00 UTC\n\
             changed    2026-11-20 08:30:01 UTC\n\
             tries      1 of 3\n\
             priority   5\n\
             error      prepare the query: there is no table `orders`\n           (request)\n\
             remedy     Create it.\n\n\
             TRY  OUTCOME  ENDED                    ERROR\n  \
             1  failed   2026-11-20 08:30:01 UTC  prepare the query: t…\n"
        );
    }
}
