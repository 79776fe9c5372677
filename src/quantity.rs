//! Durations and sizes as people write them.

use std::time::Duration;

/// Units of time in milliseconds, longest first.
const TIME: [(&str, u64); 6] =
    [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Units of size in bytes, largest first.
const SIZE: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1000),
    ("B", 1),
];

/// Reads `90s`, `5m`, `2 h`, `500ms`; `None` when it is nothing of the kind.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    scaled(text, &TIME, |unit, known| unit == known).map(Duration::from_millis)
}

/// Reads `64 MiB`, `8MB`, `512 kb` into bytes; `None` when it is nothing of the kind.
pub(crate) fn size(text: &str) -> Option<u64> {
    scaled(text, &SIZE, str::eq_ignore_ascii_case)
}

fn scaled(text: &str, units: &[(&str, u64)], same: impl Fn(&str, &str) -> bool) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(known, _)| same(unit.trim_start(), known))?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// A duration in the longest unit that divides it: `90s`, `5m`.
pub(crate) fn show_duration(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    show(milliseconds, TIME.iter().filter(|(unit, _)| *unit != "min"), "", "s")
}

/// A size in the largest binary unit that divides it: `64 MiB`.
pub(crate) fn show_size(bytes: u64) -> String {
    show(bytes, SIZE.iter().filter(|(unit, _)| unit.len() != 2), " ", "B")
}

fn show<'a>(
    value: u64,
    mut units: impl Iterator<Item = &'a (&'a str, u64)>,
    space: &str,
    of_zero: &str,
) -> String {
    match units.find(|(_, factor)| value > 0 && value.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{space}{unit}", value / factor),
        None => format!("{value}{space}{of_zero}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit() {
        for (text, expected) in [
            ("90s", Some(90_000)),
            ("5m", Some(300_000)),
            ("5min", Some(300_000)),
            ("2 h", Some(7_200_000)),
            (" 1d ", Some(86_400_000)),
            ("500ms", Some(500)),
            ("0s", Some(0)),
            ("90", None),
            ("s", None),
            ("", None),
            ("-1s", None),
            ("1.5s", None),
            ("5M", None),
            ("1w", None),
            ("99999999999999999999s", None),
            ("9999999999999999d", None),
            ("1é", None),
        ] {
            assert_eq!(duration(text), expected.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_in_binary_and_decimal_units() {
        for (text, expected) in [
            ("64 MiB", Some(64 << 20)),
            ("64MiB", Some(64 << 20)),
            ("8MB", Some(8_000_000)),
            ("512 kb", Some(512_000)),
            ("1 GiB", Some(1 << 30)),
            ("1TB", Some(1_000_000_000_000)),
            ("7 B", Some(7)),
            ("7", None),
            ("MiB", None),
            ("8 M", None),
            ("1.5 GiB", None),
            ("99999999999999999999 B", None),
            ("99999999999 TiB", None),
        ] {
            assert_eq!(size(text), expected, "{text}");
        }
    }

    #[test]
    fn they_are_shown_as_they_are_read() {
        for shown in ["90s", "5m", "2h", "1d", "1500ms", "0s"] {
            assert_eq!(show_duration(duration(shown).unwrap()), shown);
        }
        for shown in ["64 MiB", "1 GiB", "1000 B", "1537 B", "5 KiB", "0 B"] {
            assert_eq!(show_size(size(shown).unwrap()), shown);
        }
    }
}
