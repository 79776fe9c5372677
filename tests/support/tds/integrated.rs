//! Integrated authentication, as the double sees it: the token of LOGIN7, and what it says to it.

use std::io;
use std::sync::Arc;

use super::packets::{Both, send};
use super::wire;

/// What a security package makes of a client's token.
#[cfg_attr(not(feature = "kerberos"), expect(dead_code, reason = "for tests of Kerberos"))]
pub(crate) enum Verdict {
    /// The client is who it says, and this token proves the server to it.
    Known { principal: String, proof: Vec<u8> },
    /// The token proves nothing.
    Refused,
}

/// Judges the token of a client.
pub(crate) type Package = Arc<dyn Fn(&[u8]) -> Verdict + Send + Sync>;

/// How the server proves itself.
#[cfg_attr(not(feature = "kerberos"), expect(dead_code, reason = "for tests of Kerberos"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// In the message that ends the login.
    Together,
    /// In a message of its own before that.
    Apart,
    /// With one bit turned.
    Forged,
    /// Not at all.
    Missing,
    /// Again and again, without an end of the login.
    Endless,
}

/// A security package of the server.
#[derive(Clone)]
pub(crate) struct Integrated {
    pub(crate) package: Package,
    pub(crate) proof: Proof,
}

impl Integrated {
    /// The package's verdict on the token in LOGIN7.
    pub(super) fn verify(&self, login: &[u8]) -> Verdict {
        assert_eq!(login[25] & 0x80, 0x80, "the flag of integrated authentication");
        let number = |place: usize| usize::from(u16::from_le_bytes([login[place], login[place + 1]]));
        let (offset, length) = (number(78), number(80));
        assert!((1..0xffff).contains(&length), "a token of Kerberos is in LOGIN7, and it is short here");
        assert_eq!((number(42), number(46)), (0, 0), "neither name nor password");
        (self.package)(&login[offset..offset + length])
    }

    /// Says `proof` in the way of the script; what is left is the beginning of the last message.
    pub(super) async fn prove(&self, stream: &mut dyn Both, mut proof: Vec<u8>) -> io::Result<Vec<u8>> {
        match self.proof {
            Proof::Together => Ok(wire::security_package(&proof)),
            Proof::Missing => Ok(Vec::new()),
            Proof::Apart => {
                send(stream, &wire::security_package(&proof)).await?;
                Ok(Vec::new())
            }
            Proof::Forged => {
                *proof.last_mut().expect("a proof has bytes") ^= 1;
                Ok(wire::security_package(&proof))
            }
            Proof::Endless => loop {
                // Until the client has gone.
                send(stream, &wire::security_package(&proof)).await?;
            },
        }
    }
}
