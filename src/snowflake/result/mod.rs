//! The rows of an answer, whichever form they came in.
//!
//! JSON and Arrow give the same texts, so that callers need not know which of them the server chose.
//! Rows come with the answer, and in chunks that are fetched in parallel from where the server put
//! them. Both are counted; a result that is short is an error, never a short table.

mod answer;
mod arrow;
mod chunks;
mod frames;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod json;
#[cfg(test)]
mod tests;
mod text;

use std::sync::Arc;

use serde_json::Value;

use self::answer::Answer;
pub(super) use self::chunks::unpacked;
use super::error::Error;
use super::query;
use super::session::Session;
use crate::fault::FaultKind;
use crate::shutdown::spawn_blocking;

pub(super) const ACTION: &str = "read a result from Snowflake";

/// A row: one text for each column, `None` for NULL.
pub type Row = Vec<Option<String>>;

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name; upper-case unless it was quoted.
    pub name: String,
    /// Snowflake's name of the type, in lower case: `fixed`, `text`, `timestamp_ntz`, `variant` ...
    pub data_type: String,
    /// False when it is known to have no NULL.
    pub nullable: bool,
    /// Digits of a `fixed`.
    pub precision: Option<u8>,
    /// Digits behind the point of a `fixed`, or of the seconds of a time.
    pub scale: Option<u8>,
    /// Longest text, in characters.
    pub length: Option<u64>,
}

/// A result. Cells are texts:
///
/// | Type | Text |
/// |---|---|
/// | fixed, decfloat | `12.50` |
/// | real | `1.5`, `1e300`, `inf`, `-inf`, `NaN` |
/// | boolean | `true`, `false` |
/// | date | `2024-02-29` |
/// | time | `23:59:59.123`, with the digits of its scale |
/// | timestamp_ntz | `2024-02-29 23:59:59.123` |
/// | timestamp_ltz | the same in UTC: `2024-02-29 23:59:59.123 +00:00` |
/// | timestamp_tz | `2024-02-29 23:59:59.123 +01:00` |
/// | binary | hexadecimal, upper case |
/// | variant, object, array | JSON |
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows, in order.
    pub rows: Vec<Row>,
    /// The identifier of the query.
    pub query_id: Option<String>,
}

impl Table {
    /// The place of a column: the exact name, or the same without regard to case.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        let exact = self.columns.iter().position(|column| column.name == name);
        exact.or_else(|| self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name)))
    }

    /// The cell of `row` in the column `name`; `None` for NULL, and where there is no such cell.
    #[must_use]
    pub fn value<'a>(&self, row: &'a Row, name: &str) -> Option<&'a str> {
        row.get(self.column(name)?)?.as_deref()
    }

    /// The only cell: the answer of a procedure, or `SELECT count(*)`.
    #[must_use]
    pub fn single(&self) -> Option<&str> {
        self.rows.first()?.first()?.as_deref()
    }

    /// Rows that INSERT, UPDATE, DELETE or MERGE has changed, added up; `None` for other statements.
    #[must_use]
    pub fn changed_rows(&self) -> Option<u64> {
        let row = self.rows.first()?;
        let counts = ["number of rows inserted", "number of rows updated", "number of rows deleted"];
        let counts = counts.iter().filter_map(|name| self.value(row, name)?.parse::<u64>().ok());
        counts.reduce(u64::saturating_add)
    }
}

/// Reads the table that `data` of an answer tells of.
pub(super) async fn read(session: &Arc<Session>, data: Value) -> Result<Table, Error> {
    let mut answer = Answer::parse(data)?;
    let mut rows = inline_rows(&mut answer).await?;
    if answer.inline_count().is_some_and(|wanted| wanted != rows.len() as u64) {
        // Once more, as drivers do; after that it is an error.
        let query_id = answer.query_id.clone().unwrap_or_default();
        let short = answer.miscounted(rows.len());
        let Ok(data) = query::fetch(session, &query_id).await else { return Err(short) };
        answer = Answer::parse(data)?;
        rows = inline_rows(&mut answer).await?;
        if answer.inline_count().is_some_and(|wanted| wanted != rows.len() as u64) {
            return Err(answer.miscounted(rows.len()));
        }
    }
    if !answer.chunks.is_empty() {
        let counted = rows.len();
        rows.extend(chunks::download(session, &answer).await?);
        let wanted = answer.chunks.iter().map(|chunk| chunk.rows).sum::<u64>();
        if wanted != (rows.len() - counted) as u64 {
            return Err(answer.miscounted(rows.len()));
        }
    }
    Ok(Table { columns: Arc::unwrap_or_clone(answer.columns), rows, query_id: answer.query_id })
}

/// The rows that came with the answer.
async fn inline_rows(answer: &mut Answer) -> Result<Vec<Row>, Error> {
    let inline = std::mem::take(&mut answer.inline);
    let columns = Arc::clone(&answer.columns);
    let rows = decode(move || inline.decode(&columns)).await;
    rows.map_err(|error| error.of_query(answer.query_id.as_deref()))
}

/// Decodes on a thread of its own: results can be large, and a defect in a decoder then ends one
/// statement.
async fn decode<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::new(FaultKind::Bug, ACTION).because(error)),
    }
}
