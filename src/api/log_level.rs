//! `/log_level`: which lines are logged, for as long as somebody looks for something.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::fields::{Findings, Object, integer, text};
use super::problem::Problem;
use super::{Api, extract};
use crate::telemetry::{CurrentLevel, LogLevel};

/// Bytes of a body at most.
const MAX_BODY_BYTES: usize = 4 << 10;
/// Minutes after which a level may fall back at most: a week.
const MAX_MINUTES: u64 = 7 * 24 * 60;

/// Which lines are logged.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"level": "debug", "configured": "info", "until": "2026-11-20T09:00:00Z"}))]
pub(super) struct LevelView {
    /// A word, or directives for parts of the agent.
    pub level: String,
    /// What the configuration says.
    pub configured: String,
    /// When the level falls back to that; null when it stays.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

impl From<CurrentLevel> for LevelView {
    fn from(current: CurrentLevel) -> Self {
        let CurrentLevel { level, configured, until } = current;
        Self { level: level.to_string(), configured: configured.to_string(), until }
    }
}

/// A wanted level.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct LevelRequest {
    /// `error`, `warn`, `info`, `debug`, `trace`, `off`, or directives for parts of the agent such as
    /// `info,worker=debug`.
    level: String,
    /// Fall back to the configured level after so many minutes.
    #[serde(rename = "for")]
    #[schema(minimum = 1, maximum = 10080)]
    minutes: Option<u64>,
}

/// Shows which lines are logged.
#[utoipa::path(
    get, path = "/log_level", tag = "operation", operation_id = "show_log_level",
    responses((status = 200, description = "Which lines are logged", body = LevelView))
)]
pub(super) async fn show(State(api): State<Api>) -> Json<LevelView> {
    Json(api.agent.log.level().into())
}

/// Changes which lines are logged, at once and until the agent ends, reads its configuration again, or
/// the minutes of `for` have passed.
#[utoipa::path(
    put, path = "/log_level", tag = "operation", operation_id = "change_log_level",
    request_body(content = LevelRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "Which lines are logged now", body = LevelView),
        (status = 400, description = "The body is not JSON, or has a name twice in one object"),
        (status = 403, description = "The request comes from a page of another web site"),
        (status = 408, description = "The body did not arrive in time"),
        (status = 413, description = "The body is larger than 4 KiB"),
        (status = 415, description = "The content type is not `application/json`"),
        (status = 422, description = "Fields are wrong or unknown; `errors` has all of them"),
    )
)]
pub(super) async fn change(State(api): State<Api>, request: Request) -> Result<Json<LevelView>, Problem> {
    let body = extract::json_body(request, MAX_BODY_BYTES).await?;
    let (level, limit) = read(&extract::parse(&body)?)?;
    tracing::info!(%level, for_minutes = limit.map(|limit| limit.as_secs() / 60), "the log level is changed, by request");
    let log = api.agent.log.clone();
    let change = log.set(level, limit);
    if let Some(limit) = limit {
        let draining = api.agent.shutdown.clone();
        api.agent.shutdown.spawn_apart(async move {
            tokio::select! {
                () = tokio::time::sleep(limit) => {
                    if log.end(change) {
                        tracing::info!(level = %log.level().level, "the log level falls back");
                    }
                }
                // The agent must not wait for this.
                () = draining.draining() => {}
            }
        });
    }
    Ok(Json(api.agent.log.level().into()))
}

fn read(body: &Value) -> Result<(LogLevel, Option<Duration>), Problem> {
    let mut findings = Findings::default();
    let wanted = wanted(body, &mut findings);
    findings.or_problem(wanted).map(|wanted| wanted.expect("what is missing is a finding"))
}

fn wanted(body: &Value, findings: &mut Findings) -> Option<(LogLevel, Option<Duration>)> {
    let object = Object::open(body, "", &["level", "for"], findings)?;
    let level = object.required("level", "which lines are logged", findings, |value| {
        text(value)?.parse::<LogLevel>().map_err(|error| error.to_string())
    });
    let minutes = object.optional("for", findings, integer(1..=MAX_MINUTES));
    Some((level?, minutes.map(|minutes| Duration::from_secs(minutes * 60))))
}
