//! Where fields and rows end.

use super::layout::{Broken, Layout, Quoting};

/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Where the reader of escapes and quotes is inside of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Nothing was special so far.
    Plain,
    /// Behind a backslash.
    Escape,
    /// Behind `\N`: only a terminator can follow.
    Null,
    /// Between quotes.
    Quoted,
    /// Behind a quote that ends a field or is half of a doubled one.
    QuoteEnded,
}

/// The fields of rows, one after the other, and where each one ends. Those of a row that has begun
/// come last.
#[derive(Debug)]
pub(super) struct Rows {
    layout: Layout,
    columns: usize,
    longest_row: usize,
    bytes: Vec<u8>,
    /// End of each field in `bytes`. Rows are shorter than 4 GiB, and so are batches of them.
    ends: Vec<usize>,
    nulls: Vec<bool>,
    /// Complete rows in `ends`.
    complete: usize,
    /// Where in `bytes` the open field begins.
    field_start: usize,
    /// Where in `bytes` the open row begins.
    row_start: usize,
    /// Bytes of the open row were read.
    row_begun: bool,
    at: At,
    /// Where in `bytes` a quoted text has ended.
    quote_end: usize,
    /// The open field had escapes or quotes, so its text is not a word for NULL.
    is_marked: bool,
    in_header: bool,
    announced: Option<u64>,
    /// Bytes of a byte order mark that were read; `None` once something else may come.
    of_mark: Option<usize>,
}

/// One column of the complete rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    rows: &'a Rows,
    column: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn len(&self) -> usize {
        self.rows.complete
    }

    /// The fields in order; `None` is NULL.
    pub(super) fn iter(&self) -> impl Iterator<Item = Option<&'a [u8]>> + use<'a> {
        let (rows, column) = (self.rows, self.column);
        (0..rows.complete).map(move |row| {
            let index = row * rows.columns + column;
            let start = if index == 0 { 0 } else { rows.ends[index - 1] };
            (!rows.nulls[index]).then(|| &rows.bytes[start..rows.ends[index]])
        })
    }
}

impl Rows {
    pub(super) fn new(layout: Layout, columns: usize, longest_row: usize) -> Self {
        let in_header = layout.header.is_some();
        // The others are written by programs that are known not to begin with one.
        let may_be_marked = matches!(layout.quoting, Quoting::Double | Quoting::None(_));
        Self {
            of_mark: may_be_marked.then_some(0),
            layout,
            columns,
            longest_row,
            bytes: Vec::new(),
            ends: Vec::new(),
            nulls: Vec::new(),
            complete: 0,
            field_start: 0,
            row_start: 0,
            row_begun: false,
            at: At::Plain,
            quote_end: 0,
            is_marked: false,
            in_header,
            announced: None,
        }
    }

    pub(super) fn complete(&self) -> usize {
        self.complete
    }

    /// Fields of the open row that have ended.
    pub(super) fn open_fields(&self) -> usize {
        self.ends.len() - self.complete * self.columns
    }

    /// Bytes that the complete rows take.
    pub(super) fn byte_size(&self) -> usize {
        self.row_start + self.complete * self.columns * size_of::<usize>()
    }

    pub(super) fn announced(&self) -> Option<u64> {
        self.announced
    }

    pub(super) fn column(&self, column: usize) -> Fields<'_> {
        Fields { rows: self, column }
    }

    /// Forgets the complete rows.
    pub(super) fn clear(&mut self) {
        self.bytes.drain(..self.row_start);
        let fields = self.complete * self.columns;
        self.ends.drain(..fields);
        self.nulls.drain(..fields);
        for end in &mut self.ends {
            *end -= self.row_start;
        }
        self.field_start -= self.row_start;
        self.quote_end = self.quote_end.saturating_sub(self.row_start);
        self.row_start = 0;
        self.complete = 0;
    }

    /// Reads until `bytes` end, or there are `most` rows, or rows of `most_bytes`.
    pub(super) fn push(&mut self, bytes: &[u8], most: usize, most_bytes: usize) -> Result<usize, Broken> {
        let mut position = 0;
        while position < bytes.len() {
            if self.complete > 0 && (self.complete >= most || self.byte_size() >= most_bytes) {
                break;
            }
            if self.announced.is_some() {
                return Err(Broken::Announcement);
            }
            if let Some(read) = self.of_mark {
                position += self.skip_mark(read, bytes[position]);
                continue;
            }
            self.row_begun = true;
            position += self.step(&bytes[position..])?;
            if self.bytes.len() - self.row_start > self.longest_row {
                return Err(Broken::TooLong(self.longest_row));
            }
        }
        Ok(position)
    }

    /// Reads a byte of the mark that some programs put before everything else. Returns how many bytes were
    /// read: none when this one is not of a mark, and then what was taken for one is text.
    fn skip_mark(&mut self, read: usize, byte: u8) -> usize {
        if byte != BYTE_ORDER_MARK[read] {
            self.of_mark = None;
            self.bytes.extend_from_slice(&BYTE_ORDER_MARK[..read]);
            self.row_begun = read > 0;
            return 0;
        }
        self.of_mark = Some(read + 1).filter(|read| *read < BYTE_ORDER_MARK.len());
        1
    }

    /// Says whether the bytes ended where a row ended.
    pub(super) fn finish(&mut self) -> Result<(), Broken> {
        let half_a_mark = self.of_mark.is_some_and(|read| read > 0);
        if self.row_begun || self.in_header || half_a_mark {
            return Err(Broken::HalfRow);
        }
        if self.layout.announcement.is_some() && self.announced.is_none() {
            return Err(Broken::HalfRow);
        }
        Ok(())
    }

    /// Reads a run of bytes that mean themselves, and then one that may mean more. Returns how many
    /// bytes those are.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        match self.at {
            At::Plain => {}
            At::Escape => return self.escaped(bytes[0]).map(|()| 1),
            At::Quoted => return Ok(self.quoted(bytes)),
            // A doubled quote, unless something stands between the two.
            At::QuoteEnded if bytes[0] == b'"' && self.bytes.len() == self.quote_end => {
                self.bytes.push(b'"');
                self.at = At::Quoted;
                return Ok(1);
            }
            At::Null | At::QuoteEnded => {}
        }
        let field_last = *self.layout.field.last().expect("a terminator is not empty");
        let row_last = *self.layout.row.last().expect("a terminator is not empty");
        let special = match self.layout.quoting {
            Quoting::Copy | Quoting::Batch => b'\\',
            Quoting::Double => b'"',
            Quoting::Nul | Quoting::None(_) => field_last,
        };
        // A long row without any terminator has to be noticed before it fills the memory.
        let window = &bytes[..bytes.len().min(self.longest_row.saturating_add(1))];
        let Some(run) = memchr::memchr3(field_last, row_last, special, window) else {
            self.bytes.extend_from_slice(window);
            return self.only_a_terminator().map(|()| window.len());
        };
        let byte = bytes[run];
        self.bytes.extend_from_slice(&bytes[..run]);
        match byte {
            b'\\' if special == b'\\' => {
                self.only_a_terminator()?;
                self.at = At::Escape;
            }
            b'"' if special == b'"' => {
                if self.at != At::Plain || self.bytes.len() != self.field_start {
                    return Err(Broken::Quote);
                }
                self.at = At::Quoted;
                self.is_marked = true;
            }
            _ => {
                self.bytes.push(byte);
                if self.ends_with(&self.layout.row, row_last == byte) {
                    self.end_field(self.layout.row.len(), true)?;
                    self.end_row()?;
                } else if self.ends_with(&self.layout.field, field_last == byte) {
                    self.end_field(self.layout.field.len(), false)?;
                    if self.open_fields() >= self.columns {
                        return Err(Broken::TooMany);
                    }
                }
                // What stands behind `\N` or a closing quote and is no terminator is found out when
                // the field ends.
            }
        }
        Ok(run + 1)
    }

    /// Behind `\N` nothing but a terminator can stand.
    fn only_a_terminator(&self) -> Result<(), Broken> {
        if self.at == At::Null { Err(Broken::Escape) } else { Ok(()) }
    }

    fn ends_with(&self, terminator: &[u8], may: bool) -> bool {
        may && self.bytes[self.field_start..].ends_with(terminator)
    }

    fn quoted(&mut self, bytes: &[u8]) -> usize {
        let window = &bytes[..bytes.len().min(self.longest_row.saturating_add(1))];
        match memchr::memchr(b'"', window) {
            Some(run) => {
                self.bytes.extend_from_slice(&bytes[..run]);
                self.at = At::QuoteEnded;
                // What follows now is not part of the text.
                self.quote_end = self.bytes.len();
                run + 1
            }
            None => {
                self.bytes.extend_from_slice(window);
                window.len()
            }
        }
    }

    fn escaped(&mut self, byte: u8) -> Result<(), Broken> {
        self.at = At::Plain;
        let is_copy = self.layout.quoting == Quoting::Copy;
        let meant = match byte {
            b'N' if is_copy && self.bytes.len() == self.field_start => {
                self.at = At::Null;
                return Ok(());
            }
            b'b' if is_copy => 0x08,
            b'f' if is_copy => 0x0c,
            b'v' if is_copy => 0x0b,
            b'r' if is_copy => b'\r',
            b'0' if !is_copy => 0,
            b'n' => b'\n',
            b't' => b'\t',
            b'\\' => b'\\',
            _ => return Err(Broken::Escape),
        };
        self.is_marked = true;
        self.bytes.push(meant);
        Ok(())
    }

    /// Ends the open field, behind which a terminator of so many bytes stands.
    fn end_field(&mut self, terminator: usize, ends_row: bool) -> Result<(), Broken> {
        self.bytes.truncate(self.bytes.len() - terminator);
        // RFC 4180 ends rows with both; many programs with one of them.
        let may_have_return = ends_row && self.layout.row == b"\n";
        let is_null = match (&self.layout.quoting, self.at) {
            (Quoting::Double, At::QuoteEnded) => {
                if may_have_return && self.bytes.get(self.quote_end..).is_some_and(|rest| rest == b"\r") {
                    self.bytes.pop();
                }
                if self.bytes.len() != self.quote_end {
                    return Err(Broken::Quote);
                }
                false
            }
            (Quoting::Double, _) => {
                if may_have_return && self.bytes[self.field_start..].ends_with(b"\r") {
                    self.bytes.pop();
                }
                self.bytes.len() == self.field_start
            }
            (_, At::Null) => {
                if self.bytes.len() != self.field_start {
                    return Err(Broken::Escape);
                }
                true
            }
            (Quoting::Copy, _) => false,
            (Quoting::Batch, _) => !self.is_marked && self.bytes[self.field_start..] == *b"NULL",
            (Quoting::None(word), _) => self.bytes[self.field_start..] == **word,
            (Quoting::Nul, _) => match &self.bytes[self.field_start..] {
                [] => true,
                [0] => {
                    self.bytes.pop();
                    false
                }
                _ => false,
            },
        };
        self.ends.push(self.bytes.len());
        self.nulls.push(is_null);
        self.field_start = self.bytes.len();
        self.at = At::Plain;
        self.is_marked = false;
        Ok(())
    }

    fn end_row(&mut self) -> Result<(), Broken> {
        let fields = self.open_fields();
        if fields == 1 && self.is_announcement() {
            self.forget_open_row();
            return Ok(());
        }
        if fields != self.columns {
            // The field that ended the row is not one of those that are there.
            self.ends.pop();
            self.nulls.pop();
            return Err(if fields < self.columns { Broken::TooFew } else { Broken::TooMany });
        }
        if self.in_header {
            return self.check_header();
        }
        self.complete += 1;
        self.row_start = self.bytes.len();
        self.row_begun = false;
        Ok(())
    }

    fn is_announcement(&mut self) -> bool {
        let Some(word) = self.layout.announcement else { return false };
        let number = std::str::from_utf8(&self.bytes[self.row_start..])
            .ok()
            .and_then(|text| text.strip_prefix(word)?.strip_prefix(' ')?.parse().ok());
        if number.is_some() {
            self.announced = number;
        }
        number.is_some()
    }

    fn check_header(&mut self) -> Result<(), Broken> {
        let header = self.layout.header.as_ref().expect("there is a header while it is read");
        let first = self.complete * self.columns;
        let mut start = self.row_start;
        for (name, end) in header.iter().zip(&self.ends[first..]) {
            if self.bytes[start..*end] != *name.as_bytes() {
                return Err(Broken::Header);
            }
            start = *end;
        }
        self.in_header = false;
        self.forget_open_row();
        Ok(())
    }

    fn forget_open_row(&mut self) {
        let fields = self.complete * self.columns;
        self.ends.truncate(fields);
        self.nulls.truncate(fields);
        self.bytes.truncate(self.row_start);
        self.field_start = self.row_start;
        self.row_begun = false;
    }
}
