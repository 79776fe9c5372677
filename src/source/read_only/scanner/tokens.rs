//! Where literals, quoted names, numbers and words end.

use std::ops::Range;

use super::super::Refusal;
use super::rules::BracketNames;
use super::{MAX_SET_OPERATORS, Refused, Scanner, TABLE_QUERY, here, is_set_operator};

pub(super) fn begins_word(character: char) -> bool {
    character == '_' || character.is_ascii_alphabetic() || !character.is_ascii()
}

fn continues_word(character: char) -> bool {
    begins_word(character) || character == '$' || character.is_ascii_digit()
}

impl Scanner<'_> {
    /// A literal or name between two `quote`s, in which a doubled quote stands for one.
    pub(super) fn quoted(&mut self, quote: char, backslash_escapes: bool) -> Result<(), Refused> {
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

    pub(super) fn bracket_name(&mut self) -> Result<(), Refused> {
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

    pub(super) fn dollar_quote(&mut self) -> Result<(), Refused> {
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
    pub(super) fn number(&mut self) -> Result<(), Refused> {
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

    pub(super) fn backtick_name(&mut self) -> Result<(), Refused> {
        let begin = self.position;
        self.quoted('`', false)?;
        self.reads_no_file(begin, begin + 1..self.position - 1)
    }

    /// Refuses the name at `name` when it is that of a function that reads files.
    fn reads_no_file(&self, begin: usize, name: Range<usize>) -> Result<(), Refused> {
        let name = &self.text[name];
        match self.rules.file_functions.iter().find(|function| name.eq_ignore_ascii_case(function)) {
            Some(function) => Err((Refusal::ReadsFile(function), Some(begin))),
            None => Ok(()),
        }
    }

    pub(super) fn word(&mut self) -> Result<(), Refused> {
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
        self.reads_no_file(begin, begin..self.position)?;
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
}
