//! Tokens of a server's message, except rows.

use super::Malformed;
use super::cursor::Cursor;
use super::type_info::{TypeInfo, Unread};

/// A row with every column.
pub(in crate::source::sqlserver) const ROW: u8 = 0xd1;
/// A row with a bitmap of the columns that are NULL.
pub(in crate::source::sqlserver) const NULL_BITMAP_ROW: u8 = 0xd2;

const COLUMN_METADATA: u8 = 0x81;
const TABLE_NAMES: u8 = 0xa4;
const COLUMN_INFO: u8 = 0xa5;
const ORDER: u8 = 0xa9;
const ERROR: u8 = 0xaa;
const INFO: u8 = 0xab;
const RETURN_VALUE: u8 = 0xac;
const LOGIN_ACKNOWLEDGED: u8 = 0xad;
const FEATURES_ACKNOWLEDGED: u8 = 0xae;
const RETURN_STATUS: u8 = 0x79;
const ENVIRONMENT: u8 = 0xe3;
const SESSION_STATE: u8 = 0xe4;
const SSPI: u8 = 0xed;
const FEDERATION_INFO: u8 = 0xee;
const DONE: u8 = 0xfd;
const DONE_PROCEDURE: u8 = 0xfe;
const DONE_IN_PROCEDURE: u8 = 0xff;

/// Columns of a result at most, as SQL Server itself limits them.
const MOST_COLUMNS: u16 = 4096;
/// Longest token that is waited for, in bytes: more is no token but a lie.
const LONGEST_TOKEN: usize = 16 << 20;

/// A message of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source::sqlserver) struct ServerMessage {
    pub(in crate::source::sqlserver) number: i32,
    pub(in crate::source::sqlserver) state: u8,
    /// Severity, 0 to 25.
    pub(in crate::source::sqlserver) class: u8,
    pub(in crate::source::sqlserver) text: String,
    /// Line of the batch, from 1.
    pub(in crate::source::sqlserver) line: i32,
}

/// The end of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source::sqlserver) struct Done {
    status: u16,
    rows: u64,
}

impl Done {
    /// Another result or statement follows.
    pub(in crate::source::sqlserver) fn more(self) -> bool {
        self.status & 0x01 != 0
    }

    /// The statement failed.
    pub(in crate::source::sqlserver) fn failed(self) -> bool {
        self.status & (0x02 | 0x100) != 0
    }

    /// The answer to an attention.
    pub(in crate::source::sqlserver) fn attention(self) -> bool {
        self.status & 0x20 != 0
    }

    /// How many rows the server counted.
    pub(in crate::source::sqlserver) fn rows(self) -> Option<u64> {
        (self.status & 0x10 != 0).then_some(self.rows)
    }
}

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source::sqlserver) struct WireColumn {
    pub(in crate::source::sqlserver) name: String,
    pub(in crate::source::sqlserver) type_info: TypeInfo,
}

/// A change of the session's environment that matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source::sqlserver) enum Change {
    PacketBytes(usize),
    /// The transaction that runs from now on, 0 for none.
    Transaction(u64),
    /// The client shall connect here instead.
    Route {
        host: String,
        port: u16,
    },
    Other,
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source::sqlserver) enum Token {
    Columns(Vec<WireColumn>),
    Error(ServerMessage),
    Change(Change),
    LoggedIn,
    /// What a security package of the server answers to that of the client.
    SecurityPackage(Vec<u8>),
    Done(Done),
    /// Nothing that is needed here.
    Other,
}

/// Why no token was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source::sqlserver) enum Unfinished {
    /// More bytes are needed.
    Short,
    /// No bytes can make it right.
    Broken(Malformed),
}

impl From<Malformed> for Unfinished {
    fn from(malformed: Malformed) -> Self {
        Self::Broken(malformed)
    }
}

/// Reads the token at the beginning of `bytes` and says how long it is. Rows are not read here.
pub(in crate::source::sqlserver) fn read(bytes: &[u8]) -> Result<(Token, usize), Unfinished> {
    let mut cursor = Cursor::new(bytes);
    let kind = cursor.u8().ok_or(Unfinished::Short)?;
    let token = match kind {
        COLUMN_METADATA => Token::Columns(columns(&mut cursor)?),
        RETURN_STATUS => {
            cursor.u32().ok_or(Unfinished::Short)?;
            Token::Other
        }
        DONE | DONE_PROCEDURE | DONE_IN_PROCEDURE => {
            let done = cursor.bytes(12).ok_or(Unfinished::Short)?;
            let mut done = Cursor::new(done);
            let (status, _command, rows) = (done.u16(), done.u16(), done.u64());
            Token::Done(Done { status: status.unwrap_or_default(), rows: rows.unwrap_or_default() })
        }
        ERROR | INFO | ENVIRONMENT | LOGIN_ACKNOWLEDGED | ORDER | TABLE_NAMES | COLUMN_INFO | SSPI => {
            let length = cursor.u16().ok_or(Unfinished::Short)?;
            let body = cursor.bytes(length.into()).ok_or(Unfinished::Short)?;
            match kind {
                ERROR => Token::Error(message(body).ok_or(Malformed("an error that ends too early"))?),
                ENVIRONMENT => Token::Change(change(body).ok_or(Malformed("a change that ends too early"))?),
                LOGIN_ACKNOWLEDGED => Token::LoggedIn,
                SSPI => Token::SecurityPackage(body.to_vec()),
                _ => Token::Other,
            }
        }
        SESSION_STATE | FEDERATION_INFO => {
            let length = cursor.u32().ok_or(Unfinished::Short)? as usize;
            if length > LONGEST_TOKEN {
                return Err(Malformed("a token of more than 16 MiB").into());
            }
            cursor.bytes(length).ok_or(Unfinished::Short)?;
            Token::Other
        }
        FEATURES_ACKNOWLEDGED => {
            features(&mut cursor)?;
            Token::Other
        }
        // Values come back from procedures, which nobody calls here.
        RETURN_VALUE => return Err(Malformed("a value that was not asked for").into()),
        _ => return Err(Malformed("an unknown token").into()),
    };
    Ok((token, bytes.len() - cursor.remaining()))
}

fn features(cursor: &mut Cursor<'_>) -> Result<(), Unfinished> {
    loop {
        if cursor.u8().ok_or(Unfinished::Short)? == 0xff {
            return Ok(());
        }
        let length = cursor.u32().ok_or(Unfinished::Short)? as usize;
        if length > LONGEST_TOKEN {
            return Err(Malformed("a feature of more than 16 MiB").into());
        }
        cursor.bytes(length).ok_or(Unfinished::Short)?;
    }
}

fn columns(cursor: &mut Cursor<'_>) -> Result<Vec<WireColumn>, Unfinished> {
    let count = cursor.u16().ok_or(Unfinished::Short)?;
    if count == 0xffff {
        return Ok(Vec::new());
    }
    if count > MOST_COLUMNS {
        return Err(Malformed("a result of more than 4096 columns").into());
    }
    let mut columns = Vec::with_capacity(count.into());
    for _ in 0..count {
        // The type as the user named it, and flags.
        cursor.bytes(6).ok_or(Unfinished::Short)?;
        let type_info = TypeInfo::read(cursor).map_err(|unread| match unread {
            Unread::Short => Unfinished::Short,
            Unread::Unknown(_) => Malformed("a column of an unknown type").into(),
        })?;
        if type_info.has_table_name() {
            for _part in 0..cursor.u8().ok_or(Unfinished::Short)? {
                cursor.long_text().ok_or(Unfinished::Short)?;
            }
        }
        let name = cursor.short_text().ok_or(Unfinished::Short)?;
        columns.push(WireColumn { name, type_info });
    }
    Ok(columns)
}

fn message(body: &[u8]) -> Option<ServerMessage> {
    let mut cursor = Cursor::new(body);
    let (number, state, class) = (cursor.i32()?, cursor.u8()?, cursor.u8()?);
    let text = cursor.long_text()?;
    let (_server, _procedure) = (cursor.short_text()?, cursor.short_text()?);
    Some(ServerMessage { number, state, class, text, line: cursor.i32().unwrap_or_default() })
}

fn change(body: &[u8]) -> Option<Change> {
    let mut cursor = Cursor::new(body);
    Some(match cursor.u8()? {
        4 => match cursor.short_text()?.parse() {
            Ok(bytes @ 512..=32_767) => Change::PacketBytes(bytes),
            Ok(_) | Err(_) => return None,
        },
        // A transaction or one of a coordinator begins.
        8 | 11 => match cursor.u8()? {
            8 => Change::Transaction(cursor.u64()?),
            _ => return None,
        },
        // It is committed, rolled back, given up.
        9 | 10 | 12 | 17 => Change::Transaction(0),
        20 => {
            let (_length, protocol, port) = (cursor.u16()?, cursor.u8()?, cursor.u16()?);
            if protocol != 0 {
                return None;
            }
            Change::Route { host: cursor.long_text()?, port }
        }
        _ => Change::Other,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::cursor::utf16_bytes;
    use super::*;

    fn with_length(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut token = vec![kind];
        token.extend_from_slice(&(body.len() as u16).to_le_bytes());
        token.extend_from_slice(body);
        token
    }

    fn text(text: &str, bytes: usize) -> Vec<u8> {
        let mut all = text.encode_utf16().count().to_le_bytes()[..bytes].to_vec();
        all.extend(utf16_bytes(text));
        all
    }

    fn error_token() -> Vec<u8> {
        let parts = [
            1205_i32.to_le_bytes().to_vec(),
            vec![13, 16],
            text("deadlock", 2),
            text("server", 1),
            text("", 1),
            7_i32.to_le_bytes().to_vec(),
        ];
        with_length(ERROR, &parts.concat())
    }

    #[test]
    fn an_error_has_number_state_class_and_line() {
        let expected = ServerMessage { number: 1205, state: 13, class: 16, text: "deadlock".into(), line: 7 };
        let token = error_token();
        assert_eq!(read(&token), Ok((Token::Error(expected), token.len())));
        for end in 0..token.len() {
            assert_eq!(read(&token[..end]), Err(Unfinished::Short), "{end}");
        }
    }

    #[test]
    fn changes_are_read() {
        let transaction = [&[8, 8][..], &77_u64.to_le_bytes(), &[0]].concat();
        let packet = [vec![4], text("16000", 1), text("4096", 1)].concat();
        let place = text("other.example", 2);
        let route = [
            &[20][..],
            &((place.len() + 3) as u16).to_le_bytes(),
            &[0],
            &1444_u16.to_le_bytes(),
            &place,
            &[0, 0],
        ]
        .concat();
        for (body, change) in [
            (transaction, Change::Transaction(77)),
            (vec![10, 0, 0], Change::Transaction(0)),
            (packet, Change::PacketBytes(16_000)),
            (route, Change::Route { host: "other.example".into(), port: 1444 }),
            (vec![1, 0, 0], Change::Other),
        ] {
            let token = with_length(ENVIRONMENT, &body);
            assert_eq!(read(&token), Ok((Token::Change(change), token.len())));
        }
        let too_small = with_length(ENVIRONMENT, &[vec![4], text("8", 1), text("4096", 1)].concat());
        assert!(matches!(read(&too_small), Err(Unfinished::Broken(_))));
    }

    #[test]
    fn the_answer_of_a_security_package_is_kept_as_it_is() {
        for body in [&b""[..], b"\x60\x03abc", &[7; 65_535]] {
            let token = with_length(SSPI, body);
            assert_eq!(read(&token), Ok((Token::SecurityPackage(body.to_vec()), token.len())));
            assert_eq!(read(&token[..token.len() - 1]), Err(Unfinished::Short));
        }
    }

    #[test]
    fn hostile_lengths_are_refused_before_they_are_waited_for() {
        let state = [&[SESSION_STATE][..], &u32::MAX.to_le_bytes()].concat();
        assert!(matches!(read(&state), Err(Unfinished::Broken(_))));
        assert!(matches!(read(&[COLUMN_METADATA, 1, 0x20]), Err(Unfinished::Broken(_))));
        assert!(matches!(read(&[0x42]), Err(Unfinished::Broken(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 1..200), kind in any::<prop::sample::Index>()) {
            let _ = read(&bytes);
            let kinds = [COLUMN_METADATA, ERROR, ENVIRONMENT, FEATURES_ACKNOWLEDGED, DONE, SESSION_STATE, SSPI];
            bytes[0] = kinds[kind.index(kinds.len())];
            if let Ok((_, length)) = read(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
