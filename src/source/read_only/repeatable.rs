//! Whether the parts of a query that several statements read are together its rows, each once.
//!
//! Slices run the query once each and keep a range of it. That is the result only when every run finds the
//! same rows. The tree of a query shows what makes runs differ although the data are the same; functions and
//! views of the database's own can do it too, and are not seen here.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use sqlparser::ast::{
    Distinct, Expr, Function, NamedWindowExpr, ObjectName, ObjectNamePart, Query, Select, TableFactor, Visit,
    Visitor, WindowFrameUnits, WindowSpec, WindowType,
};

use super::{SqlDialect, prove};
use crate::task::Read;

/// Why two runs of a query can find different rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unrepeatable {
    /// LIMIT, TOP, OFFSET, FETCH, ROWNUM: which rows are left is decided anew, unless their order is total,
    /// which only the data say.
    Limit,
    /// A value that is made up, or that belongs to the session.
    MadeUp,
    /// A row's place among others, or the first one of a group: rows that are equal by the order that is
    /// asked for change places.
    Place,
    /// A part of a table that is drawn.
    Sample,
    /// A function whose name stands in quotes, which are not looked into.
    QuotedFunction,
}

impl Unrepeatable {
    fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "it has LIMIT, TOP, OFFSET, FETCH or ROWNUM",
            Self::MadeUp => "it calls a function such as RAND or UUID",
            Self::Place => "it counts or chooses rows by their place, as ROW_NUMBER and DISTINCT ON do",
            Self::Sample => "it draws a sample of a table",
            Self::QuotedFunction => "the name of a function stands in quotes",
        }
    }
}

/// Functions whose value is another one each time, or in each session.
const MADE_UP: &[&str] = &[
    "CONNECTION_ID",
    "CRYPT_GEN_RANDOM",
    "GENERATE_UNIQUE",
    "GEN_RANDOM_BYTES",
    "GEN_RANDOM_UUID",
    "NEWID",
    "NEWSEQUENTIALID",
    "PG_BACKEND_PID",
    "RAND",
    "RANDOM",
    "RANDOMBLOB",
    "RANDOM_BYTES",
    "RANDOM_NORMAL",
    "RAND_BYTES",
    "SYS_GUID",
    "UUID",
    "UUIDV4",
    "UUIDV7",
    "UUID_GENERATE_V1",
    "UUID_GENERATE_V1MC",
    "UUID_GENERATE_V4",
    "UUID_SHORT",
    "UUID_V4",
    "UUID_V7",
];

/// Functions that look at a row's place among others.
const PLACE: &[&str] =
    &["ANY_VALUE", "FIRST_VALUE", "LAG", "LAST_VALUE", "LEAD", "NTH_VALUE", "NTILE", "ROW_NUMBER"];

/// How many slices a query or table may be read in: `wanted`, or one with a line in the log when several
/// runs of the query could find different rows. Whatever is wrong with the text, the source says.
pub(in crate::source) fn slices(read: &Read, dialect: SqlDialect, wanted: NonZeroUsize) -> NonZeroUsize {
    let Read::Query(text) = read else { return wanted };
    if wanted == NonZeroUsize::MIN {
        return wanted;
    }
    match prove(text, dialect).ok().and_then(|query| query.unrepeatable) {
        Some(reason) => {
            tracing::info!(
                reason = reason.as_str(),
                "one slice: each slice runs the query, and two runs of it can find different rows"
            );
            NonZeroUsize::MIN
        }
        None => wanted,
    }
}

/// What makes two runs of `query` differ, if anything that can be seen.
pub(super) fn find(query: &Query, dialect: SqlDialect) -> Option<Unrepeatable> {
    let has_rownum = matches!(dialect, SqlDialect::Oracle | SqlDialect::Db2 | SqlDialect::Ansi);
    query.visit(&mut Finder { has_rownum }).break_value()
}

struct Finder {
    /// `ROWNUM` is the number of a row of the result, not a column of somebody.
    has_rownum: bool,
}

impl Visitor for Finder {
    type Break = Unrepeatable;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Unrepeatable> {
        break_when(query.limit_clause.is_some() || query.fetch.is_some(), Unrepeatable::Limit)
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Unrepeatable> {
        break_when(select.top.is_some(), Unrepeatable::Limit)?;
        let by_rows = select.named_window.iter().any(|window| match &window.1 {
            NamedWindowExpr::WindowSpec(window) => counts_rows(window),
            NamedWindowExpr::NamedWindow(_) => false,
        });
        break_when(by_rows || matches!(select.distinct, Some(Distinct::On(_))), Unrepeatable::Place)
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<Unrepeatable> {
        match table {
            TableFactor::Table { sample: Some(_), .. } | TableFactor::Derived { sample: Some(_), .. } => {
                ControlFlow::Break(Unrepeatable::Sample)
            }
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => {
                called(name)
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<Unrepeatable> {
        match expression {
            Expr::Function(Function { name, over, .. }) => {
                called(name)?;
                let by_rows = matches!(over, Some(WindowType::WindowSpec(window)) if counts_rows(window));
                break_when(by_rows, Unrepeatable::Place)
            }
            Expr::Identifier(name) if name.quote_style.is_none() => {
                break_when(self.has_rownum && is_one_of(&name.value, &["ROWNUM"]), Unrepeatable::Limit)
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

fn break_when(is_so: bool, reason: Unrepeatable) -> ControlFlow<Unrepeatable> {
    if is_so { ControlFlow::Break(reason) } else { ControlFlow::Continue(()) }
}

fn called(name: &ObjectName) -> ControlFlow<Unrepeatable> {
    let Some(ObjectNamePart::Identifier(last)) = name.0.last() else { return ControlFlow::Continue(()) };
    break_when(last.quote_style.is_some(), Unrepeatable::QuotedFunction)?;
    // Packages of Oracle: DBMS_RANDOM.VALUE.
    let is_random = name.0.iter().any(|part| match part {
        ObjectNamePart::Identifier(part) => is_one_of(&part.value, &["DBMS_RANDOM"]),
        ObjectNamePart::Function(_) => false,
    });
    break_when(is_random || is_one_of(&last.value, MADE_UP), Unrepeatable::MadeUp)?;
    break_when(is_one_of(&last.value, PLACE), Unrepeatable::Place)
}

/// A frame of so many rows, in which rows that are equal by the order have places.
fn counts_rows(window: &WindowSpec) -> bool {
    window.window_frame.as_ref().is_some_and(|frame| frame.units == WindowFrameUnits::Rows)
}

fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|known| name.eq_ignore_ascii_case(known))
}
