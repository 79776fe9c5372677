//! `[application]` and `[transfer]`.

use std::num::{NonZeroU16, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use ::config::Value;

use super::super::keys;
use super::super::known::Known;
use super::super::model::{Application, TransferSettings};
use super::super::report::Report;
use super::super::section::Section;
use crate::task::{Compression, FileFormat, MAX_SLICES};

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
        section.warning(
            "lease_refresh_interval",
            "is not used; leases are refreshed well before they end",
            None,
        );
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

pub(super) fn prove_transfer(report: &mut Report<'_>, value: Option<Value>) -> TransferSettings {
    let mut section = Section::open(report, "transfer", value, Known::exactly(keys::TRANSFER));
    let default = TransferSettings::default();
    let slices = section.integer("slices", 1..=i64::from(MAX_SLICES));
    let compressions = [Compression::Zstd, Compression::Snappy, Compression::Gzip, Compression::None];
    let formats = [FileFormat::Parquet, FileFormat::Csv];
    TransferSettings {
        slices: slices
            .and_then(|slices| NonZeroU16::new(u16::try_from(slices).ok()?))
            .unwrap_or(default.slices),
        memory_of_a_task: None,
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

pub(super) fn non_zero_usize(number: i64) -> Option<NonZeroUsize> {
    NonZeroUsize::new(usize::try_from(number).ok()?)
}

pub(super) fn to_usize(size: u64) -> Option<usize> {
    usize::try_from(size).ok()
}
