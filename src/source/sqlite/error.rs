//! From SQLite's result codes to faults.

use crate::fault::{Fault, FaultKind};

/// What the result codes of SQLite mean for the task; see <https://www.sqlite.org/rescode.html>.
fn kind_of(primary_code: u32) -> (FaultKind, &'static str, Option<&'static str>) {
    match primary_code {
        1 => (FaultKind::Request, "SQLite does not accept the statement", None),
        3 | 23 => (FaultKind::Permission, "access is denied", None),
        5 | 6 => (
            FaultKind::Transient,
            "the database is locked by another connection",
            Some(
                "Wait until the other program has committed; in WAL mode readers and writers do not block each other.",
            ),
        ),
        7 => (FaultKind::Transient, "SQLite has no memory left", None),
        8 => (
            FaultKind::Permission,
            "the file cannot be used read-only",
            Some(
                "A database in WAL mode needs its -wal and -shm files, or the right to create them in its directory.",
            ),
        ),
        9 => (FaultKind::Transient, "the statement was interrupted", None),
        10 => (FaultKind::Transient, "the disk reports an error", None),
        11 => (
            FaultKind::Request,
            "the database file is damaged",
            Some("Run PRAGMA integrity_check on it, and restore it from a backup."),
        ),
        13 => (FaultKind::Transient, "the disk for temporary files is full", None),
        14 => (
            FaultKind::Permission,
            "the file cannot be opened",
            Some("Check the rights of the agent on the file and its directory."),
        ),
        15 | 17 => (FaultKind::Transient, "another connection changed the database at the same time", None),
        18 => (FaultKind::Request, "a value or the statement is longer than SQLite's limit", None),
        24 | 26 => (
            FaultKind::Request,
            "the file is not a SQLite database",
            Some("Check the path of the connection; an encrypted database cannot be read."),
        ),
        _ => (FaultKind::Request, "SQLite reports an error", None),
    }
}

/// Beginnings of messages that name identifiers and numbers of SQLite's grammar only. Others, for
/// example those of its JSON functions, can quote literals and data, and are not repeated.
const SAFE_MESSAGES: [&str; 20] = [
    "no such table: ",
    "no such column: ",
    "no such function: ",
    "no such index: ",
    "no such collation sequence: ",
    "no such module: ",
    "no such window: ",
    "no tables specified",
    "ambiguous column name: ",
    "circular reference: ",
    "misuse of aggregate",
    "misuse of window function",
    "wrong number of arguments to function ",
    "integer overflow",
    "too many ",
    "SELECTs to the left and right of ",
    "all VALUES must have the same number of terms",
    "a GROUP BY clause is required before HAVING",
    "sub-select returns ",
    "recursive reference ",
];

/// SQLite's message, if it cannot hold a value.
fn safe_message(message: &str) -> Option<&str> {
    if SAFE_MESSAGES.iter().any(|beginning| message.starts_with(beginning)) {
        return Some(message);
    }
    // The query was tokenised before, so a word here is a name or a keyword, not part of a literal.
    let near = message.strip_prefix("near \"")?.strip_suffix("\": syntax error")?;
    let is_word = near.chars().all(|character| character.is_alphanumeric() || character == '_')
        && near.starts_with(|first: char| !first.is_ascii_digit());
    let is_symbol =
        !near.is_empty() && near.chars().all(|character| "()[],.;*+-/%<>=|&~!".contains(character));
    (is_word || is_symbol).then_some(message)
}

/// What to do about a message of the grammar, by its beginning.
const REMEDIES: [(&str, &str); 4] = [
    (
        "no such table: ",
        "Check the table's name, and that `path` of the connection is the file that has it; a table of another file \
         cannot be read.",
    ),
    ("no such column: ", "Check the column's name; a text stands in single quotes, a name in double ones."),
    (
        "no such function: ",
        "Check the function's name; functions that a program adds to SQLite are not in the agent.",
    ),
    ("near \"", "Correct the SQL of the task."),
];

/// A fault for an error of sqlx while doing `action`.
pub(super) fn fault(action: String, error: &sqlx::Error) -> Fault {
    let sqlx::Error::Database(database) = error else { return other_fault(action, error) };
    let code: Option<u32> = database.code().and_then(|code| code.parse().ok());
    let (kind, meaning, remedy) = kind_of(code.unwrap_or(0) & 0xff);
    let cause = match (safe_message(database.message()), code) {
        (Some(message), _) => message.to_owned(),
        (None, Some(code)) => format!("{meaning} (code {code})"),
        (None, None) => meaning.to_owned(),
    };
    let known =
        || REMEDIES.iter().find(|(beginning, _)| cause.starts_with(beginning)).map(|(_, remedy)| *remedy);
    let remedy = remedy.or_else(known);
    let fault = Fault::new(kind, action).because(cause);
    match remedy {
        Some(remedy) => fault.remedy(remedy),
        None => fault,
    }
}

fn other_fault(action: String, error: &sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Io(io) => Fault::new(FaultKind::Permission, action).because(io.to_string()),
        sqlx::Error::WorkerCrashed => {
            Fault::new(FaultKind::Bug, action).because("the thread of SQLite ended")
        }
        _ => Fault::new(FaultKind::Bug, action).because("the SQLite driver reports an error of another kind"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_with_identifiers_are_kept_and_those_with_data_are_not() {
        for message in ["no such table: orders", "near \"FROM\": syntax error", "near \")\": syntax error"] {
            assert_eq!(safe_message(message), Some(message));
        }
        for message in [
            "malformed JSON",
            "bad JSON path: 'secret'",
            "near \"'secret'\": syntax error",
            "near \"4711\": syntax error",
            "near \"\": syntax error",
            "unrecognized token: \"'secret\"",
            "fts5: syntax error near \"secret\"",
        ] {
            assert_eq!(safe_message(message), None, "{message}");
        }
    }
}
