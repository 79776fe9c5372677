//! Foreign servers that never outlive the tests.
//!
//! A server is the child of a small shell script whose standard input is a pipe from the test
//! process. The pipe closes when the [`Server`] is dropped, and also when the process is killed;
//! the script then kills the server and removes its folder.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time for a server to start; a machine that runs all tests at once is slow.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// Pause between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The traps keep the script alive on Ctrl-C, so that it can clean up; unlike ignored signals,
/// they are not inherited by the server. KILL, because a server without tests has nothing to save.
const KEEPER: &str = r#"
trap : INT TERM HUP
folder=$1
shift
"$@" >"$folder/output.log" 2>&1 </dev/null &
server=$!
while read -r line; do :; done
kill -KILL "$server" 2>/dev/null
wait "$server" 2>/dev/null
rm -rf "$folder"
"#;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    keeper: Child,
    folder: PathBuf,
}

impl Server {
    /// Starts `program` with `arguments` in a folder of its own.
    #[expect(clippy::disallowed_methods, reason = "tests start the servers that they talk to")]
    pub(crate) fn start(program: &Path, arguments: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("data-exchange-{}", uuid::Uuid::new_v4().simple()));
        fs::create_dir(&folder).expect("the folder for temporary files takes new ones");
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh"])
            .arg(&folder)
            .arg(program)
            .args(arguments)
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("every Unix has sh");
        Self { keeper, folder }
    }

    /// What the server has printed so far.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(self.folder.join("output.log")).unwrap_or_default()
    }

    /// Waits until `probe` finds what it looks for, and returns it.
    pub(crate) fn wait_for<T>(&self, what: &str, mut probe: impl FnMut(&Self) -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = probe(self) {
                return found;
            }
            let waited = started.elapsed();
            assert!(
                waited < START_TIMEOUT,
                "no {what} after {waited:?}; the server said:\n{}",
                self.output()
            );
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// An address of this machine where nobody listens at this moment.
pub(crate) fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}

/// A port that nobody listens on, below those that the kernel gives to outgoing connections and to whoever
/// asks for any, so that a server that is restarted finds it free again.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = rand::random_range(20_000..32_000);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
