//! Where to connect, and how: TCP, TLS, PRELOGIN and LOGIN7, and the way to another server when
//! this one says so.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::connection::Connection;
use super::error::{io_fault, protocol_fault};
use super::integrated::Begun;
#[cfg(feature = "kerberos")]
use super::kerberos;
use super::protocol::login::{Login, Proof, VERSION_7_4, VERSION_8_0};
use super::protocol::packet::{DEFAULT_PACKET_BYTES, MessageKind, Unpacker, packets};
use super::protocol::prelogin::{self, Answer, Encryption};
use super::{browser, entra, tls};
use crate::config::{Secret, SqlServerEncryption, SqlServerLogin, SqlServerSource};
use crate::fault::{Fault, FaultKind};
use crate::shutdown::Shutdown;
use crate::source::socket::{Socket, Stream};

/// Servers that one connection is sent on to at most.
const MOST_ROUTES: usize = 3;

/// Where to connect, and how.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) config: Arc<SqlServerSource>,
    tls: TlsConnector,
    tokens: Option<Arc<entra::Tokens>>,
    /// Runs what is left to do when a connection is dropped.
    pub(super) shutdown: Shutdown,
}

/// A server to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Server {
    host: String,
    port: u16,
}

impl Address {
    pub(super) fn new(config: SqlServerSource, shutdown: Shutdown) -> Result<Self, Fault> {
        let tls = tls::connector(&config)?;
        let tokens = match &config.login {
            SqlServerLogin::ServicePrincipal { authority, tenant_id, client_id, client_secret } => {
                Some(Arc::new(entra::Tokens::new(authority, tenant_id, client_id, client_secret)?))
            }
            SqlServerLogin::Password { .. } | SqlServerLogin::Token(_) | SqlServerLogin::Kerberos { .. } => {
                None
            }
        };
        Ok(Self { config: Arc::new(config), tls, tokens, shutdown })
    }

    /// Connects, logs in and runs a first statement, which reads nothing: all of it has one limit.
    pub(super) async fn connect(&self, sql: &str, first: &'static str) -> Result<Connection, Fault> {
        let config = &self.config;
        let action = match &config.instance {
            Some(instance) => format!("connect to SQL Server at {}\\{instance}", config.host),
            None => format!("connect to SQL Server at {}:{}", config.host, config.port),
        };
        let limit = config.connect_timeout;
        let connect = async {
            let mut connection = self.log_in().await?;
            connection.run(sql, first).await?;
            Ok::<_, Fault>(connection)
        };
        match tokio::time::timeout(limit, connect).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(fault)) => Err(fault.while_doing(action)),
            Err(_elapsed) => Err(no_answer(action, limit, config.instance.is_some())),
        }
    }

    async fn log_in(&self) -> Result<Connection, Fault> {
        let token = match (&self.config.login, &self.tokens) {
            (SqlServerLogin::Token(token), _) => Some(token.clone()),
            (_, Some(tokens)) => Some(tokens.token().await?),
            (_, None) => None,
        };
        let mut server = self.server().await?;
        for _route in 0..=MOST_ROUTES {
            // First, so that no server waits for a KDC.
            let (package, first) = self.begin(&server).await?.unzip();
            let mut connection = self.log_in_to(&server, token.as_ref(), first.as_deref()).await?;
            match connection.finish_login(package).await? {
                None => return Ok(connection),
                Some((host, port)) => {
                    tracing::debug!(%host, port, "the server sends the connection on");
                    // A named instance of the other host has been resolved to its port already.
                    let host = host.split('\\').next().unwrap_or_default().to_owned();
                    server = Server { host, port };
                    connection.forget();
                }
            }
        }
        Err(Fault::new(FaultKind::Transient, "log in: each server sends the connection on to another one"))
    }

    async fn server(&self) -> Result<Server, Fault> {
        let config = &self.config;
        let port = match &config.instance {
            Some(instance) => browser::port(&config.host, config.browser_port, instance).await?,
            None => config.port,
        };
        Ok(Server { host: config.host.clone(), port })
    }

    /// Begins integrated authentication, where the configuration asks for it.
    #[cfg(feature = "kerberos")]
    async fn begin(&self, server: &Server) -> Result<Option<Begun>, Fault> {
        let SqlServerLogin::Kerberos { principal, service_principal } = &self.config.login else {
            return Ok(None);
        };
        let parties = kerberos::Parties {
            principal: principal.as_deref(),
            service: service_principal.as_deref(),
            host: &server.host,
            port: server.port,
        };
        // A little less than there is for all of it: it is not the server that does not answer.
        let limit = self.config.connect_timeout.mul_f64(0.9);
        match tokio::time::timeout(limit, kerberos::begin(parties)).await {
            Ok(begun) => begun.map(Some),
            Err(_elapsed) => Err(kerberos::no_answer(limit)),
        }
    }

    /// A configuration that asks for what this build lacks is refused before it comes here.
    #[cfg(not(feature = "kerberos"))]
    fn begin(&self, _server: &Server) -> impl Future<Output = Result<Option<Begun>, Fault>> + use<> {
        std::future::ready(match self.config.login {
            SqlServerLogin::Kerberos { .. } => {
                Err(Fault::new(FaultKind::Credentials, "log in with Kerberos, which this build cannot do")
                    .remedy("Build the agent with --features kerberos (needs MIT Kerberos)."))
            }
            _ => Ok(None),
        })
    }

    /// Connects to `server` and sends the login; its answer is not read yet.
    async fn log_in_to(
        &self,
        server: &Server,
        token: Option<&Secret>,
        first: Option<&[u8]>,
    ) -> Result<Connection, Fault> {
        let config = &self.config;
        let stream = TcpStream::connect((server.host.as_str(), server.port))
            .await
            .map_err(|error| io_fault("open a TCP connection", error))?;
        keep_alive(&stream).map_err(|error| io_fault("set up the TCP connection", error))?;
        let mut socket = Socket::Tcp(stream);
        let federated = token.is_some();
        let proof = |answer: Answer| match (token, first) {
            (Some(token), _) => Proof::Token { token: token.expose(), echo: answer.federated },
            (None, Some(token)) => Proof::Integrated { token },
            (None, None) => self.password(),
        };
        if config.encryption == SqlServerEncryption::Strict {
            let mut stream = tls::outside(&self.tls, config, &server.host, socket).await?;
            let answer = agree(&mut stream, Encryption::NotSupported, federated).await?;
            let message = self.login_message(VERSION_8_0, server, proof(answer));
            send(&mut stream, &message).await?;
            return Ok(self.connection(Box::new(stream)));
        }
        let wanted = match config.encryption {
            SqlServerEncryption::Optional => Encryption::Off,
            SqlServerEncryption::Mandatory | SqlServerEncryption::Strict => Encryption::On,
        };
        let answer = agree(&mut socket, wanted, federated).await?;
        let message = self.login_message(VERSION_7_4, server, proof(answer));
        match (answer.encryption, wanted) {
            (Encryption::On | Encryption::Required, _) => {
                let mut stream = tls::inside(&self.tls, config, &server.host, socket).await?;
                send(&mut stream, &message).await?;
                Ok(self.connection(Box::new(stream)))
            }
            (Encryption::Off, Encryption::Off) => {
                // TLS for this one message; what follows is plain on both sides.
                let mut stream = tls::inside(&self.tls, config, &server.host, socket).await?;
                send(&mut stream, &message).await?;
                Ok(self.connection(Box::new(stream.into_inner().0.into_socket())))
            }
            (Encryption::NotSupported, Encryption::Off) if !federated => {
                send(&mut socket, &message).await?;
                Ok(self.connection(Box::new(socket)))
            }
            (Encryption::Off | Encryption::NotSupported, _) => Err(Fault::new(
                FaultKind::Credentials,
                "start TLS: the server does not offer it",
            )
            .remedy(
                "Turn on encryption on the server, or set `encrypt = false` where the network is trusted.",
            )),
        }
    }

    fn password(&self) -> Proof<'_> {
        match &self.config.login {
            SqlServerLogin::Password { username, password } => {
                Proof::Password { username, password: password.expose() }
            }
            SqlServerLogin::Token(_)
            | SqlServerLogin::ServicePrincipal { .. }
            | SqlServerLogin::Kerberos { .. } => {
                unreachable!("these logins come with a token")
            }
        }
    }

    fn login_message(&self, version: u32, server: &Server, proof: Proof<'_>) -> Vec<u8> {
        let config = &self.config;
        let login = Login {
            version,
            packet_bytes: config.packet_bytes.get().into(),
            proof,
            application_name: &config.application_name,
            server_name: &server.host,
            database: &config.database,
            read_only: config.reads_only,
        };
        packets(MessageKind::Login, &login.message(), DEFAULT_PACKET_BYTES)
    }

    fn connection(&self, stream: Box<dyn Stream>) -> Connection {
        Connection::new(stream, self.clone())
    }
}

fn no_answer(action: String, limit: Duration, by_name: bool) -> Fault {
    let remedy = match by_name {
        true => {
            "Check that the SQL Server Browser runs on the host and that UDP port 1434 is open, or set `port`; check firewalls, or raise `connect_timeout`."
        }
        false => "Check host, port and firewalls, or raise `connect_timeout`.",
    };
    Fault::new(FaultKind::Transient, action).because(format!("no answer within {limit:?}")).remedy(remedy)
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

async fn send(stream: &mut impl Stream, bytes: &[u8]) -> Result<(), Fault> {
    let sent = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    sent.await.map_err(|error| io_fault("send the login", error))
}

/// Sends PRELOGIN and reads the answer. The server sends nothing after it by itself.
async fn agree(stream: &mut impl Stream, wanted: Encryption, federated: bool) -> Result<Answer, Fault> {
    /// Longer than any answer.
    const LONGEST: usize = 32 << 10;
    let action = "agree on the protocol";
    let not_sql_server = |malformed| protocol_fault(action, malformed);
    let request = packets(MessageKind::Prelogin, &prelogin::request(wanted, federated), DEFAULT_PACKET_BYTES);
    send(stream, &request).await?;
    let (mut unpacker, mut message) = (Unpacker::default(), BytesMut::new());
    let mut buffer = [0; 1024];
    while !unpacker.message_ended() {
        let count = stream.read(&mut buffer).await.map_err(|error| io_fault(action, error))?;
        if count == 0 || message.len() > LONGEST {
            return Err(io_fault(action, io::ErrorKind::UnexpectedEof.into()));
        }
        unpacker.take(&buffer[..count], &mut message).map_err(not_sql_server)?;
    }
    prelogin::answer(&message).map_err(not_sql_server)
}
