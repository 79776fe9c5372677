//! Command lines out of the configuration: words, and placeholders in them.

/// Cuts a command line into words at blanks. Single and double quotes keep blanks together; nothing
/// else means anything, because no shell reads it. `None` when a quote is not closed.
#[must_use]
pub(super) fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in line.chars() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, letter) if letter.is_whitespace() => words.extend(word.take()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// The placeholders of a word: what stands between braces and is a name.
pub(super) fn placeholders(word: &str) -> impl Iterator<Item = &str> {
    word.split('{')
        .skip(1)
        .filter_map(|piece| piece.split_once('}'))
        .map(|(name, _)| name)
        .filter(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
}

/// The word with values in the places of its placeholders. What comes in is not read again, so that
/// a value with braces, blanks or quotes stays one argument.
pub(super) fn fill(word: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut filled = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(open) = rest.find('{') {
        filled.push_str(&rest[..open]);
        rest = &rest[open..];
        match rest[1..].find('}').and_then(|close| Some((close, value(&rest[1..=close])?))) {
            Some((close, value)) => {
                filled.push_str(&value);
                rest = &rest[close + 2..];
            }
            None => {
                filled.push('{');
                rest = &rest[1..];
            }
        }
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_blanks_together_and_nothing_else_has_a_meaning() {
        let words = |line| words(line).unwrap();
        assert_eq!(
            words("export --to  '{output}' \"a b\"'c' ''"),
            ["export", "--to", "{output}", "a bc", ""]
        );
        assert_eq!(words("$HOME `id` a;b|c \\n"), ["$HOME", "`id`", "a;b|c", "\\n"]);
        assert_eq!(words("  "), [""; 0]);
        assert_eq!(super::words("export 'half"), None);
    }

    #[test]
    fn what_fills_a_placeholder_is_not_read_again() {
        let value = |name: &str| (name == "query").then(|| "SELECT '{host}' {query}".to_owned());
        assert_eq!(fill("--sql={query}!{}{x}{", value), "--sql=SELECT '{host}' {query}!{}{x}{");
        let found: Vec<&str> = placeholders("a{query}b{host} {} {A} {x y}").collect();
        assert_eq!(found, ["query", "host"]);
    }
}
