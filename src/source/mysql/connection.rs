//! One connection to the server: how it is made, and the messages over it.
//!
//! Why this is not sqlx or another client: see `docs/adr`.

mod farewell;
mod login;
mod proof;
mod statements;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;
use tokio_rustls::TlsConnector;

use super::error::{ServerError, Stage, io_fault, malformed};
use super::packet::{FULL_PACKET, HEADER_BYTES};
use super::tls;
use crate::config::MysqlSource;
use crate::fault::{Fault, FaultKind};
use crate::shutdown::Shutdown;
use crate::source::socket::{Socket, Stream};

/// Room for one read. The server writes 16 KiB at a time; a reader that falls behind takes many of
/// them with one call.
const READ_BYTES: usize = 256 << 10;

/// Longest message before somebody is logged in: greetings, keys and refusals are short, and whoever
/// answers is not known yet.
const LONGEST_BEFORE_LOGIN: usize = 64 << 10;
/// Longest message beside the rows of a result: what the agent's own statements are answered with.
const LONGEST_MESSAGE: usize = FULL_PACKET;

/// Commands of the protocol.
mod command {
    pub(super) const QUIT: u8 = 0x01;
    pub(super) const QUERY: u8 = 0x03;
    pub(super) const STATEMENT_PREPARE: u8 = 0x16;
    pub(super) const STATEMENT_EXECUTE: u8 = 0x17;
    pub(super) const STATEMENT_CLOSE: u8 = 0x19;
}

/// Where to connect, and how.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) config: Arc<MysqlSource>,
    tls: Option<TlsConnector>,
    /// The server's RSA key, for logins without TLS.
    public_key: Option<Arc<[u8]>>,
    /// Runs what is left to do when a connection is dropped.
    shutdown: Shutdown,
}

/// A logged-in connection. Dropping it ends what it runs on the server, and says goodbye.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    /// Bytes that were received and not taken yet.
    pub(super) buffer: BytesMut,
    address: Address,
    connection_id: u32,
    pub(super) is_mariadb: bool,
    /// MariaDB describes columns with further facts.
    extended_metadata: bool,
    /// TLS, or a Unix socket: a password may be sent.
    is_protected: bool,
    /// Number of the next packet.
    pub(super) sequence: u8,
    /// Bytes of the longest message that is waited for.
    longest_message: usize,
    state: State,
    /// The name of a lock that this session holds, by which another one knows it. None yet, or the
    /// server gives none.
    mark: Option<String>,
    /// The agent's runtime, for what is left to do when this is dropped elsewhere.
    runtime: Handle,
}

/// What the server does, as far as its packets say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It waits for a statement, or the login has not ended.
    Idle,
    /// A statement was sent whose end was not seen.
    Running,
    /// It has ended the connection, or was told to.
    Closed,
}

impl Address {
    pub(super) fn new(config: MysqlSource, shutdown: Shutdown) -> Result<Self, Fault> {
        let tls = tls::connector(config.ssl_mode, config.ssl_ca.as_deref())?;
        let public_key = config.server_public_key.as_deref().map(read_key).transpose()?;
        Ok(Self { config: Arc::new(config), tls, public_key, shutdown })
    }

    /// Connects and logs in.
    pub(super) async fn connect(&self) -> Result<Connection, Fault> {
        let config = &self.config;
        let action = match self.is_unix_socket() {
            true => format!("connect to MySQL at {}", config.host),
            false => format!("connect to MySQL at {}:{}", config.host, config.port),
        };
        let limit = config.connect_timeout;
        match tokio::time::timeout(limit, self.log_in()).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(fault)) => Err(fault.while_doing(action)),
            Err(_elapsed) => Err(Fault::new(FaultKind::Transient, action)
                .because(format!("no answer within {limit:?}"))
                .remedy("Check host, port and firewalls, or raise `connect_timeout`.")),
        }
    }

    async fn log_in(&self) -> Result<Connection, Fault> {
        let stream = self.open_stream().await?;
        let mut connection = Connection {
            stream,
            buffer: BytesMut::with_capacity(READ_BYTES),
            address: self.clone(),
            connection_id: 0,
            is_mariadb: false,
            extended_metadata: false,
            is_protected: self.is_unix_socket(),
            sequence: 0,
            longest_message: LONGEST_BEFORE_LOGIN,
            // Nobody is logged in who could say goodbye.
            state: State::Closed,
            mark: None,
            runtime: Handle::current(),
        };
        connection.start_session().await?;
        connection.state = State::Idle;
        connection.longest_message = LONGEST_MESSAGE;
        Ok(connection)
    }

    async fn open_stream(&self) -> Result<Box<dyn Stream>, Fault> {
        let config = &self.config;
        if self.is_unix_socket() {
            let stream = UnixStream::connect(&config.host).await;
            return Ok(Box::new(Socket::Unix(stream.map_err(|error| io_fault("open the socket", error))?)));
        }
        let stream = TcpStream::connect((config.host.as_str(), config.port))
            .await
            .map_err(|error| io_fault("open a TCP connection", error))?;
        keep_alive(&stream).map_err(|error| io_fault("set up the TCP connection", error))?;
        Ok(Box::new(Socket::Tcp(stream)))
    }
}

fn read_key(path: &Path) -> Result<Arc<[u8]>, Fault> {
    let key = std::fs::read(path).map_err(|error| {
        let action = format!("read the server's public key {}", path.display());
        Fault::new(FaultKind::Credentials, action)
            .because(error)
            .remedy("Set `server_public_key` to a readable PEM file.")
    })?;
    Ok(key.into())
}

/// The session has ended together with its connection. After other errors, a time limit of TCP for example,
/// the server may still work for it.
fn was_ended_by_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof)
}

/// Notices a peer that vanished without closing: after a minute of silence it is asked three times.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let probes = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(10))
        .with_retries(3);
    socket2::SockRef::from(stream).set_tcp_keepalive(&probes)
}

impl Connection {
    /// Sends one message as the packets that it needs.
    async fn send_packet(&mut self, message: &[u8]) -> Result<(), Fault> {
        let mut bytes = Vec::with_capacity(message.len() + HEADER_BYTES);
        let mut rest = message;
        loop {
            let (payload, after) = rest.split_at(rest.len().min(FULL_PACKET));
            bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes()[..3]);
            bytes.push(self.sequence);
            self.sequence = self.sequence.wrapping_add(1);
            bytes.extend_from_slice(payload);
            rest = after;
            if payload.len() < FULL_PACKET {
                break;
            }
        }
        let sent = async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| {
            if was_ended_by_the_peer(&error) {
                self.state = State::Closed;
            }
            io_fault("send to the server", error)
        })
    }

    /// Marks the session, so that another one can tell it from those of others: see `farewell`.
    pub(super) async fn take_mark(&mut self) {
        let mark = format!("data-exchange-agent {}", uuid::Uuid::new_v4());
        let sql = format!("SELECT GET_LOCK('{mark}', 0)");
        // A cluster may forbid it, a service that only speaks the protocol may not know it.
        if self.run(&sql, "mark the session").await.is_ok() {
            self.mark = Some(mark);
        }
    }

    /// Sends what makes the server run something.
    async fn send_command(&mut self, command: u8, body: &[u8]) -> Result<(), Fault> {
        // Before the first byte: this future can be dropped at any time.
        self.state = State::Running;
        self.sequence = 0;
        let mut message = Vec::with_capacity(body.len() + 1);
        message.push(command);
        message.extend_from_slice(body);
        self.send_packet(&message).await
    }

    /// Takes this connection from the runtime that drives it, for another one to attach it.
    pub(super) fn detach(&mut self) -> Result<(), Fault> {
        self.stream.detach().map_err(|error| io_fault("hand over the connection", error))
    }

    /// Lets the runtime that calls drive this connection from now on.
    pub(super) fn attach(&mut self) -> Result<(), Fault> {
        self.stream.attach().map_err(|error| io_fault("hand over the connection", error))
    }

    /// Reads more bytes into the buffer, and says how many; the end of the stream is an error.
    pub(super) async fn fill(&mut self) -> Result<usize, Fault> {
        if self.buffer.capacity() - self.buffer.len() < READ_BYTES / 2 {
            self.buffer.reserve(READ_BYTES);
        }
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) => {
                self.state = State::Closed;
                Err(io_fault("read from the server", io::ErrorKind::UnexpectedEof.into()))
            }
            Ok(count) => Ok(count),
            Err(error) => {
                if was_ended_by_the_peer(&error) {
                    self.state = State::Closed;
                }
                Err(io_fault("read from the server", error))
            }
        }
    }

    /// The next message, put together from its packets.
    pub(super) async fn packet(&mut self) -> Result<Vec<u8>, Fault> {
        let mut message = Vec::new();
        loop {
            while self.buffer.len() < HEADER_BYTES {
                self.fill().await?;
            }
            let length = u32::from_le_bytes([self.buffer[0], self.buffer[1], self.buffer[2], 0]) as usize;
            if self.buffer[3] != self.sequence {
                self.state = State::Closed;
                return Err(malformed("read a packet that has its turn"));
            }
            self.sequence = self.sequence.wrapping_add(1);
            if message.len() + length > self.longest_message {
                self.state = State::Closed;
                return Err(malformed("read a packet: it is longer than any that can come here"));
            }
            while self.buffer.len() < HEADER_BYTES + length {
                self.fill().await?;
            }
            self.buffer.advance(HEADER_BYTES);
            message.extend_from_slice(&self.buffer.split_to(length));
            if length < FULL_PACKET {
                return Ok(message);
            }
        }
    }

    /// The next message, or the server's error as a fault.
    async fn answer(&mut self, stage: Stage, action: &'static str) -> Result<Vec<u8>, Fault> {
        let packet = self.packet().await?;
        if packet.first() == Some(&0xff) {
            return Err(self.refusal(&packet, stage, action));
        }
        Ok(packet)
    }

    /// The fault of an error packet, which ends whatever ran.
    pub(super) fn refusal(&mut self, packet: &[u8], stage: Stage, action: &'static str) -> Fault {
        self.state = State::Idle;
        let error = ServerError::read(packet, stage);
        if error.ends_connection() {
            self.state = State::Closed;
        }
        error.into_fault(action)
    }
}
