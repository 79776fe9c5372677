//! What went wrong between the agent and Snowflake.
//!
//! An [`Error`] has Snowflake's code and SQLSTATE where the server gave them, the identifier of the
//! query, and the kind that decides what happens next. Texts of the server lose signatures, tokens,
//! quoted literals and values before they are kept.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::codes::{self, Meaning, Text};
use super::load::LoadPlace;
use super::redact;
use crate::fault::{Fault, FaultKind};

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A failure of a login, a statement or a request. Cheap to clone.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    action: Cow<'static, str>,
    kind: FaultKind,
    state: State,
    code: Option<u32>,
    sql_state: Option<String>,
    message: Option<String>,
    place: Option<LoadPlace>,
    query_id: Option<String>,
    remedy: Option<Cow<'static, str>>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// What callers of the client have to tell apart, beyond the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The server has answered, or the request never left.
    Decided,
    /// No answer came: the statement may have run.
    Unknown,
    /// The session is gone, and with it its transaction, temporary tables and variables.
    SessionLost,
}

impl Error {
    /// A failure of `kind` while doing `action`: a lower-case fragment without a full stop.
    pub(super) fn new(kind: FaultKind, action: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            action: action.into(),
            kind,
            state: State::Decided,
            code: None,
            sql_state: None,
            message: None,
            place: None,
            query_id: None,
            remedy: None,
            source: None,
        }))
    }

    /// What an answer with `success: false` says.
    pub(super) fn answered(
        action: impl Into<Cow<'static, str>>,
        code: Option<&str>,
        message: Option<&str>,
        data: &Value,
    ) -> Self {
        let text = |name: &str| data.get(name).and_then(Value::as_str);
        let code = code.or_else(|| text("errorCode")).and_then(|code| code.trim().parse().ok());
        let sql_state = text("sqlState")
            .filter(|state| state.len() == 5 && state.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        let Meaning { kind, remedy, text: kept } = codes::meaning_of(code, sql_state, message);
        let place = message.and_then(LoadPlace::find);
        let message = message.filter(|message| !message.is_empty()).and_then(|message| match kept {
            Text::Names => Some(redact::text(message)),
            Text::Quotes => Some(redact::unquoted(message)),
            Text::Values => None,
        });
        Self(Arc::new(Inner {
            action: action.into(),
            kind,
            state: State::Decided,
            code,
            sql_state: sql_state.map(str::to_owned),
            message,
            place,
            query_id: text("queryId").map(redact::text),
            remedy: remedy.map(Cow::Borrowed),
            source: None,
        }))
    }

    /// A request that got no answer. The URL, which can be signed, is not kept.
    pub(super) fn transport(action: impl Into<Cow<'static, str>>, error: reqwest::Error) -> Self {
        let error = error.without_url();
        let is_certificate = is_certificate_error(&error);
        let kind = if is_certificate { FaultKind::Request } else { FaultKind::Transient };
        let mut result = Self::new(kind, action).because(error);
        if is_certificate {
            result = result.remedy(
                "The certificate of the server is not trusted: check `host`, and whether a proxy on the way \
                 inspects TLS with an authority that this machine does not know.",
            );
        }
        result
    }

    fn change(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        match Arc::get_mut(&mut self.0) {
            Some(inner) => {
                change(inner);
                self
            }
            None => {
                let mut inner = self.0.copy();
                change(&mut inner);
                Self(Arc::new(inner))
            }
        }
    }

    /// Adds the cause.
    pub(super) fn because(self, source: impl Into<Cause>) -> Self {
        let source: Cause = source.into();
        self.change(|inner| inner.source = Some(Arc::from(source)))
    }

    /// Adds what a person can do: a sentence.
    pub(super) fn remedy(self, remedy: impl Into<Cow<'static, str>>) -> Self {
        self.change(|inner| inner.remedy = Some(remedy.into()))
    }

    /// Adds what the server said, or what is wrong with it. Signatures and tokens are taken out.
    pub(super) fn message(self, message: impl AsRef<str>) -> Self {
        self.change(|inner| inner.message = Some(redact::text(message.as_ref())))
    }

    /// Replaces the kind.
    pub(super) fn with_kind(self, kind: FaultKind) -> Self {
        self.change(|inner| inner.kind = kind)
    }

    /// Says which query it was.
    pub(super) fn of_query(self, query_id: Option<&str>) -> Self {
        match query_id {
            Some(query_id) if self.0.query_id.is_none() => {
                self.change(|inner| inner.query_id = Some(redact::text(query_id)))
            }
            Some(_) | None => self,
        }
    }

    /// Says that no answer came, so that the statement may have run.
    pub(super) fn of_unknown_outcome(self) -> Self {
        self.change(|inner| inner.state = State::Unknown)
    }

    /// Says that the session is gone with all that was in it.
    pub(super) fn of_lost_session(self) -> Self {
        self.change(|inner| {
            inner.state = State::SessionLost;
            inner.kind = FaultKind::Transient;
        })
    }

    /// The kind, which decides what happens next.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        self.0.kind
    }

    /// Snowflake's number of the error, without leading zeros.
    #[must_use]
    pub fn code(&self) -> Option<u32> {
        self.0.code
    }

    /// The SQLSTATE.
    #[must_use]
    pub fn sql_state(&self) -> Option<&str> {
        self.0.sql_state.as_deref()
    }

    /// The identifier of the query, for Snowflake's query history.
    #[must_use]
    pub fn query_id(&self) -> Option<&str> {
        self.0.query_id.as_deref()
    }

    /// What the server said, without literals, values and secrets.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.0.message.as_deref()
    }

    /// Where in the files a load failed.
    #[must_use]
    pub fn place(&self) -> Option<&LoadPlace> {
        self.0.place.as_ref()
    }

    /// What a person can do.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.remedy.as_deref()
    }

    /// True when the server's answer was lost: the statement may have run to its end.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        self.0.state == State::Unknown
    }

    /// True when the session of a transaction is gone: the transaction was rolled back.
    #[must_use]
    pub fn is_session_lost(&self) -> bool {
        self.0.state == State::SessionLost
    }

    /// True when somebody cancelled the statement, or its time was up.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0.code, Some(604 | 630)) || self.0.sql_state.as_deref() == Some("57014")
    }

    /// True when an object is missing, or may not be seen by this role: Snowflake does not tell.
    #[must_use]
    pub fn is_missing_object(&self) -> bool {
        matches!(self.0.code, Some(2003 | 2043))
    }

    /// True when the renewal of the session was asked for.
    pub(super) fn asks_for_renewal(&self) -> bool {
        self.0.code == Some(codes::SESSION_EXPIRED)
    }

    /// True when only a new login helps.
    pub(super) fn asks_for_login(&self) -> bool {
        self.0.code.is_some_and(codes::wants_login)
    }
}

impl Inner {
    fn copy(&self) -> Self {
        Self {
            action: self.action.clone(),
            kind: self.kind,
            state: self.state,
            code: self.code,
            sql_state: self.sql_state.clone(),
            message: self.message.clone(),
            place: self.place.clone(),
            query_id: self.query_id.clone(),
            remedy: self.remedy.clone(),
            source: self.source.clone(),
        }
    }

    /// Code, SQLSTATE, message and query in one line; empty when there is none of them.
    fn details(&self) -> String {
        let mut details = String::new();
        if let Some(code) = self.code {
            details = format!("Snowflake error {code:06}");
        }
        if let Some(state) = &self.sql_state {
            if details.is_empty() {
                details.push_str("Snowflake error");
            }
            details.push_str(&format!(" ({state})"));
        }
        if let Some(message) = &self.message {
            if !details.is_empty() {
                details.push_str(": ");
            }
            details.push_str(message);
        }
        if let Some(place) = &self.place {
            details.push_str(&format!(" in {place}"));
        }
        if let Some(query) = &self.query_id {
            if !details.is_empty() {
                details.push(' ');
            }
            details.push_str(&format!("[query {query}]"));
        }
        details
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.action)?;
        let details = self.0.details();
        if details.is_empty() { Ok(()) } else { write!(formatter, ": {details}") }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Error({}, {self}", self.0.kind)?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            write!(formatter, ": {error}")?;
            cause = error.source();
        }
        formatter.write_str(")")
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|cause| cause as &(dyn std::error::Error + 'static))
    }
}

/// What the server said, as a cause.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

/// Carries the source chain of a shared error into a [`Fault`].
#[derive(Debug)]
struct Shared(Arc<dyn std::error::Error + Send + Sync>);

impl fmt::Display for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::error::Error for Shared {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let inner = &error.0;
        let details = inner.details();
        let mut fault = Self::new(inner.kind, inner.action.clone());
        fault = match (&inner.source, details.is_empty()) {
            (Some(source), true) => fault.because(Shared(Arc::clone(source))),
            (Some(source), false) => {
                let cause = Self::new(inner.kind, details).because(Shared(Arc::clone(source)));
                fault.because(cause)
            }
            (None, false) => fault.because(Said(details)),
            (None, true) => fault,
        };
        match &inner.remedy {
            Some(remedy) => fault.remedy(remedy.clone()),
            None => fault,
        }
    }
}

/// A fault from what prepares a login (token files, signatures, other servers).
impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let kind = fault.kind();
        let hint = fault.hint().map(str::to_owned);
        let error = Self::new(kind, fault.to_string());
        let error = match std::error::Error::source(&fault) {
            Some(_) => {
                let chain = fault.chain();
                let causes = chain.strip_prefix(&format!("{fault}: ")).unwrap_or(&chain).to_owned();
                error.because(Said(causes))
            }
            None => error,
        };
        match hint {
            Some(hint) => error.remedy(hint),
            None => error,
        }
    }
}

/// Trying again cannot help when the certificate is refused.
fn is_certificate_error(error: &reqwest::Error) -> bool {
    use tokio_rustls::rustls;

    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return matches!(tls, rustls::Error::InvalidCertificate(_));
        }
        // An I/O error is silent about the one that it wraps: `source` skips it.
        cause = match error.downcast_ref::<std::io::Error>() {
            Some(wrapper) => wrapper.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static)),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answered(code: &str, message: &str) -> Error {
        Error::answered("run a statement", Some(code), Some(message), &Value::Null)
    }

    #[test]
    fn code_state_message_and_query_are_in_one_sentence() {
        let data = json!({"errorCode": "002003", "sqlState": "42S02", "queryId": "01a-2"});
        let error = Error::answered("run a statement", None, Some("Object 'DB.T' does not exist"), &data);
        assert_eq!(
            error.to_string(),
            "run a statement: Snowflake error 002003 (42S02): Object 'DB.T' does not exist [query 01a-2]"
        );
        assert!(error.is_missing_object());
        let fault = Fault::from(error.clone());
        assert_eq!(fault.chain(), error.to_string());
        assert_eq!(fault.kind(), FaultKind::Request);
        assert!(fault.hint().is_some());
    }

    #[test]
    fn values_that_the_server_quotes_are_not_kept() {
        let error = answered("100038", "Numeric value 'salary 9000' is not recognized");
        assert_eq!(error.kind(), FaultKind::Data);
        assert!(!format!("{error} {error:?}").contains("salary"), "{error}");
        let error = answered("001003", "SQL compilation error: unexpected 'hunter2' at line 1");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }

    #[test]
    fn the_place_of_a_value_is_kept_without_the_value() {
        let message = "Numeric value 'salary 9000' is not recognized\n  File 'orders/a.csv', line 3, character 14\n  \
                       Row 2, column \"ORDERS\"[\"TOTAL\":2]";
        let error = answered("100038", message);
        let expected =
            "run a statement: Snowflake error 100038 in file `orders/a.csv`, line 3, row 2, column `TOTAL`";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_change_of_a_shared_error_leaves_the_other_alone() {
        let error = answered("390100", "Incorrect username or password was specified.");
        let other = error.clone().of_lost_session();
        assert!(other.is_session_lost() && !error.is_session_lost());
        assert_eq!(error.kind(), FaultKind::Credentials);
    }

    #[test]
    fn a_fault_of_the_preparation_keeps_kind_cause_and_remedy() {
        let fault = Fault::new(FaultKind::Credentials, "read the token file")
            .because("permission denied")
            .remedy("Make it readable.");
        let fault = Fault::from(Error::from(fault));
        assert_eq!(fault.chain(), "read the token file: permission denied");
        assert_eq!(fault.hint(), Some("Make it readable."));
        assert_eq!(fault.kind(), FaultKind::Credentials);
    }
}
