//! Traces and metrics for an OpenTelemetry collector: OTLP over HTTP, as protobuf.
//!
//! Spans are those of the agent's own code: one for each attempt, and one for each of its stages below
//! it. The trace of an attempt is that of its task (`traceparent`), where it has one. Metrics are those
//! of `/metrics`, sent in an interval. What cannot be sent is dropped with a warning: nothing of the
//! work waits for a collector.

mod metrics;
mod sender;
mod trace_context;

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing::Metadata;

pub use self::metrics::push_metrics;
pub use self::sender::OtlpSender;
pub use self::trace_context::continue_trace;
use crate::config::OtlpSettings;
use crate::fault::{Fault, FaultKind};
use crate::shutdown::spawn_blocking;

/// Spans of other crates are not sent: nobody knows what is in them.
const OWN: &str = env!("CARGO_CRATE_NAME");
/// How long the last spans may take at the end.
const END_LIMIT: Duration = Duration::from_secs(5);

/// The way of spans to a collector; [`Traces::end`] sends the last of them.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Sends spans as `settings` say.
    pub fn start(settings: &OtlpSettings, sender: OtlpSender) -> Result<Self, Fault> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(sender)
            .with_endpoint(format!("{}/v1/traces", settings.endpoint))
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(settings.timeout)
            .build()
            .map_err(|error| {
                Fault::new(FaultKind::Request, "set up the way of traces to the collector").because(error)
            })?;
        let resource = Resource::builder_empty()
            .with_service_name(settings.service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        Ok(Self { provider })
    }

    /// What makes spans.
    #[must_use]
    pub fn tracer(&self) -> SdkTracer {
        self.provider.tracer(OWN)
    }

    /// Sends what waits, within reason.
    pub async fn end(self) {
        let ended = spawn_blocking(move || self.provider.shutdown_with_timeout(END_LIMIT)).await;
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}

/// Whether a span is sent.
pub(super) fn is_sent(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().starts_with(OWN)
}
