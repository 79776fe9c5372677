//! A directory as destination.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use data_exchange_agent::config::LocalTarget;
use data_exchange_agent::destination::Destination;
use data_exchange_agent::destination::local::LocalDestination;
use data_exchange_agent::fault::FaultKind;
use url::Url;

use crate::destinations::{Reader, check_destination, commit_files, content, part, target, write};
use crate::support::folder::Folder;

struct FolderReader(PathBuf);

#[async_trait]
impl Reader for FolderReader {
    async fn visible(&self, path: &str) -> BTreeMap<String, Vec<u8>> {
        files(&self.0.join(path))
            .into_iter()
            .filter(|(name, _)| !name.starts_with('.'))
            .map(|(name, file)| (name, fs::read(file).expect("read a file")))
            .collect()
    }

    async fn hidden(&self) -> Vec<String> {
        let mut hidden = Vec::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            hidden.extend(files(&folder).into_keys().filter(|name| name.starts_with('.')));
            let entries = fs::read_dir(&folder).expect("list a folder").map(|entry| entry.expect("an entry"));
            folders.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
        }
        hidden
    }

    fn location(&self, path: &str, name: &str) -> String {
        Url::from_file_path(self.0.join(path).join(name)).expect("absolute").to_string()
    }
}

/// The files of a folder by name; none when there is no such folder.
fn files(folder: &Path) -> BTreeMap<String, PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return BTreeMap::new() };
    entries
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.path().is_file())
        .map(|entry| (entry.file_name().into_string().expect("UTF-8"), entry.path()))
        .collect()
}

fn destination(root: impl Into<PathBuf>) -> LocalDestination {
    LocalDestination::new(&LocalTarget { root: root.into() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_directory_keeps_the_contract_of_a_destination() {
    let folder = Folder::new();
    let root = folder.path().join("created by the first attempt/root");
    check_destination(&destination(&root), &FolderReader(root)).await;
}

#[tokio::test]
async fn a_path_that_leaves_the_root_is_refused_by_name() {
    let folder = Folder::new();
    let root = folder.path().join("root");
    for path in ["..", "../outside", "a/../../outside", "/../outside", "a\0b"] {
        let fault = destination(&root).begin(&target("a", path)).await.err().expect(path);
        assert_eq!(fault.kind(), FaultKind::Request, "{path:?}");
        assert!(fault.to_string().contains(&format!("{path:?}")), "{fault}");
    }
    let absolute = target("a", "/etc/passwd.d");
    commit_files(&destination(&root), &absolute, &[content(1, 10)]).await;
    assert!(root.join("etc/passwd.d/task_a_result_001.parquet").is_file());
    assert!(!folder.path().join("outside").exists());
}

#[tokio::test]
async fn a_symbolic_link_is_followed_inside_the_root_only() {
    let folder = Folder::new();
    let root = folder.path().join("root");
    let outside = folder.path().join("root-of-others");
    fs::create_dir_all(root.join("inside")).expect("create");
    fs::create_dir(&outside).expect("create");
    symlink(&outside, root.join("out")).expect("link");
    symlink("inside", root.join("alias")).expect("link");

    for path in ["out", "out/deeper", "inside/./../out"] {
        let fault = destination(&root).begin(&target("a", path)).await.err().expect(path);
        assert_eq!(fault.kind(), FaultKind::Request);
        assert!(fault.to_string().contains(path), "{fault}");
    }
    assert_eq!(fs::read_dir(&outside).expect("list").count(), 0, "nothing was created outside");

    commit_files(&destination(&root), &target("a", "alias/deeper"), &[content(1, 10)]).await;
    assert!(root.join("inside/deeper/task_a_result_001.parquet").is_file());
}

#[tokio::test]
async fn a_link_in_place_of_a_file_is_replaced_and_not_written_through() {
    let folder = Folder::new();
    let precious = folder.path().join("precious");
    fs::write(&precious, "precious").expect("write");
    let root = folder.path().join("root");
    fs::create_dir(&root).expect("create");
    symlink(&precious, root.join("task_a_result_001.parquet")).expect("link");
    symlink(&precious, root.join("task_a_result_002.parquet")).expect("link");

    commit_files(&destination(&root), &target("a", ""), &[content(1, 10)]).await;
    assert_eq!(fs::read_to_string(&precious).expect("read"), "precious");
    assert_eq!(files(&root).into_keys().collect::<Vec<_>>(), ["task_a_result_001.parquet"]);
}

#[tokio::test]
async fn files_are_private_until_they_are_visible() {
    let folder = Folder::new();
    let own = target("a", "");
    let destination = destination(folder.path());
    let upload = destination.begin(&own).await.expect("begin");
    let mode = |name: &str| fs::metadata(folder.path().join(name)).expect("it is there").mode() & 0o777;
    let writer = upload.create(&part(&own, 1)).await.expect("create");
    let (name, _) = files(folder.path()).pop_first().expect("the temporary file");
    assert_eq!(mode(&name), 0o600);
    let stored = writer.finish(0).await.expect("finish");
    upload.commit(vec![stored]).await.expect("commit");
    let visible = mode("task_a_result_001.parquet");
    assert_eq!(visible & 0o600, 0o600);
    assert_eq!(visible & !0o644, 0, "nobody else writes, nobody executes");
}

#[tokio::test]
async fn a_file_where_a_directory_is_wanted_rejects_the_task() {
    let folder = Folder::new();
    fs::write(folder.path().join("taken"), "x").expect("write");
    for path in ["taken", "taken/deeper"] {
        let fault = destination(folder.path()).begin(&target("a", path)).await.err().expect(path);
        assert_eq!(fault.kind(), FaultKind::Request, "{}", fault.chain());
        assert!(fault.to_string().contains("taken"), "{fault}");
    }
    let root = destination(folder.path().join("taken"));
    assert_eq!(root.check().await.expect_err("a file").kind(), FaultKind::Request);
}

#[tokio::test]
async fn files_of_people_stay() {
    let folder = Folder::new();
    let names = [".task_a_result_001.parquet.mine.tmp", "task_a_result_001.parquet.bak", "README"];
    for name in names {
        fs::write(folder.path().join(name), "x").expect("write");
    }
    fs::create_dir(folder.path().join("task_a_result_009.parquet")).expect("create");
    commit_files(&destination(folder.path()), &target("a", ""), &[content(1, 10)]).await;
    for name in names {
        assert!(folder.path().join(name).is_file(), "{name}");
    }
    assert!(folder.path().join("task_a_result_009.parquet").is_dir());
}

#[tokio::test]
async fn a_temporary_file_that_vanished_fails_the_commit() {
    let folder = Folder::new();
    let own = target("a", "");
    let destination = destination(folder.path());
    let upload = destination.begin(&own).await.expect("begin");
    let stored = write(&*upload, &part(&own, 1), &content(1, 100), 1000).await;
    fs::write(folder.path().join(&stored.token), "cut short").expect("write");
    let fault = upload.commit(vec![stored]).await.expect_err("another size");
    assert!(fault.to_string().contains("task_a_result_001.parquet"), "{fault}");
    assert_eq!(files(folder.path()), BTreeMap::new());
}
