//! Who may do what: API keys with scopes, and what is left to callers without one.
//!
//! With keys, every route but the probes asks for one. Without keys the agent listens on a loopback
//! address, or its operator has said that something in front of it keeps strangers out; in both cases two
//! doors of browsers stay shut: names that lead to this address by somebody else's DNS, and changes
//! by GET from other machines.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Doors;
use super::audit;
use super::console;
use super::console::session::{PAGE_HEADER, Sessions, demand_page};
use super::origin::CHANGING;
use super::problem::{Problem, ProblemKind};
use super::rate::{Asker, RateLimit};
use crate::bounds::TaskBounds;
use crate::config::{ApiKey, KeyDigest, Scope, Server};

/// Where a key may stand, besides `Authorization: Bearer`.
const KEY_HEADER: &str = "x-api-key";
/// Routes for probes and for people who want to know what there is: they show nothing of tasks.
pub(super) const OPEN: [&str; 3] = ["/live", "/ready", "/openapi.json"];
/// The route that answers strangers too, with the least that there is to say.
pub(super) const HEALTH: &str = "/health";
/// Routes that answer under every name, because a supervisor chooses its own, and a stranger learns nothing.
const PROBES: [&str; 2] = ["/live", "/ready"];

/// The doors of the API.
#[derive(Clone, Debug, Default)]
pub struct Access {
    keys: Vec<ApiKey>,
    /// Names by which the agent is called, besides addresses and `localhost`; `None` when any will do.
    hosts: Option<Vec<String>>,
    /// Browsers that signed in with a key.
    sessions: Arc<Sessions>,
    /// No limit when `None`.
    rate: Option<Arc<RateLimit>>,
    /// Of callers without a key, where there are none.
    unbounded: Arc<TaskBounds>,
}

impl Access {
    /// As the configuration says.
    #[must_use]
    pub fn new(server: &Server) -> Self {
        // A page that came under a foreign name has no key to show. What keeps strangers out does not keep
        // out the browsers of those who are let in, so that `allow_unauthenticated` opens no name.
        let any_host = server.allowed_hosts.is_empty() && !server.api_keys.is_empty();
        let hosts = (!any_host).then(|| server.allowed_hosts.clone());
        let rate = server.requests_per_minute.map(|limit| Arc::new(RateLimit::new(limit)));
        Self { keys: server.api_keys.clone(), hosts, rate, ..Self::default() }
    }

    /// True when callers need a key.
    pub(super) fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The key with this hash.
    pub(super) fn find_key(&self, digest: &KeyDigest) -> Option<&ApiKey> {
        self.find_number(digest).map(|number| &self.keys[number])
    }

    fn find_number(&self, digest: &KeyDigest) -> Option<usize> {
        // Every key is compared, so that the time tells nothing about their order.
        let keys = self.keys.iter().enumerate();
        keys.fold(None, |found, (number, key)| if key.is(digest) { Some(number) } else { found })
    }

    /// Whether a caller who was let in to read may still do so.
    pub(super) fn may_still_read(&self, ShownKey(digest): ShownKey) -> bool {
        self.keys.is_empty()
            || digest.and_then(|digest| self.find_key(&digest)).is_some_and(|key| key.allows(Scope::Read))
    }

    /// The sessions of browsers.
    pub(super) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Takes over who is signed in.
    pub(super) fn with_sessions_of(mut self, other: &Self) -> Self {
        self.sessions = Arc::clone(&other.sessions);
        self
    }

    /// Who a request says that it comes from.
    fn holder(&self, headers: &HeaderMap) -> Holder {
        if let Some(key) = presented(headers) {
            return self.find_number(&KeyDigest::of(key)).map_or(Holder::Unknown, Holder::Key);
        }
        // As long as there is that key.
        let number = self.sessions.key(headers).and_then(|digest| self.find_number(&digest));
        number.map_or(Holder::Nobody, Holder::Session)
    }

    /// Counts a request of this caller.
    fn count(&self, holder: Holder, request: &Request) -> Result<(), Problem> {
        let Some(rate) = &self.rate else { return Ok(()) };
        if console::is_file(request.uri().path()) {
            // Constant bytes, without which the page could not say what goes on.
            return Ok(());
        }
        let is_page = console::owns(request.uri().path()) || request.headers().contains_key(PAGE_HEADER);
        let asker = match (holder, request.extensions().get::<Peer>()) {
            (Holder::Key(number), _) => Asker::Key(number),
            (Holder::Session(number), _) => Asker::PageOfKey(number),
            (Holder::Nobody, Some(Peer(address))) if is_page => Asker::page(address.ip()),
            (Holder::Unknown | Holder::Nobody, Some(Peer(address))) => Asker::peer(address.ip()),
            (Holder::Unknown | Holder::Nobody, None) => Asker::Others,
        };
        rate.take(asker, Instant::now()).map_err(Problem::too_many_requests)
    }

    fn knows_host(&self, headers: &HeaderMap) -> bool {
        let Some(hosts) = &self.hosts else { return true };
        let Some(host) = headers.get(header::HOST) else { return true };
        let Ok(host) = host.to_str() else { return false };
        let name = match host.strip_prefix('[') {
            Some(address) => address.split(']').next().unwrap_or_default(),
            None => host.rsplit_once(':').map_or(host, |(name, _port)| name),
        };
        let name = name.trim_end_matches('.');
        name.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || name.to_ascii_lowercase().ends_with(".localhost")
            || hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// Who a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// A program with a configured key, by its number.
    Key(usize),
    /// A browser that signed in with that key.
    Session(usize),
    /// A key that is not configured.
    Unknown,
    /// No key was shown.
    Nobody,
}

/// What the tasks of the caller may do; in the extensions of every request that gets to a handler.
#[derive(Clone, Debug)]
pub(super) struct Bounds(pub(super) Arc<TaskBounds>);

/// The key of the caller, if any; in the extensions of every request that gets to a handler.
#[derive(Clone, Copy)]
pub(super) struct ShownKey(Option<KeyDigest>);

/// Where a connection comes from; in the extensions of every request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Whose request it is; in the extensions of every request that gets to a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// May see everything that the route shows.
    Known,
    /// Has no key, on a route that also answers strangers.
    Stranger,
}

/// What a request needs; `None` where strangers are answered as well.
fn needed(method: &Method, path: &str) -> Option<Scope> {
    let only_reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    // Whatever the method: one that is not there is told to be no method, and not to need a key.
    if console::owns(path) || OPEN.contains(&path) {
        None
    } else if CHANGING.contains(&path) || path == "/log_level" && !only_reads {
        Some(Scope::Operate)
    } else if !only_reads {
        Some(Scope::Submit)
    } else if path == HEALTH {
        None
    } else {
        Some(Scope::Read)
    }
}

/// Lets a request through, or says what it lacks.
pub(super) async fn guard(State(doors): State<Doors>, mut request: Request, next: Next) -> Response {
    let access = doors.now();
    match judge(&access, &request) {
        Ok(Visitor { caller, bounds, key }) => {
            let (method, path) = (request.method(), request.uri().path());
            let is_more = matches!(needed(method, path), Some(Scope::Submit | Scope::Operate));
            // Strangers, who get no further than to a probe, could fill the log.
            if is_more && caller == Caller::Known {
                let peer =
                    request.extensions().get::<Peer>().map(|Peer(address)| address.ip().to_canonical());
                audit::note(key.map(|number| access.keys[number].name()), peer, method, path);
            }
            request.extensions_mut().insert(caller);
            request.extensions_mut().insert(Bounds(bounds));
            request.extensions_mut().insert(ShownKey(key.map(|number| access.keys[number].digest())));
            next.run(request).await
        }
        Err(problem) => {
            let is_unknown = problem.kind() == ProblemKind::Unauthorized;
            let mut response = problem.into_response();
            if is_unknown {
                let challenge = HeaderValue::from_static("Bearer realm=\"data-exchange-agent\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            response
        }
    }
}

/// A caller that is let in.
struct Visitor {
    caller: Caller,
    bounds: Arc<TaskBounds>,
    /// The number of its key.
    key: Option<usize>,
}

fn judge(access: &Access, request: &Request) -> Result<Visitor, Problem> {
    let without_key = |caller| Visitor { caller, bounds: Arc::clone(&access.unbounded), key: None };
    let holder = access.holder(request.headers());
    access.count(holder, request)?;
    let (method, path) = (request.method(), request.uri().path());
    if !access.knows_host(request.headers()) {
        if PROBES.contains(&path) {
            return Ok(without_key(Caller::Stranger));
        }
        let detail = "the request calls the agent by a name that it does not know; use its address or \
                      `localhost`, or list the name in server.allowed_hosts";
        return Err(Problem::new(ProblemKind::UnknownHost, detail));
    }
    if access.keys.is_empty() {
        let peer = request.extensions().get::<Peer>();
        let is_near = peer.is_none_or(|Peer(address)| address.ip().to_canonical().is_loopback());
        if CHANGING.contains(&path) && *method != Method::POST && !is_near {
            let detail = "from another machine this is done by POST only, because any page can make a browser send GET";
            return Err(Problem::new(ProblemKind::Forbidden, detail));
        }
        return Ok(without_key(Caller::Known));
    }
    let needed = needed(method, path);
    let number = match holder {
        Holder::Key(number) => number,
        Holder::Session(number) => {
            if matches!(needed, Some(Scope::Submit | Scope::Operate)) {
                demand_page(request.headers())?;
            }
            number
        }
        // A probe goes on when its key is no longer known.
        Holder::Unknown if OPEN.contains(&path) => return Ok(without_key(Caller::Stranger)),
        Holder::Unknown => {
            return Err(Problem::new(ProblemKind::Unauthorized, "the agent does not know this API key"));
        }
        Holder::Nobody if needed.is_none() => return Ok(without_key(Caller::Stranger)),
        Holder::Nobody => {
            let detail = "send an API key: `Authorization: Bearer <key>` or `X-API-Key: <key>`";
            return Err(Problem::new(ProblemKind::Unauthorized, detail));
        }
    };
    let key = &access.keys[number];
    if let Some(scope) = needed.filter(|scope| !key.allows(*scope)) {
        let held = key.scopes().iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", ");
        let detail =
            format!("the API key `{}` has the scopes {held}; this needs `{}`", key.name(), scope.as_str());
        return Err(Problem::new(ProblemKind::Forbidden, detail));
    }
    Ok(Visitor { caller: Caller::Known, bounds: Arc::clone(key.bounds()), key: Some(number) })
}

/// The key of a request, from either header.
fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get(KEY_HEADER) {
        return Some(key.as_bytes());
    }
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, key) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| ((*name).parse().unwrap(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_key_is_found_in_either_header() {
        for (pairs, expected) in [
            (vec![("authorization", "Bearer abc")], Some("abc")),
            (vec![("authorization", "bearer  abc ")], Some("abc")),
            (vec![("x-api-key", "abc")], Some("abc")),
            (vec![("authorization", "Basic YTpi")], None),
            (vec![("authorization", "Bearer")], None),
            (vec![], None),
        ] {
            assert_eq!(presented(&headers(&pairs)), expected.map(str::as_bytes), "{pairs:?}");
        }
    }

    #[test]
    fn only_names_that_cannot_be_rebound_are_known_hosts() {
        let access = Access {
            keys: Vec::new(),
            hosts: Some(vec!["agent.example.com".to_owned()]),
            ..Access::default()
        };
        for known in [
            "127.0.0.1:5001",
            "127.0.0.1",
            "[::1]:5001",
            "localhost:5001",
            "LOCALHOST",
            "agent.localhost",
            "10.0.0.5:80",
            "Agent.Example.Com:443",
        ] {
            assert!(access.knows_host(&headers(&[("host", known)])), "{known}");
        }
        for foreign in ["evil.example", "localhost.evil.example:5001", "127.0.0.1.evil.example", "", "[evil]"]
        {
            assert!(!access.knows_host(&headers(&[("host", foreign)])), "{foreign}");
        }
        assert!(Access::default().knows_host(&headers(&[("host", "evil.example")])));
    }

    #[test]
    fn a_get_that_changes_something_is_for_loopback_peers_where_there_are_no_keys() {
        let key = ApiKey::new("operator", &Secret::new("operator-key-0123456789"), Scope::ALL.to_vec());
        let with_keys = Access { keys: vec![key], ..Access::default() };
        let asked = |access: &Access, peer: &str, method: Method, path: &str| {
            let request =
                Request::builder().method(method).uri(path).header(KEY_HEADER, "operator-key-0123456789");
            let mut request = request.body(axum::body::Body::empty()).unwrap();
            request.extensions_mut().insert(Peer(SocketAddr::new(peer.parse().unwrap(), 50_000)));
            judge(access, &request).map(drop).map_err(|problem| problem.kind())
        };
        let open = Access::default();
        for path in CHANGING {
            for near in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
                assert_eq!(asked(&open, near, Method::GET, path), Ok(()), "{near} {path}");
            }
            for far in ["10.0.0.7", "192.168.1.1", "2001:db8::1", "::ffff:10.0.0.7"] {
                for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
                    let refused = Err(ProblemKind::Forbidden);
                    assert_eq!(asked(&open, far, method.clone(), path), refused, "{method} {far} {path}");
                }
                assert_eq!(asked(&open, far, Method::POST, path), Ok(()), "{far} {path}");
                assert_eq!(asked(&with_keys, far, Method::GET, path), Ok(()), "{far} has shown a key");
            }
        }
        assert_eq!(asked(&open, "10.0.0.7", Method::GET, "/tasks"), Ok(()));
    }

    #[test]
    fn what_a_request_needs() {
        for (method, path, expected) in [
            (Method::GET, "/", None),
            (Method::POST, "/console/session", None),
            (Method::GET, "/consoles", Some(Scope::Read)),
            (Method::GET, "/live", None),
            (Method::GET, "/health", None),
            (Method::GET, "/tasks", Some(Scope::Read)),
            (Method::HEAD, "/metrics", Some(Scope::Read)),
            (Method::GET, "/nowhere", Some(Scope::Read)),
            (Method::POST, "/tasks", Some(Scope::Submit)),
            (Method::DELETE, "/tasks/1", Some(Scope::Submit)),
            (Method::GET, "/stop", Some(Scope::Operate)),
            (Method::POST, "/handle_tasks", Some(Scope::Operate)),
            (Method::GET, "/log_level", Some(Scope::Read)),
            (Method::PUT, "/log_level", Some(Scope::Operate)),
        ] {
            assert_eq!(needed(&method, path), expected, "{method} {path}");
        }
    }
}
