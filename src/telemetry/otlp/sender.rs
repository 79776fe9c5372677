//! Posts bytes to a collector, from whichever thread they come.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::config::OtlpSettings;
use crate::fault::{Fault, FaultKind};
use crate::shutdown::Shutdown;

/// How often a collector that takes nothing is warned about.
const WARN_EVERY: Duration = Duration::from_secs(600);

/// The HTTP client of traces and metrics; clones share it.
#[derive(Clone, Debug)]
pub struct OtlpSender {
    http: reqwest::Client,
    headers: HeaderMap,
    tasks: Shutdown,
    runtime: Handle,
    warned: Arc<Mutex<Option<Instant>>>,
}

impl OtlpSender {
    /// A client. Requests run in tasks of `tasks`, on the runtime of the caller.
    pub fn new(settings: &OtlpSettings, tasks: &Shutdown) -> Result<Self, Fault> {
        let http = reqwest::Client::builder()
            .timeout(settings.timeout)
            // The headers hold credentials, and are for the configured address only.
            .redirect(Policy::none())
            .user_agent(concat!("data-exchange-agent/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| {
                Fault::new(FaultKind::Bug, "set up the HTTP client of the collector").because(error)
            })?;
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let header =
                HeaderName::try_from(name.as_str()).ok().zip(HeaderValue::try_from(value.expose()).ok());
            let Some((name, mut value)) = header else {
                let action = format!("send the header `{name}` to the collector: no header can be like that");
                return Err(Fault::new(FaultKind::Request, action).remedy("Correct otlp.headers."));
            };
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(Self { http, headers, tasks: tasks.clone(), runtime: Handle::current(), warned: Arc::default() })
    }

    /// Posts protobuf, and warns when it is not taken.
    pub(super) async fn post(&self, url: &str, body: Vec<u8>) {
        let request =
            Request::post(url).header("content-type", "application/x-protobuf").body(Bytes::from(body));
        match request {
            Ok(request) => drop(self.send_bytes(request).await),
            Err(error) => self.warn(&error.to_string()),
        }
    }

    fn warn(&self, error: &str) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            *warned = Some(Instant::now());
            tracing::warn!(error, "traces or metrics could not be sent to the collector; the work goes on");
        }
    }
}

#[async_trait]
impl HttpClient for OtlpSender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let mut headers = parts.headers;
        headers.extend(self.headers.clone());
        let request = self.http.request(parts.method, parts.uri.to_string()).headers(headers).body(body);
        let answered = {
            // Spans come from a thread of their own, which has no runtime.
            let _runtime = self.runtime.enter();
            // Whoever does not wait for the answer any more gives up the request.
            AbortOnDropHandle::new(self.tasks.spawn_apart(async move {
                let response = request.send().await?;
                Ok::<_, reqwest::Error>((response.status(), response.bytes().await?))
            }))
        };
        let (status, body) = match answered.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                // With the address, which has no secret, and all causes.
                self.warn(&format!("{:#}", anyhow::Error::from(error)));
                return Err("the collector could not be reached".into());
            }
            Err(ended) => return Err(Box::new(ended)),
        };
        if !status.is_success() {
            self.warn(&format!("the collector answers {status}"));
        }
        Ok(Response::builder().status(status.as_u16()).body(body)?)
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::StatusCode;
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::Secret;

    #[tokio::test]
    async fn headers_of_the_collector_do_not_follow_a_redirect() {
        let tasks = Shutdown::new();
        let serve = async |answer: Router| {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            drop(tasks.spawn_apart(async move { axum::serve(listener, answer).await }));
            url
        };
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let stranger = Router::new().fallback(move |headers: HeaderMap| {
            seen.lock().unwrap().push(headers);
            std::future::ready(StatusCode::OK)
        });
        let stranger = serve(stranger).await;
        let moved = Router::new().fallback(move || {
            let moved = (StatusCode::TEMPORARY_REDIRECT, [("location", stranger.clone())]);
            std::future::ready(moved)
        });
        let collector = serve(moved).await;
        let settings = OtlpSettings {
            endpoint: collector.clone(),
            headers: vec![("x-token".to_owned(), Secret::new("planted"))],
            service_name: "agent".to_owned(),
            traces: true,
            metrics: true,
            metrics_interval: Duration::from_secs(60),
            timeout: Duration::from_secs(60),
        };
        let sender = OtlpSender::new(&settings, &tasks).unwrap();
        let request = Request::post(&collector).body(Bytes::new()).unwrap();
        let answer = sender.send_bytes(request).await.unwrap();
        assert_eq!(answer.status(), 307);
        assert!(asked.lock().unwrap().is_empty(), "{asked:?}");
    }
}
