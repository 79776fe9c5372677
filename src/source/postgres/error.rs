//! What the server's errors mean, by SQLSTATE.
//!
//! Codes are those of appendix A of the PostgreSQL manual ("PostgreSQL Error Codes").

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorResponseBody;

use crate::fault::{Fault, FaultKind};

/// An error that the server reported, without any text that can hold data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("PostgreSQL reported {code}{}", self.text())]
pub(super) struct ServerError {
    /// SQLSTATE, five characters.
    pub(super) code: String,
    /// The server's message, when its class quotes only names.
    message: Option<String>,
    /// Position in the statement, in characters from 1.
    position: Option<u32>,
}

/// Whose statement failed and how far it came: it decides which messages cannot hold data.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage<'a> {
    /// A login, or a statement of the agent's own: there is nothing of a task in it.
    Own,
    /// This statement of a task was parsed. No row was read, but its literals were.
    Describe(&'a str),
    /// A statement of a task runs.
    Run,
}

impl ServerError {
    pub(super) fn read(body: &ErrorResponseBody, stage: Stage<'_>) -> Self {
        let mut error = Self { code: "XX000".into(), message: None, position: None };
        let mut inside_function = false;
        let mut fields = body.fields();
        // A field that cannot be read leaves the ones before it.
        while let Ok(Some(field)) = fields.next() {
            let value = || String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'C' => error.code = value(),
                b'M' => error.message = Some(value()),
                b'P' => error.position = value().parse().ok(),
                b'W' => inside_function = true,
                _ => {}
            }
        }
        // A function can raise any code with any text, `RAISE EXCEPTION '%', row` for example.
        // The server says where it was by a context, which errors of other statements rarely have.
        if inside_function || !error.quotes_only_names(stage) {
            error.message = None;
        }
        if !matches!(stage, Stage::Describe(_)) {
            // It would count in a statement that nobody but the agent has seen.
            error.position = None;
        }
        error
    }

    /// True when the message names objects, users and settings, never values of rows or literals
    /// of the statement. (A syntax error quotes the token where it happened.)
    fn quotes_only_names(&self, stage: Stage<'_>) -> bool {
        let class = self.code.get(..2).unwrap_or_default();
        match stage {
            Stage::Own => matches!(
                class,
                "08" | "25" | "28" | "3D" | "3F" | "40" | "42" | "53" | "54" | "55" | "57" | "58"
            ),
            Stage::Describe(statement) => match self.code.as_str() {
                // A literal can become a name: `'text'::regclass`.
                "42P01" | "42703" | "42883" | "42704" | "42702" | "42803" | "3F000" => {
                    !self.is_at_literal(statement)
                }
                _ => self.is_fixed_text(),
            },
            Stage::Run => self.is_fixed_text(),
        }
    }

    /// True for messages that name objects which exist, or nothing. (While a statement runs, a
    /// value can become a name that does not exist, or a file's: `number::regclass`.)
    fn is_fixed_text(&self) -> bool {
        match self.code.get(..2).unwrap_or_default() {
            "25" | "40" | "53" | "57" => true,
            "42" => {
                let message = self.message.as_deref().unwrap_or_default();
                self.code == "42501" && message.starts_with("permission denied for ")
            }
            _ => false,
        }
    }

    /// True when the error happened at a literal of the statement, or nobody knows where.
    fn is_at_literal(&self, statement: &str) -> bool {
        let Some(before) = self.position.and_then(|position| position.checked_sub(1)) else { return true };
        let at: String = statement.chars().skip(before as usize).take(64).collect();
        // E'...', U&'...' and `date '...'` begin with a word.
        let word = at.trim_start_matches(|c: char| c.is_alphanumeric() || matches!(c, '_' | '&' | '.'));
        at.starts_with(['\'', '$']) || word.trim_start().starts_with('\'')
    }

    fn text(&self) -> String {
        let mut text = match &self.message {
            Some(message) => format!(": {message}"),
            None => format!(" ({})", class_name(&self.code)),
        };
        if let Some(position) = self.position {
            text.push_str(&format!(" at character {position} of the statement"));
        }
        text
    }

    fn kind(&self) -> FaultKind {
        let class = self.code.get(..2).unwrap_or_default();
        match (class, self.code.as_str()) {
            ("53", "53100") => FaultKind::Transient,
            ("53", _) => FaultKind::Throttled,
            ("08" | "40" | "57" | "58", _) | ("55", "55P03" | "55006") => FaultKind::Transient,
            // idle_in_transaction_session_timeout and transaction_timeout
            ("25", "25P03" | "25P04") => FaultKind::Transient,
            ("28", _) => FaultKind::Credentials,
            (_, "42501") => FaultKind::Permission,
            ("XX", _) => FaultKind::Transient,
            _ => FaultKind::Request,
        }
    }

    fn remedy(&self) -> Option<&'static str> {
        Some(match self.code.as_str() {
            "28P01" | "28000" => {
                "Check username, password and the server's pg_hba.conf for this host and database."
            }
            "3D000" => "Check `database` of the connection.",
            "42501" => "Grant the connection's user SELECT on what the query reads.",
            "42P01" => "Check the table's name and schema, and that the connection's user may see it.",
            "42703" => "Check the column's name.",
            "42601" => "Correct the SQL of the task.",
            "25006" => "The agent runs queries in a read-only transaction; use one that only reads.",
            "57014" => {
                "The statement was cancelled, by `statement_timeout` or by a person; raise the limit or use more `slices`."
            }
            "53300" => {
                "The server has no free connection; lower `workers` or `slices`, or raise max_connections."
            }
            "40001" => {
                "A standby cancelled the query because of a conflict with recovery; raise max_standby_streaming_delay."
            }
            _ if self.code.starts_with("22") => {
                "An expression of the query fails for some row; run the query by hand to find it."
            }
            _ => return None,
        })
    }

    /// The fault of doing `action`.
    pub(super) fn into_fault(self, action: impl Into<std::borrow::Cow<'static, str>>) -> Fault {
        let fault = Fault::new(self.kind(), action);
        let fault = match self.remedy() {
            Some(remedy) => fault.remedy(remedy),
            None => fault,
        };
        fault.because(self)
    }
}

/// An error that another client got while a statement of a task ran, in the same words. There is no
/// `message` when a function may have raised it.
pub(crate) fn reported(code: &str, message: Option<&str>) -> String {
    let mut error =
        ServerError { code: code.to_owned(), message: message.map(str::to_owned), position: None };
    if !error.quotes_only_names(Stage::Run) {
        error.message = None;
    }
    error.to_string()
}

fn class_name(code: &str) -> &'static str {
    match code.get(..2).unwrap_or_default() {
        "0A" => "feature not supported",
        "21" => "cardinality violation",
        "22" => "data exception",
        "25" => "invalid transaction state",
        "3D" | "3F" => "a database or schema does not exist",
        "42" if code == "42601" => "syntax error",
        "42" => "syntax error or access rule violation",
        "54" => "program limit exceeded",
        "55" => "object not in prerequisite state",
        "58" => "system error",
        "P0" => "raised by a function",
        "XX" => "internal error",
        _ => "see the PostgreSQL manual, appendix A",
    }
}

/// The fault of an I/O error on the connection.
pub(super) fn io_fault(action: impl Into<std::borrow::Cow<'static, str>>, error: std::io::Error) -> Fault {
    Fault::new(FaultKind::Transient, action)
        .because(error)
        .remedy("Check that the server runs and that the network between it and the agent is up.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str, message: &str, position: Option<u32>, stage: Stage<'_>) -> ServerError {
        let mut error = ServerError { code: code.into(), message: Some(message.to_owned()), position };
        if !error.quotes_only_names(stage) {
            error.message = None;
        }
        error
    }

    #[test]
    fn the_kind_follows_from_the_sqlstate() {
        for (code, kind) in [
            ("08006", FaultKind::Transient),
            ("57P01", FaultKind::Transient),
            ("40001", FaultKind::Transient),
            ("53300", FaultKind::Throttled),
            ("28P01", FaultKind::Credentials),
            ("42501", FaultKind::Permission),
            ("42P01", FaultKind::Request),
            ("42601", FaultKind::Request),
            ("3D000", FaultKind::Request),
            ("25006", FaultKind::Request),
            ("22012", FaultKind::Request),
        ] {
            assert_eq!(error(code, "", None, Stage::Run).kind(), kind, "{code}");
        }
    }

    #[test]
    fn texts_that_can_quote_values_or_literals_are_dropped() {
        let secret = "invalid input syntax for type integer: \"4111 1111\"";
        for code in ["22P02", "23505", "42601", "42P01", "42883", "3F000", "58P01", "P0001", "XX000"] {
            for stage in [Stage::Run, Stage::Describe("SELECT '4111 1111'::integer")] {
                let chain = error(code, secret, Some(8), stage).into_fault("read rows").chain();
                assert!(!chain.contains("4111"), "{chain}");
                assert!(chain.contains(code), "{chain}");
            }
        }
    }

    #[test]
    fn a_name_is_quoted_unless_a_literal_has_become_it() {
        let quoted = |statement: &str, position| {
            let message = "relation \"orders\" does not exist";
            let error = error("42P01", message, Some(position), Stage::Describe(statement));
            error.into_fault("describe the query").chain().contains("orders")
        };
        assert!(quoted("SELECT * FROM orders", 15));
        assert!(quoted("SELECT 'ä', * FROM orders WHERE a = 'x'", 20));
        assert!(quoted("SELECT * FROM \"orders\"", 15));
        assert!(!quoted("SELECT 'orders'::regclass", 8));
        assert!(!quoted("SELECT E'orders'::regclass", 8));
        assert!(!quoted("SELECT U&'orders'::regclass", 8));
        assert!(!quoted("SELECT $$orders$$::regclass", 8));
        assert!(!quoted("SELECT regclass 'orders'", 8));
        assert!(!quoted("SELECT pg_catalog.regclass'orders'", 8));
        assert!(!quoted("SELECT * FROM orders", 0));
    }
}
