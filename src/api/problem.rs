//! What a caller is told when a request cannot be served: RFC 9457 problem documents.
//!
//! A handler returns a [`Problem`]. [`finish`], the outermost layer, gives every response its
//! request id and turns problems into documents, so that each document names the request that the
//! log names too. The cause of a failure inside the agent is in the log only.

use std::any::Any;
use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::fault::Fault;
use crate::task::TaskId;

/// The media type of a problem document.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";
/// When a caller should ask an agent again that cannot serve it now.
const UNAVAILABLE_SECONDS: u64 = 5;
/// The header that names a request.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A problem document.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "type": "urn:data-exchange-agent:problem:validation",
    "title": "The request has wrong fields",
    "status": 422,
    "detail": "1 field is wrong; see `errors`",
    "instance": "urn:uuid:6f1c3a52-5d0c-4d5e-9a53-0f4f6b7b8c1d",
    "errors": [{
        "pointer": "/source_config/database",
        "detail": "there is no source connection `slaes`; known: `sales`"
    }]
}))]
pub(super) struct ProblemDocument<'a> {
    /// The kind of problem, stable across versions.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// The kind in words.
    pub title: &'a str,
    /// The status code of the response.
    pub status: u16,
    /// What is wrong with this request.
    pub detail: &'a str,
    /// Names this request, like the header `x-request-id`; the log of the agent has it too.
    pub instance: &'a str,
    /// Every wrong field of the request.
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    pub errors: &'a [FieldError],
}

/// One wrong field of a request: either `pointer` or `parameter` says which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct FieldError {
    /// JSON pointer (RFC 6901) into the request body; empty for the body itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Name of a query parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// What is wrong, and what is allowed there.
    pub detail: String,
}

/// The kinds of problems. The names are part of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProblemKind {
    MalformedJson,
    Unauthorized,
    Forbidden,
    OutOfBounds,
    CrossSite,
    UnknownHost,
    UnknownRoute,
    UnknownTask,
    MethodNotAllowed,
    BodyTimeout,
    IdConflict,
    TaskState,
    BodyTooLarge,
    MediaType,
    Validation,
    PreviewFailed,
    TooManyRequests,
    Internal,
    Unavailable,
}

impl ProblemKind {
    /// Every kind.
    #[cfg(test)]
    pub(super) const ALL: [Self; 19] = [
        Self::MalformedJson,
        Self::Unauthorized,
        Self::Forbidden,
        Self::OutOfBounds,
        Self::CrossSite,
        Self::UnknownHost,
        Self::UnknownRoute,
        Self::UnknownTask,
        Self::MethodNotAllowed,
        Self::BodyTimeout,
        Self::IdConflict,
        Self::TaskState,
        Self::BodyTooLarge,
        Self::MediaType,
        Self::Validation,
        Self::PreviewFailed,
        Self::TooManyRequests,
        Self::Internal,
        Self::Unavailable,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::MalformedJson => "urn:data-exchange-agent:problem:malformed-json",
            Self::Unauthorized => "urn:data-exchange-agent:problem:unauthorized",
            Self::Forbidden => "urn:data-exchange-agent:problem:forbidden",
            Self::OutOfBounds => "urn:data-exchange-agent:problem:out-of-bounds",
            Self::CrossSite => "urn:data-exchange-agent:problem:cross-site",
            Self::UnknownHost => "urn:data-exchange-agent:problem:unknown-host",
            Self::UnknownRoute => "urn:data-exchange-agent:problem:unknown-route",
            Self::UnknownTask => "urn:data-exchange-agent:problem:unknown-task",
            Self::MethodNotAllowed => "urn:data-exchange-agent:problem:method-not-allowed",
            Self::BodyTimeout => "urn:data-exchange-agent:problem:body-timeout",
            Self::IdConflict => "urn:data-exchange-agent:problem:id-conflict",
            Self::TaskState => "urn:data-exchange-agent:problem:task-state",
            Self::BodyTooLarge => "urn:data-exchange-agent:problem:body-too-large",
            Self::MediaType => "urn:data-exchange-agent:problem:media-type",
            Self::Validation => "urn:data-exchange-agent:problem:validation",
            Self::PreviewFailed => "urn:data-exchange-agent:problem:preview-failed",
            Self::TooManyRequests => "urn:data-exchange-agent:problem:too-many-requests",
            Self::Internal => "urn:data-exchange-agent:problem:internal",
            Self::Unavailable => "urn:data-exchange-agent:problem:unavailable",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::MalformedJson => "The body is not valid JSON",
            Self::Unauthorized => "The request has no valid API key",
            Self::Forbidden => "The request is not allowed to do this",
            Self::OutOfBounds => "The task leads out of its bounds",
            Self::CrossSite => "The request comes from another web site",
            Self::UnknownHost => "The request calls the agent by an unknown name",
            Self::UnknownRoute => "There is no such route",
            Self::UnknownTask => "There is no such task",
            Self::MethodNotAllowed => "The route does not know this method",
            Self::BodyTimeout => "The body did not arrive in time",
            Self::IdConflict => "The id belongs to another task",
            Self::TaskState => "The state of the task does not allow this",
            Self::BodyTooLarge => "The body is too large",
            Self::MediaType => "The body has the wrong content type",
            Self::Validation => "The request has wrong fields",
            Self::PreviewFailed => "The rows could not be read",
            Self::TooManyRequests => "The caller asks too often",
            Self::Internal => "The agent has a defect",
            Self::Unavailable => "The agent cannot serve the request now",
        }
    }

    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::MalformedJson => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::OutOfBounds | Self::CrossSite => StatusCode::FORBIDDEN,
            Self::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
            Self::UnknownRoute | Self::UnknownTask => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::IdConflict | Self::TaskState => StatusCode::CONFLICT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Validation | Self::PreviewFailed => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Why a request is not served. Becomes a [`ProblemDocument`] in [`finish`].
#[derive(Clone, Debug)]
pub(super) struct Problem(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    kind: ProblemKind,
    detail: String,
    errors: Vec<FieldError>,
    /// Seconds after which the same request can succeed.
    retry_after: Option<u64>,
    /// For the log, never for the caller.
    cause: Option<String>,
}

impl Problem {
    /// A problem of `kind`; `detail` is shown to the caller.
    pub(super) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            cause: None,
        }))
    }

    pub(super) fn kind(&self) -> ProblemKind {
        self.0.kind
    }

    /// Wrong fields.
    pub(super) fn validation(errors: Vec<FieldError>, more: usize) -> Self {
        let detail = match (errors.len(), more) {
            (1, 0) => "1 field is wrong; see `errors`".to_owned(),
            (count, 0) => format!("{count} fields are wrong; see `errors`"),
            (count, more) => {
                format!("{} fields are wrong; `errors` has the first {count}", count.saturating_add(more))
            }
        };
        let mut problem = Self::new(ProblemKind::Validation, detail);
        problem.0.errors = errors;
        problem
    }

    /// A task, or several, that the caller may not hand in.
    pub(super) fn out_of_bounds(errors: Vec<FieldError>) -> Self {
        let detail = "what the task asks for is not allowed; see `errors`";
        let mut problem = Self::new(ProblemKind::OutOfBounds, detail);
        problem.0.errors = errors;
        problem
    }

    /// The caller has used up its requests.
    pub(super) fn too_many_requests(retry_after: u64) -> Self {
        let detail = format!("wait {retry_after} s; server.requests_per_minute is the limit for one caller");
        let mut problem = Self::new(ProblemKind::TooManyRequests, detail);
        problem.0.retry_after = Some(retry_after);
        problem
    }

    /// No task has this id.
    pub(super) fn unknown_task(id: &str) -> Self {
        // An id that cannot be one is not repeated: it may be anything.
        let detail = match TaskId::parse(id) {
            Ok(id) => format!("no task has the id `{id}`"),
            Err(invalid) => invalid.to_string(),
        };
        Self::new(ProblemKind::UnknownTask, detail)
    }
}

impl From<Fault> for Problem {
    /// The queue failed: the caller can try again, the log says why.
    fn from(fault: Fault) -> Self {
        let detail =
            "the agent's task queue could not do it; try again later, the log of the agent has the reason";
        let mut problem = Self::new(ProblemKind::Unavailable, detail);
        problem.0.cause = Some(fault.chain());
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.0.kind.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Answers for a route that there is not.
pub(super) async fn unknown_route() -> Problem {
    Problem::new(ProblemKind::UnknownRoute, "GET /openapi.json lists all routes")
}

/// Answers for a route that does not know the method; axum adds `Allow`.
pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(ProblemKind::MethodNotAllowed, "the header `Allow` lists the methods of this route")
}

/// Answers for a handler that panicked; the panic hook has logged the place.
pub(super) fn panicked(_panic: Box<dyn Any + Send + 'static>) -> Response {
    let detail = "the request met a defect of the agent; the log of the agent has the place";
    Problem::new(ProblemKind::Internal, detail).into_response()
}

/// The outermost layer: names the request, and writes the document of a problem.
pub(super) async fn finish(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let instance = Uuid::new_v4();
    let method = request.method().clone();
    let uri = request.uri().clone();
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        if let Some(cause) = &problem.0.cause {
            tracing::error!(request.id = %instance, %method, path = uri.path(), error = cause, "request failed");
        }
        write(&mut response, &problem, instance);
    }
    tracing::debug!(
        request.id = %instance,
        %method,
        path = uri.path(),
        status = response.status().as_u16(),
        duration_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        "request"
    );
    let id = HeaderValue::try_from(instance.to_string()).expect("an UUID is a valid header value");
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn write(response: &mut Response, problem: &Problem, instance: Uuid) {
    let Inner { kind, detail, errors, retry_after, .. } = problem.0.as_ref();
    let document = ProblemDocument {
        kind: kind.name(),
        title: kind.title(),
        status: kind.status().as_u16(),
        detail,
        instance: &instance.urn().to_string(),
        errors,
    };
    let body = serde_json::to_vec(&document).expect("texts and numbers can always be written as JSON");
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.remove(header::CONTENT_LENGTH);
    let is_unavailable = *kind == ProblemKind::Unavailable;
    if let Some(seconds) = retry_after.or(is_unavailable.then_some(UNAVAILABLE_SECONDS)) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    *response.body_mut() = Body::from(body);
}
