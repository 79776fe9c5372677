//! One session: control statements, and the start of a statement whose rows are read elsewhere.

mod farewell;
mod login;

use std::io;

use arrow::array::Array;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::{Buf, BytesMut};
use futures::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle;

use super::address::Address;
use super::decode;
use super::error::{BROKEN_PROTOCOL, ServerError, io_fault, protocol_fault};
use super::protocol::Malformed;
use super::protocol::cursor::utf16_bytes;
use super::protocol::packet::{DEFAULT_PACKET_BYTES, MessageKind, Unpacker, packets};
use super::protocol::token::{self, Change, Done, Token, Unfinished, WireColumn};
use super::rows::{Decoder, Step};
use super::types::{self, TypeOptions};
use crate::config::{OffsetPolicy, SeventhDigit, SpatialPolicy};
use crate::fault::{Fault, FaultKind};
use crate::source::BatchLimits;
use crate::source::socket::Stream;

/// Room for one read. A reader that falls behind takes many packets with one call.
const READ_BYTES: usize = 256 << 10;
/// A read of fewer bytes tries to take more that has arrived already.
const ENOUGH_BYTES: usize = 64 << 10;
/// Bytes of a token at most that is no row. The longest describes 4,096 columns, each with the name
/// of its table.
const LONGEST_TOKEN: usize = 16 << 20;
/// The same before the login: nobody has said yet who that is.
const LONGEST_LOGIN_TOKEN: usize = 256 << 10;
/// Rows of a control statement at most in one batch; they are few.
const CONTROL_ROWS: usize = 8192;

/// A session. Dropping it cancels what it runs on the server, and ends it.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    /// What a read puts its bytes into, packets and all.
    received: Box<[u8]>,
    unpacker: Unpacker,
    /// Tokens that were received and not taken yet.
    pub(super) buffer: BytesMut,
    packet_bytes: usize,
    /// The server's number of the transaction that runs, 0 for none.
    transaction: u64,
    state: State,
    pub(super) address: Address,
    /// The agent's runtime, for what is left to do when this is dropped elsewhere.
    runtime: Handle,
}

/// What the server does, as far as its tokens say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It waits for a statement.
    Idle,
    /// A statement is being sent; an attention would stand in its middle.
    Sending,
    /// A statement was sent whose end was not seen.
    Running,
    /// The session has ended, or has not begun.
    Closed,
}

/// Rows of a control statement, as text.
pub(super) type TextRows = Vec<Vec<Option<String>>>;

/// What a control statement gave.
pub(super) struct Answer {
    /// The columns of the last result that has any.
    pub(super) columns: Vec<WireColumn>,
    pub(super) rows: TextRows,
}

impl Connection {
    /// A session over `stream`, to which a login was sent.
    pub(super) fn new(stream: Box<dyn Stream>, address: Address) -> Self {
        Self {
            stream,
            received: vec![0; READ_BYTES].into_boxed_slice(),
            unpacker: Unpacker::default(),
            buffer: BytesMut::new(),
            packet_bytes: DEFAULT_PACKET_BYTES,
            transaction: 0,
            state: State::Closed,
            address,
            runtime: Handle::current(),
        }
    }

    /// Lets this session go without a word: the server has said where to go.
    pub(super) fn forget(mut self) {
        self.state = State::Closed;
    }

    /// Takes this connection from the runtime that drives it, for another one to attach it.
    pub(super) fn detach(&mut self) -> Result<(), Fault> {
        self.stream.detach().map_err(|error| io_fault("hand over the connection", error))
    }

    /// Lets the runtime that calls drive this connection from now on.
    pub(super) fn attach(&mut self) -> Result<(), Fault> {
        self.stream.attach().map_err(|error| io_fault("hand over the connection", error))
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| io_fault("send to the server", error))
    }

    /// Sends a batch of statements.
    async fn send_batch(&mut self, sql: &str) -> Result<(), Fault> {
        // Headers of the message: their length, and one of 18 bytes (type 2) that names the
        // transaction and says that one request is under way.
        let mut message = Vec::with_capacity(22 + sql.len() * 2);
        message.extend_from_slice(&22_u32.to_le_bytes());
        message.extend_from_slice(&18_u32.to_le_bytes());
        message.extend_from_slice(&2_u16.to_le_bytes());
        message.extend_from_slice(&self.transaction.to_le_bytes());
        message.extend_from_slice(&1_u32.to_le_bytes());
        message.extend_from_slice(&utf16_bytes(sql));
        // Before the first byte: this future can be dropped at any time.
        self.state = State::Sending;
        self.unpacker.begin_message();
        self.send(&packets(MessageKind::Batch, &message, self.packet_bytes)).await?;
        self.state = State::Running;
        Ok(())
    }

    /// True when every byte of the server's message has arrived.
    pub(super) fn message_ended(&self) -> bool {
        self.unpacker.message_ended()
    }

    /// Reads more bytes, and says how many; the end of the stream is an error.
    pub(super) async fn fill(&mut self) -> Result<usize, Fault> {
        let action = "read from the server";
        let mut count = match self.stream.read(&mut self.received).await {
            Ok(0) => {
                self.state = State::Closed;
                return Err(io_fault(action, io::ErrorKind::UnexpectedEof.into()));
            }
            Ok(count) => count,
            Err(error) => return Err(io_fault(action, error)),
        };
        // TLS hands over one record at a time, however many have arrived.
        while count < ENOUGH_BYTES {
            match self.stream.read(&mut self.received[count..]).now_or_never() {
                Some(Ok(more)) if more > 0 => count += more,
                // An end and an error are told by the next call, after what has arrived before.
                None | Some(_) => break,
            }
        }
        let unpacked = self.unpacker.take(&self.received[..count], &mut self.buffer);
        unpacked.map_err(|malformed| self.broken(action, malformed))?;
        Ok(count)
    }

    /// The next token, which must not be a row. Changes of the session are carried out here.
    pub(super) async fn token(&mut self, action: &'static str) -> Result<Token, Fault> {
        let longest = if self.state == State::Closed { LONGEST_LOGIN_TOKEN } else { LONGEST_TOKEN };
        let token = loop {
            match token::read(&self.buffer) {
                Ok((token, length)) => {
                    self.buffer.advance(length);
                    break token;
                }
                Err(Unfinished::Short) if self.buffer.len() > longest => {
                    return Err(self.broken(action, Malformed("a token is longer than any server sends")));
                }
                Err(Unfinished::Short) if !self.message_ended() => {
                    self.fill().await?;
                }
                Err(Unfinished::Short) => {
                    return Err(self.broken(action, Malformed("it ends in the middle of a token")));
                }
                Err(Unfinished::Broken(malformed)) => return Err(self.broken(action, malformed)),
            }
        };
        match &token {
            Token::Change(Change::PacketBytes(bytes)) => self.packet_bytes = *bytes,
            Token::Change(Change::Transaction(number)) => self.transaction = *number,
            Token::Done(done) if !done.more() && self.state == State::Running => self.state = State::Idle,
            _ => {}
        }
        Ok(token)
    }

    /// Nothing that comes after bytes like these can be trusted.
    fn broken(&mut self, action: &'static str, malformed: Malformed) -> Fault {
        self.state = State::Closed;
        protocol_fault(action, malformed)
    }

    /// Runs statements of the agent's own, or one of a task that gives few rows. The first error
    /// wins.
    pub(super) async fn run(&mut self, sql: &str, action: &'static str) -> Result<Answer, Fault> {
        self.send_batch(sql).await?;
        let mut answer = Answer { columns: Vec::new(), rows: TextRows::new() };
        let mut failure = None;
        while let Some(columns) = self.next_result(&mut failure, action).await? {
            self.control_rows(&columns, &mut answer.rows, action).await?;
            answer.columns = columns;
        }
        match failure {
            Some(error) => Err(error.into_fault(action)),
            None => Ok(answer),
        }
    }

    /// The columns of the next result that has any; `None` at the end of the answer. The first error on the
    /// way is kept in `failure`.
    async fn next_result(
        &mut self,
        failure: &mut Option<ServerError>,
        action: &'static str,
    ) -> Result<Option<Vec<WireColumn>>, Fault> {
        loop {
            match self.token(action).await? {
                Token::Columns(columns) if !columns.is_empty() => return Ok(Some(columns)),
                Token::Error(message) => _ = failure.get_or_insert_with(|| ServerError::new(message)),
                Token::Done(done) if !done.more() => return Ok(None),
                Token::Columns(_)
                | Token::Change(_)
                | Token::LoggedIn
                | Token::SecurityPackage(_)
                | Token::Done(_)
                | Token::Other => {}
            }
        }
    }

    /// Takes the rows of a control statement.
    async fn control_rows(
        &mut self,
        columns: &[WireColumn],
        rows: &mut TextRows,
        action: &'static str,
    ) -> Result<(), Fault> {
        const OPTIONS: TypeOptions = TypeOptions {
            offset: OffsetPolicy::Text,
            seventh_digit: SeventhDigit::Cut,
            spatial: SpatialPolicy::Text,
        };
        let types: Vec<DataType> =
            columns.iter().map(|column| types::data_type(column.type_info, OPTIONS)).collect();
        let fields: Vec<Field> =
            types.iter().map(|data_type| Field::new("", data_type.clone(), true)).collect();
        let limits = BatchLimits {
            rows: CONTROL_ROWS.try_into().expect("not zero"),
            bytes: (16 << 20).try_into().expect("not zero"),
        };
        let mut decoder = decoder_of(columns, Schema::new(fields).into(), limits, LONGEST_TOKEN, action)?;
        loop {
            match decoder.step(&self.buffer, self.message_ended())? {
                Step::Batch(batch, consumed) => {
                    self.buffer.advance(consumed);
                    texts(&batch, rows);
                }
                Step::NeedBytes(consumed) => {
                    self.buffer.advance(consumed);
                    self.fill().await?;
                }
                Step::OtherToken(consumed) => {
                    self.buffer.advance(consumed);
                    if let Some(batch) = decoder.rest()? {
                        texts(&batch, rows);
                    }
                    // Names of tables and sort orders can stand before the first row.
                    match self.buffer.first() {
                        Some(0xfd..=0xff | 0xaa) | None => return Ok(()),
                        Some(_) => {
                            self.token(action).await?;
                        }
                    }
                }
            }
        }
    }

    /// Starts the statement of a task; its rows follow.
    pub(super) async fn start(&mut self, sql: &str) -> Result<Vec<WireColumn>, Fault> {
        let action = "start the extraction";
        self.send_batch(sql).await?;
        let mut failure = None;
        let columns = self.next_result(&mut failure, action).await?;
        columns.ok_or_else(|| failure.map_or_else(|| unexpected(action), |error| error.into_fault(action)))
    }
}

/// The decoder of `columns` into those of `schema`.
pub(super) fn decoder_of(
    columns: &[WireColumn],
    schema: arrow::datatypes::SchemaRef,
    limits: BatchLimits,
    longest_row: usize,
    action: &'static str,
) -> Result<Decoder, Fault> {
    let changed = |name: &str| {
        Fault::new(FaultKind::Transient, action)
            .because(format!("column `{name}` arrives in another type than it was described with"))
            .remedy("Something in the database was changed meanwhile; the task can be tried again.")
    };
    if columns.len() != schema.fields().len() {
        return Err(changed("*"));
    }
    let mut decoders = Vec::with_capacity(columns.len());
    for (column, field) in columns.iter().zip(schema.fields()) {
        let decoder = decode::decoder(column.type_info, field.data_type());
        decoders.push(decoder.ok_or_else(|| changed(field.name()))?);
    }
    let framings = columns.iter().map(|column| column.type_info.framing).collect();
    Ok(Decoder::new(framings, decoders, schema, limits, longest_row))
}

fn texts(batch: &arrow::array::RecordBatch, rows: &mut TextRows) {
    let first = rows.len();
    rows.resize_with(first + batch.num_rows(), Vec::new);
    let options = FormatOptions::default();
    for column in batch.columns() {
        let formatter = ArrayFormatter::try_new(column, &options).ok();
        for row in 0..batch.num_rows() {
            let formatter = formatter.as_ref().filter(|_| column.is_valid(row));
            rows[first + row].push(formatter.map(|formatter| formatter.value(row).to_string()));
        }
    }
}

/// The last token of a statement, compared with what was read.
pub(super) fn counted(done: Done, rows: u64) -> Result<(), Fault> {
    match done.rows() {
        Some(reported) if reported != rows => {
            let action = format!("count rows: {rows} were received and the server reports {reported}");
            Err(Fault::new(FaultKind::Transient, action).remedy(BROKEN_PROTOCOL))
        }
        Some(_) | None => Ok(()),
    }
}

fn unexpected(action: &'static str) -> Fault {
    Fault::new(FaultKind::Transient, action)
        .because("the server sent an answer that does not belong here")
        .remedy(BROKEN_PROTOCOL)
}
