//! Keeps an idle session alive, because its master token lives for some hours only.

use std::sync::{Arc, Weak};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::codes;
use super::connection::Connection;
use super::http::{Accept, Call};
use super::session::{Need, Session, Tokens};

/// A heartbeat that gets no answer is followed by the next one.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two heartbeats, when neither configuration nor server say it.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(3600);

/// Starts the heartbeats of a session, if it is to be kept alive. They end with it, and with a drain:
/// what is left of one is shorter than any token lives.
pub(super) fn start(session: &Arc<Session>, tokens: &Tokens) {
    let Some(interval) = interval(&session.door.credentials.current(), tokens) else { return };
    let weak = Arc::downgrade(session);
    let (ended, shutdown) = (session.ended.clone(), session.door.shutdown.clone());
    session.door.shutdown.spawn_apart(async move {
        let beats = async {
            loop {
                tokio::time::sleep(interval).await;
                if !beat(&weak).await {
                    return;
                }
            }
        };
        tokio::select! {
            () = beats => {}
            () = ended.cancelled() => {}
            () = shutdown.draining() => {}
        }
    });
}

/// One heartbeat; false when there is nothing to keep alive any more.
async fn beat(session: &Weak<Session>) -> bool {
    let Some(session) = session.upgrade() else { return false };
    let mut tokens = match session.tokens_if_open().await {
        Some(Some(tokens)) => tokens,
        // A heartbeat is no reason to log in.
        Some(None) => return true,
        None => return false,
    };
    let body = json!({});
    for _ in 0..2 {
        let request_id = uuid::Uuid::new_v4().to_string();
        let call = Call {
            action: "keep the Snowflake session alive",
            method: Method::POST,
            path: "/session/heartbeat",
            query: &[("requestId", &request_id)],
            body: Some(&body),
            accept: Accept::Json,
            policy: session.door.http.brief(LIMIT),
        };
        match session.door.http.send(&call, Some(&tokens.session)).await {
            Ok(envelope) if envelope.number() == Some(codes::SESSION_EXPIRED) => {
                match session.establish(Need::Renewal(tokens.generation)).await {
                    Ok(renewed) => tokens = renewed,
                    Err(error) => {
                        tracing::warn!(%error, "the Snowflake session could not be kept alive");
                        return true;
                    }
                }
            }
            Ok(envelope) if envelope.success => return true,
            Ok(envelope) => {
                tracing::debug!(code = envelope.code, "Snowflake refused a heartbeat");
                return true;
            }
            Err(error) => {
                tracing::debug!(%error, "a heartbeat got no answer");
                return true;
            }
        }
    }
    true
}

/// Time between two heartbeats: what is configured or what the server says, within a sixteenth and a
/// quarter of the life of the master token. `None` when the session is not kept alive.
fn interval(connection: &Connection, tokens: &Tokens) -> Option<Duration> {
    if !connection.keep_alive {
        return None;
    }
    let says = tokens.parameters.get("CLIENT_SESSION_KEEP_ALIVE_HEARTBEAT_FREQUENCY");
    let says = says.and_then(Value::as_u64).map(Duration::from_secs);
    let wanted = connection.heartbeat_interval.or(says).unwrap_or(DEFAULT_INTERVAL);
    let validity = tokens.master_validity.max(Duration::from_secs(1));
    Some(wanted.clamp(validity / 16, validity / 4))
}
