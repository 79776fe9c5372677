//! Reads numbers and texts off a slice of bytes.

/// A place in a slice. Every method returns `None` when the bytes end too early and moves only
/// when it returns something.
#[derive(Clone, Copy, Debug)]
pub(in crate::source::sqlserver) struct Cursor<'a> {
    rest: &'a [u8],
}

macro_rules! little_endian {
    ($($name:ident: $number:ty),* $(,)?) => {$(
        #[inline]
        pub(in crate::source::sqlserver) fn $name(&mut self) -> Option<$number> {
            let (head, rest) = self.rest.split_first_chunk()?;
            self.rest = rest;
            Some(<$number>::from_le_bytes(*head))
        }
    )*};
}

impl<'a> Cursor<'a> {
    pub(in crate::source::sqlserver) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes that were not read yet.
    #[inline]
    pub(in crate::source::sqlserver) fn remaining(&self) -> usize {
        self.rest.len()
    }

    little_endian! { u8: u8, u16: u16, u32: u32, i32: i32, u64: u64 }

    #[inline]
    pub(in crate::source::sqlserver) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(head)
    }

    /// `count` UTF-16 units. Lone surrogates become U+FFFD: names and messages only.
    pub(in crate::source::sqlserver) fn utf16(&mut self, count: usize) -> Option<String> {
        self.bytes(count.checked_mul(2)?).map(utf16_lossy)
    }

    /// A text after its length in units, one byte.
    pub(in crate::source::sqlserver) fn short_text(&mut self) -> Option<String> {
        let mut ahead = *self;
        let count = ahead.u8()?;
        let text = ahead.utf16(count.into())?;
        *self = ahead;
        Some(text)
    }

    /// A text after its length in units, two bytes.
    pub(in crate::source::sqlserver) fn long_text(&mut self) -> Option<String> {
        let mut ahead = *self;
        let count = ahead.u16()?;
        let text = ahead.utf16(count.into())?;
        *self = ahead;
        Some(text)
    }
}

/// UTF-16, little endian, with U+FFFD for what is none.
pub(in crate::source::sqlserver) fn utf16_lossy(bytes: &[u8]) -> String {
    let units = bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
    char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

/// `text` as UTF-16, little endian.
pub(in crate::source::sqlserver) fn utf16_bytes(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}
