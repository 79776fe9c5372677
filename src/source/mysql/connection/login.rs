//! The beginning of a session: TLS, who asks, and the proof of it.

use std::sync::Arc;

use tokio_rustls::rustls::pki_types::ServerName;

use super::proof::{self, Plugin};
use super::{Address, Connection};
use crate::config::{MysqlSource, Secret, SslMode};
use crate::fault::{Fault, FaultKind};
use crate::source::mysql::error::{ServerError, Stage, malformed};
use crate::source::mysql::packet::{CAPABILITY_MYSQL, Greeting, end_status, put_string};
use crate::source::socket::{Socket, Stream};
use crate::source::tls::handshake_fault_kind;

/// `utf8mb4_general_ci`, which every server since 5.5 knows: texts arrive as UTF-8.
const CHARACTER_SET: u8 = 45;
/// Longest packet that this client takes, as it says to the server: 1 GiB, the protocol's limit.
const LARGEST_PACKET: u32 = 1 << 30;

/// Capabilities of the protocol that this client asks for.
mod capability {
    pub(super) const LONG_FLAG: u32 = 1 << 2;
    pub(super) const CONNECT_WITH_DB: u32 = 1 << 3;
    pub(super) const PROTOCOL_41: u32 = 1 << 9;
    pub(super) const SSL: u32 = 1 << 11;
    pub(super) const TRANSACTIONS: u32 = 1 << 13;
    pub(super) const SECURE_CONNECTION: u32 = 1 << 15;
    pub(super) const PLUGIN_AUTH: u32 = 1 << 19;
    pub(super) const CONNECT_ATTRIBUTES: u32 = 1 << 20;
    pub(super) const PLUGIN_AUTH_LENGTH: u32 = 1 << 21;
    /// Of MariaDB's own 32: columns are described with names of types that have no code.
    pub(super) const MARIADB_EXTENDED_METADATA: u32 = 1 << 3;
}

impl Connection {
    /// Takes the greeting, protects the connection and logs in.
    pub(super) async fn start_session(&mut self) -> Result<(), Fault> {
        let action = "log in";
        let packet = self.packet().await?;
        if packet.first() == Some(&0xff) {
            return Err(ServerError::read(&packet, Stage::Own).into_fault(action));
        }
        let greeting = Greeting::read(&packet).map_err(|_malformed| {
            Fault::new(FaultKind::Request, "log in: what answers is not MySQL or MariaDB")
                .remedy("Check `host` and `port` of the connection.")
        })?;
        if greeting.capabilities & capability::PLUGIN_AUTH == 0
            || greeting.capabilities & capability::PROTOCOL_41 == 0
        {
            return Err(Fault::new(FaultKind::Request, "log in: the server is older than MySQL 5.7"));
        }
        self.connection_id = greeting.connection_id;
        self.is_mariadb = greeting.is_mariadb();
        let config = Arc::clone(&self.address.config);
        let capabilities = capabilities(&config, &greeting);
        let mariadb = match greeting.capabilities & CAPABILITY_MYSQL {
            0 => greeting.mariadb_capabilities & capability::MARIADB_EXTENDED_METADATA,
            _ => 0,
        };
        self.extended_metadata = mariadb != 0;
        let capabilities = self.protect(capabilities, mariadb, &greeting).await?;
        self.authenticate(&config, &greeting, capabilities, mariadb).await
    }

    /// Starts TLS, as `ssl_mode` says; returns the capabilities with or without it.
    async fn protect(&mut self, capabilities: u32, mariadb: u32, greeting: &Greeting) -> Result<u32, Fault> {
        let address = self.address.clone();
        let Some(tls) = &address.tls else { return Ok(capabilities) };
        if address.is_unix_socket() {
            return Ok(capabilities);
        }
        if greeting.capabilities & capability::SSL == 0 {
            return match address.config.ssl_mode {
                SslMode::Disable | SslMode::Prefer => Ok(capabilities),
                SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
                    Err(Fault::new(FaultKind::Credentials, "start TLS: the server does not offer it").remedy(
                        "Give the server a certificate (ssl_cert, ssl_key), or choose another `ssl_mode`.",
                    ))
                }
            };
        }
        let capabilities = capabilities | capability::SSL;
        let request = opening(capabilities, mariadb);
        self.send_packet(&request).await?;
        let name = ServerName::try_from(address.config.host.clone()).map_err(|error| {
            Fault::new(FaultKind::Request, "start TLS: the host is not a name or an address").because(error)
        })?;
        if !self.buffer.is_empty() {
            // Whoever sent this is not the one with whom TLS is about to be started.
            return Err(malformed("start TLS"));
        }
        let plain = std::mem::replace(&mut self.stream, Box::new(Socket::Lost));
        match tls.connect(name, plain).await {
            Ok(stream) => self.stream = Box::new(stream) as Box<dyn Stream>,
            Err(error) => {
                let kind = handshake_fault_kind(&error);
                let remedy = match kind {
                    FaultKind::Credentials => {
                        "Check that `host` is the name in the server's certificate and that `ssl_ca` has its authority."
                    }
                    _ => "Check that the server runs and that the network between it and the agent is up.",
                };
                return Err(Fault::new(kind, "start TLS").because(error).remedy(remedy));
            }
        }
        self.is_protected = true;
        Ok(capabilities)
    }

    async fn authenticate(
        &mut self,
        config: &MysqlSource,
        greeting: &Greeting,
        capabilities: u32,
        mariadb: u32,
    ) -> Result<(), Fault> {
        let password = config.password.as_ref().map_or("", Secret::expose).as_bytes();
        // Another plugin than the server's favourite is answered with one to switch to.
        let plugin = match Plugin::of(&greeting.plugin) {
            Some(known @ (Plugin::Native | Plugin::CachingSha2)) => known,
            Some(Plugin::ClearText) | None => Plugin::Native,
        };
        let proof = match plugin {
            Plugin::Native => proof::native(password, &greeting.challenge),
            Plugin::CachingSha2 => proof::caching_sha2(password, &greeting.challenge),
            Plugin::ClearText => Vec::new(),
        };
        let mut message = opening(capabilities, mariadb);
        message.extend_from_slice(config.username.as_bytes());
        message.push(0);
        put_string(&mut message, &proof);
        if let Some(database) = &config.database {
            message.extend_from_slice(database.as_bytes());
            message.push(0);
        }
        message.extend_from_slice(plugin.name().as_bytes());
        message.push(0);
        if capabilities & capability::CONNECT_ATTRIBUTES != 0 {
            let mut attributes = Vec::new();
            put_string(&mut attributes, b"program_name");
            put_string(&mut attributes, config.application_name.as_bytes());
            put_string(&mut message, &attributes);
        }
        self.send_packet(&message).await?;
        self.prove(password, plugin, greeting.challenge.clone()).await
    }

    /// Answers the server's questions until it is content.
    async fn prove(
        &mut self,
        password: &[u8],
        mut plugin: Plugin,
        mut challenge: Vec<u8>,
    ) -> Result<(), Fault> {
        loop {
            let packet = self.packet().await?;
            match packet.as_slice() {
                [0x00, ..] => return Ok(()),
                [0xff, ..] => return Err(ServerError::read(&packet, Stage::Own).into_fault("log in")),
                [0xfe, switch @ ..] if end_status(&packet).is_none() => {
                    (plugin, challenge) = switch_request(switch)?;
                    let proof = match plugin {
                        Plugin::Native => proof::native(password, &challenge),
                        Plugin::CachingSha2 => proof::caching_sha2(password, &challenge),
                        Plugin::ClearText => self.readable(password)?,
                    };
                    self.send_packet(&proof).await?;
                }
                // "I know this user's hash already", and an OK packet follows.
                [0x01, 0x03] if plugin == Plugin::CachingSha2 => {}
                [0x01, 0x04] if plugin == Plugin::CachingSha2 => {
                    let answer = self.full_proof(password, &challenge).await?;
                    self.send_packet(&answer).await?;
                }
                _ => return Err(malformed("log in")),
            }
        }
    }

    /// What `caching_sha2_password` wants of a user that it has not seen since its start: the
    /// password, protected by TLS or a Unix socket, or else by the server's RSA key. TLS is enough here
    /// without a look at the certificate, as it is for the server's own programs: whoever does not want
    /// that asks for a look with `ssl_mode`.
    async fn full_proof(&mut self, password: &[u8], challenge: &[u8]) -> Result<Vec<u8>, Fault> {
        if self.is_protected {
            return Ok(proof::with_zero(password));
        }
        let address = self.address.clone();
        let key = match &address.public_key {
            Some(key) => key.to_vec(),
            None if address.config.allow_public_key_retrieval => {
                self.send_packet(&[2]).await?;
                match self.packet().await?.as_slice() {
                    [0x01, key @ ..] => key.to_vec(),
                    _ => return Err(malformed("ask for the server's public key")),
                }
            }
            None => {
                return Err(Fault::new(
                    FaultKind::Credentials,
                    "log in: caching_sha2_password needs a protected connection for the first login of a user",
                )
                .remedy("Use `ssl_mode = \"required\"` or stricter, or set `server_public_key` to the server's RSA key file."));
            }
        };
        proof::encrypted(password, challenge, &key).ok_or_else(|| {
            Fault::new(
                FaultKind::Credentials,
                "log in: the server's public key is no RSA key of at least 2048 bits in PEM form",
            )
            .remedy("Check `server_public_key`, or use `ssl_mode = \"required\"`.")
        })
    }

    /// The password itself, for a plugin that wants it so. TLS alone protects from listeners only: a
    /// server whose certificate nobody has checked could be anybody, who asks for it in this way.
    fn readable(&self, password: &[u8]) -> Result<Vec<u8>, Fault> {
        let is_verified = match self.address.config.ssl_mode {
            SslMode::VerifyCa | SslMode::VerifyFull => self.is_protected,
            SslMode::Disable | SslMode::Prefer | SslMode::Require => self.address.is_unix_socket(),
        };
        if is_verified {
            return Ok(proof::with_zero(password));
        }
        Err(Fault::new(
            FaultKind::Credentials,
            "log in: the server asks for the readable password, and nothing has proven which server it is",
        )
        .remedy(
            "Use `ssl_mode = \"verify_identity\"`, with the server's authority in `ssl_ca` where the system does not trust it; or connect through a Unix socket.",
        ))
    }
}

/// The part that a request for TLS and a login have in common.
fn opening(capabilities: u32, mariadb: u32) -> Vec<u8> {
    let mut message = Vec::with_capacity(128);
    message.extend_from_slice(&capabilities.to_le_bytes());
    message.extend_from_slice(&LARGEST_PACKET.to_le_bytes());
    message.push(CHARACTER_SET);
    message.extend_from_slice(&[0; 19]);
    message.extend_from_slice(&mariadb.to_le_bytes());
    message
}

fn capabilities(config: &MysqlSource, greeting: &Greeting) -> u32 {
    let wanted = capability::LONG_FLAG
        | capability::PROTOCOL_41
        | capability::TRANSACTIONS
        | capability::SECURE_CONNECTION
        | capability::PLUGIN_AUTH
        | capability::PLUGIN_AUTH_LENGTH
        | capability::CONNECT_ATTRIBUTES
        | (greeting.capabilities & CAPABILITY_MYSQL);
    let database = if config.database.is_some() { capability::CONNECT_WITH_DB } else { 0 };
    // Never LOCAL FILES: a server that is not what it seems could ask for any file of this machine.
    // Never MULTI STATEMENTS: one text is one statement, whatever is in it.
    (wanted & greeting.capabilities) | database
}

/// Plugin and challenge of a request to use another method.
fn switch_request(switch: &[u8]) -> Result<(Plugin, Vec<u8>), Fault> {
    let end = switch.iter().position(|byte| *byte == 0).ok_or_else(|| malformed("log in"))?;
    let name = String::from_utf8_lossy(&switch[..end]).into_owned();
    let challenge = &switch[end + 1..];
    let challenge = challenge.strip_suffix(&[0]).unwrap_or(challenge).to_vec();
    let plugin = Plugin::of(&name).ok_or_else(|| {
        Fault::new(FaultKind::Credentials, format!("log in: the server asks for the method `{name}`"))
            .remedy("Give the user caching_sha2_password or mysql_native_password.")
    })?;
    Ok((plugin, challenge))
}

impl Address {
    pub(super) fn is_unix_socket(&self) -> bool {
        self.config.host.starts_with('/')
    }
}
