//! One connection to the server: control statements, and the start of a COPY.
//!
//! The messages are those of chapter "Frontend/Backend Protocol" of the PostgreSQL manual; the
//! crate `postgres-protocol` writes and parses them. Why this is not sqlx: see `docs/adr`.

mod farewell;
mod login;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::error::{ServerError, Stage, io_fault};
use super::tls;
use crate::config::{PostgresSource, SslMode};
use crate::fault::{Fault, FaultKind};
use crate::shutdown::Shutdown;
use crate::source::socket::{Socket, Stream};
use crate::source::tls::handshake_fault_kind;

/// Room for one read. The server writes 8 KiB at a time; a reader that falls behind takes many of
/// them with one call.
const READ_BYTES: usize = 256 << 10;

/// Where to connect, and how.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) config: Arc<PostgresSource>,
    tls: Option<TlsConnector>,
    /// Runs what is left to do when a connection is dropped.
    shutdown: Shutdown,
}

/// A logged-in connection. Dropping it cancels what it runs on the server, and says goodbye.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    /// Bytes that were received and not taken yet.
    pub(super) buffer: BytesMut,
    address: Address,
    key: Option<(i32, i32)>,
    state: State,
    /// The agent's runtime, for what is left to do when this is dropped elsewhere.
    runtime: Handle,
    /// `server_version_num / 10000`, for example 15.
    pub(super) major_version: u32,
    /// The database does not know what encoding its texts have (SQL_ASCII).
    pub(super) encoding_unknown: bool,
}

/// What the server does, as far as its messages say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It waits for a statement, or the login has not ended.
    Idle,
    /// A statement was sent whose end was not seen.
    Running,
    /// It has ended the connection, or was told to.
    Closed,
}

/// Rows of a control statement, as text.
pub(super) type TextRows = Vec<Vec<Option<String>>>;

/// A column of a described statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ColumnDescription {
    pub(super) name: String,
    pub(super) type_oid: u32,
    pub(super) type_modifier: i32,
}

impl Address {
    pub(super) fn new(config: PostgresSource, shutdown: Shutdown) -> Result<Self, Fault> {
        let tls = tls::connector(config.ssl_mode, config.ssl_root_certificate.as_deref())?;
        Ok(Self { config: Arc::new(config), tls, shutdown })
    }

    fn is_unix_socket(&self) -> bool {
        self.config.host.starts_with('/')
    }

    /// Connects and logs in.
    pub(super) async fn connect(&self) -> Result<Connection, Fault> {
        let config = &self.config;
        let action = format!("connect to PostgreSQL at {}:{}", config.host, config.port);
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
        let buffer = BytesMut::with_capacity(READ_BYTES);
        let address = self.clone();
        let mut connection = Connection {
            stream,
            buffer,
            address,
            key: None,
            state: State::Idle,
            runtime: Handle::current(),
            major_version: 0,
            encoding_unknown: false,
        };
        connection.start_session().await?;
        Ok(connection)
    }

    /// A stream over which a startup or a cancel request can be sent.
    async fn open_stream(&self) -> Result<Box<dyn Stream>, Fault> {
        let config = &self.config;
        if self.is_unix_socket() {
            let path = format!("{}/.s.PGSQL.{}", config.host, config.port);
            let stream =
                UnixStream::connect(path).await.map_err(|error| io_fault("open the socket", error))?;
            return Ok(Box::new(Socket::Unix(stream)));
        }
        let mut stream = TcpStream::connect((config.host.as_str(), config.port))
            .await
            .map_err(|error| io_fault("open a TCP connection", error))?;
        keep_alive(&stream).map_err(|error| io_fault("set up the TCP connection", error))?;
        let Some(tls) = &self.tls else { return Ok(Box::new(Socket::Tcp(stream))) };
        if !offers_tls(&mut stream).await? {
            return match config.ssl_mode {
                SslMode::Prefer | SslMode::Disable => Ok(Box::new(Socket::Tcp(stream))),
                SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
                    Err(Fault::new(FaultKind::Credentials, "start TLS: the server does not offer it")
                        .remedy("Turn on `ssl` on the server, or choose another `sslmode`."))
                }
            };
        }
        let name = ServerName::try_from(config.host.clone()).map_err(|error| {
            Fault::new(FaultKind::Request, "start TLS: the host is not a name or an address").because(error)
        })?;
        match tls.connect(name, Socket::Tcp(stream)).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(match handshake_fault_kind(&error) {
                FaultKind::Credentials => Fault::new(FaultKind::Credentials, "start TLS").because(error).remedy(
                    "Check that `host` is the name in the server's certificate and that `sslrootcert` has its authority.",
                ),
                _ => io_fault("start TLS", error),
            }),
        }
    }
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

async fn offers_tls(stream: &mut TcpStream) -> Result<bool, Fault> {
    let ask = async {
        let mut request = BytesMut::new();
        frontend::ssl_request(&mut request);
        stream.write_all(&request).await?;
        // Exactly one byte: what follows belongs to the handshake, never to this buffer.
        stream.read_u8().await
    };
    match ask.await {
        Ok(b'S') => Ok(true),
        Ok(b'N') => Ok(false),
        Ok(_other) => Err(Fault::new(FaultKind::Request, "ask for TLS: what answers is not PostgreSQL")
            .remedy("Check `host` and `port` of the connection.")),
        Err(error) => Err(io_fault("ask for TLS", error)),
    }
}

impl Connection {
    async fn send(&mut self, message: &[u8]) -> Result<(), Fault> {
        let sent = async {
            self.stream.write_all(message).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| io_fault("send to the server", error))
    }

    /// Sends what makes the server run something, up to its next `ReadyForQuery`.
    async fn send_statement(&mut self, message: &[u8]) -> Result<(), Fault> {
        // Before the first byte: this future can be dropped at any time.
        self.state = State::Running;
        self.send(message).await
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
            Err(error) => Err(io_fault("read from the server", error)),
        }
    }

    /// The next message; notices are passed over.
    async fn receive(&mut self) -> Result<Message, Fault> {
        loop {
            match self.receive_any().await? {
                Message::NoticeResponse(_) | Message::NotificationResponse(_) => {}
                message => return Ok(message),
            }
        }
    }

    /// The very next message, whatever it is.
    pub(super) async fn receive_any(&mut self) -> Result<Message, Fault> {
        loop {
            match Message::parse(&mut self.buffer) {
                Ok(Some(message)) => {
                    if matches!(message, Message::ReadyForQuery(_) | Message::ErrorResponse(_)) {
                        self.state = State::Idle;
                    }
                    return Ok(message);
                }
                Ok(None) => {
                    self.fill().await?;
                }
                Err(error) => {
                    return Err(
                        Fault::new(FaultKind::Transient, "read a message of the server").because(error)
                    );
                }
            }
        }
    }

    /// Runs constant statements, several separated by `;`, and drops their rows.
    pub(super) async fn batch(&mut self, sql: &str, action: &'static str) -> Result<(), Fault> {
        let mut message = BytesMut::new();
        frontend::query(sql, &mut message).map_err(encode_fault)?;
        self.send_statement(&message).await?;
        self.until_ready(Stage::Own, action, |_message| Ok(())).await
    }

    /// Runs one statement with bound text parameters.
    pub(super) async fn query(
        &mut self,
        stage: Stage<'_>,
        sql: &str,
        parameters: &[&str],
        action: &'static str,
    ) -> Result<TextRows, Fault> {
        let mut message = BytesMut::new();
        frontend::parse("", sql, [], &mut message).map_err(encode_fault)?;
        let bind = |parameter: &&str, buffer: &mut BytesMut| {
            buffer.extend_from_slice(parameter.as_bytes());
            Ok(postgres_protocol::IsNull::No)
        };
        let values = parameters.iter().collect::<Vec<_>>();
        frontend::bind("", "", [0], values.into_iter().copied(), |p, b| bind(&p, b), [0], &mut message)
            .map_err(|_error| {
                Fault::new(FaultKind::Bug, action).because("a parameter is too long to be bound")
            })?;
        frontend::execute("", 0, &mut message).map_err(encode_fault)?;
        frontend::sync(&mut message);
        self.send_statement(&message).await?;
        let mut rows = TextRows::new();
        self.until_ready(stage, action, |message| {
            if let Message::DataRow(row) = message {
                let text = |range: Option<std::ops::Range<usize>>| {
                    Ok(range.map(|range| String::from_utf8_lossy(&row.buffer()[range]).into_owned()))
                };
                rows.push(row.ranges().map(text).collect().map_err(encode_fault)?);
            }
            Ok(())
        })
        .await?;
        Ok(rows)
    }

    /// The columns of a query, without running it.
    pub(super) async fn describe(&mut self, sql: &str) -> Result<Vec<ColumnDescription>, Fault> {
        let action = "describe the query";
        let mut message = BytesMut::new();
        frontend::parse("", sql, [], &mut message).map_err(encode_fault)?;
        frontend::describe(b'S', "", &mut message).map_err(encode_fault)?;
        frontend::sync(&mut message);
        self.send_statement(&message).await?;
        let mut columns = Vec::new();
        let mut parameters = 0;
        self.until_ready(Stage::Describe(sql), action, |message| {
            match message {
                Message::RowDescription(body) => {
                    let described = body.fields().map(|field| {
                        Ok(ColumnDescription {
                            name: field.name().to_owned(),
                            type_oid: field.type_oid(),
                            type_modifier: field.type_modifier(),
                        })
                    });
                    columns = described.collect().map_err(encode_fault)?;
                }
                Message::ParameterDescription(body) => {
                    parameters = body.parameters().count().map_err(encode_fault)?
                }
                _ => {}
            }
            Ok(())
        })
        .await?;
        if parameters > 0 {
            return Err(Fault::new(FaultKind::Request, "describe the query: it has parameters like $1")
                .remedy("Write the values into the query of the task."));
        }
        Ok(columns)
    }

    /// Starts a `COPY ... TO STDOUT`; the rows follow as `CopyData` messages.
    pub(super) async fn start_copy(&mut self, sql: &str) -> Result<(), Fault> {
        let action = "start the extraction";
        let mut message = BytesMut::new();
        frontend::query(sql, &mut message).map_err(encode_fault)?;
        self.send_statement(&message).await?;
        match self.receive().await? {
            Message::CopyOutResponse(_) => Ok(()),
            Message::ErrorResponse(body) => Err(ServerError::read(&body, Stage::Run).into_fault(action)),
            other => Err(unexpected(&other, Stage::Run, action)),
        }
    }

    /// Takes every message up to `ReadyForQuery`. The first error of the server or of `take` wins.
    pub(super) async fn until_ready(
        &mut self,
        stage: Stage<'_>,
        action: &'static str,
        mut take: impl FnMut(Message) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut result = Ok(());
        loop {
            match self.receive().await? {
                Message::ReadyForQuery(_) => return result,
                Message::ErrorResponse(body) => {
                    let fault = ServerError::read(&body, stage).into_fault(action);
                    result = result.and(Err(fault));
                }
                message => {
                    if result.is_ok() {
                        result = take(message);
                    }
                }
            }
        }
    }
}

fn unexpected(message: &Message, stage: Stage<'_>, action: &'static str) -> Fault {
    if let Message::ErrorResponse(body) = message {
        return ServerError::read(body, stage).into_fault(action);
    }
    Fault::new(FaultKind::Bug, action).because("the server sent a message that does not belong here")
}

fn encode_fault(error: io::Error) -> Fault {
    Fault::new(FaultKind::Request, "build or read a protocol message").because(error)
}
