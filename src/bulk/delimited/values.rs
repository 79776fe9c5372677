//! The fields of one column into an Arrow array: one loop, and no allocation for a value.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, BooleanBufferBuilder, NullBufferBuilder,
    PrimitiveArray, StringArray,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};

use super::rows::Fields;
use super::{decimal, number, temporal};
use crate::schema::Column;
use crate::source::TextForms;

/// A field that is no value of its column.
#[derive(Debug)]
pub(super) struct Wrong {
    /// In the batch, from 0.
    pub(super) row: usize,
    pub(super) reason: &'static str,
}

/// What a field turned out to be.
pub(super) enum Read<T> {
    Value(T),
    /// No value of its type, and the forms may say that it is NULL then.
    Impossible(&'static str),
    /// A special value that the type does not have.
    Special(&'static str),
    /// Something else.
    Not(&'static str),
}

/// Decodes a column.
pub(super) fn decode(fields: &Fields<'_>, column: &Column, forms: TextForms) -> Result<ArrayRef, Wrong> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    macro_rules! primitive {
        ($kind:ty, $read:expr) => {
            primitive::<$kind>(fields, &column.data_type, forms, $read)
        };
    }
    macro_rules! timestamp {
        ($kind:ty, $unit:expr, $zone:expr) => {{
            let zoned = $zone.is_some();
            primitive!($kind, move |text| temporal::timestamp(text, $unit, zoned))
        }};
    }
    match &column.data_type {
        DataType::Boolean => booleans(fields, forms),
        DataType::Int8 => primitive!(Int8Type, number::integer),
        DataType::Int16 => primitive!(Int16Type, number::integer),
        DataType::Int32 => primitive!(Int32Type, number::integer),
        DataType::Int64 => primitive!(Int64Type, number::integer),
        DataType::UInt8 => primitive!(UInt8Type, number::integer),
        DataType::UInt16 => primitive!(UInt16Type, number::integer),
        DataType::UInt32 => primitive!(UInt32Type, number::integer),
        DataType::UInt64 => primitive!(UInt64Type, number::integer),
        DataType::Float32 => primitive!(Float32Type, number::float),
        DataType::Float64 => primitive!(Float64Type, number::float),
        DataType::Decimal32(digits, scale) => {
            primitive!(Decimal32Type, decimal::narrow(*digits, *scale))
        }
        DataType::Decimal64(digits, scale) => {
            primitive!(Decimal64Type, decimal::narrow(*digits, *scale))
        }
        DataType::Decimal128(digits, scale) => {
            primitive!(Decimal128Type, decimal::narrow(*digits, *scale))
        }
        DataType::Decimal256(digits, scale) => {
            primitive!(Decimal256Type, decimal::wide(*digits, *scale))
        }
        DataType::Date32 => primitive!(Date32Type, temporal::date),
        DataType::Time32(Second) => primitive!(Time32SecondType, |text| temporal::time32(text, Second)),
        DataType::Time32(Millisecond) => {
            primitive!(Time32MillisecondType, |text| temporal::time32(text, Millisecond))
        }
        DataType::Time64(Microsecond) => {
            primitive!(Time64MicrosecondType, |text| temporal::time(text, Microsecond))
        }
        DataType::Time64(Nanosecond) => {
            primitive!(Time64NanosecondType, |text| temporal::time(text, Nanosecond))
        }
        DataType::Timestamp(Second, zone) => timestamp!(TimestampSecondType, Second, zone),
        DataType::Timestamp(Millisecond, zone) => timestamp!(TimestampMillisecondType, Millisecond, zone),
        DataType::Timestamp(Microsecond, zone) => timestamp!(TimestampMicrosecondType, Microsecond, zone),
        DataType::Timestamp(Nanosecond, zone) => timestamp!(TimestampNanosecondType, Nanosecond, zone),
        DataType::Utf8 => texts(fields, forms),
        DataType::Binary => binaries(fields),
        _ => Err(Wrong { row: 0, reason: "the column has a type that is not read from text" }),
    }
}

/// The value of a field; `None` is NULL.
fn settle<T>(read: Read<T>, forms: TextForms, row: usize) -> Result<Option<T>, Wrong> {
    match read {
        Read::Value(value) => Ok(Some(value)),
        Read::Impossible(_) if forms.impossible_dates_are_null => Ok(None),
        Read::Special(_) if forms.special_values_are_null => Ok(None),
        Read::Impossible(reason) | Read::Special(reason) | Read::Not(reason) => Err(Wrong { row, reason }),
    }
}

fn primitive<T: ArrowPrimitiveType>(
    fields: &Fields<'_>,
    data_type: &DataType,
    forms: TextForms,
    read: impl Fn(&[u8]) -> Read<T::Native>,
) -> Result<ArrayRef, Wrong> {
    let mut values = Vec::with_capacity(fields.len());
    let mut nulls = NullBufferBuilder::new(fields.len());
    for (row, field) in fields.iter().enumerate() {
        let value = match field {
            Some(text) => settle(read(text), forms, row)?,
            None => None,
        };
        nulls.append(value.is_some());
        values.push(value.unwrap_or_default());
    }
    let array = PrimitiveArray::<T>::new(ScalarBuffer::from(values), nulls.finish());
    Ok(Arc::new(array.with_data_type(data_type.clone())))
}

fn booleans(fields: &Fields<'_>, forms: TextForms) -> Result<ArrayRef, Wrong> {
    let mut values = BooleanBufferBuilder::new(fields.len());
    let mut nulls = NullBufferBuilder::new(fields.len());
    for (row, field) in fields.iter().enumerate() {
        let value = match field {
            Some(text) => settle(number::boolean(text), forms, row)?,
            None => None,
        };
        nulls.append(value.is_some());
        values.append(value.unwrap_or_default());
    }
    Ok(Arc::new(BooleanArray::new(values.finish(), nulls.finish())))
}

fn texts(fields: &Fields<'_>, forms: TextForms) -> Result<ArrayRef, Wrong> {
    let unmarked = |text: &mut &[u8]| -> Result<(), &'static str> {
        if forms.texts_are_marked {
            let [TextForms::MARK, rest @ ..] = *text else { return Err("a text lacks its mark") };
            *text = rest;
        }
        Ok(())
    };
    let (offsets, bytes, nulls) = variable(fields, |mut text, bytes| {
        unmarked(&mut text)?;
        bytes.extend_from_slice(text);
        Ok(())
    })?;
    // One check for the whole column; only a failure looks for its row.
    match StringArray::try_new(offsets, bytes.into(), nulls) {
        Ok(array) => Ok(Arc::new(array)),
        Err(_) => {
            let is_wrong =
                |field: Option<&[u8]>| field.is_some_and(|text| std::str::from_utf8(text).is_err());
            let row = fields.iter().position(is_wrong).unwrap_or_default();
            Err(Wrong { row, reason: "a text is not valid UTF-8" })
        }
    }
}

/// Bytes in hexadecimal, with or without `\x` or `0x` before them.
fn binaries(fields: &Fields<'_>) -> Result<ArrayRef, Wrong> {
    let (offsets, bytes, nulls) = variable(fields, |text, bytes| {
        let digits = text.strip_prefix(b"\\x").or_else(|| text.strip_prefix(b"0x")).unwrap_or(text);
        let (pairs, rest) = digits.as_chunks::<2>();
        if !rest.is_empty() {
            return Err("half of a byte is missing");
        }
        for [high, low] in pairs {
            let (Some(high), Some(low)) = (number::hexadecimal(*high), number::hexadecimal(*low)) else {
                return Err("a binary value is not in hexadecimal");
            };
            bytes.push(high << 4 | low);
        }
        Ok(())
    })?;
    Ok(Arc::new(BinaryArray::new(offsets, bytes.into(), nulls)))
}

type Variable = (OffsetBuffer<i32>, Vec<u8>, Option<arrow::buffer::NullBuffer>);

fn variable(
    fields: &Fields<'_>,
    put: impl Fn(&[u8], &mut Vec<u8>) -> Result<(), &'static str>,
) -> Result<Variable, Wrong> {
    let mut offsets = Vec::with_capacity(fields.len() + 1);
    let mut bytes = Vec::new();
    let mut nulls = NullBufferBuilder::new(fields.len());
    offsets.push(0);
    for (row, field) in fields.iter().enumerate() {
        if let Some(text) = field {
            put(text, &mut bytes).map_err(|reason| Wrong { row, reason })?;
        }
        nulls.append(field.is_some());
        let end = i32::try_from(bytes.len());
        offsets.push(end.map_err(|_| Wrong { row, reason: "the values of one batch exceed 2 GiB" })?);
    }
    Ok((OffsetBuffer::new(ScalarBuffer::from(offsets)), bytes, nulls.finish()))
}
