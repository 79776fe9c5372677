//! The nearest known name to one that is not known.

/// Longer names are nearest to none; this bounds the work for a hostile name.
const LONGEST: usize = 64;

/// The known name that `written` most likely means; `None` when no name is near.
pub(super) fn nearest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    if written.len() > LONGEST {
        return None;
    }
    let written = normal(written);
    known
        .iter()
        .map(|name| (edits(&written, &normal(name)), *name))
        .filter(|(edits, name)| *edits <= name.len().max(written.len()) / 3)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

/// `maxAttempts`, `max-attempts` and `max_attempts` are the same.
fn normal(name: &str) -> Vec<char> {
    name.chars().filter(|letter| !matches!(letter, '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// Characters to insert, delete or replace to turn one name into the other.
fn edits(left: &[char], right: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, from) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_other_spellings_find_their_name() {
        const KNOWN: [&str; 4] = ["query", "max_attempts", "slice_column", "slices"];
        for (written, expected) in [
            ("querry", Some("query")),
            ("maxAttempts", Some("max_attempts")),
            ("max-attempt", Some("max_attempts")),
            ("slice", Some("slices")),
            ("colour", None),
            ("", None),
            ("q", None),
        ] {
            assert_eq!(nearest(written, &KNOWN), expected, "{written}");
        }
        assert_eq!(nearest(&"x".repeat(1 << 20), &KNOWN), None);
    }
}
