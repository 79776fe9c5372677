//! The real program as a child process, and a client that remembers every answer.
//!
//! An [`Agent`] lives in a folder of its own: configuration, data directory, output of the target
//! `local`, log. It can be killed and started again there. A small shell holds the other end of a
//! pipe and kills the agent when the test process ends, however that ends.

mod client;
mod place;
mod process;
mod terminal;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::Mutex;
use std::time::{Duration, Instant};

pub(crate) use client::Answer;
pub(crate) use place::{Place, s3_section};
pub(crate) use process::Finished;
use process::{Process, log_file};
pub(crate) use terminal::{Drawn, drawn, is_styled};

/// Longest wait for anything. Only a defect lets it pass: a machine that runs all tests at once is slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(15);

/// Waits until `probe` finds what it looks for, and returns it.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "still waiting for: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// A running agent.
pub(crate) struct Agent {
    pub(crate) place: Place,
    process: Process,
    address: String,
    http: reqwest::Client,
    seen: Mutex<String>,
}

impl Agent {
    async fn listening(&mut self) -> String {
        let file = self.place.path().join("stdout");
        let begun = Instant::now();
        loop {
            let output = fs::read_to_string(&file).unwrap_or_default();
            if let Some(line) = output.lines().find(|_| output.ends_with('\n'))
                && let Some(address) = line.strip_prefix("listening on ")
            {
                return address.to_owned();
            }
            let ended = self.process.ended();
            assert!(
                ended.is_none() && begun.elapsed() < PATIENCE,
                "it does not listen: {ended:?}\n{}",
                self.log()
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Kills the agent, which has no chance to clean up.
    pub(crate) async fn kill(&mut self) {
        self.process.agent.kill().expect("the agent runs");
        self.exit().await;
    }

    /// Sends a signal by its name.
    #[expect(clippy::disallowed_methods, reason = "there is no safe call for it in the standard library")]
    pub(crate) fn signal(&mut self, name: &str) {
        assert!(self.process.ended().is_none(), "the agent runs");
        let kill = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(kill.expect("every Unix has kill").success());
    }

    /// Waits for the end of the process.
    pub(crate) async fn exit(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.ended() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "the agent does not end\n{}", self.log());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Starts again in the same place, after the process has ended.
    pub(crate) async fn start_again(&mut self) {
        self.process = Process::start(&self.place);
        self.address = self.listening().await;
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.agent.id()
    }

    /// Its command line, as everybody on the machine can see it.
    pub(crate) fn command_line(&self) -> String {
        fs::read_to_string(format!("/proc/{}/cmdline", self.pid())).expect("the agent runs")
    }

    /// Largest resident memory so far, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// Resident memory that comes from no file, in bytes.
    pub(crate) fn anonymous_memory(&self) -> u64 {
        self.memory("RssAnon:")
    }

    fn memory(&self, what: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the agent runs");
        let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("Linux tells it");
        line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number") * 1024
    }

    /// What it wrote to stderr, over all starts.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(log_file(&self.place)).unwrap_or_default()
    }

    /// Names of everything below the root of the target `local`, temporary files too.
    pub(crate) fn files(&self) -> Vec<String> {
        files_below(&self.place.output())
    }

    /// Those of them that a reader sees.
    pub(crate) fn visible_files(&self) -> Vec<String> {
        let is_visible = |name: &String| !name.rsplit('/').next().is_some_and(|name| name.starts_with('.'));
        self.files().into_iter().filter(is_visible).collect()
    }
}

/// Paths of the files below a folder, in order, relative to it.
pub(crate) fn files_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        for entry in fs::read_dir(&current).expect("the folder is there") {
            let path = entry.expect("it can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let relative = path.strip_prefix(folder).expect("it is below");
                found.push(relative.to_str().expect("names are UTF-8").to_owned());
            }
        }
    }
    found.sort();
    found
}
