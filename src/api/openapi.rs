//! `/openapi.json`: the OpenAPI 3.1 document, made of the routes themselves.

use std::sync::OnceLock;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderName, header};
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{
    ApiKey as SecurityKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    Content, HeaderBuilder, ObjectBuilder, OpenApi as Document, Ref, RefOr, Response, ResponseBuilder, Type,
};
use utoipa_axum::router::OpenApiRouter;

use super::problem::{PROBLEM_JSON, ProblemDocument};
use super::{Api, authentication, routes};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Data exchange agent",
        description = "Moves the results of queries out of databases into object stores, as Parquet or CSV.\n\n\
            Every error is an RFC 9457 problem document. Every response names its request in the header \
            `x-request-id`, and the log of the agent has the same id. A route that is not listed answers 404, \
            a method that is not listed 405 with `Allow`. The console at `/` and below `/console/` is for people \
            and not part of the API.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "tasks", description = "Submit tasks and follow them"),
        (name = "control", description = "Start, stop and count, with the names of version 1.2.0"),
        (name = "operation", description = "Health, metrics and this document"),
    ),
    components(schemas(ProblemDocument)),
)]
struct Base;

/// A router whose document has everything but routes.
pub(super) fn empty() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Base::openapi())
}

/// The OpenAPI 3.1 document of the API of an agent without API keys.
#[must_use]
pub fn openapi() -> Document {
    described(false)
}

/// The document as it is sent, made when it is first asked for: what a route asks for depends on whether there
/// are API keys.
#[derive(Default)]
pub(super) struct Documents {
    without_keys: OnceLock<Bytes>,
    with_keys: OnceLock<Bytes>,
}

impl Documents {
    fn get(&self, has_keys: bool) -> Bytes {
        let document = if has_keys { &self.with_keys } else { &self.without_keys };
        let text = || described(has_keys).to_json().expect("the document is made of texts and numbers");
        document.get_or_init(|| Bytes::from(text())).clone()
    }
}

fn described(has_keys: bool) -> Document {
    let mut document = routes().into_openapi();
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            complete(method, operation);
            protect(path, operation, has_keys);
        }
    }
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    let header = ApiKeyValue::new("X-API-Key");
    components.add_security_scheme("api_key", SecurityScheme::ApiKey(SecurityKey::Header(header)));
    document
}

/// Shows this document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "operation", operation_id = "openapi",
    responses((status = 200, description = "The OpenAPI 3.1 document", content_type = "application/json", body = Object))
)]
pub(super) async fn document(State(api): State<Api>) -> ([(HeaderName, &'static str); 1], Bytes) {
    let document = api.openapi.get(api.agent.doors.now().has_keys());
    ([(header::CONTENT_TYPE, "application/json")], document)
}

/// Adds how a caller shows who it is, and what is answered when it does not.
fn protect(path: &str, operation: &mut Operation, has_keys: bool) {
    let mut add = |status: &str, description: &str| {
        let responses = &mut operation.responses.responses;
        responses.entry(status.to_owned()).or_insert_with(|| {
            let mut response = ResponseBuilder::new().description(description).build();
            finish_response(status, &mut response);
            RefOr::T(response)
        });
    };
    add("429", "The caller asks too often; `Retry-After` says how many seconds to wait");
    add("421", "The request calls the agent by a name that it does not know");
    if authentication::OPEN.contains(&path) {
        return;
    }
    add("401", "There are API keys, and the request has none of them");
    add("403", "The API key does not allow this");
    let nothing: [&str; 0] = [];
    let mut ways =
        vec![SecurityRequirement::new("bearer", nothing), SecurityRequirement::new("api_key", nothing)];
    if !has_keys || path == authentication::HEALTH {
        ways.push(SecurityRequirement::default());
    }
    operation.security = Some(ways);
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> + use<'_> {
    [
        ("get", item.get.as_mut()),
        ("post", item.post.as_mut()),
        ("delete", item.delete.as_mut()),
        ("put", item.put.as_mut()),
        ("patch", item.patch.as_mut()),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation?)))
}

/// Adds what all operations share: the header of every response, the body of every problem, and
/// the answer to a defect.
fn complete(method: &str, operation: &mut Operation) {
    if let Some(id) = operation.operation_id.as_mut()
        && matches!(operation.tags.as_deref(), Some([tag]) if tag == "control")
    {
        // Two methods of one handler share an id, which has to be unique.
        *id = format!("{method}_{id}");
    }
    let defect = ResponseBuilder::new().description("The request met a defect of the agent").build();
    operation.responses.responses.insert("500".to_owned(), RefOr::T(defect));
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        finish_response(status, response);
    }
}

fn finish_response(status: &str, response: &mut Response) {
    if status.starts_with(['4', '5']) && response.content.is_empty() {
        let problem = Content::new(Some(Ref::from_schema_name("ProblemDocument")));
        response.content.insert(PROBLEM_JSON.to_owned(), RefOr::T(problem));
    }
    let id = HeaderBuilder::new()
        .description(Some("Names the request, in the log of the agent too"))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build();
    response.headers.insert("x-request-id".to_owned(), id.into());
}
