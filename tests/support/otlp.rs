//! A collector for OTLP over HTTP that decodes what it gets, and keeps it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;

/// What a collector has got.
#[derive(Debug, Default)]
struct Got {
    spans: Vec<Span>,
    metrics: Vec<Metric>,
    services: Vec<String>,
    authorizations: Vec<String>,
    bodies: String,
}

type Shared = Arc<Mutex<Got>>;

/// A collector of one test.
pub(crate) struct Collector {
    got: Shared,
    address: SocketAddr,
    server: tokio::task::JoinHandle<()>,
}

impl Collector {
    #[expect(clippy::disallowed_methods, reason = "the server ends with its test")]
    pub(crate) async fn start() -> Self {
        let got = Shared::default();
        let router = Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/metrics", post(metrics))
            .with_state(Arc::clone(&got));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("there is a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("serve") });
        Self { got, address, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        locked(&self.got).spans.clone()
    }

    /// The newest metric of this name.
    pub(crate) fn metric(&self, name: &str) -> Option<Metric> {
        locked(&self.got).metrics.iter().rev().find(|metric| metric.name == name).cloned()
    }

    /// What agents are called.
    pub(crate) fn services(&self) -> Vec<String> {
        locked(&self.got).services.clone()
    }

    /// Everything that it got, as far as it is text.
    pub(crate) fn bodies(&self) -> String {
        locked(&self.got).bodies.clone()
    }

    /// The headers `authorization` of all requests.
    pub(crate) fn authorizations(&self) -> Vec<String> {
        locked(&self.got).authorizations.clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The text of an attribute.
pub(crate) fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// The number of an attribute.
pub(crate) fn number(attributes: &[KeyValue], key: &str) -> Option<i64> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        any_value::Value::IntValue(number) => Some(*number),
        _ => None,
    }
}

fn locked(got: &Shared) -> MutexGuard<'_, Got> {
    got.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note(got: &mut Got, headers: &HeaderMap, attributes: &[KeyValue]) {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    got.services.extend(text(attributes, "service.name").map(str::to_owned));
    let authorization = headers.get("authorization").and_then(|header| header.to_str().ok());
    got.authorizations.extend(authorization.map(str::to_owned));
}

async fn traces(State(got): State<Shared>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let text = String::from_utf8_lossy(&body).into_owned();
    let request = ExportTraceServiceRequest::decode(body).expect("it is what it says");
    let mut got = locked(&got);
    got.bodies.push_str(&text);
    for resource in request.resource_spans {
        note(&mut got, &headers, &resource.resource.unwrap_or_default().attributes);
        got.spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
    }
    StatusCode::OK
}

async fn metrics(State(got): State<Shared>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let text = String::from_utf8_lossy(&body).into_owned();
    let request = ExportMetricsServiceRequest::decode(body).expect("it is what it says");
    let mut got = locked(&got);
    got.bodies.push_str(&text);
    for resource in request.resource_metrics {
        note(&mut got, &headers, &resource.resource.unwrap_or_default().attributes);
        got.metrics.extend(resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics));
    }
    StatusCode::OK
}
