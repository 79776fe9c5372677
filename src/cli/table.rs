//! Tables for people: aligned, and as wide as the terminal at most.
//!
//! Where the terminal is too narrow, long texts are cut first, and then whole columns are left out,
//! the least important first. Without a terminal nothing is cut: the reader is a program or a file.

use console::{Style, Term, measure_text_width};

use super::output::plain;

/// Between two columns.
const GAP: usize = 2;
/// Texts longer than this make no room for themselves in the other rows where there is no terminal: one long
/// query among many would fill a file with blanks.
const LONGEST_ALIGNED: usize = 60;

/// One column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    title: &'static str,
    is_number: bool,
    /// Cut down to this width before anything is left out; `None` is never cut.
    narrowest: Option<usize>,
    /// Left out in this order, the highest first; 0 stays always.
    dispensable: u8,
}

impl Column {
    /// A text.
    pub(super) const fn text(title: &'static str) -> Self {
        Self { title, is_number: false, narrowest: None, dispensable: 0 }
    }

    /// A number, on the right.
    pub(super) const fn number(title: &'static str) -> Self {
        Self { title, is_number: true, narrowest: None, dispensable: 0 }
    }

    /// The same, cut to `narrowest` characters where the terminal is too narrow.
    pub(super) const fn cut_to(self, narrowest: usize) -> Self {
        Self { narrowest: Some(narrowest), ..self }
    }

    /// The same, left out where the terminal is too narrow; a higher `order` earlier.
    pub(super) const fn dispensable(self, order: u8) -> Self {
        Self { dispensable: order, ..self }
    }
}

/// One cell.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A text in this style.
    pub(super) fn styled(text: impl AsRef<str>, style: Style) -> Self {
        Self { text: plain(text.as_ref()), style }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, Style::new())
    }
}

/// The width of the terminal on stdout; `None` when there is none.
pub(super) fn terminal_width() -> Option<usize> {
    let terminal = Term::stdout();
    if !terminal.is_term() {
        return None;
    }
    Some(usize::from(terminal.size().1))
}

/// The table as text, with a line end after each row.
pub(super) fn render(columns: &[Column], rows: &[Vec<Cell>], width: Option<usize>) -> String {
    let natural = |index: usize| {
        let cells = rows.iter().map(|row| measure_text_width(&row[index].text));
        cells.chain([columns[index].title.chars().count()]).max().unwrap_or(0)
    };
    let mut shown: Vec<(usize, usize)> = (0..columns.len()).map(|index| (index, natural(index))).collect();
    match width {
        Some(width) => fit(columns, &mut shown, width),
        None => shown.iter_mut().for_each(|(_, width)| *width = LONGEST_ALIGNED.min(*width)),
    }
    let mut text = String::new();
    let titles = columns.iter().map(|column| Cell::styled(column.title, Style::new().bold())).collect();
    for row in std::iter::once(&titles).chain(rows) {
        render_row(columns, row, &shown, width.is_some(), &mut text);
    }
    text
}

fn render_row(columns: &[Column], row: &[Cell], shown: &[(usize, usize)], is_cut: bool, text: &mut String) {
    let mut line = String::new();
    let mut written = 0;
    for (place, (index, width)) in shown.iter().enumerate() {
        let whole = &row[*index].text;
        let cell = if is_cut { cut(whole, *width) } else { whole.clone() };
        let padding = width.saturating_sub(measure_text_width(&cell));
        let is_last = place + 1 == shown.len();
        if columns[*index].is_number {
            line.push_str(&" ".repeat(padding));
        }
        if !cell.is_empty() {
            line.push_str(&row[*index].style.apply_to(&cell).to_string());
            written = line.len();
        }
        if !is_last {
            let after = if columns[*index].is_number { GAP } else { padding + GAP };
            line.push_str(&" ".repeat(after));
        }
    }
    // No blanks behind the last word.
    line.truncate(written);
    text.push_str(&line);
    text.push('\n');
}

/// Makes the columns fit: cuts the widest of those that can be cut, then leaves columns out.
fn fit(columns: &[Column], shown: &mut Vec<(usize, usize)>, width: usize) {
    loop {
        let taken = shown.iter().map(|(_, width)| width).sum::<usize>() + GAP * shown.len().saturating_sub(1);
        let Some(excess) = taken.checked_sub(width).filter(|excess| *excess > 0) else { return };
        let slack = |(index, width): &(usize, usize)| {
            columns[*index].narrowest.map_or(0, |narrowest| width.saturating_sub(narrowest))
        };
        let has_room = shown.iter().map(slack).sum::<usize>() >= excess;
        let last = shown.iter().enumerate().max_by_key(|(_, (index, _))| columns[*index].dispensable);
        let can_leave_out =
            last.filter(|(_, (index, _))| columns[*index].dispensable > 0).map(|(place, _)| place);
        match can_leave_out {
            Some(place) if !has_room => {
                shown.remove(place);
            }
            _ => {
                // One character at a time from the widest, so that the widths even out.
                let widest =
                    shown.iter_mut().filter(|entry| slack(entry) > 0).max_by_key(|(_, width)| *width);
                let Some((_, widest)) = widest else { return };
                *widest -= 1;
            }
        }
    }
}

/// The beginning of a text, with `…` where something is missing.
pub(super) fn cut(text: &str, width: usize) -> String {
    if measure_text_width(text) <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for letter in text.chars() {
        let mut longer = kept.clone();
        longer.push(letter);
        if measure_text_width(&longer) + 1 > width {
            break;
        }
        kept = longer;
    }
    if width > 0 {
        kept.push('…');
    }
    kept
}

/// A text in lines of this width at most, broken between words, and within a word that is longer.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ').flat_map(|word| pieces(word, width)) {
        if !line.is_empty() && measure_text_width(&line) + 1 + measure_text_width(&word) > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    lines.push(line);
    lines
}

/// A word in pieces of this width at most.
fn pieces(word: &str, width: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut taken = 0;
    for letter in word.chars() {
        let letter_width = measure_text_width(letter.encode_utf8(&mut [0; 4]));
        if taken + letter_width > width && taken > 0 {
            pieces.push(String::new());
            taken = 0;
        }
        taken += letter_width;
        pieces.last_mut().expect("there is one from the beginning").push(letter);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column::text("ID"),
        Column::text("STATUS"),
        Column::number("ROWS").dispensable(1),
        Column::text("FROM").cut_to(8),
    ];

    fn rows() -> Vec<Vec<Cell>> {
        vec![
            ["orders", "completed", "1,200,000", "sales: SELECT * FROM orders WHERE year = 2026"]
                .map(Cell::from)
                .into(),
            ["é", "queued", "", ""].map(Cell::from).into(),
        ]
    }

    fn check(width: Option<usize>, expected: &str) {
        assert_eq!(render(&COLUMNS, &rows(), width), expected, "{width:?}");
    }

    #[test]
    fn columns_are_aligned_and_nothing_is_cut_without_a_terminal() {
        check(
            None,
            "ID      STATUS          ROWS  FROM\n\
             orders  completed  1,200,000  sales: SELECT * FROM orders WHERE year = 2026\n\
             é       queued\n",
        );
    }

    #[test]
    fn a_narrow_terminal_cuts_texts_first_and_then_columns() {
        check(
            Some(50),
            "ID      STATUS          ROWS  FROM\n\
             orders  completed  1,200,000  sales: SELECT * FRO…\n\
             é       queued\n",
        );
        check(
            Some(34),
            "ID      STATUS     FROM\n\
             orders  completed  sales: SELECT …\n\
             é       queued\n",
        );
        check(
            Some(5),
            "ID      STATUS     FROM\n\
             orders  completed  sales: …\n\
             é       queued\n",
        );
    }

    #[test]
    fn wide_letters_count_twice() {
        assert_eq!(cut("日本語のテキスト", 7), "日本語…");
        assert_eq!(cut("日本語のテキスト", 6), "日本…");
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("abcd", 0), "");
    }

    #[test]
    fn long_sentences_are_broken_between_words() {
        assert_eq!(wrap("open a connection to `sales`", 12), ["open a", "connection", "to `sales`"]);
        assert_eq!(wrap("", 12), [""]);
    }

    #[test]
    fn a_word_that_is_longer_than_a_line_is_broken_too() {
        assert_eq!(
            wrap("at s3://lake/orders/1.parquet now", 10),
            ["at", "s3://lake/", "orders/1.p", "arquet now"]
        );
        assert_eq!(wrap("日本語", 4), ["日本", "語"]);
        assert_eq!(wrap("日", 1), ["日"]);
    }

    #[test]
    fn one_long_text_does_not_pad_the_other_rows_of_a_file() {
        let long = "x".repeat(500);
        let rows: Vec<Vec<Cell>> =
            [long.as_str(), "y"].map(|text| vec![Cell::from(text), Cell::from("z")]).into();
        let text = render(&[Column::text("A"), Column::text("B")], &rows, None);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], format!("{long}  z"), "nothing is cut");
        assert_eq!(lines[2].len(), LONGEST_ALIGNED + GAP + 1);
    }
}
