//! Why an attempt failed, as a text for a remote queue.

use crate::fault::{Fault, FaultKind};
use crate::task::Report;

/// Longest text in bytes: enough for a chain of causes, little enough for a table that people read.
pub(super) const MAX_LENGTH: usize = 2000;

/// Names whose value is cut out where it stands after `=` or `:`.
const SECRET_NAMES: [&str; 14] = [
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "signature",
    "sig",
    "accountkey",
    "account_key",
    "secret_access_key",
    "x-amz-signature",
    "x-amz-security-token",
];
const HIDDEN: &str = "***";

/// The text of a report: kind, chain of causes, remedy.
pub(super) fn of_report(report: &Report) -> String {
    text(report.kind, &report.message, report.hint.as_deref())
}

/// The text of a fault.
pub(super) fn of_fault(fault: &Fault) -> String {
    text(fault.kind(), &fault.chain(), fault.hint())
}

fn text(kind: FaultKind, message: &str, hint: Option<&str>) -> String {
    let message = without_secrets(message.trim_end_matches('.'));
    let hint = hint.map(|hint| format!(". {}", without_secrets(hint))).unwrap_or_default();
    let prefix = format!("[{kind}] ");
    // The remedy is what a person needs most, so that the middle is cut and not the end.
    let hint = cut(&hint, MAX_LENGTH / 2);
    let room = MAX_LENGTH - prefix.len() - hint.len();
    format!("{prefix}{}{hint}", cut(&message, room))
}

/// At most `longest` bytes; a cut text ends in `…`.
fn cut(text: &str, longest: usize) -> String {
    const ELLIPSIS: &str = "…";
    if text.len() <= longest {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(longest.saturating_sub(ELLIPSIS.len()));
    format!("{}{ELLIPSIS}", &text[..end])
}

/// Faults hold no secrets. This is the second line of defence, because the text leaves the machine: it
/// hides what looks like one, and control characters.
fn without_secrets(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(word) = next_word(rest) {
        rest = &rest[word.len()..];
        if word.trim_start().eq_ignore_ascii_case("bearer") {
            clean.push_str(word);
            let token = next_word(rest).unwrap_or_default();
            clean.push(' ');
            clean.push_str(HIDDEN);
            rest = &rest[token.len()..];
        } else {
            clean.push_str(&hide_in_word(word));
        }
    }
    clean.chars().map(|letter| if letter.is_control() && letter != '\n' { ' ' } else { letter }).collect()
}

/// Blanks and the word after them.
fn next_word(text: &str) -> Option<&str> {
    if text.is_empty() {
        return None;
    }
    let begin = text.find(|letter: char| !letter.is_whitespace()).unwrap_or(text.len());
    let end = text[begin..].find(char::is_whitespace).map_or(text.len(), |length| begin + length);
    Some(&text[..end])
}

/// Hides the user part of URLs, and the values of secret names.
fn hide_in_word(word: &str) -> String {
    let mut word = word.to_owned();
    if let Some(scheme) = word.find("://") {
        let host = scheme + 3;
        let end = word[host..].find(['/', '?', '#']).map_or(word.len(), |length| host + length);
        if let Some(at) = word[host..end].rfind('@') {
            word.replace_range(host..host + at, HIDDEN);
        }
    }
    let mut from = 0;
    while let Some(found) = word[from..].find(['=', ':']) {
        let separator = from + found;
        let name_start = word[..separator]
            .rfind(|letter: char| !is_name(letter))
            .map_or(0, |before| before + word[before..].chars().next().map_or(1, char::len_utf8));
        let name = word[name_start..separator].to_ascii_lowercase();
        from = separator + 1;
        if SECRET_NAMES.contains(&name.as_str()) {
            let end = word[from..]
                .find(['&', ';', ',', '"', '\'', ')', '`'])
                .map_or(word.len(), |length| from + length);
            if end > from {
                word.replace_range(from..end, HIDDEN);
                from += HIDDEN.len();
            }
        }
    }
    word
}

fn is_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_kind_chain_and_remedy() {
        let fault = Fault::new(FaultKind::Transient, "read rows")
            .because("connection reset")
            .while_doing("extract slice 2")
            .remedy("Look at the server.");
        assert_eq!(
            of_fault(&fault),
            "[transient] extract slice 2: read rows: connection reset. Look at the server."
        );
    }

    #[test]
    fn what_looks_like_a_secret_is_hidden() {
        for (text, expected) in [
            ("open postgres://user:pass@host/db?x=1", "open postgres://***@host/db?x=1"),
            ("get https://s/p?sig=abc%2F&se=1 failed", "get https://s/p?sig=***&se=1 failed"),
            ("with password=hunter2, then", "with password=***, then"),
            ("header Authorization: Bearer abc.def.ghi refused", "header Authorization: Bearer *** refused"),
            (
                "AccountName=a;AccountKey=k==;EndpointSuffix=e",
                "AccountName=a;AccountKey=***;EndpointSuffix=e",
            ),
            ("line one\nbell\u{7}", "line one\nbell "),
            ("ä=1 ü:token=x", "ä=1 ü:token=***"),
            ("nothing to hide: at 12:30", "nothing to hide: at 12:30"),
        ] {
            assert_eq!(without_secrets(text), expected);
        }
    }

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_remedy() {
        let fault = Fault::new(FaultKind::Data, "ä".repeat(5000)).remedy("Do this.");
        let text = of_fault(&fault);
        assert!(text.len() <= MAX_LENGTH && text.len() > MAX_LENGTH - 10, "{}", text.len());
        assert!(text.starts_with("[data] ä") && text.ends_with("…. Do this."), "{text}");
        let both = Fault::new(FaultKind::Data, "ä".repeat(5000)).remedy("ü".repeat(5000));
        assert!(of_fault(&both).len() <= MAX_LENGTH);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(\\PC|\n|://|@|token=|Bearer |[=:&;]){0,60}") {
            let clean = without_secrets(&text);
            proptest::prop_assert!(clean.chars().all(|letter| !letter.is_control() || letter == '\n'));
        }
    }
}
