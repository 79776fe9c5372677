//! The trace that a task belongs to.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::task::Traceparent;

/// Makes `span` a part of the trace of `parent`. Without effect when no traces are sent.
pub fn continue_trace(span: &Span, parent: &Traceparent) {
    let Some((trace, parent, flags)) = parent.parts() else { return };
    let context = SpanContext::new(
        TraceId::from_bytes(trace.to_be_bytes()),
        SpanId::from_bytes(parent.to_be_bytes()),
        TraceFlags::new(flags),
        true,
        TraceState::default(),
    );
    // An error means that the span is not sent.
    span.set_parent(Context::new().with_remote_span_context(context)).ok();
}
