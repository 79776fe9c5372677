//! Proves that a text is exactly one query that only reads.
//!
//! First a scanner finds the boundaries of tokens by the server's own rules and masks what is
//! inside literals and comments; then sqlparser parses the masked text, and the tree is searched
//! for anything that writes or locks. What cannot be proven is refused.
//!
//! **Guarantee:** the text of a [`ReadOnlyQuery`] is the user's own, has balanced brackets, no
//! semicolon outside of literals, and ends with a token, not with a comment. So
//! `COPY (<text>) TO STDOUT` and `SELECT * FROM (<text>) AS q` hold the whole text and nothing of
//! it comes after the closing parenthesis.
//!
//! Functions with side effects are not recognised here. The read-only transaction, or the read-only
//! open file, refuses those that change tables, but SQL Server has no such transaction, and none of them
//! hinders a function that reads or writes a file, opens a connection or holds a lock: extended procedures
//! and CLR in SQL Server, `pg_read_file` and `dblink` in PostgreSQL. What the user of the connection may not
//! do is what a query cannot do. Only MySQL's `LOAD_FILE` is refused by its name, because the right that it
//! needs, FILE, is one that users have for other reasons. A PostgreSQL session must
//! have `standard_conforming_strings = on`, its default, and one of SQL Server
//! `QUOTED_IDENTIFIER ON`, for the boundaries to be the server's.
//!
//! T-SQL needs no semicolon between two statements, so there every word that can begin one is
//! refused, wherever it stands outside of literals and names.

mod dialect;
mod refusal;
mod repeatable;
mod scanner;
mod table_name;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use sqlparser::ast::{Query, Select, SetExpr, Statement, Value, ValueWithSpan, Visit, Visitor};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

pub use crate::config::SqlDialect;
pub use table_name::{TableName, parse_table_name, quote_identifier};

pub(in crate::source) use repeatable::slices;

use refusal::{Place, Refusal};
use repeatable::Unrepeatable;

use crate::fault::{Fault, FaultKind};

/// Longest text that is looked at, in bytes.
pub const MAX_QUERY_BYTES: usize = 1 << 20;
/// Levels of parentheses, subqueries and the like that the parser follows.
const MAX_NESTING: usize = 128;

/// A text that was proven to be one query that only reads, safe between parentheses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOnlyQuery {
    text: String,
    /// Where its body begins, behind the common table expressions; 0 when there are none. In bytes.
    body: usize,
    needs_offset: bool,
    unrepeatable: Option<Unrepeatable>,
}

impl ReadOnlyQuery {
    /// The user's own text, without leading and trailing semicolons and trailing comments.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `WITH ...`, when the query begins so, and what follows it. Each has balanced brackets.
    #[must_use]
    pub fn parts(&self) -> (Option<&str>, &str) {
        match self.text.split_at(self.body) {
            ("", body) => (None, body),
            (with, body) => (Some(with), body),
        }
    }

    /// True when the body ends with an ORDER BY that has neither TOP nor OFFSET, which SQL Server
    /// refuses between parentheses.
    #[must_use]
    pub fn needs_offset(&self) -> bool {
        self.needs_offset
    }
}

/// Checks that `sql` is one query that only reads. Total: no text makes it panic.
pub fn check(sql: &str, dialect: SqlDialect) -> Result<ReadOnlyQuery, Fault> {
    prove(sql, dialect).map_err(|(refusal, place)| {
        let action = match place {
            Some(Place { line, column }) => {
                format!("check that the query only reads, at line {line}, column {column}")
            }
            None => "check that the query only reads".to_owned(),
        };
        let remedy = refusal.remedy();
        Fault::new(FaultKind::Request, action).because(refusal).remedy(remedy)
    })
}

fn prove(sql: &str, dialect: SqlDialect) -> Result<ReadOnlyQuery, (Refusal, Option<Place>)> {
    if sql.len() > MAX_QUERY_BYTES {
        return Err((Refusal::TooLong, None));
    }
    let outline = scanner::scan(sql, dialect.rules()).map_err(|(refusal, position)| {
        let place = (refusal != Refusal::Empty).then(|| Place::of(sql, position));
        (refusal, place)
    })?;
    if !dialect.begins_query(&outline.first_word) {
        let what = match outline.first_word.as_str() {
            "" => "no statement of SQL".to_owned(),
            word if word.len() > 30 => "a statement of another kind".to_owned(),
            word => format!("a statement of the kind {word}"),
        };
        return Err((Refusal::OtherStatement(what), None));
    }
    let query = parse(&outline.masked, dialect).map_err(|(refusal, place)| {
        let original = |Place { line, column }| Place { line, column: outline.original_column(line, column) };
        (refusal, place.map(original))
    })?;
    match query.visit(&mut WriteFinder) {
        ControlFlow::Break(refusal) => return Err((refusal, None)),
        ControlFlow::Continue(()) => {}
    }
    if query.for_clause.is_some() {
        return Err((Refusal::ForClause, None));
    }
    let text = sql[outline.start..outline.end].to_owned();
    let body = match &query.with {
        Some(with) => {
            let last = with.cte_tables.last().map(|table| table.closing_paren_token.0.span.start);
            let position = last.and_then(|place| {
                let column = outline.original_column(place.line, place.column);
                Place { line: place.line, column }.position(sql)
            });
            let position = position.filter(|position| sql[*position..].starts_with(')'));
            // The parser has seen the parenthesis, so this is a matter of form.
            position.ok_or((Refusal::Unknown("WITH has no end".into()), None))? + 1 - outline.start
        }
        None => 0,
    };
    let unrepeatable = repeatable::find(&query, dialect);
    Ok(ReadOnlyQuery { text, body, needs_offset: needs_offset(&query), unrepeatable })
}

fn needs_offset(query: &Query) -> bool {
    let has_top = matches!(&*query.body, SetExpr::Select(select) if select.top.is_some());
    query.order_by.is_some() && query.limit_clause.is_none() && query.fetch.is_none() && !has_top
}

/// Parses the whole of `masked` as one query.
fn parse(masked: &str, dialect: SqlDialect) -> Result<Box<Query>, (Refusal, Option<Place>)> {
    let mut parser = Parser::new(dialect.parser_dialect())
        .with_recursion_limit(MAX_NESTING)
        .try_with_sql(masked)
        .map_err(refusal_of)?;
    let query = parser.parse_query().map_err(refusal_of)?;
    let next = parser.peek_token();
    if next.token == Token::EOF {
        return Ok(query);
    }
    let place = Place { line: next.span.start.line, column: next.span.start.column };
    Err((Refusal::Unknown(format!("the query ends before {}", next.token)), Some(place)))
}

/// The parser's own words are safe to repeat, because it saw no literal.
fn refusal_of(error: ParserError) -> (Refusal, Option<Place>) {
    let (ParserError::TokenizerError(message) | ParserError::ParserError(message)) = error else {
        return (Refusal::TooDeep, None);
    };
    let Some((reason, position)) = message.rsplit_once(" at Line: ") else {
        return (Refusal::Unknown(shortened(&message)), None);
    };
    let place = position.split_once(", Column: ").and_then(|(line, column)| {
        Some(Place { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? })
    });
    (Refusal::Unknown(shortened(reason)), place)
}

fn shortened(reason: &str) -> String {
    const LONGEST: usize = 200;
    let mut text = reason[..reason.floor_char_boundary(LONGEST)].to_owned();
    if text.len() < reason.len() {
        text.push('…');
    }
    text
}

/// Breaks at the first part of a query that does more than read.
struct WriteFinder;

impl Visitor for WriteFinder {
    type Break = Refusal;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Refusal> {
        if query.locks.is_empty() { ControlFlow::Continue(()) } else { ControlFlow::Break(Refusal::Locks) }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Refusal> {
        if select.into.is_none() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(Refusal::SelectInto)
        }
    }

    /// Every statement inside a query is refused, whatever it does.
    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<Refusal> {
        ControlFlow::Break(Refusal::Writes(match statement {
            Statement::Insert(_) => "INSERT",
            Statement::Update(_) => "UPDATE",
            Statement::Delete(_) => "DELETE",
            Statement::Merge(_) => "MERGE",
            _ => "another statement",
        }))
    }

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<Refusal> {
        match value.value {
            Value::Placeholder(_) => ControlFlow::Break(Refusal::Parameter),
            _ => ControlFlow::Continue(()),
        }
    }
}
