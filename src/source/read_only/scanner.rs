//! Finds where words, literals and comments of a text begin and end, by the server's own rules.
//!
//! The parser that judges a text later has rules of its own for escapes, dollar quotes and nested
//! comments. Where they differ from the server's, a statement could hide in what the parser takes
//! for a literal. So this scanner alone decides the boundaries, and hands on a *masked* text:
//! comments are blank, and the content of every literal and quoted name is zeros. Nothing is left
//! that two lexers could read differently, positions stay the same, and no message of the parser
//! can quote a value.

use super::{Refusal, SqlDialect};

/// Tokens without a comma between them, over all open brackets. Each can add a level to the syntax
/// tree (`1+1+1...`), and a tree is dropped by recursion: this many levels fit into the 2 MiB
/// stack of a worker thread, also without optimisation.
const MAX_CHAIN: usize = 8_000;
/// Tokens of a text. The syntax tree takes about 500 bytes for each, and a list of ids stays a list:
/// this many are a list of 125,000 values, and 125 MB for a moment.
pub(super) const MAX_TOKENS: usize = 250_000;
/// Set operators in one text; their operands hold commas, so [`MAX_CHAIN`] does not bound them.
const MAX_SET_OPERATORS: usize = 1_000;

/// What the masked text has for the word TABLE where a query may begin. The parser knows the
/// command TABLE, but skips the two tokens behind its name, whatever they are.
const TABLE_QUERY: &str = "SELECT * FROM";

/// How a server reads text, as far as servers differ.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    nested_comments: bool,
    carriage_return_ends_line: bool,
    escape_strings: bool,
    dollar_quotes: bool,
    backtick_names: bool,
    bracket_names: BracketNames,
    /// Backslashes escape in all literals.
    backslash_escapes: bool,
    /// `#` begins a comment, `--` only before white space, and `/*!` holds SQL.
    mysql_comments: bool,
    /// Characters that begin a parameter.
    parameter_marks: &'static str,
    /// Other signs that are refused outside of literals and names.
    refused_signs: &'static str,
    /// Words that are refused outside of literals and quoted names, in capitals.
    refused_words: &'static [&'static str],
    /// `TABLE name` is a query.
    table_queries: bool,
    /// Line comments end at a line feed, and nothing else in them looks like a line's end: nobody
    /// has written down where else the server would end them.
    plain_line_ends: bool,
    /// What servers read differently is refused, since this one has not been watched: comments inside
    /// of comments, comments that some server runs, a backslash before a quote, and literals that begin
    /// with `q'`.
    cautious: bool,
}

impl Rules {
    /// For servers behind ODBC drivers. What is not refused, all of them read alike.
    const CAUTIOUS: Self = Self {
        nested_comments: false,
        carriage_return_ends_line: false,
        escape_strings: false,
        dollar_quotes: false,
        backtick_names: false,
        bracket_names: BracketNames::None,
        backslash_escapes: false,
        mysql_comments: false,
        parameter_marks: "?:",
        refused_signs: "@#$[]{}`\\",
        refused_words: &[],
        table_queries: false,
        plain_line_ends: true,
        cautious: true,
    };
}

/// What `[` does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BracketNames {
    /// It opens a subscript.
    None,
    /// It opens a name, which ends at the first `]`.
    Plain,
    /// The same, and `]]` stands for one `]`.
    Doubled,
}

/// Words that begin another statement of T-SQL, where no semicolon is needed between two; that lock
/// rows for writing; or that send text to another server, which may do anything with it. Those
/// that begin statements are reserved: no name can be one of them outside of brackets.
const REFUSED_IN_TRANSACT_SQL: &[&str] = &[
    "ALTER",
    "BACKUP",
    "BEGIN",
    "BREAK",
    "BULK",
    "CHECKPOINT",
    "CLOSE",
    "COMMIT",
    "CONTINUE",
    "CREATE",
    "DBCC",
    "DEALLOCATE",
    "DECLARE",
    "DELETE",
    "DENY",
    "DISK",
    "DROP",
    "DUMP",
    "EXEC",
    "EXECUTE",
    "GOTO",
    "GRANT",
    "IF",
    "INSERT",
    "KILL",
    "LOAD",
    "MERGE",
    "OPEN",
    "OPENDATASOURCE",
    "OPENQUERY",
    "OPENROWSET",
    "PRINT",
    "RAISERROR",
    "READTEXT",
    "RECONFIGURE",
    "RESTORE",
    "RETURN",
    "REVERT",
    "REVOKE",
    "ROLLBACK",
    "SAVE",
    "SET",
    "SETUSER",
    "SHUTDOWN",
    "TABLOCKX",
    "TRUNCATE",
    "UPDATE",
    "UPDATETEXT",
    "UPDLOCK",
    "USE",
    "WAITFOR",
    "WHILE",
    "WRITETEXT",
    "XLOCK",
];

impl SqlDialect {
    pub(super) fn rules(self) -> Rules {
        match self {
            Self::PostgreSql => Rules {
                nested_comments: true,
                carriage_return_ends_line: true,
                escape_strings: true,
                dollar_quotes: true,
                backtick_names: false,
                bracket_names: BracketNames::None,
                backslash_escapes: false,
                mysql_comments: false,
                parameter_marks: "",
                refused_signs: "",
                refused_words: &[],
                table_queries: true,
                plain_line_ends: false,
                cautious: false,
            },
            Self::MySql => Rules {
                nested_comments: false,
                carriage_return_ends_line: false,
                escape_strings: false,
                dollar_quotes: false,
                backtick_names: true,
                bracket_names: BracketNames::None,
                backslash_escapes: true,
                mysql_comments: true,
                // Variables of the session as well: an assignment would be a side effect.
                parameter_marks: "?:@",
                refused_signs: "",
                refused_words: &[],
                table_queries: true,
                plain_line_ends: false,
                cautious: false,
            },
            Self::Sqlite => Rules {
                nested_comments: false,
                carriage_return_ends_line: false,
                escape_strings: false,
                dollar_quotes: false,
                backtick_names: true,
                bracket_names: BracketNames::Plain,
                backslash_escapes: false,
                mysql_comments: false,
                parameter_marks: "?:@#$",
                refused_signs: "",
                refused_words: &[],
                table_queries: true,
                plain_line_ends: false,
                cautious: false,
            },
            Self::SqlServer => Rules {
                nested_comments: true,
                carriage_return_ends_line: false,
                escape_strings: false,
                dollar_quotes: false,
                backtick_names: false,
                bracket_names: BracketNames::Doubled,
                backslash_escapes: false,
                mysql_comments: false,
                parameter_marks: "?@",
                // Temporary objects, money literals and pseudo columns, labels, escapes of ODBC.
                refused_signs: "#$:{}`\\",
                refused_words: REFUSED_IN_TRANSACT_SQL,
                table_queries: false,
                plain_line_ends: true,
                cautious: false,
            },
            Self::Oracle | Self::Db2 | Self::Teradata => Rules::CAUTIOUS,
            // Casts with `::`, and paths into semi-structured values.
            Self::Redshift => Rules { parameter_marks: "?", refused_signs: "@#${}`\\", ..Rules::CAUTIOUS },
            // Where no semicolon is needed between two statements, words are all that tells them apart.
            Self::Ansi => Rules { refused_words: REFUSED_IN_TRANSACT_SQL, ..Rules::CAUTIOUS },
        }
    }
}

/// What the scanner found.
#[derive(Debug)]
pub(super) struct Outline {
    /// The text up to its last token, masked; see [`Outline::original_column`] for its columns.
    pub(super) masked: String,
    /// Line and column in the masked text behind each [`TABLE_QUERY`] that stands for `TABLE`.
    widened: Vec<(u64, u64)>,
    /// Where the text to run begins: after leading semicolons and white space. In bytes.
    pub(super) start: usize,
    /// Where the last token ends, before trailing semicolons and comments. In bytes.
    pub(super) end: usize,
    /// The first word, in upper case; empty when there is none.
    pub(super) first_word: String,
}

impl Outline {
    /// The column of the original text that became `column` of `line` in the masked one.
    pub(super) fn original_column(&self, line: u64, column: u64) -> u64 {
        let wider = (TABLE_QUERY.len() - "TABLE".len()) as u64;
        let before = self.widened.iter().filter(|widened| widened.0 == line && widened.1 <= column).count();
        column.saturating_sub(wider * before as u64).max(1)
    }
}

struct OpenBracket {
    closer: char,
    position: usize,
    tokens: usize,
}

struct Scanner<'a> {
    text: &'a str,
    rules: Rules,
    position: usize,
    masked: String,
    open: Vec<OpenBracket>,
    /// Tokens since the last comma, outside of all brackets.
    outer_tokens: usize,
    chain: usize,
    tokens: usize,
    set_operators: usize,
    start: usize,
    end: Option<usize>,
    masked_end: usize,
    statement_ended: bool,
    first_word: Option<String>,
    /// True where the last token lets a query follow.
    query_may_begin: bool,
    /// Line and column in the masked text, from 1.
    masked_place: (u64, u64),
    widened: Vec<(u64, u64)>,
}

/// Scans `text`. An error has the byte position where the refused thing begins.
pub(super) fn scan(text: &str, rules: Rules) -> Result<Outline, (Refusal, usize)> {
    if let Some(position) = text.find('\0') {
        return Err((Refusal::ZeroByte, position));
    }
    let mut scanner = Scanner {
        text,
        rules,
        position: 0,
        masked: String::with_capacity(text.len()),
        open: Vec::new(),
        outer_tokens: 0,
        chain: 0,
        tokens: 0,
        set_operators: 0,
        start: 0,
        end: None,
        masked_end: 0,
        statement_ended: false,
        first_word: None,
        query_may_begin: true,
        masked_place: (1, 1),
        widened: Vec::new(),
    };
    while let Some(character) = scanner.peek() {
        let begin = scanner.position;
        scanner.step(character).map_err(|(refusal, position)| (refusal, position.unwrap_or(begin)))?;
    }
    if let Some(bracket) = scanner.open.last() {
        return Err((Refusal::UnclosedBracket, bracket.position));
    }
    let end = scanner.end.ok_or((Refusal::Empty, 0))?;
    scanner.masked.truncate(scanner.masked_end);
    let blank = text[scanner.start..].len() - text[scanner.start..].trim_start().len();
    Ok(Outline {
        masked: scanner.masked,
        widened: scanner.widened,
        start: scanner.start + blank,
        end,
        first_word: scanner.first_word.unwrap_or_default(),
    })
}

/// A refusal, and where, if not at the beginning of the token.
type Refused = (Refusal, Option<usize>);

fn here(refusal: Refusal) -> Refused {
    (refusal, None)
}

fn begins_word(character: char) -> bool {
    character == '_' || character.is_ascii_alphabetic() || !character.is_ascii()
}

fn continues_word(character: char) -> bool {
    begins_word(character) || character == '$' || character.is_ascii_digit()
}

/// True for a comment of MySQL or MariaDB that is run, or that can change how the rest is read.
fn is_executable(comment: &str) -> bool {
    let is_hint = comment.starts_with("/*+");
    let body = comment.find("*/").map_or(comment, |end| &comment[..end]);
    comment.starts_with("/*!")
        || comment.starts_with("/*M!")
        || (is_hint && body.to_ascii_uppercase().contains("SET_VAR"))
}

fn is_set_operator(word: &str) -> bool {
    ["UNION", "EXCEPT", "INTERSECT", "MINUS"].iter().any(|operator| word.eq_ignore_ascii_case(operator))
}

fn lets_a_query_follow(token: &str) -> bool {
    matches!(token, "(" | ")")
        || is_set_operator(token)
        || ["ALL", "DISTINCT"].iter().any(|word| token.eq_ignore_ascii_case(word))
}

impl Scanner<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.position..].chars().next()
    }

    fn rest_starts_with(&self, pattern: &str) -> bool {
        self.text[self.position..].starts_with(pattern)
    }

    /// Takes one character and puts `mask` in its place; line ends stay, so that positions do too.
    fn take(&mut self, mask: impl FnOnce(char) -> char) {
        let Some(character) = self.peek() else { return };
        self.position += character.len_utf8();
        if character == '\n' {
            self.masked.push('\n');
            self.masked_place = (self.masked_place.0 + 1, 1);
        } else {
            self.masked.push(mask(character));
            self.masked_place.1 += 1;
        }
    }

    fn step(&mut self, character: char) -> Result<(), Refused> {
        match character {
            ' ' | '\t' | '\n' | '\r' | '\x0c' => {
                self.take(|same| same);
                Ok(())
            }
            '#' if self.rules.mysql_comments => self.line_comment(),
            '-' if self.rest_starts_with("--") => {
                // Elsewhere than in MySQL, `--1` is a comment; nobody has to know whom the parser follows.
                let after = self.text[self.position + 2..].chars().next();
                let is_doubtful = self.rules.mysql_comments || self.rules.cautious;
                if is_doubtful && after.is_some_and(|after| !after.is_ascii_whitespace()) {
                    return Err(here(Refusal::Character('-')));
                }
                self.line_comment()
            }
            '/' if self.rest_starts_with("/*") => self.block_comment(),
            ';' => self.semicolon(),
            _ => {
                self.begin_token()?;
                let begin = self.position;
                self.token(character)?;
                self.query_may_begin = lets_a_query_follow(&self.text[begin..self.position]);
                self.end = Some(self.position);
                self.masked_end = self.masked.len();
                Ok(())
            }
        }
    }

    /// Bookkeeping before every token that is not a comment or a semicolon.
    fn begin_token(&mut self) -> Result<(), Refused> {
        if self.statement_ended {
            return Err(here(Refusal::SecondStatement));
        }
        *self.chain_here() += 1;
        self.chain += 1;
        self.tokens += 1;
        if self.tokens > MAX_TOKENS {
            return Err(here(Refusal::TooManyTokens));
        }
        if self.chain > MAX_CHAIN {
            return Err(here(Refusal::TooDeep));
        }
        Ok(())
    }

    fn token(&mut self, character: char) -> Result<(), Refused> {
        match character {
            '\'' | '"' => self.quoted(character, self.rules.backslash_escapes),
            '`' if self.rules.backtick_names => self.quoted('`', false),
            '[' if self.rules.bracket_names != BracketNames::None => self.bracket_name(),
            _ if self.rules.parameter_marks.contains(character) => Err(here(Refusal::Parameter)),
            _ if self.rules.refused_signs.contains(character) => Err(here(Refusal::Character(character))),
            '$' if self.rules.dollar_quotes => self.dollar_quote(),
            '(' => self.open_bracket(')'),
            '[' => self.open_bracket(']'),
            '{' => self.open_bracket('}'),
            ')' | ']' | '}' => self.close_bracket(character),
            ',' => {
                self.end_chain();
                self.take(|same| same);
                Ok(())
            }
            '0'..='9' => self.number(),
            '.' if self.text[self.position + 1..].starts_with(|next: char| next.is_ascii_digit()) => {
                self.number()
            }
            _ if begins_word(character) => self.word(),
            _ if character.is_ascii_graphic() => {
                self.take(|same| same);
                Ok(())
            }
            _ => Err(here(Refusal::Character(character))),
        }
    }

    fn semicolon(&mut self) -> Result<(), Refused> {
        if !self.open.is_empty() {
            return Err(here(Refusal::SemicolonInBrackets));
        }
        self.take(|_| ' ');
        if self.end.is_some() {
            self.statement_ended = true;
        } else {
            self.start = self.position;
        }
        Ok(())
    }

    fn line_comment(&mut self) -> Result<(), Refused> {
        while let Some(character) = self.peek() {
            if character == '\n' || (character == '\r' && self.rules.carriage_return_ends_line) {
                break;
            }
            if self.rules.plain_line_ends && self.could_end_a_line(character) {
                return Err((Refusal::Character(character), Some(self.position)));
            }
            self.take(|_| ' ');
        }
        Ok(())
    }

    fn could_end_a_line(&self, character: char) -> bool {
        match character {
            '\r' => !self.rest_starts_with("\r\n"),
            '\x0b' | '\x0c' | '\u{85}' | '\u{2028}' | '\u{2029}' => true,
            _ => false,
        }
    }

    fn block_comment(&mut self) -> Result<(), Refused> {
        let begin = self.position;
        if (self.rules.mysql_comments || self.rules.cautious) && is_executable(&self.text[begin..]) {
            return Err(here(Refusal::ExecutableComment));
        }
        let mut depth = 0_usize;
        loop {
            if self.rules.cautious && depth > 0 && self.rest_starts_with("/*") {
                return Err((Refusal::NestedComment, Some(self.position)));
            }
            let opens = self.rest_starts_with("/*") && (depth == 0 || self.rules.nested_comments);
            let closes = self.rest_starts_with("*/");
            if opens || closes {
                self.take(|_| ' ');
                depth = if opens { depth + 1 } else { depth - 1 };
            }
            if self.peek().is_none() {
                return Err((Refusal::UnterminatedComment, Some(begin)));
            }
            self.take(|_| ' ');
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// A literal or name between two `quote`s, in which a doubled quote stands for one.
    fn quoted(&mut self, quote: char, backslash_escapes: bool) -> Result<(), Refused> {
        let begin = self.position;
        self.take(|same| same);
        loop {
            let Some(character) = self.peek() else {
                return Err((Refusal::UnterminatedQuote, Some(begin)));
            };
            if self.rules.cautious && character == '\\' && self.text[self.position + 1..].starts_with(quote) {
                return Err((Refusal::BackslashBeforeQuote, Some(self.position)));
            }
            if backslash_escapes && character == '\\' {
                self.take(|_| '0');
                self.take(|_| '0');
            } else if character != quote {
                self.take(|_| '0');
            } else if self.text[self.position + 1..].starts_with(quote) {
                self.take(|_| '0');
                self.take(|_| '0');
            } else {
                self.take(|same| same);
                return Ok(());
            }
        }
    }

    fn bracket_name(&mut self) -> Result<(), Refused> {
        let begin = self.position;
        self.take(|_| '"');
        while let Some(character) = self.peek() {
            if self.rules.bracket_names == BracketNames::Doubled && self.rest_starts_with("]]") {
                self.take(|_| '0');
                self.take(|_| '0');
            } else if character == ']' {
                self.take(|_| '"');
                return Ok(());
            } else {
                self.take(|_| '0');
            }
        }
        Err((Refusal::UnterminatedQuote, Some(begin)))
    }

    fn dollar_quote(&mut self) -> Result<(), Refused> {
        let rest = &self.text[self.position + 1..];
        let tag_length = rest.find(|character| !continues_word(character) || character == '$');
        let tag = tag_length.map_or(rest, |length| &rest[..length]);
        if tag.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(here(Refusal::Parameter));
        }
        if !rest[tag.len()..].starts_with('$') {
            return Err(here(Refusal::Character('$')));
        }
        let delimiter_length = tag.len() + 2;
        let delimiter = &self.text[self.position..self.position + delimiter_length];
        let body = self.position + delimiter_length;
        let Some(body_length) = self.text[body..].find(delimiter) else {
            return Err(here(Refusal::UnterminatedQuote));
        };
        let end = body + body_length + delimiter_length;
        self.take(|_| '\'');
        while self.position < end - 1 {
            self.take(|_| '0');
        }
        self.take(|_| '\'');
        Ok(())
    }

    /// A number must be followed by something else than a word or quote: servers of different
    /// versions disagree about where `1E'...'` or `0x$$` is to be cut.
    fn number(&mut self) -> Result<(), Refused> {
        let rest = &self.text[self.position..];
        let radix_prefix = ["0x", "0X", "0o", "0O", "0b", "0B"].iter().any(|prefix| rest.starts_with(prefix));
        if radix_prefix {
            self.take(|same| same);
            self.take(|same| same);
            while self.peek().is_some_and(|next| next.is_ascii_hexdigit() || next == '_') {
                self.take(|_| '0');
            }
        } else {
            self.digits();
            if self.rest_starts_with(".") && !self.rest_starts_with("..") {
                self.take(|same| same);
                self.digits();
            }
            self.exponent();
        }
        match self.peek() {
            Some(next) if continues_word(next) || matches!(next, '\'' | '"' | '`') => {
                Err(here(Refusal::NumberRunsOn))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|next| next.is_ascii_digit() || next == '_') {
            self.take(|_| '0');
        }
    }

    fn exponent(&mut self) {
        let mut rest = self.text[self.position..].chars();
        let marked = rest.next().is_some_and(|mark| matches!(mark, 'e' | 'E'));
        let after_mark = rest.next();
        let signed = after_mark.is_some_and(|sign| matches!(sign, '+' | '-'));
        let first_digit = if signed { rest.next() } else { after_mark };
        if !marked || !first_digit.is_some_and(|digit| digit.is_ascii_digit()) {
            return;
        }
        self.take(|same| same);
        if signed {
            self.take(|same| same);
        }
        self.digits();
    }

    fn word(&mut self) -> Result<(), Refused> {
        let begin = self.position;
        while let Some(character) = self.peek().filter(|next| continues_word(*next)) {
            // Servers take every byte above 127 as a letter, the parser takes some as white space.
            if !character.is_ascii() && !character.is_alphanumeric() {
                return Err((Refusal::Character(character), Some(self.position)));
            }
            self.take(|same| if same == '$' || !same.is_ascii() { '_' } else { same });
        }
        let word = &self.text[begin..self.position];
        let refused = self.rules.refused_words.iter().find(|refused| word.eq_ignore_ascii_case(refused));
        if let Some(word) = refused {
            return Err((Refusal::Word(word), Some(begin)));
        }
        if self.rules.table_queries && self.query_may_begin && word.eq_ignore_ascii_case("TABLE") {
            self.masked.truncate(self.masked.len() - word.len());
            self.masked.push_str(TABLE_QUERY);
            self.masked_place.1 += (TABLE_QUERY.len() - word.len()) as u64;
            self.widened.push(self.masked_place);
        }
        if is_set_operator(word) {
            self.set_operators += 1;
            if self.set_operators > MAX_SET_OPERATORS {
                return Err(here(Refusal::TooDeep));
            }
        }
        self.first_word.get_or_insert_with(|| word.to_ascii_uppercase());
        let is_delimiter = ["q", "nq"].iter().any(|prefix| word.eq_ignore_ascii_case(prefix));
        if self.rules.cautious && is_delimiter && self.rest_starts_with("'") {
            return Err((Refusal::QuoteDelimited, Some(begin)));
        }
        if self.rules.escape_strings && word.eq_ignore_ascii_case("e") && self.rest_starts_with("'") {
            return self.escape_string();
        }
        Ok(())
    }

    /// `E'...'`. A following literal on another line would continue it, with escapes, so nothing
    /// that looks like one may follow.
    fn escape_string(&mut self) -> Result<(), Refused> {
        self.quoted('\'', true)?;
        let mut rest = &self.text[self.position..];
        loop {
            rest = rest.trim_start();
            let Some(comment) = rest.strip_prefix("--") else { break };
            rest = comment.find(['\n', '\r']).map_or("", |end| &comment[end..]);
        }
        if rest.starts_with('\'') {
            return Err((Refusal::ContinuedEscapeString, Some(self.text.len() - rest.len())));
        }
        Ok(())
    }

    fn open_bracket(&mut self, closer: char) -> Result<(), Refused> {
        self.open.push(OpenBracket { closer, position: self.position, tokens: 0 });
        self.take(|same| same);
        Ok(())
    }

    fn close_bracket(&mut self, closer: char) -> Result<(), Refused> {
        let Some(bracket) = self.open.pop() else { return Err(here(Refusal::UnopenedBracket)) };
        if bracket.closer != closer {
            return Err(here(Refusal::UnopenedBracket));
        }
        self.chain -= bracket.tokens;
        self.take(|same| same);
        Ok(())
    }

    /// Tokens since the last comma, inside the innermost bracket.
    fn chain_here(&mut self) -> &mut usize {
        match self.open.last_mut() {
            Some(bracket) => &mut bracket.tokens,
            None => &mut self.outer_tokens,
        }
    }

    fn end_chain(&mut self) {
        let tokens = std::mem::take(self.chain_here());
        self.chain -= tokens;
    }
}
