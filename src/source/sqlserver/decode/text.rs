//! Values of a variable width: texts of every encoding, bytes, and what has no type but text.

use arrow::array::ArrayRef;

use super::fixed::array;
use super::temporal::push;
use super::{ColumnDecoder, Invalid};
use crate::source::sqlserver::protocol::code_page::CodePage;
use crate::source::sqlserver::rows::Block;
use crate::source::variable_width::VariableWidth;

/// Bits of a value's offset, which it has whether it is long, empty or NULL.
const OFFSET_BITS: usize = i32::BITS as usize;

/// How one field becomes UTF-8.
pub(super) trait TextOf: Send {
    /// Appends the text of `field`. What is no UTF-8 is found later, for the whole column.
    fn append(&self, text: &mut Vec<u8>, field: &[u8]) -> Result<(), Invalid>;
}

impl TextOf for CodePage {
    #[inline]
    fn append(&self, text: &mut Vec<u8>, field: &[u8]) -> Result<(), Invalid> {
        if CodePage::append(*self, text, field) { Ok(()) } else { Err(Invalid::NotText) }
    }
}

/// `nchar`, `nvarchar`, `ntext`: UTF-16, little endian.
pub(super) struct Utf16;

impl TextOf for Utf16 {
    #[inline]
    fn append(&self, text: &mut Vec<u8>, field: &[u8]) -> Result<(), Invalid> {
        utf16(text, field)
    }
}

/// `xml`: UTF-16 that may begin with a byte order mark.
pub(super) struct Xml;

impl TextOf for Xml {
    fn append(&self, text: &mut Vec<u8>, field: &[u8]) -> Result<(), Invalid> {
        utf16(text, field.strip_prefix(&[0xff, 0xfe]).unwrap_or(field))
    }
}

/// Appends UTF-16 as UTF-8: four units at once while they are ASCII.
pub(super) fn utf16(text: &mut Vec<u8>, field: &[u8]) -> Result<(), Invalid> {
    /// Bits that no ASCII unit has.
    const NOT_ASCII: u64 = 0xff80_ff80_ff80_ff80;
    let mut rest = field;
    text.reserve(field.len() / 2);
    while let Some((head, tail)) = rest.split_first_chunk::<8>() {
        if u64::from_le_bytes(*head) & NOT_ASCII != 0 {
            break;
        }
        text.extend_from_slice(&[head[0], head[2], head[4], head[6]]);
        rest = tail;
    }
    let (units, odd) = rest.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(Invalid::Malformed);
    }
    for character in char::decode_utf16(units.iter().map(|unit| u16::from_le_bytes(*unit))) {
        let character = character.map_err(|_half| Invalid::NotUtf16)?;
        text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(())
}

/// `uniqueidentifier`, as the server prints it.
pub(super) struct Guid;

impl TextOf for Guid {
    #[inline]
    fn append(&self, text: &mut Vec<u8>, field: &[u8]) -> Result<(), Invalid> {
        // The first three groups are numbers, little endian on the wire.
        let uuid = uuid::Uuid::from_bytes_le(array(field)?);
        let mut letters = uuid::Uuid::encode_buffer();
        text.extend_from_slice(uuid.hyphenated().encode_upper(&mut letters).as_bytes());
        Ok(())
    }
}

/// Appends bytes as `0x0AFF`.
pub(super) fn hexadecimal(text: &mut Vec<u8>, bytes: &[u8]) {
    text.extend_from_slice(b"0x");
    for byte in bytes {
        push(text, format_args!("{byte:02X}"));
    }
}

/// Gathers texts.
pub(super) struct Texts<T> {
    reader: T,
    values: VariableWidth,
}

impl<T: TextOf> Texts<T> {
    pub(super) fn new(reader: T) -> Self {
        Self { reader, values: VariableWidth::default() }
    }
}

impl<T: TextOf> ColumnDecoder for Texts<T> {
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid> {
        self.values.reserve(block.rows());
        for field in block.column(bytes, column) {
            self.values.take::<Invalid>(field?, |values, field| self.reader.append(values, field))?;
        }
        Ok(())
    }

    fn byte_size(&self) -> usize {
        self.values.byte_size()
    }

    fn value_bits(&self) -> usize {
        OFFSET_BITS
    }

    fn finish(&mut self) -> Result<ArrayRef, Invalid> {
        self.values.finish_texts().map_err(|_not_utf8| Invalid::NotText)
    }
}

/// Gathers bytes.
#[derive(Default)]
pub(super) struct Binaries(VariableWidth);

impl ColumnDecoder for Binaries {
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid> {
        self.0.reserve(block.rows());
        for field in block.column(bytes, column) {
            self.0.take::<Invalid>(field?, |values, field| {
                values.extend_from_slice(field);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn byte_size(&self) -> usize {
        self.0.byte_size()
    }

    fn value_bits(&self) -> usize {
        OFFSET_BITS
    }

    fn finish(&mut self) -> Result<ArrayRef, Invalid> {
        Ok(self.0.finish_bytes())
    }
}
