//! Decides from the first rows of a column whether a dictionary pays.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;

/// Values that are looked at, at most.
const SAMPLE: usize = 8192;
/// A dictionary pays when at most this share of the later half of the sample are values that were
/// not there before. What counts is whether new values keep coming, not how many there are: dates of
/// seven years repeat after a few thousand rows, while the keys of a sorted table never do, and
/// plain pages of those compress far better.
const MOST_NEW: f64 = 0.125;

/// True when the first values begin to repeat. An empty or all-NULL sample says nothing, and a
/// dictionary of what may come is the better bet.
pub(super) fn pays(values: &ArrayRef) -> bool {
    let sample = values.slice(0, values.len().min(SAMPLE));
    match sample.data_type() {
        // Parquet has no dictionary for booleans.
        DataType::Boolean => false,
        DataType::Utf8 => repeats(sample.as_string::<i32>().iter().map(|value| value.map(str::as_bytes))),
        DataType::LargeUtf8 => {
            repeats(sample.as_string::<i64>().iter().map(|value| value.map(str::as_bytes)))
        }
        DataType::Binary => repeats(sample.as_binary::<i32>().iter()),
        DataType::LargeBinary => repeats(sample.as_binary::<i64>().iter()),
        other => match other.primitive_width() {
            Some(width) => {
                let data = sample.to_data();
                let bytes = data.buffers()[0].as_slice();
                let value = |row: usize| {
                    let start = (data.offset() + row) * width;
                    sample.is_valid(row).then(|| &bytes[start..start + width])
                };
                repeats((0..sample.len()).map(value))
            }
            None => true,
        },
    }
}

fn repeats<'a>(values: impl ExactSizeIterator<Item = Option<&'a [u8]>>) -> bool {
    let half = values.len() / 2;
    // Hashes stand for values: a rare collision changes an estimate, not data.
    let hasher = RandomState::new();
    let mut seen = HashSet::new();
    let (mut present, mut new) = (0_usize, 0_usize);
    for (row, value) in values.enumerate() {
        let is_new = value.is_some_and(|value| seen.insert(hasher.hash_one(value)));
        if row >= half {
            present += usize::from(value.is_some());
            new += usize::from(is_new);
        }
    }
    new as f64 <= present as f64 * MOST_NEW
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Decimal128Array, Int64Array, StringArray};

    use super::*;

    #[test]
    fn repeated_values_pay_and_unique_ones_do_not() {
        let array = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
        assert!(pays(&array((0..1000).map(|row| row % 7).collect())));
        assert!(!pays(&array((0..1000).collect())));
        let texts = |distinct: usize| {
            let values = (0..1000).map(|row| (row % 3 != 0).then(|| format!("value {}", row % distinct)));
            Arc::new(values.collect::<StringArray>()) as ArrayRef
        };
        assert!(pays(&texts(10)));
        assert!(!pays(&texts(1000)));
    }

    #[test]
    fn what_counts_is_whether_new_values_keep_coming() {
        let array = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
        // The days of seven years in any order, and a sorted key of four rows each.
        let days = (0..8192_i64).map(|row| row * 7919 % 104_729 % 2526).collect();
        let keys = (0..8192).map(|row| row / 4).collect();
        assert!(pays(&array(days)));
        assert!(!pays(&array(keys)));
    }

    #[test]
    fn a_slice_is_judged_by_its_own_values() {
        let values = (0..1000).map(|row| if row < 500 { i128::from(row) } else { 1 });
        let array: ArrayRef = Arc::new(Decimal128Array::from_iter_values(values));
        assert!(!pays(&array.slice(0, 500)));
        assert!(pays(&array.slice(500, 500)));
    }

    #[test]
    fn nothing_but_nulls_keeps_the_dictionary_and_booleans_never_have_one() {
        let nulls: ArrayRef = Arc::new(Int64Array::from(vec![None::<i64>; 10]));
        assert!(pays(&nulls));
        assert!(pays(&nulls.slice(0, 0)));
        assert!(!pays(&(Arc::new(BooleanArray::from(vec![true; 10])) as ArrayRef)));
    }
}
