//! Real PostgreSQL servers for tests: private clusters on loopback that die with the test process.
//!
//! [`server`] is shared by all tests of a process; each takes a [`Database`] of its own. A test that
//! stops its server, wants TLS, other settings or another version starts one with
//! [`Postgres::private`].
//!
//! A cluster lives in one temporary folder. A small shell holds the other end of a pipe: when this
//! process ends, however it ends, the shell reads end of file, stops the server and removes the folder.
//! Started as root, servers run as the user `postgres` or `nobody`, because PostgreSQL refuses root.

mod certificates;
mod cluster;
mod database;
mod machine;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::Connection;
use tokio::sync::OnceCell;
use url::Url;

use super::server::free_port;
pub(crate) use certificates::{Authorities, make_certificates};
use cluster::{Cluster, host_based_authentication, installed_binaries};
pub(crate) use database::Database;
use database::{connect, run_sql};
pub(crate) use machine::{Account, ExpectSuccess, create_folder, run, setting};

/// Superuser of every cluster; needs no password.
pub(crate) const USER: &str = "tester";
/// Logs in with SCRAM-SHA-256 only, over TCP.
pub(crate) const SCRAM_USER: (&str, &str) = ("scram_user", "scram pass/wörd@1");
/// Logs in with MD5 only, over TCP.
pub(crate) const MD5_USER: (&str, &str) = ("md5_user", "md5 pass/wörd@2");
/// Logs in with a clear-text password, over TCP.
pub(crate) const CLEAR_TEXT_USER: (&str, &str) = ("clear_text_user", "clear pass/wörd@3");
/// Needs no password, and is refused over TCP without TLS.
pub(crate) const TLS_USER: &str = "tls_user";

/// The cluster that the tests of this process share. Fails the test when PostgreSQL is not installed.
pub(crate) async fn server() -> &'static Postgres {
    static SERVER: OnceCell<Postgres> = OnceCell::const_new();
    SERVER.get_or_init(|| Postgres::private(Options::default())).await
}

/// The shared cluster; `None`, with a line that says so, where PostgreSQL is not installed and
/// `REQUIRE_SERVERS` is not set.
#[expect(clippy::print_stderr, reason = "the person who runs the tests should know")]
pub(crate) async fn server_if_installed() -> Option<&'static Postgres> {
    if installed_binaries().is_none() && setting("REQUIRE_SERVERS").is_none() {
        eprintln!("skipped: PostgreSQL is not installed here; see docs/TESTING.md");
        return None;
    }
    Some(server().await)
}

/// Other major versions and their folders of binaries, from `TEST_POSTGRES_MATRIX` (`12=/path:13=/path`).
pub(crate) fn matrix() -> Vec<(u32, PathBuf)> {
    let listed = setting("TEST_POSTGRES_MATRIX").unwrap_or_default();
    let entries = listed.split(':').filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            let (version, folder) = entry.split_once('=').expect("an entry is version=folder");
            (version.parse().expect("a major version is a number"), PathBuf::from(folder))
        })
        .collect()
}

/// How a private server differs from the shared one.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Offer TLS, with a certificate for `localhost` (not for `127.0.0.1`).
    pub(crate) tls: bool,
    /// Further lines of `postgresql.conf`; the last one of a name wins.
    pub(crate) settings: Vec<(&'static str, String)>,
    /// Folder of the binaries, for example from [`matrix`]; the installed ones when `None`.
    pub(crate) binaries: Option<PathBuf>,
}

/// A running cluster. Dropping it stops the server and removes its folder.
#[derive(Debug)]
pub(crate) struct Postgres {
    cluster: Cluster,
    port: u16,
    tls: Option<Authorities>,
    guard: Child,
}

impl Postgres {
    /// Starts a cluster of its own.
    pub(crate) async fn private(options: Options) -> Self {
        let binaries = options.binaries.or_else(installed_binaries).expect(
            "no PostgreSQL server binaries: install PostgreSQL, or set TEST_POSTGRES_BIN to the folder of initdb, or run tests/run.sh",
        );
        let (folder, account) = create_folder();
        let cluster = Cluster { binaries, folder, account };
        let guard = cluster.guard();
        // From here on, a panic or a kill leaves nothing behind.
        let mut server = Self { cluster, port: 0, tls: None, guard };
        let data = server.cluster.data();
        let arguments =
            ["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username", USER, "-D"];
        let mut initdb = server.cluster.program("initdb");
        initdb.args(arguments).arg(&data);
        run(initdb).await.expect_success("initdb");
        if options.tls {
            let (cluster, openssl) = (&server.cluster, Path::new("openssl"));
            server.tls = Some(make_certificates(&cluster.folder, || cluster.command(openssl)).await);
        }
        fs::write(data.join("pg_hba.conf"), host_based_authentication()).expect("write pg_hba.conf");
        server.configure_and_start(options.tls, &options.settings).await;
        server.create_roles().await;
        server
    }

    /// Writes the settings and starts; takes another port when somebody else was faster.
    async fn configure_and_start(&mut self, tls: bool, settings: &[(&'static str, String)]) {
        const ATTEMPTS: usize = 10;
        let file = self.cluster.data().join("postgresql.conf");
        let defaults = fs::read_to_string(&file).expect("initdb wrote postgresql.conf");
        for attempt in 1..=ATTEMPTS {
            self.port = free_port();
            let own = self.cluster.configuration(self.port, tls, settings);
            fs::write(&file, format!("{defaults}\n{own}")).expect("write postgresql.conf");
            let started = self.start().await;
            if started.status.success() {
                return;
            }
            let log = self.log();
            let port_is_taken = log.contains("Address already in use");
            assert!(port_is_taken && attempt < ATTEMPTS, "start PostgreSQL: {started:?}\n{log}");
            fs::write(self.cluster.log_file(), "").expect("empty the log for the next attempt");
        }
    }

    async fn start(&self) -> Output {
        let mut command = self.cluster.program("pg_ctl");
        command.arg("-D").arg(self.cluster.data()).arg("-l").arg(self.cluster.log_file());
        command.args(["-w", "-t", "120", "start"]);
        run(command).await
    }

    async fn create_roles(&self) {
        let mut connection = connect(&self.url_of("postgres")).await;
        let users = [(SCRAM_USER, "scram-sha-256"), (MD5_USER, "md5"), (CLEAR_TEXT_USER, "scram-sha-256")];
        for ((name, password), encryption) in users {
            let sql = format!(
                "SET password_encryption = '{encryption}'; CREATE ROLE {name} SUPERUSER LOGIN PASSWORD '{password}'"
            );
            run_sql(&mut connection, &sql).await;
        }
        run_sql(&mut connection, &format!("CREATE ROLE {TLS_USER} SUPERUSER LOGIN")).await;
        connection.close().await.expect("close the connection");
    }

    /// A new, empty database, dropped with the value that is returned.
    pub(crate) async fn create_database(&self) -> Database {
        static COUNTER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test_{}", COUNTER.fetch_add(1, Ordering::Relaxed));
        let maintenance_url = self.url_of("postgres");
        let mut connection = connect(&maintenance_url).await;
        run_sql(&mut connection, &format!("CREATE DATABASE {name}")).await;
        connection.close().await.expect("close the connection");
        Database {
            url: self.url_of(&name),
            socket_folder: self.socket_folder().to_owned(),
            name,
            maintenance_url,
        }
    }

    /// TCP port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Folder of the Unix socket.
    pub(crate) fn socket_folder(&self) -> &Path {
        &self.cluster.folder
    }

    /// The authorities to trust, and not to trust, of a server with TLS.
    pub(crate) fn authorities(&self) -> &Authorities {
        self.tls.as_ref().expect("the server was started with Options::tls")
    }

    /// What the server logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.cluster.log_file()).unwrap_or_default()
    }

    /// Ends the server as a crash would: connections break without a farewell.
    pub(crate) async fn stop_immediately(&self) {
        let mut command = self.cluster.program("pg_ctl");
        command.arg("-D").arg(self.cluster.data()).args(["-w", "-t", "120", "-m", "immediate", "stop"]);
        run(command).await.expect_success("pg_ctl stop");
    }

    /// Starts a server that was stopped, on the same port and with the same data.
    pub(crate) async fn restart(&self) {
        self.start().await.expect_success("pg_ctl start");
    }

    fn url_of(&self, database: &str) -> Url {
        let text = format!("postgresql://{USER}@127.0.0.1:{}/{database}", self.port);
        Url::parse(&text).expect("made of valid parts")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // The guard ends once the server has ended and the folder is gone; it cannot hang on input.
        let _ = self.guard.wait();
    }
}
