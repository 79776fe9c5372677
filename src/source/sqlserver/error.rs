//! What the server's errors mean, by number.
//!
//! Numbers and severities are those of `sys.messages` and of the documentation's "Database Engine
//! events and errors" and "Troubleshoot transient connection errors".

use std::error::Error;

use crate::fault::{Fault, FaultKind};

use super::protocol::Malformed;
use super::protocol::token::ServerMessage;

/// An error that the server reported, without any text that can hold data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("SQL Server reported error {number}, state {state}, class {class}{}{}", self.place(), self.text())]
pub(super) struct ServerError {
    pub(super) number: i32,
    state: u8,
    class: u8,
    line: i32,
    /// The server's message, when its number quotes only names.
    message: Option<String>,
}

/// What to do about bytes that do not follow the protocol.
pub(super) const BROKEN_PROTOCOL: &str =
    "Check that `host` and `port` are those of SQL Server, and what stands between it and the agent.";

/// Errors from here on are fatal for the connection.
const FATAL_CLASS: u8 = 20;
/// The server lacks memory, disk or locks.
const RESOURCES_CLASS: u8 = 17;
/// A right is missing.
const PERMISSION_CLASS: u8 = 14;

impl ServerError {
    pub(super) fn new(message: ServerMessage) -> Self {
        let ServerMessage { number, state, class, text, line } = message;
        let message = quotes_only_names(number).then_some(text);
        Self { number, state, class, line, message }
    }

    fn place(&self) -> String {
        if self.line > 0 { format!(", line {}", self.line) } else { String::new() }
    }

    fn text(&self) -> String {
        told(self.number, self.message.as_deref())
    }

    pub(super) fn kind(&self) -> FaultKind {
        match self.number {
            // The server takes administrators only: it runs scripts of an update, was started so, or is
            // in single-user mode.
            18_401 | 18_451 | 18_461 => FaultKind::Transient,
            // The login: 18456 is a wrong password, others a locked, disabled or expired one.
            18_402..=18_499 | 33_147 | 33_155 | 40_532 => FaultKind::Credentials,
            229 | 230 | 262 | 297 | 300 | 916 | 15_247 | 40_615 => FaultKind::Permission,
            // Memory, locks and workers are short, or Azure limits the database.
            701 | 802 | 1204 | 8645 | 8651 | 10_928 | 10_929 | 40_501 | 49_918..=49_920 => {
                FaultKind::Throttled
            }
            // Deadlock, lock timeout, a snapshot that ran out or into a change of a table.
            1205 | 1222 | 3957..=3961 | 3966 | 3967 => FaultKind::Transient,
            // The database moves, starts, stops or is restored; the session was ended.
            596
            | 615
            | 921
            | 922
            | 924
            | 926
            | 927
            | 945
            | 952
            | 954
            | 976
            | 978
            | 979
            | 981
            | 983
            | 1105
            | 4221
            | 6005
            | 9001
            | 9002
            | 17_142..=17_147
            | 40_143
            | 40_197
            | 40_540
            | 40_613 => FaultKind::Transient,
            _ if self.class >= FATAL_CLASS => FaultKind::Transient,
            _ if self.class == RESOURCES_CLASS => FaultKind::Throttled,
            _ if self.class == PERMISSION_CLASS => FaultKind::Permission,
            _ => FaultKind::Request,
        }
    }

    fn remedy(&self) -> Option<&'static str> {
        Some(match self.number {
            18_456 => "Check username and password, and that the server allows SQL logins.",
            18_452 => {
                "The server allows integrated authentication only: allow SQL logins there, or set `trusted_connection`."
            }
            18_401 | 18_451 | 18_461 => {
                "The server takes administrators only, as while it is updated; the task is tried again."
            }
            18_486..=18_488 => "Unlock the login or change its password on the server.",
            911 | 4060 => "Check `database` of the connection, and that the login has a user in it.",
            229 | 230 => "Grant the connection's user SELECT on what the query reads.",
            916 => "Make a user for the login in this database.",
            40_615 => "Allow the agent's address in the firewall of the Azure SQL server.",
            208 => "Check the table's name and schema, and that the connection's user may see it.",
            207 => "Check the column's name.",
            102 | 156 | 319 | 1033 => "Correct the SQL of the task.",
            1205 => "Another transaction was in the way; turn on snapshot isolation to read without locks.",
            1222 => "A lock was held too long; turn on snapshot isolation to read without locks.",
            3952 => {
                "Run ALTER DATABASE ... SET ALLOW_SNAPSHOT_ISOLATION ON, or set consistency = \"serial\" on the connection."
            }
            // Memory-optimized tables, linked servers, distributed transactions.
            3963 | 7420 | 41_332 => {
                "What the task reads cannot be read under snapshot isolation; set consistency = \"serial\" on the connection."
            }
            3958 | 3959 | 3966 | 3967 => {
                "The version store of tempdb is full: read at a quieter time, in smaller queries, or set consistency = \"serial\"."
            }
            245 | 241 | 242 | 8114 | 8115 | 8134 | 220 | 232 => {
                "An expression of the query fails for some row; run the query by hand to find it, or use TRY_CAST."
            }
            8152 | 2628 => "A text of the query is longer than the type it is put into.",
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

/// True when the message names objects, logins and settings, never values of rows or literals. No
/// literal of a query becomes a name in T-SQL, and no function of a query can raise these numbers.
fn quotes_only_names(number: i32) -> bool {
    matches!(
        number,
        207 | 208
            | 229
            | 230
            | 262
            | 297
            | 300
            | 916
            | 1033
            | 1204
            | 1205
            | 1222
            | 3952
            | 3958..=3961
            | 4060
            | 18_401..=18_499
            | 40_197
            | 40_501
            | 40_532
            | 40_613
            | 40_615
    )
}

/// What follows the number of an error: the server's words where they quote nothing but names, else ours.
pub(crate) fn told(number: i32, text: Option<&str>) -> String {
    match (text.filter(|_| quotes_only_names(number)), meaning(number)) {
        (Some(text), _) => format!(": {text}"),
        (None, Some(meaning)) => format!(" ({meaning})"),
        (None, None) => " (see sys.messages for its meaning)".to_owned(),
    }
}

/// What a number means, where the server's own words could quote data.
fn meaning(number: i32) -> Option<&'static str> {
    Some(match number {
        102 | 156 | 319 => "syntax error",
        209 => "an ambiguous column name",
        220 | 232 | 8115 => "arithmetic overflow",
        241 | 242 => "a text is no date or time",
        245 | 8114 => "a conversion failed",
        2628 | 8152 => "a text would be cut",
        3963 => "snapshot isolation knows no distributed transactions",
        7420 => "a linked server cannot be read under snapshot isolation",
        41_332 => "a memory-optimized table cannot be read under snapshot isolation",
        8134 => "division by zero",
        50_000.. => "raised by the database's own code",
        _ => return None,
    })
}

/// The fault of an I/O error on the connection.
pub(super) fn io_fault(action: impl Into<std::borrow::Cow<'static, str>>, error: std::io::Error) -> Fault {
    Fault::new(FaultKind::Transient, action)
        .because(error)
        .remedy("Check that the server runs and that the network between it and the agent is up.")
}

/// The fault of bytes that do not follow the protocol.
pub(super) fn protocol_fault(
    action: impl Into<std::borrow::Cow<'static, str>>,
    malformed: Malformed,
) -> Fault {
    Fault::new(FaultKind::Transient, action).because(malformed).remedy(BROKEN_PROTOCOL)
}

/// True when the server waited for a lock as long as it was told to, or ended a deadlock with it.
pub(super) fn was_locked_out(fault: &Fault) -> bool {
    std::iter::successors(fault.source(), |cause| (**cause).source())
        .filter_map(|cause| cause.downcast_ref::<ServerError>())
        .any(|error| matches!(error.number, 1205 | 1222))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(number: i32, class: u8, text: &str) -> ServerError {
        ServerError::new(ServerMessage { number, state: 1, class, text: text.into(), line: 3 })
    }

    #[test]
    fn a_database_that_is_not_there_comes_with_a_remedy() {
        for number in [911, 4060] {
            let fault = error(number, 16, "Database 'x' does not exist.").into_fault("log in");
            assert!(
                fault.hint().is_some_and(|hint| hint.contains("`database` of the connection")),
                "{fault:?}"
            );
        }
    }

    #[test]
    fn the_kind_follows_from_the_number_and_then_from_the_class() {
        for (number, class, kind) in [
            (18_456, 14, FaultKind::Credentials),
            (18_401, 14, FaultKind::Transient),
            (18_451, 14, FaultKind::Transient),
            (18_461, 14, FaultKind::Transient),
            (229, 14, FaultKind::Permission),
            (4060, 11, FaultKind::Request),
            (208, 16, FaultKind::Request),
            (102, 15, FaultKind::Request),
            (245, 16, FaultKind::Request),
            (1205, 13, FaultKind::Transient),
            (1222, 16, FaultKind::Transient),
            (3960, 16, FaultKind::Transient),
            (40_613, 17, FaultKind::Transient),
            (10_928, 16, FaultKind::Throttled),
            (701, 17, FaultKind::Throttled),
            (99_999, 17, FaultKind::Throttled),
            (99_999, 14, FaultKind::Permission),
            (99_999, 21, FaultKind::Transient),
            (99_999, 16, FaultKind::Request),
        ] {
            assert_eq!(error(number, class, "").kind(), kind, "{number}");
        }
    }

    #[test]
    fn what_snapshots_cannot_read_is_named_with_the_setting_that_reads_it() {
        for (number, word) in [(41_332, "memory-optimized"), (7420, "linked server"), (3963, "distributed")] {
            let fault = error(number, 16, "").into_fault("start the extraction");
            assert_eq!(fault.kind(), FaultKind::Request);
            assert!(fault.chain().contains(word), "{}", fault.chain());
            assert!(fault.hint().is_some_and(|hint| hint.contains("consistency = \"serial\"")), "{fault:?}");
        }
    }

    #[test]
    fn a_lock_that_was_not_had_is_told_from_other_faults() {
        let fault = |number| error(number, 16, "").into_fault("lock").while_doing("begin");
        assert!(was_locked_out(&fault(1222)) && was_locked_out(&fault(1205)));
        assert!(!was_locked_out(&fault(208)) && !was_locked_out(&Fault::new(FaultKind::Transient, "lock")));
    }

    #[test]
    fn texts_that_can_quote_values_are_dropped_and_the_rest_is_told() {
        let secret = "Conversion failed when converting the varchar value '4111 1111' to data type int.";
        for number in [245, 102, 8114, 50_000, 99_999] {
            let chain = error(number, 16, secret).into_fault("read rows").chain();
            assert!(!chain.contains("4111"), "{chain}");
            assert!(chain.contains(&format!("error {number}, state 1, class 16, line 3")), "{chain}");
        }
        let chain = error(208, 16, "Invalid object name 'orders'.").into_fault("describe the query").chain();
        assert!(chain.contains("orders"), "{chain}");
    }
}
