//! From the raw tree to the proven configuration, one file a section.

mod azure_blob;
mod bounds;
mod bulk_utility;
mod connections;
mod gcs;
mod general;
mod mysql;
mod odbc;
mod operations;
mod postgresql;
mod secrets;
mod server;
mod snowflake;
mod sqlserver;
mod stores;
mod task_source;

use super::Renewal;
use super::keys;
use super::known::Known;
use super::model::Config;
use super::raw::Table;
use super::report::Report;
use super::section::Section;
use crate::bulk;

pub(super) use azure_blob::prove_azure_blob;
pub(super) use bulk_utility::prove_bulk_utilities;
pub(super) use gcs::prove_gcs;
pub(super) use mysql::prove_mysql;
pub(super) use odbc::{prove_odbc, prove_odbc_side};
pub(super) use postgresql::prove_postgresql;
pub(super) use server::scopes;
pub(super) use snowflake::prove_snowflake;
pub(super) use sqlserver::prove_sqlserver;
pub(super) use stores::{prove_s3, prove_sqlite};

/// Proves every section. What is wrong is in the report, with a default in its place, so that the
/// result counts only when the report has no problems.
pub(super) fn prove(tree: Table, report: &mut Report<'_>) -> Config {
    let mut top =
        Section::open(report, "", Some(::config::Value::new(None, tree)), Known::exactly(keys::TOP));
    let selected = task_source::prove_selected_task_source(&mut top);
    let [application, server, transfer, task_sources, bounds, secrets, connections, bulk_utility] = [
        "application",
        "server",
        "transfer",
        "task_source",
        "bounds",
        "secrets",
        "connections",
        "bulk_utility",
    ]
    .map(|name| top.value(name));
    let [log, queue, history, guards, idle_shutdown, otlp] =
        ["log", "queue", "history", "guards", "idle_shutdown", "otlp"].map(|name| top.value(name));
    let secrets = secrets::prove_secrets(report, secrets);
    let mut unavailable = Vec::new();
    let bulk_utilities = prove_bulk_utilities(report, bulk_utility, bulk::KINDS);
    let (sources, source_methods, targets) =
        connections::prove_connections(report, connections, &bulk_utilities, &mut unavailable);
    let task_sources = task_source::prove_task_source(report, task_sources, selected, &targets);
    Config {
        application: general::prove_application(report, application),
        server: server::prove_server(report, server),
        transfer: general::prove_transfer(report, transfer),
        log: operations::prove_log(report, log),
        queue: operations::prove_queue(report, queue),
        history: operations::prove_history(report, history),
        guards: operations::prove_guards(report, guards),
        idle_shutdown: operations::prove_idle_shutdown(report, idle_shutdown),
        otlp: operations::prove_otlp(report, otlp),
        task_sources,
        bounds: bounds::prove_bounds(report, bounds),
        secrets,
        sources,
        source_methods,
        targets,
        bulk_utilities,
        unavailable,
        renewal: Renewal::default(),
    }
}
