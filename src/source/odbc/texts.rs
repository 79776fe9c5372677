//! What is selected in place of a column of Teradata, so that its text says everything that its value
//! does. Written after Teradata's manuals; no Teradata was at hand.

use super::types::Wire;

/// The expression for a column, which has so many characters at most. Its type is a VARCHAR of that length,
/// and of one more for a text with its mark: the schema of the job says the same.
pub(super) fn text_of(column: &str, wire: Wire, characters: u32) -> String {
    let cast = |value: &str| format!("CAST({value} AS VARCHAR({characters}) CHARACTER SET UNICODE)");
    match wire {
        Wire::Int2 | Wire::Int4 | Wire::Int8 | Wire::IntegerText | Wire::Bit | Wire::Decimal => {
            format!("TRIM({})", cast(column))
        }
        // 17 digits, which every double comes back from.
        Wire::Float4 | Wire::Float8 | Wire::FloatText => {
            format!("TRIM({})", cast(&format!("CAST({column} AS FORMAT '-9.9(16)E-999')")))
        }
        Wire::Date | Wire::DateText => cast(&format!("CAST({column} AS FORMAT 'YYYY-MM-DD')")),
        Wire::Time | Wire::Timestamp | Wire::TimestampText => format!("TRIM({})", cast(column)),
        // Bytes have no such text, and are refused before.
        Wire::WideText | Wire::NarrowText | Wire::Bytes => format!("'=' || {}", cast(column)),
    }
}
