//! Words for people and programs: stdout for what was asked for, stderr for everything beside it.
//!
//! A reader that has gone away (`| head`) ends the command quietly, as it ends every other Unix
//! program; the standard library's macros would panic.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use console::Style;

/// What a shell shows of a program that SIGPIPE has ended: 128 and the number of the signal.
const BROKEN_PIPE: i32 = 141;

/// Writes a line to stdout.
pub(super) fn line(text: impl Display) {
    write(&format!("{text}\n"));
}

/// `println!` that bears a reader who has gone away.
macro_rules! say {
    ($($words:tt)*) => { $crate::cli::output::line(format_args!($($words)*)) };
}
pub(super) use say;

/// Writes a text to stdout as it is.
pub(super) fn write(text: &str) {
    bytes(text.as_bytes());
}

/// Writes bytes to stdout as they are.
pub(super) fn bytes(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(BROKEN_PIPE),
        Err(error) => {
            note(format_args!("error: write to the standard output: {error}"));
            std::process::exit(1);
        }
    }
}

/// Writes a line to stderr. Where nobody reads it, nothing is lost.
pub(super) fn note(text: impl Display) {
    let _nobody_reads = writeln!(io::stderr().lock(), "{text}");
}

/// A text that came from elsewhere, without what would steer a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// `1 file`, `2 files`.
pub(super) fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The colour of a status; none where colours are not wanted (`NO_COLOR`, no terminal).
pub(super) fn status_style(status: &str) -> Style {
    let style = Style::new();
    match status {
        "completed" | "INFO" => style.green(),
        "failed" | "ERROR" => style.red(),
        "running" => style.cyan(),
        "cancelled" | "interrupted" | "released" | "WARN" => style.yellow(),
        _ => style,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_elsewhere_steers_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\r\nc\u{9b}d é"), "a [2Jb  c d é");
    }
}
