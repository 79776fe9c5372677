//! What psql says about how it went.
//!
//! An error of the server is `ERROR:  22P02: invalid input ...`, whose first word is in the server's language,
//! with lines that show the statement around it. Both can quote values, so of all that only the SQLSTATE is
//! repeated, and the text where its class quotes nothing but names.

use super::super::process::Exit;
use crate::fault::{Fault, FaultKind};
use crate::source::postgres::reported;

/// What the client itself says when a connection is lost after the server has said something else.
const LOST: [&str; 3] = [
    "server closed the connection unexpectedly",
    "SSL connection has been closed unexpectedly",
    "connection to server was lost",
];

/// What went wrong.
pub(super) fn read(exit: &Exit) -> Result<(), Fault> {
    let error = error(&exit.said);
    let kind = match (exit.code(), &error) {
        (_, Some(error)) => kind_of(error.state),
        (Some(2), None) if is_login(&exit.said) => FaultKind::Credentials,
        // The connection is gone or was never there.
        (Some(2), None) | (None, None) => FaultKind::Transient,
        (Some(_), None) => FaultKind::Request,
    };
    let reason = match error {
        // A function that raises an error of its own gives it any state and any text, and psql then says
        // where it was.
        Some(error) => {
            let in_function = exit.said.lines().any(|line| line.starts_with("CONTEXT:  "));
            reported(error.state, (!in_function).then_some(error.text))
        }
        None => exit.describe_with(&of_client(&exit.said)),
    };
    Err(Fault::new(kind, "export with psql").because(reason))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Error<'a> {
    state: &'a str,
    text: &'a str,
}

/// The first error of the server; notices and warnings are none.
fn error(said: &str) -> Option<Error<'_>> {
    said.lines().filter_map(of_server).find(|error| !matches!(&error.state[..2], "00" | "01" | "02"))
}

/// `ERROR:  42P01: relation "x" does not exist`. In other languages the word is another one, the rest is not.
fn of_server(line: &str) -> Option<Error<'_>> {
    let (word, rest) = line.split_once(":  ")?;
    let (state, text) = rest.split_once(": ")?;
    let is_word = !word.is_empty() && word.chars().all(char::is_alphabetic);
    let is_state =
        state.len() == 5 && state.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    (is_word && is_state).then_some(Error { state, text })
}

/// What the client says before the server says anything, and that it lost its connection.
fn of_client(said: &str) -> String {
    let mut lines: Vec<&str> = said.lines().take_while(|line| of_server(line).is_none()).collect();
    let rest = said.lines().skip(lines.len());
    lines.extend(rest.filter_map(|line| LOST.into_iter().find(|lost| line.contains(lost))));
    lines.join("\n")
}

fn is_login(said: &str) -> bool {
    ["authentication failed", "no password supplied", "no pg_hba.conf entry"]
        .iter()
        .any(|text| said.contains(text))
}

fn kind_of(state: &str) -> FaultKind {
    match (&state[..2], state) {
        ("53", "53100") => FaultKind::Transient,
        ("53", _) => FaultKind::Throttled,
        ("08" | "40" | "57" | "58" | "XX", _) | ("55", "55P03" | "55006") => FaultKind::Transient,
        ("28", _) => FaultKind::Credentials,
        (_, "42501") => FaultKind::Permission,
        _ => FaultKind::Request,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn fault(code: i32, said: &str) -> Fault {
        read(&Exit::of(ExitStatus::from_raw(code << 8), said)).expect_err("it says what went wrong")
    }

    #[test]
    fn the_state_is_found_in_any_language() {
        for (said, state, kind) in [
            (
                "ERROR:  42P01: relation \"x\" does not exist\nLINE 1: COPY (SELECT\nLOCATION:  parserOpenTable",
                "42P01",
                FaultKind::Request,
            ),
            ("FEHLER:  40001: konnte Zugriff nicht serialisieren", "40001", FaultKind::Transient),
            ("ОШИБКА:  57014: выполнение оператора отменено", "57014", FaultKind::Transient),
            ("错误:  42501: 对表 t 权限不够", "42501", FaultKind::Permission),
            (
                "HINWEIS:  00000: etwas\nWARNING:  01000: something\nFATAL:  53300: sorry, too many clients already",
                "53300",
                FaultKind::Throttled,
            ),
        ] {
            assert_eq!(error(said).map(|error| error.state), Some(state), "{said}");
            assert_eq!(fault(1, said).kind(), kind, "{said}");
        }
        let login = "psql: error: connection to server failed: FATAL:  password authentication failed";
        assert_eq!(error(login), None);
        assert_eq!(fault(2, login).kind(), FaultKind::Credentials);
    }

    #[test]
    fn no_value_and_no_piece_of_the_statement_is_repeated() {
        for (said, expected) in [
            (
                "ERROR:  22P02: invalid input syntax for type integer: \"Ann\nsecret 4111\"\n\
                 LINE 1: ...on 4111-1111' AND\nDETAIL:  4111",
                "PostgreSQL reported 22P02 (data exception)",
            ),
            (
                "ERROR:  42501: permission denied for table t\nLOCATION:  aclcheck_error",
                "PostgreSQL reported 42501: permission denied for table t",
            ),
            (
                "ERROR:  40001: 4111\nCONTEXT:  PL/pgSQL function f() line 1 at RAISE",
                "PostgreSQL reported 40001 (see the PostgreSQL manual, appendix A)",
            ),
            (
                "psql: warning: x\nNOTICE:  00000: 4111\nserver closed the connection unexpectedly",
                "it ended with exit status: 1 and said: psql: warning: x | server closed the connection unexpectedly",
            ),
        ] {
            assert_eq!(fault(1, said).chain(), format!("export with psql: {expected}"));
        }
    }
}
