//! Kerberos, through the system's GSSAPI library (RFC 2743, RFC 4121).
//!
//! Tickets are the library's own: it looks for the credential cache or the client keytab that its
//! environment names (`KRB5CCNAME`, `KRB5_CLIENT_KTNAME`, `KRB5_CONFIG`), and asks the KDC. Its
//! calls can wait for the network, so they run on threads for blocking work. The library keeps the
//! text of an error for the thread on which it occurred: faults are made there, too.

mod library;

use std::time::Duration;

use async_trait::async_trait;
use libgssapi::context::{ClientCtx, CtxFlags, SecurityContext};
use libgssapi::credential::{Cred, CredUsage};
use libgssapi::error::{Error, MajorFlags};
use libgssapi::name::Name;
use libgssapi::oid::{GSS_MECH_KRB5, GSS_NT_HOSTBASED_SERVICE, GSS_NT_KRB5_PRINCIPAL, OidSet};

use super::integrated::{Begun, SecurityPackage};
use crate::fault::{Fault, FaultKind};
use crate::shutdown::run_blocking;

/// What a thread does that is lost.
const CALL: &str = "call GSSAPI";
/// What every service principal of SQL Server begins with.
const SERVICE: &str = "MSSQLSvc";

/// Who logs in, and to which service.
#[derive(Clone, Debug)]
pub(super) struct Parties<'a> {
    /// The client's principal; the one of the default credentials when `None`.
    pub(super) principal: Option<&'a str>,
    /// The service's principal; the one of `host` and `port` when `None`.
    pub(super) service: Option<&'a str>,
    pub(super) host: &'a str,
    pub(super) port: u16,
}

/// A login that is under way.
struct Kerberos {
    /// `None` while a thread works with it, and after that thread was lost.
    context: Option<ClientCtx>,
}

/// Gets a ticket for the service; gives the token that shows it.
pub(super) async fn begin(parties: Parties<'_>) -> Result<Begun, Fault> {
    let principal = parties.principal.map(str::to_owned);
    let service = service_name(&parties);
    let work = move || {
        library::load()?;
        let context = context(principal.as_deref(), &service)?;
        step(context, None, "get a Kerberos ticket for the server")
    };
    let (context, token) = run_blocking(CALL, work).await?;
    Ok((Box::new(Kerberos { context: Some(context) }), token))
}

/// The fault of a KDC that keeps silent. The library's thread waits on until it gives up by itself.
pub(super) fn no_answer(limit: Duration) -> Fault {
    Fault::new(FaultKind::Transient, "get a Kerberos ticket for the server")
        .because(format!("no answer of the KDC within {limit:?}"))
        .remedy(KDC_UNREACHABLE)
}

#[async_trait]
impl SecurityPackage for Kerberos {
    async fn answer(&mut self, token: Vec<u8>) -> Result<Vec<u8>, Fault> {
        let action = "prove who the server is with Kerberos";
        // The first token of a server ends it; a complete context takes no other one.
        let Some(context) = self.context.take_if(|context| !context.is_complete()) else {
            return Err(Fault::new(FaultKind::Credentials, action)
                .because("the server goes on after the proof was complete")
                .remedy(NOT_THE_SERVER));
        };
        let (context, answer) = run_blocking(CALL, move || step(context, Some(&token), action)).await?;
        self.context = Some(context);
        Ok(answer)
    }

    fn knows_the_server(&self) -> bool {
        // Mutual authentication was asked for: the library is not content without it.
        self.context.as_ref().is_some_and(SecurityContext::is_complete)
    }
}

/// A context, and what to send to the server.
type Stepped = (ClientCtx, Vec<u8>);

/// The service as GSSAPI is told of it.
#[derive(Debug, PartialEq, Eq)]
enum ServiceName {
    /// As the configuration has it, realm and all.
    Principal(String),
    /// `service@host:port`: the library finds the realm, and the full name of the host, as
    /// krb5.conf says.
    OfHost(String),
}

fn service_name(parties: &Parties<'_>) -> ServiceName {
    match parties.service {
        Some(service) => ServiceName::Principal(service.to_owned()),
        None => ServiceName::OfHost(format!("{SERVICE}@{}:{}", parties.host, parties.port)),
    }
}

fn context(principal: Option<&str>, service: &ServiceName) -> Result<ClientCtx, Fault> {
    let action = "find Kerberos credentials";
    let failed = |error: Error| fault(action, error);
    let name = principal.map(|name| Name::new(name.as_bytes(), Some(GSS_NT_KRB5_PRINCIPAL)));
    let name = name.transpose().map_err(failed)?;
    let mechanisms = OidSet::singleton(GSS_MECH_KRB5).map_err(failed)?;
    let credentials =
        Cred::acquire(name.as_ref(), None, CredUsage::Initiate, Some(&mechanisms)).map_err(failed)?;
    let (text, kind) = match service {
        ServiceName::Principal(text) => (text, GSS_NT_KRB5_PRINCIPAL),
        ServiceName::OfHost(text) => (text, GSS_NT_HOSTBASED_SERVICE),
    };
    let target = Name::new(text.as_bytes(), Some(kind)).map_err(failed)?;
    // The server shall prove itself, too. Nothing is delegated to it.
    let flags = CtxFlags::GSS_C_MUTUAL_FLAG | CtxFlags::GSS_C_REPLAY_FLAG | CtxFlags::GSS_C_INTEG_FLAG;
    Ok(ClientCtx::new(Some(credentials), target, flags, Some(GSS_MECH_KRB5)))
}

fn step(mut context: ClientCtx, token: Option<&[u8]>, action: &'static str) -> Result<Stepped, Fault> {
    let answer = context.step(token, None).map_err(|error| match token {
        None => fault(action, error),
        Some(_) => not_the_server(action, error),
    })?;
    Ok((context, answer.map(|answer| answer.to_vec()).unwrap_or_default()))
}

const NOT_THE_SERVER: &str = "Check that `host` and `port` are those of SQL Server, that the service principal belongs \
                              to the account that it runs as, and that the clocks agree.";

fn not_the_server(action: &'static str, error: Error) -> Fault {
    Fault::new(FaultKind::Credentials, action).because(reason(error)).remedy(NOT_THE_SERVER)
}

/// The library's text without its preamble, which says that there is a text.
fn reason(error: Error) -> String {
    const PREAMBLE: &str = "Unspecified GSS failure.  Minor code may provide more information (";
    let text = error.to_string();
    let inner = text.strip_prefix(PREAMBLE).and_then(|rest| rest.strip_suffix(')'));
    inner.unwrap_or(&text).trim().to_owned()
}

/// Numbers of MIT Kerberos' `krb5.h`; the error table begins at -1765328384.
mod code {
    pub(super) const CLIENT_UNKNOWN: i32 = -1_765_328_378;
    pub(super) const SERVICE_UNKNOWN: i32 = -1_765_328_377;
    pub(super) const KEY_EXPIRED: i32 = -1_765_328_361;
    pub(super) const PREAUTHENTICATION_FAILED: i32 = -1_765_328_360;
    pub(super) const TICKET_EXPIRED: i32 = -1_765_328_352;
    pub(super) const TICKET_NOT_YET_VALID: i32 = -1_765_328_351;
    pub(super) const CLOCK_SKEW: i32 = -1_765_328_347;
    pub(super) const CONFIGURATION_UNREADABLE: i32 = -1_765_328_249;
    pub(super) const CONFIGURATION_MALFORMED: i32 = -1_765_328_248;
    pub(super) const CLOCK_SKEW_OF_KDC: i32 = -1_765_328_236;
    pub(super) const REALM_UNKNOWN: i32 = -1_765_328_230;
    pub(super) const KDC_UNREACHABLE: i32 = -1_765_328_228;
    pub(super) const REALM_WITHOUT_KDC: i32 = -1_765_328_164;
    pub(super) const NO_DEFAULT_REALM: i32 = -1_765_328_160;
}

/// The fault of getting credentials or a ticket.
fn fault(action: &'static str, error: Error) -> Fault {
    // The library's number is signed, GSSAPI's is not.
    let (kind, remedy) = match error.minor.cast_signed() {
        code::SERVICE_UNKNOWN => (
            FaultKind::Credentials,
            "Set `service_principal` of the connection to the name that the server is registered under \
             (`setspn -L account` lists it), and check the realm that krb5.conf maps the host to.",
        ),
        code::CLIENT_UNKNOWN => (
            FaultKind::Credentials,
            "Check the principal: `username` of the connection, and the client keytab.",
        ),
        code::KEY_EXPIRED | code::PREAUTHENTICATION_FAILED => (
            FaultKind::Credentials,
            "The principal's password was changed or has expired: write a new client keytab.",
        ),
        code::CLOCK_SKEW | code::CLOCK_SKEW_OF_KDC | code::TICKET_NOT_YET_VALID => {
            (FaultKind::Credentials, "Set the clock of the agent's machine by that of the KDC (NTP).")
        }
        code::KDC_UNREACHABLE => (FaultKind::Transient, KDC_UNREACHABLE),
        code::REALM_UNKNOWN
        | code::REALM_WITHOUT_KDC
        | code::NO_DEFAULT_REALM
        | code::CONFIGURATION_UNREADABLE
        | code::CONFIGURATION_MALFORMED => (
            FaultKind::Credentials,
            "Check /etc/krb5.conf, or the file that KRB5_CONFIG names: default realm, KDC of the realm, realm of the host.",
        ),
        code::TICKET_EXPIRED => (FaultKind::Credentials, RENEW),
        _ if error.major.contains(MajorFlags::GSS_S_CREDENTIALS_EXPIRED) => (FaultKind::Credentials, RENEW),
        _ => (
            FaultKind::Credentials,
            "Get a ticket for the user that the agent runs as (`kinit`; KRB5CCNAME names another cache), or give the \
             agent a keytab with KRB5_CLIENT_KTNAME.",
        ),
    };
    Fault::new(kind, action).because(reason(error)).remedy(remedy)
}

const KDC_UNREACHABLE: &str = "Check that the KDC runs and that the agent reaches its port 88, UDP and TCP.";
const RENEW: &str = "Get a new ticket (`kinit`), or give the agent a keytab with KRB5_CLIENT_KTNAME: tickets are then \
                     renewed without anybody's help.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_that_of_host_and_port_unless_it_is_named() {
        let parties = Parties { principal: None, service: None, host: "db.example.com", port: 1433 };
        assert_eq!(service_name(&parties), ServiceName::OfHost("MSSQLSvc@db.example.com:1433".into()));
        let named = "MSSQLSvc/cluster.example.com:SALES@EXAMPLE.COM";
        let parties = Parties { service: Some(named), ..parties };
        assert_eq!(service_name(&parties), ServiceName::Principal(named.into()));
    }

    #[test]
    fn errors_have_a_kind_and_a_remedy() {
        for (minor, kind, remedy) in [
            (code::SERVICE_UNKNOWN, FaultKind::Credentials, "service_principal"),
            (code::CLIENT_UNKNOWN, FaultKind::Credentials, "username"),
            (code::TICKET_EXPIRED, FaultKind::Credentials, "new ticket"),
            (code::CLOCK_SKEW, FaultKind::Credentials, "clock"),
            (code::KDC_UNREACHABLE, FaultKind::Transient, "KDC runs"),
            (code::REALM_WITHOUT_KDC, FaultKind::Credentials, "krb5.conf"),
            (0, FaultKind::Credentials, "kinit"),
        ] {
            let error = Error { major: MajorFlags::GSS_S_FAILURE, minor: minor.cast_unsigned() };
            let fault = fault("get a Kerberos ticket for the server", error);
            assert_eq!(fault.kind(), kind, "{minor}");
            assert!(fault.hint().is_some_and(|hint| hint.contains(remedy)), "{minor}: {fault:?}");
        }
    }
}
