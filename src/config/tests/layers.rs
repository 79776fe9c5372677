//! Defaults, file, environment and command line: who wins, and whom a problem names.

use std::num::{NonZeroU32, NonZeroUsize};

use super::*;
use crate::bounds::TaskBounds;
use crate::bulk::KINDS;

#[test]
fn nothing_at_all_is_the_defaults() {
    let config = good("");
    assert_eq!(
        config,
        Config {
            application: Application {
                workers: NonZeroUsize::new(4).unwrap(),
                task_fetch_interval: Duration::from_secs(5),
                debug_mode: false,
                affinity: None,
                data_directory: "/home/agent/.data_exchange_agent".into(),
                stop_grace: Duration::from_secs(30),
                memory_limit: None,
            },
            server: Server {
                host: [127, 0, 0, 1].into(),
                port: 5001,
                max_body_bytes: 1 << 20,
                max_connections: NonZeroUsize::new(800).unwrap(),
                max_connections_per_address: None,
                requests_per_minute: NonZeroU32::new(60_000),
                tls: None,
                api_keys: Vec::new(),
                allow_unauthenticated: false,
                allowed_hosts: Vec::new(),
            },
            transfer: TransferSettings::default(),
            log: LogSettings::default(),
            queue: QueueSettings::default(),
            history: HistorySettings::default(),
            guards: GuardSettings::default(),
            idle_shutdown: None,
            otlp: None,
            task_sources: TaskSources::default(),
            bounds: TaskBounds::default(),
            secrets: SecretSettings::default(),
            sources: [].into(),
            source_methods: [].into(),
            targets: [].into(),
            bulk_utilities: config.bulk_utilities.clone(),
            unavailable: Vec::new(),
            renewal: Renewal::default(),
        }
    );
}

/// What only one utility has is held to the documentation.
#[test]
fn the_utilities_that_need_no_section_are_there_with_the_defaults_of_all() {
    let utilities = good("").bulk_utilities;
    let mut expected: Vec<&str> =
        KINDS.iter().filter(|kind| kind.is_there_without_a_section).map(|kind| kind.name).collect();
    expected.sort_unstable();
    assert_eq!(utilities.keys().collect::<Vec<_>>(), expected);
    for settings in utilities.into_values() {
        assert_eq!(settings, BulkUtilitySettings::new(settings.own.clone()));
    }
}

#[test]
fn each_layer_wins_over_the_ones_below() {
    let file = "[application]\nworkers = 10\ntask_fetch_interval = 10\n[server]\nport = 1000\n";
    let variables = Environment::of([
        ("DATA_EXCHANGE_AGENT__APPLICATION__WORKERS", "20"),
        ("DATA_EXCHANGE_AGENT__APPLICATION__TASK_FETCH_INTERVAL", "20"),
        ("DATA_EXCHANGE_AGENT__APPLICATION__AFFINITY", ""),
    ])
    .with_home("/");
    let overrides = Overrides { workers: Some(30), ..Overrides::default() };
    let (config, _) = parse(file, "configuration.toml", &overrides, &variables).unwrap();
    assert_eq!(config.application.workers.get(), 30);
    assert_eq!(config.application.task_fetch_interval, Duration::from_secs(20));
    assert_eq!(config.server.port, 1000);
    assert_eq!(config.application.stop_grace, Duration::from_secs(30));
    assert_eq!(config.application.affinity, None);
}

#[test]
fn every_argument_of_the_command_line_reaches_its_key() {
    let overrides = Overrides {
        workers: Some(7),
        interval: Some(8),
        host: Some("::1".into()),
        port: Some(0),
        debug: true,
    };
    let (config, _) =
        parse("[application]\ndebug_mode = false", "configuration.toml", &overrides, &environment()).unwrap();
    assert_eq!(config.application.workers.get(), 7);
    assert_eq!(config.application.task_fetch_interval, Duration::from_secs(8));
    assert_eq!(config.server.host, "::1".parse::<std::net::IpAddr>().unwrap());
    assert_eq!(config.server.port, 0);
    assert!(config.application.debug_mode);
    let (config, _) =
        parse("[application]\ndebug_mode = true", "x", &Overrides::default(), &environment()).unwrap();
    assert!(config.application.debug_mode, "without --debug the file decides");
}

#[test]
fn problems_of_environment_and_command_line_name_their_place() {
    let variables = Environment::of([
        ("DATA_EXCHANGE_AGENT__APPLICATION__STOP_GRACE", "soon"),
        ("DATA_EXCHANGE_AGENT__APPLICATION__WORKERZ", "1"),
        ("DATA_EXCHANGE_AGENT__APLICATION__WORKERS", "1"),
        ("DATA_EXCHANGE_AGENT__SERVER", "x"),
        ("DATA_EXCHANGE_AGENT__TRANSFER____SLICES", "x"),
    ])
    .with_home("/");
    let overrides = Overrides {
        workers: Some(0),
        interval: Some(u64::MAX),
        host: Some("example.com".into()),
        ..Overrides::default()
    };
    let problems = parse("", "configuration.toml", &overrides, &variables).unwrap_err().to_string();
    assert_eq!(
        problems.lines().collect::<Vec<_>>(),
        [
            "environment variable DATA_EXCHANGE_AGENT__APLICATION__WORKERS: aplication.workers \
             is not a known key. Did you mean application?",
            "environment variable DATA_EXCHANGE_AGENT__APPLICATION__STOP_GRACE: application.stop_grace is \
             \"soon\"; expected a duration from 0s to 1d, in seconds or as a text like \"90s\", \"5m\", \"2h\"",
            "environment variable DATA_EXCHANGE_AGENT__APPLICATION__WORKERZ: application.workerz \
             is not a known key. Did you mean workers?",
            "environment variable DATA_EXCHANGE_AGENT__TRANSFER____SLICES: the variable has a name with an \
             empty part between two underscores. Write DATA_EXCHANGE_AGENT__SECTION__KEY.",
            "--host: server.host is \"example.com\"; expected an IP address such as \"127.0.0.1\", \
             or \"localhost\"",
            "--interval: application.task_fetch_interval is 9223372036854775807; expected a duration from 1s \
             to 1d, in seconds or as a text like \"90s\", \"5m\", \"2h\"",
            "--workers: application.workers is 0; expected an integer from 1 to 100",
        ]
    );
}

#[test]
fn a_section_cannot_be_replaced_by_a_variable() {
    let variables = Environment::of([("DATA_EXCHANGE_AGENT__SERVER", "x")]).with_home("/");
    let problems = parse_in("[server]\nport = 1", &variables).unwrap_err().to_string();
    assert_eq!(
        problems,
        "environment variable DATA_EXCHANGE_AGENT__SERVER: server is a string; expected a table. \
         Write it as a section: [server]."
    );
    let variables =
        Environment::of([("DATA_EXCHANGE_AGENT__SERVER", "x"), ("DATA_EXCHANGE_AGENT__SERVER__PORT", "1")])
            .with_home("/");
    let problems = parse_in("", &variables).unwrap_err().to_string();
    assert!(problems.contains("server.port is set as a value, and as a section"), "{problems}");
}

#[test]
fn a_variable_reaches_a_connection_whose_name_has_capitals() {
    let variables = Environment::of([
        ("DATA_EXCHANGE_AGENT__CONNECTIONS__SOURCE__SALES__PASSWORD", "hunter2"),
        ("DATA_EXCHANGE_AGENT__CONNECTIONS__TARGET__OUT__KIND", "local"),
        ("DATA_EXCHANGE_AGENT__CONNECTIONS__TARGET__OUT__ROOT", "/out"),
    ])
    .with_home("/");
    let file = "[connections.source.Sales]\nkind = \"postgresql\"\ndatabase = \"d\"\nusername = \"u\"\n";
    let (config, _) = parse_in(file, &variables).unwrap();
    let Some(SourceConnection::Postgres(source)) = config.sources.get("Sales") else { panic!("{config:?}") };
    assert_eq!(source.password, Some(Secret::new("hunter2")));
    assert_eq!(config.targets["out"], TargetConnection::Local(LocalTarget { root: "/out".into() }));
}
