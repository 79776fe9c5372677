//! An entry for the fuzzer: any bytes as an answer, as a chunk, and as a stream of Arrow.

use super::answer::Answer;
use super::{Column, arrow, chunks, json};
use crate::snowflake::client::QueryStatus;
use crate::snowflake::envelope::Envelope;
use crate::snowflake::query_context::QueryContext;

/// Reads `input` in the way that its first byte says. Nothing that a server sends may end in a panic,
/// and every row has a cell for each column.
pub fn decode(input: &[u8]) {
    // The fuzzer's own hook ends the process at a panic that is caught as well as at one that is not.
    #[cfg(fuzzing)]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    }
    let Some((way, body)) = input.split_first() else { return };
    let column = |name: &str, data_type: &str| Column {
        name: name.to_owned(),
        data_type: data_type.to_owned(),
        nullable: true,
        precision: None,
        scale: Some(way >> 4),
        length: None,
    };
    let kinds =
        ["fixed", "date", "time", "timestamp_ntz", "timestamp_ltz", "timestamp_tz", "boolean", "real"];
    let kind = kinds[usize::from(way >> 2) % kinds.len()];
    let columns = [column("A", kind), column("B", "text")];
    match way % 4 {
        0 => answer(body),
        1 => {
            let rows = chunks::unpacked(body.to_vec()).and_then(|body| json::chunk(&body, &columns));
            assert!(rows.iter().flatten().all(|row| row.len() == columns.len()), "a cell for each column");
        }
        2 => drop(arrow::rows(body.to_vec(), &columns[..1])),
        _ => drop(arrow::rows(body.to_vec(), &[])),
    }
}

fn answer(body: &[u8]) {
    let Some(envelope) = Envelope::parse(body) else { return };
    let _ = envelope.is_in_progress();
    if !envelope.success {
        let error = envelope.error("read an answer");
        assert!(!error.to_string().contains('\n'), "an error is one line");
    }
    let mut context = QueryContext::default();
    context.update(&envelope.data);
    let _ = context.to_json();
    let queries = envelope.data.get("queries").and_then(serde_json::Value::as_array);
    let _ = QueryStatus::read(queries.and_then(|queries| queries.first()));
    let Ok(answer) = Answer::parse(envelope.data) else { return };
    let _ = answer.inline_count();
    let columns = answer.columns.len();
    if let Ok(rows) = answer.inline.decode(&answer.columns) {
        assert!(rows.iter().all(|row| columns == 0 || row.len() == columns), "a cell for each column");
    }
}
