//! The real program as a child process, and a client that remembers every answer.
//!
//! An [`Agent`] lives in a folder of its own: configuration, data directory, output of the target
//! `local`, log. It can be killed and started again there. A small shell holds the other end of a
//! pipe and kills the agent when the test process ends, however that ends.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::Value;
use url::Url;

use super::folder::Folder;
use super::postgres::Database;
use super::s3::Bucket;

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

/// The folder of one agent, and what its configuration file will say.
pub(crate) struct Place {
    folder: Folder,
    application: String,
    server: String,
    transfer: String,
    connections: BTreeMap<String, String>,
    /// Lines before the first section, and other sections.
    top: String,
    sections: String,
    arguments: Vec<String>,
    /// PEM file of the authority that the client trusts.
    authority: Option<PathBuf>,
    /// The API key that the client sends.
    key: Option<String>,
    environment: Vec<(String, String)>,
}

impl Place {
    /// A new folder; the configuration has the target `local` in it.
    pub(crate) fn new() -> Self {
        let folder = Folder::new();
        let output = folder.path().join("output");
        fs::create_dir(&output).expect("the folder is new");
        let local = format!("root = {:?}\n", output.display().to_string());
        Self {
            folder,
            application: String::new(),
            server: String::new(),
            transfer: String::new(),
            connections: BTreeMap::from([("target.local".to_owned(), local)]),
            top: String::new(),
            sections: String::new(),
            arguments: Vec::new(),
            authority: None,
            key: None,
            environment: Vec::new(),
        }
    }

    /// A line of the first level.
    pub(crate) fn top(mut self, line: &str) -> Self {
        writeln!(self.top, "{line}").expect("a String takes everything");
        self
    }

    /// Another section, `[<name>]`.
    pub(crate) fn section(mut self, name: &str, lines: &str) -> Self {
        write!(self.sections, "[{name}]\n{lines}\n").expect("a String takes everything");
        self
    }

    /// A line of `[application]`.
    pub(crate) fn application(mut self, line: &str) -> Self {
        self.set_application(line);
        self
    }

    /// The same for the next start; a later line of the same key wins.
    pub(crate) fn set_application(&mut self, line: &str) {
        let key = line.split('=').next().unwrap_or_default().to_owned();
        let others = self.application.lines().filter(|other| !other.starts_with(&key));
        self.application = others.chain([line]).map(|line| format!("{line}\n")).collect();
    }

    /// A line of `[server]`.
    pub(crate) fn server(mut self, line: &str) -> Self {
        writeln!(self.server, "{line}").expect("a String takes everything");
        self
    }

    /// A line of `[transfer]`.
    pub(crate) fn transfer(mut self, line: &str) -> Self {
        writeln!(self.transfer, "{line}").expect("a String takes everything");
        self
    }

    /// A further command-line argument.
    pub(crate) fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// A variable of the agent's environment.
    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets the client trust this authority alone.
    pub(crate) fn trusting(mut self, authority: &Path) -> Self {
        self.authority = Some(authority.to_owned());
        self
    }

    /// Lets the client send this API key.
    pub(crate) fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// Another text of a section for the next reading of the configuration.
    pub(crate) fn replace_sections(&mut self, sections: &[(&str, &str)]) {
        self.sections.clear();
        for (name, lines) in sections {
            write!(self.sections, "[{name}]\n{lines}\n").expect("a String takes everything");
        }
    }

    /// The section `[connections.<name>]`.
    pub(crate) fn connection(mut self, name: &str, lines: &str) -> Self {
        self.connections.insert(name.to_owned(), lines.to_owned());
        self
    }

    /// The source `sales`: a database of this test.
    pub(crate) fn database(self, database: &Database) -> Self {
        let url = Url::parse(&database.url()).expect("the URL of a database");
        let lines = format!(
            "kind = \"postgresql\"\nhost = \"127.0.0.1\"\nport = {}\nusername = {:?}\ndatabase = {:?}\n",
            url.port().expect("it has a port"),
            url.username(),
            database.name(),
        );
        self.connection("source.sales", &lines)
    }

    /// The target `s3`: a bucket of this test, reached through `address`.
    pub(crate) fn bucket(self, bucket: &Bucket, address: SocketAddr) -> Self {
        let lines = s3_section(bucket, address, "writer-secret");
        self.connection("target.s3", &lines)
    }

    /// Root of the target `local`.
    pub(crate) fn output(&self) -> PathBuf {
        self.folder.path().join("output")
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration file, written anew.
    pub(crate) fn configuration(&self) -> PathBuf {
        let data = self.path().join("data");
        let mut text = format!(
            "{}\n[application]\ndata_directory = {:?}\n{}\n[server]\n{}\n[transfer]\n{}\n{}\n",
            self.top,
            data.display().to_string(),
            self.application,
            self.server,
            self.transfer,
            self.sections
        );
        for (name, lines) in &self.connections {
            write!(text, "[connections.{name}]\n{lines}\n").expect("a String takes everything");
        }
        let file = self.path().join("configuration.toml");
        fs::write(&file, text).expect("write the configuration");
        file
    }

    /// Runs the program to its end with these arguments.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Finished {
        self.run_with(arguments, &[]).await
    }

    /// The same with variables of the environment.
    pub(crate) async fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
        let mut command = program(self.path());
        command.args(arguments).envs(environment.iter().copied()).stdin(Stdio::null());
        Self::finish(command).await
    }

    /// Runs a shell script to its end, in which the program is `data-exchange-agent`.
    #[expect(clippy::disallowed_methods, reason = "tests use the program as people do")]
    pub(crate) async fn shell(&self, script: &str, environment: &[(&str, &str)]) -> Finished {
        let program = Path::new(env!("CARGO_BIN_EXE_data-exchange-agent"));
        let folder = program.parent().expect("a program is in a folder").display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("bash");
        command.env_clear().env("HOME", self.path()).env("TMPDIR", self.path()).current_dir(self.path());
        command.env("PATH", format!("{folder}:{path}")).envs(environment.iter().copied()).process_group(0);
        command.args(["-c", script]).stdin(Stdio::null());
        Self::finish(command).await
    }

    async fn finish(mut command: Command) -> Finished {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            // The test may have given up meanwhile.
            let _ = sender.send(command.output());
        });
        let output = tokio::time::timeout(PATIENCE, receiver).await.expect("the program ends");
        Finished::from(output.expect("the thread sends what came out").expect("the program can be started"))
    }

    /// Starts the agent and waits until it listens.
    pub(crate) async fn start(self) -> Agent {
        // A proxy of the environment has no business on loopback.
        let mut http = reqwest::Client::builder().no_proxy();
        if let Some(authority) = &self.authority {
            let pem = fs::read(authority).expect("the authority has a file");
            http = http.tls_certs_only([reqwest::Certificate::from_pem(&pem).expect("a certificate")]);
        }
        if let Some(key) = &self.key {
            let value = format!("Bearer {key}").parse().expect("a key is a header value");
            http = http.default_headers(HeaderMap::from_iter([(reqwest::header::AUTHORIZATION, value)]));
        }
        let http = http.build().expect("set up an HTTP client");
        let process = Process::start(&self);
        let mut agent =
            Agent { place: self, process, address: String::new(), http, seen: Mutex::default(), starts: 1 };
        agent.address = agent.listening().await;
        agent
    }
}

/// A target section for `bucket` with this secret.
pub(crate) fn s3_section(bucket: &Bucket, address: SocketAddr, secret: &str) -> String {
    format!(
        "kind = \"s3\"\nbucket_name = {:?}\nprefix = \"exports/\"\nregion_name = \"us-east-1\"\n\
         endpoint_url = \"http://{address}\"\npath_style = true\naccess_key_id = \"writer\"\n\
         secret_access_key = {secret:?}\npart_size = \"5 MiB\"\n",
        bucket.name
    )
}

/// What a program said that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

/// The program with nothing of this process's environment in it but the way to other programs.
#[expect(clippy::disallowed_methods, reason = "tests start the program that they test")]
fn program(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_data-exchange-agent"));
    command.env_clear().env("HOME", home).env("TMPDIR", home).current_dir(home);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    // The terminal's Ctrl-C is for the tests; the agent dies with them.
    command.process_group(0);
    command
}

/// A running agent, and the shell that kills it when the pipe closes before a line came.
struct Process {
    agent: Child,
    watchdog: Child,
}

impl Process {
    fn start(place: &Place) -> Self {
        let log = OpenOptions::new().create(true).append(true).open(log_file(place));
        let agent = program(place.path())
            .args(["run", "--port", "0", "--config"])
            .arg(place.configuration())
            .args(&place.arguments)
            .envs(place.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(File::create(place.path().join("stdout")).expect("create a file"))
            .stderr(log.expect("open the log"))
            .spawn()
            .expect("start the agent");
        let watchdog = shell("trap '' INT TERM HUP; read -r line || kill -KILL \"$1\"", agent.id());
        Self { agent, watchdog }
    }

    /// Takes the exit status when the agent has ended.
    fn ended(&mut self) -> Option<ExitStatus> {
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

fn log_file(place: &Place) -> PathBuf {
    place.path().join("agent.log")
}

/// One answer of the API.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The body of a problem document, whose form is checked.
    pub(crate) fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        problem
    }
}

/// A running agent.
pub(crate) struct Agent {
    pub(crate) place: Place,
    process: Process,
    address: String,
    http: reqwest::Client,
    seen: Mutex<String>,
    starts: u32,
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
        self.starts += 1;
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
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the agent runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells it");
        line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number") * 1024
    }

    /// What it wrote to stderr, over all starts.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(log_file(&self.place)).unwrap_or_default()
    }

    /// Every body that the API has answered with.
    pub(crate) fn answers_seen(&self) -> String {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// Sends a request; an error is one of the connection.
    pub(crate) async fn try_request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self.http.request(method, self.url(path)).timeout(PATIENCE);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.take(request.send().await?).await
    }

    /// Reads an answer to its end.
    pub(crate) async fn take(&self, response: reqwest::Response) -> Result<Answer, reqwest::Error> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push_str(&text);
        seen.push('\n');
        Ok(Answer { status, headers, text })
    }

    /// The HTTP client.
    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    async fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let described = format!("{method} {path}");
        match self.try_request(method, path, body).await {
            Ok(answer) => answer,
            Err(error) => panic!("{described}: {error:?}\n{}", self.log()),
        }
    }

    /// `GET`, whatever the status.
    pub(crate) async fn ask(&self, path: &str) -> Answer {
        self.request(Method::GET, path, None).await
    }

    /// `GET` that is answered with 200.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.ask(path).await;
        assert_eq!(answer.status, 200, "GET {path}: {answer:?}");
        answer.json()
    }

    /// `POST` with or without a body, whatever the status.
    pub(crate) async fn post(&self, path: &str, body: Option<&Value>) -> Answer {
        self.request(Method::POST, path, body).await
    }

    /// `DELETE`, whatever the status.
    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.request(Method::DELETE, path, None).await
    }

    /// Posts a new task and returns its id.
    pub(crate) async fn submit(&self, task: Value) -> String {
        let answer = self.post("/tasks", Some(&task)).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json()["id_task"].as_str().expect("an id").to_owned()
    }

    /// A task.
    pub(crate) async fn task(&self, id: &str) -> Value {
        self.get(&format!("/tasks/{id}")).await
    }

    /// Waits until a task is in this state. Fails when it ends in another one.
    pub(crate) async fn wait_until(&self, id: &str, state: &str) -> Value {
        let begun = Instant::now();
        loop {
            let task = self.task(id).await;
            let found = task["status"].as_str().expect("a status");
            if found == state {
                return task;
            }
            let has_ended = ["completed", "failed", "cancelled"].contains(&found);
            assert!(
                !has_ended && begun.elapsed() < PATIENCE,
                "task {id} is {found}, not {state}: {task:#}\n{}",
                self.log()
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until every task that there is has ended.
    pub(crate) async fn wait_until_idle(&self) {
        eventually("every task to end", async || {
            let count = self.get("/get_tasks_count").await;
            (count["tasks_count"] == 0).then_some(())
        })
        .await;
    }

    /// `GET` with an API key, answered with 200.
    pub(crate) async fn ask_with_key(&self, key: &str, path: &str) -> Value {
        let request = self.http.get(self.url(path)).bearer_auth(key).timeout(PATIENCE);
        let answer = self.take(request.send().await.expect("an answer")).await.expect("a whole answer");
        assert_eq!(answer.status, 200, "GET {path}: {answer:?}");
        answer.json()
    }

    /// Waits until a task of an agent that asks for a key is in this state.
    pub(crate) async fn wait_with_key(&self, key: &str, id: &str, state: &str) {
        eventually("the task to get there", async || {
            let task = self.ask_with_key(key, &format!("/tasks/{id}")).await;
            (task["status"] == state).then_some(())
        })
        .await;
    }

    /// Reads the events of a task until the stream ends, and tells `watcher` each one.
    pub(crate) async fn watch(&self, id: &str, mut watcher: impl AsyncFnMut(&Value)) -> Vec<Value> {
        let mut response =
            self.http.get(self.url(&format!("/tasks/{id}/events"))).send().await.expect("the stream opens");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut events = Vec::new();
        let mut text = String::new();
        let reading = async {
            while let Some(chunk) = response.chunk().await.expect("the stream ends in good order") {
                text.push_str(std::str::from_utf8(&chunk).expect("JSON here is ASCII"));
                while let Some((event, rest)) = text.split_once("\n\n") {
                    let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                    if let Some(data) = data {
                        let event: Value = serde_json::from_str(data).expect("an event is JSON");
                        watcher(&event).await;
                        events.push(event);
                    }
                    text = rest.to_owned();
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("the stream ends");
        events
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

    /// The value of a sample of `/metrics`, by its name and labels as they are written there.
    pub(crate) async fn metric(&self, sample: &str) -> f64 {
        let answer = self.ask("/metrics").await;
        assert_eq!(answer.status, 200);
        let value = answer.text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {sample} in\n{}", answer.text)).parse().expect("a number")
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
