//! The Tabular Data Stream protocol, versions 7.4 and 8.0: bytes in and out, no sockets.
//!
//! What is here follows the published specification ([MS-TDS]); names of tokens and flags are
//! its own. Messages travel in packets ([`packet`]); a server's message is a stream of tokens
//! ([`token`]), of which rows are decoded elsewhere.
//!
//! [MS-TDS]: https://learn.microsoft.com/openspecs/windows_protocols/ms-tds

pub(super) mod code_page;
pub(super) mod cursor;
pub(super) mod login;
pub(super) mod packet;
pub(super) mod prelogin;
pub(super) mod token;
pub(super) mod type_info;

/// Bytes of the server that do not follow the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server's message does not follow the protocol ({0})")]
pub(super) struct Malformed(pub(super) &'static str);
