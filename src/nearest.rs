//! The nearest known name to one that is not known.

/// The name among `known` that `written` most likely means, when one is near enough to be worth
/// a guess. Case and underscores do not count: `sslMode` is next to `sslmode`.
pub(crate) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = normal(written);
    let length = plain.chars().count();
    known
        .into_iter()
        .map(|name| (steps(&plain, &normal(name)), name))
        // A third of the letters may differ; of very short names one, but not all.
        .filter(|(distance, name)| {
            *distance <= (length.max(name.len()) / 3).max(1) && *distance < length.max(1)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// A name without case and underscores, in which `trustServerCertificate` and
/// `trust_server_certificate` are the same.
pub(crate) fn normal(name: &str) -> String {
    name.chars().filter(|letter| !matches!(letter, '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// How far apart two names are; a beginning is next to the whole: `bucket` to `bucket_name`.
fn steps(plain: &str, known: &str) -> usize {
    const SHORTEST_BEGINNING: usize = 4;
    let is_beginning = plain.len() >= SHORTEST_BEGINNING && known.starts_with(plain);
    if is_beginning && plain != known { 1 } else { distance(plain, known) }
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one name into the other.
///
/// Keys of a configuration are short; a name of absurd length is cut, since it is near to nothing.
fn distance(left: &str, right: &str) -> usize {
    const LONGEST: usize = 64;
    let left: Vec<char> = left.chars().take(LONGEST).collect();
    let right: Vec<char> = right.chars().take(LONGEST).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, letter) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, other) in right.iter().enumerate() {
            let replaced = above[column] + usize::from(letter != other);
            let mut cost = replaced.min(above[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && *letter == right[column - 1] && left[row - 1] == *other {
                cost = cost.min(before[column - 1] + 1);
            }
            current.push(cost);
        }
        before = above;
        above = current;
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_key() {
        const KNOWN: [&str; 6] = ["workers", "host", "port", "sslmode", "task_fetch_interval", "database"];
        for (written, expected) in [
            ("worker", Some("workers")),
            ("wokrers", Some("workers")),
            ("prot", Some("port")),
            ("sslMode", Some("sslmode")),
            ("ssl_mode", Some("sslmode")),
            ("taskFetchIntervall", Some("task_fetch_interval")),
            ("databse", Some("database")),
            ("data", Some("database")),
            ("dat", None),
            ("colour", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, KNOWN), expected, "{written}");
        }
    }

    #[test]
    fn distance_counts_a_swap_of_neighbours_once() {
        for (left, right, expected) in
            [("", "", 0), ("", "abc", 3), ("abc", "abc", 0), ("abc", "acb", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(left, right), expected, "{left} {right}");
            assert_eq!(distance(right, left), expected, "{right} {left}");
        }
    }
}
