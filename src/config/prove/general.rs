//! `[application]`, `[server]` and `[transfer]`.

use std::net::{IpAddr, Ipv4Addr};
use std::num::{NonZeroU16, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use ::config::Value;

use super::super::keys;
use super::super::known::Known;
use super::super::model::{Application, Server, TransferSettings};
use super::super::raw::join;
use super::super::report::Report;
use super::super::section::Section;
use super::super::{ApiKey, KeyDigest, Scope};
use crate::task::{Compression, FileFormat};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn prove_application(report: &mut Report<'_>, value: Option<Value>) -> Application {
    let mut section = Section::open(report, "application", value, Known::exactly(keys::APPLICATION));
    let data_directory = match section.path("data_directory") {
        Some(path) => path,
        None => default_data_directory(&mut section),
    };
    if section.skip("lease_refresh_interval") {
        let path = section.path_of("lease_refresh_interval");
        section.report().warning(&path, "is not used; leases are refreshed well before they end", None);
    }
    Application {
        workers: section.integer("workers", 1..=100).and_then(non_zero_usize).unwrap_or(DEFAULT_WORKERS),
        task_fetch_interval: section
            .duration("task_fetch_interval", SECOND..=DAY)
            .unwrap_or(Duration::from_secs(5)),
        debug_mode: section.boolean("debug_mode").unwrap_or(false),
        affinity: section.text("affinity"),
        data_directory,
        stop_grace: section.duration("stop_grace", Duration::ZERO..=DAY).unwrap_or(Duration::from_secs(30)),
        memory_limit: section.size("memory_limit", MIB..=u64::MAX).and_then(NonZeroU64::new),
    }
}

const DEFAULT_WORKERS: NonZeroUsize = NonZeroUsize::new(4).expect("not zero");

fn default_data_directory(section: &mut Section<'_, '_>) -> PathBuf {
    const KEY: &str = "data_directory";
    match section.report().environment.home() {
        Some(home) => home.join(".data_exchange_agent"),
        None => {
            if !section.has(KEY) {
                let message = "is missing, and there is no home directory for its default";
                section.problem(KEY, message, Some("Write the directory of the queue, or set HOME."));
            }
            PathBuf::new()
        }
    }
}

pub(super) fn prove_server(report: &mut Report<'_>, value: Option<Value>) -> Server {
    let mut section = Section::open(report, "server", value, Known::exactly(keys::SERVER));
    let host = section.address("host").unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let allow_unauthenticated = section.boolean("allow_unauthenticated");
    // A wrong value has its own problem, and nobody knows what it was meant to say.
    let is_refused = allow_unauthenticated.map_or(!section.has("allow_unauthenticated"), |allowed| !allowed);
    let api_keys = prove_api_keys(&mut section);
    let allowed_hosts = section.text("allowed_hosts").map(|hosts| words(&hosts)).unwrap_or_default();
    if !host.is_loopback() && is_refused && api_keys.is_empty() && !section.has("api_keys") {
        section.problem(
            "host",
            format!(
                "is {host}, which other machines reach; nothing listens on a network without authentication"
            ),
            Some(
                "Add an API key: [server.api_keys.orchestrator] with key = \"${env:AGENT_API_KEY}\". Or use \
                 \"127.0.0.1\", or set server.allow_unauthenticated = true when something in front of the \
                 agent keeps strangers out.",
            ),
        );
    }
    Server {
        host,
        port: section.integer("port", 0..=65_535).and_then(|port| u16::try_from(port).ok()).unwrap_or(5001),
        max_body_bytes: section.size("max_body_bytes", KIB..=GIB).and_then(to_usize).unwrap_or(1 << 20),
        api_keys,
        allow_unauthenticated: allow_unauthenticated.unwrap_or(false),
        allowed_hosts,
    }
}

fn words(list: &str) -> Vec<String> {
    list.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// `[server.api_keys.<name>]`.
fn prove_api_keys(server: &mut Section<'_, '_>) -> Vec<ApiKey> {
    const PATH: &str = "server.api_keys";
    let Some(value) = server.value("api_keys") else { return Vec::new() };
    let table = server.report().table(PATH, value).unwrap_or_default();
    let mut written: Vec<(String, Value)> = table.into_iter().collect();
    written.sort_by(|left, right| left.0.cmp(&right.0));
    let mut keys: Vec<ApiKey> = Vec::new();
    for (name, value) in written {
        let path = join(PATH, &name);
        let mut section = Section::open(server.report(), &path, Some(value), Known::exactly(keys::API_KEY));
        let scopes = section.parsed("scopes", "read, submit and operate, separated by commas", scopes);
        let key = section.secret("key");
        let Some(key) = section.required("key", key) else { continue };
        if key.expose().chars().count() < SHORTEST_KEY {
            let message = format!("is shorter than {SHORTEST_KEY} characters, so it can be guessed");
            section.problem("key", message, Some("Make one with: openssl rand -hex 32"));
            continue;
        }
        if let Some(other) = keys.iter().find(|other| other.is(&KeyDigest::of(key.expose().as_bytes()))) {
            let message = format!("is the same as that of {}", join(PATH, other.name()));
            section.problem("key", message, Some("Give every caller a key of its own."));
            continue;
        }
        keys.push(ApiKey::new(name, &key, scopes.unwrap_or_else(|| Scope::ALL.to_vec())));
    }
    keys
}

/// Characters of the shortest API key.
const SHORTEST_KEY: usize = 16;

pub(in crate::config) fn scopes(text: &str) -> Option<Vec<Scope>> {
    let scope = |word: String| Scope::ALL.into_iter().find(|scope| scope.as_str() == word);
    let scopes: Vec<Scope> = words(text).into_iter().map(scope).collect::<Option<_>>()?;
    (!scopes.is_empty()).then_some(scopes)
}

pub(super) fn prove_transfer(report: &mut Report<'_>, value: Option<Value>) -> TransferSettings {
    let mut section = Section::open(report, "transfer", value, Known::exactly(keys::TRANSFER));
    let default = TransferSettings::default();
    let slices = section.integer("slices", 1..=256);
    let compressions = [Compression::Zstd, Compression::Snappy, Compression::Gzip, Compression::None];
    let formats = [FileFormat::Parquet, FileFormat::Csv];
    TransferSettings {
        slices: slices
            .and_then(|slices| NonZeroU16::new(u16::try_from(slices).ok()?))
            .unwrap_or(default.slices),
        batch_rows: section
            .integer("batch_rows", 1..=10_000_000)
            .and_then(non_zero_usize)
            .unwrap_or(default.batch_rows),
        batch_bytes: non_zero_size(&mut section, "batch_bytes", GIB).unwrap_or(default.batch_bytes),
        row_group_rows: section
            .integer("row_group_rows", 1..=1_000_000_000)
            .and_then(non_zero_usize)
            .unwrap_or(default.row_group_rows),
        row_group_bytes: non_zero_size(&mut section, "row_group_bytes", 4 * GIB)
            .unwrap_or(default.row_group_bytes),
        max_file_size: section
            .size("max_file_size", KIB..=5 * TIB)
            .and_then(NonZeroU64::new)
            .unwrap_or(default.max_file_size),
        compression: section
            .choice("compression", &compressions.map(|compression| (compression.as_str(), compression)))
            .unwrap_or(default.compression),
        format: section
            .choice("format", &formats.map(|format| (format.as_str(), format)))
            .unwrap_or(default.format),
        csv_delimiter: section
            .parsed("csv_delimiter", "one ASCII character, neither a quote nor a line end", delimiter)
            .unwrap_or(default.csv_delimiter),
        csv_line_end: section
            .choice("csv_line_end", &["\r\n", "\n"].map(|end| (end, end.to_owned())))
            .unwrap_or(default.csv_line_end),
        csv_header: section.boolean("csv_header").unwrap_or(default.csv_header),
    }
}

fn delimiter(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n' | b'\0') => Some(*byte),
        _ => None,
    }
}

fn non_zero_size(section: &mut Section<'_, '_>, key: &str, largest: u64) -> Option<NonZeroUsize> {
    section.size(key, KIB..=largest).and_then(to_usize).and_then(NonZeroUsize::new)
}

fn non_zero_usize(number: i64) -> Option<NonZeroUsize> {
    NonZeroUsize::new(usize::try_from(number).ok()?)
}

fn to_usize(size: u64) -> Option<usize> {
    usize::try_from(size).ok()
}
