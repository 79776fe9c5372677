//! Extractions from databases: as Arrow, and through a transfer to Parquet files and back.

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use data_exchange_agent::config::{
    LocalTarget, NumericPolicy, PostgresSource, Secret, SpecialValues, SslMode, TransferSettings,
};
use data_exchange_agent::destination::local::LocalDestination;
use data_exchange_agent::fault::Fault;
use data_exchange_agent::shutdown::Shutdown;
use data_exchange_agent::source::postgres::Postgres as PostgresDatabase;
use data_exchange_agent::source::{BatchLimits, Extraction, Query, Source};
use data_exchange_agent::task::{
    DestinationKind, DestinationSpec, FileFormat, Progress, Read, SourceSpec, Task, TaskId, TaskSpec,
};
use data_exchange_agent::transfer::Transfer;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::LogicalType;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::folder::Folder;
use super::postgres::Database;

/// The configuration of a connection to `url`, with every setting at its default.
pub(crate) fn configuration(url: &str) -> PostgresSource {
    let url = Url::parse(url).expect("a URL of the test servers");
    let decoded = |text: &str| {
        let pairs = format!("x={}", text.replace('+', "%2B"));
        let (_, value) = url::form_urlencoded::parse(pairs.as_bytes()).next().expect("one pair");
        value.into_owned()
    };
    PostgresSource {
        host: url.host_str().expect("a host").to_owned(),
        port: url.port().expect("a port"),
        database: url.path().trim_start_matches('/').to_owned(),
        username: decoded(url.username()),
        password: url.password().map(|password| Secret::new(decoded(password))),
        ssl_mode: SslMode::Prefer,
        ssl_root_certificate: None,
        application_name: "data-exchange-agent tests".into(),
        search_path: None,
        statement_timeout: None,
        connect_timeout: Duration::from_secs(60),
        numeric: NumericPolicy::Text,
        special_values: SpecialValues::Error,
        odbc_connection: None,
    }
}

/// The source of a configuration.
pub(crate) fn open(configuration: PostgresSource) -> PostgresDatabase {
    PostgresDatabase::new(configuration, Shutdown::new()).expect("the configuration is right")
}

/// A source with every setting at its default.
pub(crate) fn source(database: &Database) -> PostgresDatabase {
    open(configuration(&database.url()))
}

pub(crate) fn query(sql: impl Into<String>) -> Query {
    Query { read: Read::Query(sql.into()), columns: None, slice_column: None, as_texts: false }
}

pub(crate) fn table(name: impl Into<String>) -> Query {
    Query { read: Read::Table(name.into()), columns: None, slice_column: None, as_texts: false }
}

pub(crate) fn count(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).expect("not zero")
}

/// The bounds that the agent uses by default.
pub(crate) fn limits() -> BatchLimits {
    let settings = TransferSettings::default();
    BatchLimits { rows: settings.batch_rows, bytes: settings.batch_bytes }
}

/// Prepares an extraction that has to fail. (`expect_err` would need a printable extraction.)
pub(crate) async fn refused(source: &dyn Source, query: &Query, slices: usize) -> Fault {
    match source.prepare(query, count(slices)).await {
        Ok(_extraction) => panic!("not refused: {query:?}"),
        Err(fault) => fault,
    }
}

/// Reads one slice to its end.
pub(crate) async fn read_slice(extraction: &dyn Extraction, slice: usize) -> Result<RecordBatch, Fault> {
    let mut stream = extraction.open(slice, limits()).await?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.next().await? {
        batches.push(batch);
    }
    Ok(together(&extraction.schema().arrow(), &batches))
}

/// Reads a whole result, slice after slice, as Arrow.
pub(crate) async fn read(source: &dyn Source, query: &Query, slices: usize) -> Result<RecordBatch, Fault> {
    let extraction = source.prepare(query, count(slices)).await?;
    let mut batches = Vec::new();
    for slice in 0..extraction.slice_count() {
        batches.push(read_slice(&*extraction, slice).await?);
    }
    Ok(together(&extraction.schema().arrow(), &batches))
}

fn together(schema: &SchemaRef, batches: &[RecordBatch]) -> RecordBatch {
    concat_batches(schema, batches).expect("batches of one schema")
}

/// What another program finds in the files of a transfer.
pub(crate) struct Parquet {
    /// All rows, in the order of the files.
    pub(crate) rows: RecordBatch,
    /// The logical type of each column, as the file says it.
    pub(crate) logical_types: Vec<Option<LogicalType>>,
    /// The type of each column in the source, out of the file's metadata.
    pub(crate) source_types: serde_json::Value,
}

/// A task that puts a result into the folder `out`.
pub(crate) fn task(query: &Query, slices: u16) -> Task {
    Task {
        id: TaskId::generate(),
        spec: TaskSpec {
            source: SourceSpec {
                connection: "tests".into(),
                read: query.read.clone(),
                columns: query.columns.clone(),
                slices: Some(slices),
                slice_column: query.slice_column.clone(),
                batch_size: None,
                method: None,
            },
            destination: DestinationSpec {
                kind: DestinationKind::Local,
                connection: None,
                path: "out".into(),
                format: FileFormat::Parquet,
                compression: None,
                max_file_size: None,
                load: None,
            },
            max_attempts: 1,
            timeout: None,
            priority: 0,
            trace: Default::default(),
        },
    }
}

/// Transfers a result into a local directory and reads the Parquet files back.
pub(crate) async fn transfer(source: &dyn Source, query: &Query, slices: u16) -> Result<Parquet, Fault> {
    let folder = Folder::new();
    Ok(read_files(run(source, &task(query, slices), &folder).await?))
}

/// Transfers a result into CSV files without compression, and gives their text.
pub(crate) async fn transfer_csv(source: &dyn Source, query: &Query) -> Result<String, Fault> {
    let folder = Folder::new();
    let mut task = task(query, 1);
    task.spec.destination.format = FileFormat::Csv;
    let files = run(source, &task, &folder).await?;
    Ok(files.iter().map(|file| std::fs::read_to_string(file).expect("a text in UTF-8")).collect())
}

/// Runs the only attempt of a task; its files, in order.
async fn run(source: &dyn Source, task: &Task, folder: &Folder) -> Result<Vec<PathBuf>, Fault> {
    let destination = LocalDestination::new(&LocalTarget { root: folder.path().to_owned() });
    let settings = TransferSettings::default();
    let progress = Arc::new(Progress::default());
    let transfer = Transfer::open(source, &destination, task, &settings, &progress).await?;
    let written = transfer.write(&CancellationToken::new()).await?.expect("nobody stops it");
    let receipt = transfer.commit(written, Instant::now()).await?;
    let files = receipt.files.iter().map(|file| {
        Url::parse(&file.location).expect("a URL").to_file_path().expect("a file of this machine")
    });
    Ok(files.collect())
}

fn read_files(files: Vec<PathBuf>) -> Parquet {
    let mut batches = Vec::new();
    let mut found = None;
    for file in files {
        let file = File::open(&file).expect("a committed file");
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
        let metadata = builder.metadata().file_metadata();
        let columns = metadata.schema_descr().columns();
        let logical_types = columns.iter().map(|column| column.logical_type_ref().cloned()).collect();
        let entries = metadata.key_value_metadata().expect("metadata");
        let source_types = entries
            .iter()
            .find(|entry| entry.key == "data_exchange_agent.source_types")
            .and_then(|entry| entry.value.as_deref())
            .expect("the types in the source");
        let source_types = serde_json::from_str(source_types).expect("JSON");
        found.get_or_insert((std::sync::Arc::clone(builder.schema()), logical_types, source_types));
        batches.extend(builder.build().expect("a reader").map(|batch| batch.expect("a batch")));
    }
    let (schema, logical_types, source_types) = found.expect("there is at least one file");
    Parquet { rows: together(&schema, &batches), logical_types, source_types }
}

/// The values of a column in the notation of PostgreSQL, for comparisons with the server's own.
pub(crate) fn texts(column: &dyn Array) -> Vec<Option<String>> {
    (0..column.len()).map(|row| column.is_valid(row).then(|| text(column, row))).collect()
}

/// Compares two results column by column, so that a difference can be read.
pub(crate) fn same(found: &RecordBatch, expected: &RecordBatch, query: &Query) {
    // The name of the task is among the metadata of a file.
    assert_eq!(found.schema().fields(), expected.schema().fields(), "{query:?}");
    for field in expected.schema().fields() {
        let name = field.name();
        assert_eq!(column(found, name), column(expected, name), "column {name} of {query:?}");
    }
    assert_eq!(found.columns(), expected.columns(), "{query:?}");
}

/// The values of a column of a batch; see [`texts`].
pub(crate) fn column(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
    texts(batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}")))
}

fn text(column: &dyn Array, row: usize) -> String {
    use arrow::datatypes as types;
    match column.data_type() {
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        DataType::UInt8 => column.as_primitive::<types::UInt8Type>().value(row).to_string(),
        DataType::Int16 => column.as_primitive::<types::Int16Type>().value(row).to_string(),
        DataType::Int32 => column.as_primitive::<types::Int32Type>().value(row).to_string(),
        DataType::Int64 => column.as_primitive::<types::Int64Type>().value(row).to_string(),
        DataType::Float32 => format!("{:?}", column.as_primitive::<types::Float32Type>().value(row)),
        DataType::Float64 => format!("{:?}", column.as_primitive::<types::Float64Type>().value(row)),
        DataType::Decimal32(..) => column.as_primitive::<types::Decimal32Type>().value_as_string(row),
        DataType::Decimal64(..) => column.as_primitive::<types::Decimal64Type>().value_as_string(row),
        DataType::Decimal128(..) => column.as_primitive::<types::Decimal128Type>().value_as_string(row),
        DataType::Decimal256(..) => column.as_primitive::<types::Decimal256Type>().value_as_string(row),
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        DataType::Binary => {
            let bytes = column.as_binary::<i32>().value(row);
            bytes.iter().fold("\\x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
        }
        DataType::Date32 => {
            let (date, era) = date(column.as_primitive::<types::Date32Type>().value(row).into());
            date + era
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            time(column.as_primitive::<types::Time64MicrosecondType>().value(row))
        }
        DataType::Time64(TimeUnit::Nanosecond) => {
            let nanoseconds = column.as_primitive::<types::Time64NanosecondType>().value(row);
            format!("{}+{}ns", time(nanoseconds / 1000), nanoseconds % 1000)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            const DAY: i64 = 86_400_000_000_000;
            let instant = column.as_primitive::<types::TimestampNanosecondType>().value(row);
            let in_day = instant.rem_euclid(DAY);
            format!("{} {}+{}ns", date(instant.div_euclid(DAY)).0, time(in_day / 1000), in_day % 1000)
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            const DAY: i64 = 86_400_000_000;
            let instant = column.as_primitive::<types::TimestampMicrosecondType>().value(row);
            let (date, era) = date(instant.div_euclid(DAY));
            let zone = match zone.as_deref() {
                None => "",
                Some("UTC") => "+00",
                Some(other) => panic!("the zone {other}"),
            };
            format!("{date} {}{zone}{era}", time(instant.rem_euclid(DAY)))
        }
        other => panic!("no column should have the type {other}"),
    }
}

/// A time of day in microseconds.
fn time(microseconds: i64) -> String {
    let (seconds, fraction) = (microseconds / 1_000_000, microseconds % 1_000_000);
    let text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction == 0 { text } else { format!("{text}.{fraction:06}").trim_end_matches('0').to_owned() }
}

/// Days since 1970-01-01 as a date and its era, by counting in cycles of 400 years from March.
fn date(days: i64) -> (String, &'static str) {
    let days = days + 719_468;
    let (cycle, day_of_cycle) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = cycle * 400 + year_of_cycle + i64::from(month <= 2);
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    (format!("{year:04}-{month:02}-{day:02}"), era)
}
