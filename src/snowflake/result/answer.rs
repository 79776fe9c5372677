//! What `data` of an answer says about its rows.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{ACTION, Column, Row, arrow, json};
use crate::config::Secret;
use crate::fault::FaultKind;
use crate::snowflake::envelope::{count, text, truth};
use crate::snowflake::error::Error;

/// Headers that open encrypted chunks.
const ENCRYPTION_ALGORITHM: &str = "x-amz-server-side-encryption-customer-algorithm";
const ENCRYPTION_KEY: &str = "x-amz-server-side-encryption-customer-key";

/// An answer with rows, or without any.
pub(super) struct Answer {
    pub(super) query_id: Option<String>,
    pub(super) columns: Arc<Vec<Column>>,
    pub(super) format: Format,
    pub(super) inline: Inline,
    pub(super) chunks: Vec<Chunk>,
    pub(super) headers: Vec<(String, Secret)>,
    total: Option<u64>,
}

/// The form of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Arrow,
}

/// Rows inside the answer.
#[derive(Default)]
pub(super) enum Inline {
    #[default]
    Nothing,
    Json(Vec<Value>),
    Arrow(String),
}

/// Rows elsewhere.
#[derive(Clone)]
pub(super) struct Chunk {
    /// Signed.
    pub(super) url: Secret,
    pub(super) rows: u64,
}

impl Answer {
    /// Reads `data`. Members that are missing are taken as servers mean it.
    pub(super) fn parse(mut data: Value) -> Result<Self, Error> {
        let query_id = text(&data, "queryId");
        let columns = data.get("rowtype").and_then(Value::as_array).into_iter().flatten().map(column);
        let columns = Arc::new(columns.collect::<Vec<_>>());
        let base64 = text(&data, "rowsetBase64");
        let format = match text(&data, "queryResultFormat") {
            Some(format) if format.eq_ignore_ascii_case("arrow") => Format::Arrow,
            Some(format) if format.eq_ignore_ascii_case("json") => Format::Json,
            Some(format) => {
                return Err(Error::new(FaultKind::Request, ACTION)
                    .message(format!("the result format `{format}` is unknown"))
                    .of_query(query_id.as_deref()));
            }
            None if base64.is_some() => Format::Arrow,
            None => Format::Json,
        };
        let inline = match (format, base64, data.get_mut("rowset").map(Value::take)) {
            (Format::Arrow, Some(base64), _) if !base64.is_empty() => Inline::Arrow(base64),
            (Format::Arrow, _, Some(Value::Array(rows))) if !rows.is_empty() => Inline::Json(rows),
            (Format::Json, _, Some(Value::Array(rows))) => Inline::Json(rows),
            (Format::Arrow | Format::Json, _, _) => Inline::Nothing,
        };
        let mut chunks = Vec::new();
        for chunk in data.get("chunks").and_then(Value::as_array).into_iter().flatten() {
            let (Some(url), Some(rows)) = (text(chunk, "url"), count(chunk, "rowCount")) else {
                return Err(Error::new(FaultKind::Transient, ACTION)
                    .message("a chunk of the result has no address or no row count")
                    .of_query(query_id.as_deref()));
            };
            chunks.push(Chunk { url: Secret::new(url), rows });
        }
        let headers = headers(&data);
        let total = count(&data, "total");
        Ok(Self { query_id, columns, format, inline, chunks, headers, total })
    }

    /// How many rows have to be inside the answer; `None` when it does not say.
    pub(super) fn inline_count(&self) -> Option<u64> {
        let elsewhere = self.chunks.iter().fold(0, |sum: u64, chunk| sum.saturating_add(chunk.rows));
        // More rows elsewhere than there are at all cannot be read in any way.
        self.total.map(|total| total.checked_sub(elsewhere).unwrap_or(u64::MAX))
    }

    /// The error about a result that does not have the rows that it should.
    pub(super) fn miscounted(&self, counted: usize) -> Error {
        let total = self.total.map_or_else(|| "an unknown number of".to_owned(), |total| total.to_string());
        let elsewhere = self.chunks.iter().fold(0, |sum: u64, chunk| sum.saturating_add(chunk.rows));
        Error::new(FaultKind::Transient, ACTION)
            .message(format!(
                "the result should have {total} rows, {elsewhere} of them in {} chunks, and {counted} were read",
                self.chunks.len()
            ))
            .of_query(self.query_id.as_deref())
    }
}

impl Inline {
    pub(super) fn decode(self, columns: &[Column]) -> Result<Vec<Row>, Error> {
        match self {
            Self::Nothing => Ok(Vec::new()),
            Self::Json(rows) => json::rows(rows, columns),
            Self::Arrow(text) => {
                let bytes = STANDARD
                    .decode(text.trim())
                    .map_err(|error| Error::new(FaultKind::Transient, ACTION).because(error))?;
                arrow::rows(bytes, columns)
            }
        }
    }
}

fn column(entry: &Value) -> Column {
    let small = |name| count(entry, name).and_then(|number| u8::try_from(number).ok());
    Column {
        name: text(entry, "name").unwrap_or_default(),
        data_type: text(entry, "type").unwrap_or_else(|| "text".to_owned()).to_ascii_lowercase(),
        nullable: truth(entry, "nullable").unwrap_or(true),
        precision: small("precision"),
        scale: small("scale"),
        length: count(entry, "length"),
    }
}

/// The headers for chunks: those that are given, or those that follow from the key.
fn headers(data: &Value) -> Vec<(String, Secret)> {
    if let Some(Value::Object(headers)) = data.get("chunkHeaders") {
        let texts =
            headers.iter().filter_map(|(name, value)| Some((name.clone(), Secret::new(value.as_str()?))));
        return texts.collect();
    }
    match text(data, "qrmk") {
        Some(key) => vec![
            (ENCRYPTION_ALGORITHM.to_owned(), Secret::new("AES256")),
            (ENCRYPTION_KEY.to_owned(), Secret::new(key)),
        ],
        None => Vec::new(),
    }
}
