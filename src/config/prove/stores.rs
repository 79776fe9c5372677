//! `kind = "sqlite"` and `kind = "s3"`.

use std::num::NonZeroUsize;
use std::time::Duration;

use ::config::Value;
use url::Url;

use super::super::keys;
use super::super::known::Known;
use super::super::model::{S3Encryption, S3Target, SqliteSource};
use super::super::report::Report;
use super::super::section::Section;

pub(super) const MIB: u64 = 1 << 20;
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(super) const DEFAULT_PART_SIZE: NonZeroUsize = NonZeroUsize::new(8 << 20).expect("not zero");
pub(super) const DEFAULT_PARALLEL_PARTS: NonZeroUsize = NonZeroUsize::new(2).expect("not zero");

pub(in super::super) fn prove_sqlite(
    report: &mut Report<'_>,
    path: &str,
    value: Value,
) -> Option<SqliteSource> {
    let mut section = Section::open(report, path, Some(value), Known::exactly(keys::SQLITE));
    section.skip("kind");
    Some(SqliteSource { path: section.required_path("path")? })
}

pub(in super::super) fn prove_s3(report: &mut Report<'_>, path: &str, value: Value) -> Option<S3Target> {
    let mut section = Section::open(report, path, Some(value), Known::exactly(keys::S3));
    section.skip("kind");
    let bucket_name = section.parsed(
        "bucket_name",
        "the name alone, of 3 to 63 letters, digits, dots and hyphens, or an ARN",
        |name| is_bucket(name).then(|| name.to_owned()),
    );
    let bucket_name = section.required("bucket_name", bucket_name);
    let prefix = section.text_or_empty("prefix").map(normal_prefix).unwrap_or_default();
    let credentials = ["profile_name", "access_key_id"].map(|key| section.text(key));
    let secrets = ["secret_access_key", "session_token"].map(|key| section.secret(key));
    prove_credentials(&mut section);
    let encryption = prove_encryption(&mut section);
    let part_size = section.size("part_size", 5 * MIB..=5 * 1024 * MIB);
    let parallel_parts = section.integer("parallel_parts", 1..=16);
    let request_timeout = section.duration("request_timeout", SECOND..=HOUR);
    let region_name = section.text("region_name");
    let endpoint_url = section.parsed_unseen(
        "endpoint_url",
        "a URL such as \"https://storage.example.com:9000\", without user, query and fragment",
        endpoint,
    );
    let path_style = section.boolean("path_style");
    let [profile_name, access_key_id] = credentials;
    let [secret_access_key, session_token] = secrets;
    Some(S3Target {
        bucket_name: bucket_name?,
        prefix,
        profile_name,
        region_name,
        endpoint_url,
        path_style: path_style.unwrap_or(false),
        access_key_id,
        secret_access_key,
        session_token,
        encryption,
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
    let is_plain = (3..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    let is_arn = name.starts_with("arn:") && !name.contains(char::is_whitespace);
    is_plain || is_arn
}

/// No slash before it, one after it; nothing when it is empty.
pub(super) fn normal_prefix(prefix: String) -> String {
    let trimmed = prefix.trim_matches('/');
    if trimmed.is_empty() { String::new() } else { format!("{trimmed}/") }
}

pub(super) fn endpoint(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let is_valid = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    is_valid.then(|| text.to_owned())
}

/// True when nobody can listen on the way to `endpoint`: it has TLS, or is on this machine.
pub(super) fn is_private(endpoint: &str) -> bool {
    let Ok(url) = Url::parse(endpoint) else { return false };
    let is_here = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "https" || is_here
}

/// Keys of access belong together.
fn prove_credentials(section: &mut Section<'_, '_>) {
    let [key, secret, token, profile] =
        ["access_key_id", "secret_access_key", "session_token", "profile_name"].map(|key| section.has(key));
    if key && !secret {
        section.problem(
            "access_key_id",
            "is given without secret_access_key",
            Some("Add it, or leave both out."),
        );
    }
    if secret && !key {
        section.problem(
            "secret_access_key",
            "is given without access_key_id",
            Some("Add it, or leave both out."),
        );
    }
    if token && !key {
        let remedy = "Add access_key_id and secret_access_key, or leave it out.";
        section.problem("session_token", "is given without access_key_id", Some(remedy));
    }
    if key && profile {
        section.problem("profile_name", "is given beside access_key_id", Some("Keep one of them."));
    }
}

fn prove_encryption(section: &mut Section<'_, '_>) -> Option<S3Encryption> {
    let key_id = section.text("kms_key_id");
    let words = [("AES256", S3Encryption::Aes256), ("aws:kms", S3Encryption::Kms { key_id })];
    let encryption = section.choice("server_side_encryption", &words);
    // When the word itself is wrong, its own problem is enough.
    let is_other = encryption == Some(S3Encryption::Aes256) || !section.has("server_side_encryption");
    if section.has("kms_key_id") && is_other {
        section.problem(
            "kms_key_id",
            "is given without server_side_encryption = \"aws:kms\"",
            Some("Add that, or leave the key out."),
        );
    }
    encryption
}
