//! The contract of a destination. Every implementation runs it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use async_trait::async_trait;
use bytes::Bytes;
use data_exchange_agent::destination::{Destination, PartName, PartWriter, StoredPart, Target, Upload};
use data_exchange_agent::task::{Compression, FileFormat, FileReceipt, TaskId};
use futures::future::try_join_all;
use sha2::{Digest, Sha256};

/// Looks at a store from outside, not through the code under test.
#[async_trait]
pub(crate) trait Reader: Send + Sync {
    /// The files that readers see directly in `path`: name and content.
    async fn visible(&self, path: &str) -> BTreeMap<String, Vec<u8>>;

    /// Everything else that is kept anywhere in the store: temporary files, unfinished uploads.
    async fn hidden(&self) -> Vec<String>;

    /// Whether unfinished files can be seen at all; false where they are not in the store, or the
    /// store neither shows nor deletes them.
    fn shows_hidden(&self) -> bool {
        true
    }

    /// Where a file is, as a receipt must name it.
    fn location(&self, path: &str, name: &str) -> String;
}

/// Runs the whole contract, each rule in a path of its own.
pub(crate) async fn check_destination(destination: &dyn Destination, reader: &dyn Reader) {
    destination.check().await.expect("the store is there");
    assert!(destination.part_buffer_bytes() > 0);
    files_appear_at_the_commit_and_not_before(destination, reader).await;
    abort_leaves_nothing(destination, reader).await;
    a_repeated_attempt_does_not_double(destination, reader).await;
    a_dead_attempt_leaves_nothing_behind_the_next(destination, reader).await;
    a_retracted_task_leaves_nothing(destination, reader).await;
    a_file_is_deleted_by_its_name(destination, reader).await;
    an_overtaken_attempt_cannot_commit(destination, reader).await;
    files_are_written_at_the_same_time(destination, reader).await;
    a_large_file_is_complete(destination, reader).await;
    an_empty_file_is_a_file(destination, reader).await;
    any_path_is_a_place(destination, reader).await;
}

async fn files_appear_at_the_commit_and_not_before(destination: &dyn Destination, reader: &dyn Reader) {
    let target = target("a", "visible");
    let upload = destination.begin(&target).await.expect("begin");
    let contents = [content(1, 1000), content(2, 300_000)];
    let mut parts = Vec::new();
    for (number, content) in (1..).zip(&contents) {
        parts.push(write(&*upload, &part(&target, number), content, 777).await);
        assert_eq!(reader.visible("visible").await, BTreeMap::new());
    }
    let mut expected = parts.clone();
    let receipts = upload.commit(parts).await.expect("commit");

    let found = reader.visible("visible").await;
    assert_eq!(found.len(), 2);
    expected.sort_by(|left, right| left.name.cmp(&right.name));
    for ((receipt, part), content) in receipts.iter().zip(&expected).zip(&contents) {
        assert!(found[part.name.as_str()] == *content, "{} has another content", part.name);
        assert_eq!(
            *receipt,
            FileReceipt {
                location: reader.location("visible", part.name.as_str()),
                rows: 7,
                bytes: content.len() as u64,
                sha256: sha256(content),
            }
        );
    }
    assert_eq!(reader.hidden().await, Vec::<String>::new());
}

async fn abort_leaves_nothing(destination: &dyn Destination, reader: &dyn Reader) {
    let target = target("a", "aborted");
    let upload = destination.begin(&target).await.expect("begin");
    write(&*upload, &part(&target, 1), &content(1, 1000), 1000).await;
    // More than any adapter holds back, so that some of it has left the process.
    let mut unfinished = upload.create(&part(&target, 2)).await.expect("create");
    write_chunks(&mut *unfinished, &content(2, 11 * 1024 * 1024), 1024 * 1024).await;
    drop(unfinished);
    let untouched = upload.create(&part(&target, 3)).await.expect("create");
    drop(untouched);
    upload.abort().await;
    assert_eq!(reader.visible("aborted").await, BTreeMap::new());
    assert_eq!(reader.hidden().await, Vec::<String>::new());
}

async fn a_repeated_attempt_does_not_double(destination: &dyn Destination, reader: &dyn Reader) {
    let other = target("a_result_001", "repeated");
    commit_files(destination, &other, &[content(9, 99)]).await;
    let own = target("a", "repeated");
    commit_files(destination, &own, &[content(1, 10), content(2, 20), content(3, 30)]).await;
    assert_eq!(reader.visible("repeated").await.len(), 4);

    let upload = destination.begin(&own).await.expect("begin");
    let stored = write(&*upload, &part(&own, 1), &content(4, 40), 1000).await;
    let before = reader.visible("repeated").await;
    assert_eq!(
        before["task_a_result_001.parquet"],
        content(1, 10),
        "the earlier files stay until the commit"
    );
    assert_eq!(before.len(), 4);
    upload.commit(vec![stored]).await.expect("commit");

    let expected = BTreeMap::from([
        ("task_a_result_001.parquet".to_owned(), content(4, 40)),
        ("task_a_result_001_result_001.parquet".to_owned(), content(9, 99)),
    ]);
    assert_eq!(reader.visible("repeated").await, expected);

    // A file of another format is a file of the same task.
    let upload = destination.begin(&own).await.expect("begin");
    let name = PartName::new(&own.task, NonZeroU32::MIN, FileFormat::Csv, Compression::Gzip);
    let stored = write(&*upload, &name, &content(5, 50), 1000).await;
    upload.commit(vec![stored]).await.expect("commit");
    let found: Vec<String> = reader.visible("repeated").await.into_keys().collect();
    assert_eq!(found, ["task_a_result_001.csv.gz", "task_a_result_001_result_001.parquet"]);
    assert_eq!(reader.hidden().await, Vec::<String>::new());
}

async fn a_dead_attempt_leaves_nothing_behind_the_next(destination: &dyn Destination, reader: &dyn Reader) {
    let own = target("a", "dead");
    let upload = destination.begin(&own).await.expect("begin");
    for number in 1..=3 {
        write(&*upload, &part(&own, number), &content(1, 100), 1000).await;
    }
    drop(upload);
    let other = target("a_result_001", "dead");
    let living = destination.begin(&other).await.expect("begin");
    let stored = write(&*living, &part(&other, 1), &content(9, 90), 1000).await;
    if reader.shows_hidden() {
        assert_eq!(reader.hidden().await.len(), 4);
    }

    commit_files(destination, &own, &[content(2, 200)]).await;
    if reader.shows_hidden() {
        assert_eq!(reader.hidden().await.len(), 1, "the other task still writes");
    }
    living.commit(vec![stored]).await.expect("the other task is not disturbed");
    assert_eq!(reader.visible("dead").await.len(), 2);
    assert_eq!(reader.hidden().await, Vec::<String>::new());
}

async fn a_retracted_task_leaves_nothing(destination: &dyn Destination, reader: &dyn Reader) {
    let other = target("a_result_001", "retracted");
    commit_files(destination, &other, &[content(9, 99)]).await;
    let own = target("a", "retracted");
    commit_files(destination, &own, &[content(1, 10), content(2, 20)]).await;
    let dead = destination.begin(&own).await.expect("begin");
    write(&*dead, &part(&own, 1), &content(3, 30), 1000).await;
    drop(dead);
    // The second time there is nothing.
    for _ in 0..2 {
        destination.retract(&own).await.expect("retract");
        let found: Vec<String> = reader.visible("retracted").await.into_keys().collect();
        assert_eq!(found, ["task_a_result_001_result_001.parquet"], "another task's file stays");
        assert_eq!(reader.hidden().await, Vec::<String>::new());
    }
}

async fn a_file_is_deleted_by_its_name(destination: &dyn Destination, reader: &dyn Reader) {
    let own = target("a", "deleted");
    commit_files(destination, &own, &[content(1, 10), content(2, 20)]).await;
    // The second time it is gone already.
    for _ in 0..2 {
        destination.delete(&own, &part(&own, 1)).await.expect("delete");
        let found: Vec<String> = reader.visible("deleted").await.into_keys().collect();
        assert_eq!(found, ["task_a_result_002.parquet"], "another file stays");
    }
    destination.delete(&own, &part(&own, 2)).await.expect("delete");
    assert_eq!(reader.visible("deleted").await, BTreeMap::new());
    assert_eq!(reader.hidden().await, Vec::<String>::new());
}

async fn an_overtaken_attempt_cannot_commit(destination: &dyn Destination, reader: &dyn Reader) {
    let own = target("a", "overtaken");
    let late = destination.begin(&own).await.expect("begin");
    let stored = write(&*late, &part(&own, 1), &content(1, 100), 1000).await;
    commit_files(destination, &own, &[content(2, 200)]).await;
    late.commit(vec![stored]).await.expect_err("a newer attempt has committed");
    let expected = BTreeMap::from([("task_a_result_001.parquet".to_owned(), content(2, 200))]);
    assert_eq!(reader.visible("overtaken").await, expected);
    assert_eq!(reader.hidden().await, Vec::<String>::new());
}

async fn files_are_written_at_the_same_time(destination: &dyn Destination, reader: &dyn Reader) {
    let own = target("a", "parallel");
    let upload = destination.begin(&own).await.expect("begin");
    let contents: Vec<Vec<u8>> = (1_u64..=12)
        .map(|number| content(number, 50_000 * usize::try_from(number).expect("small")))
        .collect();
    let writes = (1..).zip(&contents).map(|(number, content)| {
        let (upload, name) = (&*upload, part(&own, number));
        async move { Ok::<_, std::convert::Infallible>(write(upload, &name, content, 4096).await) }
    });
    let parts = try_join_all(writes).await.expect("infallible");
    let receipts = upload.commit(parts).await.expect("commit");
    let found = reader.visible("parallel").await;
    assert_eq!(found.len(), contents.len());
    for (receipt, content) in receipts.iter().zip(&contents) {
        assert_eq!(receipt.sha256, sha256(content), "receipts are in the order of the parts");
    }
    for (found, content) in found.values().zip(&contents) {
        assert!(found == content, "a file has another content");
    }
}

async fn a_large_file_is_complete(destination: &dyn Destination, reader: &dyn Reader) {
    // Chunks that are smaller, larger and not a divisor of a part.
    for (path, chunk) in [("large/small-chunks", 70_001), ("large/large-chunks", 12_000_017)] {
        let content = content(3, 27 * 1024 * 1024 + 5);
        let own = target("a", path);
        let upload = destination.begin(&own).await.expect("begin");
        let stored = write(&*upload, &part(&own, 1), &content, chunk).await;
        let receipts = upload.commit(vec![stored]).await.expect("commit");
        assert_eq!(receipts[0].sha256, sha256(&content));
        assert!(reader.visible(path).await["task_a_result_001.parquet"] == content);
    }
}

async fn an_empty_file_is_a_file(destination: &dyn Destination, reader: &dyn Reader) {
    let own = target("a", "empty");
    commit_files(destination, &own, &[Vec::new()]).await;
    let expected = BTreeMap::from([("task_a_result_001.parquet".to_owned(), Vec::new())]);
    assert_eq!(reader.visible("empty").await, expected);
}

async fn any_path_is_a_place(destination: &dyn Destination, reader: &dyn Reader) {
    for path in ["", "one", "one/two/three", "it's/a \"long\" way/to 50%+#?&=/Zürich 日本"] {
        let own = target("path", path);
        let upload = destination.begin(&own).await.expect("begin");
        let stored = write(&*upload, &part(&own, 1), path.as_bytes(), 1000).await;
        let receipts = upload.commit(vec![stored]).await.expect("commit");
        let name = "task_path_result_001.parquet";
        assert_eq!(reader.visible(path).await[name], path.as_bytes());
        assert_eq!(receipts[0].location, reader.location(path, name));
    }
    let own = target("slashes", "/one/two/");
    commit_files(destination, &own, &[b"x".to_vec()]).await;
    assert!(reader.visible("one/two").await.contains_key("task_slashes_result_001.parquet"));
}

pub(crate) fn target(task: &str, path: &str) -> Target {
    Target { task: TaskId::parse(task).expect("valid id"), attempt: 1, path: path.to_owned(), load: None }
}

pub(crate) fn part(target: &Target, number: u32) -> PartName {
    let number = NonZeroU32::new(number).expect("from 1");
    PartName::new(&target.task, number, FileFormat::Parquet, Compression::Zstd)
}

/// `length` bytes that are the same for the same `seed` and look like no pattern (xorshift64).
pub(crate) fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// One finished part of 7 rows.
pub(crate) async fn write(upload: &dyn Upload, name: &PartName, content: &[u8], chunk: usize) -> StoredPart {
    let mut writer = upload.create(name).await.expect("create");
    write_chunks(&mut *writer, content, chunk).await;
    let stored = writer.finish(7).await.expect("finish");
    assert_eq!((stored.name.clone(), stored.rows, stored.bytes), (name.clone(), 7, content.len() as u64));
    assert_eq!(stored.sha256, sha256(content));
    stored
}

pub(crate) async fn write_chunks(writer: &mut dyn PartWriter, content: &[u8], chunk: usize) {
    for chunk in content.chunks(chunk) {
        writer.write(Bytes::copy_from_slice(chunk)).await.expect("write");
    }
}

/// A whole attempt.
pub(crate) async fn commit_files(
    destination: &dyn Destination,
    target: &Target,
    contents: &[Vec<u8>],
) -> Vec<FileReceipt> {
    let upload = destination.begin(target).await.expect("begin");
    let mut parts = Vec::new();
    for (number, content) in (1..).zip(contents) {
        parts.push(write(&*upload, &part(target, number), content, 65_536).await);
    }
    upload.commit(parts).await.expect("commit")
}

fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}
