//! Rows as JSON: arrays of texts and nulls.

use serde_json::Value;

use super::{ACTION, Column, Row, text};
use crate::fault::FaultKind;
use crate::snowflake::error::Error;

/// The rows of an array.
pub(super) fn rows(rows: Vec<Value>, columns: &[Column]) -> Result<Vec<Row>, Error> {
    rows.into_iter().map(|row| self::row(row, columns)).collect()
}

/// The rows of a chunk: an array without its brackets.
pub(super) fn chunk(body: &[u8], columns: &[Column]) -> Result<Vec<Row>, Error> {
    let mut array = Vec::with_capacity(body.len() + 2);
    array.push(b'[');
    array.extend_from_slice(body);
    array.push(b']');
    let parsed: Vec<Value> = serde_json::from_slice(&array).map_err(|error| {
        Error::new(FaultKind::Transient, ACTION).message(format!(
            "a chunk is no JSON (at byte {} of line {})",
            error.column(),
            error.line()
        ))
    })?;
    rows(parsed, columns)
}

fn row(row: Value, columns: &[Column]) -> Result<Row, Error> {
    let Value::Array(cells) = row else {
        return Err(Error::new(FaultKind::Transient, ACTION).message("a row of the result is no array"));
    };
    if !columns.is_empty() && cells.len() != columns.len() {
        return Err(Error::new(FaultKind::Transient, ACTION).message(format!(
            "a row of the result has {} cells for {} columns",
            cells.len(),
            columns.len()
        )));
    }
    let cells = cells.into_iter().enumerate();
    Ok(cells.map(|(place, cell)| self::cell(cell, columns.get(place))).collect())
}

fn cell(cell: Value, column: Option<&Column>) -> Option<String> {
    let raw = match cell {
        Value::Null => return None,
        Value::String(text) => text,
        other => other.to_string(),
    };
    // A text that is not what the type says is kept as it is: better seen than lost.
    Some(column.and_then(|column| text::readable(&raw, column)).unwrap_or(raw))
}
