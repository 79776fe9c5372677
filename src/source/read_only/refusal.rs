//! Why a text is refused, and where.

use super::{MAX_QUERY_BYTES, scanner};

/// Why a text is refused. Never quotes a literal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("it is longer than {MAX_QUERY_BYTES} bytes")]
    TooLong,
    #[error("it has no statement")]
    Empty,
    #[error("it holds a zero byte")]
    ZeroByte,
    #[error("a second statement begins")]
    SecondStatement,
    #[error("a semicolon stands between brackets")]
    SemicolonInBrackets,
    #[error("a literal or quoted name is not closed")]
    UnterminatedQuote,
    #[error("a comment is not closed")]
    UnterminatedComment,
    #[error("it has a comment that the server reads as SQL: /*! ... */, or a hint with SET_VAR")]
    ExecutableComment,
    #[error("a comment begins inside a comment, which servers read differently")]
    NestedComment,
    #[error("a backslash stands before a quote, which servers read differently")]
    BackslashBeforeQuote,
    #[error("a literal begins with q' or nq', and only the server knows where it ends")]
    QuoteDelimited,
    #[error("a bracket is not closed")]
    UnclosedBracket,
    #[error("a bracket is closed that was not opened")]
    UnopenedBracket,
    #[error("a number runs into a word or literal")]
    NumberRunsOn,
    #[error("an E'...' literal is followed by another literal")]
    ContinuedEscapeString,
    #[error("the character U+{code:04X} stands outside of literals and names", code = u32::from(*.0))]
    Character(char),
    #[error("it has a parameter")]
    Parameter,
    #[error("it is nested too deep, or one of its expressions is too long")]
    TooDeep,
    #[error("it has more than {} words, values and signs", scanner::MAX_TOKENS)]
    TooManyTokens,
    #[error("it is {0}, not a query")]
    OtherStatement(String),
    #[error("it holds {0} inside a query")]
    Writes(&'static str),
    #[error("it has SELECT ... INTO, which creates a table")]
    SelectInto,
    #[error("it locks rows with FOR UPDATE or FOR SHARE")]
    Locks,
    #[error("the word {0} stands outside of literals and quoted names")]
    Word(&'static str),
    #[error("it names {0}, which reads a file of the server")]
    ReadsFile(&'static str),
    #[error("it ends with FOR XML, FOR JSON or FOR BROWSE, whose text comes in pieces, one a row")]
    ForClause,
    #[error("this syntax is not known here ({0})")]
    Unknown(String),
}

impl Refusal {
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::TooLong | Self::TooDeep => {
                "Put the query into a view and read that with `table`, or use IN (...) or a joined list in place of long chains."
            }
            Self::TooManyTokens => {
                "Put a list of values into a table and join that, or split the list over several tasks."
            }
            Self::Empty => "Write a SELECT, VALUES, TABLE or WITH ... SELECT query.",
            Self::ZeroByte | Self::Character(_) => {
                "Remove the character, or put a name that needs it in quotes."
            }
            Self::SecondStatement | Self::SemicolonInBrackets => "Send one query for each task.",
            Self::UnterminatedQuote
            | Self::UnterminatedComment
            | Self::UnclosedBracket
            | Self::UnopenedBracket => "Check quotes, comments and brackets of the query.",
            Self::NestedComment => "Remove the inner comment.",
            Self::BackslashBeforeQuote | Self::QuoteDelimited => {
                "Write the literal another way, for example with CHR(92), or create a view in the database and read it with `table`."
            }
            Self::ExecutableComment => "Write the SQL without the comment around it, or remove it.",
            Self::NumberRunsOn => "Put a space behind the number.",
            Self::ContinuedEscapeString => "Write it as one literal, or join the two with ||.",
            Self::Parameter => "Write the value into the query: a task has no parameters.",
            Self::OtherStatement(_) | Self::Writes(_) => {
                "A task only reads: send a SELECT, VALUES, TABLE or WITH ... SELECT query."
            }
            Self::SelectInto => "Remove INTO: the rows go to the destination of the task.",
            Self::Locks => "Remove the locking clause: a task only reads.",
            Self::Word(_) => {
                "It begins a statement, locks for writing or reaches another server. Put a name in [brackets]; for anything else, create a view in the database and read it with `table`."
            }
            Self::ReadsFile(_) => {
                "A task reads tables and views. For a column of this name, create a view in the database that calls it something else."
            }
            Self::ForClause => "Put it into a subquery: SELECT (SELECT ... FOR JSON PATH) AS document.",
            Self::Unknown(_) => {
                "If the database accepts the query, create a view of it there and read the view with `table`."
            }
        }
    }
}

/// Where in the text, counted from 1; columns in characters.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) line: u64,
    pub(super) column: u64,
}

impl Place {
    pub(super) fn of(text: &str, position: usize) -> Self {
        let before = &text[..position];
        let line_begin = before.rfind('\n').map_or(0, |end| end + 1);
        Self {
            line: 1 + before.bytes().filter(|byte| *byte == b'\n').count() as u64,
            column: 1 + before[line_begin..].chars().count() as u64,
        }
    }

    /// The inverse of [`Place::of`].
    pub(super) fn position(self, text: &str) -> Option<usize> {
        let lines = usize::try_from(self.line.checked_sub(1)?).ok()?;
        let columns = usize::try_from(self.column.checked_sub(1)?).ok()?;
        let line = match lines {
            0 => 0,
            lines => text.match_indices('\n').nth(lines - 1)?.0 + 1,
        };
        text[line..].char_indices().nth(columns).map(|(index, _)| line + index)
    }
}
