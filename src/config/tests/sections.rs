//! The sections of the agent itself, and how the kind of a connection is found.

use std::num::NonZeroU64;

use super::*;
use crate::task::{Compression, FileFormat};

/// The problems of one wrong line in a section, without place and path of the section.
#[track_caller]
fn bad_line(section: &str, line: &str) -> String {
    let text = bad(&format!("[{section}]\n{line}\n"));
    text.replace("configuration.toml:2: ", "").replace(&format!("{section}."), "")
}

#[test]
fn application_is_proven() {
    for (line, expected) in [
        ("workers = 101", "workers is 101; expected an integer from 1 to 100"),
        ("workers = -1", "workers is -1; expected an integer from 1 to 100"),
        ("workers = \"4\"", "workers is the string \"4\"; expected an integer from 1 to 100"),
        ("workers = 4.0", "workers is a float; expected an integer from 1 to 100"),
        ("workers = 99999999999999999999", "workers is an integer of more than 64 bits"),
        ("workers = 2024-01-01", "workers is a date or time; no key takes one"),
        ("debug_mode = 1", "debug_mode is an integer; expected true or false"),
        ("affinity = \" \"", "affinity is blank; expected a text"),
        ("affinity = {}", "affinity is a table; expected a string"),
        ("data_directory = []", "data_directory is an array; expected a string"),
        (
            "stop_grace = \"2 weeks\"",
            "stop_grace is the string \"2 weeks\"; expected a duration from 0s to 1d, in seconds or as a \
             text like \"90s\", \"5m\", \"2h\"",
        ),
        (
            "task_fetch_interval = \"500ms\"",
            "task_fetch_interval is the string \"500ms\"; expected a duration from 1s to 1d, in seconds or as \
             a text like \"90s\", \"5m\", \"2h\"",
        ),
        (
            "memory_limit = 512",
            "memory_limit is 512; expected a size of at least 1 MiB, in bytes or as a text like \"64 MiB\", \
             \"8MB\"",
        ),
    ] {
        assert_eq!(bad_line("application", line), expected);
    }
    let config = good(
        "[application]\nstop_grace = \"2m\"\nmemory_limit = \"1 GiB\"\ntask_fetch_interval = \"1h\"\n\
         data_directory = \"~/queue\"\nlease_refresh_interval = 120\n",
    );
    assert_eq!(config.application.stop_grace, Duration::from_secs(120));
    assert_eq!(config.application.memory_limit, NonZeroU64::new(1 << 30));
    assert_eq!(config.application.task_fetch_interval, Duration::from_secs(3600));
    assert_eq!(config.application.data_directory, PathBuf::from("/home/agent/queue"));
}

#[test]
fn without_a_home_directory_the_data_directory_has_to_be_written() {
    let nowhere = Environment::default();
    let problems = parse_in("", &nowhere).unwrap_err().to_string();
    assert_eq!(
        problems,
        "application.data_directory is missing, and there is no home directory for its default. \
         Write the directory of the queue, or set HOME."
    );
    let problems = parse_in("application.data_directory = \"~/x\"", &nowhere).unwrap_err();
    assert_eq!(problems.0.len(), 1, "{problems}");
    assert!(parse_in("application.data_directory = \"/x\"", &nowhere).is_ok());
}

#[test]
fn the_server_listens_on_a_network_only_when_told_so_twice() {
    let server = |lines: &str| good(&format!("[server]\n{lines}")).server;
    for host in ["127.0.0.1", "127.8.8.8", "::1", "localhost"] {
        assert!(server(&format!("host = \"{host}\"")).host.is_loopback(), "{host}");
    }
    for host in ["0.0.0.0", "::", "192.168.1.1"] {
        let line = format!("host = \"{host}\"");
        let problem = bad_line("server", &line);
        assert!(problem.contains("nothing listens on a network without authentication"), "{problem}");
        let problem = bad_line("server", &format!("{line}\nallow_unauthenticated = false"));
        assert!(problem.contains("nothing listens on a network without authentication"), "{problem}");
        let allowed = server(&format!("{line}\nallow_unauthenticated = true"));
        assert_eq!(allowed.host.to_string(), host);
        assert!(allowed.allow_unauthenticated);
    }
    // An empty table of keys opens nothing.
    let problems = bad("[server]\nhost = \"0.0.0.0\"\n[server.api_keys]");
    assert!(problems.contains("nothing listens on a network without authentication"), "{problems}");
    assert!(problems.contains("server.api_keys has no key in it"), "{problems}");
    let problems = bad("[server.api_keys]");
    assert!(problems.contains("server.api_keys has no key in it"), "{problems}");
    // A wrong word is one problem, not two; a wrong key too.
    let wrong = "[server.api_keys.a]\nkey = \"short\"";
    assert_eq!(bad(&format!("[server]\nhost = \"::\"\n{wrong}")).lines().count(), 1);
    assert_eq!(bad("[server]\nhost = \"::\"\napi_keys = 1").lines().count(), 1);
    assert_eq!(bad("[server]\nhost = \"::\"\nallow_unauthenticated = 1").lines().count(), 1);
    assert_eq!(server("port = 0\nmax_body_bytes = \"2 MiB\"").max_body_bytes, 2 << 20);
    for (line, expected) in [
        ("port = -1", "port is -1; expected an integer from 0 to 65535"),
        (
            "host = \"example.com\"",
            "host is the string \"example.com\"; expected an IP address such as \"127.0.0.1\", or \"localhost\"",
        ),
        (
            "max_body_bytes = 0",
            "max_body_bytes is 0; expected a size from 1 KiB to 1 GiB, in bytes or as a text like \
             \"64 MiB\", \"8MB\"",
        ),
    ] {
        assert_eq!(bad_line("server", line), expected);
    }
}

#[test]
fn api_keys_are_proven_and_kept_as_hashes() {
    let keys = |lines: &str| good(lines).server.api_keys;
    let all = keys(
        "[server.api_keys.b]\nkey = \"0123456789abcdef\"\n[server.api_keys.a]\nkey = \"fedcba9876543210\"\nscopes = \"read,submit\"",
    );
    let scopes: Vec<_> = all.iter().map(|key| (key.name(), key.scopes().len())).collect();
    assert_eq!(scopes, [("a", 2), ("b", 3)]);
    assert!(all[1].is(&KeyDigest::of(b"0123456789abcdef")));
    assert!(!format!("{all:?}").contains("0123456789abcdef"));

    // A key opens the network.
    good("[server]\nhost = \"0.0.0.0\"\n[server.api_keys.a]\nkey = \"0123456789abcdef\"");
    for (lines, expected) in [
        ("key = \"short\"", "shorter than 16 characters"),
        ("key = \"0123456789abcdef\"\nscopes = \"read, write\"", "read, submit and operate"),
        ("key = \"0123456789abcdef\"\nscopes = \" \"", "scopes"),
        ("scopes = \"read\"", "key is missing"),
        (
            "key = \"0123456789abcdef\"\n[server.api_keys.b]\nkey = \"0123456789abcdef\"",
            "is the same as that of server.api_keys.a",
        ),
    ] {
        let problems = bad(&format!("[server.api_keys.a]\n{lines}"));
        assert!(problems.contains(expected), "{lines}: {problems}");
        assert!(!problems.contains("0123456789abcdef"), "{problems}");
    }
}

#[test]
fn transfer_is_proven() {
    let transfer = good(
        "[transfer]\nslices = 4\nbatch_rows = 1000\nbatch_bytes = \"1 MiB\"\nrow_group_rows = 5000\n\
         row_group_bytes = 1048576\nmax_file_size = \"1GB\"\ncompression = \"gzip\"\nformat = \"csv\"\n\
         csv_delimiter = \"\\t\"\ncsv_line_end = \"\\n\"\ncsv_header = false\n",
    )
    .transfer;
    assert_eq!(transfer.slices.get(), 4);
    assert_eq!(transfer.batch_rows.get(), 1000);
    assert_eq!(transfer.batch_bytes.get(), 1 << 20);
    assert_eq!(transfer.row_group_rows.get(), 5000);
    assert_eq!(transfer.row_group_bytes.get(), 1 << 20);
    assert_eq!(transfer.max_file_size.get(), 1_000_000_000);
    assert_eq!(transfer.compression, Compression::Gzip);
    assert_eq!(transfer.format, FileFormat::Csv);
    assert_eq!(transfer.csv_delimiter, b'\t');
    assert_eq!(transfer.csv_line_end, "\n");
    assert!(!transfer.csv_header);
    for (line, expected) in [
        ("slices = 0", "slices is 0; expected an integer from 1 to 64"),
        ("slices = 65", "slices is 65; expected an integer from 1 to 64"),
        ("batch_rows = 0", "batch_rows is 0; expected an integer from 1 to 10000000"),
        (
            "compression = \"ZSTD\"",
            "compression is the string \"ZSTD\"; expected one of \"zstd\", \"snappy\", \"gzip\", \"none\"",
        ),
        ("format = \"orc\"", "format is the string \"orc\"; expected one of \"parquet\", \"csv\""),
        (
            "csv_delimiter = \"||\"",
            "csv_delimiter is the string \"||\"; expected one ASCII character, neither a quote nor a line end",
        ),
        (
            "csv_delimiter = '\"'",
            "csv_delimiter is the string \"\\\"\"; expected one ASCII character, neither a quote nor a line end",
        ),
        ("csv_line_end = \"\\r\"", "csv_line_end is the string \"\\r\"; expected one of \"\\r\\n\", \"\\n\""),
        (
            "max_file_size = \"1 PiB\"",
            "max_file_size is the string \"1 PiB\"; expected a size from 1 KiB to 5 TiB, in bytes or as a text \
             like \"64 MiB\", \"8MB\"",
        ),
    ] {
        assert_eq!(bad_line("transfer", line), expected);
    }
}

#[test]
fn task_sources_are_proven() {
    for (text, expected) in [
        (
            "selected_task_source = \"kafka\"",
            "configuration.toml:1: selected_task_source is the string \"kafka\"; expected one of \"api\", \
             \"snowflake_stored_procedure\"",
        ),
        (
            "task_source = 1",
            "configuration.toml:1: task_source is an integer; expected a table. \
          Write it as a section: [task_source].",
        ),
        (
            "[task_source.api]\nkeys = 1",
            "configuration.toml:2: task_source.api.keys is not a known key. \
          Did you mean key?",
        ),
        (
            "[task_source.rest]",
            "configuration.toml:1: task_source.rest is not a known key. \
          Known here: api, snowflake_stored_procedure.",
        ),
        (
            "[task_source.snowflake_stored_procedure]\nrecord_history = true",
            "configuration.toml:1: task_source.snowflake_stored_procedure.connection_name is missing. Add connection_name to the section.",
        ),
    ] {
        assert_eq!(bad(text), expected, "{text}");
    }
    assert!(warnings("selected_task_source = \"api\"").is_empty());
}

#[test]
fn the_kind_of_a_connection_is_its_name_when_nobody_says() {
    let config = good(
        "[connections.source.sqlite]\npath = \"/a.db\"\n[connections.source.b]\nkind = \"sqlite\"\n\
         path = \"~/b.db\"\n[connections.target.local]\nroot = \"/out\"\n\
         [connections.target.other]\nkind = \"local\"\nroot = \"~/out\"\n",
    );
    let sqlite = |path: &str| SourceConnection::Sqlite(SqliteSource { path: path.into() });
    assert_eq!(config.sources["sqlite"], sqlite("/a.db"));
    assert_eq!(config.sources["b"], sqlite("/home/agent/b.db"));
    let local = |root: &str| TargetConnection::Local(LocalTarget { root: root.into() });
    assert_eq!(config.targets["local"], local("/out"));
    assert_eq!(config.targets["other"], local("/home/agent/out"));
    for (text, expected) in [
        (
            "[connections.source.sales]",
            "configuration.toml:1: connections.source.sales has no kind, and its \
          name is not one either. Add kind = \"postgresql\" or \"mysql\" or \"mariadb\" or \"sqlserver\" or \"sqlite\" or \"odbc\" or \"teradata\" or \"oracle\" or \"db2\" or \"redshift\".",
        ),
        (
            "[connections.source.postgres]",
            "configuration.toml:1: connections.source.postgres has no kind, \
          and its name is not one either. Add kind = \"postgresql\".",
        ),
        (
            "[connections.source.s3]",
            "configuration.toml:1: connections.source.s3 has no kind, and its name \
          is not one either. Add kind = \"postgresql\" or \"mysql\" or \"mariadb\" or \"sqlserver\" or \"sqlite\" or \"odbc\" or \"teradata\" or \"oracle\" or \"db2\" or \"redshift\".",
        ),
        (
            "[connections.target.x]\nkind = \"ftp\"",
            "configuration.toml:2: connections.target.x.kind is \
          \"ftp\"; expected \"local\" or \"s3\" or \"blob\" or \"gcs\" or \"snowflake\"",
        ),
        (
            "[connections.target.x]\nkind = 3",
            "configuration.toml:2: connections.target.x.kind is an integer; \
          expected \"local\" or \"s3\" or \"blob\" or \"gcs\" or \"snowflake\"",
        ),
        (
            "[connections.source.sqlite]",
            "configuration.toml:1: connections.source.sqlite.path is missing. \
          Add path to the section.",
        ),
        (
            "[connections.target.local]\nroot = \"\"",
            "configuration.toml:2: connections.target.local.root is \
          blank; expected a text",
        ),
    ] {
        assert_eq!(bad(text), expected, "{text}");
    }
}

#[test]
fn the_queue_keeps_ended_tasks_for_a_month_for_longer_or_for_ever() {
    let queue = |lines: &str| good(&format!("[queue]\n{lines}")).queue;
    let month = Duration::from_secs(30 * 24 * 60 * 60);
    assert_eq!(queue(""), QueueSettings { keep: Some(month), max_tasks: Some(1_000_000) });
    assert_eq!(queue("keep = \"90d\"").keep, Some(3 * month));
    assert_eq!(queue("keep = 0\nmax_tasks = 0"), QueueSettings { keep: None, max_tasks: None });
    let problems = bad("[queue]\nkeep = \"59m\"\nmax_tasks = -1");
    assert!(problems.contains("queue.keep is shorter than 1h"), "{problems}");
    assert!(problems.contains("queue.max_tasks"), "{problems}");
    assert!(bad("[queue]\nkeep = \"4000d\"").contains("queue.keep is"), "longer than ten years");
}
