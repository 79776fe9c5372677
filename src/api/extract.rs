//! Parts of a request: the JSON body, the id in the path, the query parameters.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use futures::TryStreamExt;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::fields::{Findings, unknown};
use super::problem::{Problem, ProblemKind};
use super::strict_json;
use crate::task::{TaskId, Traceparent};

/// Longest time for a body to arrive: a slow one holds memory.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a refused body that are read at most before its connection is cut.
const MAX_DISCARDED: usize = 64 << 20;
/// Larger bodies need room, and are checked apart from the others.
const LARGE_BODY: usize = 64 << 10;
/// Bytes of large bodies in memory at the same time, about.
const MAX_LARGE_BYTES: usize = 64 << 20;

/// Large bodies that may be in memory at the same time, when none is longer than `longest`; always one.
pub(super) fn large_bodies(longest: usize) -> usize {
    (MAX_LARGE_BYTES / longest.max(1)).clamp(1, Semaphore::MAX_PERMITS)
}

/// The whole body of a request that says it is JSON, not parsed yet.
///
/// A refused body is read and thrown away first, within [`MAX_DISCARDED`]: most clients write all
/// of it before they read an answer, and would see a broken connection in place of the answer.
pub(super) async fn json_body(request: Request, longest: usize) -> Result<Vec<u8>, Problem> {
    body(request, longest, None).await.map(|(body, _none)| body)
}

/// The same for bodies of which many are too many: a large one comes with its room, without which it is
/// refused before it is in memory.
pub(super) async fn roomy_json_body(
    request: Request,
    longest: usize,
    room: &Arc<Semaphore>,
) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), Problem> {
    body(request, longest, Some(room)).await
}

async fn body(
    request: Request,
    longest: usize,
    room: Option<&Arc<Semaphore>>,
) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), Problem> {
    let too_large =
        || Problem::new(ProblemKind::BodyTooLarge, format!("a body can have at most {longest} bytes"));
    let (parts, body) = request.into_parts();
    let refused = if !is_json(&parts.headers) {
        Some(Problem::new(ProblemKind::MediaType, "send the header `Content-Type: application/json`"))
    } else if announced(&parts.headers).is_some_and(|length| length > longest as u64) {
        Some(too_large())
    } else {
        None
    };
    if let Some(refusal) = refused {
        // A client that expects a word before it sends the body has not sent it.
        if !parts.headers.contains_key(header::EXPECT) {
            drop(tokio::time::timeout(BODY_TIMEOUT, read_body(body, 0, None)).await);
        }
        return Err(refusal);
    }
    match tokio::time::timeout(BODY_TIMEOUT, read_body(body, longest, room)).await {
        Ok(Ok(Arrived::Whole(body, room))) => Ok((body, room)),
        Ok(Ok(Arrived::TooLong)) => Err(too_large()),
        Ok(Ok(Arrived::NoRoom)) => {
            let detail = "too many large bodies are being read; send it again later, or fewer tasks at once";
            Err(Problem::new(ProblemKind::Unavailable, detail))
        }
        // Nobody is left to read this.
        Ok(Err(_)) => Err(Problem::new(ProblemKind::MalformedJson, "the body ended before its time")),
        Err(_elapsed) => {
            let detail = format!("the body has to arrive within {} s", BODY_TIMEOUT.as_secs());
            Err(Problem::new(ProblemKind::BodyTimeout, detail))
        }
    }
}

/// The length that the head of a request announces.
fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// What became of a body.
enum Arrived {
    /// All of it, and its room where it needs some.
    Whole(Vec<u8>, Option<OwnedSemaphorePermit>),
    TooLong,
    NoRoom,
}

/// Reads a body. What is refused is thrown away as it comes.
async fn read_body(
    body: Body,
    longest: usize,
    room: Option<&Arc<Semaphore>>,
) -> Result<Arrived, axum::Error> {
    let mut stream = body.into_data_stream();
    let mut arrived = Arrived::Whole(Vec::new(), None);
    let mut length = 0;
    while let Some(chunk) = stream.try_next().await? {
        length += chunk.len();
        if length > longest {
            arrived = Arrived::TooLong;
        }
        match &mut arrived {
            Arrived::Whole(whole, taken) => {
                if let Some(room) = room.filter(|_| length > LARGE_BODY && taken.is_none()) {
                    match Arc::clone(room).try_acquire_owned() {
                        Ok(permit) => *taken = Some(permit),
                        Err(_full) => {
                            arrived = Arrived::NoRoom;
                            continue;
                        }
                    }
                }
                whole.extend_from_slice(&chunk);
            }
            Arrived::TooLong | Arrived::NoRoom if length.saturating_sub(longest) > MAX_DISCARDED => break,
            Arrived::TooLong | Arrived::NoRoom => {}
        }
    }
    Ok(arrived)
}

/// Parses a body.
pub(super) fn parse(body: &[u8]) -> Result<Value, Problem> {
    strict_json::parse(body).map_err(|error| Problem::new(ProblemKind::MalformedJson, error.to_string()))
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(text)) = headers.get(header::CONTENT_TYPE).map(|value| value.to_str()) else { return false };
    let media_type = text.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/json")
}

/// The trace that a request belongs to. What is no `traceparent` counts as none, as W3C Trace Context
/// asks for.
pub(super) fn traceparent(headers: &HeaderMap) -> Traceparent {
    let header = headers.get("traceparent").and_then(|header| header.to_str().ok());
    header.and_then(Traceparent::parse).unwrap_or_default()
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
            findings.add_parameter(&name, unknown("parameter", &name, known));
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
