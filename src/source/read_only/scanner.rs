//! Finds where words, literals and comments of a text begin and end, by the server's own rules.
//!
//! The parser that judges a text later has rules of its own for escapes, dollar quotes and nested
//! comments. Where they differ from the server's, a statement could hide in what the parser takes
//! for a literal. So this scanner alone decides the boundaries, and hands on a *masked* text:
//! comments are blank, and the content of every literal and quoted name is zeros. Nothing is left
//! that two lexers could read differently, positions stay the same, and no message of the parser
//! can quote a value.

mod rules;
mod tokens;

use super::Refusal;
use rules::{BracketNames, Rules};
use tokens::begins_word;

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
            '`' if self.rules.backtick_names => self.backtick_name(),
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
