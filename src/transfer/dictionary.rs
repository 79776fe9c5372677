//! Decides from the first rows of a column whether a dictionary pays.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;

/// Values that are looked at, at most.
const SAMPLE: usize = 8192;
/// A dictionary pays when at most this share of the sampled values is distinct: unique columns
/// cost a hash for each value and end as plain pages anyway.
const MOST_DISTINCT: f64 = 0.2;

/// True when enough of the first values repeat. An empty or all-NULL sample says nothing, and a
/// dictionary of what may come is the better bet.
pub(super) fn pays(values: &ArrayRef) -> bool {
    let sample = values.slice(0, values.len().min(SAMPLE));
    let present = sample.len() - sample.null_count();
    if present == 0 {
        return true;
    }
    distinct(&sample) as f64 <= present as f64 * MOST_DISTINCT
}

fn distinct(values: &ArrayRef) -> usize {
    match values.data_type() {
        // Parquet has no dictionary for booleans.
        DataType::Boolean => usize::MAX,
        DataType::Utf8 => count(values.as_string::<i32>().iter().map(|value| value.map(str::as_bytes))),
        DataType::LargeUtf8 => count(values.as_string::<i64>().iter().map(|value| value.map(str::as_bytes))),
        DataType::Binary => count(values.as_binary::<i32>().iter()),
        DataType::LargeBinary => count(values.as_binary::<i64>().iter()),
        other => match other.primitive_width() {
            Some(width) => {
                let data = values.to_data();
                let bytes = data.buffers()[0].as_slice();
                let value = |row: usize| {
                    let start = (data.offset() + row) * width;
                    values.is_valid(row).then(|| &bytes[start..start + width])
                };
                count((0..values.len()).map(value))
            }
            None => 0,
        },
    }
}

fn count<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> usize {
    // Hashes stand for values: a rare collision changes an estimate, not data.
    let hasher = RandomState::new();
    values.flatten().map(|value| hasher.hash_one(value)).collect::<HashSet<u64>>().len()
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
