//! What bcp says about how it went.

use std::ops::RangeInclusive;

use super::super::process::Exit;
use crate::fault::{Fault, FaultKind};
use crate::source::sqlserver::told;

/// Severities from here on are errors.
const ERROR_LEVEL: u32 = 11;
/// Numbers of errors that FreeTDS finds itself; their texts are fixed.
const OF_FREETDS: RangeInclusive<u32> = 20_000..=20_300;
/// Severities from here on are the server's own trouble.
const RESOURCES_LEVEL: u32 = 17;

/// The number of rows, or what went wrong.
pub(super) fn read(exit: &Exit) -> Result<Option<u64>, Fault> {
    let error = first_error(&exit.said);
    let rows = exit.said.lines().rev().find_map(rows);
    match (exit.is_success(), error, rows) {
        (true, None, Some(rows)) => Ok(Some(rows)),
        (true, None, None) => Err(Fault::new(FaultKind::Data, "count the rows of bcp")
            .because(format!("it does not say how many it copied: {}", exit.describe_with(of_client(exit))))),
        (true, Some(error), _) => Err(error
            .fault()
            .remedy("The result may have broken off in the middle, so nothing of it is used.")),
        (false, Some(error), _) => Err(error.fault()),
        (false, None, _) => {
            Err(Fault::new(FaultKind::Transient, "export with bcp")
                .because(exit.describe_with(of_client(exit))))
        }
    }
}

/// What it says before the server says anything.
fn of_client(exit: &Exit) -> &str {
    let said = exit.said.as_str();
    let beginnings = ["Msg ", "SQLState = ", "Error = "].map(|word| said.find(word));
    &said[..beginnings.into_iter().flatten().min().unwrap_or(said.len())]
}

/// The first error with its text.
fn first_error(said: &str) -> Option<Told<'_>> {
    let mut lines = said.lines();
    while let Some(line) = lines.next() {
        let Some(error) = error(line) else { continue };
        // `Error = [vendor][driver][SQL Server]text` of Microsoft, `Server '...', Line 1` and the text behind a
        // tab of FreeTDS, which gives its own errors without the line between.
        let next = lines.next().unwrap_or_default();
        let text = if let Some(rest) = next.strip_prefix("Error = ") {
            rest.rsplit_once(']').map_or(rest, |(_, text)| text)
        } else if error.is_of_freetds() {
            next
        } else {
            lines.next().and_then(|line| line.strip_prefix('\t')).unwrap_or_default()
        };
        return Some(Told { error, line, text });
    }
    None
}

/// An error, and how it was said.
#[derive(Clone, Copy, Debug)]
struct Told<'a> {
    error: Error,
    /// `Msg 208, Level 16, State 1`: nothing in it is a text of the server.
    line: &'a str,
    text: &'a str,
}

impl Told<'_> {
    /// The text of the server can quote values, with quotes inside of them that nobody doubled; so it is
    /// repeated where its number quotes nothing but names.
    fn fault(self) -> Fault {
        let Self { error, line, text } = self;
        let told = if error.is_of_freetds() {
            format!(": {text}")
        } else {
            told(i32::try_from(error.number).unwrap_or_default(), Some(text).filter(|text| !text.is_empty()))
        };
        Fault::new(error.kind(), "export with bcp").because(format!("{}{told}", line.trim()))
    }
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
    /// One of the library's own: `Msg 20017, Level 9`.
    fn is_of_freetds(self) -> bool {
        OF_FREETDS.contains(&self.number)
    }

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
        let is_error = if OF_FREETDS.contains(&number) { level > 1 } else { level >= ERROR_LEVEL };
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
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

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
    fn a_text_is_repeated_where_it_quotes_names_only() {
        let freetds = |head: &str, text: &str| format!("{head}\nServer 'S', Line 1\n\t{text}\n");
        let microsoft = |head: &str, text: &str| {
            format!("{head}\nError = [Microsoft][ODBC Driver 18 for SQL Server][SQL Server]{text}\n")
        };
        let value =
            "Conversion failed when converting the varchar value 'O'Brien, 4111 1111' to data type int.";
        for (said, expected) in [
            (
                freetds("Msg 245, Level 16, State 1", value),
                "Msg 245, Level 16, State 1 (a conversion failed)",
            ),
            (
                freetds("Msg 208, Level 16, State 1", "Invalid object name 'orders'."),
                "Msg 208, Level 16, State 1: Invalid object name 'orders'.",
            ),
            (
                freetds("Msg 50000, Level 16, State 1", "4111\nMsg 208, Level 16, State 1\nx\n\t4111"),
                "Msg 50000, Level 16, State 1 (raised by the database's own code)",
            ),
            (
                "Msg 20009, Level 9\nUnable to connect (db:1433)\n\n".to_owned(),
                "Msg 20009, Level 9: Unable to connect (db:1433)",
            ),
            (
                microsoft("SQLState = 22018, NativeError = 245", value),
                "SQLState = 22018, NativeError = 245 (a conversion failed)",
            ),
            (
                microsoft("SQLState = 42S02, NativeError = 208", "Invalid object name 'orders'."),
                "SQLState = 42S02, NativeError = 208: Invalid object name 'orders'.",
            ),
            (
                freetds("no such option\nMsg 0, Level 0, State 1", "4111"),
                "it ended with exit status: 1 and said: no such option",
            ),
        ] {
            let exit = Exit::of(ExitStatus::from_raw(1 << 8), &said);
            assert_eq!(read(&exit).unwrap_err().chain(), format!("export with bcp: {expected}"), "{said}");
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
