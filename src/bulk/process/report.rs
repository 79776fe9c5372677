//! What a program said last.

use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::config::Secret;

/// Bytes that are kept of what a program says.
const KEPT_BYTES: usize = 16 * 1024;
/// Lines that a message shows.
const SHOWN_LINES: usize = 8;
/// Characters of such a line.
const SHOWN_CHARACTERS: usize = 300;
/// What stands in the place of a secret.
const MASK: &str = "***";

/// The end of what a program says; the rest is read and dropped.
#[derive(Debug, Default)]
pub struct Tail {
    kept: Vec<u8>,
    is_cut: bool,
}

impl Tail {
    /// Reads to the end, whatever the program says and however much.
    pub(super) async fn drain(&mut self, mut from: Pin<Box<dyn AsyncRead + Send>>) {
        let mut buffer = vec![0; 8 * 1024];
        while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
            self.push(&buffer[..bytes]);
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        if self.kept.len() > 2 * KEPT_BYTES {
            self.kept.drain(..self.kept.len() - KEPT_BYTES);
            self.is_cut = true;
        }
    }

    /// The kept text, secrets masked. A line that was cut at its beginning is left out: half of a
    /// secret could be in it.
    pub(super) fn text(&self, secrets: &[Secret]) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        let text = match text.split_once('\n') {
            Some((_half, rest)) if self.is_cut => rest,
            None if self.is_cut => "",
            _ => &text,
        };
        secrets
            .iter()
            .map(Secret::expose)
            .filter(|secret| !secret.is_empty())
            .fold(text.to_owned(), |text, secret| text.replace(secret, MASK))
    }
}

/// The last lines of `text` as one line, without literals.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let shown = lines[lines.len().saturating_sub(SHOWN_LINES)..].iter().map(|line| {
        let line: String =
            line.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        let line = without_literals(&line);
        match line.char_indices().nth(SHOWN_CHARACTERS) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    });
    shown.collect::<Vec<_>>().join(" | ")
}

/// The line without what stands between its first and its last single quote: servers do not double those
/// inside of a value, so that nobody can tell where one ends. Without its rest, when one is not closed. A
/// quote between two letters is an apostrophe, inside of a value as well as in `can't`.
fn without_literals(line: &str) -> String {
    let mut before = None;
    let mut letters = line.char_indices().peekable();
    let mut quotes = Vec::new();
    while let Some((position, letter)) = letters.next() {
        let is_apostrophe = before.is_some_and(char::is_alphabetic)
            && letters.peek().is_some_and(|(_, next)| next.is_alphabetic());
        if letter == '\'' && !is_apostrophe {
            quotes.push(position);
        }
        before = Some(letter);
    }
    match quotes[..] {
        [] => line.to_owned(),
        [first, .., last] if quotes.len() % 2 == 0 => format!("{}'…{}", &line[..first], &line[last..]),
        [first, ..] => format!("{}'…", &line[..first]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_show_neither_secrets_nor_literals() {
        let mut tail = Tail::default();
        tail.push(b"first\nlogin failed for hunter2\nbad value 'Alice' near 'x\n");
        let text = tail.text(&[Secret::new("hunter2"), Secret::new("")]);
        assert_eq!(last_lines(&text), "first | login failed for *** | bad value '…");
    }

    #[test]
    fn a_quote_inside_of_a_literal_does_not_end_it() {
        for (line, expected) in [
            ("converting 'O'Brien, 4111 1111' to int", "converting '…' to int"),
            ("converting 'Ann O'Brien's, 4111'", "converting '…'"),
            ("from 'a' to 'b' in t", "from '…' in t"),
            ("can't connect through '/tmp/x' (2)", "can't connect through '…' (2)"),
            ("'4111", "'…"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(without_literals(line), expected, "{line}");
        }
    }

    #[test]
    fn only_the_end_of_a_flood_is_kept_and_no_half_line() {
        let mut tail = Tail::default();
        for number in 0..100_000 {
            tail.push(format!("line {number}\n").as_bytes());
        }
        let text = tail.text(&[]);
        assert!(text.len() <= 2 * KEPT_BYTES, "{}", text.len());
        assert!(text.starts_with("line ") && text.ends_with("line 99999\n"));
        assert!(last_lines(&text).ends_with("line 99998 | line 99999"));
    }
}
