//! Where and as whom: everything that a login needs, proven.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use super::account::AccountName;
use super::authentication::Authentication;

/// Where and as whom: proven, ready to log in.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    /// The account; the login sends [`AccountName::for_login`].
    pub account: AccountName,
    /// Host name or address, as a URL writes it. Invariant: a valid host, without scheme, port and path.
    pub host: String,
    /// Port.
    pub port: u16,
    /// With TLS, or without it for a test server.
    pub protocol: Protocol,
    /// Who logs in, and with what.
    pub authentication: Authentication,
    /// Role of the session; the user's own default when `None`. Not upper-cased: quotes in it count.
    pub role: Option<String>,
    /// Warehouse of the session, likewise.
    pub warehouse: Option<String>,
    /// Database of the session, likewise.
    pub database: Option<String>,
    /// Schema of the session, likewise.
    pub schema: Option<String>,
    /// `SECONDARY_ROLES` of the login; the user's own default when `None`.
    pub secondary_roles: Option<SecondaryRoles>,
    /// `SESSION_PARAMETERS` of the login.
    pub session_parameters: BTreeMap<String, Value>,
    /// Longest time for a login with all its attempts.
    pub login_timeout: Duration,
    /// Longest time for a request with all its attempts; no bound when `None`.
    pub network_timeout: Option<Duration>,
    /// Longest silence of a server while it owes an answer.
    pub socket_timeout: Duration,
    /// `APPLICATION` of the client environment.
    pub application: String,
    /// Whether an idle session is kept alive with heartbeats.
    pub keep_alive: bool,
    /// Time between two heartbeats; what the server says when `None`.
    pub heartbeat_interval: Option<Duration>,
    /// File of the token that a container service adds to every login, whoever logs in; set inside
    /// Snowpark Container Services only.
    pub service_token_file: Option<PathBuf>,
}

impl Connection {
    /// `https://host:port`, without a slash at its end.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("{}://{}:{}", self.protocol.as_str(), self.host, self.port)
    }
}

/// How the host is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Plain HTTP; for test servers.
    Http,
    /// HTTP over TLS.
    #[default]
    Https,
}

impl Protocol {
    /// The scheme of its URLs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Whether the session has the rights of the user's other roles too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondaryRoles {
    /// `ALL`.
    All,
    /// `NONE`.
    None,
}

impl SecondaryRoles {
    /// The word of the protocol.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "ALL",
            Self::None => "NONE",
        }
    }
}

/// What one way of logging in adds to the body of the login. Made anew for each attempt: tokens are
/// read and signed again.
#[derive(Clone, Default, PartialEq)]
pub struct LoginParts {
    /// Members of `data`.
    pub data: Map<String, Value>,
    /// Members of `data.CLIENT_ENVIRONMENT`.
    pub client_environment: Map<String, Value>,
}

/// Members can be passwords and tokens, so only their names are shown.
impl fmt::Debug for LoginParts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |map: &Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
        formatter
            .debug_struct("LoginParts")
            .field("data", &names(&self.data))
            .field("client_environment", &names(&self.client_environment))
            .finish()
    }
}
