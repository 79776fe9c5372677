//! TLS to a database server: how much of its certificate is checked, and against what.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};

use crate::fault::{Fault, FaultKind};

/// How much of the server's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Check {
    /// Nothing.
    Nothing,
    /// A trusted authority has signed it.
    Authority,
    /// The same, and it names the host.
    AuthorityAndName,
}

/// Whom to trust.
#[derive(Clone, Copy, Debug)]
pub(in crate::source) struct Trust<'a> {
    pub(in crate::source) check: Check,
    /// PEM file of the authorities, instead of the system's.
    pub(in crate::source) root_certificate: Option<&'a Path>,
    /// The configuration key of that file, for remedies.
    pub(in crate::source) key: &'static str,
}

/// A client that trusts so.
pub(in crate::source) fn client(
    trust: Trust<'_>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ClientConfig, Fault> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| Fault::new(FaultKind::Bug, "set up TLS").because(error))?;
    Ok(match trust.check {
        Check::AuthorityAndName => builder.with_root_certificates(roots(trust)?).with_no_client_auth(),
        Check::Nothing | Check::Authority => {
            let authority = match trust.check {
                Check::Authority => Some(authority(trust, &provider)?),
                Check::Nothing | Check::AuthorityAndName => None,
            };
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Lenient { authority, provider }))
                .with_no_client_auth()
        }
    })
}

/// What a handshake that failed says. Only TLS itself can refuse a certificate, a name or a version; a
/// connection that ended in the middle says nothing about them, and the next one may not end.
pub(in crate::source) fn handshake_fault_kind(error: &io::Error) -> FaultKind {
    match error.get_ref().is_some_and(|cause| cause.is::<Error>()) {
        true => FaultKind::Credentials,
        false => FaultKind::Transient,
    }
}

fn authority(trust: Trust<'_>, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, Fault> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots(trust)?), Arc::clone(provider))
        .build()
        .map_err(|error| {
            Fault::new(FaultKind::Credentials, "read the trusted root certificates").because(error)
        })
}

fn roots(trust: Trust<'_>) -> Result<RootCertStore, Fault> {
    let mut store = RootCertStore::empty();
    if let Some(path) = trust.root_certificate {
        let fault = |error| {
            Fault::new(FaultKind::Credentials, format!("read the root certificate file {}", path.display()))
                .because(error)
                .remedy(format!("Set `{}` to a readable PEM file.", trust.key))
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
            .remedy(format!("Install the system's CA certificates, or set `{}`.", trust.key)));
    }
    Ok(store)
}

/// Checks less than rustls does by itself, because the configuration says so.
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
