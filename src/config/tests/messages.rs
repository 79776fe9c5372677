//! What problems say, and what they never show.

use super::*;

#[test]
fn ten_mistakes_are_ten_lines_in_the_order_of_the_file() {
    let problems = bad(r#"selected_task_source = "snowflake"

[application]
workers = 0
task_fetch_interval = "5"
debug_mode = "yes"
wokers = 3

[server]
host = "0.0.0.0"
port = 70000

[connections.source.sales]
kind = "postgres"

[connections.source.postgresql]
username = 5
password = "${env:NOT_SET}"

[connections.target.s3]
bucket_name = "s3://lake"
"#);
    let expected = "\
configuration.toml:1: selected_task_source is the string \"snowflake\"; expected one of \"api\", \"snowflake_stored_procedure\"
configuration.toml:4: application.workers is 0; expected an integer from 1 to 100
configuration.toml:5: application.task_fetch_interval is the string \"5\"; expected a duration from 1s to 1d, in seconds or as a text like \"90s\", \"5m\", \"2h\"
configuration.toml:6: application.debug_mode is the string \"yes\"; expected true or false
configuration.toml:7: application.wokers is not a known key. Did you mean workers?
configuration.toml:10: server.host is 0.0.0.0, which other machines reach; nothing listens on a network without authentication. Add an API key: [server.api_keys.orchestrator] with key = \"${env:AGENT_API_KEY}\". Or use \"127.0.0.1\", or set server.allow_unauthenticated = true when something in front of the agent keeps strangers out.
configuration.toml:11: server.port is 70000; expected an integer from 0 to 65535
configuration.toml:14: connections.source.sales.kind is \"postgres\"; expected \"postgresql\" or \"mysql\" or \"mariadb\" or \"sqlserver\" or \"sqlite\" or \"odbc\" or \"teradata\" or \"oracle\" or \"db2\" or \"redshift\". Did you mean \"postgresql\"?
configuration.toml:16: connections.source.postgresql.database is missing. Add database to the section.
configuration.toml:17: connections.source.postgresql.username is an integer; expected a string
configuration.toml:18: connections.source.postgresql.password refers to the environment variable NOT_SET, which is not set. Set NOT_SET, or write the value here.
configuration.toml:21: connections.target.s3.bucket_name is the string \"s3://lake\"; expected the name alone, of 3 to 63 letters, digits, dots and hyphens, or an ARN";
    assert_eq!(problems, expected);
}

#[test]
fn syntax_errors_come_with_their_line_and_without_its_text() {
    let problems = bad("[application]\nworkers = \n[server\nport = 1\npassword = \"hunter2\n");
    let lines: Vec<&str> = problems.lines().collect();
    assert!(lines.len() >= 2, "{problems}");
    assert!(lines[0].starts_with("configuration.toml:2: syntax is not valid TOML: "), "{problems}");
    assert!(!problems.contains("hunter2"), "{problems}");
    assert!(bad("[a]\n[a]\n").contains("configuration.toml:2: syntax is not valid TOML: duplicate key"));
}

#[test]
fn unknown_keys_are_named_with_the_nearest_one() {
    for (text, expected) in [
        (
            "colour = 1",
            "configuration.toml:1: colour is not a known key. Known here: selected_task_source, \
          application, server, transfer, log, queue, history, guards, idle_shutdown, otlp, task_source, bounds, secrets, connections, bulk_utility.",
        ),
        ("[aplication]", "configuration.toml:1: aplication is not a known key. Did you mean application?"),
        (
            "[connections.sources.x]",
            "configuration.toml:1: connections.sources is not a known key. \
          Did you mean source?",
        ),
        (
            "[transfer]\nbatchRows = 1",
            "configuration.toml:2: transfer.batchRows is not a known key. \
          Did you mean batch_rows?",
        ),
        (
            "[bulk_utility.bpc]",
            "configuration.toml:1: bulk_utility.bpc has no kind, and its name is not one either. \
          Add kind = \"bcp\".",
        ),
        (
            "\"a[9999999999]\" = 1",
            "configuration.toml:1: \"a[9999999999]\" is not a known key. Known here: \
          selected_task_source, application, server, transfer, log, queue, history, guards, idle_shutdown, otlp, task_source, bounds, secrets, connections, bulk_utility.",
        ),
        (
            "[application]\n\"x.y\" = 1",
            "configuration.toml:2: application.\"x.y\" is not a known key. \
          Known here: workers, task_fetch_interval, debug_mode, affinity, data_directory, stop_grace, \
          memory_limit, lease_refresh_interval.",
        ),
    ] {
        assert_eq!(bad(text), expected, "{text}");
    }
}

#[test]
fn sections_have_to_be_tables() {
    for (text, expected) in [
        (
            "application = 4",
            "configuration.toml:1: application is an integer; expected a table. \
          Write it as a section: [application].",
        ),
        (
            "connections = [1]",
            "configuration.toml:1: connections is an array; expected a table. \
          Write it as a section: [connections].",
        ),
        (
            "connections.source = \"x\"",
            "configuration.toml:1: connections.source is a string; expected a \
          table. Write it as a section: [connections.source].",
        ),
        (
            "[connections.source]\npostgresql = 1.5",
            "configuration.toml:2: connections.source.postgresql is \
          a float; expected a table. A connection has a section: [connections.source.postgresql].",
        ),
        (
            "[[application]]\nworkers = 1",
            "configuration.toml:1: application is an array; expected a table. \
          Write it as a section: [application].",
        ),
        (
            "[connections.source.\" \"]",
            "configuration.toml:1: connections.source.\" \" has a blank name. \
          Give the connection a name.",
        ),
        (
            "bulk_utility.bcp = true",
            "configuration.toml:1: bulk_utility.bcp is a boolean; expected a table. \
          Write it as a section: [bulk_utility.bcp].",
        ),
    ] {
        assert_eq!(bad(text), expected, "{text}");
    }
}

#[test]
fn a_text_behind_a_reference_is_in_no_message() {
    let directory = Directory::new();
    let file = directory.write("secret", "hunter2\n");
    let environment = Environment::of([("SECRET", "hunter2")]).with_home("/");
    for line in [
        "[application]\nworkers = \"VALUE\"",
        "[application]\ndebug_mode = \"VALUE\"",
        "[application]\nstop_grace = \"VALUE\"",
        "[application]\nmemory_limit = \"VALUE\"",
        "[server]\nhost = \"VALUE\"",
        "[transfer]\ncompression = \"VALUE\"",
        "[transfer]\ncsv_delimiter = \"VALUE\"",
        "[connections.source.x]\nkind = \"VALUE\"",
        "[connections.source.postgresql]\nport = \"VALUE\"\nnumeric = \"VALUE\"\nsslmode = \"VALUE\"",
        "[connections.target.s3]\nbucket_name = \"VALUE!\"\nendpoint_url = \"VALUE\"",
        "[connections.target.s3]\nbucket_name = \"lake\"\nendpoint_url = \"http://u:hunter2@host\"",
    ] {
        for reference in ["${env:SECRET}".to_owned(), format!("${{file:{}}}", file.display())] {
            let problems = parse_in(&line.replace("VALUE", &reference), &environment).unwrap_err();
            assert!(!format!("{problems} {problems:?}").contains("hunter2"), "{line}: {problems}");
        }
    }
}

#[test]
fn references_give_numbers_and_truths_too() {
    let environment = Environment::of([("N", "8"), ("YES", "true"), ("HOST", "db"), ("PW", "p${w}")]);
    let text = r#"
[application]
data_directory = "/data"
workers = "${env:N}"
debug_mode = "${env:YES}"
task_fetch_interval = "${env:N}"
stop_grace = "${env:N}m"
[connections.source.postgresql]
host = "${env:HOST}.example.com"
database = "$${literal}"
username = "u"
password = "${env:PW}"
"#;
    let (config, _) = parse_in(text, &environment).unwrap();
    assert_eq!(config.application.workers.get(), 8);
    assert!(config.application.debug_mode);
    assert_eq!(config.application.task_fetch_interval, Duration::from_secs(8));
    assert_eq!(config.application.stop_grace, Duration::from_secs(8 * 60));
    let SourceConnection::Postgres(source) = &config.sources["postgresql"] else { panic!("{config:?}") };
    assert_eq!(source.host, "db.example.com");
    assert_eq!(source.database, "${literal}");
    assert_eq!(source.password, Some(Secret::new("p${w}")));
}

#[test]
fn utilities_get_no_terminators_that_overlap_and_no_variables_of_the_agents_own() {
    for (section, line, expected) in [
        ("bcp", "delimiter = \"||\"", "bulk_utility.bcp.delimiter begins as it ends"),
        ("bcp", "row_terminator = \"\\n\\n\"", "bulk_utility.bcp.row_terminator begins as it ends"),
        (
            "bcp",
            "delimiter = \"|~\"\nrow_terminator = \"~|\"",
            "bulk_utility.bcp.delimiter overlaps row_terminator",
        ),
        ("psql", "variables = \"A DATA_EXCHANGE_AGENT__X\"", "none of the agent's own"),
        ("psql", "variables = \"*\"", "none of the agent's own"),
        ("psql", "variables = \"DATA*\"", "none of the agent's own"),
    ] {
        let message = bad(&format!("[bulk_utility.{section}]\n{line}"));
        assert!(message.contains(expected), "{line}: {message}");
    }
}
