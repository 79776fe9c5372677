//! The catalogue of connections, each of which gets new secrets when a login is refused.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use futures::future::BoxFuture;

use super::explained;
use super::registry::{destination, info, methods, source};
use crate::catalog::Catalog;
use crate::config::{Config, SourceConnection, TargetConnection};
use crate::destination::Destination;
use crate::fault::{Fault, FaultKind};
use crate::renewal::{RenewableDestination, RenewableSource};
use crate::shutdown::Shutdown;
use crate::snowflake::Clients;
use crate::source::Source;

/// Every configured connection, by name.
pub(super) async fn catalog(
    config: &Config,
    snowflake: &Arc<Clients>,
    shutdown: &Shutdown,
) -> anyhow::Result<Catalog> {
    let mut catalog = Catalog::new();
    catalog.set_bounds(config.bounds.clone());
    for (name, connection) in &config.sources {
        let source = source(connection.clone(), shutdown).map_err(explained);
        let source = source.with_context(|| format!("connections.source.{name}"))?;
        let source = renewable_source(config, name, connection, source, shutdown);
        for (method, way) in methods(connection, &source, config, shutdown) {
            let way =
                way.map(|way| renewable_method(config, name, &method, connection, (&source, way), shutdown));
            catalog.add_method(name, method, way.map_err(|fault| explained(fault).to_string()));
        }
        if let Some(method) = config.source_methods.get(name) {
            catalog.choose_method(name, method);
        }
        catalog.add_source(name, info(connection), source);
    }
    for (name, connection) in &config.targets {
        let destination = destination(connection, snowflake, shutdown).await.map_err(explained);
        let destination = destination.with_context(|| format!("connections.target.{name}"))?;
        let renewable = renewable_destination(config, name, connection, destination, (snowflake, shutdown));
        catalog.add_destination(name, connection.kind(), renewable.map_err(explained)?);
    }
    for connection in &config.unavailable {
        catalog.add_unavailable(&connection.section, &connection.reason);
    }
    Ok(catalog)
}

/// A source that gets new secrets when a login is refused.
fn renewable_source(
    config: &Config,
    name: &str,
    connection: &SourceConnection,
    adapter: Arc<dyn Source>,
    shutdown: &Shutdown,
) -> Arc<dyn Source> {
    let (renewal, wanted) = (config.renewal.clone(), name.to_owned());
    let shutdown = shutdown.clone();
    let read = move || renewal.source(&wanted);
    let build = move |connection| -> BoxFuture<'static, Result<Arc<dyn Source>, Fault>> {
        let built = source(connection, &shutdown);
        Box::pin(std::future::ready(built))
    };
    Arc::new(RenewableSource::new(format!("source {name}"), connection.clone(), adapter, read, build))
}

/// The same for another way to read it: programs log in by themselves.
fn renewable_method(
    config: &Config,
    name: &str,
    method: &str,
    connection: &SourceConnection,
    (native, adapter): (&Arc<dyn Source>, Arc<dyn Source>),
    shutdown: &Shutdown,
) -> Arc<dyn Source> {
    let label = format!("source {name} by {method}");
    let (renewal, wanted, method) = (config.renewal.clone(), name.to_owned(), method.to_owned());
    let read = move || renewal.source(&wanted);
    let (native, config, shutdown) = (Arc::clone(native), config.clone(), shutdown.clone());
    let build = move |connection: SourceConnection| -> BoxFuture<'static, Result<Arc<dyn Source>, Fault>> {
        let mut ways = methods(&connection, &native, &config, &shutdown).into_iter();
        let way = ways.find(|(name, _)| *name == method);
        let way =
            way.map_or_else(|| Err(Fault::new(FaultKind::Bug, "find the method again")), |(_, way)| way);
        let native = Arc::clone(&native);
        Box::pin(async move {
            // The agent itself looks at the query first.
            native.renew(Instant::now()).await;
            way
        })
    };
    Arc::new(RenewableSource::new(label, connection.clone(), adapter, read, build))
}

/// A destination that gets new secrets when a login is refused.
fn renewable_destination(
    config: &Config,
    name: &str,
    connection: &TargetConnection,
    adapter: Arc<dyn Destination>,
    (snowflake, shutdown): (&Arc<Clients>, &Shutdown),
) -> Result<Arc<dyn Destination>, Fault> {
    let (renewal, wanted) = (config.renewal.clone(), name.to_owned());
    let read = move || renewal.target(&wanted);
    if let TargetConnection::Snowflake(target) = connection {
        // Its session is shared with others, the queue for example, and is renewed for all of them.
        let client = snowflake.client(&target.connection)?;
        client.renew_from(Arc::new(move || {
            Ok(match read()? {
                Some(TargetConnection::Snowflake(target)) => Some(target.connection),
                Some(_) | None => None,
            })
        }));
        return Ok(adapter);
    }
    let (snowflake, shutdown) = (Arc::clone(snowflake), shutdown.clone());
    let build =
        move |connection: TargetConnection| -> BoxFuture<'static, Result<Arc<dyn Destination>, Fault>> {
            let (snowflake, shutdown) = (Arc::clone(&snowflake), shutdown.clone());
            Box::pin(async move { destination(&connection, &snowflake, &shutdown).await })
        };
    let label = format!("target {name}");
    Ok(Arc::new(RenewableDestination::new(label, connection.clone(), adapter, read, build)))
}
