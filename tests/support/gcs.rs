//! A double of Google Cloud Storage, as far as stages need it: one PUT for an object, with an
//! access token or a signed URL. No emulator has both.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;

use super::snowflake::stage::Issued;

/// Content and metadata headers of an object.
type Stored = (Vec<u8>, HashMap<String, String>);

/// A running double.
pub(crate) struct GcsServer {
    pub(crate) address: SocketAddr,
    state: Arc<Shared>,
}

struct Shared {
    issued: Arc<Issued>,
    objects: Mutex<BTreeMap<String, Stored>>,
    /// What a signature allows: method and path.
    signed: Mutex<HashMap<usize, (Method, String)>>,
    /// Uploads that are refused with 503 from now on.
    refusals: AtomicUsize,
}

impl GcsServer {
    #[expect(clippy::disallowed_methods, reason = "the double is no part of the agent, no stop waits for it")]
    pub(crate) async fn start(issued: Arc<Issued>) -> Self {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (objects, signed, refusals) = (Mutex::default(), Mutex::default(), AtomicUsize::new(0));
        let state = Arc::new(Shared { issued, objects, signed, refusals });
        let router =
            Router::new().fallback(serve).layer(DefaultBodyLimit::disable()).with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, state }
    }

    /// A URL for one request.
    pub(crate) fn sign(&self, method: Method, path: &str) -> String {
        let number = self.state.issued.issue();
        self.state.signed.lock().expect("no holder panics").insert(number, (method, path.to_owned()));
        format!("http://{}{path}?X-Goog-Signature={number}", self.address)
    }

    /// Refuses the next uploads.
    pub(crate) fn refuse(&self, uploads: usize) {
        self.state.refusals.store(uploads, Ordering::SeqCst);
    }

    /// By name with the bucket before it.
    pub(crate) fn objects(&self) -> BTreeMap<String, Stored> {
        self.state.objects.lock().expect("no holder panics").clone()
    }

    pub(crate) fn delete(&self, name: &str) {
        self.state.objects.lock().expect("no holder panics").remove(name);
    }
}

async fn serve(
    State(state): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let token = headers.get("authorization").and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer token-")?.parse().ok());
    let signature = uri.query().and_then(|query| query.strip_prefix("X-Goog-Signature=")?.parse().ok());
    match (token, signature) {
        (Some(token), None) if state.issued.admit(token) => {}
        (_, None) => return (StatusCode::UNAUTHORIZED, "no valid token").into_response(),
        (None, Some(signature)) => {
            // As it was signed, with the same encoding.
            let allowed = state.signed.lock().expect("no holder panics").get(&signature).cloned();
            if allowed != Some((method.clone(), uri.path().to_owned())) {
                return (StatusCode::FORBIDDEN, "SignatureDoesNotMatch").into_response();
            }
            if !state.issued.admit(signature) {
                return (StatusCode::BAD_REQUEST, "ExpiredToken").into_response();
            }
        }
        (Some(_), Some(_)) => return (StatusCode::BAD_REQUEST, "two ways to authenticate").into_response(),
    }
    let name = percent_decode_str(uri.path().trim_start_matches('/')).decode_utf8_lossy().into_owned();
    let mut objects = state.objects.lock().expect("no holder panics");
    match method {
        Method::PUT => {
            if state
                .refusals
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok()
            {
                return StatusCode::SERVICE_UNAVAILABLE.into_response();
            }
            assert!(headers.contains_key("content-length"), "the length of an object is known");
            assert!(headers.get("content-encoding").is_none(), "Google would decompress it on the way back");
            let metadata = headers
                .iter()
                .filter(|(name, _)| name.as_str().starts_with("x-goog-meta-"))
                .map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()));
            objects.insert(name, (body.to_vec(), metadata.collect()));
            StatusCode::OK.into_response()
        }
        Method::GET | Method::HEAD => match objects.get(&name) {
            Some((content, metadata)) => {
                let mut response = content.clone().into_response();
                for (name, value) in metadata {
                    let name = axum::http::HeaderName::try_from(name).expect("it came as one");
                    response.headers_mut().insert(name, value.parse().expect("it came as one"));
                }
                response
            }
            None => StatusCode::NOT_FOUND.into_response(),
        },
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}
