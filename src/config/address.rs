//! Connections written as URLs, for `extract --source URL --to URL`.
//!
//! A URL becomes a section with the same keys as in the configuration file, so that the same proof
//! judges both. No message shows a URL: it can hold a password.

use ::config::Value;

use super::pgpass::{self, Login};
use super::problem::{Place, Problems};
use super::raw::Table;
use super::report::Report;
use super::{Environment, LocalTarget, SourceConnection, TargetConnection, prove};

const SOURCE: &str = "--source";
const TARGET: &str = "--to";

/// Reads `postgresql://user:password@host:port/database?sslmode=...`,
/// `mysql://user:password@host:port/database?ssl_mode=...`,
/// `sqlserver://user:password@host:port/database?encrypt=...`, `sqlite:///path` or `sqlite:path`.
///
/// What a PostgreSQL URL leaves out comes from libpq's variables (`PGHOST`, `PGPORT`, `PGDATABASE`,
/// `PGUSER`, `PGPASSWORD`, `PGSSLMODE`, `PGSSLROOTCERT`, `PGAPPNAME`, `PGCONNECT_TIMEOUT`) and its
/// password file; what a MySQL URL leaves out, from `MYSQL_HOST`, `MYSQL_TCP_PORT`, `MYSQL_PWD` and
/// `USER`. Parameters are the keys of the configuration file.
pub fn source_from_url(url: &str, environment: &Environment) -> Result<SourceConnection, Problems> {
    let remedy = "Write postgresql://user@host:5432/database, mysql://user@host:3306/database, sqlserver://user@host:1433/database or sqlite:///path/to/file.";
    match url.split_once(':') {
        Some(("postgresql" | "postgres", rest)) if rest.starts_with("//") => {
            postgresql(&rest[2..], environment)
        }
        Some(("mysql" | "mariadb", rest)) if rest.starts_with("//") => mysql(&rest[2..], environment),
        Some(("sqlserver" | "mssql", rest)) if rest.starts_with("//") => sqlserver(&rest[2..], environment),
        Some(("sqlite", rest)) => sqlite(rest, environment),
        Some((scheme, _)) if is_scheme(scheme) => {
            Err(refused(SOURCE, format!("has the scheme {scheme:?}, which this version cannot read"), remedy))
        }
        _ => Err(refused(SOURCE, "is not a URL", remedy)),
    }
}

/// Reads `file:///directory`, `s3://bucket/prefix?region_name=...`, `azure://account/container/prefix`
/// or `gs://bucket/prefix`; returns the target and the path below it, which is empty: the URL is the
/// root itself.
///
/// What an S3 URL leaves out comes from the usual places of AWS tools (variables, profile, web
/// identity, instance). `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` is the endpoint, with path style,
/// unless the URL says otherwise. For Azure, `AZURE_STORAGE_CONNECTION_STRING`, `AZURE_STORAGE_KEY` or
/// `AZURE_STORAGE_SAS_TOKEN` are the credentials, as in its command line, or else the default
/// credential; for Google, the application default credentials.
pub fn target_from_url(url: &str, environment: &Environment) -> Result<(TargetConnection, String), Problems> {
    let remedy = "Write file:///directory, s3://bucket/prefix, azure://account/container/prefix or \
                  gs://bucket/prefix.";
    let target = match url.split_once(':') {
        Some(("file", rest)) => local(rest),
        Some(("s3", rest)) if rest.starts_with("//") => s3(&rest[2..], environment),
        Some(("azure", rest)) if rest.starts_with("//") => azure(&rest[2..], environment),
        Some(("gs", rest)) if rest.starts_with("//") => gcs(&rest[2..], environment),
        Some((scheme, _)) if is_scheme(scheme) => Err(refused(
            TARGET,
            format!("has the scheme {scheme:?}, to which this version cannot write"),
            remedy,
        )),
        _ => Err(refused(TARGET, "is not a URL", remedy)),
    };
    target.map(|target| (target, String::new()))
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 20
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+')
}

fn refused(argument: &'static str, message: impl Into<String>, remedy: &str) -> Problems {
    let mut problems = Problems::one("the URL", message, remedy);
    problems.0[0].place = Some(Place::Argument(argument));
    problems
}

/// A section that is filled from a URL and from variables.
struct Filling<'e> {
    argument: &'static str,
    report: Report<'e>,
    table: Table,
}

impl<'e> Filling<'e> {
    fn new(argument: &'static str, environment: &'e Environment) -> Self {
        Self { argument, report: Report::new(environment), table: Table::new() }
    }

    /// Sets a key that nothing has set yet. Texts of a URL are literal, so references are escaped.
    fn set(&mut self, key: &str, text: &str, place: Place) {
        if !self.table.contains_key(key) {
            self.report.places.insert(key.to_owned(), place);
            self.table.insert(key.to_owned(), Value::new(None, text.replace("${", "$${")));
        }
    }

    fn set_from_url(&mut self, key: &str, text: &str) {
        self.set(key, text, Place::Argument(self.argument));
    }

    fn set_from_variable(&mut self, key: &str, variable: &str) {
        if let Some(text) = self.report.environment.filled(variable) {
            let text = text.to_owned();
            self.set(key, &text, Place::Variable(variable.to_owned()));
        }
    }

    /// User, password, host, port and database of `user:password@host:port/database?query`; returns
    /// the query.
    fn set_server<'u>(&mut self, rest: &'u str) -> &'u str {
        let (hierarchy, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = hierarchy.split_once('/').unwrap_or((hierarchy, ""));
        // A password may hold an @ that nobody encoded; a host cannot.
        let (login, host_and_port) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (username, password) = login.split_once(':').unwrap_or((login, ""));
        let (host, port) = match host_and_port.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':').unwrap_or(port)),
            None => host_and_port.rsplit_once(':').unwrap_or((host_and_port, "")),
        };
        let parts = [
            ("username", username),
            ("password", password),
            ("host", host),
            ("port", port),
            ("database", database),
        ];
        for (key, part) in parts {
            match decode(part) {
                Some(text) if text.is_empty() => {}
                Some(text) => self.set_from_url(key, &text),
                None => {
                    self.problem(key, "has a percent sign without two hexadecimal digits that make UTF-8")
                }
            }
        }
        query
    }

    /// The parameters after the question mark; `names` are the ones with another name here.
    fn set_parameters(&mut self, query: &str, names: &[(&str, &str)], refused: &[&str]) {
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(name), Some(text)) = (decode(name), decode(text)) else {
                self.problem(
                    "the query",
                    "has a percent sign without two hexadecimal digits that make UTF-8",
                );
                continue;
            };
            let key = names.iter().find(|(theirs, _)| *theirs == name).map_or(&*name, |(_, ours)| ours);
            if refused.contains(&key) {
                self.problem(key, "is not a parameter of a URL");
            } else if self.table.contains_key(key) {
                self.problem(key, "is given twice");
            } else if !text.is_empty() {
                self.set_from_url(key, &text);
            }
        }
    }

    fn problem(&mut self, key: &str, message: &str) {
        self.report.problem_at(Some(Place::Argument(self.argument)), key, message, None);
    }

    /// Proves what was gathered.
    fn prove<T>(mut self, proof: fn(&mut Report<'_>, &str, Value) -> Option<T>) -> Result<T, Problems> {
        let proven = proof(&mut self.report, "", Value::new(None, self.table));
        let (Problems(mut problems), _) = self.report.finish();
        for problem in &mut problems {
            problem.place.get_or_insert(Place::Argument(self.argument));
        }
        match proven {
            Some(proven) if problems.is_empty() => Ok(proven),
            _ => Err(Problems(problems)),
        }
    }
}

fn postgresql(rest: &str, environment: &Environment) -> Result<SourceConnection, Problems> {
    let mut filling = Filling::new(SOURCE, environment);
    let query = filling.set_server(rest);
    filling.set_parameters(
        query,
        &[("user", "username"), ("dbname", "database")],
        &["kind", "method", "options"],
    );
    for (key, variable) in [
        ("host", "PGHOST"),
        ("port", "PGPORT"),
        ("username", "PGUSER"),
        ("username", "USER"),
        ("username", "LOGNAME"),
        ("database", "PGDATABASE"),
        ("password", "PGPASSWORD"),
        ("sslmode", "PGSSLMODE"),
        ("sslrootcert", "PGSSLROOTCERT"),
        ("application_name", "PGAPPNAME"),
        ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ] {
        filling.set_from_variable(key, variable);
    }
    let mut source = filling.prove(|report, path, value| {
        let mut table = report.table(path, value)?;
        // The database is named like the user when nobody says, as in libpq.
        if let (None, Some(username)) = (table.get("database"), table.get("username")) {
            let username = username.clone();
            table.insert("database".into(), username);
        }
        prove::prove_postgresql(report, path, Value::new(None, table))
    })?;
    if source.password.is_none() {
        let login = Login {
            host: &source.host,
            port: &source.port.to_string(),
            database: &source.database,
            username: &source.username,
        };
        source.password = pgpass::password(&login, environment);
    }
    Ok(SourceConnection::Postgres(source))
}

fn mysql(rest: &str, environment: &Environment) -> Result<SourceConnection, Problems> {
    let mut filling = Filling::new(SOURCE, environment);
    let query = filling.set_server(rest);
    filling.set_parameters(
        query,
        &[("user", "username"), ("socket", "host")],
        &["kind", "method", "options"],
    );
    for (key, variable) in [
        ("host", "MYSQL_HOST"),
        ("port", "MYSQL_TCP_PORT"),
        ("username", "USER"),
        ("username", "LOGNAME"),
        ("password", "MYSQL_PWD"),
    ] {
        filling.set_from_variable(key, variable);
    }
    filling.prove(prove::prove_mysql).map(SourceConnection::Mysql)
}

fn sqlserver(rest: &str, environment: &Environment) -> Result<SourceConnection, Problems> {
    let mut filling = Filling::new(SOURCE, environment);
    let query = filling.set_server(rest);
    filling.set_parameters(query, &[("user", "username")], &["kind", "method", "options"]);
    filling.prove(prove::prove_sqlserver).map(SourceConnection::SqlServer)
}

fn sqlite(rest: &str, environment: &Environment) -> Result<SourceConnection, Problems> {
    let mut filling = Filling::new(SOURCE, environment);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    match decode(path.strip_prefix("//").unwrap_or(path)) {
        Some(path) => filling.set_from_url("path", &path),
        None => filling.problem("path", "has a percent sign without two hexadecimal digits that make UTF-8"),
    }
    // Every source is opened read-only, so this one asks for nothing.
    let query = if query == "mode=ro" { "" } else { query };
    filling.set_parameters(query, &[], &["kind", "path"]);
    filling.prove(prove::prove_sqlite).map(SourceConnection::Sqlite)
}

fn local(rest: &str) -> Result<TargetConnection, Problems> {
    let remedy = "Write file:///absolute/path or file:relative/path.";
    let path = match rest.strip_prefix("//") {
        Some(rest) => {
            let path = rest.strip_prefix("localhost").filter(|path| path.starts_with('/')).unwrap_or(rest);
            if !path.starts_with('/') {
                return Err(refused(TARGET, "names a host, and a directory is on this machine", remedy));
            }
            path
        }
        None => rest,
    };
    match decode(path) {
        Some(path) if path.is_empty() || path.contains('\0') => {
            Err(refused(TARGET, "names no directory", remedy))
        }
        Some(path) => Ok(TargetConnection::Local(LocalTarget { root: path.into() })),
        None => {
            Err(refused(TARGET, "has a percent sign without two hexadecimal digits that make UTF-8", remedy))
        }
    }
}

fn s3(rest: &str, environment: &Environment) -> Result<TargetConnection, Problems> {
    let mut filling = Filling::new(TARGET, environment);
    let (location, query) = rest.split_once('?').unwrap_or((rest, ""));
    // Keys of objects are written as they are, without percent signs for anything.
    let (bucket, prefix) = location.split_once('/').unwrap_or((location, ""));
    if !bucket.is_empty() {
        filling.set_from_url("bucket_name", bucket);
    }
    filling.set_from_url("prefix", prefix);
    filling.set_parameters(query, &[], &["kind"]);
    if !filling.table.contains_key("endpoint_url") {
        filling.set_from_variable("endpoint_url", "AWS_ENDPOINT_URL_S3");
        filling.set_from_variable("endpoint_url", "AWS_ENDPOINT_URL");
        if filling.table.contains_key("endpoint_url") {
            filling.set_from_url("path_style", "true");
        }
    }
    filling.prove(prove::prove_s3).map(TargetConnection::S3)
}

fn azure(rest: &str, environment: &Environment) -> Result<TargetConnection, Problems> {
    let mut filling = Filling::new(TARGET, environment);
    let (location, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut parts = location.splitn(3, '/');
    let [account, container, prefix] = [(); 3].map(|()| parts.next().unwrap_or_default());
    filling.set_parameters(query, &[], &["kind"]);
    if !container.is_empty() {
        filling.set_from_url("container_name", container);
    }
    filling.set_from_url("prefix", prefix);
    let is_named = |filling: &Filling<'_>| {
        let ways = ["connection_string", "account_key", "sas_token", "use_default_credential"];
        ways.iter().any(|way| filling.table.contains_key(*way))
    };
    for (key, variable) in [
        ("connection_string", "AZURE_STORAGE_CONNECTION_STRING"),
        ("account_key", "AZURE_STORAGE_KEY"),
        ("sas_token", "AZURE_STORAGE_SAS_TOKEN"),
    ] {
        if !is_named(&filling) {
            filling.set_from_variable(key, variable);
        }
    }
    if !is_named(&filling) {
        filling.set_from_url("use_default_credential", "true");
    }
    // A connection string names the account; elsewhere the URL does, alone or as a host.
    if !account.is_empty() && !filling.table.contains_key("connection_string") {
        let (name, is_host) = account.split_once('.').map_or((account, false), |(name, _)| (name, true));
        filling.set_from_url("account_name", name);
        if is_host {
            filling.set_from_url("endpoint_url", &format!("https://{account}"));
        }
    }
    filling.prove(prove::prove_azure_blob).map(TargetConnection::AzureBlob)
}

fn gcs(rest: &str, environment: &Environment) -> Result<TargetConnection, Problems> {
    let mut filling = Filling::new(TARGET, environment);
    let (location, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (bucket, prefix) = location.split_once('/').unwrap_or((location, ""));
    if !bucket.is_empty() {
        filling.set_from_url("bucket_name", bucket);
    }
    filling.set_from_url("prefix", prefix);
    filling.set_parameters(query, &[], &["kind"]);
    filling.prove(prove::prove_gcs).map(TargetConnection::Gcs)
}

/// Replaces `%41` and the like. `None` when a percent sign stands alone or the result is no UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let [high, low] = [rest.next()?, rest.next()?].map(|digit| char::from(digit).to_digit(16));
            bytes.push(u8::try_from(high? * 16 + low?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
