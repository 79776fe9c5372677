//! The folder of one agent, its configuration, and the program run to its end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use reqwest::header::HeaderMap;
use url::Url;

use super::process::{Finished, Process, program};
use super::{Agent, PATIENCE};
use crate::support::folder::Folder;
use crate::support::postgres::Database;
use crate::support::s3::Bucket;
use crate::support::server::free_port;

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
    pub(super) arguments: Vec<String>,
    /// PEM file of the authority that the client trusts.
    authority: Option<PathBuf>,
    /// The API key that the client sends.
    key: Option<String>,
    pub(super) environment: Vec<(String, String)>,
    /// Where the agent listens; 0 for any free port.
    pub(super) port: u16,
    /// Whether stderr is a pipe that nobody reads, and no file.
    pub(super) has_unread_stderr: bool,
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
            port: 0,
            has_unread_stderr: false,
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

    /// Listens at the same address after every start; nobody else is given it while the agent is away.
    pub(crate) fn at_one_address(mut self) -> Self {
        self.port = free_port();
        self
    }

    /// Starts the agent with a pipe for its log that nobody reads.
    pub(crate) fn without_reader_of_stderr(mut self) -> Self {
        self.has_unread_stderr = true;
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
        let mut agent = Agent { place: self, process, address: String::new(), http, seen: Mutex::default() };
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
