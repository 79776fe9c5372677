//! Configuration: read (`raw`), then proven (`model`).
//!
//! `raw` is what serde reads; [`Config`] has no invalid value. Layers, later ones win: defaults,
//! TOML file, environment, command line. This is the only place that reads the environment.

pub mod model;
pub mod secret;

pub use model::{
    Application, Config, LocalTarget, NumericPolicy, PostgresSource, S3Encryption, S3Target, Server,
    SourceConnection, SpecialValues, SqliteSource, SslMode, TargetConnection, TransferSettings,
    UnavailableConnection,
};
pub use secret::Secret;
