//! Delimited text into Arrow, with the types of the described query.
//!
//! ```text
//! bytes -> Rows (fields of whole rows, unescaped, one after the other) -> one loop for each column
//! ```
//!
//! A [`Layout`] says how fields and rows are told apart in the output of a program. The fields of a
//! batch lie in one buffer, and each column is then decoded in one loop that allocates nothing for a
//! value. Anything that is not exactly as it was announced ends the decoding with a [`Fault`] that
//! names row and column and never the value.

mod decimal;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod layout;
mod number;
mod rows;
mod temporal;
mod values;

#[cfg(test)]
mod tests;

use arrow::array::{ArrayRef, RecordBatch};

use self::layout::Broken;
pub use self::layout::{Layout, Quoting};
use self::rows::Rows;
use crate::fault::{Fault, FaultKind};
use crate::schema::TableSchema;
use crate::source::{BatchLimits, TextForms};

/// Decodes the output of one program.
#[derive(Debug)]
pub struct Decoder {
    rows: Rows,
    schema: TableSchema,
    forms: TextForms,
    limits: BatchLimits,
    /// Rows of the batches that were taken out.
    taken: u64,
}

impl Decoder {
    /// A decoder of rows with the columns of `schema`. A row of more than `longest_row` bytes is an
    /// error.
    #[must_use]
    pub fn new(
        layout: Layout,
        schema: TableSchema,
        forms: TextForms,
        limits: BatchLimits,
        longest_row: usize,
    ) -> Self {
        let rows = Rows::new(layout, schema.columns().len(), longest_row);
        Self { rows, schema, forms, limits, taken: 0 }
    }

    /// Rows that were read so far, those of batches included that are not taken out yet.
    #[must_use]
    pub fn row_count(&self) -> u64 {
        self.taken + self.rows.complete() as u64
    }

    /// Reads from the beginning of `bytes` until they end or a batch is full. Returns how many were
    /// read.
    pub fn push(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let most = self.limits.rows.get();
        self.rows.push(bytes, most, self.limits.bytes.get()).map_err(|broken| self.broken(&broken))
    }

    /// True when the next batch is as large as it may be.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.rows.complete() > 0
            && (self.rows.complete() >= self.limits.rows.get()
                || self.rows.byte_size() >= self.limits.bytes.get())
    }

    /// Takes the rows that are complete out as a batch; `None` when there are none.
    pub fn take(&mut self) -> Result<Option<RecordBatch>, Fault> {
        let count = self.rows.complete();
        if count == 0 {
            return Ok(None);
        }
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.schema.columns().len());
        for (position, column) in self.schema.columns().iter().enumerate() {
            let fields = self.rows.column(position);
            let array = values::decode(&fields, column, self.forms).map_err(|wrong| {
                let row = self.taken + wrong.row as u64 + 1;
                Fault::new(FaultKind::Data, format!("decode row {row}, column `{}`", column.name))
                    .because(wrong.reason)
            })?;
            arrays.push(array);
        }
        let batch = RecordBatch::try_new(self.schema.arrow(), arrays).map_err(|_error| {
            // The only promise that a field can break here is that there is no NULL.
            Fault::new(FaultKind::Data, "decode a batch of rows").because("a column without NULL has one")
        })?;
        self.rows.clear();
        self.taken += count as u64;
        Ok(Some(batch))
    }

    /// Says whether the output ended where a row ended.
    pub fn finish(&mut self) -> Result<(), Fault> {
        self.rows.finish().map_err(|broken| self.broken(&broken))
    }

    /// The number of rows that the output itself announced at its end, where the layout has that.
    #[must_use]
    pub fn announced(&self) -> Option<u64> {
        self.rows.announced()
    }

    fn broken(&self, broken: &Broken) -> Fault {
        let row = self.row_count() + 1;
        let columns = self.schema.columns();
        let action = match columns.get(self.rows.open_fields()) {
            Some(column) => format!("read row {row}, column `{}`", column.name),
            None => format!("read row {row} after its last column `{}`", columns[columns.len() - 1].name),
        };
        let fault = Fault::new(FaultKind::Data, action).because(match broken {
            Broken::TooFew => {
                format!("the row ends after {} of {} fields", self.rows.open_fields() + 1, columns.len())
            }
            other => other.to_string(),
        });
        match broken {
            Broken::TooLong(_) => fault.remedy("Raise `longest_row` in the section of the utility."),
            Broken::TooFew | Broken::TooMany => fault.remedy(
                "A value may hold the terminator of fields or rows: choose others that no value has.",
            ),
            Broken::HalfRow | Broken::Header | Broken::Escape | Broken::Quote | Broken::Announcement => fault,
        }
    }
}
