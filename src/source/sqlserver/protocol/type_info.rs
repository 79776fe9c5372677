//! What COLMETADATA says of a column: its type, and how long its values are on the wire.

use super::code_page::CodePage;
use super::cursor::Cursor;

/// How a value is preceded by its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source::sqlserver) enum Framing {
    /// Always this many bytes.
    Fixed(u8),
    /// A byte; 0 is NULL.
    Byte,
    /// Two bytes; 0xFFFF is NULL.
    Short,
    /// Four bytes; 0 is NULL (`sql_variant`).
    Long,
    /// A text pointer, whose length of 0 is NULL, a timestamp and four bytes (`text`, `ntext`,
    /// `image`).
    Pointer,
    /// A total length, which may be unknown, and chunks (`max` types, `xml`, CLR types).
    Chunks,
}

/// The kind of a type, as far as it decides how values are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source::sqlserver) enum Kind {
    /// A literal NULL has no type.
    Null,
    Bit,
    /// 1 byte, unsigned.
    TinyInt,
    /// 2, 4 or 8 bytes.
    Int(u8),
    /// 4 or 8 bytes.
    Float(u8),
    /// 4 or 8 bytes, in ten-thousandths.
    Money(u8),
    /// `datetime` (8 bytes) or `smalldatetime` (4).
    DateTime(u8),
    Decimal {
        precision: u8,
        scale: u8,
    },
    Guid,
    Date,
    Time {
        scale: u8,
    },
    DateTime2 {
        scale: u8,
    },
    DateTimeOffset {
        scale: u8,
    },
    /// `char`, `varchar`, `text`.
    Char(CodePage),
    /// `nchar`, `nvarchar`, `ntext`.
    NChar,
    Binary,
    Xml,
    Variant,
    /// A CLR type: `hierarchyid`, `geometry`, `geography` or a user's own.
    Clr,
}

/// A type on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source::sqlserver) struct TypeInfo {
    pub(in crate::source::sqlserver) kind: Kind,
    pub(in crate::source::sqlserver) framing: Framing,
}

/// Length of a type whose values come in chunks.
const MAX: u16 = 0xffff;

/// Why a type cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source::sqlserver) enum Unread {
    /// The bytes end too early.
    Short,
    /// This byte names no type that is known here.
    Unknown(u8),
}

impl TypeInfo {
    /// Reads a TYPE_INFO.
    pub(in crate::source::sqlserver) fn read(cursor: &mut Cursor<'_>) -> Result<Self, Unread> {
        let byte = cursor.u8().ok_or(Unread::Short)?;
        let fixed = |kind, length| Ok(Self { kind, framing: Framing::Fixed(length) });
        match byte {
            0x1f => fixed(Kind::Null, 0),
            0x30 => fixed(Kind::TinyInt, 1),
            0x32 => fixed(Kind::Bit, 1),
            0x34 => fixed(Kind::Int(2), 2),
            0x38 => fixed(Kind::Int(4), 4),
            0x3a => fixed(Kind::DateTime(4), 4),
            0x3b => fixed(Kind::Float(4), 4),
            0x3c => fixed(Kind::Money(8), 8),
            0x3d => fixed(Kind::DateTime(8), 8),
            0x3e => fixed(Kind::Float(8), 8),
            0x7a => fixed(Kind::Money(4), 4),
            0x7f => fixed(Kind::Int(8), 8),
            _ => Self::read_variable(byte, cursor).ok_or(Unread::Short)?.ok_or(Unread::Unknown(byte)),
        }
    }

    /// `None` when the bytes end, `Some(None)` when the type is unknown.
    fn read_variable(byte: u8, cursor: &mut Cursor<'_>) -> Option<Option<Self>> {
        let framed = |kind, framing| Some(Some(Self { kind, framing }));
        let long_or_short = |length: u16| if length == MAX { Framing::Chunks } else { Framing::Short };
        match byte {
            0x24 => {
                cursor.u8()?;
                framed(Kind::Guid, Framing::Byte)
            }
            0x26 => match cursor.u8()? {
                1 => framed(Kind::TinyInt, Framing::Byte),
                length @ (2 | 4 | 8) => framed(Kind::Int(length), Framing::Byte),
                _ => Some(None),
            },
            0x68 => {
                cursor.u8()?;
                framed(Kind::Bit, Framing::Byte)
            }
            0x6d => match cursor.u8()? {
                length @ (4 | 8) => framed(Kind::Float(length), Framing::Byte),
                _ => Some(None),
            },
            0x6e => match cursor.u8()? {
                length @ (4 | 8) => framed(Kind::Money(length), Framing::Byte),
                _ => Some(None),
            },
            0x6f => match cursor.u8()? {
                length @ (4 | 8) => framed(Kind::DateTime(length), Framing::Byte),
                _ => Some(None),
            },
            0x28 => framed(Kind::Date, Framing::Byte),
            0x29 => framed(Kind::Time { scale: cursor.u8()? }, Framing::Byte),
            0x2a => framed(Kind::DateTime2 { scale: cursor.u8()? }, Framing::Byte),
            0x2b => framed(Kind::DateTimeOffset { scale: cursor.u8()? }, Framing::Byte),
            // decimal and numeric, today's and those of versions before 7.
            0x6a | 0x6c | 0x37 | 0x3f => {
                cursor.u8()?;
                framed(Kind::Decimal { precision: cursor.u8()?, scale: cursor.u8()? }, Framing::Byte)
            }
            // binary and varbinary of versions before 7
            0x2d | 0x25 => {
                cursor.u8()?;
                framed(Kind::Binary, Framing::Byte)
            }
            0xa5 | 0xad => {
                let length = cursor.u16()?;
                framed(Kind::Binary, long_or_short(length))
            }
            0xa7 | 0xaf => {
                let length = cursor.u16()?;
                framed(Kind::Char(CodePage::read(cursor)?), long_or_short(length))
            }
            0xe7 | 0xef => {
                let length = cursor.u16()?;
                CodePage::read(cursor)?;
                framed(Kind::NChar, long_or_short(length))
            }
            0x22 => {
                cursor.u32()?;
                framed(Kind::Binary, Framing::Pointer)
            }
            0x23 => {
                cursor.u32()?;
                framed(Kind::Char(CodePage::read(cursor)?), Framing::Pointer)
            }
            0x63 => {
                cursor.u32()?;
                CodePage::read(cursor)?;
                framed(Kind::NChar, Framing::Pointer)
            }
            0x62 => {
                cursor.u32()?;
                framed(Kind::Variant, Framing::Long)
            }
            0xf1 => {
                if cursor.u8()? != 0 {
                    // Database, owner and collection of the schema.
                    cursor.short_text()?;
                    cursor.short_text()?;
                    cursor.long_text()?;
                }
                framed(Kind::Xml, Framing::Chunks)
            }
            0xf0 => {
                cursor.u16()?;
                // Database, schema, type and assembly.
                cursor.short_text()?;
                cursor.short_text()?;
                cursor.short_text()?;
                cursor.long_text()?;
                framed(Kind::Clr, Framing::Chunks)
            }
            _ => Some(None),
        }
    }

    /// True for types whose column has a table name in COLMETADATA.
    pub(in crate::source::sqlserver) fn has_table_name(self) -> bool {
        self.framing == Framing::Pointer
    }
}
