//! Configuration: read (`raw`), then proven (`prove`) into [`Config`], which has no invalid value.
//!
//! Layers, later ones win: defaults, TOML file, environment, command line. One run lists every
//! problem, each with its place and its remedy. [`Environment::process`] is the only reader of the
//! real environment.

mod address;
mod api_key;
mod bulk_utility;
#[cfg(test)]
mod cloud_tests;
mod connection_string;
mod dialect;
mod discover;
mod effective;
mod environment;
mod keys;
mod known;
mod local_agent;
pub mod model;
mod odbc;
mod operations;
mod pgpass;
pub mod problem;
mod prove;
mod raw;
mod reference;
mod renewal;
mod report;
pub mod secret;
mod secret_store;
mod section;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use address::{source_from_url, target_from_url};
pub use api_key::{ApiKey, KeyDigest, Scope};
pub use bulk_utility::BulkUtilitySettings;
pub use connection_string::{ConnectionString, Malformed};
pub use dialect::SqlDialect;
pub use effective::{Effective, effective};
pub use environment::Environment;
pub(crate) use keys::{Key, REQUIRED, key};
pub use local_agent::{LocalAgent, local_agent};
pub use model::{
    Application, AzureBlobTarget, AzureCredentials, AzureIdentity, ClientCertificates, Config, Consistency,
    GcsTarget, GoogleCredentials, LocalTarget, ManagedIdentity, MysqlSource, NumericPolicy, OffsetPolicy,
    PostgresSource, RemoteApiSettings, S3Encryption, S3Target, SecretSettings, Server, ServerTls,
    SeventhDigit, SnowflakeProcedures, SnowflakeQueueSettings, SnowflakeTarget, SourceConnection,
    SpatialPolicy, SpecialValues, SqlServerConsistency, SqlServerEncryption, SqlServerLogin, SqlServerSource,
    SqliteSource, SslMode, TargetConnection, TaskSources, TimeMapping, TinyintMapping, TransferSettings,
    UnavailableConnection, ZeroDates,
};
pub use odbc::{OdbcConsistency, OdbcLongValues, OdbcSource, OdbcText};
pub use operations::{GuardSettings, HistorySettings, LogSettings, OtlpSettings, QueueSettings};
pub use problem::{Place, Problem, Problems, Warning};
pub use renewal::Renewal;
pub use secret::Secret;
pub(crate) use section::Section;

use renewal::Layers;
use report::Report;

/// What the command line says; it wins over every other layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--workers`.
    pub workers: Option<i64>,
    /// `--interval`, in seconds.
    pub interval: Option<u64>,
    /// `--host`.
    pub host: Option<String>,
    /// `--port`.
    pub port: Option<u16>,
    /// `--debug`; false leaves the choice to the other layers.
    pub debug: bool,
}

/// Finds the configuration file, reads every layer and proves the result.
///
/// `explicit` is `--config`, which has to be there. Without it, `configuration.toml` is looked for
/// in the working directory and in `~/.data_exchange_agent`; when there is none, the defaults apply,
/// with a warning. Returns the configuration, the file it came from, and what to warn about.
pub fn load(
    explicit: Option<&Path>,
    overrides: &Overrides,
    environment: &Environment,
) -> Result<(Config, Option<PathBuf>, Vec<Warning>), Problems> {
    load_with(explicit, overrides, environment, |_report| ())
        .map(|(config, file, warnings, ())| (config, file, warnings))
}

/// The same; `also` takes what else is wanted of the proof.
fn load_with<T>(
    explicit: Option<&Path>,
    overrides: &Overrides,
    environment: &Environment,
    also: impl FnOnce(&mut Report<'_>) -> T,
) -> Result<(Config, Option<PathBuf>, Vec<Warning>, T), Problems> {
    let Some(found) = discover::find(explicit, environment)? else {
        let (config, mut warnings, more) = assemble(None, overrides, environment, also)?;
        warnings.insert(0, nothing_found(environment));
        return Ok((config, None, warnings, more));
    };
    let origin = found.path.display().to_string();
    let file = File { text: &found.text, origin: &origin, is_exposed: found.is_exposed };
    let (config, warnings, more) = assemble(Some(file), overrides, environment, also)?;
    Ok((config, Some(found.path), warnings, more))
}

/// Proves the TOML `text` under the other layers. `origin` names the text in messages.
pub fn parse(
    text: &str,
    origin: &str,
    overrides: &Overrides,
    environment: &Environment,
) -> Result<(Config, Vec<Warning>), Problems> {
    let file = File { text, origin, is_exposed: false };
    assemble(Some(file), overrides, environment, |_report| ())
        .map(|(config, warnings, ())| (config, warnings))
}

struct File<'a> {
    text: &'a str,
    origin: &'a str,
    is_exposed: bool,
}

fn assemble<T>(
    file: Option<File<'_>>,
    overrides: &Overrides,
    environment: &Environment,
    also: impl FnOnce(&mut Report<'_>) -> T,
) -> Result<(Config, Vec<Warning>, T), Problems> {
    let mut report = Report::new(environment);
    let layer = file.as_ref().map(|file| (file.text, file.origin));
    let tree = raw::read(layer, overrides, environment, &mut report);
    let layers = Layers::of(&tree, &report.places, environment);
    let config = prove::prove(tree, &mut report);
    if file.is_some_and(|file| file.is_exposed) {
        report.warn_of_literal_secrets();
    }
    let more = also(&mut report);
    match report.finish() {
        (problems, warnings) if problems.0.is_empty() => {
            Ok((Config { renewal: Renewal::new(layers), ..config }, warnings, more))
        }
        (problems, _) => Err(problems),
    }
}

fn nothing_found(environment: &Environment) -> Warning {
    let places: Vec<String> =
        discover::candidates(environment).iter().map(|path| path.display().to_string()).collect();
    Warning {
        place: None,
        key: "configuration".into(),
        message: format!("was not found at {}; defaults apply", places.join(", ")),
        remedy: Some("Start from configuration.example.toml, or name a file with --config.".into()),
    }
}
