//! The client: one shared session for each connection, and sessions of their own for transactions.

use std::sync::{Arc, Mutex, OnceLock};

use serde_json::Value;

use super::connection::Connection;
use super::credentials::{Credentials, ReadConnection};
use super::envelope;
use super::error::Error;
use super::http::Http;
use super::query::{self, Mode};
use super::result::{self, Table};
use super::session::{Door, Lifetime, Session};
use super::statement::Statement;
use crate::fault::FaultKind;
use crate::shutdown::Shutdown;

/// A connection to Snowflake with one session, shared by all clones. It logs in at first use.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    door: Arc<Door>,
    session: Arc<Session>,
}

impl Client {
    /// A client. No I/O; requests later run in tasks of `shutdown`.
    pub fn new(connection: Connection, shutdown: &Shutdown) -> Result<Self, Error> {
        Self::of_agent(connection, shutdown, None)
    }

    /// The same for an agent with a name: tags of statements say it.
    pub fn of_agent(
        connection: Connection,
        shutdown: &Shutdown,
        agent: Option<String>,
    ) -> Result<Self, Error> {
        let http = Http::new(&connection)?;
        let (shutdown, refused) = (shutdown.clone(), Mutex::new(None));
        let credentials = Credentials::new(connection);
        let door =
            Arc::new(Door { credentials, http, shutdown, agent, refused, last_moment: OnceLock::new() });
        let session = Session::new(Arc::clone(&door), Lifetime::Shared);
        Ok(Self(Arc::new(Shared { door, session })))
    }

    /// Where and as whom, with the secrets of now.
    #[must_use]
    pub fn connection(&self) -> Arc<Connection> {
        self.0.door.credentials.current()
    }

    /// When a login is refused, `read` is asked for newer secrets, and the login is tried with them: in
    /// all sessions of this client, and with no restart. A connection that is different in anything but
    /// how it logs in is not used.
    pub fn renew_from(&self, read: Arc<ReadConnection>) {
        self.0.door.credentials.read_from(read);
    }

    /// The name of the agent, where it has one.
    #[must_use]
    pub fn agent(&self) -> Option<&str> {
        self.0.door.agent.as_deref()
    }

    /// Logs in, unless somebody has. A statement does so by itself.
    pub async fn log_in(&self) -> Result<(), Error> {
        self.0.session.tokens().await.map(drop)
    }

    /// Runs a statement and returns all its rows. Each chunk of the result is counted. Dropping the
    /// future aborts the statement on the server.
    ///
    /// A session that the server has forgotten is opened anew before the statement runs, so it must
    /// not need variables, temporary tables or a transaction: [`Client::session`] is for those.
    pub async fn run(&self, statement: &Statement) -> Result<Table, Error> {
        query::limited(statement, run(&self.0.session, statement)).await
    }

    /// Runs several statements in one text (see [`Statement::multiple`]) and returns the result of
    /// each, in order.
    pub async fn run_all(&self, statement: &Statement) -> Result<Vec<Table>, Error> {
        query::limited(statement, run_all(&self.0.session, statement)).await
    }

    /// Runs PUT or GET and returns the order that the server gives: `data` of the answer, with
    /// credentials in it.
    pub async fn transfer(&self, statement: &Statement) -> Result<Value, Error> {
        query::limited(statement, query::execute(&self.0.session, statement, Mode::Transfer)).await
    }

    /// A session of its own, logged in, for a transaction or temporary tables.
    pub async fn session(&self) -> Result<OwnSession, Error> {
        // Made before the login: whoever stops waiting for it ends it, and the session that it opens.
        let own =
            OwnSession { session: Session::new(Arc::clone(&self.0.door), Lifetime::Own), is_closed: false };
        own.session.tokens().await?;
        Ok(own)
    }

    /// Starts a statement and does not wait for it. It goes on when this client is gone, until its
    /// own time limit or the end of the session.
    pub async fn submit(&self, statement: &Statement) -> Result<Submitted, Error> {
        let data = query::execute(&self.0.session, statement, Mode::Detached).await?;
        let Some(query_id) = envelope::text(&data, "queryId") else {
            return Err(Error::new(FaultKind::Transient, "start a statement on Snowflake")
                .message("the answer has no identifier of the query")
                .of_unknown_outcome());
        };
        let has_result = ["rowset", "rowsetBase64"].iter().any(|name| data.get(name).is_some());
        Ok(Submitted { query_id, data: has_result.then_some(data) })
    }

    /// The state of a query.
    pub async fn status(&self, query_id: &str) -> Result<QueryStatus, Error> {
        let entry = query::monitor(&self.0.session, query_id).await?;
        Ok(QueryStatus::read(entry.as_ref()))
    }

    /// The result of a submitted statement, as soon as it has ended.
    pub async fn result(&self, submitted: Submitted) -> Result<Table, Error> {
        match submitted.data {
            Some(data) => result::read(&self.0.session, data).await,
            None => self.fetch(&submitted.query_id).await,
        }
    }

    /// The result of a query by its identifier, as soon as it has ended; also of a query of another
    /// session of this user, for a day.
    pub async fn fetch(&self, query_id: &str) -> Result<Table, Error> {
        let data = query::fetch(&self.0.session, query_id).await?;
        result::read(&self.0.session, data).await
    }

    /// Cancels a query by its identifier, whatever session it runs in.
    pub async fn cancel(&self, query_id: &str) -> Result<(), Error> {
        let statement = Statement::new("SELECT SYSTEM$CANCEL_QUERY(?) AS ANSWER").bind(query_id);
        self.run(&statement).await.map(drop)
    }

    /// Ends the shared session on the server; statements of this client fail from now on.
    pub async fn close(&self) {
        self.0.session.close().await;
    }
}

/// The last clone ends the session, if nobody did.
impl Drop for Shared {
    fn drop(&mut self) {
        close_later(&self.session);
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Client").field(&self.connection().base_url()).finish()
    }
}

/// A session that belongs to one caller. When the server forgets it, every call fails with an error
/// that [`Error::is_session_lost`] knows; it is never replaced by another behind the caller's back.
pub struct OwnSession {
    session: Arc<Session>,
    is_closed: bool,
}

impl OwnSession {
    /// Runs a statement in this session; see [`Client::run`].
    pub async fn run(&self, statement: &Statement) -> Result<Table, Error> {
        query::limited(statement, run(&self.session, statement)).await
    }

    /// See [`Client::run_all`].
    pub async fn run_all(&self, statement: &Statement) -> Result<Vec<Table>, Error> {
        query::limited(statement, run_all(&self.session, statement)).await
    }

    /// See [`Client::transfer`].
    pub async fn transfer(&self, statement: &Statement) -> Result<Value, Error> {
        query::limited(statement, query::execute(&self.session, statement, Mode::Transfer)).await
    }

    /// Ends the session: an open transaction is rolled back, temporary tables go.
    pub async fn close(mut self) {
        self.is_closed = true;
        self.session.close().await;
    }
}

/// A session that is only dropped is closed too, a little later.
impl Drop for OwnSession {
    fn drop(&mut self) {
        if !self.is_closed {
            close_later(&self.session);
        }
    }
}

impl std::fmt::Debug for OwnSession {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("OwnSession")
    }
}

/// A statement that was started by [`Client::submit`].
pub struct Submitted {
    query_id: String,
    /// The whole answer, when the server did not leave the statement alone.
    data: Option<Value>,
}

impl Submitted {
    /// The identifier of the query.
    #[must_use]
    pub fn query_id(&self) -> &str {
        &self.query_id
    }

    /// True when the statement had ended before [`Client::submit`] returned.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.data.is_some()
    }
}

impl std::fmt::Debug for Submitted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Submitted").field(&self.query_id).finish()
    }
}

/// What the server says about a query.
#[derive(Clone, Debug)]
pub enum QueryStatus {
    /// It waits or runs.
    Running,
    /// It has ended well.
    Succeeded,
    /// It has failed, or was cancelled.
    Failed(Error),
    /// The server does not know it: too early, too late, or never.
    Unknown,
}

impl QueryStatus {
    pub(super) fn read(entry: Option<&Value>) -> Self {
        const ACTION: &str = "run a statement on Snowflake";

        let Some(entry) = entry else { return Self::Unknown };
        let status = envelope::text(entry, "status").unwrap_or_default();
        match status.as_str() {
            "SUCCESS" => Self::Succeeded,
            "RUNNING"
            | "QUEUED"
            | "RESUMING_WAREHOUSE"
            | "QUEUED_REPARING_WAREHOUSE"
            | "BLOCKED"
            | "RESTARTED" => Self::Running,
            "ABORTING" | "ABORTED" | "FAILED_WITH_ERROR" | "FAILED_WITH_INCIDENT" | "DISCONNECTED" => {
                let code = envelope::text(entry, "errorCode").filter(|code| code.parse() != Ok(0_u32));
                let message = envelope::text(entry, "errorMessage");
                let error = Error::answered(ACTION, code.as_deref(), message.as_deref(), &Value::Null);
                let is_decided = code.is_some();
                let error = error.of_query(envelope::text(entry, "id").as_deref());
                Self::Failed(match status.as_str() {
                    "FAILED_WITH_ERROR" => error,
                    _ if is_decided => error,
                    _ => error.with_kind(FaultKind::Transient).message(format!("its state is {status}")),
                })
            }
            // `NO_DATA`, and words of the future.
            _ => Self::Unknown,
        }
    }
}

async fn run(session: &Arc<Session>, statement: &Statement) -> Result<Table, Error> {
    let data = query::execute(session, statement, Mode::Rows).await?;
    result::read(session, data).await
}

async fn run_all(session: &Arc<Session>, statement: &Statement) -> Result<Vec<Table>, Error> {
    let data = query::execute(session, statement, Mode::Rows).await?;
    let children = envelope::text(&data, "resultIds").filter(|identifiers| !identifiers.is_empty());
    // A text with one statement is answered with its rows at once.
    let Some(children) = children else { return Ok(vec![result::read(session, data).await?]) };
    let mut tables = Vec::new();
    for query_id in children.split(',') {
        let data = query::fetch(session, query_id.trim()).await?;
        tables.push(result::read(session, data).await?);
    }
    Ok(tables)
}

/// Closes a session from a place that cannot wait. Outside of a runtime the server does it by itself.
fn close_later(session: &Arc<Session>) {
    if tokio::runtime::Handle::try_current().is_ok() {
        let session = Arc::clone(session);
        let shutdown = session.door.shutdown.clone();
        shutdown.spawn(async move { session.close().await });
    }
}
