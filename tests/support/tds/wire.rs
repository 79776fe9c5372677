//! Tokens as a server writes them.

/// How the values of a column are preceded by their length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Fixed,
    Byte,
    Short,
    Long,
    Pointer,
    Chunks,
}

/// A column of the result.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// As `sp_describe_first_result_set` prints it.
    pub(crate) type_name: String,
    /// TYPE_INFO.
    pub(crate) type_info: Vec<u8>,
    pub(crate) framing: Framing,
    pub(crate) nullable: bool,
    /// Its name of an alias type.
    pub(crate) user_type: Option<String>,
    pub(crate) is_computed: bool,
}

impl Column {
    pub(crate) fn new(name: &str, type_name: &str, type_info: &[u8], framing: Framing) -> Self {
        Self {
            name: name.into(),
            type_name: type_name.into(),
            type_info: type_info.to_vec(),
            framing,
            nullable: true,
            user_type: None,
            is_computed: false,
        }
    }

    /// `int`.
    pub(crate) fn int(name: &str) -> Self {
        Self::new(name, "int", &[0x26, 4], Framing::Byte)
    }

    /// `nvarchar(4000)` of Latin1_General_CI_AS.
    pub(crate) fn nvarchar(name: &str) -> Self {
        Self::new(name, "nvarchar(4000)", &[0xe7, 0x40, 0x1f, 0x09, 0x04, 0xd0, 0, 0], Framing::Short)
    }
}

/// The rows of a result: the bytes of each value.
pub(crate) type Rows = Vec<Vec<Option<Vec<u8>>>>;

/// `text` as UTF-16, little endian.
pub(crate) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn short_text(text: &str) -> Vec<u8> {
    let mut bytes = vec![text.encode_utf16().count() as u8];
    bytes.extend(utf16(text));
    bytes
}

fn long_text(text: &str) -> Vec<u8> {
    let mut bytes = (text.encode_utf16().count() as u16).to_le_bytes().to_vec();
    bytes.extend(utf16(text));
    bytes
}

fn with_length(token: u8, body: &[u8]) -> Vec<u8> {
    [&[token][..], &(body.len() as u16).to_le_bytes(), body].concat()
}

pub(super) fn columns(columns: &[Column]) -> Vec<u8> {
    let mut token = vec![0x81];
    token.extend((columns.len() as u16).to_le_bytes());
    for column in columns {
        // The number of the type as the user named it, and flags: nullable, updatable or computed.
        let user_type = if column.user_type.is_some() { 257_u32 } else { 0 };
        token.extend(user_type.to_le_bytes());
        let how = if column.is_computed { 0x20 } else { 8 };
        token.extend([u8::from(column.nullable) | how, 0]);
        token.extend(&column.type_info);
        if column.framing == Framing::Pointer {
            token.push(1);
            token.extend(long_text("t"));
        }
        token.extend(short_text(&column.name));
    }
    token
}

pub(super) fn row(
    columns: &[Column],
    values: &[Option<Vec<u8>>],
    null_bitmap: bool,
    chunk_bytes: usize,
) -> Vec<u8> {
    let mut token = vec![if null_bitmap { 0xd2 } else { 0xd1 }];
    if null_bitmap {
        for eight in values.chunks(8) {
            token.push((0..8).filter(|bit| matches!(eight.get(*bit), Some(None))).map(|bit| 1 << bit).sum());
        }
    }
    for (column, value) in columns.iter().zip(values) {
        if value.is_some() || !null_bitmap {
            put(&mut token, column.framing, value.as_deref(), chunk_bytes);
        }
    }
    token
}

fn put(token: &mut Vec<u8>, framing: Framing, value: Option<&[u8]>, chunk_bytes: usize) {
    match (framing, value) {
        (Framing::Fixed, Some(value)) => token.extend(value),
        (Framing::Fixed, None) => {}
        (Framing::Byte, Some(value)) => {
            token.push(value.len() as u8);
            token.extend(value);
        }
        (Framing::Byte | Framing::Pointer, None) => token.push(0),
        (Framing::Short, Some(value)) => {
            token.extend((value.len() as u16).to_le_bytes());
            token.extend(value);
        }
        (Framing::Short, None) => token.extend(u16::MAX.to_le_bytes()),
        (Framing::Long, Some(value)) => {
            token.extend((value.len() as u32).to_le_bytes());
            token.extend(value);
        }
        (Framing::Long, None) => token.extend([0; 4]),
        (Framing::Pointer, Some(value)) => {
            token.push(16);
            token.extend([0x64; 16 + 8]);
            token.extend((value.len() as u32).to_le_bytes());
            token.extend(value);
        }
        (Framing::Chunks, Some(value)) => {
            // Every other server says how long the whole is.
            let total = if chunk_bytes.is_multiple_of(2) { u64::MAX - 1 } else { value.len() as u64 };
            token.extend(total.to_le_bytes());
            for chunk in value.chunks(chunk_bytes) {
                token.extend((chunk.len() as u32).to_le_bytes());
                token.extend(chunk);
            }
            token.extend([0; 4]);
        }
        (Framing::Chunks, None) => token.extend(u64::MAX.to_le_bytes()),
    }
}

pub(super) fn error(number: i32, state: u8, class: u8, text: &str, line: i32) -> Vec<u8> {
    let body = [
        number.to_le_bytes().to_vec(),
        vec![state, class],
        long_text(text),
        short_text("double"),
        short_text(""),
        line.to_le_bytes().to_vec(),
    ];
    with_length(0xaa, &body.concat())
}

/// A message that is no error; clients pass over it.
pub(super) fn information(text: &str) -> Vec<u8> {
    let mut token = error(5701, 2, 0, text, 1);
    token[0] = 0xab;
    token
}

pub(super) const MORE: u16 = 0x01;
pub(super) const FAILED: u16 = 0x02;
pub(super) const COUNTED: u16 = 0x10;
pub(super) const ATTENTION: u16 = 0x20;

pub(super) fn done(status: u16, rows: u64) -> Vec<u8> {
    [&[0xfd][..], &status.to_le_bytes(), &[0xc1, 0], &rows.to_le_bytes()].concat()
}

/// A change of the environment, of texts.
pub(super) fn change(kind: u8, new: &str, old: &str) -> Vec<u8> {
    with_length(0xe3, &[vec![kind], short_text(new), short_text(old)].concat())
}

pub(super) fn transaction_begins(number: u64) -> Vec<u8> {
    with_length(0xe3, &[&[8, 8][..], &number.to_le_bytes(), &[0]].concat())
}

pub(super) fn transaction_ends(number: u64) -> Vec<u8> {
    with_length(0xe3, &[&[9, 0, 8][..], &number.to_le_bytes()].concat())
}

pub(super) fn route(host: &str, port: u16) -> Vec<u8> {
    let place = [&[0][..], &port.to_le_bytes(), &long_text(host)].concat();
    let length = (place.len() as u16).to_le_bytes();
    with_length(0xe3, &[&[20][..], &length, &place, &[0, 0]].concat())
}

pub(super) fn login_acknowledged() -> Vec<u8> {
    let body = [&[1, 0x74, 0, 0, 4][..], &short_text("Microsoft SQL Server"), &[16, 0, 0, 0]].concat();
    with_length(0xad, &body)
}

/// A token of the server's security package.
pub(super) fn security_package(token: &[u8]) -> Vec<u8> {
    with_length(0xed, token)
}

/// The answer to the features that were asked for: UTF-8 is there.
pub(super) fn features_acknowledged() -> Vec<u8> {
    vec![0xae, 0x0a, 1, 0, 0, 0, 1, 0xff]
}
