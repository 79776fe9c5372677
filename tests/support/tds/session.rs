//! One session: PRELOGIN, TLS, LOGIN7, batches.

use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::wire::{self, Column, Framing, Rows, utf16};
use super::{Encryption, End, PASSWORD, Script, Seen, USERNAME, Verdict};

const BATCH: u8 = 1;
/// A remote procedure call: other clients prepare statements.
const CALL: u8 = 3;
const RESULT: u8 = 4;
const ATTENTION: u8 = 6;
const LOGIN: u8 = 16;
const PRELOGIN: u8 = 18;
/// Packet size that the double grants.
const PACKET_BYTES: usize = 8000;

type Log = Mutex<Vec<Seen>>;

pub(super) trait Both: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Both for T {}

async fn receive(stream: &mut (impl AsyncRead + Unpin + ?Sized)) -> io::Result<(u8, Vec<u8>)> {
    let mut message = Vec::new();
    loop {
        let mut header = [0; 8];
        stream.read_exact(&mut header).await?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let start = message.len();
        message.resize(start + length.checked_sub(8).ok_or(io::ErrorKind::InvalidData)?, 0);
        stream.read_exact(&mut message[start..]).await?;
        if header[1] & 1 == 1 {
            return Ok((header[0], message));
        }
    }
}

/// Sends pieces of one message; the last packet goes out with `finish`.
struct Sender<'s> {
    stream: &'s mut dyn Both,
    waiting: Vec<u8>,
}

impl Sender<'_> {
    async fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() < 16 * PACKET_BYTES {
            return Ok(());
        }
        let piece = PACKET_BYTES - 8;
        let whole = (self.waiting.len() - 1) / piece * piece;
        let rest = self.waiting.split_off(whole);
        let packets: Vec<u8> =
            self.waiting.chunks(piece).flat_map(|piece| packet(RESULT, 0, piece)).collect();
        self.waiting = rest;
        self.stream.write_all(&packets).await
    }

    /// Sends what waits, as packets that are not the last ones.
    async fn flush(&mut self) -> io::Result<()> {
        let packets: Vec<u8> =
            self.waiting.chunks(PACKET_BYTES - 8).flat_map(|piece| packet(RESULT, 0, piece)).collect();
        self.waiting.clear();
        self.stream.write_all(&packets).await?;
        self.stream.flush().await
    }

    async fn finish(mut self) -> io::Result<()> {
        let last = self.waiting.split_off(self.waiting.len().saturating_sub(PACKET_BYTES - 8));
        self.flush().await?;
        self.stream.write_all(&packet(RESULT, 1, &last)).await?;
        self.stream.flush().await
    }
}

fn packet(kind: u8, status: u8, piece: &[u8]) -> Vec<u8> {
    let length = ((piece.len() + 8) as u16).to_be_bytes();
    [&[kind, status, length[0], length[1], 0, 51, 1, 0][..], piece].concat()
}

pub(super) async fn send(stream: &mut dyn Both, message: &[u8]) -> io::Result<()> {
    let mut sender = Sender { stream, waiting: Vec::new() };
    sender.put(message).await?;
    sender.finish().await
}

pub(super) async fn serve(socket: TcpStream, script: &Script, log: &Log) -> io::Result<()> {
    let acceptor = |strict| script.certificate.as_ref().expect("a certificate for TLS").acceptor(strict);
    if script.encryption == Encryption::Strict {
        let mut stream = acceptor(true).accept(socket).await?;
        agree(&mut stream, Encryption::NotSupported, script).await?;
        log_in(&mut stream, script, log, true).await?;
        return batches(&mut stream, script, log).await;
    }
    let mut socket = socket;
    let wanted = agree(&mut socket, script.encryption, script).await?;
    if script.encryption == Encryption::Cut {
        // The client's greeting has arrived.
        let mut greeting = [0; 64];
        socket.read_exact(&mut greeting).await?;
        return Ok(());
    }
    let granted = match (script.encryption, wanted) {
        (Encryption::NotSupported, _) => Encryption::NotSupported,
        (Encryption::Off, 1) => Encryption::On,
        (other, _) => other,
    };
    if granted == Encryption::NotSupported {
        log_in(&mut socket, script, log, false).await?;
        return batches(&mut socket, script, log).await;
    }
    let tunnel = Tunnel { socket, handshaking: true, left: 0, header: Vec::new(), outgoing: Vec::new() };
    let mut stream = acceptor(false).accept(tunnel).await?;
    stream.get_mut().0.handshaking = false;
    if granted == Encryption::Off {
        let (kind, message) = receive(&mut stream).await?;
        // What follows is plain.
        let mut socket = stream.into_inner().0.socket;
        answer_login(&mut socket, kind, &message, script, log, true).await?;
        return batches(&mut socket, script, log).await;
    }
    log_in(&mut stream, script, log, true).await?;
    batches(&mut stream, script, log).await
}

/// Answers PRELOGIN; returns the encryption that the client asked for.
async fn agree(stream: &mut dyn Both, encryption: Encryption, script: &Script) -> io::Result<u8> {
    let (kind, request) = receive(stream).await?;
    assert_eq!(kind, PRELOGIN, "a client begins with PRELOGIN");
    let wanted = request
        .chunks(5)
        .take_while(|option| option[0] != 0xff)
        .find(|option| option[0] == 1)
        .map_or(2, |option| request[usize::from(u16::from_be_bytes([option[1], option[2]]))]);
    let granted = match (encryption, wanted) {
        (Encryption::NotSupported | Encryption::Strict, _) => 2,
        (Encryption::Off, 1) | (Encryption::On | Encryption::Cut, _) => 1,
        (Encryption::Off, _) => 0,
        (Encryption::Required, _) => 3,
    };
    let federated = u8::from(script.token.is_some());
    // Version, encryption and federated authentication, then their values.
    let options = [0, 0, 16, 0, 6, 1, 0, 22, 0, 1, 6, 0, 23, 0, 1, 0xff];
    let answer = [&options[..], &[16, 0, 0x10, 0, 0, 0], &[granted, federated]].concat();
    send(stream, &answer).await?;
    Ok(wanted)
}

async fn log_in(stream: &mut dyn Both, script: &Script, log: &Log, encrypted: bool) -> io::Result<()> {
    let (kind, message) = receive(stream).await?;
    answer_login(stream, kind, &message, script, log, encrypted).await
}

async fn answer_login(
    stream: &mut dyn Both,
    kind: u8,
    message: &[u8],
    script: &Script,
    log: &Log,
    encrypted: bool,
) -> io::Result<()> {
    assert_eq!(kind, LOGIN, "LOGIN7 comes after PRELOGIN");
    let number = |place: usize| usize::from(u16::from_le_bytes([message[place], message[place + 1]]));
    let bytes = |place: usize| {
        let (offset, length) = (number(place), number(place + 2));
        message[offset..offset + length * 2].to_vec()
    };
    let text = |bytes: &[u8]| {
        let units: Vec<u16> = bytes.chunks(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
        String::from_utf16(&units).expect("UTF-16")
    };
    let password: Vec<u8> = bytes(44).iter().map(|byte| (byte ^ 0xa5).rotate_left(4)).collect();
    let (username, password) = (text(&bytes(40)), text(&password));
    let extension = number(number(56));
    let token = (message[extension] == 2).then(|| {
        let length = u32::from_le_bytes(message[extension + 6..extension + 10].try_into().expect("4 bytes"));
        assert_eq!(message[extension + 5], 3, "a security token, with the server's word repeated");
        text(&message[extension + 10..extension + 10 + length as usize])
    });
    log.lock().expect("not poisoned").push(Seen::Login {
        username: username.clone(),
        database: text(&bytes(68)),
        application: text(&bytes(48)),
        read_only: message[26] & 0x20 != 0,
        encrypted,
        packet_bytes: u32::from_le_bytes(message[8..12].try_into().expect("4 bytes")),
    });
    let mut answer = Vec::new();
    let is_right = match (&script.integrated, &script.token) {
        (Some(integrated), _) => match integrated.verify(message) {
            Verdict::Known { principal, proof } => {
                log.lock().expect("not poisoned").push(Seen::Principal(principal));
                answer = integrated.prove(stream, proof).await?;
                true
            }
            Verdict::Refused => false,
        },
        (None, Some(wanted)) => token.as_ref() == Some(wanted),
        (None, None) => (username.as_str(), password.as_str()) == (USERNAME, PASSWORD),
    };
    if !is_right {
        let text = format!("Login failed for user '{username}'.");
        let refusal = [wire::error(18_456, 1, 14, &text, 1), wire::done(wire::FAILED, 0)].concat();
        send(stream, &refusal).await?;
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    if script.floods_login {
        // Features without an end: whoever gathers them gathers for ever.
        let feature = [&[0xae, 1, 0, 0, 0xf0, 0][..], &vec![0; 0xf0_0000]].concat();
        loop {
            let packets: Vec<u8> =
                feature.chunks(PACKET_BYTES - 8).flat_map(|piece| packet(RESULT, 0, piece)).collect();
            stream.write_all(&packets).await?;
        }
    }
    let granted = [
        wire::change(1, "tests", "master"),
        wire::information("Changed database context to 'tests'."),
        wire::change(4, &PACKET_BYTES.to_string(), "4096"),
        wire::login_acknowledged(),
        wire::features_acknowledged(),
    ];
    answer.extend(granted.concat());
    if let Some(address) = script.route {
        answer.extend(wire::route(&address.ip().to_string(), address.port()));
    }
    answer.extend(wire::done(0, 0));
    send(stream, &answer).await
}

async fn batches(stream: &mut dyn Both, script: &Script, log: &Log) -> io::Result<()> {
    let mut transaction = 0_u64;
    loop {
        let (kind, message) = receive(stream).await?;
        if kind == ATTENTION {
            log.lock().expect("not poisoned").push(Seen::Attention);
            send(stream, &wire::done(wire::ATTENTION, 0)).await?;
            continue;
        }
        let headers = u32::from_le_bytes(message[..4].try_into().expect("4 bytes")) as usize;
        if kind == CALL {
            // By number: 0xffff, then which one.
            let procedure = u16::from_le_bytes([message[headers + 2], message[headers + 3]]);
            log.lock().expect("not poisoned").push(Seen::Call);
            // Of a script that hangs, not even the description comes; what does is an attention.
            if !(procedure == SP_PREPARE && matches!(script.end, End::Hang)) {
                send(stream, &called(procedure, script)).await?;
            }
            continue;
        }
        assert_eq!(kind, BATCH, "a client sends batches");
        let named = u64::from_le_bytes(message[10..18].try_into().expect("8 bytes"));
        assert_eq!(named, transaction, "the client names the transaction that runs");
        let units: Vec<u16> =
            message[headers..].chunks(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
        let sql = String::from_utf16(&units).expect("UTF-16");
        log.lock().expect("not poisoned").push(Seen::Batch(sql.clone()));
        if script.silent_on.is_some_and(|word| sql.contains(word)) {
            wait_for_attention(stream, log).await?;
            continue;
        }
        match answer(&sql, script) {
            Answer::Message(message) => {
                let mut tokens = Vec::new();
                if sql.contains("BEGIN TRANSACTION") {
                    transaction = 0x0102_0304_0506_0708;
                    tokens = wire::transaction_begins(transaction);
                }
                if sql.contains("COMMIT TRANSACTION") {
                    tokens = wire::transaction_ends(transaction);
                    transaction = 0;
                }
                send(stream, &[tokens, message].concat()).await?;
            }
            Answer::Rows => match &script.texts {
                Some((columns, rows)) if is_of_texts(&sql) => {
                    let (columns, rows) = (columns.clone(), rows.clone());
                    let script = Script { columns, rows, texts: None, ..script.clone() };
                    self::rows(stream, "", &script, log).await?;
                }
                _ => rows(stream, &sql, script, log).await?,
            },
        }
    }
}

/// The statement of the agent that selects everything as text.
fn is_of_texts(sql: &str) -> bool {
    sql.contains("SELECT * FROM (SELECT")
}

/// The number of a procedure.
const SP_PREPARE: u16 = 11;

/// The answer to a call: `sp_prepare` describes the result and gives a number to the statement.
fn called(procedure: u16, script: &Script) -> Vec<u8> {
    let mut answer = Vec::new();
    if procedure == SP_PREPARE {
        answer.extend(wire::columns(&script.columns));
    }
    // A return status of 0.
    answer.extend([0x79, 0, 0, 0, 0]);
    if procedure == SP_PREPARE {
        // The output parameter: an integer.
        answer.extend([0xac, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x26, 4, 4, 1, 0, 0, 0]);
    }
    let mut done = wire::done(0, 0);
    done[0] = 0xfe;
    answer.extend(done);
    answer
}

enum Answer {
    Message(Vec<u8>),
    /// The result of the script.
    Rows,
}

/// A result of texts.
fn texts(names: &[&str], rows: &[Vec<Option<String>>]) -> Vec<u8> {
    let columns: Vec<Column> = names.iter().map(|name| Column::nvarchar(name)).collect();
    let mut message = wire::columns(&columns);
    for row in rows {
        let values: Vec<_> = row.iter().map(|text| text.as_deref().map(utf16)).collect();
        message.extend(wire::row(&columns, &values, false, 8000));
    }
    message.extend(wire::done(wire::COUNTED, rows.len() as u64));
    message
}

fn answer(sql: &str, script: &Script) -> Answer {
    if let Some((_, number, class)) = script.refuse.filter(|(word, ..)| sql.contains(word)) {
        let refusal = [wire::error(number, 1, class, "Refused 'secret'.", 1), wire::done(wire::FAILED, 0)];
        return Answer::Message(refusal.concat());
    }
    let some = |text: &str| Some(text.to_owned());
    let message = if sql.contains("sp_describe_first_result_set") {
        let rows: Vec<_> = script.columns.iter().filter(|_| script.describes).map(describe).collect();
        let names = [
            "is_hidden",
            "name",
            "is_nullable",
            "system_type_name",
            "user_type_name",
            "assembly_qualified_type_name",
        ];
        // A procedure ends its result, and then itself.
        let mut message = texts(&names, &rows);
        let end = message.len() - 13;
        message[end..].copy_from_slice(&wire::done(wire::COUNTED | wire::MORE, rows.len() as u64));
        message[end] = 0xff;
        message.extend([0x79, 0, 0, 0, 0]);
        let mut done = wire::done(0, 0);
        done[0] = 0xfe;
        message.extend(done);
        message
    } else if let (Some((columns, _)), true) = (&script.texts, sql.contains("FMTONLY ON")) {
        [wire::columns(columns), wire::done(wire::COUNTED, 0)].concat()
    } else if sql.starts_with("set textsize") || sql.starts_with("use ") {
        wire::done(0, 0)
    } else if sql.contains("sp_prepare") || sql.contains("TOP (0)") {
        let columns: Vec<Column> =
            chosen(sql, script).into_iter().map(|index| cast_column(sql, &script.columns[index])).collect();
        [wire::columns(&columns), wire::done(wire::COUNTED, 0)].concat()
    } else if sql.contains("sys.databases") {
        let state = if script.snapshots { "1" } else { "0" };
        let committed = if script.committed_snapshots { "1" } else { "0" };
        texts(&["", "", ""], &[vec![some(state), some("READ_WRITE"), some(committed)]])
    } else if sql.contains("FROM sys.indexes") {
        texts(&["name"], &[vec![Some(script.columns[0].name.clone())]])
    } else if sql.contains("SELECT type FROM sys.objects") {
        texts(&["type"], &[vec![some("U ")]])
    } else if sql.contains("MIN(") {
        let (least, greatest) = script.bounds.clone().unzip();
        texts(&["", ""], &[vec![least, greatest]])
    } else if sql.contains("SELECT TOP (1) CASE WHEN") {
        texts(&[""], &[vec![some(if script.rises { "1" } else { "0" })]])
    } else if sql.contains("SELECT TOP (1) 1") || sql == "SELECT 1" {
        texts(&[""], &[vec![some("1")]])
    } else if sql.starts_with("SET ") || sql.contains("TRANSACTION") {
        wire::done(0, 0)
    } else {
        return Answer::Rows;
    };
    Answer::Message(message)
}

fn describe(column: &Column) -> Vec<Option<String>> {
    let text = |text: &str| Some(text.to_owned());
    let is_clr = column.type_info[0] == 0xf0;
    vec![
        text("0"),
        text(&column.name),
        text(if column.nullable { "1" } else { "0" }),
        Some(column.type_name.clone()).filter(|_| !is_clr),
        Some(column.type_name.clone()).filter(|_| is_clr).or(column.user_type.clone()),
        Some("Types, Version=1.0".to_owned()).filter(|_| is_clr),
    ]
}

/// What the agent's casts make of a column: CLR types become text, or well-known binary.
fn cast_column(sql: &str, column: &Column) -> Column {
    if column.type_info[0] != 0xf0 {
        return column.clone();
    }
    let is_binary = sql.contains(&format!(".STAsBinary() AS [{}]", column.name));
    Column {
        type_info: match is_binary {
            true => vec![0xa5, 0xff, 0xff],
            false => vec![0xe7, 0xff, 0xff, 0x09, 0x04, 0xd0, 0, 0],
        },
        framing: Framing::Chunks,
        ..column.clone()
    }
}

/// The columns that a statement of the agent selects, by their place in the script.
fn chosen(sql: &str, script: &Script) -> Vec<usize> {
    let is_chosen = |column: &Column| !sql.contains("q.[") || sql.contains(&format!(" AS [{}]", column.name));
    (0..script.columns.len()).filter(|index| is_chosen(&script.columns[*index])).collect()
}

async fn rows(stream: &mut dyn Both, sql: &str, script: &Script, log: &Log) -> io::Result<()> {
    let chosen = chosen(sql, script);
    let columns: Vec<Column> = chosen.iter().map(|index| cast_column(sql, &script.columns[*index])).collect();
    let rows: Rows =
        script.rows.iter().map(|row| chosen.iter().map(|index| row[*index].clone()).collect()).collect();
    let mut sender = Sender { stream, waiting: Vec::new() };
    sender.put(&wire::columns(&columns)).await?;
    let tokens: Vec<u8> = rows
        .iter()
        .flat_map(|row| wire::row(&columns, row, script.null_bitmap, script.chunk_bytes))
        .collect();
    for _time in 0..script.repeat {
        sender.put(&tokens).await?;
    }
    let count = (rows.len() * script.repeat) as u64;
    match &script.end {
        End::Done { surplus } => sender.put(&wire::done(wire::COUNTED, count + surplus)).await?,
        End::Error { number, state, class, text, line } => {
            sender.put(&wire::error(*number, *state, *class, text, *line)).await?;
            sender.put(&wire::done(wire::FAILED | wire::COUNTED, count)).await?;
        }
        End::Cut => {
            sender.flush().await?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        End::Hang => {
            sender.flush().await?;
            return wait_for_attention(sender.stream, log).await;
        }
        End::Bytes(bytes) => sender.put(bytes).await?,
        End::SecondResult => {
            sender.put(&wire::done(wire::COUNTED | wire::MORE, count)).await?;
            sender.put(&wire::columns(&columns)).await?;
            sender.put(&wire::done(wire::COUNTED, 0)).await?;
        }
    }
    sender.finish().await
}

async fn wait_for_attention(stream: &mut dyn Both, log: &Log) -> io::Result<()> {
    let (kind, _) = receive(stream).await?;
    assert_eq!(kind, ATTENTION, "nothing but an attention can stop a statement");
    log.lock().expect("not poisoned").push(Seen::Attention);
    send(stream, &wire::done(wire::ATTENTION, 0)).await
}

/// Wraps the handshake of TLS in PRELOGIN packets, from the server's side.
struct Tunnel {
    socket: TcpStream,
    handshaking: bool,
    /// Bytes of the current packet that were not read yet.
    left: usize,
    header: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Tunnel {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let count = ready!(Pin::new(&mut self.socket).poll_write(context, &self.outgoing))?;
            self.outgoing.drain(..count);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.handshaking {
            return Pin::new(&mut this.socket).poll_read(context, buffer);
        }
        ready!(this.poll_send(context))?;
        while this.left == 0 {
            let mut byte = [0];
            let mut one = ReadBuf::new(&mut byte);
            ready!(Pin::new(&mut this.socket).poll_read(context, &mut one))?;
            if one.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            this.header.push(byte[0]);
            if this.header.len() == 8 {
                assert_eq!(this.header[0], PRELOGIN, "a handshake travels in PRELOGIN packets");
                this.left = usize::from(u16::from_be_bytes([this.header[2], this.header[3]])) - 8;
                this.header.clear();
            }
        }
        let mut piece = vec![0; this.left.min(buffer.remaining())];
        let mut piece = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut this.socket).poll_read(context, &mut piece))?;
        this.left -= piece.filled().len();
        buffer.put_slice(piece.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.handshaking {
            return Pin::new(&mut this.socket).poll_write(context, bytes);
        }
        this.outgoing.extend(packet(PRELOGIN, 1, bytes));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(context))?;
        Pin::new(&mut this.socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}
