//! Parts of a request: the JSON body, the id in the path, the query parameters.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use futures::TryStreamExt;
use serde_json::Value;

use super::fields::Findings;
use super::problem::{Problem, ProblemKind};
use super::strict_json;
use crate::task::TaskId;

/// Longest time for a body to arrive: a slow one holds memory.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The whole body of a request that says it is JSON, not parsed yet.
pub(super) async fn json_body(request: Request, longest: usize) -> Result<Vec<u8>, Problem> {
    if !is_json(request.headers()) {
        let detail = "send the header `Content-Type: application/json`";
        return Err(Problem::new(ProblemKind::MediaType, detail));
    }
    let too_large =
        || Problem::new(ProblemKind::BodyTooLarge, format!("a body can have at most {longest} bytes"));
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > longest as u64) {
        return Err(too_large());
    }
    let read = tokio::time::timeout(BODY_TIMEOUT, read_body(request.into_body(), longest));
    match read.await {
        Ok(Ok(Some(body))) => Ok(body),
        Ok(Ok(None)) => Err(too_large()),
        // Nobody is left to read this.
        Ok(Err(_)) => Err(Problem::new(ProblemKind::MalformedJson, "the body ended before its time")),
        Err(_elapsed) => {
            let detail = format!("the body has to arrive within {} s", BODY_TIMEOUT.as_secs());
            Err(Problem::new(ProblemKind::BodyTimeout, detail))
        }
    }
}

/// Parses a body.
pub(super) fn parse(body: &[u8]) -> Result<Value, Problem> {
    strict_json::parse(body).map_err(|error| Problem::new(ProblemKind::MalformedJson, error.to_string()))
}

/// `None` when the body is too long.
async fn read_body(body: Body, longest: usize) -> Result<Option<Vec<u8>>, axum::Error> {
    let mut stream = body.into_data_stream();
    let mut whole = Vec::new();
    while let Some(chunk) = stream.try_next().await? {
        if whole.len() + chunk.len() > longest {
            return Ok(None);
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(Some(whole))
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(text)) = headers.get(header::CONTENT_TYPE).map(|value| value.to_str()) else { return false };
    let media_type = text.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/json")
}

/// The id in the path of a request. What cannot be an id names no task.
pub(super) struct PathId(pub(super) TaskId);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let id = path.map(|Path(id)| id).unwrap_or_default();
        match TaskId::parse(id.as_str()) {
            Ok(id) => Ok(Self(id)),
            Err(_invalid) => Err(Problem::unknown_task(&id)),
        }
    }
}

/// The query parameters of a request, each at most once and all of them known.
pub(super) fn parameters(
    query: Option<&str>,
    known: &[&'static str],
    findings: &mut Findings,
) -> Vec<(&'static str, String)> {
    let mut parameters: Vec<(&'static str, String)> = Vec::new();
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let Some(known_name) = known.iter().copied().find(|known| *known == name) else {
            let known = super::fields::list(known);
            findings.add_parameter(&name, format!("unknown parameter; known here: {known}"));
            continue;
        };
        if parameters.iter().any(|(name, _)| *name == known_name) {
            findings.add_parameter(known_name, "given twice");
        } else {
            parameters.push((known_name, value.into_owned()));
        }
    }
    parameters
}
