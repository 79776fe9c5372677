//! Terminators of fields and rows, as sections of utilities name them.

use crate::config::Section;

/// What a terminator is.
pub(super) const EXPECTED: &str = "one to eight characters of ASCII, not beginning with 0x";

/// A terminator as bcp reads it.
pub(super) fn read(text: &str) -> Option<String> {
    let mut read = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        read.push(match letter {
            '\\' => match letters.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '\\' => '\\',
                _ => return None,
            },
            letter => letter,
        });
    }
    let is_plain = read.bytes().all(|byte| byte.is_ascii() && byte != 0 && byte != b'"');
    ((1..=8).contains(&read.len()) && is_plain && !read.starts_with("0x")).then_some(read)
}

/// Two terminators that are found where they were written, whatever stands before them.
pub(super) fn prove(section: &mut Section<'_, '_>, delimiter: &str, row_terminator: &str) {
    const REMEDY: &str = "Characters could move from one value to the next. Choose terminators of one character, \
                          or of several that all differ.";
    if delimiter == row_terminator {
        section.problem("delimiter", "is the same as row_terminator", Some("Choose two that differ."));
        return;
    }
    for (key, written) in [("delimiter", delimiter), ("row_terminator", row_terminator)] {
        if is_found_too_early(written, written) {
            let message = "begins as it ends, so that nobody can tell where it begins behind some values";
            section.problem(key, message, Some(REMEDY));
        }
    }
    if is_found_too_early(delimiter, row_terminator) || is_found_too_early(row_terminator, delimiter) {
        let message = "overlaps row_terminator, so that nobody can tell where one of them begins";
        section.problem("delimiter", message, Some(REMEDY));
    }
}

/// True when there is a text without `found` in it after which `written` looks as if `found` were there, or
/// ended before it does.
fn is_found_too_early(found: &str, written: &str) -> bool {
    let is_same = found == written;
    // The end of what is found is the beginning of what is written: `a|` before `||`.
    let most = if is_same { written.len() - 1 } else { written.len() };
    let spans = (1..=most.min(found.len() - 1)).any(|length| found.ends_with(&written[..length]));
    // It stands inside, before the end.
    let inside = !is_same && written.find(found).is_some_and(|place| place + found.len() < written.len());
    spans || inside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminators_that_overlap_are_told_from_those_that_do_not() {
        let overlap = |delimiter: &str, row_terminator: &str| {
            let pairs =
                [(delimiter, delimiter), (row_terminator, row_terminator), (delimiter, row_terminator)];
            pairs.iter().any(|(a, b)| is_found_too_early(a, b))
                || is_found_too_early(row_terminator, delimiter)
        };
        for (delimiter, row_terminator) in
            [(",", "\n"), ("\u{1f}", "\u{1e}"), ("\t", "\r\n"), ("|~", "\n"), ("<f>", "<r>"), ("ab", "cd")]
        {
            assert!(!overlap(delimiter, row_terminator), "{delimiter:?} {row_terminator:?}");
        }
        for (delimiter, row_terminator) in [
            ("||", "\n"),
            ("|~|", "\n"),
            (",", "\n\n"),
            ("|~", "~\n"),
            ("\n", "\r\n"),
            ("|", "|\n"),
            ("|", "a|b"),
        ] {
            assert!(overlap(delimiter, row_terminator), "{delimiter:?} {row_terminator:?}");
        }
    }
}
