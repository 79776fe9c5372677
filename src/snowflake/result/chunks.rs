//! The chunks of a large result: fetched in parallel, in order, each with its rows counted.
//!
//! They lie in an object store. Their URLs are signed, so nothing is added to them, no token goes
//! there, and they are never shown.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::header::{HeaderName, HeaderValue};
use tokio::sync::Mutex;
use url::Url;

use super::answer::{Answer, Chunk, Format};
use super::{ACTION, Row, arrow, decode, json};
use crate::config::Secret;
use crate::fault::FaultKind;
use crate::retry::Backoff;
use crate::snowflake::connection::Protocol;
use crate::snowflake::error::Error;
use crate::snowflake::http::asked_wait;
use crate::snowflake::query;
use crate::snowflake::session::Session;

/// Chunks that are fetched at the same time, as the drivers do.
const PARALLEL: usize = 4;
const ATTEMPTS: u32 = 10;
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(16) };
/// The longest time for one attempt; chunks have some ten megabytes.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(600);
/// The largest chunk, packed and unpacked; the server makes them a hundred times smaller.
const LARGEST_CHUNK: usize = 2 << 30;

/// The rows of all chunks.
pub(super) async fn download(session: &Arc<Session>, answer: &Answer) -> Result<Vec<Row>, Error> {
    let source = Source {
        session,
        query_id: answer.query_id.as_deref(),
        format: answer.format,
        columns: &answer.columns,
        places: Mutex::new(Places {
            generation: 0,
            chunks: answer.chunks.clone(),
            headers: answer.headers.clone(),
        }),
    };
    let fetches = (0..answer.chunks.len()).map(|index| source.rows(index));
    let chunks: Vec<Vec<Row>> = stream::iter(fetches).buffered(PARALLEL).try_collect().await?;
    Ok(chunks.into_iter().flatten().collect())
}

struct Source<'a> {
    session: &'a Arc<Session>,
    query_id: Option<&'a str>,
    format: Format,
    columns: &'a Arc<Vec<super::Column>>,
    places: Mutex<Places>,
}

/// Where the chunks are, until the signatures expire.
struct Places {
    generation: u32,
    chunks: Vec<Chunk>,
    headers: Vec<(String, Secret)>,
}

/// Why a chunk was not read.
enum Failure {
    Again(Error, Option<Duration>),
    /// The signature is not accepted any more.
    Expired(Error),
    Final(Error),
}

impl Source<'_> {
    /// The rows of one chunk, counted. A chunk that has too few is fetched once more.
    async fn rows(&self, index: usize) -> Result<Vec<Row>, Error> {
        let mut has_miscounted = false;
        loop {
            let (body, wanted) = self.body(index).await?;
            let (format, columns) = (self.format, Arc::clone(self.columns));
            let decoded = decode(move || {
                let body = unpacked(body)?;
                match format {
                    Format::Json => json::chunk(&body, &columns),
                    Format::Arrow => arrow::rows(body, &columns),
                }
            });
            let error = match decoded.await {
                Ok(rows) if rows.len() as u64 == wanted => return Ok(rows),
                Ok(rows) => Error::new(FaultKind::Transient, ACTION).message(format!(
                    "chunk {} of the result should have {wanted} rows and has {}",
                    index + 1,
                    rows.len()
                )),
                Err(error) => error,
            };
            if has_miscounted {
                return Err(error.of_query(self.query_id));
            }
            has_miscounted = true;
        }
    }

    async fn body(&self, index: usize) -> Result<(Vec<u8>, u64), Error> {
        let mut failures = 0;
        let mut renewals = 0;
        loop {
            let (generation, chunk, headers) = {
                let places = self.places.lock().await;
                (places.generation, places.chunks.get(index).cloned(), places.headers.clone())
            };
            let Some(chunk) = chunk else {
                return Err(Error::new(FaultKind::Transient, ACTION)
                    .message("the result has fewer chunks than it had before")
                    .of_query(self.query_id));
            };
            let (error, asked_wait) = match self.attempt(&chunk, &headers).await {
                Ok(body) => return Ok((body, chunk.rows)),
                Err(Failure::Final(error)) => return Err(error.of_query(self.query_id)),
                Err(Failure::Expired(error)) if renewals == 0 => {
                    renewals += 1;
                    if !self.renew(generation).await {
                        return Err(error.of_query(self.query_id));
                    }
                    continue;
                }
                Err(Failure::Expired(error)) => return Err(error.of_query(self.query_id)),
                Err(Failure::Again(error, asked_wait)) => (error, asked_wait),
            };
            failures += 1;
            if failures == ATTEMPTS {
                return Err(error.of_query(self.query_id));
            }
            tokio::time::sleep(BACKOFF.wait(failures).max(asked_wait.unwrap_or_default())).await;
        }
    }

    /// Asks the server for the result again, which signs the URLs anew; once for all chunks.
    async fn renew(&self, generation: u32) -> bool {
        let mut places = self.places.lock().await;
        if places.generation > generation {
            return true;
        }
        let Some(query_id) = self.query_id else { return false };
        let Ok(data) = query::fetch(self.session, query_id).await else { return false };
        let Ok(answer) = Answer::parse(data) else { return false };
        let is_the_same = answer.chunks.len() == places.chunks.len()
            && answer.chunks.iter().zip(&places.chunks).all(|(new, old)| new.rows == old.rows);
        if is_the_same {
            *places = Places { generation: generation + 1, chunks: answer.chunks, headers: answer.headers };
        }
        is_the_same
    }

    async fn attempt(&self, chunk: &Chunk, headers: &[(String, Secret)]) -> Result<Vec<u8>, Failure> {
        let door = &self.session.door;
        let is_safe = Url::parse(chunk.url.expose()).is_ok_and(|url| match url.scheme() {
            "https" => true,
            // A test server without TLS serves its chunks without it.
            "http" => door.credentials.current().protocol == Protocol::Http,
            _ => false,
        });
        if !is_safe {
            let error = Error::new(FaultKind::Request, ACTION).message("a chunk has no address with TLS");
            return Err(Failure::Final(error));
        }
        let mut request = door.http.client().get(chunk.url.expose()).timeout(ATTEMPT_LIMIT);
        for (name, value) in headers {
            let (Ok(name), Ok(mut value)) =
                (HeaderName::try_from(name.as_str()), HeaderValue::from_str(value.expose()))
            else {
                let error = Error::new(FaultKind::Request, ACTION).message("a header for chunks is none");
                return Err(Failure::Final(error));
            };
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        let again = |error| Failure::Again(Error::transport(ACTION, error), None);
        let mut response = request.send().await.map_err(again)?;
        let status = response.status().as_u16();
        let asked_wait = asked_wait(&response);
        let refused = |kind| {
            Error::new(kind, ACTION).message(format!("a chunk was answered with HTTP status {status}"))
        };
        match status {
            200 => {}
            403 => return Err(Failure::Expired(refused(FaultKind::Transient))),
            429 => return Err(Failure::Again(refused(FaultKind::Throttled), asked_wait)),
            408 | 500..=599 => return Err(Failure::Again(refused(FaultKind::Transient), asked_wait)),
            _ => return Err(Failure::Final(refused(FaultKind::Transient))),
        }
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(again)? {
            if body.len() + piece.len() > LARGEST_CHUNK {
                return Err(Failure::Final(too_large()));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

/// Bodies are packed whether or not a header says so.
pub(in crate::snowflake) fn unpacked(body: Vec<u8>) -> Result<Vec<u8>, Error> {
    const GZIP: [u8; 2] = [0x1f, 0x8b];

    if !body.starts_with(&GZIP) {
        return Ok(body);
    }
    let mut unpacked = Vec::new();
    let mut reader = MultiGzDecoder::new(body.as_slice()).take(LARGEST_CHUNK as u64 + 1);
    reader.read_to_end(&mut unpacked).map_err(|error| {
        Error::new(FaultKind::Transient, ACTION).message("a body cannot be unpacked").because(error)
    })?;
    if unpacked.len() > LARGEST_CHUNK { Err(too_large()) } else { Ok(unpacked) }
}

fn too_large() -> Error {
    Error::new(FaultKind::Request, ACTION)
        .message(format!("a part of the result is larger than {LARGEST_CHUNK} bytes"))
}
