//! `kind = "gcs"`: Google Cloud Storage.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ::config::Value;

use super::super::environment::Environment;
use super::super::keys;
use super::super::known::Known;
use super::super::model::{GcsTarget, GoogleCredentials};
use super::super::report::Report;
use super::super::section::Section;
use super::stores::{self, DEFAULT_PARALLEL_PARTS, DEFAULT_PART_SIZE, HOUR, MIB, SECOND};

const ENDPOINT: &str = "https://storage.googleapis.com";
const METADATA_HOST: &str = "metadata.google.internal";

pub(in super::super) fn prove_gcs(report: &mut Report<'_>, path: &str, value: Value) -> Option<GcsTarget> {
    let default = default_credentials(report.environment);
    let mut section = Section::open(report, path, Some(value), Known::exactly(keys::GCS));
    section.skip("kind");
    let bucket_name = section.parsed(
        "bucket_name",
        "the name alone, of 3 to 222 lower-case letters, digits, dots, hyphens and underscores",
        |name| is_bucket(name).then(|| name.to_owned()),
    );
    let bucket_name = section.required("bucket_name", bucket_name);
    let prefix = section.text_or_empty("prefix").map(stores::normal_prefix).unwrap_or_default();
    let file = section.path("service_account_file");
    let endpoint_url = section.parsed_unseen(
        "endpoint_url",
        "a URL such as \"https://storage.googleapis.com\", without user, query and fragment",
        stores::endpoint,
    );
    let part_size = section.size("part_size", 5 * MIB..=5 * 1024 * MIB);
    let parallel_parts = section.integer("parallel_parts", 1..=16);
    let request_timeout = section.duration("request_timeout", SECOND..=HOUR);
    let endpoint_url = endpoint_url.unwrap_or_else(|| ENDPOINT.to_owned());
    if !stores::is_private(&endpoint_url) {
        let remedy = "Write an endpoint that begins with https: tokens are as good as passwords.";
        section.problem("endpoint_url", "would carry tokens over plain HTTP", Some(remedy));
        return None;
    }
    Some(GcsTarget {
        bucket_name: bucket_name?,
        prefix,
        endpoint_url: endpoint_url.trim_end_matches('/').to_owned(),
        credentials: file.map_or(default, GoogleCredentials::File),
        part_size: part_size
            .and_then(|size| NonZeroUsize::new(usize::try_from(size).ok()?))
            .unwrap_or(DEFAULT_PART_SIZE),
        parallel_parts: parallel_parts
            .and_then(|parts| NonZeroUsize::new(usize::try_from(parts).ok()?))
            .unwrap_or(DEFAULT_PARALLEL_PARTS),
        request_timeout: request_timeout.unwrap_or(Duration::from_secs(60)),
    })
}

fn is_bucket(name: &str) -> bool {
    let is_plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_');
    (3..=222).contains(&name.len())
        && name.bytes().all(is_plain)
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.ends_with(|last: char| last.is_ascii_alphanumeric())
}

/// What the application default credentials find in the environment.
fn default_credentials(environment: &Environment) -> GoogleCredentials {
    if let Some(file) = environment.filled("GOOGLE_APPLICATION_CREDENTIALS") {
        return GoogleCredentials::File(PathBuf::from(file));
    }
    let folder = match environment.filled("CLOUDSDK_CONFIG") {
        Some(folder) => Some(PathBuf::from(folder)),
        None if cfg!(windows) => {
            environment.filled("APPDATA").map(|folder| PathBuf::from(folder).join("gcloud"))
        }
        None => environment.home().map(|home| home.join(".config").join("gcloud")),
    };
    let host = environment.filled("GCE_METADATA_HOST").unwrap_or(METADATA_HOST);
    GoogleCredentials::Default {
        user_file: folder.map(|folder| folder.join("application_default_credentials.json")),
        metadata_endpoint: format!("http://{host}"),
    }
}
