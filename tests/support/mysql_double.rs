//! A server that speaks as much of MySQL's protocol as it takes to misbehave before anybody is logged in.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::certificates::Certificate;

/// What the server does next. After the last step it closes the connection.
#[derive(Clone)]
pub(crate) enum Step {
    /// Sends bytes as they are.
    Send(Vec<u8>),
    /// Takes one packet.
    Take,
    /// Takes the client into TLS.
    StartTls(TlsAcceptor),
    /// Waits until the client has gone.
    Wait,
}

/// A listening double. Ends with the runtime of the test.
pub(crate) struct MysqlDouble {
    pub(crate) port: u16,
    taken: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl MysqlDouble {
    /// Does the steps for every client.
    #[expect(clippy::disallowed_methods, reason = "the double is no part of the agent, no stop waits for it")]
    pub(crate) async fn start(steps: Vec<Step>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("there is a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&taken);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (steps, notes) = (steps.clone(), Arc::clone(&notes));
                tokio::spawn(async move {
                    // A client that goes early is what some tests are about.
                    let _ = serve(Box::new(client), steps, &notes).await;
                });
            }
        });
        Self { port, taken }
    }

    /// The packets that all clients have sent.
    pub(crate) fn taken(&self) -> Vec<Vec<u8>> {
        self.taken.lock().expect("no holder panics").clone()
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn serve(
    mut client: Box<dyn Stream>,
    steps: Vec<Step>,
    taken: &Mutex<Vec<Vec<u8>>>,
) -> std::io::Result<()> {
    for step in steps {
        match step {
            Step::Send(bytes) => {
                client.write_all(&bytes).await?;
                client.flush().await?;
            }
            Step::Take => {
                let header = client.read_u32_le().await?;
                let mut payload = vec![0; (header & 0xff_ffff) as usize];
                client.read_exact(&mut payload).await?;
                taken.lock().expect("no holder panics").push(payload);
            }
            Step::StartTls(acceptor) => client = Box::new(acceptor.accept(client).await?),
            Step::Wait => {
                client.read_to_end(&mut Vec::new()).await?;
            }
        }
    }
    client.shutdown().await
}

/// A packet with its header.
pub(crate) fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short packet");
    [&length.to_le_bytes()[..3], &[sequence], payload].concat()
}

/// The greeting of a server that offers TLS.
pub(crate) fn greeting() -> Vec<u8> {
    // MySQL, long flags, protocol 4.1, TLS, transactions, secure connections, plugins.
    const CAPABILITIES: u32 = 1 | 1 << 2 | 1 << 9 | 1 << 11 | 1 << 13 | 1 << 15 | 1 << 19;
    let capabilities = CAPABILITIES.to_le_bytes();
    let mut payload = vec![10];
    payload.extend_from_slice(b"8.4.0-double\0");
    payload.extend_from_slice(&7_u32.to_le_bytes());
    payload.extend_from_slice(b"01234567\0");
    payload.extend_from_slice(&capabilities[..2]);
    payload.extend_from_slice(&[45, 2, 0]);
    payload.extend_from_slice(&capabilities[2..]);
    payload.push(21);
    payload.extend_from_slice(&[0; 10]);
    payload.extend_from_slice(b"890123456789\0mysql_native_password\0");
    packet(0, &payload)
}

/// TLS with a certificate.
pub(crate) fn acceptor(certificate: &Certificate) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(&certificate.certificate).expect("a PEM file");
    let chain = chain.map(|certificate| certificate.expect("a certificate")).collect();
    let key = PrivateKeyDer::from_pem_file(&certificate.private_key).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of the provider")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate and its key");
    TlsAcceptor::from(Arc::new(config))
}
