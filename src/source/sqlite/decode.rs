//! From values of SQLite to Arrow arrays: one decoder for each column, chosen once.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BinaryBuilder, BooleanBuilder, Decimal128Builder, Float64Builder, Int64Builder,
    RecordBatch, StringBuilder,
};
use arrow::datatypes::{DataType, SchemaRef};
use sqlx::sqlite::{Sqlite, SqliteRow, SqliteValueRef};
use sqlx::{Decode, Row, TypeInfo, ValueRef};

use super::column_kind::ColumnKind;
use super::decimal;
use super::describe::{Plan, PlannedColumn};
use crate::fault::{Fault, FaultKind};
use crate::source::BatchLimits;

/// Offsets of one Arrow array are 32 bits wide: a batch is ended early enough that one more row,
/// with the largest value that SQLite has (10^9 bytes), written in hexadecimal, still fits.
const MAX_BATCH_BYTES: usize = 64 << 20;

/// The class of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Integer,
    Real,
    Text,
    Blob,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Self::Integer => "an integer",
            Self::Real => "a real",
            Self::Text => "text",
            Self::Blob => "a blob",
        }
    }

    /// The class, or `None` for NULL.
    fn of(value: &SqliteValueRef<'_>) -> Option<Self> {
        if value.is_null() {
            return None;
        }
        match value.type_info().name() {
            "INTEGER" => Some(Self::Integer),
            "REAL" => Some(Self::Real),
            "TEXT" => Some(Self::Text),
            _ => Some(Self::Blob),
        }
    }
}

/// The value cannot be held by the column.
struct Unfit(Class);

/// Appends the values of one column to an array.
trait Decoder: Send {
    /// Appends a value; returns its bytes. After an error the batch is given up.
    fn append(&mut self, value: SqliteValueRef<'_>) -> Result<usize, Unfit>;

    /// Takes the array.
    fn finish(&mut self) -> ArrayRef;
}

fn decoder(kind: ColumnKind) -> Box<dyn Decoder> {
    match kind {
        ColumnKind::Boolean => Box::new(Booleans(BooleanBuilder::new())),
        ColumnKind::Integer => Box::new(Integers(Int64Builder::new())),
        ColumnKind::Real => Box::new(Reals(Float64Builder::new())),
        ColumnKind::Decimal { precision, scale } => {
            let builder = Decimal128Builder::new().with_data_type(DataType::Decimal128(precision, scale));
            Box::new(Decimals { builder, precision, scale, buffer: String::new() })
        }
        ColumnKind::Text => Box::new(Texts { builder: StringBuilder::new(), numbers: false, blobs: false }),
        ColumnKind::TextOrNumber => {
            Box::new(Texts { builder: StringBuilder::new(), numbers: true, blobs: false })
        }
        ColumnKind::AnyAsText => {
            Box::new(Texts { builder: StringBuilder::new(), numbers: true, blobs: true })
        }
        ColumnKind::Binary => Box::new(Blobs(BinaryBuilder::new())),
    }
}

/// The integer in a value of class integer.
fn integer(value: SqliteValueRef<'_>) -> Result<i64, Unfit> {
    <i64 as Decode<'_, Sqlite>>::decode(value).map_err(|_| Unfit(Class::Integer))
}

/// The double in a value of class real.
fn real(value: SqliteValueRef<'_>) -> Result<f64, Unfit> {
    <f64 as Decode<'_, Sqlite>>::decode(value).map_err(|_| Unfit(Class::Real))
}

/// The text in a value of class text; refused when it is not UTF-8, which SQLite does not check.
fn text(value: SqliteValueRef<'_>) -> Result<&str, Unfit> {
    <&str as Decode<'_, Sqlite>>::decode(value).map_err(|_| Unfit(Class::Text))
}

/// The bytes in a value of class blob.
fn blob(value: SqliteValueRef<'_>) -> Result<&[u8], Unfit> {
    <&[u8] as Decode<'_, Sqlite>>::decode(value).map_err(|_| Unfit(Class::Blob))
}

struct Booleans(BooleanBuilder);

impl Decoder for Booleans {
    fn append(&mut self, value: SqliteValueRef<'_>) -> Result<usize, Unfit> {
        match Class::of(&value) {
            None => self.0.append_null(),
            Some(Class::Integer) => match integer(value)? {
                number @ (0 | 1) => self.0.append_value(number == 1),
                _ => return Err(Unfit(Class::Integer)),
            },
            Some(class) => return Err(Unfit(class)),
        }
        Ok(1)
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }
}

struct Integers(Int64Builder);

impl Decoder for Integers {
    fn append(&mut self, value: SqliteValueRef<'_>) -> Result<usize, Unfit> {
        match Class::of(&value) {
            None => self.0.append_null(),
            Some(Class::Integer) => self.0.append_value(integer(value)?),
            Some(class) => return Err(Unfit(class)),
        }
        Ok(size_of::<i64>())
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }
}

struct Reals(Float64Builder);

impl Decoder for Reals {
    fn append(&mut self, value: SqliteValueRef<'_>) -> Result<usize, Unfit> {
        /// Every integer up to here is exactly a double.
        const EXACT: u64 = 1 << 53;
        match Class::of(&value) {
            None => self.0.append_null(),
            Some(Class::Real) => self.0.append_value(real(value)?),
            Some(Class::Integer) => {
                let number = integer(value)?;
                if number.unsigned_abs() > EXACT {
                    return Err(Unfit(Class::Integer));
                }
                self.0.append_value(number as f64);
            }
            Some(class) => return Err(Unfit(class)),
        }
        Ok(size_of::<f64>())
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }
}

struct Decimals {
    builder: Decimal128Builder,
    precision: u8,
    scale: i8,
    buffer: String,
}

impl Decoder for Decimals {
    fn append(&mut self, value: SqliteValueRef<'_>) -> Result<usize, Unfit> {
        let Some(class) = Class::of(&value) else {
            self.builder.append_null();
            return Ok(size_of::<i128>());
        };
        let (precision, scale) = (self.precision, self.scale);
        let units = match class {
            Class::Integer => decimal::from_integer(integer(value)?, precision, scale),
            Class::Real => decimal::from_real(real(value)?, precision, scale, &mut self.buffer),
            Class::Text => decimal::from_text(text(value)?, precision, scale),
            Class::Blob => None,
        };
        self.builder.append_value(units.ok_or(Unfit(class))?);
        Ok(size_of::<i128>())
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.builder.finish())
    }
}

struct Texts {
    builder: StringBuilder,
    numbers: bool,
    blobs: bool,
}

impl Texts {
    /// Writes what `Display` gives. Writing to memory does not fail.
    fn append_display(&mut self, value: impl std::fmt::Display) {
        write!(self.builder, "{value}").expect("memory takes every text");
        self.builder.append_value("");
    }

    /// The shortest decimal that is the same double again, with a point or an exponent.
    fn append_real(&mut self, value: f64) {
        if value.is_infinite() {
            self.builder.append_value(if value > 0.0 { "Infinity" } else { "-Infinity" });
        } else {
            self.append_display(format_args!("{value:?}"));
        }
    }

    fn append_blob(&mut self, bytes: &[u8]) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let mut hexadecimal = String::with_capacity(bytes.len() * 2 + 3);
        hexadecimal.push_str("X'");
        for byte in bytes {
            hexadecimal.push(char::from(DIGITS[usize::from(byte >> 4)]));
            hexadecimal.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        hexadecimal.push('\'');
        self.builder.append_value(hexadecimal);
    }
}

impl Decoder for Texts {
    fn append(&mut self, value: SqliteValueRef<'_>) -> Result<usize, Unfit> {
        let before = self.builder.values_slice().len();
        match Class::of(&value) {
            None => self.builder.append_null(),
            Some(Class::Text) => self.builder.append_value(text(value)?),
            Some(Class::Integer) if self.numbers => {
                let number = integer(value)?;
                self.append_display(number);
            }
            Some(Class::Real) if self.numbers => {
                let number = real(value)?;
                self.append_real(number);
            }
            Some(Class::Blob) if self.blobs => {
                let bytes = blob(value)?;
                self.append_blob(bytes);
            }
            Some(class) => return Err(Unfit(class)),
        }
        Ok(size_of::<i32>() + self.builder.values_slice().len() - before)
    }

    fn finish(&mut self) -> ArrayRef {
        let rows = self.builder.len();
        let bytes = self.builder.values_slice().len();
        let array = Arc::new(self.builder.finish());
        // The next batch is likely as large: no growing by doubling again.
        self.builder = StringBuilder::with_capacity(rows, bytes.min(MAX_BATCH_BYTES));
        array
    }
}

struct Blobs(BinaryBuilder);

impl Decoder for Blobs {
    fn append(&mut self, value: SqliteValueRef<'_>) -> Result<usize, Unfit> {
        let before = self.0.values_slice().len();
        match Class::of(&value) {
            None => self.0.append_null(),
            Some(Class::Blob) => self.0.append_value(blob(value)?),
            Some(class) => return Err(Unfit(class)),
        }
        Ok(size_of::<i32>() + self.0.values_slice().len() - before)
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }
}

/// Collects rows into batches.
pub(super) struct BatchDecoder {
    columns: Vec<PlannedColumn>,
    decoders: Vec<Box<dyn Decoder>>,
    schema: SchemaRef,
    width: usize,
    limits: BatchLimits,
    rows: usize,
    bytes: usize,
    /// Rows of earlier batches.
    rows_before: u64,
}

impl BatchDecoder {
    pub(super) fn new(plan: &Plan, limits: BatchLimits) -> Self {
        Self {
            columns: plan.columns.clone(),
            decoders: plan.columns.iter().map(|column| decoder(column.kind)).collect(),
            schema: plan.schema.arrow(),
            width: plan.width,
            limits,
            rows: 0,
            bytes: 0,
            rows_before: 0,
        }
    }

    /// Appends a row; returns the batch when it is full.
    pub(super) fn push(&mut self, row: &SqliteRow) -> Result<Option<RecordBatch>, Fault> {
        if row.len() != self.width {
            let action = "decode a row: its columns are not those that were described";
            return Err(Fault::new(FaultKind::Bug, action));
        }
        for (column, decoder) in self.columns.iter().zip(&mut self.decoders) {
            let value = row.try_get_raw(column.position).expect("a position below the width");
            match decoder.append(value) {
                Ok(bytes) => self.bytes += bytes,
                Err(Unfit(class)) => return Err(self.unfit(column, class)),
            }
        }
        self.rows += 1;
        let full =
            self.rows >= self.limits.rows.get() || self.bytes >= self.limits.bytes.get().min(MAX_BATCH_BYTES);
        if full { self.take().map(Some) } else { Ok(None) }
    }

    /// The rows that are left at the end, if any.
    pub(super) fn finish(mut self) -> Result<Option<RecordBatch>, Fault> {
        if self.rows == 0 { Ok(None) } else { self.take().map(Some) }
    }

    fn take(&mut self) -> Result<RecordBatch, Fault> {
        let arrays = self.decoders.iter_mut().map(|decoder| decoder.finish()).collect();
        self.rows_before += self.rows as u64;
        (self.rows, self.bytes) = (0, 0);
        // What can differ from the schema is only a NULL where SQLite promised none: its own
        // constraints were switched off, or the file is damaged.
        RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(|error| {
            Fault::new(FaultKind::Data, "decode rows").because(error).remedy(
                "Run PRAGMA integrity_check on the database, and correct the rows that break a NOT NULL.",
            )
        })
    }

    fn unfit(&self, column: &PlannedColumn, class: Class) -> Fault {
        let row = self.rows_before + self.rows as u64 + 1;
        let expected = column.kind.expectation();
        let found = class.name();
        Fault::new(FaultKind::Data, format!("decode {}, row {row}", column.label))
            .because(format!("it should hold {expected}, but this value is {found} that is not"))
            .remedy(
                "Read a query that has CAST(... AS TEXT) in place of the column to keep every value as it is, \
                 or correct the rows in the database.",
            )
    }
}
