//! Sessions of browsers: a key is shown once, and the cookie holds a random number from then on.
//!
//! A session is the hash of its key and nothing more, so that it ends with the key: the guard asks
//! for it as if the key had been shown. Sessions live in memory and end with the agent.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::api::Api;
use crate::api::extract;
use crate::api::fields::{Findings, Object, line};
use crate::api::problem::{Problem, ProblemKind};
use crate::config::{KeyDigest, Scope, Secret};

/// Where a browser signs in and out.
pub(super) const PATH: &str = "/console/session";
/// Longest life of a session: a working day.
const LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// A session that is not used for this long ends. An open page uses it every few seconds.
const IDLE: Duration = Duration::from_secs(3600);
/// Sessions at the same time; one more ends the one that was unused for longest.
const MAX_SESSIONS: usize = 256;
/// Bytes of the random number in a cookie.
const ID_BYTES: usize = 32;
/// Bytes of a sign-in at most.
const MAX_SIGN_IN: usize = 4096;
/// Characters of a key at most.
const MAX_KEY: usize = 1024;
/// Only a script of the page can set it; a form of another page cannot.
pub(in crate::api) const PAGE_HEADER: &str = "x-console";

/// The sessions of an agent.
#[derive(Default)]
pub(in crate::api) struct Sessions(Mutex<HashMap<IdDigest, Session>>);

/// The SHA-256 of a random number: what is in memory opens nothing.
type IdDigest = [u8; 32];

struct Session {
    key: KeyDigest,
    begun: Instant,
    used: Instant,
}

impl Session {
    fn has_ended(&self, now: Instant) -> bool {
        now.duration_since(self.begun) >= LIFETIME || now.duration_since(self.used) >= IDLE
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sessions").field("count", &self.lock().len()).finish()
    }
}

impl Sessions {
    /// The key of the session in the cookie of a request.
    pub(in crate::api) fn key(&self, headers: &HeaderMap) -> Option<KeyDigest> {
        self.key_at(headers, Instant::now())
    }

    fn key_at(&self, headers: &HeaderMap, now: Instant) -> Option<KeyDigest> {
        let id = digest(cookie(headers)?);
        let mut sessions = self.lock();
        let session = sessions.get_mut(&id)?;
        if session.has_ended(now) {
            sessions.remove(&id);
            return None;
        }
        session.used = now;
        Some(session.key)
    }

    /// Begins a session, and returns what the cookie holds.
    fn begin(&self, key: KeyDigest, now: Instant) -> Result<String, Problem> {
        let mut id = [0; ID_BYTES];
        aws_lc_rs::rand::fill(&mut id)
            .map_err(|_| Problem::new(ProblemKind::Internal, "the system gave no random number"))?;
        let id = URL_SAFE_NO_PAD.encode(id);
        let mut sessions = self.lock();
        sessions.retain(|_, session| !session.has_ended(now));
        if sessions.len() >= MAX_SESSIONS {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.used).map(|(id, _)| *id);
            oldest.and_then(|id| sessions.remove(&id));
        }
        sessions.insert(digest(&id), Session { key, begun: now, used: now });
        Ok(id)
    }

    fn end(&self, headers: &HeaderMap) {
        if let Some(id) = cookie(headers) {
            self.lock().remove(&digest(id));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IdDigest, Session>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

fn digest(id: &str) -> IdDigest {
    Sha256::digest(id).into()
}

/// The value of the session's cookie.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let name = cookie_name(headers);
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs
        .find(|(found, _)| found.strip_prefix(SECURE_PREFIX).unwrap_or(found) == name)
        .map(|(_, value)| value)
}

/// Browsers take a cookie of this name only over TLS, for the whole of one host.
const SECURE_PREFIX: &str = "__Host-";

/// Cookies know no ports, so that the name has it: two agents of one machine keep apart.
fn cookie_name(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let port: u16 = host.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_default();
    format!("data-exchange-agent-{port}")
}

/// The header that sets the cookie, or removes it when `id` is `None`.
fn set_cookie(headers: &HeaderMap, id: Option<&str>) -> HeaderValue {
    // A browser says in every POST and DELETE how it reached the page; a proxy in front that ends
    // TLS changes nothing about that.
    let is_secure =
        headers.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"));
    let name = cookie_name(headers);
    let (prefix, secure) = if is_secure { (SECURE_PREFIX, "; Secure") } else { ("", "") };
    let (id, age) = id.map_or(("", 0), |id| (id, LIFETIME.as_secs()));
    let cookie = format!("{prefix}{name}={id}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::try_from(cookie).expect("letters, digits and a few signs")
}

/// Who uses the page.
#[derive(Debug, Serialize)]
pub(super) struct SessionView<'a> {
    /// Whether the agent has keys, so that people sign in with one.
    sign_in: bool,
    /// Name of the key; `None` without a session, or without keys.
    key: Option<&'a str>,
    /// What can be done.
    scopes: Vec<&'static str>,
    /// Version of the agent.
    version: &'static str,
}

/// Shows who is signed in.
pub(super) async fn show(State(api): State<Api>, headers: HeaderMap) -> Response {
    let access = api.agent.doors.now();
    let digest = access.sessions().key(&headers);
    let key = digest.and_then(|digest| access.find_key(&digest));
    let scopes = match (access.has_keys(), key) {
        (false, _) => &Scope::ALL[..],
        (true, Some(key)) => key.scopes(),
        (true, None) => &[],
    };
    let view = SessionView {
        sign_in: access.has_keys(),
        key: key.map(crate::config::ApiKey::name),
        scopes: scopes.iter().map(|scope| scope.as_str()).collect(),
        version: env!("CARGO_PKG_VERSION"),
    };
    Json(view).into_response()
}

/// Begins a session: `{"key": "..."}` is an API key.
pub(super) async fn sign_in(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    demand_page(&headers)?;
    let body = extract::json_body(request, MAX_SIGN_IN).await?;
    let value = extract::parse(&body)?;
    let mut findings = Findings::default();
    let key = Object::open(&value, "", &["key"], &mut findings)
        .and_then(|object| object.required("key", "an API key", &mut findings, line(MAX_KEY)))
        .map(Secret::new);
    let Some(key) = findings.or_problem(key)? else {
        return Err(Problem::new(ProblemKind::Unauthorized, "the agent does not know this API key"));
    };
    let access = api.agent.doors.now();
    let digest = KeyDigest::of(key.expose().as_bytes());
    let Some(known) = access.find_key(&digest) else {
        return Err(Problem::new(ProblemKind::Unauthorized, "the agent does not know this API key"));
    };
    let id = access.sessions().begin(digest, Instant::now())?;
    tracing::info!(api_key = known.name(), "somebody signed in to the console");
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, set_cookie(&headers, Some(&id)))]).into_response())
}

/// Ends the session of the request, if there is one.
pub(super) async fn sign_out(State(api): State<Api>, headers: HeaderMap) -> Result<Response, Problem> {
    demand_page(&headers)?;
    api.agent.doors.now().sessions().end(&headers);
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, set_cookie(&headers, None))]).into_response())
}

/// Refuses what no script of the page has sent.
pub(in crate::api) fn demand_page(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(PAGE_HEADER) {
        return Ok(());
    }
    let detail = "with the cookie of the console, only its own page can change something";
    Err(Problem::new(ProblemKind::CrossSite, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_session_ends_when_it_is_unused_and_at_the_end_of_the_day() {
        let sessions = Sessions::default();
        let begun = Instant::now();
        let id = sessions.begin(KeyDigest::of(b"key"), begun).unwrap();
        let headers = request(&[("host", "a:1"), ("cookie", &format!("x=y; data-exchange-agent-1={id}"))]);
        let is_open_after = |time: Duration| sessions.key_at(&headers, begun + time).is_some();
        let nearly = IDLE - Duration::from_secs(1);
        let mut time = Duration::ZERO;
        while time + nearly < LIFETIME {
            time += nearly;
            assert!(is_open_after(time), "one that is used stays: {time:?}");
        }
        assert!(!is_open_after(LIFETIME));
        assert_eq!(sessions.lock().len(), 0, "one that has ended is forgotten");

        let id = sessions.begin(KeyDigest::of(b"key"), begun).unwrap();
        let headers = request(&[("cookie", &format!("data-exchange-agent-0={id}"))]);
        assert!(sessions.key_at(&headers, begun + IDLE).is_none(), "one that is not used ends");
    }

    #[test]
    fn there_are_never_more_sessions_than_allowed() {
        let sessions = Sessions::default();
        let mut now = Instant::now();
        let first = sessions.begin(KeyDigest::of(b"key"), now).unwrap();
        let headers = request(&[("cookie", &format!("data-exchange-agent-0={first}"))]);
        let mut ids = std::collections::HashSet::new();
        for _ in 0..MAX_SESSIONS * 2 {
            now += Duration::from_millis(1);
            assert!(sessions.key_at(&headers, now).is_some(), "one that is used stays");
            ids.insert(sessions.begin(KeyDigest::of(b"key"), now).unwrap());
        }
        assert_eq!(ids.len(), MAX_SESSIONS * 2, "no number comes twice");
        assert_eq!(sessions.lock().len(), MAX_SESSIONS);
    }

    #[test]
    fn a_cookie_has_all_flags() {
        let plain = request(&[("host", "127.0.0.1:5001"), ("origin", "http://127.0.0.1:5001")]);
        assert_eq!(
            set_cookie(&plain, Some("abc")),
            "data-exchange-agent-5001=abc; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"
        );
        let secure = request(&[("host", "agent.example.com"), ("origin", "https://agent.example.com")]);
        assert_eq!(
            set_cookie(&secure, Some("abc")),
            "__Host-data-exchange-agent-0=abc; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict; Secure"
        );
        assert_eq!(
            set_cookie(&secure, None),
            "__Host-data-exchange-agent-0=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict; Secure"
        );
    }

    #[test]
    fn a_cookie_is_found_among_others_and_belongs_to_one_port() {
        for (host, cookies, expected) in [
            ("h:1", "a=b; data-exchange-agent-1=abc", Some("abc")),
            ("h:1", "__Host-data-exchange-agent-1=abc;a=b", Some("abc")),
            ("h:2", "data-exchange-agent-1=abc", None),
            ("h", "data-exchange-agent-0=abc", Some("abc")),
            ("h:1", "data-exchange-agent-1", None),
            ("h:1", "", None),
        ] {
            assert_eq!(
                cookie(&request(&[("host", host), ("cookie", cookies)])),
                expected,
                "{host} {cookies}"
            );
        }
        assert_eq!(cookie(&HeaderMap::new()), None);
    }
}
