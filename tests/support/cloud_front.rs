//! What the clouds have in front of their stores, and their emulators have not: services that give
//! tokens, and the check of the token that comes with each request.
//!
//! Behind it is Azurite, or moto's S3 for Google: the XML API of Google is the protocol of S3 with
//! other names of headers, which are translated here.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{azurite, blob_container, s3};

/// What is behind the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cloud {
    Azure,
    Google,
}

/// A front on an address of its own. Ends with the runtime of the test.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    cloud: Cloud,
    store: SocketAddr,
    client: reqwest::Client,
    key: KeyPair,
    state: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// How tokens were asked for, in order.
    ways: Vec<String>,
    /// Tokens before this one are refused.
    oldest: usize,
}

impl Front {
    #[expect(clippy::disallowed_methods, reason = "the front is no part of the agent, no stop waits for it")]
    pub(crate) async fn start(cloud: Cloud) -> Option<Self> {
        let store = match cloud {
            Cloud::Azure => azurite::address_if_installed()?,
            Cloud::Google => s3::server_address(),
        };
        // The stores close idle connections, which a new request can meet.
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
        let shared = Arc::new(Shared {
            cloud,
            store,
            client: client.build().expect("a client"),
            key: KeyPair::generate(KeySize::Rsa2048).expect("a key"),
            state: Mutex::default(),
        });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("there is a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        Some(Self { address, shared })
    }

    /// How tokens were asked for.
    pub(crate) fn ways(&self) -> Vec<String> {
        self.shared.state().ways.clone()
    }

    /// Refuses every token that was given so far.
    pub(crate) fn revoke(&self) {
        let mut state = self.shared.state();
        state.oldest = state.ways.len();
    }

    /// The key file of a service account whose tokens come from here.
    pub(crate) fn service_account(&self) -> String {
        let der: Pkcs8V1Der<'_> = self.shared.key.as_der().expect("a key");
        let body = STANDARD.encode(der.as_ref());
        json!({
            "type": "service_account",
            "client_email": "agent@project.iam.gserviceaccount.com",
            "private_key_id": "1",
            "private_key": format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"),
            "token_uri": format!("http://{}/token", self.address),
        })
        .to_string()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, Known> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, way: &str) -> String {
        let mut state = self.state();
        state.ways.push(way.to_owned());
        format!("token-{}", state.ways.len() - 1)
    }

    /// The answer of OAuth services.
    fn token(&self, way: &str) -> Response {
        json_answer(&json!({"access_token": self.give(way), "expires_in": 3600, "token_type": "Bearer"}))
    }

    fn is_good(&self, headers: &HeaderMap) -> bool {
        let text = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let number = text.strip_prefix("Bearer token-").and_then(|number| number.parse::<usize>().ok());
        let state = self.state();
        number.is_some_and(|number| number >= state.oldest && number < state.ways.len())
    }

    /// The way of an assertion that is signed with the key of the service account.
    fn is_signed(&self, assertion: &str) -> bool {
        let Some((signed, signature)) = assertion.rsplit_once('.') else { return false };
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.key.public_key().as_ref());
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
        let claims = signed.split('.').nth(1).and_then(|claims| URL_SAFE_NO_PAD.decode(claims).ok());
        let claims: Value =
            claims.and_then(|claims| serde_json::from_slice(&claims).ok()).unwrap_or_default();
        key.verify(signed.as_bytes(), &signature).is_ok()
            && claims["aud"].as_str().is_some_and(|audience| audience.ends_with("/token"))
            && claims["scope"].as_str().is_some_and(|scope| scope.contains("devstorage"))
    }

    async fn forward(&self, method: Method, target: &str, headers: HeaderMap, body: Bytes) -> Response {
        let mut url: url::Url = format!("http://{}{target}", self.store).parse().expect("a URL");
        let mut request_headers = HeaderMap::new();
        for (name, value) in &headers {
            let name = name.as_str();
            let name = match name.strip_prefix("x-goog-meta-") {
                Some(rest) if self.cloud == Cloud::Google => format!("x-amz-meta-{rest}"),
                _ => name.to_owned(),
            };
            if !matches!(name.as_str(), "authorization" | "host" | "content-length" | "connection") {
                request_headers.insert(HeaderName::try_from(name).expect("a name"), value.clone());
            }
        }
        match self.cloud {
            Cloud::Azure => {
                let signature = blob_container::shared_access_signature();
                let query = url.query().map_or(signature.clone(), |query| format!("{query}&{signature}"));
                url.set_query(Some(&query));
            }
            Cloud::Google => {
                let signed = "AWS4-HMAC-SHA256 Credential=front/20260101/us-east-1/s3/aws4_request, \
                              SignedHeaders=host, Signature=0";
                request_headers.insert("authorization", HeaderValue::from_static(signed));
            }
        }
        let sent = self.client.request(method, url).headers(request_headers).body(body).send().await;
        let answer = sent.expect("the store answers");
        let mut response = Response::builder().status(answer.status());
        for (name, value) in answer.headers() {
            let name = name.as_str();
            if matches!(name, "connection" | "transfer-encoding") {
                continue;
            }
            let name = match name.strip_prefix("x-amz-meta-") {
                Some(rest) => format!("x-goog-meta-{rest}"),
                None => name.to_owned(),
            };
            response = response.header(name, value);
        }
        let body = answer.bytes().await.expect("the store answers to the end");
        response.body(Body::from(body)).expect("an answer")
    }
}

fn json_answer(value: &Value) -> Response {
    ([("content-type", "application/json")], value.to_string()).into_response()
}

fn refusal(status: u16, code: &str) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    let text =
        format!("<?xml version='1.0'?><Error><Code>{code}</Code><Message>made by a test</Message></Error>");
    (status, [("x-ms-error-code", code.to_owned())], text).into_response()
}

/// An answer of a token service that refuses.
fn oauth_refusal(error: &str) -> Response {
    let body = json!({"error": error, "error_description": "made by a test\r\nTrace ID: 1"});
    (StatusCode::UNAUTHORIZED, body.to_string()).into_response()
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 64 << 20).await.expect("a request");
    let target = head.uri.path_and_query().expect("a target").as_str().to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let has_header = |name: &str, value: &str| head.headers.get(name).is_some_and(|found| found == value);
    let form: Vec<(String, String)> = url::form_urlencoded::parse(&body).into_owned().collect();
    let field = |name: &str| {
        form.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    };
    match path {
        "/tenant/oauth2/v2.0/token" if field("scope") == "https://storage.azure.com/.default" => {
            match (field("client_secret"), field("client_assertion")) {
                ("secret-of-client", "") => shared.token("client secret"),
                ("", "assertion-of-cluster") => shared.token("workload identity"),
                _ => oauth_refusal("invalid_client"),
            }
        }
        "/metadata/identity/oauth2/token" => {
            if !has_header("metadata", "true") || !query.contains("resource=") {
                return StatusCode::BAD_REQUEST.into_response();
            }
            // This service writes its numbers as texts.
            let token = shared.give("machine");
            json_answer(&json!({"access_token": token, "expires_in": "3600", "expires_on": "4102444800"}))
        }
        "/msi" if has_header("x-identity-header", "header-of-service") => {
            let token = shared.give("app service");
            json_answer(&json!({"access_token": token, "expires_on": "4102444800"}))
        }
        "/token" => match field("grant_type") {
            "urn:ietf:params:oauth:grant-type:jwt-bearer" if shared.is_signed(field("assertion")) => {
                shared.token("service account")
            }
            "refresh_token" if field("refresh_token") == "refresh-of-person" => shared.token("person"),
            _ => oauth_refusal("invalid_grant"),
        },
        "/exchange" if field("subject_token") == "token-of-other" => shared.token("exchange"),
        "/impersonate" if shared.is_good(&head.headers) => {
            let token = shared.give("impersonation");
            json_answer(&json!({"accessToken": token, "expireTime": "2100-01-01T00:00:00Z"}))
        }
        "/computeMetadata/v1/instance/service-accounts/default/token"
            if has_header("metadata-flavor", "Google") =>
        {
            shared.token("metadata server")
        }
        "/" => StatusCode::OK.into_response(),
        _ if !shared.is_good(&head.headers) => match shared.cloud {
            Cloud::Azure => refusal(401, "InvalidAuthenticationInfo"),
            Cloud::Google => refusal(401, "AuthenticationRequired"),
        },
        _ if query.contains("partNumber=") && !has_checksum(&head.headers, &body) => {
            refusal(400, "BadDigest")
        }
        _ => shared.forward(head.method, &target, head.headers, body).await,
    }
}

/// Google checks what a part carries; the agent has to send it.
fn has_checksum(headers: &HeaderMap, body: &[u8]) -> bool {
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, body);
    let sum = u32::try_from(sum).expect("32 bits");
    let expected = format!("crc32c={}", STANDARD.encode(sum.to_be_bytes()));
    headers.get("x-goog-hash").is_some_and(|found| found == expected.as_str())
}
