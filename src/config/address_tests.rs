use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::super::testing::Directory;
use super::super::{PostgresSource, S3Target, Secret, SqliteSource, SslMode};
use super::*;

fn environment() -> Environment {
    Environment::of([("USER", "me")])
}

#[track_caller]
fn postgresql_in(url: &str, environment: &Environment) -> PostgresSource {
    match source_from_url(url, environment) {
        Ok(SourceConnection::Postgres(source)) => source,
        other => panic!("{url}: {other:?}"),
    }
}

/// Checks user, password, host, port and database of a URL.
#[track_caller]
fn check(url: &str, expected: (&str, Option<&str>, &str, u16, &str)) {
    let source = postgresql_in(url, &environment());
    let password = source.password.as_ref().map(Secret::expose);
    let found = (&*source.username, password, &*source.host, source.port, &*source.database);
    assert_eq!(found, expected, "{url}");
}

#[track_caller]
fn bad_source(url: &str) -> String {
    source_from_url(url, &environment()).unwrap_err().to_string()
}

#[track_caller]
fn bad_target(url: &str) -> String {
    target_from_url(url, &environment()).unwrap_err().to_string()
}

#[test]
fn a_postgresql_url_is_read_as_libpq_reads_it() {
    check("postgresql://u:p@h:1/d", ("u", Some("p"), "h", 1, "d"));
    check("postgres://u:p@h/d", ("u", Some("p"), "h", 5432, "d"));
    check("postgresql://h/d", ("me", None, "h", 5432, "d"));
    check("postgresql://", ("me", None, "localhost", 5432, "me"));
    check("postgresql://u@h", ("u", None, "h", 5432, "u"));
    check("postgresql://u@/d", ("u", None, "localhost", 5432, "d"));
    check("postgresql:///d?host=/tmp&port=7&user=x&password=y", ("x", Some("y"), "/tmp", 7, "d"));
    check("postgresql://u:p%40%3A%2F@%2Fvar%2Frun/a%20b", ("u", Some("p@:/"), "/var/run", 5432, "a b"));
    check("postgresql://u:p@ss@h/d", ("u", Some("p@ss"), "h", 5432, "d"));
    check("postgresql://u:a:b@h/d", ("u", Some("a:b"), "h", 5432, "d"));
    check("postgresql://u@[::1]:6/d", ("u", None, "::1", 6, "d"));
    check("postgresql://u@[fe80::2]/d", ("u", None, "fe80::2", 5432, "d"));
    check("postgresql://u:p${env:HOME}@h/d", ("u", Some("p${env:HOME}"), "h", 5432, "d"));
    check("postgresql://u:$${x}@h/d", ("u", Some("$${x}"), "h", 5432, "d"));
}

#[test]
fn parameters_are_the_keys_of_the_configuration() {
    let source = postgresql_in(
        "postgresql://u@h/d?sslmode=require&application_name=a%20b&connect_timeout=3\
         &numeric=decimal(38,10)&statement_timeout=5m&currentSchema=crm",
        &environment(),
    );
    assert_eq!(source.ssl_mode, SslMode::Require);
    assert_eq!(source.application_name, "a b");
    assert_eq!(source.connect_timeout, Duration::from_secs(3));
    assert_eq!(source.statement_timeout, Some(Duration::from_secs(300)));
    assert_eq!(source.search_path.as_deref(), Some("crm"));
}

#[test]
fn variables_fill_in_what_the_url_leaves_out() {
    let environment = Environment::of([
        ("PGHOST", "env-host"),
        ("PGPORT", "6000"),
        ("PGUSER", "env-user"),
        ("USER", "system-user"),
        ("PGDATABASE", "env-database"),
        ("PGPASSWORD", "env${password}"),
        ("PGSSLMODE", "verify-full"),
        ("PGSSLROOTCERT", "/ca.pem"),
        ("PGAPPNAME", "env-app"),
        ("PGCONNECT_TIMEOUT", "4"),
    ]);
    let source = postgresql_in("postgresql://", &environment);
    assert_eq!((&*source.host, source.port), ("env-host", 6000));
    assert_eq!((&*source.username, &*source.database), ("env-user", "env-database"));
    assert_eq!(source.password, Some(Secret::new("env${password}")));
    assert_eq!(source.ssl_mode, SslMode::VerifyFull);
    assert_eq!(source.ssl_root_certificate, Some(PathBuf::from("/ca.pem")));
    assert_eq!(source.application_name, "env-app");
    assert_eq!(source.connect_timeout, Duration::from_secs(4));
    let environment = Environment::of([("PGSSLMODE", "require")]);
    let source = postgresql_in("postgresql://u:p@h:1/d?sslmode=disable&sslrootcert=", &environment);
    assert_eq!(source.ssl_mode, SslMode::Disable);
}

#[cfg(unix)]
#[test]
fn a_password_comes_from_the_password_file_when_nobody_else_has_one() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new();
    let file = directory.write(".pgpass", "h:5432:d:u:from-home\n*:*:*:*:from-anywhere\n");
    let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    let environment = Environment::default().with_home(directory.path());
    let password = |url: &str| postgresql_in(url, &environment).password;
    mode(0o600);
    assert_eq!(password("postgresql://u@h/d"), Some(Secret::new("from-home")));
    assert_eq!(password("postgresql://other@h/d"), Some(Secret::new("from-anywhere")));
    assert_eq!(password("postgresql://u:own@h/d"), Some(Secret::new("own")));
    mode(0o644);
    assert_eq!(password("postgresql://u@h/d"), None);
    mode(0o600);
    let elsewhere = directory.write("elsewhere", "h:5432:d:u:from-elsewhere\n");
    std::fs::set_permissions(&elsewhere, std::fs::Permissions::from_mode(0o600)).unwrap();
    let environment =
        Environment::of([("PGPASSFILE", elsewhere.to_str().unwrap())]).with_home(directory.path());
    let source = postgresql_in("postgresql://u@h/d", &environment);
    assert_eq!(source.password, Some(Secret::new("from-elsewhere")));
}

#[test]
fn problems_of_a_source_url_never_show_it() {
    for (url, expected) in [
        (
            "postgresql://u:hunter2@h:99999/d?sslmode=on&sslmod=x",
            "--source: port is \"99999\"; expected an integer from 1 to 65535\n\
             --source: sslmod is not a known key. Did you mean sslmode?\n\
             --source: sslmode is \"on\"; expected one of \"disable\", \"allow\", \"prefer\", \"require\", \
             \"verify-ca\", \"verify-full\"",
        ),
        (
            "postgresql://u:hunter2%@h/d",
            "--source: password has a percent sign without two hexadecimal digits that make UTF-8",
        ),
        ("postgresql://u:hunter2@h/d?user=v", "--source: username is given twice"),
        ("postgresql://u:hunter2@h/d?options=-c%20x", "--source: options is not a parameter of a URL"),
        (
            "db2://u:hunter2@h/d",
            "--source: the URL has the scheme \"db2\", which this version cannot read. \
             Write postgresql://user@host:5432/database, mysql://user@host:3306/database or sqlite:///path/to/file.",
        ),
        (
            "hunter2@host",
            "--source: the URL is not a URL. \
             Write postgresql://user@host:5432/database, mysql://user@host:3306/database or sqlite:///path/to/file.",
        ),
    ] {
        let problems = bad_source(url);
        assert!(!problems.contains("hunter2"), "{problems}");
        let mut lines: Vec<&str> = problems.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines.join("\n"), expected, "{url}");
    }
    let nobody = source_from_url("postgresql://h/d", &Environment::default()).unwrap_err();
    assert_eq!(nobody.to_string(), "--source: username is missing. Add username to the URL.");
}

#[test]
fn a_sqlite_url_is_a_path() {
    for (url, expected) in [
        ("sqlite:///a/b.db", "/a/b.db"),
        ("sqlite:/a/b.db", "/a/b.db"),
        ("sqlite:b.db", "b.db"),
        ("sqlite://b.db", "b.db"),
        ("sqlite:///a%20b.db?mode=ro", "/a b.db"),
    ] {
        let expected = SourceConnection::Sqlite(SqliteSource { path: expected.into() });
        assert_eq!(source_from_url(url, &environment()).unwrap(), expected, "{url}");
    }
    assert_eq!(bad_source("sqlite:"), "--source: path is blank; expected a text");
    assert_eq!(
        bad_source("sqlite:///a?mode=rwc"),
        "--source: mode is not a known key. Known here: kind, path."
    );
}

#[test]
fn a_file_url_is_a_directory() {
    for (url, expected) in [
        ("file:///out", "/out"),
        ("file:/out", "/out"),
        ("file:out/x", "out/x"),
        ("file://localhost/out", "/out"),
        ("file:///a%20b", "/a b"),
    ] {
        let expected = TargetConnection::Local(LocalTarget { root: expected.into() });
        assert_eq!(target_from_url(url, &environment()).unwrap(), (expected, String::new()), "{url}");
    }
    assert_eq!(
        bad_target("file://server/out"),
        "--to: the URL names a host, and a directory is on this machine. \
         Write file:///absolute/path or file:relative/path."
    );
    assert!(bad_target("file:").contains("names no directory"));
    assert!(bad_target("file:///%zz").contains("percent sign"));
    assert!(bad_target("ftp://bucket").contains("has the scheme \"ftp\""));
    assert!(bad_target("/out").contains("is not a URL"));
}

#[test]
fn an_s3_url_is_a_bucket_and_a_prefix() {
    let s3_in = |url: &str, environment: &Environment| -> S3Target {
        match target_from_url(url, environment) {
            Ok((TargetConnection::S3(target), path)) if path.is_empty() => target,
            other => panic!("{url}: {other:?}"),
        }
    };
    let target = s3_in("s3://lake/a/b%20c", &environment());
    assert_eq!((&*target.bucket_name, &*target.prefix), ("lake", "a/b%20c/"));
    assert_eq!((target.endpoint_url, target.path_style), (None, false));
    assert_eq!(s3_in("s3://lake", &environment()).prefix, "");

    let elsewhere = Environment::of([("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")]);
    let target = s3_in("s3://lake/x/", &elsewhere);
    assert_eq!(target.endpoint_url.as_deref(), Some("http://127.0.0.1:9000"));
    assert!(target.path_style);
    assert!(!s3_in("s3://lake?path_style=false", &elsewhere).path_style);
    let target = s3_in(
        "s3://lake?endpoint_url=https%3A%2F%2Fs3.example.com&region_name=eu-west-1&part_size=16%20MiB",
        &elsewhere,
    );
    assert_eq!(target.endpoint_url.as_deref(), Some("https://s3.example.com"));
    assert_eq!(target.region_name.as_deref(), Some("eu-west-1"));
    assert_eq!(target.part_size, NonZeroUsize::new(16 << 20).unwrap());

    assert_eq!(bad_target("s3://"), "--to: bucket_name is missing. Add bucket_name to the URL.");
    assert_eq!(
        bad_target("s3://lake?region=x"),
        "--to: region is not a known key. Did you mean region_name?"
    );
}

#[test]
fn a_mysql_url_has_the_keys_of_the_section() {
    let environment = Environment::of([("MYSQL_PWD", "s3cret"), ("USER", "me"), ("MYSQL_TCP_PORT", "3307")]);
    for (url, username, password, database, port) in [
        ("mysql://u:p%40x@db:1/sales?sslMode=VERIFY_IDENTITY", "u", "p@x", Some("sales"), 1),
        ("mariadb://db", "me", "s3cret", None, 3307),
    ] {
        let Ok(SourceConnection::Mysql(source)) = source_from_url(url, &environment) else {
            panic!("{url} is a MySQL source")
        };
        assert_eq!((source.host.as_str(), source.port), ("db", port));
        assert_eq!((source.username.as_str(), source.database.as_deref()), (username, database));
        assert_eq!(source.password.as_ref().map(Secret::expose), Some(password));
        let mode = if port == 1 { SslMode::VerifyFull } else { SslMode::Prefer };
        assert_eq!(source.ssl_mode, mode);
    }
}
