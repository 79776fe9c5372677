//! The console: a page at `/` on which people see and steer the agent.
//!
//! The page is a client of the API like any other, with the same routes and the same scopes. What
//! it needs beside them is here: its files, which are in the program ([`assets`]), and sessions,
//! so that a browser keeps no API key ([`session`]). These routes are not part of the API and not
//! in its document.
//!
//! Guarantees: nothing is loaded from another host; the policy in the headers forbids scripts and
//! styles inside the page, so that a text which got into it by mistake stays a text ([`headers`]);
//! a browser holds a random number, never a key.

mod assets;
pub(super) mod headers;
pub(super) mod session;

use axum::Router;
use axum::routing::get;

use super::Api;

/// Routes of the console. They are open to callers without a key, and show nothing of tasks.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/", get(assets::page))
        .route(session::PATH, get(session::show).post(session::sign_in).delete(session::sign_out))
        .route("/console/{version}/{*name}", get(assets::asset))
}

/// True for the routes of the console.
pub(super) fn owns(path: &str) -> bool {
    path == "/" || path.starts_with("/console/")
}

/// True for the files of the page, which are the same for everybody.
pub(super) fn is_file(path: &str) -> bool {
    owns(path) && path != session::PATH
}

#[cfg(test)]
mod tests;
