//! How long the texts are in which a utility of Teradata exports a column.
//!
//! The statement casts a value to so many characters, and the schema of the job says as many: a Teradata does
//! not take a job in which the two differ, and in its own mode cuts silently what is longer. Written after
//! Teradata's manuals; no Teradata was at hand.

use arrow::datatypes::DataType;

use crate::fault::{Fault, FaultKind};
use crate::schema::Column;

/// Characters of the longest number, date or time.
const VALUE_CHARACTERS: u32 = 60;
/// Bytes that a session in UTF-8 exports for each character of Unicode.
const CHARACTER_BYTES: u32 = 3;
/// Bytes of the longest text that can be exported.
const LONGEST_BYTES: u32 = 64_000;
/// Characters of the longest text, without its mark.
const LONGEST_CHARACTERS: u32 = LONGEST_BYTES / CHARACTER_BYTES - 1;

/// Characters that a value of `column` is cast to, without the mark of a text; a fault for a column whose text
/// could be cut, or would not say what the bytes are.
pub(crate) fn characters(column: &Column) -> Result<u32, Fault> {
    let refused = |why: String, remedy: &'static str| {
        Err(Fault::new(FaultKind::Request, format!("export column `{}` as text", column.name))
            .because(why)
            .remedy(remedy))
    };
    match column.data_type {
        DataType::Utf8 => {}
        // Its function for hexadecimal digits takes bytes for a number with a sign.
        DataType::Binary => {
            return refused(
                format!("a Teradata has no text of {} that says each byte", column.source_type),
                "Leave the column out, or set `method` to `native`.",
            );
        }
        _ => return Ok(VALUE_CHARACTERS),
    }
    let shorter = "Cast the column in the query to a VARCHAR that is long enough for every value, or set `method` to \
        `native`.";
    match length_of_text(&column.source_type) {
        Some(length) if length <= LONGEST_CHARACTERS => Ok(length),
        Some(length) => refused(
            format!("it has up to {length} characters, and a utility exports {LONGEST_CHARACTERS} at most"),
            shorter,
        ),
        None => refused(format!("nothing says how long values of type {} are", column.source_type), shorter),
    }
}

/// Bytes of a column in the schema of a job.
pub(crate) fn schema_bytes(column: &Column) -> Result<u32, Fault> {
    let mark = u32::from(column.data_type == DataType::Utf8);
    Ok((characters(column)? + mark) * CHARACTER_BYTES)
}

/// `varchar(20)`, `nchar(5)`: nothing else has a length in characters.
fn length_of_text(source_type: &str) -> Option<u32> {
    let (name, rest) = source_type.split_once('(')?;
    name.to_ascii_lowercase().ends_with("char").then_some(())?;
    rest.strip_suffix(')')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(source_type: &str, data_type: DataType) -> Column {
        Column { name: "c".into(), source_type: source_type.into(), data_type, nullable: true }
    }

    #[test]
    fn a_text_has_room_for_its_mark_and_three_bytes_for_each_character() {
        for (source_type, data_type, cast, bytes) in [
            ("varchar(20)", DataType::Utf8, 20, 63),
            ("nchar(5)", DataType::Utf8, 5, 18),
            ("varchar(21332)", DataType::Utf8, 21_332, 63_999),
            ("decimal(38,0)", DataType::Decimal128(38, 0), 60, 180),
            ("date", DataType::Date32, 60, 180),
        ] {
            let column = column(source_type, data_type);
            assert_eq!(characters(&column).ok(), Some(cast), "{source_type}");
            assert_eq!(schema_bytes(&column).ok(), Some(bytes), "{source_type}");
        }
    }

    #[test]
    fn what_could_be_cut_is_refused() {
        for (source_type, data_type) in [
            ("varchar(21333)", DataType::Utf8),
            ("long varchar", DataType::Utf8),
            ("type 110", DataType::Utf8),
            ("numeric(0,0)", DataType::Utf8),
            ("varbinary(10)", DataType::Binary),
        ] {
            let fault = characters(&column(source_type, data_type)).expect_err(source_type);
            assert!(fault.chain().contains("`c`") && fault.hint().is_some(), "{fault:?}");
        }
    }
}
