//! The beginning of a session: who asks, and the proof of it.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication;
use postgres_protocol::authentication::sasl::{self, ChannelBinding, ScramSha256};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;

use super::{Connection, encode_fault, unexpected};
use crate::config::PostgresSource;
use crate::fault::{Fault, FaultKind};
use crate::source::postgres::error::{ServerError, Stage};

impl Connection {
    /// Logs in and takes what the server says of itself.
    pub(super) async fn start_session(&mut self) -> Result<(), Fault> {
        let config = Arc::clone(&self.address.config);
        let mut message = BytesMut::new();
        // Nothing else: poolers refuse startup parameters that they do not know.
        let parameters = [
            ("user", config.username.as_str()),
            ("database", config.database.as_str()),
            ("application_name", config.application_name.as_str()),
            ("client_encoding", "UTF8"),
        ];
        frontend::startup_message(parameters, &mut message).map_err(encode_fault)?;
        self.send(&message).await?;
        loop {
            match self.receive().await? {
                Message::AuthenticationOk => break,
                Message::AuthenticationCleartextPassword => {
                    self.send_password(password(&config)?.as_bytes()).await?;
                }
                Message::AuthenticationMd5Password(body) => {
                    let (user, secret) = (config.username.as_bytes(), password(&config)?.as_bytes());
                    let hash = authentication::md5_hash(user, secret, body.salt());
                    self.send_password(hash.as_bytes()).await?;
                }
                Message::AuthenticationSasl(body) => self.authenticate_scram(&config, &body).await?,
                Message::ErrorResponse(body) => {
                    return Err(ServerError::read(&body, Stage::Own).into_fault("log in"));
                }
                _ => {
                    return Err(Fault::new(
                        FaultKind::Credentials,
                        "log in: the server asks for an unknown method",
                    )
                    .remedy("Use scram-sha-256, md5, password or trust in pg_hba.conf."));
                }
            }
        }
        loop {
            match self.receive().await? {
                Message::BackendKeyData(body) => self.key = Some((body.process_id(), body.secret_key())),
                Message::ParameterStatus(body) if body.name().is_ok_and(|name| name == "server_version") => {
                    let version = body.value().unwrap_or_default();
                    let major = version.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
                    self.major_version = major.parse().unwrap_or_default();
                }
                Message::ParameterStatus(body) if body.name().is_ok_and(|name| name == "server_encoding") => {
                    self.encoding_unknown = body.value().is_ok_and(|value| value == "SQL_ASCII");
                }
                Message::ReadyForQuery(_) => return Ok(()),
                Message::ErrorResponse(body) => {
                    return Err(ServerError::read(&body, Stage::Own).into_fault("log in"));
                }
                _ => {}
            }
        }
    }

    async fn authenticate_scram(
        &mut self,
        config: &PostgresSource,
        body: &AuthenticationSaslBody,
    ) -> Result<(), Fault> {
        let broken =
            |error: io::Error| Fault::new(FaultKind::Credentials, "log in with SCRAM-SHA-256").because(error);
        let mechanisms: Vec<&str> = body.mechanisms().collect().map_err(broken)?;
        if !mechanisms.contains(&sasl::SCRAM_SHA_256) {
            return Err(Fault::new(FaultKind::Credentials, "log in: the server offers no SCRAM-SHA-256"));
        }
        let mut scram = ScramSha256::new(password(config)?.as_bytes(), ChannelBinding::unsupported());
        let mut message = BytesMut::new();
        frontend::sasl_initial_response(sasl::SCRAM_SHA_256, scram.message(), &mut message)
            .map_err(encode_fault)?;
        self.send(&message).await?;
        match self.receive().await? {
            Message::AuthenticationSaslContinue(body) => scram.update(body.data()).map_err(broken)?,
            other => return Err(unexpected(&other, Stage::Own, "log in")),
        }
        message.clear();
        frontend::sasl_response(scram.message(), &mut message).map_err(encode_fault)?;
        self.send(&message).await?;
        match self.receive().await? {
            Message::AuthenticationSaslFinal(body) => scram.finish(body.data()).map_err(broken),
            other => Err(unexpected(&other, Stage::Own, "log in")),
        }
    }

    async fn send_password(&mut self, password: &[u8]) -> Result<(), Fault> {
        let mut message = BytesMut::new();
        frontend::password_message(password, &mut message).map_err(encode_fault)?;
        self.send(&message).await
    }
}

fn password(config: &PostgresSource) -> Result<&str, Fault> {
    config.password.as_ref().map(crate::config::Secret::expose).ok_or_else(|| {
        Fault::new(FaultKind::Credentials, "log in: the server asks for a password and none is configured")
            .remedy("Set `password` of the connection, for example to \"${env:PGPASSWORD}\".")
    })
}
