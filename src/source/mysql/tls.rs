//! TLS to the server, with the rules of MySQL's own `ssl-mode`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::DEFAULT_VERSIONS;

use crate::config::SslMode;
use crate::fault::Fault;
use crate::source::socket::Stream;
use crate::source::tls::{Check, Trust, client};

/// TLS begins in the middle of a session, over whatever stream that has.
impl Stream for Box<dyn Stream> {
    fn detach(&mut self) -> io::Result<()> {
        (**self).detach()
    }

    fn attach(&mut self) -> io::Result<()> {
        (**self).attach()
    }
}

/// A connector for `mode`; `None` when TLS is never used.
pub(super) fn connector(
    mode: SslMode,
    root_certificate: Option<&Path>,
) -> Result<Option<TlsConnector>, Fault> {
    let check = match mode {
        SslMode::Disable => return Ok(None),
        SslMode::Prefer | SslMode::Require => Check::Nothing,
        SslMode::VerifyCa => Check::Authority,
        SslMode::VerifyFull => Check::AuthorityAndName,
    };
    let config = client(Trust { check, root_certificate, key: "ssl_ca" }, DEFAULT_VERSIONS)?;
    Ok(Some(TlsConnector::from(Arc::new(config))))
}
