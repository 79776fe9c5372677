//! TLS to the server, with libpq's `sslmode` rules.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::config::SslMode;
use crate::fault::{Fault, FaultKind};

/// How much of the server's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// Nothing: `prefer`, and `require` without a root certificate.
    Nothing,
    /// A trusted authority has signed it: `verify-ca`, and `require` with a root certificate.
    Authority,
    /// The same, and it names the host: `verify-full`.
    AuthorityAndName,
}

/// A connector for `mode`; `None` when TLS is never used.
pub(super) fn connector(
    mode: SslMode,
    root_certificate: Option<&Path>,
) -> Result<Option<TlsConnector>, Fault> {
    let check = match (mode, root_certificate) {
        (SslMode::Disable, _) => return Ok(None),
        (SslMode::Prefer, _) | (SslMode::Require, None) => Check::Nothing,
        (SslMode::Require, Some(_)) | (SslMode::VerifyCa, _) => Check::Authority,
        (SslMode::VerifyFull, _) => Check::AuthorityAndName,
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::new(FaultKind::Bug, "set up TLS").because(error))?;
    let config = match check {
        Check::AuthorityAndName => {
            builder.with_root_certificates(roots(root_certificate)?).with_no_client_auth()
        }
        Check::Nothing | Check::Authority => {
            let authority = match check {
                Check::Authority => Some(authority(root_certificate, &provider)?),
                Check::Nothing | Check::AuthorityAndName => None,
            };
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Lenient { authority, provider }))
                .with_no_client_auth()
        }
    };
    Ok(Some(TlsConnector::from(Arc::new(config))))
}

fn authority(
    file: Option<&Path>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Fault> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots(file)?), Arc::clone(provider)).build().map_err(
        |error| Fault::new(FaultKind::Credentials, "read the trusted root certificates").because(error),
    )
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, Fault> {
    let mut store = RootCertStore::empty();
    if let Some(path) = file {
        let fault = |error| {
            Fault::new(FaultKind::Credentials, format!("read the root certificate file {}", path.display()))
                .because(error)
                .remedy("Set `sslrootcert` to a readable PEM file.")
        };
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| fault(error.to_string()))? {
            let certificate = certificate.map_err(|error| fault(error.to_string()))?;
            store.add(certificate).map_err(|error| fault(error.to_string()))?;
        }
    } else {
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if store.is_empty() {
        return Err(Fault::new(FaultKind::Credentials, "find a trusted root certificate: there is none")
            .remedy("Install the system's CA certificates, or set `sslrootcert`."));
    }
    Ok(store)
}

/// Checks less than rustls does by itself, because `sslmode` says so.
#[derive(Debug)]
struct Lenient {
    authority: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authority) = &self.authority else { return Ok(ServerCertVerified::assertion()) };
        match authority.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The chain is verified before the name, so only the name is wrong.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
