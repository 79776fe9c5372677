//! All integration tests, as one binary.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics, with the line where it stopped")]

mod agent_check;
mod agent_clouds;
mod agent_command_line;
mod agent_commands;
mod agent_contract;
mod agent_control;
mod agent_crash;
mod agent_faults;
mod agent_hindrances;
mod agent_load;
mod agent_operations;
mod agent_planted;
mod agent_reach;
mod agent_retention;
mod agent_secrets;
mod agent_snowflake_load;
mod agent_start;
mod agent_stop;
mod agent_terminal;
mod agent_tls;
mod agent_transfer;
mod agent_watchers;
mod api_guide;
mod azure_destination;
mod bulk_agent;
mod bulk_bcp;
mod bulk_command;
mod bulk_faults;
mod bulk_mysql;
mod bulk_psql;
mod bulk_tpt;
mod command_line_guide;
mod console;
mod console_hardships;
mod destination_faults;
mod destinations;
mod docker;
mod docker_configuration;
mod docker_variables;
mod documents;
mod gcs_destination;
mod kubernetes;
mod local_destination;
mod mysql_faults;
mod mysql_login;
mod mysql_property;
mod mysql_slices;
mod mysql_source;
mod mysql_types;
#[cfg(feature = "odbc")]
mod odbc_faults;
#[cfg(feature = "odbc")]
mod odbc_named;
#[cfg(feature = "odbc")]
mod odbc_program;
#[cfg(feature = "odbc")]
mod odbc_source;
#[cfg(feature = "odbc")]
mod odbc_teradata;
#[cfg(feature = "odbc")]
mod odbc_types;
mod postgres_faults;
mod postgres_login;
mod postgres_matrix;
mod postgres_pooler;
mod postgres_property;
mod postgres_slices;
mod postgres_source;
mod postgres_support;
mod postgres_types;
mod preview;
mod prometheus;
mod remote_api;
mod s3_credentials;
mod s3_destination;
mod security_document;
mod snowflake_client;
mod snowflake_errors;
mod snowflake_load;
mod snowflake_queue;
mod snowflake_queue_agents;
mod snowflake_sql;
mod snowflake_stage;
mod snowflake_whole_way;
mod sqlserver_faults;
#[cfg(feature = "kerberos")]
mod sqlserver_kerberos;
mod sqlserver_login;
mod sqlserver_slices;
mod sqlserver_types;
#[path = "../support/mod.rs"]
mod support;
