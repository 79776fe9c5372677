//! How rows are written, and what is wrong with bytes that are none.

use std::fmt;

/// How fields and rows are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Between two fields; not empty.
    pub field: Vec<u8>,
    /// After the last field of every row; not empty, and not the same.
    pub row: Vec<u8>,
    /// How a field says NULL, and how it holds a terminator.
    pub quoting: Quoting,
    /// The first row has the names of the columns.
    pub header: Option<Vec<String>>,
    /// The last row has one field: this text, a blank, and the number of rows before it.
    pub announcement: Option<&'static str>,
}

/// How a field says NULL, and how it holds a terminator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Quoting {
    /// It holds none. An empty field is NULL, and one byte NUL is an empty text: character files of
    /// bcp.
    Nul,
    /// It holds none, and this text is NULL.
    None(Vec<u8>),
    /// A backslash before it, and `\N` is NULL: text format of PostgreSQL's COPY.
    Copy,
    /// A backslash before it, and `NULL` is NULL: batch mode of MySQL's client.
    Batch,
    /// Between double quotes, doubled inside of them, and an empty field without quotes is NULL: CSV.
    Double,
}

impl Layout {
    /// Without header and announcement.
    #[must_use]
    pub fn new(field: impl Into<Vec<u8>>, row: impl Into<Vec<u8>>, quoting: Quoting) -> Self {
        let (field, row) = (field.into(), row.into());
        assert!(!field.is_empty() && !row.is_empty() && field != row, "terminators are told apart");
        Self { field, row, quoting, header: None, announcement: None }
    }
}

/// Why the bytes are no rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    TooFew,
    TooMany,
    TooLong(usize),
    HalfRow,
    Header,
    Escape,
    Quote,
    Announcement,
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFew => formatter.write_str("the row has too few fields"),
            Self::TooMany => formatter.write_str("the row has more fields than there are columns"),
            Self::TooLong(most) => write!(formatter, "the row is longer than {most} bytes"),
            Self::HalfRow => formatter.write_str("the output ends in the middle of a row"),
            Self::Header => formatter.write_str("the first row does not have the names of the columns"),
            Self::Escape => formatter.write_str("a backslash stands where it means nothing"),
            Self::Quote => formatter.write_str("a double quote stands where it means nothing"),
            Self::Announcement => formatter.write_str("rows follow the row that should have been the last"),
        }
    }
}
