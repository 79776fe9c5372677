//! Divides a span of values into the conditions of slices.

use std::num::NonZeroUsize;

mod text;

pub(super) use text::{byte_boundaries, text_boundaries};

/// Low bits of a number of 128 bits that are left out, so that a difference of two fits an `i128`. Boundaries
/// need not be values that exist.
const LEFT_OUT: u32 = 2;

/// A number of 128 bits as units.
pub(super) fn units_of(value: u128) -> i128 {
    (value >> LEFT_OUT).cast_signed()
}

/// The number that begins at `units`.
pub(super) fn value_at(units: i128) -> u128 {
    units.cast_unsigned() << LEFT_OUT
}

/// The units between the slices, in order; fewer than wanted when there are few values.
pub(super) fn boundaries(least: i128, greatest: i128, wanted: NonZeroUsize) -> Vec<i128> {
    let count = i128::try_from(wanted.get()).unwrap_or(i128::MAX);
    let Some(width) = greatest.checked_sub(least).and_then(|width| width.checked_add(1)) else {
        return Vec::new();
    };
    let boundary = |part: i128| {
        // Whole widths first, so that the product of a wide range and a part does not overflow.
        least + width / count * part + width % count * part / count
    };
    let mut boundaries: Vec<i128> = (1..count).map(boundary).filter(|value| *value > least).collect();
    boundaries.dedup();
    boundaries
}

/// Conditions that meet at the boundaries and are open at both ends. NULLs are in the first one.
pub(super) fn ranges(column: &str, literals: &[String]) -> Vec<Option<String>> {
    if literals.is_empty() {
        return vec![None];
    }
    (0..=literals.len())
        .map(|slice| {
            let from = slice.checked_sub(1).map(|before| format!("{column} >= {}", literals[before]));
            let to = literals.get(slice).map(|to| format!("{column} < {to}"));
            let both: Vec<String> = from.iter().cloned().chain(to).collect();
            let nulls = if from.is_none() { format!(" OR {column} IS NULL") } else { String::new() };
            Some(format!("{}{nulls}", both.join(" AND ")))
        })
        .collect()
}
