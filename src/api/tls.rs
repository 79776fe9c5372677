//! HTTPS: the certificate, its renewal while the agent runs, and what is asked of clients.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::config::ServerTls;
use crate::fault::{Fault, FaultKind};
use crate::shutdown::spawn_blocking;

/// Pause between two looks at the files. They are compared by content: secrets that a cluster mounts are
/// replaced behind a symbolic link, and times of files can be set.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Bytes of a file at most.
const LONGEST_FILE: u64 = 1 << 20;

/// The certificate that is shown now, and the files that it came from.
#[derive(Debug)]
pub struct Tls {
    settings: ServerTls,
    state: Mutex<State>,
}

#[derive(Clone, Debug)]
struct State {
    config: Arc<ServerConfig>,
    /// What the files said at the last look, good or not.
    seen: [u8; 32],
}

/// The contents of the files.
struct Contents {
    certificate: Vec<u8>,
    private_key: Vec<u8>,
    authorities: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one of them cannot be read, or they do not fit together.
    pub fn load(settings: &ServerTls) -> Result<Self, Fault> {
        let contents = read(settings)?;
        let config = Arc::new(server_config(settings, &contents)?);
        let state = State { config, seen: digest(&contents) };
        Ok(Self { settings: settings.clone(), state: Mutex::new(state) })
    }

    /// For one connection: whoever has shaken hands keeps its keys whatever comes later.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.state().config)
    }

    /// Looks at the files for ever, and takes over what is new in them.
    pub(super) async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let tls = Arc::clone(&self);
            // A panic is a defect that is in the log; the next look may be better.
            drop(spawn_blocking(move || tls.look()).await);
        }
    }

    /// Takes over what is new in the files. What is broken is told once, and changes nothing: a pair that is
    /// being replaced is broken for a moment.
    fn look(&self) {
        let contents = match read(&self.settings) {
            Ok(contents) => contents,
            Err(fault) => return self.keep([0; 32], &fault),
        };
        let seen = digest(&contents);
        if self.state().seen == seen {
            return;
        }
        match server_config(&self.settings, &contents) {
            Ok(config) => {
                *self.state.lock().unwrap_or_else(PoisonError::into_inner) =
                    State { config: Arc::new(config), seen };
                tracing::info!(
                    certificate = %self.settings.certificate.display(),
                    "the API uses the new files of server.tls"
                );
            }
            Err(fault) => self.keep(seen, &fault),
        }
    }

    fn keep(&self, seen: [u8; 32], fault: &Fault) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.seen != seen {
            state.seen = seen;
            tracing::error!(
                error = fault.chain(),
                hint = fault.hint(),
                "the new certificate of the API cannot be used; the earlier one stays in use"
            );
        }
    }

    fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read(settings: &ServerTls) -> Result<Contents, Fault> {
    Ok(Contents {
        certificate: read_file("certificate", &settings.certificate)?,
        private_key: read_file("private_key", &settings.private_key)?,
        authorities: match &settings.clients {
            Some(clients) => Some(read_file("client_certificates", &clients.authorities)?),
            None => None,
        },
    })
}

fn read_file(key: &'static str, path: &Path) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST_FILE + 1).read_to_end(&mut bytes));
    let read = read.and_then(|_| match bytes.len() as u64 > LONGEST_FILE {
        true => Err(io::Error::other(format!("it is longer than {LONGEST_FILE} bytes"))),
        false => Ok(()),
    });
    read.map_err(|error| wrong(key, path, error.to_string()))?;
    Ok(bytes)
}

fn wrong(key: &'static str, path: &Path, reason: String) -> Fault {
    Fault::new(FaultKind::Credentials, format!("read {} for server.tls.{key}", path.display()))
        .because(reason)
        .remedy(format!("Set server.tls.{key} to a PEM file that the user of the agent can read."))
}

/// The content of a secret file is only compared.
fn digest(contents: &Contents) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for bytes in [&contents.certificate, &contents.private_key].into_iter().chain(&contents.authorities) {
        hasher.update(bytes.len().to_le_bytes());
        hasher.update(bytes);
    }
    hasher.finalize().into()
}

fn server_config(settings: &ServerTls, contents: &Contents) -> Result<ServerConfig, Fault> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::new(FaultKind::Bug, "set up TLS for the API").because(error))?;
    let builder = match (&settings.clients, &contents.authorities) {
        (Some(clients), Some(authorities)) => {
            let fault = |reason| wrong("client_certificates", &clients.authorities, reason);
            let mut roots = RootCertStore::empty();
            for certificate in certificates(authorities).map_err(fault)? {
                roots.add(certificate).map_err(|error| fault(error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if clients.required { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| fault(error.to_string()))?)
        }
        _ => builder.with_no_client_auth(),
    };
    let chain = certificates(&contents.certificate)
        .map_err(|reason| wrong("certificate", &settings.certificate, reason))?;
    // The error of the parser is dropped: it could show a line of the key.
    let key = PrivateKeyDer::from_pem_slice(&contents.private_key).map_err(|_| {
        let reason = "there is no private key in it that can be read without a passphrase".to_owned();
        wrong("private_key", &settings.private_key, reason)
    })?;
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        let action = format!(
            "use the certificate {} with the private key {}",
            settings.certificate.display(),
            settings.private_key.display()
        );
        Fault::new(FaultKind::Credentials, action)
            .because(error)
            .remedy("Give server.tls a certificate and the private key that it was made for.")
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| "it is no valid PEM file".to_owned())?;
    if certificates.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(certificates) }
}
