//! The pieces that packets are made of, and the packets that are not rows.
//!
//! The layout is that of chapter "Client/Server Protocol" of the MySQL internals manual, and of
//! MariaDB's for what the two do differently. Total: no bytes make a reader here panic.

use super::types::{ColumnDescription, flag};

/// A packet of this length is followed by another one that continues it.
pub(super) const FULL_PACKET: usize = 0xff_ffff;
/// Length and sequence number before each packet.
pub(super) const HEADER_BYTES: usize = 4;

/// Status flag: another result follows.
pub(super) const MORE_RESULTS: u16 = 0x0008;

/// Bytes that are not what the protocol says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server sent a packet of a wrong length or form")]
pub(super) struct Malformed;

/// Reads a packet from its beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Bytes up to a zero, which is taken too.
    pub(super) fn until_zero(&mut self) -> Result<&'a [u8], Malformed> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(Malformed)?;
        let text = self.bytes(end)?;
        self.bytes(1)?;
        Ok(text)
    }

    /// A length-encoded integer; `None` is NULL in a text row.
    pub(super) fn length(&mut self) -> Result<Option<u64>, Malformed> {
        Ok(Some(match self.u8()? {
            short @ ..=250 => short.into(),
            251 => return Ok(None),
            252 => self.u16()?.into(),
            253 => {
                let [a, b, c] = self.array()?;
                u32::from_le_bytes([a, b, c, 0]).into()
            }
            254 => u64::from_le_bytes(self.array()?),
            255 => return Err(Malformed),
        }))
    }

    /// A length-encoded string; `None` is NULL in a text row.
    pub(super) fn nullable_string(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let Some(length) = self.length()? else { return Ok(None) };
        self.bytes(usize::try_from(length).map_err(|_too_long| Malformed)?).map(Some)
    }

    pub(super) fn string(&mut self) -> Result<&'a [u8], Malformed> {
        self.nullable_string()?.ok_or(Malformed)
    }
}

/// Appends a length-encoded string.
pub(super) fn put_string(buffer: &mut Vec<u8>, bytes: &[u8]) {
    put_length(buffer, bytes.len() as u64);
    buffer.extend_from_slice(bytes);
}

fn put_length(buffer: &mut Vec<u8>, length: u64) {
    let bytes = length.to_le_bytes();
    match length {
        0..=250 => buffer.push(bytes[0]),
        251..=0xffff => {
            buffer.push(252);
            buffer.extend_from_slice(&bytes[..2]);
        }
        0x1_0000..=0xff_ffff => {
            buffer.push(253);
            buffer.extend_from_slice(&bytes[..3]);
        }
        0x100_0000.. => {
            buffer.push(254);
            buffer.extend_from_slice(&bytes);
        }
    }
}

/// What the server says of itself before the login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) server_version: String,
    pub(super) connection_id: u32,
    pub(super) capabilities: u32,
    /// Further capabilities, of MariaDB alone.
    pub(super) mariadb_capabilities: u32,
    /// 20 random bytes that are mixed into the proof of the password.
    pub(super) challenge: Vec<u8>,
    /// The method that the server prefers.
    pub(super) plugin: String,
}

/// Bit 0 of the capabilities: a MySQL server, whereas MariaDB uses this bit to announce its own.
pub(super) const CAPABILITY_MYSQL: u32 = 1;

impl Greeting {
    pub(super) fn is_mariadb(&self) -> bool {
        self.server_version.contains("MariaDB")
    }

    pub(super) fn read(packet: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(packet);
        if reader.u8()? != 10 {
            return Err(Malformed);
        }
        let server_version = String::from_utf8_lossy(reader.until_zero()?).into_owned();
        let connection_id = reader.u32()?;
        let mut challenge = reader.bytes(8)?.to_vec();
        reader.bytes(1)?;
        let low = u32::from(reader.u16()?);
        let _character_set = reader.u8()?;
        let _status = reader.u16()?;
        let capabilities = low | (u32::from(reader.u16()?) << 16);
        let challenge_length = reader.u8()?;
        reader.bytes(6)?;
        let mariadb_capabilities = match capabilities & CAPABILITY_MYSQL {
            0 => reader.u32()?,
            _ => {
                reader.bytes(4)?;
                0
            }
        };
        let rest =
            reader.bytes(usize::from(challenge_length.saturating_sub(8)).max(13).min(reader.0.len()))?;
        challenge.extend_from_slice(rest.strip_suffix(&[0]).unwrap_or(rest));
        let plugin = reader.until_zero().unwrap_or(reader.0);
        let plugin = String::from_utf8_lossy(plugin).into_owned();
        Ok(Self { server_version, connection_id, capabilities, mariadb_capabilities, challenge, plugin })
    }
}

/// The status flags of an EOF packet; `None` when `packet` is none.
///
/// A row of the text protocol can begin with the same byte, but only when its first value has more
/// than 16 MiB, so the length tells them apart.
pub(super) fn end_status(packet: &[u8]) -> Option<u16> {
    match packet {
        [0xfe, _, _, low, high] => Some(u16::from_le_bytes([*low, *high])),
        [0xfe] => Some(0),
        _ => None,
    }
}

/// The status flags of an OK packet.
pub(super) fn ok_status(packet: &[u8]) -> Result<u16, Malformed> {
    let mut reader = Reader(packet.get(1..).ok_or(Malformed)?);
    reader.length()?;
    reader.length()?;
    reader.u16()
}

/// Reads the description of a column. `extended` says that MariaDB's further facts are in it.
pub(super) fn column(packet: &[u8], extended: bool) -> Result<ColumnDescription, Malformed> {
    let mut reader = Reader(packet);
    let _catalog = reader.string()?;
    let _schema = reader.string()?;
    let _table = reader.string()?;
    let _original_table = reader.string()?;
    let name = String::from_utf8_lossy(reader.string()?).into_owned();
    let _original_name = reader.string()?;
    let mut format = String::new();
    if extended {
        let mut facts = Reader(reader.string()?);
        while !facts.0.is_empty() {
            let _kind = facts.u8()?;
            // The name of the type (0) or of the format (1): one or the other is given.
            format = String::from_utf8_lossy(facts.string()?).into_owned();
        }
    }
    let _length_of_what_follows = reader.length()?;
    let character_set = reader.u16()?;
    let length = reader.u32()?;
    let type_code = reader.u8()?;
    let flags = reader.u16()?;
    let decimals = reader.u8()?;
    Ok(ColumnDescription {
        name,
        type_code,
        is_unsigned: flags & flag::UNSIGNED != 0,
        flags,
        character_set,
        length,
        decimals,
        format,
    })
}

/// What `COM_STMT_PREPARE` is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prepared {
    pub(super) statement: u32,
    pub(super) columns: u16,
    pub(super) parameters: u16,
}

impl Prepared {
    pub(super) fn read(packet: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(packet);
        if reader.u8()? != 0 {
            return Err(Malformed);
        }
        Ok(Self { statement: reader.u32()?, columns: reader.u16()?, parameters: reader.u16()? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_are_read_as_they_are_written() {
        for length in [0, 1, 250, 251, 252, 255, 256, 65_535, 65_536, 0xff_ffff, 0x100_0000, u64::MAX] {
            let mut bytes = Vec::new();
            put_length(&mut bytes, length);
            let mut reader = Reader(&bytes);
            assert_eq!(reader.length(), Ok(Some(length)));
            assert!(reader.0.is_empty());
        }
        assert_eq!(Reader(&[251]).nullable_string(), Ok(None));
        assert_eq!(Reader(&[255]).length(), Err(Malformed));
    }

    #[test]
    fn the_end_of_rows_is_told_from_a_long_value() {
        assert_eq!(end_status(&[0xfe, 0, 0, 0x22, 0x08]), Some(0x0822));
        assert_eq!(end_status(&[0xfe, 1, 2, 3, 4, 5, 6, 7, 8, 9]), None);
        assert_eq!(end_status(&[0, 0, 0, 0, 0]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _greeting = Greeting::read(&bytes);
            let _columns = (column(&bytes, true), column(&bytes, false));
            let _prepared = Prepared::read(&bytes);
            let _ends = (end_status(&bytes), ok_status(&bytes));
        }
    }
}
