//! COPY INTO: from files of a stage into a table.

use super::name::{QualifiedName, quote_identifier, string_literal};
use super::table::Pair;
use crate::destination::FileLayout;
use crate::snowflake::Table;
use crate::snowflake::put::StageLocation;
use crate::task::{Compression, FileFormat};

/// Files that one COPY can name (Snowflake's own limit).
const MAX_FILES: usize = 1000;

/// The statements that load `files`, which are names in the stage directory `from`.
///
/// What the options are for:
/// - FILES names each file: a directory may have files of others, and a prefix may begin their names.
/// - ON_ERROR: one value that does not fit stops the load. The default of Snowpipe differs.
/// - Parquet: without USE_LOGICAL_TYPE some times and timestamps arrive as integers; BINARY_AS_TEXT
///   would read binary values as text; NULL_IF would make NULL of every text `\N`.
/// - CSV: the writer's own dialect, see `transfer::csv`: NULL is an empty field, an empty text `""`.
/// - FORCE is never said: it would load a file twice. PURGE neither: it deletes before anybody has
///   looked at the counts, and hides its errors.
#[must_use]
pub(super) fn statements(
    table: &QualifiedName,
    pairs: &[Pair],
    from: &StageLocation,
    files: &[String],
    layout: &FileLayout,
) -> Vec<String> {
    let from = from.reference();
    let (columns, format) = match layout.format {
        FileFormat::Parquet => (
            String::new(),
            "FILE_FORMAT=(TYPE=PARQUET USE_LOGICAL_TYPE=TRUE BINARY_AS_TEXT=FALSE NULL_IF=()) \
             MATCH_BY_COLUMN_NAME=CASE_INSENSITIVE"
                .to_owned(),
        ),
        FileFormat::Csv => {
            // By place: the files have the columns of the result, in its order.
            let names: Vec<String> = pairs.iter().map(|pair| quote_identifier(&pair.table)).collect();
            (format!(" ({})", names.join(", ")), csv_format(layout))
        }
    };
    files
        .chunks(MAX_FILES)
        .map(|files| {
            let names: Vec<String> = files.iter().map(|name| string_literal(name)).collect();
            format!(
                "COPY INTO {table}{columns} FROM {from} FILES=({}) {format} ON_ERROR=ABORT_STATEMENT",
                names.join(", ")
            )
        })
        .collect()
}

fn csv_format(layout: &FileLayout) -> String {
    let compression = match layout.compression {
        Compression::Gzip => "GZIP",
        Compression::Zstd => "ZSTD",
        Compression::None | Compression::Snappy => "NONE",
    };
    let delimiter = string_literal(&char::from(layout.csv_delimiter).to_string());
    let line_end: String = layout.csv_line_end.chars().map(escaped).collect();
    format!(
        "FILE_FORMAT=(TYPE=CSV COMPRESSION={compression} FIELD_DELIMITER={delimiter} \
         RECORD_DELIMITER='{line_end}' SKIP_HEADER={} FIELD_OPTIONALLY_ENCLOSED_BY='\"' \
         ESCAPE_UNENCLOSED_FIELD=NONE NULL_IF=() EMPTY_FIELD_AS_NULL=TRUE BINARY_FORMAT=HEX)",
        u8::from(layout.csv_header)
    )
}

/// A character of a string constant; control characters as Snowflake's own escapes.
fn escaped(character: char) -> String {
    match character {
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '\'' => "''".to_owned(),
        '\\' => "\\\\".to_owned(),
        other => other.to_string(),
    }
}

/// What one COPY did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Loaded {
    /// Rows that are in the table now.
    pub(super) rows: u64,
    /// Files that Snowflake remembers to have loaded into this table before, and left out.
    pub(super) skipped: Vec<String>,
    /// The first thing that was wrong with a file, without the value.
    pub(super) first_error: Option<LoadPlace>,
}

impl Loaded {
    /// Adds what the answer of a COPY says: a row for each file, or one with a sentence when there
    /// was nothing to do.
    pub(super) fn add(&mut self, answer: &Table) {
        for row in &answer.rows {
            let Some(file) = answer.value(row, "file") else { continue };
            let number = |name| answer.value(row, name).and_then(|text| text.parse::<u64>().ok());
            self.rows += number("rows_loaded").unwrap_or_default();
            match answer.value(row, "status").unwrap_or_default() {
                "LOADED" => {}
                "LOAD_SKIPPED" => self.skipped.push(file.to_owned()),
                _ => {
                    self.first_error.get_or_insert_with(|| LoadPlace {
                        file: Some(file.to_owned()),
                        line: number("first_error_line"),
                        row: None,
                        column: answer.value(row, "first_error_column_name").map(str::to_owned),
                    });
                }
            }
        }
    }
}

/// Where in the files a load failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadPlace {
    /// The file, relative to its stage.
    pub file: Option<String>,
    /// The line of a text file, from 1.
    pub line: Option<u64>,
    /// The row, from 1.
    pub row: Option<u64>,
    /// The column of the table.
    pub column: Option<String>,
}

impl LoadPlace {
    /// Finds the place in the message of a failed COPY, which goes on after the reason like this:
    ///
    /// ```text
    ///   File 'orders/task_a_result_001.parquet', line 3, character 14
    ///   Row 2, column "ORDERS"["TOTAL":2]
    /// ```
    ///
    /// The first line quotes the value, so nothing of it is looked at.
    #[must_use]
    pub fn find(message: &str) -> Option<Self> {
        let mut place = Self::default();
        for line in message.lines().skip(1).map(str::trim) {
            if let Some(rest) = line.strip_prefix("File '") {
                let (file, rest) = rest.split_once('\'')?;
                place.file = Some(file.trim_start_matches('@').to_owned());
                place.line = number_after(rest, "line ");
            } else if line.starts_with("Row ") {
                place.row = number_after(line, "Row ");
                let column = line.split_once("[\"").and_then(|(_, rest)| rest.rsplit_once("\":"));
                place.column = column.map(|(name, _)| name.to_owned());
            }
        }
        (place != Self::default()).then_some(place)
    }
}

impl std::fmt::Display for LoadPlace {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [
            self.file.as_ref().map(|file| format!("file `{file}`")),
            self.line.map(|line| format!("line {line}")),
            self.row.map(|row| format!("row {row}")),
            self.column.as_ref().map(|column| format!("column `{column}`")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        formatter.write_str(&parts.join(", "))
    }
}

fn number_after(text: &str, label: &str) -> Option<u64> {
    let (_, rest) = text.split_once(label)?;
    let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::snowflake::load::types::{ColumnType, Conversion};

    fn stage(text: &str) -> StageLocation {
        StageLocation::parse(text).unwrap()
    }

    fn table() -> QualifiedName {
        QualifiedName { database: "D".into(), schema: "S".into(), table: "T".into() }
    }

    fn pairs() -> Vec<Pair> {
        let pair = |source: &str, table: &str| Pair {
            source: source.into(),
            table: table.into(),
            column_type: ColumnType::Text(None),
            conversion: Conversion::Direct,
        };
        vec![pair("id", "ID"), pair("ship to", "ship to")]
    }

    fn layout(format: FileFormat, compression: Compression) -> FileLayout {
        FileLayout { format, compression, csv_delimiter: b',', csv_line_end: "\r\n".into(), csv_header: true }
    }

    #[test]
    fn parquet_is_loaded_by_name_with_logical_types() {
        let files = ["task_a_result_001.parquet".to_owned()];
        let layout = layout(FileFormat::Parquet, Compression::Zstd);
        assert_eq!(
            statements(&table(), &pairs(), &stage("@D.S.STG/orders/"), &files, &layout),
            ["COPY INTO \"D\".\"S\".\"T\" FROM @D.S.STG/orders/ FILES=('task_a_result_001.parquet') \
              FILE_FORMAT=(TYPE=PARQUET USE_LOGICAL_TYPE=TRUE BINARY_AS_TEXT=FALSE NULL_IF=()) \
              MATCH_BY_COLUMN_NAME=CASE_INSENSITIVE ON_ERROR=ABORT_STATEMENT"]
        );
    }

    #[test]
    fn csv_is_loaded_by_place_in_the_dialect_of_the_writer() {
        let files = ["task_a_result_001.csv.gz".to_owned()];
        let layout = layout(FileFormat::Csv, Compression::Gzip);
        assert_eq!(
            statements(&table(), &pairs(), &stage("@~/my path/"), &files, &layout),
            ["COPY INTO \"D\".\"S\".\"T\" (\"ID\", \"ship to\") FROM '@~/my path/' \
              FILES=('task_a_result_001.csv.gz') FILE_FORMAT=(TYPE=CSV COMPRESSION=GZIP FIELD_DELIMITER=',' \
              RECORD_DELIMITER='\\r\\n' SKIP_HEADER=1 FIELD_OPTIONALLY_ENCLOSED_BY='\"' \
              ESCAPE_UNENCLOSED_FIELD=NONE NULL_IF=() EMPTY_FIELD_AS_NULL=TRUE BINARY_FORMAT=HEX) \
              ON_ERROR=ABORT_STATEMENT"]
        );
    }

    #[test]
    fn more_files_than_one_statement_can_name_take_several() {
        let files: Vec<String> = (0..2001).map(|number| format!("f{number}")).collect();
        let layout = layout(FileFormat::Parquet, Compression::Zstd);
        let statements = statements(&table(), &pairs(), &stage("@s/"), &files, &layout);
        assert_eq!(statements.len(), 3);
        assert!(statements.iter().all(|sql| !sql.contains("FORCE") && !sql.contains("PURGE")));
        assert!(statements[2].contains("FILES=('f2000')"), "{}", statements[2]);
    }

    #[test]
    fn the_place_of_an_error_is_found_and_the_value_is_not() {
        let message = "Numeric value 'File 'x', Row 9' is not recognized\n  File 'orders/a.csv', line 3, character 14\n  \
                       Row 2, column \"ORDERS\"[\"TO\"TAL\":2]\n  If you would like to continue loading ...";
        let place = LoadPlace::find(message).unwrap();
        assert_eq!(place.to_string(), "file `orders/a.csv`, line 3, row 2, column `TO\"TAL`");
        assert_eq!(LoadPlace::find("Numeric value 'Row 1' is not recognized"), None);
        assert_eq!(LoadPlace::find(""), None);
        let partial = LoadPlace::find("x\n  File '@S/a.parquet'").unwrap();
        assert_eq!(partial.to_string(), "file `S/a.parquet`");
    }

    proptest! {
        #[test]
        fn no_message_is_too_strange_to_look_for_a_place(message in "(\\PC|[\n'\"]|File '|Row |, line 1){0,20}") {
            drop(LoadPlace::find(&message));
        }
    }
}
