//! Divides a span of texts, or of byte strings, of which only the least and the greatest are known.
//!
//! How a server orders texts is its own affair (collations), so a boundary found here is a good guess
//! and no more: whether boundaries rise has to be asked of the server before they become ranges.

use std::num::NonZeroUsize;

use uuid::Uuid;

use super::{boundaries, units_of, value_at};

/// Characters behind the common beginning that count: 36^8 places are enough for any number of slices.
const PLACES: usize = 8;
/// Bytes that count, so that the difference of two values fits an `i128`.
const BYTES: usize = 15;

/// Texts between `least` and `greatest`, none longer than `longest` characters.
///
/// Values are compared place by place behind the beginning that they share, as digits, as hexadecimal
/// digits, or as digits and letters, whatever both of them are made of. Identifiers in their usual form
/// are divided as such, and the boundaries are identifiers, too.
pub(in crate::source) fn text_boundaries(
    least: &str,
    greatest: &str,
    longest: Option<usize>,
    wanted: NonZeroUsize,
) -> Vec<String> {
    let (least, greatest) = (least.trim_end(), greatest.trim_end());
    if let (Some(least), Some(last)) = (identifier(least), identifier(greatest)) {
        let is_upper = greatest.contains(|letter: char| letter.is_ascii_uppercase());
        return boundaries(least, last, wanted)
            .into_iter()
            .map(|value| Uuid::from_u128(value_at(value)).hyphenated().to_string())
            .map(|text| if is_upper { text.to_ascii_uppercase() } else { text })
            .collect();
    }
    let shared = least.chars().zip(greatest.chars()).take_while(|(a, b)| a == b).count();
    let beginning: String = greatest.chars().take(shared).collect();
    let places = |text: &str| text.chars().skip(shared).take(PLACES).collect::<Vec<char>>();
    let (least, greatest) = (places(least), places(greatest));
    let scale = Scale::of(least.iter().chain(&greatest));
    let (least, greatest) = (scale.number(&least), scale.number(&greatest));
    let unit = scale.coarse(greatest - least, wanted);
    let mut found: Vec<String> = boundaries(least, greatest, wanted)
        .into_iter()
        .map(|number| number - number % unit)
        .map(|number| format!("{beginning}{}", scale.text(number).trim_end_matches('0')))
        .map(|text| text.chars().take(longest.unwrap_or(usize::MAX)).collect())
        .collect();
    found.dedup();
    found
}

/// Byte strings between two that are printed in hexadecimal digits, printed in the same way.
pub(in crate::source) fn byte_boundaries(least: &str, greatest: &str, wanted: NonZeroUsize) -> Vec<String> {
    let number = |text: &str| {
        let digits: String =
            text.trim().chars().chain("0".repeat(2 * BYTES).chars()).take(2 * BYTES).collect();
        i128::from_str_radix(&digits, 16).ok()
    };
    let Some((least, greatest)) = number(least).zip(number(greatest)) else { return Vec::new() };
    boundaries(least, greatest, wanted)
        .into_iter()
        .map(|value| format!("{value:0width$X}", width = 2 * BYTES))
        .collect()
}

fn identifier(text: &str) -> Option<i128> {
    // Without its hyphens it is as good as any other text of hexadecimal digits.
    Uuid::try_parse(text).ok().filter(|_| text.len() == 36).map(|identifier| units_of(identifier.as_u128()))
}

/// What the places of a text can be.
#[derive(Clone, Copy)]
struct Scale {
    radix: u32,
    is_upper: bool,
}

impl Scale {
    fn of<'a>(places: impl Iterator<Item = &'a char> + Clone) -> Self {
        let fits = |radix| places.clone().all(|place| place.is_digit(radix));
        let radix = [10, 16].into_iter().find(|radix| fits(*radix)).unwrap_or(36);
        Self { radix, is_upper: places.clone().any(char::is_ascii_uppercase) }
    }

    fn number(self, places: &[char]) -> i128 {
        (0..PLACES).fold(0, |number, place| {
            let digit = places.get(place).map_or(0, |place| self.digit(*place));
            number * i128::from(self.radix) + i128::from(digit)
        })
    }

    /// The unit of the last place that is worth a letter: ranges of texts are no more even than by a
    /// sixteenth, and every letter more is one that the server's order can take as part of another.
    fn coarse(self, width: i128, wanted: NonZeroUsize) -> i128 {
        let most = width / 16 / i128::try_from(wanted.get()).unwrap_or(i128::MAX);
        let units = std::iter::successors(Some(1), |unit| Some(unit * i128::from(self.radix)));
        units.take_while(|unit| *unit <= most).last().unwrap_or(1)
    }

    /// Signs come before digits and other letters behind Z, which is so in most orders.
    fn digit(self, place: char) -> u32 {
        let outside = if place.is_alphanumeric() { self.radix - 1 } else { 0 };
        place.to_digit(self.radix).unwrap_or(outside)
    }

    fn text(self, mut number: i128) -> String {
        let radix = i128::from(self.radix);
        let mut places = ['0'; PLACES];
        for place in places.iter_mut().rev() {
            let digit =
                u32::try_from(number % radix).ok().and_then(|digit| char::from_digit(digit, self.radix));
            *place = digit.unwrap_or('0');
            number /= radix;
        }
        let text: String = places.iter().collect();
        if self.is_upper { text.to_ascii_uppercase() } else { text }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(least: &str, greatest: &str, wanted: usize) -> Vec<String> {
        text_boundaries(least, greatest, None, NonZeroUsize::new(wanted).expect("not zero"))
    }

    #[test]
    fn places_are_digits_hexadecimal_digits_or_letters() {
        assert_eq!(texts("00000001", "00009999", 4), ["000025", "00005", "000074"]);
        assert_eq!(texts("0012ab", "ffe0", 4), ["4", "7f", "bf"]);
        assert_eq!(texts("1999-12", "2001-01", 2).len(), 1);
        assert_eq!(texts("A-0001", "A-Z900", 2).len(), 1);
        assert!(texts("A-0001", "A-Z900", 2)[0].starts_with("A-H"));
        assert_eq!(texts("alfa", "zulu", 3).len(), 2);
    }

    #[test]
    fn a_span_without_a_middle_is_not_divided() {
        assert_eq!(texts("a", "a", 4), [""; 0]);
        assert_eq!(texts("z", "a", 4), [""; 0], "in the server's order they may rise");
        assert_eq!(texts("a", "A", 4), [""; 0]);
        assert_eq!(texts("", "", 4), [""; 0]);
    }

    #[test]
    fn no_boundary_is_longer_than_a_value_can_be() {
        let found = text_boundaries("A", "F", Some(1), NonZeroUsize::new(64).expect("not zero"));
        assert_eq!(found, ["A", "B", "C", "D", "E"]);
    }

    #[test]
    fn identifiers_stay_identifiers() {
        let (least, greatest) =
            ("00000000-0000-4000-8000-000000000001", "FFFFFFFF-FFFF-4FFF-BFFF-FFFFFFFFFFFF");
        let found = texts(least, greatest, 2);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("7FFFFFFF-FFFF-"), "{found:?}");
        assert_eq!(found[0].len(), 36);
    }

    #[test]
    fn bytes_are_divided_by_their_beginning() {
        let wanted = NonZeroUsize::new(4).expect("not zero");
        assert_eq!(
            byte_boundaries("00", "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF", wanted),
            ["40", "80", "C0"].map(|first| format!("{first:0<30}"))
        );
        assert_eq!(byte_boundaries("0102", "0102", wanted), [""; 0]);
        assert_eq!(byte_boundaries("no digits", "FF", wanted), [""; 0]);
    }

    proptest! {
        #[test]
        fn texts_of_any_kind_give_boundaries_that_rise_in_the_simplest_order(
            a in "[0-9a-f]{0,12}", b in "[0-9a-f]{0,12}", count in 1_usize..64,
        ) {
            let (least, greatest) = (a.clone().min(b.clone()), a.max(b));
            let found = texts(&least, &greatest, count);
            prop_assert!(found.len() < count.max(1));
            prop_assert!(found.is_sorted_by(|before, after| before < after), "{found:?}");
        }

        #[test]
        fn no_text_makes_it_panic(a in any::<String>(), b in any::<String>(), count in 1_usize..64, longest in 0_usize..20) {
            let wanted = NonZeroUsize::new(count).expect("not zero");
            for text in text_boundaries(&a, &b, Some(longest), wanted) {
                prop_assert!(text.chars().count() <= longest);
            }
            let _ = byte_boundaries(&a, &b, wanted);
        }
    }
}
