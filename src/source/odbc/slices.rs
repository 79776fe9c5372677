//! How one result is read in ranges of a column.
//!
//! Boundaries are computed here, from the least and the greatest value: a number of units between
//! them, whatever the column's type. The ranges meet and are open at both ends, so that every row is
//! in exactly one of them, also one that was not there when the values were asked for.

use std::num::NonZeroUsize;

use jiff::civil::{Date, DateTime};
use jiff::{Span, SpanRelativeTo};
use odbc_api::DataType;

use super::types::Described;
use crate::config::SqlDialect;
use crate::fault::{Fault, FaultKind};
use crate::source::ranges::{boundaries, ranges};

/// Types whose ranges can be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruler {
    /// Units of the last digit behind the point.
    Number,
    Days,
    Microseconds,
}

const DAY_MICROSECONDS: i128 = 86_400_000_000;

impl Ruler {
    /// How ranges of this column are computed.
    pub(super) fn of(column: &Described) -> Result<Self, Fault> {
        match column.data_type {
            DataType::TinyInt
            | DataType::SmallInt
            | DataType::Integer
            | DataType::BigInt
            | DataType::Numeric { .. }
            | DataType::Decimal { .. } => Ok(Self::Number),
            DataType::Date => Ok(Self::Days),
            DataType::Timestamp { .. } => Ok(Self::Microseconds),
            _ => {
                let action =
                    format!("divide the result by `{}`: ranges of its type cannot be computed", column.name);
                Err(Fault::new(FaultKind::Request, action)
                    .remedy("Choose a `slice_column` of an integer, decimal, date or timestamp type."))
            }
        }
    }

    /// A value as the driver prints it, in units, and how many digits it has behind the point.
    fn read(self, text: &str) -> Option<(i128, usize)> {
        let text = text.trim();
        match self {
            Self::Number => {
                let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
                Some((format!("{whole}{fraction}").parse().ok()?, fraction.len()))
            }
            Self::Days => Some((i128::from(days_of(text.get(..10)?.parse().ok()?)?), 0)),
            Self::Microseconds => {
                let moment: DateTime = text.replacen(' ', "T", 1).parse().ok()?;
                let in_day = moment.time().duration_since(jiff::civil::Time::midnight()).as_micros();
                Some((i128::from(days_of(moment.date())?) * DAY_MICROSECONDS + in_day, 0))
            }
        }
    }

    /// `units` as a literal.
    fn literal(self, units: i128, digits: usize, dialect: SqlDialect) -> Option<String> {
        let (word, text) = match self {
            Self::Number => {
                let sign = if units < 0 { "-" } else { "" };
                let all = format!("{:0width$}", units.unsigned_abs(), width = digits + 1);
                let (whole, fraction) = all.split_at(all.len() - digits);
                let point = if digits > 0 { "." } else { "" };
                return Some(format!("{sign}{whole}{point}{fraction}"));
            }
            Self::Days => ("DATE", date_of(units)?.to_string()),
            Self::Microseconds => {
                let in_day = units.rem_euclid(DAY_MICROSECONDS);
                let (seconds, fraction) = (in_day / 1_000_000, in_day % 1_000_000);
                let date = date_of(units.div_euclid(DAY_MICROSECONDS))?;
                let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
                ("TIMESTAMP", format!("{date} {clock}.{fraction:06}"))
            }
        };
        Some(match dialect {
            // Three digits are what every type of a date and time of SQL Server takes.
            SqlDialect::SqlServer => match self {
                Self::Microseconds => format!("CAST('{}' AS datetime2)", text.replacen(' ', "T", 1)),
                Self::Number | Self::Days => format!("CAST('{text}' AS date)"),
            },
            SqlDialect::Sqlite => format!("'{text}'"),
            _ => format!("{word} '{text}'"),
        })
    }

    /// Conditions of at most `wanted` slices of a column with these least and greatest values;
    /// `None` for all rows.
    pub(super) fn conditions(
        self,
        column: &str,
        least: &str,
        greatest: &str,
        wanted: NonZeroUsize,
        dialect: SqlDialect,
    ) -> Vec<Option<String>> {
        let Some(((least, digits), (greatest, others))) = self.read(least).zip(self.read(greatest)) else {
            return vec![None];
        };
        // A driver may print fewer digits of one of them: "1.5" and "20".
        let most = digits.max(others);
        let scaled = |units: i128, has: usize| {
            let power = 10_i128.checked_pow(u32::try_from(most - has).ok()?)?;
            units.checked_mul(power)
        };
        let Some((least, greatest)) = scaled(least, digits).zip(scaled(greatest, others)) else {
            return vec![None];
        };
        let literals: Option<Vec<String>> = boundaries(least, greatest, wanted)
            .into_iter()
            .map(|units| self.literal(units, most, dialect))
            .collect();
        ranges(column, &literals.unwrap_or_default())
    }
}

fn days_of(date: Date) -> Option<i64> {
    let span = date.since(jiff::civil::date(1970, 1, 1)).ok()?;
    let days = span.total((jiff::Unit::Day, SpanRelativeTo::days_are_24_hours())).ok()?;
    // A whole number of at most seven digits.
    Some(days as i64)
}

fn date_of(days: i128) -> Option<Date> {
    let days = i64::try_from(days).ok()?;
    jiff::civil::date(1970, 1, 1).checked_add(Span::new().try_days(days).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wanted(count: usize) -> NonZeroUsize {
        NonZeroUsize::new(count).expect("not zero")
    }

    #[test]
    fn conditions_meet_and_have_the_nulls_in_the_first_one() {
        assert_eq!(
            Ruler::Number.conditions("s.\"A\"", "1", "30", wanted(3), SqlDialect::Oracle),
            [
                Some("s.\"A\" < 11 OR s.\"A\" IS NULL".to_owned()),
                Some("s.\"A\" >= 11 AND s.\"A\" < 21".to_owned()),
                Some("s.\"A\" >= 21".to_owned()),
            ]
        );
        assert_eq!(Ruler::Number.conditions("a", "5", "5", wanted(3), SqlDialect::Db2), [None]);
        assert_eq!(Ruler::Number.conditions("a", "x", "5", wanted(3), SqlDialect::Db2), [None]);
    }

    #[test]
    fn every_type_is_written_in_the_words_of_the_server() {
        let second = |ruler: Ruler, least: &str, greatest: &str, dialect| {
            ruler.conditions("a", least, greatest, wanted(2), dialect)[1].clone().expect("a condition")
        };
        for (ruler, least, greatest, dialect, expected) in [
            (Ruler::Number, "-1.5", "20", SqlDialect::Oracle, "a >= 9.3"),
            (Ruler::Number, "-0.05", "0.05", SqlDialect::Oracle, "a >= 0.00"),
            (Ruler::Days, "2024-02-28", "2024-03-01", SqlDialect::Teradata, "a >= DATE '2024-02-29'"),
            (
                Ruler::Days,
                "2024-02-28",
                "2024-03-01",
                SqlDialect::SqlServer,
                "a >= CAST('2024-02-29' AS date)",
            ),
            (Ruler::Days, "2024-02-28", "2024-03-01", SqlDialect::Sqlite, "a >= '2024-02-29'"),
            (
                Ruler::Microseconds,
                "1969-12-31 23:59:59",
                "1970-01-01 00:00:01.5",
                SqlDialect::Db2,
                "a >= TIMESTAMP '1970-01-01 00:00:00.250000'",
            ),
            (
                Ruler::Microseconds,
                "1969-12-31 23:59:59",
                "1970-01-01 00:00:01.5",
                SqlDialect::SqlServer,
                "a >= CAST('1970-01-01T00:00:00.250000' AS datetime2)",
            ),
        ] {
            assert_eq!(second(ruler, least, greatest, dialect), expected);
        }
    }

    proptest! {
        #[test]
        fn boundaries_lie_inside_and_rise(a in any::<i64>(), b in any::<i64>(), count in 1_usize..40) {
            let (least, greatest) = (i128::from(a.min(b)), i128::from(a.max(b)));
            let found = boundaries(least, greatest, wanted(count));
            prop_assert!(found.len() < count.max(1));
            prop_assert!(found.iter().all(|value| *value > least && *value <= greatest));
            prop_assert!(found.is_sorted_by(|before, after| before < after));
        }

        #[test]
        fn days_are_read_back(days in -700_000_i64..2_900_000) {
            let date = date_of(days.into()).expect("a date of the calendar");
            prop_assert_eq!(days_of(date), Some(days));
        }

        #[test]
        fn no_text_makes_the_rulers_panic(least in "\\PC{0,20}", greatest in "[-0-9.: ]{0,30}") {
            for ruler in [Ruler::Number, Ruler::Days, Ruler::Microseconds] {
                let _any = ruler.conditions("a", &least, &greatest, wanted(4), SqlDialect::Ansi);
            }
        }
    }
}
