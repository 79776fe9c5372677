//! Keeps pages of other web sites from steering the agent through a person's browser.
//!
//! Version 1.2.0 starts and stops by GET, which any page can send; those routes stay for its
//! callers. A browser says where such a request comes from, and other clients say nothing.

use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::{Problem, ProblemKind};

/// Routes that change something whatever the method.
pub(super) const CHANGING: [&str; 2] = ["/handle_tasks", "/stop"];

/// Refuses what would change something and comes from a page of another site.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let only_reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
        && !CHANGING.contains(&request.uri().path());
    if only_reads || !is_foreign(request.headers()) {
        return next.run(request).await;
    }
    let detail = "only a page of the agent itself, or a program that is no browser, can do this";
    Problem::new(ProblemKind::CrossSite, detail).into_response()
}

fn is_foreign(headers: &HeaderMap) -> bool {
    // A page of the same site (another port of this host) is another origin, too.
    if headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return true;
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let authority = origin.to_str().ok().and_then(|origin| Some(origin.split_once("://")?.1));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    match (authority, host) {
        (Some(authority), Some(host)) => !authority.eq_ignore_ascii_case(host),
        // `Origin: null`, and origins that cannot be compared.
        (None, _) | (_, None) => true,
    }
}
