//! The sample configuration of version 1.2.0.

use super::*;
use crate::snowflake::authentication::Authentication;

/// The sample configuration of version 1.2.0, with every section it knows.
const SAMPLE_OF_1_2_0: &str = r#"
selected_task_source = "api"                 # or "snowflake_stored_procedure"

[application]
workers = 4                                  # 1..100
task_fetch_interval = 5                      # seconds, >= 1
debug_mode = false
affinity = "blue"                            # optional, not blank

[task_source.api]
key = "api-key"
[task_source.snowflake_stored_procedure]
connection_name = "@SPCS_CONNECTION"

[connections.source.sqlserver]
username = "username"
password = "password"
database = "database_name"
host = "127.0.0.1"
port = 1433
trustServerCertificate = "yes"
encrypt = true
instanceName = "SQLEXPRESS"
[connections.source.postgresql]
username = "username"
password = "password"
database = "database_name"
[connections.source.teradata]
username = "username"
password = "password"
database = "database_name"
host = "127.0.0.1"
port = 1025

[connections.target.snowflake_connection_name]
connection_name = "connection_name"
[connections.target.snowflake_password]
account = "account"
user = "user"
password = "password"
role = "role"
warehouse = "warehouse"
database = "database"
schema = "schema"
[connections.target.snowflake_external_browser]
account = "account"
user = "user"
[connections.target.s3]
profile_name = "profile_name"
bucket_name = "bucket_name"
[connections.target.blob]
connection_string = "DefaultEndpointsProtocol=https;AccountName=account;AccountKey=a2V5;EndpointSuffix=core.windows.net"
container_name = "container_name"

[bulk_utility.bcp]
delimiter = ","
row_terminator = "\\n"
encoding = "UTF8"
trusted_connection = false
encrypt = true
"#;

/// The connection file that the sample of 1.2.0 refers to, in the form of a variable.
fn environment_of_1_2_0() -> Environment {
    let connections = "[connection_name]\naccount = \"account\"\ntoken = \"hunter2\"\n";
    Environment::of([("SNOWFLAKE_CONNECTIONS", connections)]).with_home("/home/agent")
}

#[test]
fn the_sample_of_1_2_0_works_unchanged() {
    let (config, warnings) = parse_in(SAMPLE_OF_1_2_0, &environment_of_1_2_0()).unwrap();
    assert_eq!(config.application.workers.get(), 4);
    assert_eq!(config.application.affinity.as_deref(), Some("blue"));
    let with_odbc: &[&str] = if cfg!(feature = "odbc") { &["teradata"] } else { &[] };
    assert_eq!(config.sources.keys().collect::<Vec<_>>(), [&["postgresql", "sqlserver"], with_odbc].concat());
    let SourceConnection::SqlServer(source) = &config.sources["sqlserver"] else { panic!("{config:?}") };
    assert_eq!((source.host.as_str(), source.port, source.instance.as_deref()), ("127.0.0.1", 1433, None));
    assert_eq!(source.encryption, SqlServerEncryption::Mandatory);
    assert!(source.trusts_any_certificate);
    let SourceConnection::Postgres(source) = &config.sources["postgresql"] else { panic!("{config:?}") };
    assert_eq!((source.host.as_str(), source.port), ("localhost", 5432));
    assert_eq!(
        config.targets.keys().collect::<Vec<_>>(),
        ["blob", "s3", "snowflake_connection_name", "snowflake_external_browser", "snowflake_password"]
    );
    let way = |name: &str| match &config.targets[name] {
        TargetConnection::Snowflake(target) => target.connection.authentication.clone(),
        other => panic!("{other:?}"),
    };
    assert!(matches!(way("snowflake_connection_name"), Authentication::OAuthToken(_)));
    assert!(matches!(way("snowflake_external_browser"), Authentication::ExternalBrowser(_)));
    assert!(matches!(way("snowflake_password"), Authentication::Password(_)));
    let TargetConnection::S3(target) = &config.targets["s3"] else { panic!("{config:?}") };
    assert_eq!(target.profile_name.as_deref(), Some("profile_name"));
    let unavailable: Vec<&str> = config.unavailable.iter().map(|section| section.section.as_str()).collect();
    let without_odbc: &[&str] = if cfg!(feature = "odbc") { &[] } else { &["connections.source.teradata"] };
    assert_eq!(unavailable, without_odbc);
    // What only bcp has is known to its own file.
    let bcp = format!("{:?}", config.bulk_utilities["bcp"].own);
    for expected in
        [r#"delimiter: ",""#, r#"row_terminator: "\n""#, "trusted_connection: false", "encrypt: Some(true)"]
    {
        assert!(bcp.contains(expected), "{expected} is not in {bcp}");
    }
    // Not selected, and nobody has asked for its history: nothing logs in there.
    assert_eq!((&config.task_sources.snowflake, &config.task_sources.snowflake_history), (&None, &None));
    let texts: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 4 + without_odbc.len(), "{texts:#?}");
    assert_eq!(
        texts[0],
        "configuration.toml:11: task_source.api.key is not used without base_url. Add base_url when a \
         remote API hands out tasks; without it they come from POST /tasks."
    );
    assert_eq!(
        texts[1],
        "configuration.toml:23: connections.source.sqlserver.instanceName is not used, because `port` says where \
         the server listens. Keep one of the two."
    );
}

#[test]
fn no_debug_output_shows_a_secret() {
    let (config, warnings) = parse_in(SAMPLE_OF_1_2_0, &environment_of_1_2_0()).unwrap();
    let shown = format!("{config:?} {warnings:?}");
    for secret in ["\"password\"", "api-key", "hunter2"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
