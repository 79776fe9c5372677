//! The files of the console, as they are in the program.
//!
//! Their addresses have a hash of all of them, so that a browser keeps them for ever and still gets
//! new ones after an upgrade. Modules name each other relatively and stay of one version.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::api::problem::{Problem, ProblemKind};

/// A file.
pub(super) struct Asset {
    /// Its path below `assets`.
    pub(super) name: &'static str,
    media_type: &'static str,
    /// What is in it.
    pub(super) content: &'static str,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

macro_rules! assets {
    ($($name:literal: $media_type:expr),* $(,)?) => {
        [$(Asset { name: $name, media_type: $media_type, content: include_str!(concat!("assets/", $name)) }),*]
    };
}

/// Every file but the page.
pub(super) static ASSETS: [Asset; 18] = assets! {
    "agent.js": SCRIPT,
    "api.js": SCRIPT,
    "app.js": SCRIPT,
    "chart.js": SCRIPT,
    "dialog.js": SCRIPT,
    "dom.js": SCRIPT,
    "format.js": SCRIPT,
    "icon.svg": IMAGE,
    "logs.js": SCRIPT,
    "preview.js": SCRIPT,
    "runs.js": SCRIPT,
    "sign_in.js": SCRIPT,
    "style.css": STYLE,
    "submit.js": SCRIPT,
    "task.js": SCRIPT,
    "tasks.js": SCRIPT,
    "vendor/uPlot.css": STYLE,
    "vendor/uPlot.js": SCRIPT,
};

const PAGE: &str = include_str!("assets/index.html");

/// The hash in the addresses of the files.
pub(super) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    for asset in &ASSETS {
        hash.update(asset.name);
        hash.update(asset.content);
    }
    hash.update(PAGE);
    let mut version = String::new();
    for byte in &hash.finalize()[..8] {
        write!(version, "{byte:02x}").expect("a String takes everything");
    }
    version
});

/// The page with the addresses of this version.
static FINISHED_PAGE: LazyLock<String> =
    LazyLock::new(|| PAGE.replace("{assets}", &format!("/console/{}", *VERSION)));

/// Shows the page. It is the same for everybody: what it shows, it asks the API for.
pub(super) async fn page(headers: HeaderMap) -> Response {
    let tag = format!("\"{}\"", *VERSION);
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let is_known = known.is_some_and(|tags| tags.contains(&tag));
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        FINISHED_PAGE.as_str().into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::ETAG, HeaderValue::try_from(tag).expect("hexadecimal digits in quotes"));
    response
}

/// Shows a file of the page.
pub(super) async fn asset(Path((version, name)): Path<(String, String)>) -> Result<Response, Problem> {
    let asset = ASSETS.iter().find(|asset| asset.name == name && version == *VERSION);
    let Some(asset) = asset else {
        let detail = "this version of the agent has no such file; load the page again";
        return Err(Problem::new(ProblemKind::UnknownRoute, detail));
    };
    let headers = [
        (header::CONTENT_TYPE, asset.media_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((headers, asset.content).into_response())
}
