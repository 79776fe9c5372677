//! What is selected in place of a column, so that its text says everything that its value does.

use super::types::Wire;

/// The expression for a column of the relation `s`, whose name is quoted.
///
/// A text is marked, because the client prints NULL and the text `NULL` alike. A `float` is printed
/// with six digits unless it is made a `double`, and bytes as they are unless they are made text.
pub(super) fn text_of(name: &str, wire: Wire) -> String {
    let column = format!("s.{name}");
    match wire {
        Wire::Int1
        | Wire::UInt1
        | Wire::Int2
        | Wire::UInt2
        | Wire::Int4
        | Wire::UInt4
        | Wire::Int8
        | Wire::UInt8
        | Wire::Date
        | Wire::DateTime
        | Wire::Time
        | Wire::Decimal
        | Wire::Null => column,
        Wire::Bool1 => format!("{column} <> 0"),
        Wire::Float4 | Wire::Float8 => format!("{column} + 0e0"),
        Wire::TimeMicroseconds => format!(
            "IF({column} < 0, -1, 1) * (ABS(TIME_TO_SEC({column})) * 1000000 + MICROSECOND({column}))"
        ),
        Wire::Bit | Wire::Bits => format!("CAST({column} AS UNSIGNED)"),
        Wire::TimeText(_) | Wire::Text => format!("CONCAT('=', CONVERT({column} USING utf8mb4))"),
        Wire::Bytes => format!("HEX({column})"),
        // Without the reference system in the first four bytes.
        Wire::Geometry => format!("SUBSTRING(HEX({column}), 9)"),
    }
}
