//! What is selected in place of a column of Teradata, so that its text says everything that its value
//! does. Written after Teradata's manuals; no Teradata was at hand.

use super::types::Wire;

/// The expression for a column.
pub(super) fn text_of(column: &str, wire: Wire) -> String {
    match wire {
        Wire::Int2 | Wire::Int4 | Wire::Int8 | Wire::Bit | Wire::Decimal => {
            format!("TRIM(CAST({column} AS VARCHAR(60)))")
        }
        // 17 digits, which every double comes back from.
        Wire::Float4 | Wire::Float8 => {
            format!("TRIM(CAST(CAST({column} AS FORMAT '-9.9(16)E-999') AS VARCHAR(40)))")
        }
        Wire::Date => format!("CAST(CAST({column} AS FORMAT 'YYYY-MM-DD') AS VARCHAR(10))"),
        Wire::Time | Wire::Timestamp => format!("TRIM(CAST({column} AS VARCHAR(40)))"),
        Wire::WideText | Wire::NarrowText => {
            format!("'=' || CAST({column} AS VARCHAR(32000) CHARACTER SET UNICODE)")
        }
        Wire::Bytes => format!("FROM_BYTES({column}, 'base16')"),
    }
}
