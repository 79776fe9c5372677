//! Integrated authentication: a security package proves who logs in, and who the server is.
//!
//! Its tokens travel in LOGIN7, in messages of their own and in the server's tokens; what is in
//! them is the package's business. The one package is Kerberos, in builds with the feature.

use async_trait::async_trait;

use crate::fault::{Fault, FaultKind};

/// Tokens of a server that one login answers at most. Kerberos needs one, others a few; a server
/// that never comes to an end is none.
pub(super) const MOST_ROUNDS: usize = 8;

/// The client's side of a security package.
#[async_trait]
pub(super) trait SecurityPackage: Send {
    /// Takes a token of the server, and gives the one that answers it, which can be empty.
    async fn answer(&mut self, token: Vec<u8>) -> Result<Vec<u8>, Fault>;

    /// The server has proven that it is the one that was asked for.
    fn knows_the_server(&self) -> bool;
}

/// A login that has begun: the package, and its first token.
pub(super) type Begun = (Box<dyn SecurityPackage>, Vec<u8>);

/// A server that asked for so many rounds that it will never be content.
pub(super) fn endless() -> Fault {
    Fault::new(FaultKind::Credentials, "log in with Kerberos")
        .because(format!("the server was given {MOST_ROUNDS} answers and asks for more"))
        .remedy(
            "Check that `host` and `port` are those of SQL Server, and what stands between it and the agent.",
        )
}

/// A server that let the agent in without proving anything.
pub(super) fn unproven() -> Fault {
    Fault::new(FaultKind::Credentials, "log in with Kerberos")
        .because("the server took the login and did not prove that it is the service that the ticket is for")
        .remedy("Check that `host` and `port` are those of SQL Server: something else may answer there.")
}

/// What to do when the server knows the principal and refuses it.
pub(super) const REFUSED: &str = "Make a login for the principal on the server (CREATE LOGIN [DOMAIN\\name] FROM WINDOWS), \
                                  and check that the service principal belongs to the account that the server runs as.";
