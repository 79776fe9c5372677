//! `sql_variant`: a value that brings its own type, as text.
//!
//! Numbers are exact, times are ISO 8601 with all their digits, bytes are hexadecimal: the text that
//! a column of the value's own type would give, whereas the server's own conversion to text cuts
//! floats to six digits and times to minutes.

use super::Invalid;
use super::decimal::{decimal, money};
use super::fixed::{FixedWidth, array};
use super::temporal::{
    Clock, DateTime, SmallDateTime, clock_text, datetime2_text, day_text, instant_text, offset_text, push,
};
use super::text::{Guid, TextOf, hexadecimal, utf16};
use crate::source::sqlserver::protocol::code_page::CodePage;
use crate::source::sqlserver::protocol::cursor::Cursor;

/// Reads a variant: the byte of its type, the length of the properties, the properties, the value.
pub(super) struct Variant;

impl TextOf for Variant {
    fn append(&self, text: &mut Vec<u8>, field: &[u8]) -> Result<(), Invalid> {
        let mut cursor = Cursor::new(field);
        let header = cursor.u8().zip(cursor.u8()).ok_or(Invalid::Malformed)?;
        let (kind, property_bytes) = header;
        let properties = cursor.bytes(property_bytes.into()).ok_or(Invalid::Malformed)?;
        let value = cursor.bytes(cursor.remaining()).ok_or(Invalid::Malformed)?;
        let clock = || Clock::of(*properties.first().ok_or(Invalid::Malformed)?).ok_or(Invalid::Malformed);
        match kind {
            0x24 => Guid.append(text, value)?,
            0x32 => push(text, format_args!("{}", u8::from(u8::from_le_bytes(array(value)?) != 0))),
            0x30 => push(text, format_args!("{}", u8::from_le_bytes(array(value)?))),
            0x34 => push(text, format_args!("{}", i16::from_le_bytes(array(value)?))),
            0x38 => push(text, format_args!("{}", i32::from_le_bytes(array(value)?))),
            0x7f => push(text, format_args!("{}", i64::from_le_bytes(array(value)?))),
            0x3b => push(text, format_args!("{:?}", f32::from_le_bytes(array(value)?))),
            0x3e => push(text, format_args!("{:?}", f64::from_le_bytes(array(value)?))),
            0x3c => scaled(text, money(value)?.into(), 4),
            0x7a => scaled(text, i32::from_le_bytes(array(value)?).into(), 4),
            0x3d => instant_text(text, DateTime.read(value)?, 3),
            0x3a => instant_text(text, SmallDateTime.read(value)?, 0),
            0x28 => day_text(text, value)?,
            0x29 => clock_text(text, clock()?, value)?,
            0x2a => datetime2_text(text, clock()?, value)?,
            0x2b => offset_text(text, clock()?, value)?,
            0x6a | 0x6c => {
                let scale = *properties.get(1).ok_or(Invalid::Malformed)?;
                // 38 digits at most, all of them behind the point.
                if scale > 38 {
                    return Err(Invalid::Malformed);
                }
                scaled(text, decimal(value)?, scale);
            }
            0xa5 | 0xad => hexadecimal(text, value),
            0xa7 | 0xaf => {
                let mut collation = Cursor::new(properties);
                let (info, order) = collation.u32().zip(collation.u8()).ok_or(Invalid::Malformed)?;
                if !CodePage::of(info, order).append(text, value) {
                    return Err(Invalid::NotText);
                }
            }
            0xe7 | 0xef => utf16(text, value)?,
            _ => return Err(Invalid::Variant),
        }
        Ok(())
    }
}

/// Appends a number of `scale` digits behind the point.
fn scaled(text: &mut Vec<u8>, value: i128, scale: u8) {
    let unit = 10_u128.pow(u32::from(scale));
    let (sign, magnitude) = (if value < 0 { "-" } else { "" }, value.unsigned_abs());
    push(text, format_args!("{sign}{}", magnitude / unit));
    if scale > 0 {
        push(text, format_args!(".{:0width$}", magnitude % unit, width = usize::from(scale)));
    }
}
