//! `submit`: hands tasks from a file to an agent.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::client::{Accepted, AgentArguments, ClientError};
use super::output::{self, plain, status_style};
use super::table::{Cell, Column, render, terminal_width};
use super::tasks::{fail, watch};

/// Name of the array of tasks in a TOML file.
const TASKS: &str = "tasks";

#[derive(Clone, Debug, Args)]
pub(super) struct SubmitArguments {
    /// File with one task or several: JSON (an object, or an array) or TOML (one task, or an array `tasks`); - is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Format of the file [default: by its name, else by its content]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Follow the tasks to their end: exit code 1 when one fails
    #[arg(short, long)]
    wait: bool,
    /// Print JSON, as the agent sends it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    agent: AgentArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
    Toml,
}

pub(super) async fn run(arguments: SubmitArguments) -> ExitCode {
    let name = if arguments.file == Path::new("-") {
        "the standard input".to_owned()
    } else {
        arguments.file.display().to_string()
    };
    let body = match read(&arguments.file).map_err(|error| error.to_string()) {
        Ok(text) => body(&text, arguments.format.or_else(|| by_name(&arguments.file))),
        Err(error) => Err(error),
    };
    let body = match body {
        Ok(body) => body,
        Err(problem) => return super::cannot_start(&format!("read the tasks of {name}: {problem}")),
    };
    let client = match arguments.agent.client() {
        Ok(client) => client,
        Err(error) => return fail(&error),
    };
    let answer = match client.submit(body).await {
        Ok(answer) => answer,
        Err(error @ ClientError::Refused(_)) => {
            output::note(format_args!("error: {name}: {error}"));
            return error.exit_code();
        }
        Err(error) => return fail(&error),
    };
    let accepted: Vec<Accepted> = match accepted(&answer).map(|tasks| client.read(tasks)) {
        Some(Ok(accepted)) => accepted,
        Some(Err(error)) => return fail(&error),
        None => Vec::new(),
    };
    if arguments.json {
        output::line(&answer);
    } else {
        output::write(&table(&accepted));
        for task in &accepted {
            for note in &task.notes {
                output::note(format_args!("note: task {}: {}", task.id_task, plain(note)));
            }
        }
    }
    if !arguments.wait {
        return ExitCode::SUCCESS;
    }
    watch::to_the_end(&client, accepted.into_iter().map(|task| task.id_task).collect(), arguments.json).await
}

fn read(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().lock().read_to_string(&mut text)?;
    } else {
        text = fs::read_to_string(file)?;
    }
    Ok(text)
}

fn by_name(file: &Path) -> Option<Format> {
    let extension = file.extension()?.to_str()?;
    if extension.eq_ignore_ascii_case("toml") {
        Some(Format::Toml)
    } else if extension.eq_ignore_ascii_case("json") {
        Some(Format::Json)
    } else {
        None
    }
}

/// What is posted. JSON goes as it is, so that the agent is the only judge of it.
fn body(text: &str, format: Option<Format>) -> Result<Vec<u8>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err("there is nothing in it".to_owned());
    }
    let format = format.unwrap_or_else(|| if looks_like_json(text) { Format::Json } else { Format::Toml });
    match format {
        Format::Json => Ok(text.as_bytes().to_vec()),
        Format::Toml => from_toml(text),
    }
}

/// True for an object or an array of objects; `[` alone also begins a TOML section.
fn looks_like_json(text: &str) -> bool {
    let text = text.trim_start();
    text.starts_with('{')
        || text.strip_prefix('[').is_some_and(|rest| rest.trim_start().starts_with(['{', ']']))
}

fn from_toml(text: &str) -> Result<Vec<u8>, String> {
    let mut document: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        // Without the line itself, which `Display` repeats.
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        format!("line {line} is not valid TOML: {}", error.message().replace('\n', ", "))
    })?;
    let value = match document.remove(TASKS) {
        Some(tasks) if document.is_empty() => tasks,
        Some(_) => {
            let others: Vec<&str> = document.keys().map(String::as_str).collect();
            return Err(format!("beside [[{TASKS}]] stands {}; write it into the tasks", others.join(", ")));
        }
        None => toml::Value::Table(document),
    };
    // The agent tells what a date or an infinite number is doing in a task.
    serde_json::to_vec(&value).map_err(|error| error.to_string())
}

/// The answers of a submission, as an array.
fn accepted(answer: &Value) -> Option<Value> {
    match answer.get("tasks") {
        Some(tasks) => Some(tasks.clone()),
        None => answer.get("id_task").map(|_| Value::Array(vec![answer.clone()])),
    }
}

fn table(accepted: &[Accepted]) -> String {
    // Wide enough for the ids that the agent makes.
    const COLUMNS: [Column; 3] = [Column::text("ID").cut_to(36), Column::text("STATUS"), Column::text("")];
    let row = |task: &Accepted| {
        let note = if task.created { "" } else { "was there already" };
        vec![
            Cell::from(&task.id_task),
            Cell::styled(&task.status, status_style(&task.status)),
            Cell::from(note),
        ]
    };
    render(&COLUMNS, &accepted.iter().map(row).collect::<Vec<_>>(), terminal_width())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posted(text: &str) -> Value {
        serde_json::from_slice(&body(text, None).unwrap()).unwrap()
    }

    #[test]
    fn tasks_come_as_json_or_toml() {
        let one = serde_json::json!({"id": "a", "source_config": {"database": "sales", "slices": 2}});
        for text in [
            r#" {"id": "a", "source_config": {"database": "sales", "slices": 2}} "#,
            "\u{feff}id = \"a\"\n[source_config]\ndatabase = \"sales\"\nslices = 2",
            "# a comment\nid = \"a\"\nsource_config = { database = \"sales\", slices = 2 }",
        ] {
            assert_eq!(posted(text), one, "{text}");
        }
        for text in [
            r#"[ {"id": "a", "source_config": {"database": "sales", "slices": 2}} ]"#,
            "[[tasks]]\nid = \"a\"\n[tasks.source_config]\ndatabase = \"sales\"\nslices = 2",
        ] {
            assert_eq!(posted(text), Value::Array(vec![one.clone()]), "{text}");
        }
        assert_eq!(posted("[source_config]\ndatabase = \"a\"")["source_config"]["database"], "a");
    }

    #[test]
    fn json_goes_as_it_is_written() {
        let text = r#"{"id": "a", "id": "b", "n": 1e400}"#;
        assert_eq!(body(text, None).unwrap(), text.as_bytes());
    }

    #[test]
    fn what_is_wrong_in_toml_has_its_line() {
        for (text, expected) in [
            ("id = \"a\"\nid = \"b\"", "line 2 is not valid TOML"),
            ("id = 'a'\n[[tasks]]\nid = 'b'", "beside [[tasks]] stands id"),
            ("  \n", "there is nothing in it"),
        ] {
            let problem = body(text, None).unwrap_err();
            assert!(problem.starts_with(expected), "{text}: {problem}");
        }
        assert!(!body("password = 'hunter2", None).unwrap_err().contains("hunter2"));
    }
}
