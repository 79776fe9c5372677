//! Results in chunks: put together in order, counted, fetched again.

use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::snowflake::Statement;
use serde_json::json;

use super::{chunked, double, texts};
use crate::support::snowflake::query::{Answer, ChunkReply};

fn body(text: &str) -> ChunkReply {
    ChunkReply::Body(text.into())
}

#[tokio::test]
async fn chunks_are_put_together_in_order_and_counted() {
    let (double, client) = double().await;
    let chunks: Vec<_> = (0..20)
        .map(|index| {
            let rows = format!("[\"{}\"],\n[\"{}\"]", 2 * index + 1, 2 * index + 2);
            let reply = if index % 2 == 0 { body(&rows) } else { ChunkReply::gzip(rows.as_bytes()) };
            // A storage service has bad moments.
            let replies = if index == 7 { vec![ChunkReply::Status(503), reply] } else { vec![reply] };
            (double.put_chunk(replies, &[("x-amz-server-side-encryption-customer-key", "cXJtaw==")]), 2)
        })
        .collect();
    double.answer("BY KEY", Answer::data(chunked(&chunks, json!({"qrmk": "cXJtaw=="}))));
    let headers = json!({"chunkHeaders": {"x-amz-server-side-encryption-customer-key": "cXJtaw=="}});
    double.answer("BY HEADERS", Answer::data(chunked(&chunks, headers)));
    for sql in ["BY KEY", "BY HEADERS"] {
        let table = client.run(&Statement::new(sql)).await.unwrap();
        let numbers: Vec<usize> = texts(&table).iter().map(|row| row[0].parse().unwrap()).collect();
        assert_eq!(numbers, (0..=40).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_short_chunk_is_fetched_once_more_and_never_believed() {
    let (double, client) = double().await;
    let mended = double.put_chunk(vec![body("[\"1\"]"), body("[\"1\"],[\"2\"]")], &[]);
    let broken = double.put_chunk(vec![body("[\"1\"]")], &[]);
    let garbled = double.put_chunk(vec![body("[\"1\"],[")], &[]);
    double.answer("MENDED", Answer::data(chunked(&[(mended, 2)], json!({}))));
    double.answer("BROKEN", Answer::data(chunked(&[(broken, 2)], json!({}))));
    double.answer("GARBLED", Answer::data(chunked(&[(garbled, 2)], json!({}))));
    double.answer("INLINE", Answer::data(chunked(&[], json!({"total": 2}))));
    let table = client.run(&Statement::new("MENDED")).await.unwrap();
    assert_eq!(texts(&table), [["0"], ["1"], ["2"]]);
    for (sql, words) in [
        ("BROKEN", "chunk 1 of the result should have 2 rows and has 1"),
        ("GARBLED", "no JSON"),
        ("INLINE", "should have 2 rows"),
    ] {
        let error = client.run(&Statement::new(sql)).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.kind() == FaultKind::Transient && error.query_id().is_some(), "{error}");
        assert!(!format!("{error:?}").contains("5ec2e7"), "{error:?}");
    }
}

#[tokio::test]
async fn expired_chunks_are_signed_anew() {
    let (double, client) = double().await;
    let chunk = double.put_chunk(vec![ChunkReply::Status(403), body("[\"1\"]")], &[]);
    let gone = double.put_chunk(vec![ChunkReply::Status(403)], &[]);
    double.answer("EXPIRED", Answer::data(chunked(&[(chunk, 1)], json!({}))));
    double.answer("GONE", Answer::data(chunked(&[(gone, 1)], json!({}))));
    assert_eq!(texts(&client.run(&Statement::new("EXPIRED")).await.unwrap()), [["0"], ["1"]]);
    let error = client.run(&Statement::new("GONE")).await.unwrap_err();
    assert!(error.to_string().contains("HTTP status 403"), "{error}");
    let looks = double.seen("/queries/").iter().filter(|seen| seen.path.ends_with("/result")).count();
    assert_eq!(looks, 2, "each result was asked for once more");
}
