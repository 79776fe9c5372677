//! The sample database of the demo: the same rows on every machine, made by SQLite alone.
//!
//! Every column tests something on its way to Parquet: integers, decimals, doubles, times, NULLs,
//! empty and long texts, and letters of several scripts. [`SampleTotals`] are exact, so that what
//! was written can be compared with what was there: prices are summed in cents, and discounts are
//! multiples of 1/64, whose sum is exact in a double.

use std::path::{Path, PathBuf};

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use crate::fault::{Fault, FaultKind};

/// Name of the table.
pub const TABLE: &str = "orders";

/// Exact figures of the sample, computed by SQLite from what it stored.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleTotals {
    /// Rows.
    pub rows: u64,
    /// Sum of `id`.
    pub id_sum: i64,
    /// Sum of `quantity`.
    pub quantity_sum: i64,
    /// Sum of `unit_price`, in cents.
    pub unit_price_cents: i64,
    /// Sum of `discount`.
    pub discount_sum: f64,
    /// Rows with `paid`.
    pub paid: u64,
    /// Rows without `shipped`.
    pub not_shipped: u64,
    /// Rows without `note`.
    pub without_note: u64,
    /// Bytes of all notes in UTF-8.
    pub note_bytes: u64,
    /// First `ordered_at`; none without rows.
    pub first_order: Option<String>,
    /// Last `ordered_at`; none without rows.
    pub last_order: Option<String>,
}

const CREATE: &str = "\
CREATE TABLE orders (
    id INTEGER PRIMARY KEY,
    customer TEXT NOT NULL,
    product TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    unit_price DECIMAL(10,2) NOT NULL,
    discount REAL NOT NULL,
    ordered_at DATETIME NOT NULL,
    shipped DATE,
    paid BOOLEAN NOT NULL,
    note TEXT
)";

/// `h` and `k` are two hashes of the row number: products with constants of Lehmer's generators,
/// modulo the prime 2^31 - 1. No row depends on another one, nor on the number of rows.
const FILL: &str = "\
WITH RECURSIVE
    numbers(i) AS (SELECT 1 WHERE ?1 > 0 UNION ALL SELECT i + 1 FROM numbers WHERE i < ?1),
    hashed(i, h, k) AS (SELECT i, i * 48271 % 2147483647, i * 69621 % 2147483647 FROM numbers)
INSERT INTO orders
SELECT
    i,
    'customer-' || (h % 50000),
    CASE k % 8
        WHEN 0 THEN 'Apple' WHEN 1 THEN 'Bread' WHEN 2 THEN 'Café crème' WHEN 3 THEN 'Döner'
        WHEN 4 THEN 'Élan vital' WHEN 5 THEN 'Făină' WHEN 6 THEN '緑茶' ELSE 'Żurek'
    END,
    1 + h % 20,
    (1 + k % 99999) / 100.0,
    (h % 17) / 64.0,
    datetime(1577836800 + h % 126230400, 'unixepoch'),
    CASE WHEN k % 8 = 3 THEN NULL ELSE date(1577923200 + h % 126230400, 'unixepoch') END,
    h % 5 <> 0,
    CASE h % 9
        WHEN 0 THEN NULL
        WHEN 1 THEN ''
        WHEN 2 THEN 'Grüße aus Köln, \"express\"'
        WHEN 3 THEN 'ご注文ありがとうございます'
        WHEN 4 THEN 'line one' || char(10) || 'line two'
        WHEN 5 THEN 'leave it at door ' || (k % 1000)
        WHEN 6 THEN 'on its way 🚚📦'
        WHEN 7 THEN 'Спасибо; до встречи'
        ELSE 'order ' || i || ' of customer ' || (h % 50000)
    END
FROM hashed";

const TOTALS: &str = "\
SELECT
    count(*),
    coalesce(sum(id), 0),
    coalesce(sum(quantity), 0),
    coalesce(sum(CAST(round(unit_price * 100) AS INTEGER)), 0),
    coalesce(sum(discount), 0.0),
    coalesce(sum(paid), 0),
    count(*) - count(shipped),
    count(*) - count(note),
    coalesce(sum(octet_length(note)), 0),
    min(ordered_at),
    max(ordered_at)
FROM orders";

/// Writes the sample with `rows` rows to a new file at `path`, and returns its totals.
///
/// The file appears under its name when it is complete. A file that is there already is an error:
/// the demo never overwrites what it did not make.
pub async fn create(path: &Path, rows: u64) -> Result<SampleTotals, Fault> {
    let action = || format!("create the sample database `{}`", path.display());
    if tokio::fs::try_exists(path).await.map_err(|error| failed(action(), error))? {
        return Err(Fault::new(FaultKind::Request, action())
            .because("there is a file of this name")
            .remedy("Remove the file, or choose another directory."));
    }
    let partial = partial_name(path);
    let written = write(&partial, rows).await;
    let totals = match written {
        Ok(totals) => totals,
        Err(error) => {
            // The write failed already; a partial file that stays is only in the way.
            let _ = tokio::fs::remove_file(&partial).await;
            return Err(failed(action(), error));
        }
    };
    tokio::fs::rename(&partial, path).await.map_err(|error| failed(action(), error))?;
    Ok(totals)
}

fn partial_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

async fn write(path: &Path, rows: u64) -> Result<SampleTotals, sqlx::Error> {
    // Without journal and without waiting for the disk: a sample that a crash destroys is made again.
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Off)
        .synchronous(SqliteSynchronous::Off)
        .locking_mode(SqliteLockingMode::Exclusive)
        .page_size(16_384)
        .disable_statement_logging()
        .connect()
        .await?;
    let totals = fill(&mut connection, rows).await;
    connection.close().await?;
    totals
}

async fn fill(connection: &mut SqliteConnection, rows: u64) -> Result<SampleTotals, sqlx::Error> {
    sqlx::query(CREATE).execute(&mut *connection).await?;
    let rows = i64::try_from(rows).unwrap_or(i64::MAX);
    sqlx::query(FILL).bind(rows).execute(&mut *connection).await?;
    let row = sqlx::query(TOTALS).fetch_one(&mut *connection).await?;
    Ok(SampleTotals {
        rows: unsigned(&row, 0)?,
        id_sum: row.try_get(1)?,
        quantity_sum: row.try_get(2)?,
        unit_price_cents: row.try_get(3)?,
        discount_sum: row.try_get(4)?,
        paid: unsigned(&row, 5)?,
        not_shipped: unsigned(&row, 6)?,
        without_note: unsigned(&row, 7)?,
        note_bytes: unsigned(&row, 8)?,
        first_order: row.try_get(9)?,
        last_order: row.try_get(10)?,
    })
}

/// A count of SQLite, which is never negative.
fn unsigned(row: &SqliteRow, index: usize) -> Result<u64, sqlx::Error> {
    Ok(row.try_get::<i64, _>(index)?.unsigned_abs())
}

fn failed(action: String, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Fault {
    Fault::new(FaultKind::Permission, action)
        .because(cause)
        .remedy("Check that the directory exists, that it may be written to, and that the disk has room.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> PathBuf {
        let path = std::env::temp_dir().join(format!("exchange-sample-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&path).expect("a temporary directory");
        path
    }

    #[tokio::test]
    async fn the_sample_is_the_same_every_time() {
        let directory = directory();
        let first = create(&directory.join("a.db"), 10_000).await.expect("a sample");
        let second = create(&directory.join("b.db"), 10_000).await.expect("a sample");
        assert_eq!(first, second);
        assert_eq!(first.rows, 10_000);
        assert_eq!(first.id_sum, 50_005_000);
        assert_eq!(first.first_order.as_deref().map(str::len), Some("2020-01-01 00:00:00".len()));
        assert!(first.not_shipped > 1_000 && first.not_shipped < 1_500, "{first:?}");
        assert!(first.without_note > 1_000 && first.paid > 7_500, "{first:?}");
        let bytes = |name: &str| std::fs::read(directory.join(name)).expect("a file");
        assert_eq!(bytes("a.db"), bytes("b.db"));
        std::fs::remove_dir_all(directory).expect("own directory");
    }

    #[tokio::test]
    async fn a_sample_of_no_rows_is_valid() {
        let directory = directory();
        let totals = create(&directory.join("a.db"), 0).await.expect("a sample");
        assert_eq!((totals.rows, totals.id_sum, totals.first_order), (0, 0, None));
        std::fs::remove_dir_all(directory).expect("own directory");
    }

    #[tokio::test]
    async fn a_file_that_is_there_is_kept() {
        let directory = directory();
        let path = directory.join("a.db");
        std::fs::write(&path, "mine").expect("a file");
        let fault = create(&path, 1).await.expect_err("taken");
        assert_eq!(fault.kind(), FaultKind::Request);
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), "mine");
        std::fs::remove_dir_all(directory).expect("own directory");
    }

    #[tokio::test]
    async fn a_failed_sample_leaves_no_file() {
        let directory = directory();
        let fault = create(&directory.join("missing").join("a.db"), 1).await.expect_err("no directory");
        assert!(fault.hint().is_some());
        assert_eq!(std::fs::read_dir(&directory).expect("a directory").count(), 0);
        std::fs::remove_dir_all(directory).expect("own directory");
    }
}
