//! Texts and bytes.

use arrow::array::ArrayRef;
use odbc_api::CursorRow;
use odbc_api::buffers::{AnyColumnBufferSlice, Indicator};
use odbc_api::handles::CDataMut;
use odbc_api::parameter::{Binary, CElement, Text, VarCell, VarKind, WideText};

use super::{ColumnDecoder, Invalid};
use crate::source::variable_width::VariableWidth;

/// Units of one piece of a long value.
const PIECE_UNITS: usize = 16 << 10;

/// Reads a text of less than `N` bytes out of a row.
pub(super) fn short_text<const N: usize, T>(
    row: &mut CursorRow<'_>,
    number: u16,
    take: impl FnOnce(Option<&[u8]>) -> Result<T, Invalid>,
) -> Result<T, Invalid> {
    let mut room = [0_u8; N];
    let mut cell = VarCell::<&mut [u8], Text>::from_buffer(&mut room[..], Indicator::NoTotal);
    row.get_data(number, &mut cell)?;
    if !cell.is_complete() {
        return Err(Invalid::Truncated);
    }
    take(cell.as_slice())
}

/// How many texts a filled buffer has.
pub(super) fn count(cells: AnyColumnBufferSlice<'_>) -> usize {
    cells.as_text().map_or(0, |texts| texts.len())
}

/// Hands out the texts of a filled buffer. One that fills its cell was cut, whatever the driver says: a cell has
/// room for one unit more than values have.
#[inline]
pub(super) fn each_text(
    cells: AnyColumnBufferSlice<'_>,
    mut take: impl FnMut(Option<&[u8]>) -> Result<(), Invalid>,
) -> Result<(), Invalid> {
    let texts = cells.as_text().ok_or(Invalid::OtherBuffer)?;
    let full = texts.max_len();
    for text in texts.iter() {
        if text.is_some_and(|text| text.len() >= full) {
            return Err(Invalid::Truncated);
        }
        take(text)?;
    }
    Ok(())
}

/// Reads a value of any length out of a row, piece by piece. False when it is NULL.
fn pieces<K: VarKind>(
    row: &mut CursorRow<'_>,
    number: u16,
    room: &mut Vec<K::Element>,
    mut take: impl FnMut(&[K::Element]) -> Result<(), Invalid>,
) -> Result<bool, Invalid>
where
    for<'b> VarCell<&'b mut [K::Element], K>: CElement + CDataMut,
{
    room.resize(PIECE_UNITS, K::ZERO);
    loop {
        // What the last piece left at the end of the room must not look like a cut value.
        room[PIECE_UNITS - 1] = K::ZERO;
        let mut cell = VarCell::<&mut [K::Element], K>::from_buffer(room.as_mut_slice(), Indicator::NoTotal);
        row.get_data(number, &mut cell)?;
        let Some(piece) = cell.as_slice() else { return Ok(false) };
        take(piece)?;
        if cell.is_complete() {
            return Ok(true);
        }
    }
}

/// Gathers texts that arrive as UTF-16.
#[derive(Default)]
pub(super) struct WideTexts {
    values: VariableWidth,
    room: Vec<u16>,
}

/// Appends UTF-16 as UTF-8. `half` is the first half of a pair that the piece before ended with.
#[inline]
fn append_wide(bytes: &mut Vec<u8>, mut units: &[u16], half: &mut Option<u16>) -> Result<(), Invalid> {
    if let Some(first) = half.take() {
        let pair = [first, *units.first().ok_or(Invalid::NotUtf16)?];
        units = &units[1..];
        append_pairs(bytes, &pair)?;
    }
    let plain = units.iter().take_while(|unit| **unit < 0x80).count();
    bytes.extend(units[..plain].iter().map(|unit| *unit as u8));
    let rest = &units[plain..];
    if let Some((last, before)) = rest.split_last()
        && (0xd800..0xdc00).contains(last)
    {
        *half = Some(*last);
        return append_pairs(bytes, before);
    }
    append_pairs(bytes, rest)
}

fn append_pairs(bytes: &mut Vec<u8>, units: &[u16]) -> Result<(), Invalid> {
    for character in char::decode_utf16(units.iter().copied()) {
        let character = character.map_err(|_unpaired| Invalid::NotUtf16)?;
        bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(())
}

fn append_whole(bytes: &mut Vec<u8>, units: &[u16]) -> Result<(), Invalid> {
    let mut half = None;
    append_wide(bytes, units, &mut half)?;
    if half.is_some() { Err(Invalid::NotUtf16) } else { Ok(()) }
}

impl ColumnDecoder for WideTexts {
    fn append(&mut self, cells: AnyColumnBufferSlice<'_>) -> Result<(), Invalid> {
        let texts = cells.as_wide_text().ok_or(Invalid::OtherBuffer)?;
        self.values.reserve(texts.len());
        let full = texts.max_len();
        // Not its iterator, which panics where a text is not UTF-16.
        for row in 0..texts.len() {
            self.values.take_by(|bytes| match texts.get(row) {
                Some(text) if text.len() >= full => Err(Invalid::Truncated),
                Some(text) => append_whole(bytes, text).map(|()| true),
                None => Ok::<_, Invalid>(false),
            })?;
        }
        Ok(())
    }

    fn append_from(&mut self, row: &mut CursorRow<'_>, number: u16) -> Result<(), Invalid> {
        let Self { values, room } = self;
        values.take_by(|bytes| {
            let mut half = None;
            let is_there =
                pieces::<WideText>(row, number, room, |piece| append_wide(bytes, piece, &mut half))?;
            if half.is_some() { Err(Invalid::NotUtf16) } else { Ok(is_there) }
        })
    }

    fn byte_size(&self) -> usize {
        self.values.byte_size()
    }

    fn finish(&mut self) -> Result<ArrayRef, Invalid> {
        self.values.finish_texts().map_err(|_broken| Invalid::NotUtf16)
    }
}

/// Gathers texts that arrive as UTF-8.
#[derive(Default)]
pub(super) struct NarrowTexts {
    values: VariableWidth,
    room: Vec<u8>,
}

fn append_bytes(bytes: &mut Vec<u8>, piece: &[u8]) -> Result<(), Invalid> {
    bytes.extend_from_slice(piece);
    Ok(())
}

impl ColumnDecoder for NarrowTexts {
    fn append(&mut self, cells: AnyColumnBufferSlice<'_>) -> Result<(), Invalid> {
        self.values.reserve(count(cells));
        each_text(cells, |text| self.values.take(text, append_bytes))
    }

    fn append_from(&mut self, row: &mut CursorRow<'_>, number: u16) -> Result<(), Invalid> {
        let Self { values, room } = self;
        values.take_by(|bytes| pieces::<Text>(row, number, room, |piece| append_bytes(bytes, piece)))
    }

    fn byte_size(&self) -> usize {
        self.values.byte_size()
    }

    fn finish(&mut self) -> Result<ArrayRef, Invalid> {
        self.values.finish_texts().map_err(|_broken| Invalid::NotUtf8)
    }
}

/// Gathers bytes.
pub(super) struct Binaries {
    values: VariableWidth,
    room: Vec<u8>,
    /// Bytes of a cell.
    full: usize,
}

impl Binaries {
    /// For cells of so many bytes.
    pub(super) fn new(full: usize) -> Self {
        Self { values: VariableWidth::default(), room: Vec::new(), full }
    }
}

impl ColumnDecoder for Binaries {
    fn append(&mut self, cells: AnyColumnBufferSlice<'_>) -> Result<(), Invalid> {
        let values = cells.as_binary().ok_or(Invalid::OtherBuffer)?;
        self.values.reserve(values.len());
        for value in values.iter() {
            if value.is_some_and(|value| value.len() >= self.full) {
                return Err(Invalid::Truncated);
            }
            self.values.take(value, append_bytes)?;
        }
        Ok(())
    }

    fn append_from(&mut self, row: &mut CursorRow<'_>, number: u16) -> Result<(), Invalid> {
        let Self { values, room, .. } = self;
        values.take_by(|bytes| pieces::<Binary>(row, number, room, |piece| append_bytes(bytes, piece)))
    }

    fn byte_size(&self) -> usize {
        self.values.byte_size()
    }

    fn finish(&mut self) -> Result<ArrayRef, Invalid> {
        Ok(self.values.finish_bytes())
    }
}

#[cfg(test)]
mod tests {
    use odbc_api::RowSetBuffer as _;
    use odbc_api::buffers::{BufferDesc, ColumnarDynBuffer};
    use proptest::prelude::*;

    use super::*;

    /// In a fresh buffer, values have no units: they fill a cell that has room for none.
    #[test]
    fn a_value_that_fills_its_cell_was_cut() {
        for (room, is_whole) in [(0, false), (1, true)] {
            let narrow = BufferDesc::Text { max_str_len: room };
            let wide = BufferDesc::WText { max_str_len: room };
            let bytes = BufferDesc::Binary { max_bytes: room };
            let mut buffer = ColumnarDynBuffer::try_from_descs(1, [narrow, wide, bytes]).expect("small");
            *buffer.mut_num_fetch_rows() = 1;
            let answers = [
                NarrowTexts::default().append(buffer.column(0)),
                WideTexts::default().append(buffer.column(1)),
                Binaries::new(room).append(buffer.column(2)),
            ];
            for answer in answers {
                let is_cut = matches!(answer, Err(Invalid::Truncated));
                assert_eq!((answer.is_ok(), is_cut), (is_whole, !is_whole), "{answer:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn utf16_in_any_pieces_is_the_same_text(text in "\\PC{0,40}", size in 1_usize..8) {
            let units: Vec<u16> = text.encode_utf16().collect();
            let (mut bytes, mut half) = (Vec::new(), None);
            for piece in units.chunks(size) {
                append_wide(&mut bytes, piece, &mut half).expect("right UTF-16");
            }
            prop_assert_eq!(half, None);
            prop_assert_eq!(String::from_utf8(bytes).expect("right UTF-8"), text);
        }

        #[test]
        fn no_units_make_it_panic(units in proptest::collection::vec(any::<u16>(), 0..40)) {
            let mut bytes = Vec::new();
            if append_whole(&mut bytes, &units).is_ok() {
                prop_assert_eq!(String::from_utf16(&units).ok(), String::from_utf8(bytes).ok());
            } else {
                prop_assert!(String::from_utf16(&units).is_err());
            }
        }
    }
}
