//! The program as a child process, which ends when the process of the tests does.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use super::Place;

/// What a program said that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// Proves the exit code, and that each of the words was printed. Returns all that was printed.
    #[track_caller]
    pub(crate) fn assert_ends(&self, code: i32, words: &[&str]) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        let all = format!("{}{}", self.stdout, self.stderr);
        for word in words {
            assert!(all.contains(word), "{word}: {self:?}");
        }
        all
    }
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

/// The program with nothing of this process's environment in it but the way to other programs.
#[expect(clippy::disallowed_methods, reason = "tests start the program that they test")]
pub(super) fn program(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_data-exchange-agent"));
    command.env_clear().env("HOME", home).env("TMPDIR", home).current_dir(home);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    // The terminal's Ctrl-C is for the tests; the agent dies with them.
    command.process_group(0);
    command
}

/// A running agent, and the shell that kills it when the pipe closes before a line came.
pub(super) struct Process {
    pub(super) agent: Child,
    watchdog: Child,
}

impl Process {
    pub(super) fn start(place: &Place) -> Self {
        let stderr = if place.has_unread_stderr {
            Stdio::piped()
        } else {
            let log = OpenOptions::new().create(true).append(true).open(log_file(place));
            Stdio::from(log.expect("open the log"))
        };
        let agent = program(place.path())
            .args(["run", "--port", &place.port.to_string(), "--config"])
            .arg(place.configuration())
            .args(&place.arguments)
            .envs(place.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(File::create(place.path().join("stdout")).expect("create a file"))
            .stderr(stderr)
            .spawn()
            .expect("start the agent");
        let watchdog = shell("trap '' INT TERM HUP; read -r line || kill -KILL \"$1\"", agent.id());
        Self { agent, watchdog }
    }

    /// Takes the exit status when the agent has ended.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.agent.try_wait().expect("a child can be waited for")?;
        self.dismiss_watchdog();
        Some(status)
    }

    /// From here on the number may be somebody else's.
    fn dismiss_watchdog(&mut self) {
        if let Some(mut pipe) = self.watchdog.stdin.take() {
            let _ = std::io::Write::write_all(&mut pipe, b"ended\n");
        }
        let _ = self.watchdog.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
        self.dismiss_watchdog();
    }
}

#[expect(clippy::disallowed_methods, reason = "tests guard the processes that they start")]
fn shell(script: &str, pid: u32) -> Child {
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh", &pid.to_string()]).process_group(0);
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    shell.spawn().expect("every Unix has sh")
}

pub(super) fn log_file(place: &Place) -> PathBuf {
    place.path().join("agent.log")
}
