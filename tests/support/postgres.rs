//! Real PostgreSQL servers for tests: private clusters on loopback that die with the test process.
//!
//! [`server`] is shared by all tests of a process; each takes a [`Database`] of its own. A test that
//! stops its server, wants TLS, other settings or another version starts one with
//! [`Postgres::private`].
//!
//! A cluster lives in one temporary folder. A small shell holds the other end of a pipe: when this
//! process ends, however it ends, the shell reads end of file, stops the server and removes the folder.
//! Started as root, servers run as the user `postgres` or `nobody`, because PostgreSQL refuses root.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection, Decode, Postgres as Dialect, Row, Type};
use tokio::sync::{OnceCell, oneshot};
use url::Url;

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

/// Where a cluster lives, and who runs it.
#[derive(Clone, Debug)]
struct Cluster {
    binaries: PathBuf,
    folder: PathBuf,
    account: Option<Account>,
}

/// The user that runs servers in place of root.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Certificate authorities, as PEM files, for clients of a server with TLS.
#[derive(Clone, Debug)]
pub(crate) struct Authorities {
    /// Signed the server's certificate.
    pub(crate) right: PathBuf,
    /// Did not.
    pub(crate) wrong: PathBuf,
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

/// A database of one test.
#[derive(Debug)]
pub(crate) struct Database {
    name: String,
    url: Url,
    socket_folder: PathBuf,
    maintenance_url: Url,
}

impl Database {
    /// The name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// `postgresql://tester@127.0.0.1:port/name`.
    pub(crate) fn url(&self) -> String {
        self.url.to_string()
    }

    /// The same for another user.
    pub(crate) fn url_as(&self, (user, password): (&str, &str)) -> String {
        let mut url = self.url.clone();
        url.set_username(user).expect("the URL has a host");
        url.set_password(Some(password)).expect("the URL has a host");
        url.to_string()
    }

    /// The same over the Unix socket.
    pub(crate) fn socket_url(&self) -> String {
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("host", &self.socket_folder.to_string_lossy());
        url.to_string()
    }

    /// Opens a connection as [`USER`].
    pub(crate) async fn connect(&self) -> PgConnection {
        connect(&self.url).await
    }

    /// Runs one or more statements.
    pub(crate) async fn execute(&self, sql: &str) {
        let mut connection = self.connect().await;
        run_sql(&mut connection, sql).await;
        connection.close().await.expect("close the connection");
    }

    /// The first column of the only row.
    pub(crate) async fn value<T>(&self, sql: &str) -> T
    where
        T: for<'row> Decode<'row, Dialect> + Type<Dialect>,
    {
        let mut connection = self.connect().await;
        let row: PgRow = sqlx::query(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{error}, in: {sql}"));
        connection.close().await.expect("close the connection");
        row.get(0)
    }
}

impl Drop for Database {
    /// Drops the database on a thread of its own, so that many tests do not fill the disk. Its server
    /// may have been stopped, and this process may be about to end: that it fails does not matter.
    fn drop(&mut self) {
        let (name, url) = (self.name.clone(), self.maintenance_url.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut connection = PgConnection::connect(url.as_str()).await?;
                let others = format!(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
                );
                for sql in [others, format!("DROP DATABASE {name}")] {
                    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
                }
                connection.close().await
            })
        });
    }
}

impl Cluster {
    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn program(&self, name: &str) -> Command {
        self.command(&self.binaries.join(name))
    }

    /// A command that runs as the server's user, in the cluster's folder, away from the terminal's signals.
    #[expect(clippy::disallowed_methods, reason = "tests start the servers that they need")]
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).process_group(0).stdin(Stdio::null());
        command.env("LC_ALL", "C").env_remove("PGDATA").env_remove("PGPORT");
        if let Some(Account { uid, gid }) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Starts the shell that outlives this process by as long as cleaning up takes.
    fn guard(&self) -> Child {
        const SCRIPT: &str = r#"
            trap '' INT TERM HUP
            cat >/dev/null
            "$1/pg_ctl" -D "$2/data" -w -m immediate stop
            cd / && rm -rf "$2"
        "#;
        let mut shell = self.command(Path::new("/bin/sh"));
        shell.args(["-c", SCRIPT, "sh"]).arg(&self.binaries).arg(&self.folder);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        shell.spawn().expect("start /bin/sh")
    }

    /// Never waits for a disk, and yet what is committed survives a crash of the server (not of the machine).
    fn configuration(&self, port: u16, tls: bool, settings: &[(&'static str, String)]) -> String {
        let folder = self.folder.display();
        let mut text = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{folder}'\n\
             max_connections = 100\nshared_buffers = 64MB\nfsync = off\nfull_page_writes = off\n\
             timezone = 'UTC'\n"
        );
        if tls {
            text += &format!(
                "ssl = on\nssl_cert_file = '{folder}/server.crt'\nssl_key_file = '{folder}/server.key'\n"
            );
        }
        for (name, value) in settings {
            text += &format!("{name} = '{}'\n", value.replace('\'', "''"));
        }
        text
    }
}

fn host_based_authentication() -> String {
    let rule = |kind, user, method| format!("{kind} all {user} 127.0.0.1/32 {method}\n");
    [
        "local all all trust\n".to_owned(),
        rule("host", SCRAM_USER.0, "scram-sha-256"),
        rule("host", MD5_USER.0, "md5"),
        rule("host", CLEAR_TEXT_USER.0, "password"),
        rule("hostnossl", TLS_USER, "reject"),
        rule("host", "all", "trust"),
    ]
    .concat()
}

/// Makes two authorities in `folder`, and a certificate for `localhost` signed by the first one. `openssl`
/// is the program, run there as the user that owns it.
pub(crate) async fn make_certificates(folder: &Path, openssl: impl Fn() -> Command) -> Authorities {
    const CONFIGURATION: &str = "[req]\ndistinguished_name = name\nprompt = no\n[name]\nCN = localhost\n\
        [authority]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\n\
        subjectKeyIdentifier = hash\n\
        [server]\nbasicConstraints = CA:FALSE\nsubjectAltName = DNS:localhost\nextendedKeyUsage = serverAuth\n";
    const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -config openssl.cnf";
    fs::write(folder.join("openssl.cnf"), CONFIGURATION).expect("write openssl.cnf");
    let authority = |name: &str| {
        format!(
            "req -x509 -days 2 {KEY} -extensions authority -subj /CN={name} -keyout {name}.key -out {name}.crt"
        )
    };
    for arguments in [
        authority("right"),
        authority("wrong"),
        format!("req -new {KEY} -subj /CN=localhost -keyout server.key -out server.csr"),
        "x509 -req -days 2 -in server.csr -CA right.crt -CAkey right.key -set_serial 2 -extfile openssl.cnf \
         -extensions server -out server.crt"
            .to_owned(),
    ] {
        let mut openssl = openssl();
        openssl.args(arguments.split_whitespace());
        run(openssl).await.expect_success("openssl");
    }
    let file = |name: &str| folder.join(name);
    Authorities { right: file("right.crt"), wrong: file("wrong.crt") }
}

async fn connect(url: &Url) -> PgConnection {
    PgConnection::connect(url.as_str()).await.unwrap_or_else(|error| panic!("connect to {url}: {error}"))
}

async fn run_sql(connection: &mut PgConnection, sql: &str) {
    let outcome = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await;
    outcome.unwrap_or_else(|error| panic!("{error}, in: {sql}"));
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

/// `TEST_POSTGRES_BIN`, else the newest version of Debian's layout.
fn installed_binaries() -> Option<PathBuf> {
    if let Some(folder) = setting("TEST_POSTGRES_BIN") {
        return Some(PathBuf::from(folder));
    }
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let number = |folder: &PathBuf| folder.file_name()?.to_str()?.parse::<u32>().ok();
    let folders = versions.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let newest = folders
        .filter(|folder| folder.join("bin/initdb").exists())
        .filter_map(|folder| number(&folder).map(|number| (number, folder)))
        .max()?;
    Some(newest.1.join("bin"))
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

/// A port that nobody listens on, below those that the kernel gives to outgoing connections, so that
/// a server that is restarted finds it free again.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = rand::random_range(20_000..32_000);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
