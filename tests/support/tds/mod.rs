//! A server that speaks TDS 7.4 and 8.0 and knows one result: what SQL Server would send for it.
//!
//! It answers the statements that the agent sends of its own accord (settings, descriptions,
//! transactions, catalog queries) as SQL Server does, and every other statement with the rows that
//! the test gave it. Faults are part of the script. Ends with the runtime of the test.

mod answers;
mod certificate;
mod integrated;
mod login;
mod packets;
mod session;
mod tunnel;
mod wire;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_exchange_agent::config::{
    OffsetPolicy, Secret, SeventhDigit, SpatialPolicy, SqlServerConsistency, SqlServerEncryption,
    SqlServerLogin, SqlServerSource,
};
use tokio::net::TcpListener;

pub(crate) use self::certificate::Certificate;
#[cfg_attr(not(feature = "kerberos"), expect(unused_imports, reason = "for tests of Kerberos"))]
pub(crate) use self::integrated::{Integrated, Package, Proof, Verdict};
pub(crate) use self::wire::{Column, Framing, Rows, utf16};

/// The login that the server knows.
pub(crate) const USERNAME: &str = "reader";
pub(crate) const PASSWORD: &str = "pass/w;ö'rd";

/// What the server offers in PRELOGIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encryption {
    NotSupported,
    /// For the login only.
    Off,
    On,
    Required,
    /// TDS 8.0: TLS before anything else.
    Strict,
    /// Encryption is promised, and the connection ends in the handshake.
    Cut,
}

/// How an answer ends.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// As it should; the count is that of the rows plus this.
    Done { surplus: u64 },
    /// With an error after the rows: number, state, class, text, line.
    Error { number: i32, state: u8, class: u8, text: &'static str, line: i32 },
    /// The connection closes.
    Cut,
    /// Nothing comes any more, until the client sends an attention or goes away.
    Hang,
    /// These bytes, as they are, in the middle of the message.
    Bytes(Vec<u8>),
    /// A second result follows.
    SecondResult,
}

/// What the server does.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) encryption: Encryption,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Rows,
    pub(crate) end: End,
    /// Send NBCROW in place of ROW.
    pub(crate) null_bitmap: bool,
    /// Bytes of a chunk of a PLP value.
    pub(crate) chunk_bytes: usize,
    /// The database's `snapshot_isolation_state`.
    pub(crate) snapshots: bool,
    /// The database's `is_read_committed_snapshot_on`.
    pub(crate) committed_snapshots: bool,
    /// The login is answered with bytes that never end.
    pub(crate) floods_login: bool,
    /// Where the login is sent on to.
    pub(crate) route: Option<SocketAddr>,
    /// The token that is wanted in place of name and password.
    pub(crate) token: Option<String>,
    /// The statement whose text contains the word is not answered, until the client sends an attention or
    /// goes away.
    pub(crate) silent_on: Option<&'static str>,
    /// The security package that is wanted in place of name and password.
    pub(crate) integrated: Option<Integrated>,
    /// An error that answers the statement whose text contains the word.
    pub(crate) refuse: Option<(&'static str, i32, u8)>,
    /// Extra answers: the least and the greatest value of the slice column, as text.
    pub(crate) bounds: Option<(String, String)>,
    /// What the server says when it is asked whether literals rise.
    pub(crate) rises: bool,
    /// Describe nothing, as some servers do for some queries.
    pub(crate) describes: bool,
    pub(crate) certificate: Option<Certificate>,
    /// The result again and again, this many times.
    pub(crate) repeat: usize,
    /// Columns and rows of the statement that selects everything as text, for bcp. The end of the
    /// script is that of this result, too.
    pub(crate) texts: Option<(Vec<Column>, Rows)>,
}

impl Script {
    pub(crate) fn of(columns: Vec<Column>, rows: Rows) -> Self {
        Self {
            encryption: Encryption::NotSupported,
            columns,
            rows,
            end: End::Done { surplus: 0 },
            null_bitmap: false,
            chunk_bytes: 8000,
            snapshots: true,
            committed_snapshots: true,
            silent_on: None,
            floods_login: false,
            route: None,
            token: None,
            integrated: None,
            refuse: None,
            bounds: None,
            rises: true,
            describes: true,
            certificate: None,
            repeat: 1,
            texts: None,
        }
    }
}

/// What the server saw, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Login {
        username: String,
        database: String,
        application: String,
        read_only: bool,
        encrypted: bool,
        packet_bytes: u32,
    },
    /// Who a security package says that logs in.
    Principal(String),
    Batch(String),
    /// A call of a procedure.
    Call,
    Attention,
    Closed,
}

type Log = Mutex<Vec<Seen>>;

/// A listening server.
pub(crate) struct TdsServer {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl TdsServer {
    #[expect(clippy::disallowed_methods, reason = "the double is no part of the agent, no stop waits for it")]
    pub(crate) async fn start(script: Script) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("there is a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, log) = (Arc::new(script), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                socket.set_nodelay(true).expect("a TCP socket");
                let (script, log) = (Arc::clone(&script), Arc::clone(&log));
                // A client that goes away is no fault of the double.
                tokio::spawn(async move {
                    let _gone = session::serve(socket, &script, &log).await;
                    log.lock().expect("not poisoned").push(Seen::Closed);
                });
            }
        });
        Self { address, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("not poisoned").clone()
    }

    /// The texts of the batches, in the order of their arrival.
    pub(crate) fn batches(&self) -> Vec<String> {
        let batch = |seen| if let Seen::Batch(sql) = seen { Some(sql) } else { None };
        self.seen().into_iter().filter_map(batch).collect()
    }

    /// A connection to this server, with every setting at its default but encryption.
    pub(crate) fn configuration(&self) -> SqlServerSource {
        SqlServerSource {
            host: "127.0.0.1".into(),
            port: self.address.port(),
            instance: None,
            browser_port: 1434,
            database: "tests".into(),
            login: SqlServerLogin::Password { username: USERNAME.into(), password: Secret::new(PASSWORD) },
            encryption: SqlServerEncryption::Optional,
            trusts_any_certificate: false,
            root_certificate: None,
            host_name_in_certificate: None,
            reads_only: false,
            application_name: "data-exchange-agent tests".into(),
            connect_timeout: Duration::from_secs(60),
            statement_timeout: None,
            longest_row: SqlServerSource::DEFAULT_LONGEST_ROW,
            packet_bytes: SqlServerSource::DEFAULT_PACKET_BYTES,
            table_hint: None,
            consistency: SqlServerConsistency::Exact,
            datetimeoffset: OffsetPolicy::Utc,
            seventh_digit: SeventhDigit::Cut,
            spatial: SpatialPolicy::Text,
            odbc_connection: None,
        }
    }
}
