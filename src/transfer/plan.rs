//! Pure decisions: how a task is cut, batched and encoded, and how much memory that takes.

use std::num::{NonZeroU64, NonZeroUsize};

use crate::config::TransferSettings;
use crate::destination::FileLayout;
use crate::source::BatchLimits;
use crate::task::{Compression, FileFormat, MAX_SLICES, TaskSpec};

/// Batches that wait between the reader and the encoder of a slice.
pub const QUEUED_BATCHES: usize = 1;
/// Chunks that wait between the encoder and the upload of a slice.
pub const QUEUED_CHUNKS: usize = 2;
/// Bytes of one chunk.
pub const CHUNK_BYTES: usize = 1 << 20;
/// Bytes that one source connection may hold back, at most, besides the batch being decoded.
pub const READ_BUFFER_BYTES: usize = 1 << 20;

/// Everything that is decided before the first row.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Slices to ask the source for.
    pub slices: NonZeroUsize,
    /// Bounds of one batch.
    pub batch: BatchLimits,
    /// Rows of a row group, at most.
    pub row_group_rows: NonZeroUsize,
    /// Encoded bytes of a row group, about.
    pub row_group_bytes: NonZeroUsize,
    /// A file of this size is followed by the next one.
    pub max_file_size: NonZeroU64,
    /// File format.
    pub format: FileFormat,
    /// Compression.
    pub compression: Compression,
    /// CSV field delimiter.
    pub csv_delimiter: u8,
    /// CSV line end.
    pub csv_line_end: String,
    /// Whether a CSV file begins with the column names.
    pub csv_header: bool,
}

impl Plan {
    /// Decides for one task: what the task says, else what the configuration says.
    #[must_use]
    pub fn new(spec: &TaskSpec, settings: &TransferSettings) -> Self {
        let destination = &spec.destination;
        let slices = spec.source.slices.unwrap_or(settings.slices.get()).clamp(1, MAX_SLICES);
        let batch_rows = spec.source.batch_size.and_then(NonZeroUsize::new);
        let compression = destination.compression.unwrap_or(match destination.format {
            FileFormat::Parquet => settings.compression,
            FileFormat::Csv => Compression::None,
        });
        Self {
            slices: NonZeroUsize::from(std::num::NonZeroU16::new(slices).expect("clamped to 1 or more")),
            batch: BatchLimits {
                // A batch larger than the default would only take memory: bytes bound it as well.
                rows: batch_rows.unwrap_or(settings.batch_rows).min(settings.batch_rows),
                bytes: settings.batch_bytes,
            },
            row_group_rows: settings.row_group_rows,
            row_group_bytes: settings.row_group_bytes,
            max_file_size: destination
                .max_file_size
                .and_then(NonZeroU64::new)
                .unwrap_or(settings.max_file_size),
            format: destination.format,
            compression,
            csv_delimiter: settings.csv_delimiter,
            csv_line_end: settings.csv_line_end.clone(),
            csv_header: settings.csv_header,
        }
    }

    /// Files that the destination takes. A file grows by up to a row group over its size, so there
    /// is room for that.
    #[must_use]
    pub fn with_files_of_at_most(mut self, limit: Option<NonZeroU64>) -> Self {
        if let Some(limit) = limit {
            let room = 2 * self.row_group_bytes.get() as u64;
            let most = NonZeroU64::new(limit.get().saturating_sub(room)).unwrap_or(NonZeroU64::MIN);
            self.max_file_size = self.max_file_size.min(most);
        }
        self
    }
}

impl Plan {
    /// As many slices as the share of the memory has room for, at least one. Workers that all run such a task
    /// would take more than the agent may otherwise.
    #[must_use]
    pub fn within_memory(mut self, settings: &TransferSettings, part_buffer_bytes: usize) -> Self {
        let Some(share) = settings.memory_of_a_task else { return self };
        let room = share / slice_bytes(settings, part_buffer_bytes).max(1);
        let room = usize::try_from(room).ok().and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN);
        if room < self.slices {
            tracing::warn!(
                wanted = self.slices,
                slices = room,
                "the task is read in fewer slices than it asks for: a worker has no more memory. Raise \
                 application.memory_limit, or lower application.workers, for more"
            );
            self.slices = room;
        }
        self
    }

    /// What a reader has to know about the files.
    #[must_use]
    pub fn layout(&self) -> FileLayout {
        FileLayout {
            format: self.format,
            compression: self.compression,
            csv_delimiter: self.csv_delimiter,
            csv_line_end: self.csv_line_end.clone(),
            csv_header: self.csv_header,
        }
    }
}

/// The memory equation, in bytes, for `workers` tasks of `slices` slices each:
///
/// ```text
/// workers x slices x ( (queued + 4) batches       one decoded, one queued behind it, one handed over,
///                                                one queued, one encoded
///                    + read buffer
///                    + 2 x row group              encoded pages, and the open page of each column
///                    + (queued + 1) chunks
///                    + what an open part holds back )
/// ```
///
/// It does not depend on the number of rows. A single value larger than a batch comes on top.
#[must_use]
pub fn memory_ceiling(
    workers: NonZeroUsize,
    slices: NonZeroUsize,
    settings: &TransferSettings,
    part_buffer_bytes: usize,
) -> u64 {
    let slice = slice_bytes(settings, part_buffer_bytes);
    (workers.get() as u64).saturating_mul(slices.get() as u64).saturating_mul(slice)
}

/// What one slice takes, in bytes.
fn slice_bytes(settings: &TransferSettings, part_buffer_bytes: usize) -> u64 {
    let bytes = (QUEUED_BATCHES + 4) * settings.batch_bytes.get()
        + READ_BUFFER_BYTES
        + 2 * settings.row_group_bytes.get()
        + (QUEUED_CHUNKS + 1) * CHUNK_BYTES
        + part_buffer_bytes;
    bytes as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::SourceSpec;

    #[test]
    fn a_task_gets_no_more_slices_than_its_share_of_the_memory_has_room_for() {
        let part_buffer = 1 << 20;
        let slice = slice_bytes(&TransferSettings::default(), part_buffer);
        let spec = TaskSpec::sample();
        // What a task may take in slices, and what it asks for -> what it gets.
        for (share, wanted, expected) in [
            (None, 64, 64),
            (Some(64 * slice), 64, 64),
            (Some(4 * slice), 64, 4),
            (Some(4 * slice - 1), 64, 3),
            (Some(4 * slice), 2, 2),
            (Some(0), 64, 1),
        ] {
            let settings = TransferSettings { memory_of_a_task: share, ..TransferSettings::default() };
            let source = SourceSpec { slices: Some(wanted), ..spec.source.clone() };
            let spec = TaskSpec { source, ..spec.clone() };
            let plan = Plan::new(&spec, &settings).within_memory(&settings, part_buffer);
            assert_eq!(plan.slices.get(), expected, "{share:?} {wanted}");
        }
    }

    #[test]
    fn files_stay_below_what_the_destination_takes() {
        let settings = TransferSettings::default();
        let plan = |max_file_size| Plan {
            slices: NonZeroUsize::MIN,
            batch: BatchLimits { rows: settings.batch_rows, bytes: settings.batch_bytes },
            row_group_rows: settings.row_group_rows,
            row_group_bytes: NonZeroUsize::new(10).expect("not zero"),
            max_file_size: NonZeroU64::new(max_file_size).expect("not zero"),
            format: FileFormat::Parquet,
            compression: Compression::Zstd,
            csv_delimiter: b',',
            csv_line_end: String::new(),
            csv_header: true,
        };
        for (wanted, limit, expected) in
            [(100, None, 100), (100, Some(500), 100), (900, Some(500), 480), (900, Some(5), 1)]
        {
            let limit = limit.and_then(NonZeroU64::new);
            assert_eq!(plan(wanted).with_files_of_at_most(limit).max_file_size.get(), expected);
        }
    }
}
