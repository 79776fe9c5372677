//! What servers of tests need of the machine: a user, a folder, programs, settings.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::oneshot;

/// The user that runs servers in place of root.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Runs a program to its end without holding up the runtime.
pub(crate) async fn run(mut command: Command) -> Output {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let output = command.output().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        // The test may have given up meanwhile.
        let _ = sender.send(output);
    });
    receiver.await.expect("the thread sends what the program said, or has panicked")
}

pub(crate) trait ExpectSuccess {
    fn expect_success(&self, what: &str);
}

impl ExpectSuccess for Output {
    fn expect_success(&self, what: &str) {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&self.stdout), text(&self.stderr));
        assert!(self.status.success(), "{what}: {}\n{out}{err}", self.status);
    }
}

#[expect(clippy::disallowed_methods, reason = "settings of the tests, not of the agent")]
pub(crate) fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A new private folder, with the account that servers have to run as when this process is root's.
///
/// The name is short, because the path of a Unix socket has at most 107 bytes.
pub(crate) fn create_folder() -> (PathBuf, Option<Account>) {
    static COUNTER: AtomicUsize = AtomicUsize::new(0);
    loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-postgres-{}-{number}", std::process::id());
        // TMPDIR may be too long for a socket, and out of reach for the server's own user.
        let folder = Path::new("/tmp").join(name);
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            Err(error) => panic!("create {}: {error}", folder.display()),
        }
        let this_user = fs::metadata(&folder).expect("just created").uid();
        let account = (this_user == 0).then(account_for_servers);
        if let Some(Account { uid, gid }) = account {
            chown(&folder, Some(uid), Some(gid)).expect("root may give a folder away");
        }
        return (folder, account);
    }
}

fn account_for_servers() -> Account {
    let users = fs::read_to_string("/etc/passwd").expect("read /etc/passwd");
    let account = |wanted: &str| {
        users.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, uid, gid, ..] = fields[..] else { return None };
            (name == wanted).then_some(Account { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
        })
    };
    account("postgres")
        .or_else(|| account("nobody"))
        .expect("a user 'postgres' or 'nobody' to run servers as")
}
