//! Which Arrow type a column of SQLite becomes.
//!
//! SQLite gives every value a class of its own, whatever the column was declared as. The rule, in
//! full in `docs/TYPES.md`: a declared type that says what its values are decides; values of
//! another class are then an error. Where nothing is declared, or the declared type says nothing,
//! the classes that occur in the result decide.

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType};

/// How the values of one column are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColumnKind {
    /// Integers 0 and 1.
    Boolean,
    /// Integers.
    Integer,
    /// Reals, and integers that a double holds exactly.
    Real,
    /// Numbers and texts that are exactly a decimal of this precision and scale.
    Decimal { precision: u8, scale: i8 },
    /// Texts.
    Text,
    /// Texts as they are, and numbers in decimal: times and long decimals.
    TextOrNumber,
    /// Blobs.
    Binary,
    /// Every class, as text; blobs as `X'..'`.
    AnyAsText,
}

impl ColumnKind {
    /// The type of the decoded column.
    pub(super) fn data_type(self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Integer => DataType::Int64,
            Self::Real => DataType::Float64,
            Self::Decimal { precision, scale } => DataType::Decimal128(precision, scale),
            Self::Text | Self::TextOrNumber | Self::AnyAsText => DataType::Utf8,
            Self::Binary => DataType::Binary,
        }
    }

    /// What a value of this column has to be, in words.
    pub(super) fn expectation(self) -> String {
        match self {
            Self::Boolean => "0 or 1".to_owned(),
            Self::Integer => "an integer".to_owned(),
            Self::Real => "a real".to_owned(),
            Self::Decimal { precision, scale } => format!("a decimal({precision},{scale})"),
            Self::Text => "text in UTF-8".to_owned(),
            Self::TextOrNumber => "text in UTF-8 or a number".to_owned(),
            Self::Binary => "a blob".to_owned(),
            Self::AnyAsText => "text in UTF-8, a number or a blob".to_owned(),
        }
    }

    /// The kind that a declared type decides on, or `None` when it says nothing about the values:
    /// no type, a numeric without precision, or a word that SQLite does not know.
    pub(super) fn declared(declared: &str) -> Option<Self> {
        let declared = declared.trim().to_ascii_uppercase();
        let (name, arguments) = match declared.split_once('(') {
            Some((name, rest)) => (name.trim_end(), rest.split_once(')').map(|(arguments, _)| arguments)),
            None => (declared.as_str(), None),
        };
        if matches!(name, "BOOLEAN" | "BOOL") {
            return Some(Self::Boolean);
        }
        if matches!(name, "DECIMAL" | "DEC" | "NUMERIC" | "NUMBER") {
            return arguments.and_then(decimal);
        }
        if ["DATE", "TIME"].iter().any(|prefix| name.starts_with(prefix)) {
            return Some(Self::TextOrNumber);
        }
        // By SQLite's rule INT is found in these, too, but nobody means an integer.
        if name.contains("POINT") || name.contains("INTERVAL") {
            return None;
        }
        // SQLite's own order: https://www.sqlite.org/datatype3.html#determination_of_column_affinity
        let contains = |words: &[&str]| words.iter().any(|word| declared.contains(word));
        if contains(&["INT"]) {
            Some(Self::Integer)
        } else if contains(&["CHAR", "CLOB", "TEXT"]) {
            Some(Self::Text)
        } else if contains(&["BLOB"]) {
            Some(Self::Binary)
        } else if contains(&["REAL", "FLOA", "DOUB"]) {
            Some(Self::Real)
        } else {
            None
        }
    }
}

/// `p` or `p,s`; decimals that Arrow's 128 bits cannot hold are kept as text.
fn decimal(arguments: &str) -> Option<ColumnKind> {
    let (precision, scale) = arguments.split_once(',').unwrap_or((arguments, "0"));
    let precision: u16 = precision.trim().parse().ok()?;
    let scale: u16 = scale.trim().parse().ok()?;
    if precision == 0 || scale > precision {
        return None;
    }
    let (Ok(small_precision), Ok(scale)) = (u8::try_from(precision), i8::try_from(scale)) else {
        return Some(ColumnKind::TextOrNumber);
    };
    if small_precision > DECIMAL128_MAX_PRECISION {
        return Some(ColumnKind::TextOrNumber);
    }
    Some(ColumnKind::Decimal { precision: small_precision, scale })
}

/// The classes that occur in a column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SeenClasses {
    pub(super) integer: bool,
    /// An integer that a double does not hold exactly for sure: beyond 2^53.
    pub(super) large_integer: bool,
    pub(super) real: bool,
    pub(super) text: bool,
    pub(super) blob: bool,
}

impl SeenClasses {
    /// The kind that holds all of them without loss.
    pub(super) fn kind(self) -> ColumnKind {
        match (self.integer, self.real, self.text, self.blob) {
            (true, false, false, false) => ColumnKind::Integer,
            (false, true, false, false) => ColumnKind::Real,
            (true, true, false, false) if !self.large_integer => ColumnKind::Real,
            (false, false, true | false, false) => ColumnKind::Text,
            (false, false, false, true) => ColumnKind::Binary,
            _ => ColumnKind::AnyAsText,
        }
    }

    /// The classes by name, for the `source_type` of a column without declared type.
    pub(super) fn names(self) -> String {
        let names =
            [(self.integer, "integer"), (self.real, "real"), (self.text, "text"), (self.blob, "blob")];
        let seen: Vec<&str> = names.iter().filter(|(seen, _)| *seen).map(|(_, name)| *name).collect();
        if seen.is_empty() { "null".to_owned() } else { seen.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_types_decide_by_the_rules_of_sqlite() {
        use ColumnKind::{Binary, Boolean, Decimal, Integer, Real, Text, TextOrNumber};
        for (declared, kind) in [
            ("INTEGER", Some(Integer)),
            ("int", Some(Integer)),
            ("UNSIGNED BIG INT", Some(Integer)),
            ("TINYINT(1)", Some(Integer)),
            ("CHARINT", Some(Integer)),
            ("BOOLEAN", Some(Boolean)),
            ("bool", Some(Boolean)),
            ("REAL", Some(Real)),
            ("DOUBLE PRECISION", Some(Real)),
            ("float(8)", Some(Real)),
            ("TEXT", Some(Text)),
            ("VARCHAR(255)", Some(Text)),
            ("native character(70)", Some(Text)),
            ("CLOB", Some(Text)),
            ("BLOB", Some(Binary)),
            ("DECIMAL(10,2)", Some(Decimal { precision: 10, scale: 2 })),
            (" numeric ( 38 , 38 ) ", Some(Decimal { precision: 38, scale: 38 })),
            ("NUMERIC(5)", Some(Decimal { precision: 5, scale: 0 })),
            ("DECIMAL(39,2)", Some(TextOrNumber)),
            ("DECIMAL(1000,2)", Some(TextOrNumber)),
            ("DATE", Some(TextOrNumber)),
            ("DATETIME", Some(TextOrNumber)),
            ("TIMESTAMP WITH TIME ZONE", Some(TextOrNumber)),
            ("TIME", Some(TextOrNumber)),
            ("", None),
            ("NUMERIC", None),
            ("DECIMAL", None),
            ("DECIMAL(2,3)", None),
            ("DECIMAL(0)", None),
            ("DECIMAL(-1,2)", None),
            ("DECIMAL(10,2", None),
            ("JSON", None),
            ("uuid", None),
            ("STRING", None),
            ("ANY", None),
            ("FLOATING POINT", None),
            ("INTERVAL", None),
        ] {
            assert_eq!(ColumnKind::declared(declared), kind, "{declared}");
        }
    }

    #[test]
    fn the_classes_seen_decide_without_loss() {
        let seen = |letters: &str| SeenClasses {
            integer: letters.contains('i'),
            large_integer: letters.contains('l'),
            real: letters.contains('r'),
            text: letters.contains('t'),
            blob: letters.contains('b'),
        };
        for (letters, kind, names) in [
            ("", ColumnKind::Text, "null"),
            ("i", ColumnKind::Integer, "integer"),
            ("il", ColumnKind::Integer, "integer"),
            ("r", ColumnKind::Real, "real"),
            ("ir", ColumnKind::Real, "integer, real"),
            ("ilr", ColumnKind::AnyAsText, "integer, real"),
            ("t", ColumnKind::Text, "text"),
            ("b", ColumnKind::Binary, "blob"),
            ("it", ColumnKind::AnyAsText, "integer, text"),
            ("tb", ColumnKind::AnyAsText, "text, blob"),
            ("irtb", ColumnKind::AnyAsText, "integer, real, text, blob"),
        ] {
            assert_eq!(seen(letters).kind(), kind, "{letters}");
            assert_eq!(seen(letters).names(), names, "{letters}");
        }
    }
}
