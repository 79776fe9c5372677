//! `tasks watch`, and the end of `submit --wait`: tasks with live figures until they have ended.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use futures::stream::{self, StreamExt};
use indicatif::{HumanBytes, HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::{fail, list};
use crate::cli::client::{Client, ClientError, TaskView};
use crate::cli::output::{self, count, plain, status_style};
use crate::cli::table::cut;
use crate::task::TaskId;
use crate::task_source::local::TaskState;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Tasks that are asked for at the same time.
const AT_ONCE: usize = 16;
/// Tasks that have a line of their own on the terminal at the same time.
const BARS: usize = 10;
/// How long an agent may be away: a restart with its drain, and a little more.
const PATIENCE: Duration = Duration::from_secs(120);
/// Characters that a longer id makes no room for in the lines of other tasks.
const WIDEST_ID: usize = 36;
/// Characters of the longest status.
const STATUS_WIDTH: usize = 9;

#[derive(Clone, Debug, Args)]
pub(super) struct WatchArguments {
    /// Ids of tasks
    #[arg(value_name = "ID", value_parser = |text: &str| TaskId::parse(text))]
    ids: Vec<TaskId>,
}

pub(super) async fn run(client: &Client, arguments: WatchArguments, json: bool) -> ExitCode {
    let mut ids: Vec<String> = arguments.ids.iter().map(|id| id.as_str().to_owned()).collect();
    if ids.is_empty() {
        for state in [TaskState::Running, TaskState::Queued] {
            match list::collect(client, Some(state.as_str()), usize::MAX).await {
                Ok((tasks, _)) => {
                    ids.extend(tasks.iter().filter_map(|task| task["id"].as_str().map(str::to_owned)))
                }
                Err(error) => return fail(&error),
            }
        }
        if ids.is_empty() {
            output::note("nothing runs or waits");
            return ExitCode::SUCCESS;
        }
    }
    ids.sort();
    ids.dedup();
    to_the_end(client, ids, json).await
}

/// Follows the tasks. 0 when all completed, 1 when one failed or was cancelled.
pub(in crate::cli) async fn to_the_end(client: &Client, ids: Vec<String>, json: bool) -> ExitCode {
    tokio::select! {
        ended = follow(client, ids, json) => match ended {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => fail(&error),
        },
        _ = tokio::signal::ctrl_c() => {
            output::note("no longer watched; the tasks go on");
            ExitCode::from(crate::cli::INTERRUPTED)
        }
    }
}

async fn follow(client: &Client, ids: Vec<String>, json: bool) -> Result<bool, ClientError> {
    let id_width = ids.iter().map(String::len).max().unwrap_or_default().min(WIDEST_ID);
    let mut screen = Screen::new(json, id_width);
    let is_one_of_several = ids.len() > 1;
    let mut open: Vec<Followed> = ids.into_iter().map(Followed::new).collect();
    let mut all_completed = true;
    let mut away_since: Option<Instant> = None;
    loop {
        let asked: Vec<(Followed, Result<Value, ClientError>)> = stream::iter(open)
            .map(async |task| {
                let answer = client.task_json(&task.id).await;
                (task, answer)
            })
            .buffered(AT_ONCE)
            .collect()
            .await;
        open = Vec::new();
        let mut is_away = false;
        for (mut task, answer) in asked {
            match answer {
                Ok(json) => {
                    let view: TaskView = client.read(json.clone())?;
                    screen.show(&mut task, &view, &json);
                    if view.has_ended() {
                        all_completed &= view.status == "completed";
                    } else {
                        open.push(task);
                    }
                }
                // An agent that restarts comes back, with all its tasks.
                Err(error) if error.may_pass() => {
                    let since = *away_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > PATIENCE || !task.was_seen {
                        return Err(error);
                    }
                    is_away = true;
                    screen.wait_for_agent(&error);
                    open.push(task);
                }
                // The others are followed all the same.
                Err(error) if is_one_of_several => {
                    screen.note(&format!("error: task {}: {error}", task.id));
                    all_completed = false;
                }
                Err(error) => return Err(error),
            }
        }
        if !is_away {
            away_since = None;
        }
        if open.is_empty() {
            return Ok(all_completed);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// One task that has not ended.
struct Followed {
    id: String,
    was_seen: bool,
    status: String,
    bar: Option<ProgressBar>,
}

impl Followed {
    fn new(id: String) -> Self {
        Self { id, was_seen: false, status: String::new(), bar: None }
    }
}

/// Where figures go: bars on a terminal, a line at each change of a status elsewhere.
struct Screen {
    json: bool,
    bars: Option<MultiProgress>,
    shown: usize,
    has_complained: bool,
    /// Characters of the longest id, so that what follows stands in a column.
    id_width: usize,
}

impl Screen {
    fn new(json: bool, id_width: usize) -> Self {
        let on_terminal = std::io::stderr().is_terminal() && std::io::stdout().is_terminal() && !json;
        let bars = on_terminal.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self { json, bars, shown: 0, has_complained: false, id_width }
    }

    fn show(&mut self, task: &mut Followed, view: &TaskView, json: &Value) {
        task.was_seen = true;
        self.has_complained = false;
        let has_changed = task.status != view.status;
        task.status.clone_from(&view.status);
        if view.has_ended()
            && let Some(bar) = task.bar.take()
        {
            bar.finish_and_clear();
            self.shown -= 1;
        }
        if self.json {
            if has_changed {
                output::line(json);
            }
            return;
        }
        match &self.bars {
            Some(bars) if view.has_ended() => {
                bars.suspend(|| output::line(summary(view, self.id_width).trim_end()))
            }
            Some(bars) => {
                if task.bar.is_none() && self.shown < BARS {
                    let bar = bars.add(spinner());
                    // Only now: before, it would draw by itself.
                    bar.enable_steady_tick(Duration::from_millis(100));
                    task.bar = Some(bar);
                    self.shown += 1;
                }
                if let Some(bar) = &task.bar {
                    bar.set_message(live(view, self.id_width));
                }
            }
            None if has_changed => output::line(summary(view, self.id_width).trim_end()),
            None => {}
        }
    }

    fn wait_for_agent(&mut self, error: &ClientError) {
        if self.has_complained {
            return;
        }
        self.has_complained = true;
        self.note(&format!("waiting for the agent: {error}"));
    }

    fn note(&self, words: &str) {
        match &self.bars {
            Some(bars) => bars.suspend(|| output::note(words)),
            None => output::note(words),
        }
    }
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
        bar.set_style(style);
    }
    bar
}

/// What a task does at this moment.
fn live(task: &TaskView, id_width: usize) -> String {
    let status = if task.cancel_requested { "stopping" } else { &task.status };
    let mut text = format!("{:id_width$}  {status:STATUS_WIDTH$}", cut(&plain(&task.id), id_width));
    if let (Some(rows), Some(bytes), Some(parts)) = (task.rows(), task.bytes(), task.parts()) {
        text += &format!(
            "  {} rows  {}/s  {}  {}",
            HumanCount(rows),
            HumanCount(task.rows_per_second() as u64),
            HumanBytes(bytes),
            count(parts, "file"),
        );
    } else if let Some(error) = task.last_error() {
        text += &format!("  try {} failed: {}", task.attempts.len(), plain(&error.message));
    }
    text
}

/// A task at a change of its status, in one line.
fn summary(task: &TaskView, id_width: usize) -> String {
    let status = status_style(&task.status).apply_to(&task.status);
    let padding = STATUS_WIDTH.saturating_sub(task.status.len());
    let mut text = format!("{:id_width$}  {status}{:padding$}", plain(&task.id), "");
    match task.status.as_str() {
        "completed" => {
            text += &format!(
                "  {} rows  {}  {}",
                HumanCount(task.rows().unwrap_or_default()),
                HumanBytes(task.bytes().unwrap_or_default()),
                count(task.parts().unwrap_or_default(), "file")
            );
        }
        "failed" => {
            if let Some(error) = task.last_error() {
                text += &format!("  {}", plain(&error.message));
                if let Some(hint) = &error.hint {
                    text += &format!("\n  {}", plain(hint));
                }
            }
        }
        _ => {}
    }
    text
}
