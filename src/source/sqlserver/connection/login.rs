//! The answer to a login.

use super::{Connection, State, unexpected};
use crate::fault::{Fault, FaultKind};
use crate::source::sqlserver::error::ServerError;
use crate::source::sqlserver::integrated::{MOST_ROUNDS, REFUSED, SecurityPackage, endless, unproven};
use crate::source::sqlserver::protocol::packet::{MessageKind, packets};
use crate::source::sqlserver::protocol::token::{Change, Token};

impl Connection {
    /// Reads the answer to the login: `Some` when the server sends the client elsewhere. `package`
    /// answers the tokens of the server's.
    pub(in crate::source::sqlserver) async fn finish_login(
        &mut self,
        mut package: Option<Box<dyn SecurityPackage>>,
    ) -> Result<Option<(String, u16)>, Fault> {
        let action = "log in";
        let (mut route, mut logged_in, mut failure) = (None, false, None);
        let (mut rounds, mut answer) = (0, None::<Vec<u8>>);
        loop {
            if answer.is_some() && self.buffer.is_empty() {
                if !self.message_ended() {
                    self.fill().await?;
                } else if let Some(answer) = answer.take() {
                    self.go_on(&answer).await?;
                }
                continue;
            }
            match self.token(action).await? {
                Token::Error(message) => failure = failure.or(Some(ServerError::new(message))),
                Token::LoggedIn => logged_in = true,
                Token::Change(Change::Route { host, port }) => route = Some((host, port)),
                // What a server says after it has refused the login changes nothing.
                Token::SecurityPackage(token) if failure.is_none() => {
                    let package = package.as_mut().ok_or_else(|| unexpected(action))?;
                    rounds += 1;
                    if rounds > MOST_ROUNDS {
                        return Err(endless());
                    }
                    answer = Some(package.answer(token).await?);
                }
                Token::Done(done) if !done.more() => break,
                Token::Done(_) | Token::Change(_) | Token::SecurityPackage(_) | Token::Other => {}
                Token::Columns(_) => return Err(unexpected(action)),
            }
        }
        if let Some(error) = failure {
            let fault = error.into_fault(action);
            let is_of_package = package.is_some() && fault.kind() == FaultKind::Credentials;
            return Err(if is_of_package { fault.remedy(REFUSED) } else { fault });
        }
        if !logged_in {
            return Err(unexpected(action));
        }
        if package.is_some_and(|package| !package.knows_the_server()) {
            return Err(unproven());
        }
        self.state = State::Idle;
        Ok(route)
    }

    /// The server's message was tokens of its package and no end of the login: it waits for the
    /// answer, or goes on by itself where there is none.
    async fn go_on(&mut self, answer: &[u8]) -> Result<(), Fault> {
        self.unpacker.begin_message();
        if answer.is_empty() {
            return Ok(());
        }
        self.send(&packets(MessageKind::SecurityPackage, answer, self.packet_bytes)).await
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll};

    use async_trait::async_trait;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

    use super::*;
    use crate::config::{Environment, SourceConnection, source_from_url};
    use crate::shutdown::Shutdown;
    use crate::source::socket::Stream;
    use crate::source::sqlserver::address::Address;

    /// A stream of this process.
    struct Wire(DuplexStream);

    impl AsyncRead for Wire {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(context, buffer)
        }
    }

    impl AsyncWrite for Wire {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(context, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(context)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(context)
        }
    }

    impl Stream for Wire {
        fn detach(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn attach(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Answers each token with the number of the round, and is content after `wanted`.
    struct Counting {
        wanted: usize,
        seen: Arc<AtomicUsize>,
    }

    #[async_trait]
    impl SecurityPackage for Counting {
        async fn answer(&mut self, token: Vec<u8>) -> Result<Vec<u8>, Fault> {
            assert_eq!(token, b"token");
            let round = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
            Ok(if round < self.wanted { vec![round as u8] } else { Vec::new() })
        }

        fn knows_the_server(&self) -> bool {
            self.seen.load(Ordering::SeqCst) >= self.wanted
        }
    }

    const TOKEN: &[u8] = b"\xed\x05\x00token";
    const LOGGED_IN: &[u8] = b"\xad\x01\x00\x01";
    const DONE: &[u8] = &[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    /// A packet of a server.
    fn packet(is_last: bool, piece: &[u8]) -> Vec<u8> {
        [&[4, u8::from(is_last), 0, piece.len() as u8 + 8, 0, 0, 1, 0], piece].concat()
    }

    /// What comes of a login that the server answers with `packets`, how many tokens were answered,
    /// and what the client has sent meanwhile.
    async fn outcome(wanted: Option<usize>, packets: &[Vec<u8>]) -> (Result<(), Fault>, usize, Vec<u8>) {
        let Ok(SourceConnection::SqlServer(config)) =
            source_from_url("sqlserver://u:p@h/d", &Environment::of::<String, String>([]))
        else {
            panic!("a URL of SQL Server")
        };
        let address = Address::new(config, Shutdown::new()).expect("no files are named");
        let (client, mut server) = tokio::io::duplex(64 << 10);
        let seen = Arc::new(AtomicUsize::new(0));
        let package = wanted.map(|wanted| {
            let package: Box<dyn SecurityPackage> = Box::new(Counting { wanted, seen: Arc::clone(&seen) });
            package
        });
        let mut connection = Connection::new(Box::new(Wire(client)), address);
        let log_in = async {
            let outcome = connection.finish_login(package).await.map(|route| assert_eq!(route, None));
            connection.forget();
            outcome
        };
        let serve = async {
            let mut sent = Vec::new();
            for (round, packet) in (1..).zip(packets) {
                server.write_all(packet).await.expect("there is room for it");
                // A server says nothing more before it has an answer; a client that is gone gives none.
                let mut answer = [0; 9];
                if round < wanted.unwrap_or(0) && server.read_exact(&mut answer).await.is_ok() {
                    sent.extend(answer);
                }
            }
            server.read_to_end(&mut sent).await.expect("the client has gone");
            sent
        };
        let (outcome, sent) = tokio::join!(log_in, serve);
        (outcome, seen.load(Ordering::SeqCst), sent)
    }

    #[tokio::test]
    async fn tokens_are_answered_until_the_login_ends() {
        let end = [LOGGED_IN, DONE].concat();
        for packets in [
            // The token comes with the end of the login, before it, and in pieces.
            vec![packet(true, &[TOKEN, &end].concat())],
            vec![packet(true, TOKEN), packet(true, &end)],
            vec![packet(false, TOKEN), packet(true, &end)],
            vec![
                packet(false, &TOKEN[..4]),
                packet(false, &TOKEN[4..]),
                packet(true, b""),
                packet(true, &end),
            ],
        ] {
            let (outcome, rounds, sent) = outcome(Some(1), &packets).await;
            outcome.unwrap_or_else(|fault| panic!("{packets:?}: {}", fault.chain()));
            assert_eq!((rounds, sent), (1, vec![]), "{packets:?}");
        }
        let packets = [packet(true, TOKEN), packet(true, TOKEN), packet(true, &[TOKEN, &end].concat())];
        let (outcome, rounds, sent) = outcome(Some(3), &packets).await;
        outcome.expect("three rounds");
        let answers = [[0x11, 1, 0, 9, 0, 0, 1, 0, 1], [0x11, 1, 0, 9, 0, 0, 1, 0, 2]].concat();
        assert_eq!((rounds, sent), (3, answers));
    }

    #[tokio::test]
    async fn a_server_that_asks_for_ever_or_proves_nothing_is_left() {
        let endless = vec![packet(true, TOKEN); MOST_ROUNDS + 1];
        let (outcome_of_endless, rounds, _) = outcome(Some(usize::MAX), &endless).await;
        let fault = outcome_of_endless.expect_err("it never ends");
        assert_eq!((fault.kind(), rounds), (FaultKind::Credentials, MOST_ROUNDS), "{}", fault.chain());

        let end = packet(true, &[LOGGED_IN, DONE].concat());
        let (unproven, ..) = outcome(Some(1), std::slice::from_ref(&end)).await;
        assert!(unproven.expect_err("no proof").chain().contains("did not prove"));
        outcome(None, std::slice::from_ref(&end)).await.0.expect("a password needs none");

        // A token that nobody asked for.
        let (unexpected, ..) = outcome(None, &[packet(true, TOKEN), end]).await;
        assert!(unexpected.is_err());
    }
}
