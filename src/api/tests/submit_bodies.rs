//! `POST /tasks`: bodies that nobody expects, of any content or large.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

/// JSON that looks like a task here and there.
fn any_json() -> impl Strategy<Value = Value> {
    const NAMES: [&str; 26] = [
        "id",
        "task_type",
        "source_config",
        "destination_config",
        "database",
        "query",
        "table",
        "columns",
        "slices",
        "slice_column",
        "batch_size",
        "type",
        "path",
        "connection",
        "format",
        "compression",
        "max_file_size",
        "max_attempts",
        "timeout",
        "priority",
        "engine",
        "statement",
        "schema",
        "source_type",
        "upload_type",
        "upload_path",
    ];
    let name =
        prop_oneof![4 => proptest::sample::select(&NAMES[..]).prop_map(str::to_owned), 1 => any::<String>()];
    let text = prop_oneof![
        proptest::sample::select(
            &["sales", "local", "s3", "jdbc", "csv", "SELECT 1", "1h", "64MiB", "a/b", "data_extraction"][..]
        )
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..100u64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            1 => proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => proptest::collection::btree_map(name.clone(), inner, 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

#[test]
fn no_body_is_answered_with_a_server_error() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let agent = runtime.block_on(Agent::start());
    let mut runner = TestRunner::new(Config { cases: 500, failure_persistence: None, ..Config::default() });
    runner
        .run(&any_json(), |body| {
            let answer = runtime.block_on(agent.submit(&body));
            prop_assert!([200, 202, 409, 422].contains(&answer.status.as_u16()), "{}", answer.text);
            prop_assert_eq!(answer.status == 422, answer.body["errors"].is_array());
            Ok(())
        })
        .unwrap();
    // One wrong field in a good task gets further into the reading.
    let place = proptest::sample::select(
        &[
            "/source_config",
            "/destination_config/path",
            "/source_config/query",
            "/timeout",
            "/id",
            "/priority",
        ][..],
    );
    runner
        .run(&(place, any_json()), |(pointer, value)| {
            let answer = runtime.block_on(agent.submit(&with(nested("1"), pointer, value)));
            prop_assert!([200, 202, 409, 422].contains(&answer.status.as_u16()), "{}", answer.text);
            Ok(())
        })
        .unwrap();
    runtime.block_on(async { drop(agent) });
}

#[tokio::test]
async fn large_bodies_have_room_for_a_few_at_a_time() {
    use tokio::io::AsyncWriteExt;

    let agent = Agent::start().await;
    let address = agent.base.strip_prefix("http://").unwrap();
    let mut slow = Vec::new();
    // More than there is room for; none of them sends its end.
    for _ in 0..80 {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = "POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                    Content-Length: 200000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b' '; 100_000]).await.unwrap();
        slow.push(stream);
    }
    let query = format!("SELECT 1 {}", " ".repeat(100_000));
    let large = |id: usize| with(nested(&id.to_string()), "/source_config/query", json!(query));
    let mut id = 0;
    let full = async {
        loop {
            id += 1;
            let answer = agent.submit(&large(id)).await;
            if answer.status != 202 {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(PATIENCE, full).await.expect("they get in the way of each other");
    answer.assert_problem(503, "unavailable");
    assert_eq!(answer.header("retry-after"), "5");
    assert_eq!(agent.submit(&nested("small")).await.status, 202, "small ones go on");
    drop(slow);
    let free = async {
        while agent.submit(&large(id)).await.status != 202 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, free).await.expect("there is room again");
}
