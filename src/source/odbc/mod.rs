//! Databases behind ODBC drivers.
//!
//! ```text
//! prepare:  connect -> settings of the session -> check -> describe -> mapping -> ranges of slices
//! open:     SQLExecDirect and SQLFetch on one thread, decoding on another, two buffers between them
//! ```
//!
//! The calls of ODBC block, so each statement has a thread of its own, and whoever waits for it can
//! cancel it ([`cancel`]). Types are known before the first row, from the description of the prepared
//! statement; a value never loses anything: a decimal is read from its digits, a long value in pieces, and
//! one that is longer than the driver said is an error.
//!
//! The linker has to find unixODBC (cargo feature `odbc`), and [`driver_manager`] when it is used.
//! `docs/adr/0014` has the reasons.

mod batch;
mod cancel;
mod decode;
mod driver_manager;
mod error;
mod locale;
mod session;
mod slices;
mod sql;
mod stream;
mod texts;
mod types;

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use self::batch::Gathering;
use self::cancel::{StopOnDrop, Stopper};
pub(crate) use self::locale::use_utf8_by_default;
use self::session::Session;
use self::slices::Ruler;
use self::sql::Base;
use self::stream::RowStream;
use self::types::{Choices, Described, Mapping};
use crate::config::{OdbcConsistency, OdbcSource, SqlDialect};
use crate::fault::{Fault, FaultKind};
use crate::schema::{Column, TableSchema};
use crate::shutdown::spawn_blocking;
use crate::source::{BatchLimits, BatchStream, Extraction, Query, Source, TextExport, TextForms};
use crate::source::{read_only, teradata_texts};
use crate::task::Read;

/// A database behind an ODBC driver.
pub struct Odbc {
    config: Arc<OdbcSource>,
}

impl Odbc {
    /// A source for a proven configuration. Connects to nothing.
    #[must_use]
    pub fn new(config: OdbcSource) -> Self {
        Self { config: Arc::new(config) }
    }

    /// Connects, and runs `work` on a thread of its own, for as long as `limit`. Dropping the future cancels
    /// what it runs.
    async fn with_session<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce(Session) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let mut session = connect(&self.config).await?;
        let stopper = Stopper::default();
        session.stopper = stopper.clone();
        let working = on_thread(stopper, move || work(session));
        // The statement is cancelled by the drop of the future.
        tokio::time::timeout(limit, working).await.unwrap_or_else(|_elapsed| {
            Err(Fault::new(
                FaultKind::Transient,
                format!("describe the query within statement_timeout ({limit:?})"),
            )
            .because("the time is over, and the statement was cancelled")
            .remedy(
                "See whether somebody holds a lock on a table of the query; set or raise statement_timeout of the \
                 connection if the server needs longer.",
            ))
        })
    }
}

/// How long it may take to describe a query and to find the ends of its slices, where the configuration has no
/// `statement_timeout`.
const PLANNING_LIMIT: Duration = Duration::from_secs(60 * 60);

/// What a driver may take beyond the time to connect, which not every one keeps to.
const CONNECT_MARGIN: Duration = Duration::from_secs(5);

/// Connects on a thread of its own.
async fn connect(config: &Arc<OdbcSource>) -> Result<Session, Fault> {
    let stopper = Stopper::default();
    let (config_there, stopper_there) = (Arc::clone(config), stopper.clone());
    let connecting = on_thread(stopper, move || Session::open(&config_there, &stopper_there));
    let limit = config.connect_timeout;
    tokio::time::timeout(limit + CONNECT_MARGIN, connecting).await.unwrap_or_else(|_elapsed| {
        Err(Fault::new(
            FaultKind::Transient,
            format!("connect through ODBC within connect_timeout ({limit:?})"),
        )
        .because("the driver does not come back")
        .remedy("Check that the server answers, and that nothing between drops packets."))
    })
}

/// Runs `work` on a thread of its own. Dropping the future cancels what it runs.
async fn on_thread<T: Send + 'static>(
    stopper: Stopper,
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let until_end = stopper.until_end();
    let _stop = StopOnDrop(stopper);
    let thread = spawn_blocking(move || {
        let _until_end = until_end;
        // A driver that answers against the standard makes odbc-api panic.
        catch_unwind(AssertUnwindSafe(work))
    });
    match thread.await {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => Err(Fault::new(FaultKind::Request, "talk to the database through ODBC")
            .because("the driver answered against the standard of ODBC")
            .remedy("Look for a newer version of the driver.")),
        Err(error) => Err(Fault::new(FaultKind::Bug, "talk to the database through ODBC").because(error)),
    }
}

#[async_trait]
impl Source for Odbc {
    async fn check(&self) -> Result<(), Fault> {
        let limit = self.config.statement_timeout.unwrap_or(PLANNING_LIMIT);
        self.with_session(limit, |session| session.ask()).await
    }

    async fn prepare(&self, query: &Query, wanted: NonZeroUsize) -> Result<Box<dyn Extraction>, Fault> {
        let query = query.clone();
        let config = Arc::clone(&self.config);
        let limit = self.config.statement_timeout.unwrap_or(PLANNING_LIMIT);
        let planning = self.with_session(limit, move |session| {
            let plan = plan(&session, &query, wanted)?;
            Ok((session, plan))
        });
        let (session, plan) = planning.await?;
        let mut sessions: Vec<Mutex<Option<Session>>> = vec![Mutex::new(Some(session))];
        sessions.resize_with(plan.statements.len(), || Mutex::new(None));
        Ok(Box::new(OdbcExtraction { config, plan, sessions }))
    }

    async fn export_as_text(&self, query: &Query) -> Result<TextExport, Fault> {
        let query = query.clone();
        let limit = self.config.statement_timeout.unwrap_or(PLANNING_LIMIT);
        self.with_session(limit, move |session| {
            if session.dialect != SqlDialect::Teradata {
                return Err(Fault::new(FaultKind::Request, "describe the query for a bulk utility")
                    .because("only Teradata is read by one among the databases behind ODBC")
                    .remedy("Set `method` to `native`, or leave it out."));
            }
            let plan = plan(&session, &query, NonZeroUsize::MIN)?;
            let sql = select_of_texts(&plan, &base(&query, session.dialect)?, session.dialect)?;
            let forms = TextForms { texts_are_marked: true, ..TextForms::default() };
            Ok(TextExport { sql: session.finished(&sql), session: Vec::new(), schema: plan.schema, forms })
        })
        .await
    }
}

/// The statement that selects every column as text.
fn select_of_texts(plan: &Plan, base: &Base, dialect: SqlDialect) -> Result<String, Fault> {
    let columns = plan.schema.columns().iter().zip(&plan.mappings);
    let texts: Result<Vec<String>, Fault> = columns
        .map(|(column, mapping)| {
            let name = format!("s.{}", sql::identifier(&column.name, dialect));
            Ok(texts::text_of(&name, mapping.wire, teradata_texts::characters(column)?))
        })
        .collect();
    Ok(base.select(&texts?.join(", "), None, dialect))
}

/// What is read, and how.
struct Plan {
    schema: TableSchema,
    mappings: Vec<Mapping>,
    /// One for each slice.
    statements: Vec<String>,
}

/// Proves that the query only reads, lets the driver describe it, and divides it.
fn plan(session: &Session, query: &Query, wanted: NonZeroUsize) -> Result<Plan, Fault> {
    let dialect = session.dialect;
    let base = base(query, dialect)?;
    let all = session.describe(&session.finished(&base.everything()), &base)?;
    let chosen = sql::chosen(&all, query.columns.as_deref(), dialect)?;
    let wanted = read_only::slices(&query.read, dialect, wanted);
    let conditions = conditions(session, query, &base, &all, wanted)?;
    let statements: Vec<String> = conditions
        .iter()
        .map(|condition| {
            let text = match (&chosen, condition) {
                // A query stands alone where it can: not every server likes an ORDER BY inside another.
                (None, None) => base.everything(),
                (chosen, condition) => {
                    base.select(chosen.as_deref().unwrap_or("s.*"), condition.as_deref(), dialect)
                }
            };
            session.finished(&text)
        })
        .collect();
    // A derived table can have other types than the query in it: what counts is what will run.
    let columns = match statements.first() {
        Some(first) if *first != session.finished(&base.everything()) => session.describe(first, &base)?,
        _ => all,
    };
    let config = &session.config;
    let choices = Choices { dialect, text: config.text, seventh_digit: config.seventh_digit };
    let mappings: Vec<Mapping> = columns.iter().map(|column| Mapping::of(column, choices)).collect();
    let described = columns.iter().zip(&mappings).map(|(column, mapping)| Column {
        name: column.name.clone(),
        source_type: column.type_name(),
        data_type: mapping.arrow.clone(),
        // Drivers say of columns of outer joins what they say of those of the table.
        nullable: true,
    });
    Ok(Plan { schema: TableSchema::new(described.collect())?, mappings, statements })
}

/// What is selected from, once it is known to only read.
fn base(query: &Query, dialect: SqlDialect) -> Result<Base, Fault> {
    Ok(match &query.read {
        Read::Query(text) => Base::Query(read_only::check(text, dialect)?),
        Read::Table(text) => Base::Table(sql::table(text, dialect)?),
    })
}

/// The conditions of the slices; a single `None` for one slice.
fn conditions(
    session: &Session,
    query: &Query,
    base: &Base,
    all: &[Described],
    wanted: NonZeroUsize,
) -> Result<Vec<Option<String>>, Fault> {
    let Some(name) = &query.slice_column else { return Ok(vec![None]) };
    let position = sql::position_of(all, name, "divide the result by")?;
    let ruler = Ruler::of(&all[position])?;
    if wanted.get() == 1 {
        return Ok(vec![None]);
    }
    if session.config.consistency == OdbcConsistency::Serial {
        tracing::info!(
            "one slice: connections through ODBC cannot share a snapshot, and consistency is serial"
        );
        return Ok(vec![None]);
    }
    let column = sql::column(&all[position], session.dialect);
    let bounds = base.select(&format!("MIN({column}), MAX({column})"), None, session.dialect);
    let row = session.first_row(&session.finished(&bounds), "compute the ranges of the slices")?;
    match row.as_deref() {
        Some([Some(least), Some(greatest)]) => {
            Ok(ruler.conditions(&column, least, greatest, wanted, session.dialect))
        }
        _ => Ok(vec![None]),
    }
}

/// Closes connections that nobody read from: disconnecting can take a round trip.
impl Drop for OdbcExtraction {
    fn drop(&mut self) {
        let sessions = std::mem::take(&mut self.sessions);
        let is_held = |slot: &Mutex<Option<Session>>| slot.lock().is_ok_and(|session| session.is_some());
        if sessions.iter().any(is_held) && tokio::runtime::Handle::try_current().is_ok() {
            drop(spawn_blocking(move || drop(sessions)));
        }
    }
}

struct OdbcExtraction {
    config: Arc<OdbcSource>,
    plan: Plan,
    /// The first slice is read on the connection that described the result; the others have their own.
    sessions: Vec<Mutex<Option<Session>>>,
}

#[async_trait]
impl Extraction for OdbcExtraction {
    fn schema(&self) -> &TableSchema {
        &self.plan.schema
    }

    fn slice_count(&self) -> usize {
        self.plan.statements.len()
    }

    async fn open(&self, slice: usize, limits: BatchLimits) -> Result<Box<dyn BatchStream>, Fault> {
        let held = self.sessions[slice].lock().expect("nothing panics while it holds this lock").take();
        let mut session = match held {
            Some(session) => session,
            None => connect(&self.config).await?,
        };
        session.stopper = Stopper::default();
        let gathering = Gathering::new(self.plan.schema.arrow(), self.plan.mappings.clone(), limits);
        let sql = self.plan.statements[slice].clone();
        let (long_values, limit) = (self.config.long_values, self.config.statement_timeout);
        Ok(Box::new(RowStream::start(session, sql, gathering, long_values, limit)))
    }
}
