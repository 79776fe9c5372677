//! `/connections`: what tasks can name.

use axum::extract::State;
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::authentication::Bounds;
use crate::config::SqlDialect;
use crate::task::{DestinationKind, FileFormat};

/// The connections that tasks can name; `/health` tells whether they work.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "sources": [{"name": "sales", "sql": "postgresql", "database": "sales_db"}],
    "targets": [{"name": "archive", "type": "s3"}],
    "default_format": "parquet"
}))]
pub(super) struct Connections {
    /// For `source_config.database`.
    pub sources: Vec<SourceView>,
    /// For `destination_config.connection`.
    pub targets: Vec<TargetView>,
    /// Format of a task that does not say.
    pub default_format: FileFormat,
}

/// A source connection.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SourceView {
    /// The name.
    pub name: String,
    /// Whose SQL it reads: `postgresql`, `mysql`, `sqlite`, `sqlserver`; null when only the source
    /// itself knows.
    pub sql: Option<&'static str>,
    /// Name of the database on its server; null when the connection has no such name.
    pub database: Option<String>,
}

/// A target connection.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TargetView {
    /// The name.
    pub name: String,
    /// For `destination_config.type`.
    #[serde(rename = "type")]
    pub kind: DestinationKind,
}

/// Lists the connections that tasks of the caller can name.
#[utoipa::path(
    get, path = "/connections", tag = "operation", operation_id = "connections",
    responses((status = 200, description = "The connections, by name", body = Connections))
)]
pub(super) async fn connections(
    State(api): State<Api>,
    Extension(Bounds(bounds)): Extension<Bounds>,
) -> Json<Connections> {
    let catalog = &api.agent.catalog;
    let sources = catalog.sources().filter(|(name, _)| bounds.allows_source(name)).map(|(name, _)| {
        let info = catalog.source_info(name);
        SourceView {
            name: name.to_owned(),
            sql: info.and_then(|info| info.dialect).map(SqlDialect::connection_kind),
            database: info.and_then(|info| info.database.clone()),
        }
    });
    let targets = catalog
        .destinations()
        .filter(|(name, ..)| bounds.allows_destination(name))
        .map(|(name, kind, _)| TargetView { name: name.to_owned(), kind });
    Json(Connections {
        sources: sources.collect(),
        targets: targets.collect(),
        default_format: api.agent.default_format,
    })
}
