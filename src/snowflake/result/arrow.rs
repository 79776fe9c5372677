//! Rows as streams of Arrow's inter-process format.
//!
//! What a column means stands in the metadata of its field, because integers carry decimals and
//! structures carry timestamps. The width of integers can differ from chunk to chunk.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::types::{Decimal128Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type};
use arrow::array::{Array, AsArray, RecordBatch, StructArray};
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::{ACTION, Column, Row, frames, text};
use crate::fault::FaultKind;
use crate::snowflake::error::Error;
use crate::snowflake::statement::{OFFSET_BASE, hexadecimal};

/// Digits of the fraction of a second when nothing says it.
const FINEST: u8 = 9;
/// Digits of the longest number that Snowflake has.
const LONGEST_NUMBER: i16 = 38;

/// One cell for each row.
type Cells = Vec<Option<String>>;

/// The rows of one stream.
pub(super) fn rows(stream: Vec<u8>, columns: &[Column]) -> Result<Vec<Row>, Error> {
    frames::check(&stream).map_err(|problem| unreadable(ArrowError::ParseError(problem.to_owned())))?;
    // The library's reader panics on a schema that is broken in certain ways. Nothing of it is left
    // behind then.
    let batches = catch_unwind(AssertUnwindSafe(|| {
        StreamReader::try_new(Cursor::new(stream), None)?.collect::<Result<Vec<_>, _>>()
    }));
    let batches = batches
        .unwrap_or_else(|_| Err(ArrowError::ParseError("its messages contradict each other".to_owned())))
        .map_err(unreadable)?;
    let mut rows = Vec::new();
    for batch in &batches {
        append(batch, columns, &mut rows)?;
    }
    Ok(rows)
}

fn append(batch: &RecordBatch, columns: &[Column], rows: &mut Vec<Row>) -> Result<(), Error> {
    if !columns.is_empty() && columns.len() != batch.num_columns() {
        return Err(Error::new(FaultKind::Transient, ACTION).message(format!(
            "the result has {} columns and its rows have {}",
            columns.len(),
            batch.num_columns()
        )));
    }
    let first = rows.len();
    rows.extend((0..batch.num_rows()).map(|_| Row::with_capacity(batch.num_columns())));
    for (place, (field, array)) in batch.schema().fields().iter().zip(batch.columns()).enumerate() {
        let meaning = Meaning::of(field, columns.get(place));
        let cells = cells(array.as_ref(), &meaning).map_err(unreadable)?;
        for (row, cell) in rows[first..].iter_mut().zip(cells) {
            row.push(cell);
        }
    }
    Ok(())
}

/// What the numbers of a column mean.
struct Meaning {
    logical_type: String,
    scale: Option<u8>,
}

impl Meaning {
    fn of(field: &Field, column: Option<&Column>) -> Self {
        let says = |name: &str| field.metadata().get(name);
        let logical_type = match says("logicalType") {
            Some(logical_type) => logical_type.to_ascii_lowercase(),
            None => column.map(|column| column.data_type.clone()).unwrap_or_default(),
        };
        let scale = says("scale").and_then(|scale| scale.parse().ok());
        Self { logical_type, scale: scale.or_else(|| column.and_then(|column| column.scale)) }
    }

    fn digits_of_seconds(&self) -> u8 {
        self.scale.unwrap_or(FINEST).min(FINEST)
    }

    /// A count of fractions of a second, as nanoseconds.
    fn nanoseconds(&self, count: i64) -> i128 {
        let missing = FINEST - self.digits_of_seconds();
        i128::from(count) * 10_i128.pow(u32::from(missing))
    }

    fn integer(&self, number: i64) -> Option<String> {
        match self.logical_type.as_str() {
            "date" => text::date(number),
            "time" => text::time(self.nanoseconds(number), self.digits_of_seconds()),
            "timestamp_ntz" => text::timestamp(self.nanoseconds(number), self.digits_of_seconds()),
            "timestamp_ltz" | "timestamp_tz" => {
                text::timestamp_with_offset(self.nanoseconds(number), 0, self.digits_of_seconds())
            }
            _ => Some(text::decimal(number.into(), self.scale.unwrap_or(0))),
        }
    }
}

fn cells(array: &dyn Array, meaning: &Meaning) -> Result<Cells, ArrowError> {
    if let Some(numbers) = integers(array) {
        return present(numbers, |number| meaning.integer(number));
    }
    match array.data_type() {
        DataType::Decimal128(_, own_scale) => {
            let scale = meaning.scale.or_else(|| u8::try_from(*own_scale).ok()).unwrap_or(0);
            let numbers = array.as_primitive::<Decimal128Type>().iter();
            Ok(numbers.map(|number| number.map(|number| text::decimal(number, scale))).collect())
        }
        DataType::Float64 => {
            let numbers = array.as_primitive::<Float64Type>().iter();
            Ok(numbers.map(|number| number.map(text::real)).collect())
        }
        DataType::Utf8 => Ok(array.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()),
        DataType::LargeUtf8 => {
            Ok(array.as_string::<i64>().iter().map(|text| text.map(str::to_owned)).collect())
        }
        DataType::Boolean => {
            Ok(array.as_boolean().iter().map(|truth| truth.map(|truth| truth.to_string())).collect())
        }
        DataType::Binary => Ok(array.as_binary::<i32>().iter().map(|bytes| bytes.map(hexadecimal)).collect()),
        DataType::LargeBinary => {
            Ok(array.as_binary::<i64>().iter().map(|bytes| bytes.map(hexadecimal)).collect())
        }
        DataType::Struct(_) => {
            let structure = array.as_struct();
            if structure.column_by_name("epoch").is_some() {
                timestamps(structure, meaning)
            } else if structure.column_by_name("significand").is_some() {
                floating_decimals(structure)
            } else {
                displayed(array)
            }
        }
        // Days, nested values, and types of the future.
        _ => displayed(array),
    }
}

/// Integers of any width; `None` when the array has something else.
fn integers(array: &dyn Array) -> Option<Vec<Option<i64>>> {
    Some(match array.data_type() {
        DataType::Int8 => {
            array.as_primitive::<Int8Type>().iter().map(|number| number.map(i64::from)).collect()
        }
        DataType::Int16 => {
            array.as_primitive::<Int16Type>().iter().map(|number| number.map(i64::from)).collect()
        }
        DataType::Int32 => {
            array.as_primitive::<Int32Type>().iter().map(|number| number.map(i64::from)).collect()
        }
        DataType::Int64 => array.as_primitive::<Int64Type>().iter().collect(),
        _ => return None,
    })
}

/// The texts of values; a value that has none is an error.
fn present<T>(
    values: impl IntoIterator<Item = Option<T>>,
    text: impl Fn(T) -> Option<String>,
) -> Result<Cells, ArrowError> {
    let values = values.into_iter();
    values.map(|value| value.map(|value| text(value).ok_or_else(out_of_range)).transpose()).collect()
}

/// Seconds, or fractions of them, beside nanoseconds and an offset where the type has them.
fn timestamps(structure: &StructArray, meaning: &Meaning) -> Result<Cells, ArrowError> {
    let child = |name| structure.column_by_name(name).map(|array| integers(array.as_ref()));
    let (Some(Some(epochs)), fractions, zones) = (child("epoch"), child("fraction"), child("timezone"))
    else {
        return displayed(structure);
    };
    let (fractions, zones) = (fractions.flatten(), zones.flatten());
    let at = |numbers: &Option<Vec<Option<i64>>>, row: usize| {
        numbers.as_ref().and_then(|numbers| numbers.get(row).copied()).flatten()
    };
    let has_offset =
        zones.is_some() || matches!(meaning.logical_type.as_str(), "timestamp_ltz" | "timestamp_tz");
    let text = |(row, epoch): (usize, i64)| {
        let instant = match &fractions {
            Some(_) => {
                i128::from(epoch) * 1_000_000_000 + i128::from(at(&fractions, row).unwrap_or_default())
            }
            None => meaning.nanoseconds(epoch),
        };
        let digits = meaning.digits_of_seconds();
        if has_offset {
            let offset = at(&zones, row).unwrap_or(OFFSET_BASE).checked_sub(OFFSET_BASE)?;
            text::timestamp_with_offset(instant, offset, digits)
        } else {
            text::timestamp(instant, digits)
        }
    };
    // A timestamp is NULL when the structure is, and when its seconds are.
    let epochs = epochs.into_iter().enumerate();
    present(
        epochs.map(|(row, epoch)| epoch.filter(|_| structure.is_valid(row)).map(|epoch| (row, epoch))),
        text,
    )
}

/// Decimal numbers with an exponent each.
fn floating_decimals(structure: &StructArray) -> Result<Cells, ArrowError> {
    let exponents = structure.column_by_name("exponent").and_then(|array| integers(array.as_ref()));
    let significands = structure.column_by_name("significand").and_then(|array| array.as_binary_opt::<i32>());
    let (Some(exponents), Some(significands)) = (exponents, significands) else {
        return displayed(structure);
    };
    let rows = exponents.into_iter().zip(significands.iter()).enumerate();
    present(
        rows.map(|(row, (exponent, significand))| {
            exponent.zip(significand).filter(|_| structure.is_valid(row))
        }),
        |(exponent, significand)| {
            let exponent = i16::try_from(exponent).ok()?;
            floating_decimal(signed(significand)?, exponent)
        },
    )
}

/// Big-endian two's complement.
fn signed(bytes: &[u8]) -> Option<i128> {
    let is_negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let filling = if is_negative { 0xff } else { 0 };
    let start = bytes.len().saturating_sub(16);
    if bytes[..start].iter().any(|byte| *byte != filling) {
        return None;
    }
    let mut value = [filling; 16];
    let length = bytes.len() - start;
    value[16 - length..].copy_from_slice(&bytes[start..]);
    Some(i128::from_be_bytes(value))
}

fn floating_decimal(significand: i128, exponent: i16) -> Option<String> {
    Some(match exponent {
        ..=-1 if exponent >= -LONGEST_NUMBER => {
            text::decimal(significand, u8::try_from(exponent.unsigned_abs()).ok()?)
        }
        0 => significand.to_string(),
        1..=LONGEST_NUMBER => {
            let zeros = usize::try_from(exponent).ok()?;
            if significand == 0 { "0".to_owned() } else { format!("{significand}{}", "0".repeat(zeros)) }
        }
        _ => format!("{significand}e{exponent}"),
    })
}

fn displayed(array: &dyn Array) -> Result<Cells, ArrowError> {
    let options = FormatOptions::default().with_display_error(false);
    let formatter = ArrayFormatter::try_new(array, &options)?;
    let cell = |row| {
        if array.is_null(row) { Ok(None) } else { formatter.value(row).try_to_string().map(Some) }
    };
    (0..array.len()).map(cell).collect()
}

fn out_of_range() -> ArrowError {
    ArrowError::ParseError("a date or time is out of range".to_owned())
}

fn unreadable(error: ArrowError) -> Error {
    Error::new(FaultKind::Transient, ACTION)
        .message(format!("the rows are no readable Arrow stream: {error}"))
}
