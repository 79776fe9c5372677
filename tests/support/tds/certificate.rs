//! A certificate for `localhost` and 127.0.0.1 that signs itself, from the `openssl` program.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::support::folder::Folder;

const CONFIGURATION: &str = "\
[req]
distinguished_name = name
x509_extensions = server
prompt = no
[name]
CN = localhost
[server]
basicConstraints = critical, CA:FALSE
subjectAltName = DNS:localhost, IP:127.0.0.1
";

#[derive(Clone)]
pub(crate) struct Certificate {
    folder: Arc<Folder>,
}

impl Certificate {
    #[expect(clippy::disallowed_methods, reason = "the tests start programs of their own")]
    pub(crate) fn new() -> Self {
        let folder = Folder::new();
        std::fs::write(folder.path().join("openssl.cnf"), CONFIGURATION).expect("write openssl.cnf");
        let status = Command::new("openssl")
            .current_dir(folder.path())
            .args(["req", "-new", "-x509", "-days", "2", "-nodes", "-config", "openssl.cnf"])
            .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-keyout", "key.pem", "-out", "certificate.pem"])
            .stderr(Stdio::null())
            .status()
            .expect("the program openssl is installed");
        assert!(status.success(), "openssl makes a certificate");
        Self { folder: Arc::new(folder) }
    }

    /// The file that a client has to trust.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    pub(super) fn acceptor(&self, strict: bool) -> TlsAcceptor {
        let chain = CertificateDer::pem_file_iter(self.file())
            .expect("a PEM file")
            .map(|certificate| certificate.expect("a certificate"))
            .collect();
        let key = PrivateKeyDer::from_pem_file(self.folder.path().join("key.pem")).expect("a key");
        let versions: &[_] = if strict { &[&TLS13] } else { &[&TLS12] };
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions of the provider")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate and its key");
        if strict {
            config.alpn_protocols = vec![b"tds/8.0".to_vec()];
        }
        TlsAcceptor::from(Arc::new(config))
    }
}
