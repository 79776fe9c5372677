//! Takes out of a text what must not be seen, before it reaches a log or an error.

/// Longest text of a server that is kept, in characters.
const LONGEST: usize = 600;

/// One line, without signatures of URLs and without tokens, of bounded length.
pub(super) fn text(text: &str) -> String {
    let mut clean = String::with_capacity(text.len().min(LONGEST));
    for word in text.split(|letter: char| letter.is_whitespace() || letter.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !clean.is_empty() {
            clean.push(' ');
        }
        clean.push_str(&self::word(word));
        if clean.len() > LONGEST * 4 {
            break;
        }
    }
    match clean.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} ...", &clean[..end]),
        None => clean,
    }
}

/// A URL loses its query, where signatures are, and its user. A long word that can only be a token
/// or a key goes altogether.
fn word(word: &str) -> String {
    if let Some(scheme) = word.find("://") {
        let (before, rest) = word.split_at(scheme + 3);
        let end = rest.find(['?', '#']).unwrap_or(rest.len());
        let (address, query) = rest.split_at(end);
        let authority = address.find('/').unwrap_or(address.len());
        let address = match address[..authority].rfind('@') {
            Some(at) => &address[at + 1..],
            None => address,
        };
        let tail = if query.is_empty() { "" } else { "?..." };
        return format!("{before}{address}{tail}");
    }
    let looks_secret = |part: &str| {
        part.len() >= 40
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=_-.%:".contains(&byte))
            && part.bytes().any(|byte| byte.is_ascii_digit())
            && part.bytes().any(|byte| byte.is_ascii_alphabetic())
            // Names of objects and files are upper or lower case; keys and tokens are both.
            && part.bytes().any(|byte| byte.is_ascii_uppercase())
            && part.bytes().any(|byte| byte.is_ascii_lowercase())
    };
    let bounds = |letter: char| matches!(letter, '"' | '\'' | '(' | ')' | '[' | ']' | ',' | ';' | '&');
    let is_signature = |part: &str| {
        let lower = part.to_ascii_lowercase();
        ["sig=", "x-amz-signature=", "x-amz-credential=", "x-goog-signature=", "token="]
            .iter()
            .any(|name| lower.contains(name))
    };
    if word.split(bounds).any(|part| looks_secret(part) || is_signature(part)) {
        "***".to_owned()
    } else {
        word.to_owned()
    }
}

/// The same, and what stands in single quotes is taken out: messages about a statement quote its
/// literals and cell values there.
pub(super) fn unquoted(message: &str) -> String {
    let mut clean = String::with_capacity(message.len());
    let mut pieces = message.split('\'');
    clean.push_str(pieces.next().unwrap_or_default());
    let mut is_quoted = true;
    for piece in pieces {
        if is_quoted {
            clean.push_str("'...'");
        } else {
            clean.push_str(piece);
        }
        is_quoted = !is_quoted;
    }
    text(&clean)
}

#[cfg(test)]
mod tests {
    use super::{text, unquoted};

    #[test]
    fn signatures_and_tokens_are_taken_out() {
        let cases = [
            (
                "get https://b.s3.amazonaws.com/k?X-Amz-Signature=abc failed",
                "get https://b.s3.amazonaws.com/k?... failed",
            ),
            ("(https://user:word@host/path)", "(https://host/path)"),
            ("SAS sv=2024&sig=abc%3D here", "SAS *** here"),
            ("Token=\"ver:1-hint:2-ETMsDgAAAZ\"", "***"),
            ("key gIGCg4SFhoeIiYqLjI2Oj0gIGCg4SFhoeIiYqLjI2Ojw== is bad", "key *** is bad"),
            ("Object 'DB.SCHEMA.T'\n\tdoes not exist", "Object 'DB.SCHEMA.T' does not exist"),
        ];
        for (given, wanted) in cases {
            assert_eq!(text(given), wanted);
        }
    }

    #[test]
    fn quoted_values_are_taken_out() {
        assert_eq!(
            unquoted("Numeric value 'secret' is not recognized"),
            "Numeric value '...' is not recognized"
        );
        assert_eq!(unquoted("unexpected 'it''s mine"), "unexpected '...''...'");
    }

    #[test]
    fn a_long_text_is_cut() {
        let long = "é ".repeat(5000);
        assert_eq!(text(&long).chars().count(), 604);
    }
}
