//! Why two sides of TLS did not trust each other, and who has to do what.

use std::error::Error;
use std::io;

use tokio_rustls::rustls::{self, AlertDescription, CertificateError};

/// What went wrong in a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nobody that is trusted here has signed the certificate of the agent.
    UnknownAuthority,
    /// The certificate is one for other names.
    OtherName,
    /// It is out of its time.
    OutOfTime,
    /// The agent wants to see a certificate, or another one than it was shown.
    OurCertificate,
    /// What answers does not speak TLS.
    NoTls,
}

impl Refusal {
    /// What to do. `shows_certificate`: whether the caller has shown one of its own.
    pub(super) fn remedy(self, shows_certificate: bool) -> &'static str {
        match self {
            Self::UnknownAuthority => {
                "Nobody whom this machine trusts has signed its certificate: name the file of its authority with \
                 --ca-certificate."
            }
            Self::OtherName => {
                "Its certificate is for other names: name the agent with --url by one that is in it, and the \
                 configuration with --config when the key is from there."
            }
            Self::OutOfTime => {
                "Renew its certificate: it is out of its time, or the clock of one of the two machines is wrong."
            }
            Self::OurCertificate if shows_certificate => {
                "The agent does not accept the certificate of --client-certificate: it has to be signed by an \
                 authority in server.tls.client_certificates, for clients, and be within its time."
            }
            Self::OurCertificate => {
                "The agent asks its callers for a certificate: name one with --client-certificate and --client-key."
            }
            Self::NoTls => {
                "What answers there does not speak TLS: name it with http:// when it is the agent."
            }
        }
    }
}

/// What of TLS has ended a request, if that did.
pub(super) fn refused(error: &(dyn Error + 'static)) -> Option<Refusal> {
    causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>()).and_then(of)
}

/// Whether the connection ended before anything of the request was sent.
pub(super) fn was_not_sent(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled))
}

/// The error and what it was made of, outermost first.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'e (dyn Error + 'static) = *error;
        // An I/O error does not name what it holds as its source, but the source of that.
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(held) => Some(held),
            None => error.source(),
        }
    })
}

fn of(error: &rustls::Error) -> Option<Refusal> {
    use AlertDescription as Alert;
    Some(match error {
        rustls::Error::InvalidCertificate(reason) => match reason {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Refusal::OtherName
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Refusal::OutOfTime,
            // An authority of the same name with another key has signed it.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Refusal::UnknownAuthority,
            _ => return None,
        },
        rustls::Error::AlertReceived(
            Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::DecryptError
            | Alert::AccessDenied
            | Alert::HandshakeFailure,
        ) => Refusal::OurCertificate,
        rustls::Error::InvalidMessage(_) => Refusal::NoTls,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_io_error_holds_is_found() {
        let refusal = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
        let error = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, refusal));
        assert_eq!(refused(&error), Some(Refusal::OurCertificate));
        assert_eq!(refused(&io::Error::other("a cable")), None);
    }

    #[test]
    fn everybody_is_told_what_is_theirs_to_do() {
        assert!(Refusal::OurCertificate.remedy(false).contains("--client-key"));
        assert!(Refusal::OurCertificate.remedy(true).contains("server.tls.client_certificates"));
        assert!(Refusal::UnknownAuthority.remedy(false).contains("--ca-certificate"));
    }
}
