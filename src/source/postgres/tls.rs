//! TLS to the server, with libpq's `sslmode` rules.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::DEFAULT_VERSIONS;

use crate::config::SslMode;
use crate::fault::Fault;
use crate::source::tls::{Check, Trust, client};

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
    let config = client(Trust { check, root_certificate, key: "sslrootcert" }, DEFAULT_VERSIONS)?;
    Ok(Some(TlsConnector::from(Arc::new(config))))
}
