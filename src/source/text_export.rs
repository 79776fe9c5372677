//! What a program that only writes text has to be asked for.

use crate::schema::TableSchema;

/// A statement whose rows are texts, and what they are texts of.
#[derive(Clone, Debug, PartialEq)]
pub struct TextExport {
    /// The statement. A value that text would lose something of is cast in it.
    pub sql: String,
    /// Statements to run before it in the same session, so that texts, times and errors have one form
    /// everywhere.
    pub session: Vec<String>,
    /// The columns, with the types that the same query has when the agent reads it itself.
    pub schema: TableSchema,
    /// What the texts say beside their values.
    pub forms: TextForms,
}

/// What a text says about its value, beside its characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextForms {
    /// Texts begin with a mark of one byte, so that an empty one, or one that reads as NULL, is told
    /// from NULL.
    pub texts_are_marked: bool,
    /// A date or time that no calendar has is NULL, instead of an error.
    pub impossible_dates_are_null: bool,
    /// Infinities, and NaN of numbers that have none, are NULL, instead of an error.
    pub special_values_are_null: bool,
}

impl TextForms {
    /// The mark before a text.
    pub const MARK: u8 = b'=';
}
