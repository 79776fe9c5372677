//! External browser: a person at a terminal logs in.
//!
//! Whoever cannot answer is not asked: without a terminal the login fails at once.

use std::io::{IsTerminal, Write as _};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::super::connection::{Connection, LoginParts};
use super::token::token_parts;
use crate::config::Secret;
use crate::fault::{Fault, FaultKind};

/// Longest time for one request of the browser.
const BROWSER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest request of a browser that is read, in bytes; tokens have a few thousand.
const LONGEST_REQUEST: usize = 256 * 1024;
const ACTION: &str = "log in to Snowflake with a browser";

/// A person at a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalBrowser {
    /// The user.
    pub user: String,
    /// Whether a person is there; found out when `None`.
    is_attended: Option<bool>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    success: bool,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    data: Option<Started>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Started {
    sso_url: String,
    proof_key: String,
}

impl ExternalBrowser {
    /// For whoever sits at the terminal of the agent.
    #[must_use]
    pub fn new(user: String) -> Self {
        Self { user, is_attended: None }
    }

    /// With or without a person, whatever the terminal says.
    #[cfg(test)]
    pub(super) fn attended(user: &str, is_attended: bool) -> Self {
        Self { user: user.to_owned(), is_attended: Some(is_attended) }
    }

    pub(super) async fn login_parts(
        &self,
        connection: &Connection,
        http: &reqwest::Client,
    ) -> Result<LoginParts, Fault> {
        let is_attended = self
            .is_attended
            .unwrap_or_else(|| std::io::stdin().is_terminal() && std::io::stderr().is_terminal());
        if !is_attended {
            return Err(Fault::new(
                FaultKind::Credentials,
                format!("{ACTION}: the agent has no terminal, so nobody can answer"),
            )
            .remedy("Use a key pair, a programmatic access token or another way to log in for a service."));
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let started = self.start(connection, http, port).await?;
        show(&started.sso_url).map_err(failed)?;
        let waiting = tokio::time::timeout(connection.login_timeout, accept(&listener));
        let Ok(token) = waiting.await else {
            return Err(Fault::new(FaultKind::Credentials, format!("{ACTION}: nobody logged in in time"))
                .remedy("Try again, or raise login_timeout."));
        };
        let mut parts = token_parts("EXTERNALBROWSER", Some(&self.user), &token?);
        parts.data.insert("PROOF_KEY".into(), json!(started.proof_key));
        Ok(parts)
    }

    async fn start(
        &self,
        connection: &Connection,
        http: &reqwest::Client,
        port: u16,
    ) -> Result<Started, Fault> {
        let url = format!("{}/session/authenticator-request", connection.base_url());
        let body = json!({"data": {
            "ACCOUNT_NAME": connection.account.for_login(),
            "LOGIN_NAME": self.user,
            "AUTHENTICATOR": "EXTERNALBROWSER",
            "BROWSER_MODE_REDIRECT_PORT": port.to_string(),
            "CLIENT_APP_ID": connection.application,
            "CLIENT_APP_VERSION": env!("CARGO_PKG_VERSION"),
            "CLIENT_ENVIRONMENT": {"APPLICATION": connection.application, "OS": std::env::consts::OS},
        }});
        let broken =
            |error: reqwest::Error| Fault::new(FaultKind::Transient, ACTION).because(error.without_url());
        let request = http.post(url).timeout(connection.login_timeout).json(&body);
        let response = request.send().await.map_err(broken)?;
        let status = response.status();
        let body = response.bytes().await.map_err(broken)?;
        let Ok(answer) = serde_json::from_slice::<Answer>(&body) else {
            let kind = if status.is_server_error() { FaultKind::Transient } else { FaultKind::Credentials };
            return Err(
                Fault::new(kind, ACTION).because(format!("the server answers HTTP {}", status.as_u16()))
            );
        };
        match answer.data {
            Some(started) if answer.success => Ok(started),
            _ => Err(Fault::new(FaultKind::Credentials, ACTION)
                .because(answer.message.unwrap_or_else(|| "the server refuses it".to_owned()))),
        }
    }
}

fn failed(error: std::io::Error) -> Fault {
    Fault::new(FaultKind::Transient, ACTION).because(error)
}

/// To the terminal and not to the log, which others read.
fn show(url: &str) -> std::io::Result<()> {
    // A server must not write control characters to the terminal.
    let url: String = url.chars().filter(|letter| !letter.is_control()).collect();
    let mut terminal = std::io::stderr().lock();
    writeln!(terminal, "Open this address in a browser on this machine to log in to Snowflake:\n\n{url}\n")
}

/// Answers the browser until it brings the token.
async fn accept(listener: &TcpListener) -> Result<Secret, Fault> {
    loop {
        let (mut stream, _) = listener.accept().await.map_err(failed)?;
        // A browser that hangs, or a visitor by chance, is no reason to give up.
        if let Ok(Ok(Some(token))) = tokio::time::timeout(BROWSER_TIMEOUT, answer(&mut stream)).await {
            return Ok(token);
        }
    }
}

/// One request: the token comes in the query of a GET, or in the JSON of a POST.
async fn answer(stream: &mut TcpStream) -> std::io::Result<Option<Secret>> {
    let mut received = Vec::new();
    let request = loop {
        if let Some(request) = Request::read(&received) {
            break request;
        }
        if received.len() > LONGEST_REQUEST || stream.read_buf(&mut received).await? == 0 {
            return Ok(None);
        }
    };
    let token = request.token();
    let (status, text) = match (&token, request.method) {
        (Some(_), _) => ("200 OK", "You are logged in. This window can be closed."),
        (None, "OPTIONS") => ("204 No Content", ""),
        (None, _) => ("404 Not Found", "This is not the answer that the agent waits for."),
    };
    let mut head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n",
        text.len()
    );
    if let Some(origin) = request.origin {
        head.push_str(&format!(
            "Access-Control-Allow-Origin: {origin}\r\nAccess-Control-Allow-Methods: POST, GET\r\n\
             Access-Control-Allow-Headers: Content-Type\r\nVary: Origin\r\n"
        ));
    }
    stream.write_all(format!("{head}\r\n{text}").as_bytes()).await?;
    stream.shutdown().await?;
    Ok(token)
}

struct Request<'a> {
    method: &'a str,
    target: &'a str,
    origin: Option<&'a str>,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    /// `None` while something of it is missing.
    fn read(received: &'a [u8]) -> Option<Self> {
        let end = received.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&received[..end]).ok()?;
        let body = &received[end + 4..];
        let mut lines = head.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let header = |wanted: &str| {
            head.split("\r\n").skip(1).find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim())
            })
        };
        let length: usize = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        (body.len() >= length).then(|| Self {
            method,
            target,
            origin: header("origin"),
            body: &body[..length],
        })
    }

    fn token(&self) -> Option<Secret> {
        let token = match self.method {
            "GET" => {
                let url = Url::parse("http://localhost").ok()?.join(self.target).ok()?;
                url.query_pairs().find(|(name, _)| name == "token").map(|(_, token)| token.into_owned())
            }
            "POST" => {
                let body: serde_json::Value = serde_json::from_slice(self.body).ok()?;
                body.get("token").and_then(serde_json::Value::as_str).map(str::to_owned)
            }
            _ => None,
        };
        token.filter(|token| !token.is_empty()).map(Secret::new)
    }
}
