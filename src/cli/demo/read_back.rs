//! Reads the files of the demo and sums them up, as a reader that knows only the files.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use arrow::array::{Array, ArrowPrimitiveType, AsArray, RecordBatch};
use arrow::compute;
use arrow::datatypes::{Decimal128Type, Float64Type, Int64Type};
use arrow::util::pretty::pretty_format_batches;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::sample::SampleTotals;

/// Rows that are shown.
const SHOWN: usize = 5;

/// The totals over all files.
pub(super) fn totals(files: &[PathBuf]) -> anyhow::Result<SampleTotals> {
    let mut totals = SampleTotals {
        rows: 0,
        id_sum: 0,
        quantity_sum: 0,
        unit_price_cents: 0,
        discount_sum: 0.0,
        paid: 0,
        not_shipped: 0,
        without_note: 0,
        note_bytes: 0,
        first_order: None,
        last_order: None,
    };
    for file in files {
        for batch in open(file)?.build()? {
            let batch = batch.with_context(|| format!("read {}", file.display()))?;
            add(&mut totals, &batch).with_context(|| format!("sum up {}", file.display()))?;
        }
    }
    Ok(totals)
}

/// The first rows of a file as a table.
pub(super) fn first_rows(file: &Path) -> anyhow::Result<String> {
    let reader: ParquetRecordBatchReader = open(file)?.with_limit(SHOWN).build()?;
    let batches = reader.collect::<Result<Vec<RecordBatch>, _>>()?;
    Ok(pretty_format_batches(&batches)?.to_string())
}

fn open(file: &Path) -> anyhow::Result<ParquetRecordBatchReaderBuilder<File>> {
    let opened = File::open(file).with_context(|| format!("open {}", file.display()))?;
    ParquetRecordBatchReaderBuilder::try_new(opened)
        .with_context(|| format!("read the footer of {}", file.display()))
}

fn add(totals: &mut SampleTotals, batch: &RecordBatch) -> anyhow::Result<()> {
    totals.rows += batch.num_rows() as u64;
    totals.id_sum += sum::<Int64Type>(batch, "id")?.unwrap_or_default();
    totals.quantity_sum += sum::<Int64Type>(batch, "quantity")?.unwrap_or_default();
    let cents = sum::<Decimal128Type>(batch, "unit_price")?.unwrap_or_default();
    totals.unit_price_cents += i64::try_from(cents).context("sum unit_price")?;
    totals.discount_sum += sum::<Float64Type>(batch, "discount")?.unwrap_or_default();
    let paid = column(batch, "paid")?.as_boolean_opt().context("paid is not boolean")?;
    totals.paid += paid.true_count() as u64;
    totals.not_shipped += column(batch, "shipped")?.null_count() as u64;
    let note = column(batch, "note")?.as_string_opt::<i32>().context("note is not text")?;
    totals.without_note += note.null_count() as u64;
    totals.note_bytes += note.iter().flatten().map(|text| text.len() as u64).sum::<u64>();
    let ordered_at = column(batch, "ordered_at")?.as_string_opt::<i32>().context("ordered_at is not text")?;
    let first = compute::min_string(ordered_at).map(str::to_owned);
    let last = compute::max_string(ordered_at).map(str::to_owned);
    totals.first_order = totals.first_order.take().into_iter().chain(first).min();
    totals.last_order = totals.last_order.take().into_iter().chain(last).max();
    Ok(())
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> anyhow::Result<&'a dyn Array> {
    let array = batch.column_by_name(name).with_context(|| format!("there is no column {name}"))?;
    Ok(array.as_ref())
}

fn sum<T: ArrowPrimitiveType>(batch: &RecordBatch, name: &str) -> anyhow::Result<Option<T::Native>> {
    let array = column(batch, name)?;
    let array = array.as_primitive_opt::<T>().with_context(|| format!("{name} is {}", array.data_type()))?;
    // Checked: a sum that wraps around would prove nothing.
    Ok(compute::sum_checked(array)?)
}
