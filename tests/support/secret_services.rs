//! Stores of secrets that cannot be had for a test: HashiCorp Vault and Azure Key Vault, as far as the agent
//! asks them. AWS Secrets Manager is moto's.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A token that somebody made in Vault.
pub(crate) const VAULT_TOKEN: &str = "planted-vault-token";
/// What the role of a program logs in to Vault with.
pub(crate) const SECRET_ID: &str = "planted-vault-secret-id";
/// What Kubernetes gives a pod.
pub(crate) const SERVICE_ACCOUNT: &str = "planted.service.account";
/// What App Service gives a program to ask for tokens with.
pub(crate) const IDENTITY_HEADER: &str = "planted-identity-header";

/// Tokens that the services hand out.
const ROLE_TOKEN: &str = "planted-role-token";
const AZURE_TOKEN: &str = "planted-azure-token";

type Answer = (StatusCode, Json<Value>);

/// The services on one address. They end with the runtime of the test.
pub(crate) struct SecretServices {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Fields of secrets, by mount and path in Vault, or by name in Azure.
    secrets: Mutex<BTreeMap<String, Value>>,
    /// How often each was read.
    reads: Mutex<BTreeMap<String, usize>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SecretServices {
    #[expect(clippy::disallowed_methods, reason = "a service of a test, no stop waits for it")]
    pub(crate) async fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let router = Router::new()
            .route("/v1/auth/{mount}/login", post(log_in))
            .route("/v1/{mount}/data/{*path}", get(vault))
            .route("/identity", get(token))
            .route("/secrets/{name}", get(azure))
            .with_state(Arc::clone(&shared));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, shared }
    }

    /// Stores the fields of a secret in place of an earlier version.
    pub(crate) fn set(&self, name: &str, fields: Value) {
        locked(&self.shared.secrets).insert(name.to_owned(), fields);
    }

    /// How often a secret was read.
    pub(crate) fn reads(&self, name: &str) -> usize {
        locked(&self.shared.reads).get(name).copied().unwrap_or_default()
    }
}

impl Shared {
    fn read(&self, name: &str) -> Option<Value> {
        *locked(&self.reads).entry(name.to_owned()).or_default() += 1;
        locked(&self.secrets).get(name).cloned()
    }
}

fn refused(status: StatusCode, why: &str) -> Answer {
    (status, Json(json!({"errors": [why], "error": {"code": "Refused", "message": why}})))
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The methods `approle` and `kubernetes`.
async fn log_in(Path(mount): Path<String>, headers: HeaderMap, Json(body): Json<Value>) -> Answer {
    let is_known = match mount.as_str() {
        "approle" => body["role_id"] == "agent" && body["secret_id"] == SECRET_ID,
        "cluster" => body["role"] == "agent" && body["jwt"] == SERVICE_ACCOUNT,
        _ => false,
    };
    if !is_known || header(&headers, "x-vault-request") != "true" {
        return refused(StatusCode::BAD_REQUEST, "invalid role or secret ID");
    }
    (StatusCode::OK, Json(json!({"auth": {"client_token": ROLE_TOKEN, "lease_duration": 3600}})))
}

async fn vault(
    State(shared): State<Arc<Shared>>,
    Path((mount, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    if ![VAULT_TOKEN, ROLE_TOKEN].contains(&header(&headers, "x-vault-token")) {
        return refused(StatusCode::FORBIDDEN, "permission denied");
    }
    match shared.read(&format!("{mount}/{path}")) {
        Some(fields) => (StatusCode::OK, Json(json!({"data": {"data": fields, "metadata": {"version": 1}}}))),
        None => (StatusCode::NOT_FOUND, Json(json!({"errors": []}))),
    }
}

/// Tokens of a managed identity, as App Service gives them.
async fn token(Query(query): Query<BTreeMap<String, String>>, headers: HeaderMap) -> Answer {
    let is_known = header(&headers, "x-identity-header") == IDENTITY_HEADER;
    if !is_known || query.get("resource").map(String::as_str) != Some("https://vault.azure.net") {
        return refused(StatusCode::BAD_REQUEST, "no such identity");
    }
    (StatusCode::OK, Json(json!({"access_token": AZURE_TOKEN, "expires_in": "3600"})))
}

async fn azure(State(shared): State<Arc<Shared>>, Path(name): Path<String>, headers: HeaderMap) -> Answer {
    if header(&headers, "authorization") != format!("Bearer {AZURE_TOKEN}") {
        return refused(StatusCode::UNAUTHORIZED, "the token is not valid");
    }
    match shared.read(&name) {
        Some(value) => (StatusCode::OK, Json(json!({"value": value, "id": name}))),
        None => refused(StatusCode::NOT_FOUND, "A secret with this name was not found"),
    }
}
