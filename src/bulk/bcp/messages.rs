//! What bcp says about how it went.

use super::super::process::Exit;
use crate::fault::{Fault, FaultKind};

/// Severities from here on are errors.
const ERROR_LEVEL: u32 = 11;
/// Severities from here on are the server's own trouble.
const RESOURCES_LEVEL: u32 = 17;

/// The number of rows, or what went wrong.
pub(super) fn read(exit: &Exit) -> Result<Option<u64>, Fault> {
    let error = exit.said.lines().find_map(error);
    let rows = exit.said.lines().rev().find_map(rows);
    match (exit.is_success(), error, rows) {
        (true, None, Some(rows)) => Ok(Some(rows)),
        (true, None, None) => Err(Fault::new(FaultKind::Data, "count the rows of bcp")
            .because(format!("it does not say how many it copied: {}", exit.describe()))),
        (true, Some(error), _) => Err(fault(exit, Some(error))
            .remedy("The result may have broken off in the middle, so nothing of it is used.")),
        (false, error, _) => Err(fault(exit, error)),
    }
}

fn fault(exit: &Exit, error: Option<Error>) -> Fault {
    let kind = error.map_or(FaultKind::Transient, Error::kind);
    Fault::new(kind, "export with bcp").because(exit.describe())
}

/// `1000 rows copied.`
fn rows(line: &str) -> Option<u64> {
    let (number, rest) = line.trim().split_once(' ')?;
    rest.starts_with("rows copied").then(|| number.parse().ok())?
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Error {
    number: u32,
    level: u32,
    /// The class of an SQLSTATE that says that the connection is gone.
    is_connection: bool,
}

impl Error {
    fn kind(self) -> FaultKind {
        match self.number {
            _ if self.is_connection => FaultKind::Transient,
            18_401..=18_499 => FaultKind::Credentials,
            229 | 230 | 262 | 297 | 300 | 916 => FaultKind::Permission,
            1205 | 1222 | 3957..=3961 => FaultKind::Transient,
            // Of FreeTDS itself: 20002 is the end of a login that the server has explained before,
            // 20018 the end of a statement likewise; the others are about the network.
            20_018 => FaultKind::Request,
            20_000..=20_100 => FaultKind::Transient,
            _ if self.level >= RESOURCES_LEVEL => FaultKind::Transient,
            _ => FaultKind::Request,
        }
    }
}

/// `Msg 208, Level 16, State 1` of FreeTDS, or `SQLState = 42S02, NativeError = 208` of Microsoft.
/// FreeTDS gives its own errors levels of its own, of which those from 2 on are errors: `Msg 20017,
/// Level 9` is a connection that was lost.
fn error(line: &str) -> Option<Error> {
    let line = line.trim();
    if let Some(rest) = line.strip_prefix("Msg ") {
        let (number, rest) = rest.split_once(", Level ")?;
        let number = number.parse().ok()?;
        let level: u32 = rest.split(',').next()?.trim().parse().ok()?;
        let is_of_freetds = (20_000..=20_300).contains(&number);
        let is_error = if is_of_freetds { level > 1 } else { level >= ERROR_LEVEL };
        return is_error.then_some(Error { number, level, is_connection: false });
    }
    let rest = line.strip_prefix("SQLState = ")?;
    let (state, number) = rest.split_once(", NativeError = ")?;
    // 00000 and 01xxx are messages and warnings.
    if state.starts_with("00") || state.starts_with("01") {
        return None;
    }
    let is_connection = state.starts_with("08") || state.starts_with("HYT");
    Some(Error { number: number.trim().parse().unwrap_or_default(), level: ERROR_LEVEL, is_connection })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_from_messages() {
        for (line, expected) in [
            ("Msg 208, Level 16, State 1", Some(FaultKind::Request)),
            ("Msg 18456, Level 14, State 1", Some(FaultKind::Credentials)),
            ("Msg 229, Level 14, State 5", Some(FaultKind::Permission)),
            ("Msg 20017, Level 9", Some(FaultKind::Transient)),
            ("Msg 20018, Level 16", Some(FaultKind::Request)),
            ("Msg 1205, Level 13, State 51", Some(FaultKind::Transient)),
            ("Msg 0, Level 0, State 1", None),
            ("Msg 5701, Level 10, State 2", None),
            ("SQLState = 42S02, NativeError = 208", Some(FaultKind::Request)),
            ("SQLState = 08001, NativeError = 10061", Some(FaultKind::Transient)),
            ("SQLState = 28000, NativeError = 18456", Some(FaultKind::Credentials)),
            ("SQLState = 01000, NativeError = 5701", None),
            ("Starting copy...", None),
        ] {
            assert_eq!(error(line).map(Error::kind), expected, "{line}");
        }
    }

    #[test]
    fn the_number_of_rows_is_that_of_the_last_line_that_has_one() {
        assert_eq!(rows("1000 rows copied."), Some(1000));
        assert_eq!(rows("12 rows copied successfully"), Some(12));
        assert_eq!(rows("1000 rows successfully bulk-copied to host-file. Total received: 1000"), None);
        assert_eq!(rows("many rows copied."), None);
    }
}
