//! Real MariaDB and MySQL servers for tests: private ones on loopback that die with the test process.
//!
//! [`servers`] are shared by all tests of a process; each takes a [`Database`] of its own. A test that
//! kills its server, or wants TLS, starts one with [`Server::private`]. SQL is run by the program
//! `mariadb`, which knows nothing of the agent.
//!
//! A server lives in one temporary folder. A small shell holds the other end of a pipe: when this
//! process ends, however it ends, the shell reads end of file, kills the server and removes the folder.
//! Started as root, servers run as another user, because they refuse root.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use data_exchange_agent::config::{
    Consistency, MysqlSource, Secret, SslMode, TimeMapping, TinyintMapping, ZeroDates,
};
use data_exchange_agent::shutdown::Shutdown;
use data_exchange_agent::source::mysql::Mysql;
use tokio::sync::{OnceCell, oneshot};

use super::postgres::{Account, Authorities, ExpectSuccess, create_folder, make_certificates, run, setting};
use super::server::free_port;

/// Has every right, and no password.
pub(crate) const USER: &str = "tester";
/// Has a password, by the server's default method.
pub(crate) const PASSWORD_USER: (&str, &str) = ("password_user", "pass/wörd@1 '\"");
/// Logs in over TLS only.
pub(crate) const TLS_USER: (&str, &str) = ("tls_user", "secret");
/// May read and nothing else.
pub(crate) const READER: (&str, &str) = ("reader", "secret");

/// Longest time for a server to start; a machine that runs all tests at once is slow.
const START_TIMEOUT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Whose server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavor {
    MariaDb,
    MySql,
}

/// The shared servers that can be had here: MariaDB, MySQL, or both. Fails the test where
/// `REQUIRE_SERVERS` is set and there is no MariaDB.
#[expect(clippy::print_stderr, reason = "the person who runs the tests should know")]
pub(crate) async fn servers() -> Vec<&'static Server> {
    static MARIADB: OnceCell<Server> = OnceCell::const_new();
    static MYSQL: OnceCell<Server> = OnceCell::const_new();
    let mut found = Vec::new();
    for (flavor, cell) in [(Flavor::MariaDb, &MARIADB), (Flavor::MySql, &MYSQL)] {
        if is_installed(flavor) {
            found.push(cell.get_or_init(|| Server::private(flavor, false)).await);
        } else {
            eprintln!("skipped: {flavor:?} is not installed here; see docs/TESTING.md");
        }
    }
    let is_needed = setting("REQUIRE_SERVERS").is_some();
    assert!(!found.is_empty() || !is_needed, "no MariaDB: run tests/run.sh");
    found
}

/// Those of which a private server can be started.
pub(crate) fn flavors() -> Vec<Flavor> {
    [Flavor::MariaDb, Flavor::MySql].into_iter().filter(|flavor| is_installed(*flavor)).collect()
}

/// A running server. Dropping it stops the server and removes its folder.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) flavor: Flavor,
    folder: PathBuf,
    account: Option<Account>,
    port: u16,
    authorities: Option<Authorities>,
    process: Mutex<Option<Child>>,
    guard: Child,
}

impl Server {
    /// Starts a server of its own.
    pub(crate) async fn private(flavor: Flavor, tls: bool) -> Self {
        let (folder, account) = create_folder();
        let guard = guard(&folder);
        // From here on, a panic or a kill leaves nothing behind.
        let process = Mutex::new(None);
        let mut server = Self { flavor, folder, account, port: 0, authorities: None, process, guard };
        server.install().await;
        if tls {
            let openssl = || server.command(Path::new("openssl"));
            server.authorities = Some(make_certificates(&server.folder, openssl).await);
        }
        for attempt in 1..=10 {
            server.port = free_port();
            if server.start().await {
                break;
            }
            assert!(attempt < 10, "start {flavor:?}:\n{}", server.log());
        }
        server.create_users().await;
        server
    }

    async fn install(&self) {
        let data = self.folder.join("data");
        let mut command = match self.flavor {
            Flavor::MariaDb => {
                let mut command = self.command(&program("TEST_MARIADB_BIN", "mariadb-install-db"));
                command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
                command
            }
            Flavor::MySql => {
                let mut command = self.command(&program("TEST_MYSQL_BIN", "mysqld"));
                command.args(["--no-defaults", "--initialize-insecure", "--innodb-redo-log-capacity=64M"]);
                command
            }
        };
        command.arg(format!("--datadir={}", data.display()));
        run(command).await.expect_success("install a server");
    }

    /// Starts the server, and waits until it answers. False when it has ended instead.
    pub(crate) async fn start(&self) -> bool {
        let folder = self.folder.display();
        let executable = match self.flavor {
            Flavor::MariaDb => program("TEST_MARIADB_BIN", "mariadbd"),
            Flavor::MySql => program("TEST_MYSQL_BIN", "mysqld"),
        };
        let mut command = self.command(&executable);
        command.arg("--no-defaults");
        command.args([
            format!("--datadir={folder}/data"),
            format!("--socket={folder}/socket"),
            format!("--pid-file={folder}/pid"),
            format!("--log-error={folder}/log"),
            format!("--port={}", self.port),
        ]);
        command.args(["--bind-address=127.0.0.1", "--max-connections=100", "--skip-name-resolve"]);
        command.args(["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M"]);
        command.args(["--max-allowed-packet=256M", "--default-time-zone=+02:00"]);
        match self.flavor {
            Flavor::MariaDb => command.args(["--innodb-log-file-size=64M", "--loose-innodb-fast-shutdown=2"]),
            Flavor::MySql => {
                // Debian's folder for files of the server is not there, and none is wanted.
                command.args(["--mysqlx=OFF", "--innodb-redo-log-capacity=64M", "--disable-log-bin"]);
                command.arg("--secure-file-priv=NULL")
            }
        };
        if self.authorities.is_some() {
            command.args([
                format!("--ssl-ca={folder}/right.crt"),
                format!("--ssl-cert={folder}/server.crt"),
                format!("--ssl-key={folder}/server.key"),
            ]);
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start a server");
        *self.process.lock().expect("no holder panics") = Some(child);
        let started = Instant::now();
        loop {
            let mut client = self.client("root");
            client.args(["-e", "SELECT 1"]);
            if run(client).await.status.success() {
                return true;
            }
            if self.has_ended() {
                return false;
            }
            assert!(started.elapsed() < START_TIMEOUT, "{:?} does not answer:\n{}", self.flavor, self.log());
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    fn has_ended(&self) -> bool {
        let mut process = self.process.lock().expect("no holder panics");
        process.as_mut().is_none_or(|child| child.try_wait().is_ok_and(|end| end.is_some()))
    }

    /// Ends the server as a crash would: connections break without a farewell.
    pub(crate) fn kill(&self) {
        let child = self.process.lock().expect("no holder panics").take();
        let mut child = child.expect("the server runs");
        child.kill().expect("it is a child of this process");
        child.wait().expect("it has ended");
    }

    async fn create_users(&self) {
        let mut sql = format!("CREATE USER {USER}@'%'; GRANT ALL ON *.* TO {USER}@'%' WITH GRANT OPTION;");
        for ((name, password), requirement, rights) in [
            (PASSWORD_USER, "", "ALL"),
            (TLS_USER, "REQUIRE SSL", "ALL"),
            (READER, "", "SELECT, SHOW VIEW, EXECUTE"),
        ] {
            let password = password.replace('\'', "''");
            sql += &format!(
                "CREATE USER {name}@'%' IDENTIFIED BY '{password}' {requirement}; GRANT {rights} ON *.* TO {name}@'%';"
            );
        }
        let mut root = Session::start(self.client("root"));
        root.run(&sql).await;
    }

    /// A command that runs as the server's user, in its folder, away from the terminal's signals.
    #[expect(clippy::disallowed_methods, reason = "tests start the servers that they need")]
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).process_group(0).stdin(Stdio::null()).env("LC_ALL", "C.UTF-8");
        // Servers give temporary tables the same names as others do in a common folder.
        command.env("TMPDIR", &self.folder);
        command.env("HOME", &self.folder).env_remove("MYSQL_HOST").env_remove("MYSQL_TCP_PORT");
        if let Some(Account { uid, gid }) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// The program `mariadb` over the Unix socket.
    fn client(&self, user: &str) -> Command {
        let mut command = self.command(&client_program());
        command.args(["--no-defaults", "--batch", "--skip-column-names", "--unbuffered", "--user", user]);
        command.args(["--default-character-set=utf8mb4", "--max-allowed-packet=256M"]);
        command.arg(format!("--socket={}/socket", self.folder.display()));
        command
    }

    /// A new, empty database.
    pub(crate) async fn create_database(&self) -> Database<'_> {
        static COUNTER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test_{}", COUNTER.fetch_add(1, Ordering::Relaxed));
        let mut session = Session::start(self.client(USER));
        session.run(&format!("CREATE DATABASE {name} CHARACTER SET utf8mb4; USE {name}")).await;
        Database { server: self, name, session: tokio::sync::Mutex::new(session) }
    }

    /// The Unix socket.
    pub(crate) fn socket(&self) -> String {
        self.folder.join("socket").to_str().expect("UTF-8").to_owned()
    }

    /// A file of MySQL's data directory, such as its public key.
    pub(crate) fn data_file(&self, name: &str) -> PathBuf {
        self.folder.join("data").join(name)
    }

    /// Ways to log in to a server with TLS: host, mode, authority that is trusted, and whether it works.
    pub(crate) fn tls_modes(&self) -> [(&'static str, SslMode, Option<&PathBuf>, bool); 8] {
        let Authorities { right, wrong } =
            self.authorities.as_ref().expect("the server was started with TLS");
        [
            ("127.0.0.1", SslMode::Prefer, None, true),
            ("127.0.0.1", SslMode::Require, None, true),
            ("127.0.0.1", SslMode::Disable, None, false),
            ("127.0.0.1", SslMode::VerifyCa, Some(right), true),
            ("127.0.0.1", SslMode::VerifyCa, Some(wrong), false),
            ("127.0.0.1", SslMode::VerifyFull, Some(right), false),
            ("localhost", SslMode::VerifyFull, Some(right), true),
            ("localhost", SslMode::VerifyFull, Some(wrong), false),
        ]
    }

    /// What the server logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.lock().is_ok_and(|process| process.is_some()) {
            self.kill();
        }
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// A database of one test, and a session in it.
#[derive(Debug)]
pub(crate) struct Database<'s> {
    pub(crate) server: &'s Server,
    name: String,
    session: tokio::sync::Mutex<Session>,
}

impl Database<'_> {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs one or more statements; returns the rows of all of them, as text.
    pub(crate) async fn run(&self, sql: &str) -> Vec<Vec<String>> {
        self.session.lock().await.run(sql).await
    }

    /// The first column of the only row.
    pub(crate) async fn value(&self, sql: &str) -> String {
        self.run(sql).await.into_iter().flatten().next().unwrap_or_else(|| panic!("no row: {sql}"))
    }

    /// Another session.
    pub(crate) async fn session(&self) -> Session {
        let mut session = Session::start(self.server.client(USER));
        session.run(&format!("USE {}", self.name)).await;
        session
    }

    /// The configuration of a connection, with every setting at its default.
    pub(crate) fn configuration(&self) -> MysqlSource {
        MysqlSource {
            host: "127.0.0.1".into(),
            port: self.server.port,
            database: Some(self.name.clone()),
            username: USER.into(),
            password: None,
            ssl_mode: SslMode::Prefer,
            ssl_ca: None,
            server_public_key: None,
            allow_public_key_retrieval: false,
            application_name: "data-exchange-agent tests".into(),
            statement_timeout: None,
            connect_timeout: Duration::from_secs(60),
            consistency: Consistency::Snapshot,
            zero_dates: ZeroDates::Error,
            time: TimeMapping::TimeOfDay,
            tinyint1: TinyintMapping::Integer,
            longest_row: MysqlSource::DEFAULT_LONGEST_ROW,
            odbc_connection: None,
        }
    }

    /// The same for another user.
    pub(crate) fn configuration_as(&self, (user, password): (&str, &str)) -> MysqlSource {
        let password = Some(Secret::new(password.to_owned()));
        MysqlSource { username: user.into(), password, ..self.configuration() }
    }

    /// A source with every setting at its default.
    pub(crate) fn source(&self) -> Mysql {
        open(self.configuration())
    }
}

/// The source of a configuration.
pub(crate) fn open(configuration: MysqlSource) -> Mysql {
    Mysql::new(configuration, Shutdown::new()).expect("the configuration is right")
}

type Request = (String, oneshot::Sender<Vec<Vec<String>>>);

/// The program `mariadb`, waiting for statements.
#[derive(Debug)]
pub(crate) struct Session(mpsc::Sender<Request>);

impl Session {
    fn start(mut command: Command) -> Self {
        let (sender, requests) = mpsc::channel::<Request>();
        let client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut client = client.expect("start the program `mariadb`");
        let mut input = client.stdin.take().expect("piped");
        let mut lines = BufReader::new(client.stdout.take().expect("piped")).lines();
        std::thread::spawn(move || {
            for (number, (sql, answer)) in requests.into_iter().enumerate() {
                let end = format!("-- end of request {number}");
                // An error ends the program, which ends its output.
                let _ = writeln!(input, "{};\nSELECT '{end}';", sql.trim().trim_end_matches(';'));
                let mut rows = Vec::new();
                let mut is_complete = false;
                for line in lines.by_ref().map_while(Result::ok) {
                    if line == end {
                        is_complete = true;
                        break;
                    }
                    rows.push(line.split('\t').map(str::to_owned).collect());
                }
                if !is_complete {
                    break;
                }
                // The test may have given up meanwhile.
                let _ = answer.send(rows);
            }
            drop(input);
            let _ = client.wait_with_output().map(|output| {
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            });
        });
        Self(sender)
    }

    /// Runs one or more statements; returns the rows of all of them, as text.
    pub(crate) async fn run(&mut self, sql: &str) -> Vec<Vec<String>> {
        self.try_run(sql).await.unwrap_or_else(|| panic!("an error ended the session, in: {sql}"))
    }

    /// The same; `None` after an error, which ends the session.
    pub(crate) async fn try_run(&mut self, sql: &str) -> Option<Vec<Vec<String>>> {
        let (answer, answered) = oneshot::channel();
        self.0.send((sql.to_owned(), answer)).ok()?;
        answered.await.ok()
    }
}

fn is_installed(flavor: Flavor) -> bool {
    match flavor {
        Flavor::MariaDb => find("TEST_MARIADB_BIN", "mariadbd").is_some() && find_client().is_some(),
        Flavor::MySql => find("TEST_MYSQL_BIN", "mysqld").is_some() && find_client().is_some(),
    }
}

/// A program in the folder of a variable, or beside it: Debian has servers in `sbin`.
fn find(variable: &str, name: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(setting(variable)?);
    let beside = folder.parent().map(|parent| parent.join("bin"));
    [Some(folder), beside].into_iter().flatten().map(|folder| folder.join(name)).find(|path| path.exists())
}

fn program(variable: &str, name: &str) -> PathBuf {
    find(variable, name).unwrap_or_else(|| panic!("no {name}: set {variable}, or run tests/run.sh"))
}

fn find_client() -> Option<PathBuf> {
    find("TEST_MARIADB_BIN", "mariadb")
}

fn client_program() -> PathBuf {
    find_client().expect("no program `mariadb`: set TEST_MARIADB_BIN, or run tests/run.sh")
}

/// Starts the shell that outlives this process by as long as cleaning up takes.
#[expect(clippy::disallowed_methods, reason = "tests start the servers that they need")]
fn guard(folder: &Path) -> Child {
    const SCRIPT: &str = r#"
        trap '' INT TERM HUP
        cat >/dev/null
        if test -s "$1/pid"; then
            server=$(cat "$1/pid")
            case $(cat "/proc/$server/cmdline" 2>/dev/null) in *"$1"*) kill -KILL "$server" ;; esac
            while kill -0 "$server" 2>/dev/null && test -e "/proc/$server/cmdline"; do sleep 0.02; done
        fi
        cd / && rm -rf "$1"
    "#;
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", SCRIPT, "sh"]).arg(folder).process_group(0);
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    shell.spawn().expect("start /bin/sh")
}
