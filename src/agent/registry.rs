//! The registries: what is built for each kind of connection, and for each task source. A new adapter is one
//! line here.

use std::sync::Arc;

use anyhow::Context;

use super::explained;
use crate::api;
use crate::bounds::TaskBounds;
use crate::bulk::{self, BulkSource};
use crate::catalog::{Catalog, ODBC, SourceInfo};
use crate::config::{
    Config, OdbcSource, SnowflakeProcedures, SourceConnection, SqlDialect, TargetConnection,
};
use crate::destination::Destination;
use crate::destination::azure_blob::AzureBlobDestination;
use crate::destination::gcs::GcsDestination;
use crate::destination::local::LocalDestination;
use crate::destination::s3::S3Destination;
use crate::destination::snowflake_stage::SnowflakeStageDestination;
use crate::fault::{Fault, FaultKind};
use crate::shutdown::Shutdown;
use crate::snowflake::{Client, Clients};
use crate::source::Source;
use crate::source::mysql::Mysql;
#[cfg(feature = "odbc")]
use crate::source::odbc::Odbc;
use crate::source::postgres::Postgres;
use crate::source::sqlite::SqliteDatabase;
use crate::source::sqlserver::SqlServer;
use crate::task_source::remote_api::RemoteApi;
use crate::task_source::snowflake::SnowflakeQueue;
use crate::task_source::{ReadTask, TaskSource};
use crate::telemetry::Metrics;

/// The adapter of a source connection: the registry of sources.
pub fn source(connection: SourceConnection, shutdown: &Shutdown) -> Result<Arc<dyn Source>, Fault> {
    Ok(match connection {
        SourceConnection::Postgres(config) => Arc::new(Postgres::new(config, shutdown.clone())?),
        SourceConnection::Mysql(config) => Arc::new(Mysql::new(config, shutdown.clone())?),
        SourceConnection::Sqlite(config) => Arc::new(SqliteDatabase::new(&config)),
        SourceConnection::SqlServer(config) => Arc::new(SqlServer::new(config, shutdown.clone())?),
        SourceConnection::Odbc(config) => odbc(config)?,
    })
}

/// The other ways to read a source connection, by name, or why one is not there.
type Ways = Vec<(String, Result<Arc<dyn Source>, Fault>)>;

/// The other ways to read a source connection: by each bulk utility, and through ODBC.
pub fn methods(
    connection: &SourceConnection,
    native: &Arc<dyn Source>,
    config: &Config,
    shutdown: &Shutdown,
) -> Ways {
    let mut methods: Ways = vec![(ODBC.to_owned(), odbc_source(connection))];
    for utility in bulk::utilities(&config.bulk_utilities) {
        let name = utility.name().to_owned();
        let way = utility.supports(connection).map(|()| {
            let (native, connection) = (Arc::clone(native), connection.clone());
            Arc::new(BulkSource::new(native, utility, connection, shutdown.clone())) as Arc<dyn Source>
        });
        methods.push((name, way));
    }
    methods
}

/// The same database through ODBC: for the kinds of ODBC what [`source`] is, for the others by their
/// `odbc_connection_string`. A task that asks for the method `odbc` is read by it.
pub fn odbc_source(connection: &SourceConnection) -> Result<Arc<dyn Source>, Fault> {
    let config = connection.odbc().ok_or_else(|| {
        Fault::new(FaultKind::Request, "read through ODBC: the connection has no connection string for it")
            .remedy("Set odbc_connection_string for the connection.")
    })?;
    odbc(config)
}

#[cfg(feature = "odbc")]
#[expect(clippy::unnecessary_wraps, reason = "a build without ODBC has nothing but the fault")]
fn odbc(config: OdbcSource) -> Result<Arc<dyn Source>, Fault> {
    Ok(Arc::new(Odbc::new(config)))
}

#[cfg(not(feature = "odbc"))]
fn odbc(_config: OdbcSource) -> Result<Arc<dyn Source>, Fault> {
    Err(Fault::new(FaultKind::Request, "read through ODBC: this build has no ODBC")
        .remedy("Build the agent with --features odbc (needs unixODBC)."))
}

/// What tasks can ask of a source connection before it is connected to.
pub(super) fn info(connection: &SourceConnection) -> SourceInfo {
    match connection {
        SourceConnection::Postgres(config) => {
            SourceInfo { database: Some(config.database.clone()), dialect: Some(SqlDialect::PostgreSql) }
        }
        SourceConnection::Mysql(config) => {
            SourceInfo { database: config.database.clone(), dialect: Some(SqlDialect::MySql) }
        }
        SourceConnection::Sqlite(_) => SourceInfo { database: None, dialect: Some(SqlDialect::Sqlite) },
        SourceConnection::Odbc(config) => SourceInfo { database: None, dialect: config.dialect },
        SourceConnection::SqlServer(config) => {
            SourceInfo { database: Some(config.database.clone()), dialect: Some(SqlDialect::SqlServer) }
        }
    }
}

/// The adapter of a target connection: the registry of destinations.
pub async fn destination(
    connection: &TargetConnection,
    snowflake: &Clients,
    shutdown: &Shutdown,
) -> Result<Arc<dyn Destination>, Fault> {
    Ok(match connection {
        TargetConnection::Local(config) => Arc::new(LocalDestination::new(config)),
        TargetConnection::S3(config) => Arc::new(S3Destination::new(config, shutdown).await?),
        TargetConnection::Gcs(config) => Arc::new(GcsDestination::new(config, shutdown)?),
        TargetConnection::AzureBlob(config) => Arc::new(AzureBlobDestination::new(config, shutdown)?),
        TargetConnection::Snowflake(config) => {
            let client = snowflake.client(&config.connection)?;
            let control_table = config.load_control_table.clone();
            Arc::new(SnowflakeStageDestination::new(client, shutdown)?.with_control_table(control_table))
        }
    })
}

/// The task sources that run beside the local queue: the registry of task sources.
pub(super) fn remote_task_sources(
    config: &Config,
    catalog: &Arc<Catalog>,
    snowflake: &Clients,
    metrics: &Arc<Metrics>,
    shutdown: &Shutdown,
) -> anyhow::Result<Vec<Arc<dyn TaskSource>>> {
    let read = |bounds: &TaskBounds| -> ReadTask {
        let (catalog, format, bounds) = (Arc::clone(catalog), config.transfer.format, bounds.clone());
        Arc::new(move |value| api::read_task(value, &catalog, format, &bounds))
    };
    let affinity = config.application.affinity.as_deref();
    let mut sources: Vec<Arc<dyn TaskSource>> = Vec::new();
    if let Some(settings) = &config.task_sources.api {
        let renewal = config.renewal.clone();
        let renewed = move || renewal.remote_api();
        let source = RemoteApi::new(settings, affinity, read(&settings.bounds), renewed).map_err(explained);
        sources.push(Arc::new(source.context("task_source.api")?));
    }
    if let Some(settings) = &config.task_sources.snowflake {
        let client = procedures_client(config, snowflake, &settings.procedures)?;
        let read = read(&settings.bounds);
        sources.push(Arc::new(SnowflakeQueue::new(client, settings, affinity, read, metrics, shutdown)));
    }
    Ok(sources)
}

/// The client that calls the procedures in Snowflake, with newer secrets when a login is refused.
pub(super) fn procedures_client(
    config: &Config,
    snowflake: &Clients,
    procedures: &SnowflakeProcedures,
) -> anyhow::Result<Client> {
    let client = snowflake.client(&procedures.connection).map_err(|error| explained(error.into()));
    let client = client.context("task_source.snowflake_stored_procedure")?;
    let (renewal, name) = (config.renewal.clone(), procedures.connection_name.clone());
    client.renew_from(Arc::new(move || renewal.snowflake_procedures(&name)));
    Ok(client)
}
