//! What the server's errors mean, by number.
//!
//! Numbers are those of the "Server Error Message Reference" of MySQL and of "MariaDB Error Codes".

use std::borrow::Cow;

use super::packet::Reader;
use crate::fault::{Fault, FaultKind};

/// An error that the server reported, without any text that can hold data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server reported error {number} ({state}){}", self.text())]
pub(super) struct ServerError {
    pub(super) number: u16,
    /// SQLSTATE, five characters.
    state: String,
    /// The server's message, when it quotes only names.
    message: Option<String>,
}

/// Whose statement failed and how far it came: it decides which messages cannot hold data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A login, or a statement of the agent's own: there is nothing of a task in it.
    Own,
    /// A statement of a task was prepared. No row was read.
    Describe,
    /// A statement of a task runs. A function can raise any number with any text then.
    Run,
}

impl ServerError {
    /// Reads an error packet. Total: of a broken one, what can be read.
    pub(super) fn read(packet: &[u8], stage: Stage) -> Self {
        let mut reader = Reader(packet.get(1..).unwrap_or_default());
        let number = reader.u16().unwrap_or_default();
        let state = match reader.0.strip_prefix(b"#") {
            Some(rest) => {
                reader.0 = rest;
                String::from_utf8_lossy(reader.bytes(5).unwrap_or_default()).into_owned()
            }
            // Errors before the login have none.
            None => "HY000".into(),
        };
        let message = String::from_utf8_lossy(reader.0).into_owned();
        let mut error = Self { number, state, message: None };
        error.message = error.quotes_only_names(stage).then_some(message);
        error
    }

    /// True when the message names objects, users and settings, never values of rows or literals
    /// of the statement.
    fn quotes_only_names(&self, stage: Stage) -> bool {
        match stage {
            Stage::Own => true,
            Stage::Describe => matches!(
                self.number,
                1044 | 1046
                    | 1049
                    | 1052
                    | 1054
                    | 1060
                    | 1066
                    | 1109
                    | 1142
                    | 1143
                    | 1146
                    | 1305
                    | 1356
                    | 1370
            ),
            Stage::Run => false,
        }
    }

    /// The number of the server's error behind a fault.
    pub(super) fn number_of(fault: &Fault) -> Option<u16> {
        let mut cause = std::error::Error::source(fault);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<Self>() {
                return Some(error.number);
            }
            cause = error.source();
        }
        None
    }

    /// True when the server closes the connection after this error.
    pub(super) fn ends_connection(&self) -> bool {
        matches!(
            self.number,
            1040 | 1045 | 1053 | 1129 | 1130 | 1152..=1161 | 1184 | 1203 | 1927 | 3032 | 3169 | 4031
        )
    }

    fn text(&self) -> String {
        match (&self.message, self.meaning()) {
            (Some(message), _) => format!(": {message}"),
            (None, Some(meaning)) => format!(": {meaning}"),
            (None, None) => String::new(),
        }
    }

    /// In words of our own, where the server's could hold data.
    fn meaning(&self) -> Option<&'static str> {
        Some(match self.number {
            1064 => "syntax error",
            1142 | 1143 | 1370 => "a right is missing",
            1146 => "a table does not exist",
            1054 => "a column does not exist",
            1205 => "a lock was waited for too long",
            1213 => "deadlock",
            1021 | 3 | 1114 => "no space left for temporary data",
            1037 | 1038 | 1041 => "out of memory",
            1047 => "the server takes no queries now",
            1135 => "the server cannot start a thread",
            1053 => "the server is shutting down",
            1317 => "the query was ended by KILL QUERY",
            1927 | 3169 => "the connection was ended by KILL",
            3032 => "the server is in offline mode",
            1969 | 3024 => "the query took longer than its limit",
            1412 => "the table was changed after the snapshot",
            1792 => "it writes, in a read-only transaction",
            1690 => "a number is out of range",
            1242 => "a subquery has more than one row",
            1305 => "a function does not exist",
            1644 => "raised by a function",
            _ => return None,
        })
    }

    fn kind(&self) -> FaultKind {
        match self.number {
            1040 | 1203 | 1226 => FaultKind::Throttled,
            1045 | 1130 | 1251 | 1275 | 1524 | 1698 | 1820 | 1862 | 3118 | 3159 | 4151 => {
                FaultKind::Credentials
            }
            1044 | 1129 | 1142 | 1143 | 1227 | 1370 | 1410 => FaultKind::Permission,
            // A function can raise it with any SQLSTATE.
            1644 => FaultKind::Request,
            // Disk, memory, threads, network, locks, KILL, time limits, shutdown, offline mode, changed tables.
            3
            | 1021
            | 1028
            | 1037
            | 1038
            | 1041
            | 1053
            | 1094
            | 1114
            | 1135
            | 1152..=1161
            | 1184
            | 1205
            | 1213
            | 1317
            | 1412
            | 1615
            | 1637
            | 1927
            | 1969
            | 3024
            | 3032
            | 3168
            | 3169
            | 4031 => FaultKind::Transient,
            // The class of the connection: 1047, for example, of a node of a Galera cluster that is not ready.
            _ if self.state.starts_with("08") => FaultKind::Transient,
            _ => FaultKind::Request,
        }
    }

    fn remedy(&self) -> Option<&'static str> {
        Some(match self.number {
            1040 | 1203 | 1226 => {
                "The server has no free connection for this user; lower `workers` or `slices`, or raise max_connections."
            }
            1044 => "Check `database` of the connection, and grant its user rights there.",
            1045 | 1698 => "Check `username` and `password`, and for which hosts the server knows this user.",
            1129 => "The server blocks this host after many broken connections; run FLUSH HOSTS there.",
            1130 => "Create the user for this host on the server.",
            1820 | 1862 => "Set a new password for this user on the server.",
            3118 | 4151 => "Unlock the account on the server.",
            3159 => "The user must use TLS; set `ssl_mode = \"required\"` or stricter.",
            1047 => "The node is not ready, perhaps not part of its cluster; look at wsrep_ready there.",
            1135 => "The server is out of memory or of threads; look at its limits and its log.",
            3032 => "Somebody works on the server; offline_mode = OFF lets users in again.",
            1046 => "Set `database` of the connection, or write it before the table's name.",
            1049 => "Check `database` of the connection.",
            1054 => "Check the column's name.",
            1060 => "Give each column a name of its own with AS.",
            1064 => "Correct the SQL of the task.",
            1142 | 1143 | 1370 => {
                "Grant the connection's user SELECT on what the query reads, and EXECUTE on its functions."
            }
            1146 => "Check the table's name and database, and that the connection's user may see it.",
            1205 => "Something holds a lock on the table; look at SHOW PROCESSLIST.",
            1317 | 1927 | 3169 => "A person or a watchdog ended it; retry when nothing forbids it.",
            1969 | 3024 => {
                "Raise `statement_timeout` of the connection or the server's limit, or use more `slices`."
            }
            1412 => "Nothing to do: the next attempt reads the changed table.",
            1690 | 1242 | 1365 => {
                "An expression of the query fails for some row; run the query by hand to find it."
            }
            1792 => "The agent runs queries in a read-only transaction; use one that only reads.",
            _ => return None,
        })
    }

    /// The fault of doing `action`.
    pub(super) fn into_fault(self, action: impl Into<Cow<'static, str>>) -> Fault {
        let fault = Fault::new(self.kind(), action);
        let fault = match self.remedy() {
            Some(remedy) => fault.remedy(remedy),
            None => fault,
        };
        fault.because(self)
    }
}

/// An error that another client got while a statement of a task ran, in the same words.
pub(crate) fn reported(number: u16, state: &str) -> String {
    ServerError { number, state: state.to_owned(), message: None }.to_string()
}

/// The fault of an I/O error on the connection.
pub(super) fn io_fault(action: impl Into<Cow<'static, str>>, error: std::io::Error) -> Fault {
    Fault::new(FaultKind::Transient, action)
        .because(error)
        .remedy("Check that the server runs and that the network between it and the agent is up.")
}

/// The fault of a packet that the protocol does not know.
pub(super) fn malformed(action: impl Into<Cow<'static, str>>) -> Fault {
    Fault::new(FaultKind::Transient, action).because(super::packet::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(number: u16, message: &str) -> Vec<u8> {
        let mut packet = vec![0xff];
        packet.extend_from_slice(&number.to_le_bytes());
        packet.extend_from_slice(b"#HY000");
        packet.extend_from_slice(message.as_bytes());
        packet
    }

    #[test]
    fn the_kind_follows_from_the_number() {
        for (number, kind) in [
            (1040, FaultKind::Throttled),
            (1045, FaultKind::Credentials),
            (1142, FaultKind::Permission),
            (1146, FaultKind::Request),
            (1064, FaultKind::Request),
            (1205, FaultKind::Transient),
            (1317, FaultKind::Transient),
            (1927, FaultKind::Transient),
            (3024, FaultKind::Transient),
            (1792, FaultKind::Request),
            (65_000, FaultKind::Request),
        ] {
            assert_eq!(ServerError::read(&packet(number, ""), Stage::Run).kind(), kind, "{number}");
        }
    }

    #[test]
    fn what_passes_by_itself_is_worth_another_try() {
        let with_state = |number: u16, state: &str| {
            let mut packet = packet(number, "");
            packet[4..9].copy_from_slice(state.as_bytes());
            ServerError::read(&packet, Stage::Run)
        };
        // A node that is not ready, offline mode, no thread; and whatever else is about the connection.
        for (number, state, kind) in [
            (1047, "08S01", FaultKind::Transient),
            (3032, "HY000", FaultKind::Transient),
            (1135, "HY000", FaultKind::Transient),
            (1218, "08S01", FaultKind::Transient),
            (1040, "08004", FaultKind::Throttled),
            (1644, "08000", FaultKind::Request),
        ] {
            assert_eq!(with_state(number, state).kind(), kind, "{number} {state}");
        }
        for number in [1047, 1135, 3032] {
            let fault = with_state(number, "08S01").into_fault("read rows");
            assert!(fault.hint().is_some() && fault.chain().contains("server"), "{}", fault.chain());
        }
    }

    #[test]
    fn texts_that_can_quote_values_or_literals_are_dropped() {
        let secret = "Truncated incorrect value: '4111 1111'";
        for number in [1064, 1146, 1292, 1644, 1690, 3141] {
            let chain =
                ServerError::read(&packet(number, secret), Stage::Run).into_fault("read rows").chain();
            assert!(!chain.contains("4111") && chain.contains(&number.to_string()), "{chain}");
        }
        let chain = ServerError::read(&packet(1064, secret), Stage::Describe).into_fault("describe").chain();
        assert!(!chain.contains("4111"), "{chain}");
        let chain = ServerError::read(&packet(1146, "Table 'x.orders' doesn't exist"), Stage::Describe);
        assert!(chain.into_fault("describe").chain().contains("x.orders"));
    }

    #[test]
    fn an_error_before_the_login_has_no_state() {
        let error = ServerError::read(b"\xff\x6a\x04Host 'x' is not allowed", Stage::Own);
        assert_eq!((error.number, error.state.as_str()), (1130, "HY000"));
        assert_eq!(error.kind(), FaultKind::Credentials);
        for broken in [&b"\xff"[..], b"\xff\x01", b"\xff\x01\x02#1", b""] {
            let _any_answer = ServerError::read(broken, Stage::Own);
        }
    }
}
