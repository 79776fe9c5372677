//! `[server]`, its keys and its certificate.

use std::net::{IpAddr, Ipv4Addr};
use std::num::{NonZeroU32, NonZeroUsize};

use ::config::Value;

use super::super::keys;
use super::super::known::Known;
use super::super::model::{ClientCertificates, Server, ServerTls};
use super::super::raw::join;
use super::super::report::Report;
use super::super::section::Section;
use super::super::{ApiKey, KeyDigest, Scope};
use super::bounds::read_bounds;
use super::general::{non_zero_usize, to_usize};

const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;
/// Below the usual limit of 1024 files for a process, of which databases, stores and the queue need some.
const DEFAULT_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(800).expect("not zero");
/// A thousand a second: more than any orchestrator needs, less than makes the agent slow.
const DEFAULT_REQUESTS: Option<NonZeroU32> = NonZeroU32::new(60_000);

pub(super) fn prove_server(report: &mut Report<'_>, value: Option<Value>) -> Server {
    let mut section = Section::open(report, "server", value, Known::exactly(keys::SERVER));
    let host = section.address("host").unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let allow_unauthenticated = section.boolean("allow_unauthenticated");
    // A wrong value has its own problem, and nobody knows what it was meant to say.
    let is_refused = allow_unauthenticated.map_or(!section.has("allow_unauthenticated"), |allowed| !allowed);
    let (api_keys, are_keys_wrong) = prove_api_keys(&mut section);
    let allowed_hosts = section.text("allowed_hosts").map(|hosts| words(&hosts)).unwrap_or_default();
    if !host.is_loopback() && is_refused && api_keys.is_empty() && !are_keys_wrong {
        section.problem(
            "host",
            format!(
                "is {host}, which other machines reach; nothing listens on a network without authentication"
            ),
            Some(
                "Add an API key: [server.api_keys.orchestrator] with key = \"${env:AGENT_API_KEY}\". Or use \
                 \"127.0.0.1\", or set server.allow_unauthenticated = true when something in front of the \
                 agent keeps strangers out.",
            ),
        );
    }
    Server {
        host,
        port: section.integer("port", 0..=65_535).and_then(|port| u16::try_from(port).ok()).unwrap_or(5001),
        max_body_bytes: section.size("max_body_bytes", KIB..=GIB).and_then(to_usize).unwrap_or(1 << 20),
        max_connections: section
            .integer("max_connections", 1..=100_000)
            .and_then(non_zero_usize)
            .unwrap_or(DEFAULT_CONNECTIONS),
        max_connections_per_address: section
            .integer("max_connections_per_address", 1..=100_000)
            .and_then(non_zero_usize),
        requests_per_minute: section
            .integer("requests_per_minute", 0..=1_000_000_000)
            .map_or(DEFAULT_REQUESTS, |number| u32::try_from(number).ok().and_then(NonZeroU32::new)),
        tls: prove_tls(&mut section),
        api_keys,
        allow_unauthenticated: allow_unauthenticated.unwrap_or(false),
        allowed_hosts,
    }
}

/// `[server.tls]`.
fn prove_tls(server: &mut Section<'_, '_>) -> Option<ServerTls> {
    let value = server.value("tls")?;
    let mut section =
        Section::open(server.report(), "server.tls", Some(value), Known::exactly(keys::SERVER_TLS));
    let certificate = section.required_path("certificate");
    let private_key = section.required_path("private_key");
    let authorities = section.path("client_certificates");
    let required = section.boolean("client_certificates_required");
    if required == Some(true) && authorities.is_none() && !section.has("client_certificates") {
        let remedy = "Add client_certificates, the file of the authorities that sign them.";
        section.problem("client_certificates_required", "needs client_certificates", Some(remedy));
    }
    let clients =
        authorities.map(|authorities| ClientCertificates { authorities, required: required.unwrap_or(true) });
    Some(ServerTls { certificate: certificate?, private_key: private_key?, clients })
}

fn words(list: &str) -> Vec<String> {
    list.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// `[server.api_keys.<name>]`, and whether a key was written that is no key: that is a problem of its own,
/// and nothing is known of what it was meant to guard.
fn prove_api_keys(server: &mut Section<'_, '_>) -> (Vec<ApiKey>, bool) {
    const PATH: &str = "server.api_keys";
    let Some(value) = server.value("api_keys") else { return (Vec::new(), false) };
    let Some(table) = server.report().table(PATH, value) else { return (Vec::new(), true) };
    if table.is_empty() {
        let remedy = "Add a key: [server.api_keys.orchestrator] with key = \"${env:AGENT_API_KEY}\". Or remove \
                      the empty section, when nobody is to be asked for a key.";
        server.problem("api_keys", "has no key in it, so that nobody would be asked for one", Some(remedy));
    }
    let count = table.len();
    let mut written: Vec<(String, Value)> = table.into_iter().collect();
    written.sort_by(|left, right| left.0.cmp(&right.0));
    let mut keys: Vec<ApiKey> = Vec::new();
    for (name, value) in written {
        let path = join(PATH, &name);
        let mut section = Section::open(server.report(), &path, Some(value), Known::exactly(keys::API_KEY));
        let scopes = section.parsed("scopes", "read, submit and operate, separated by commas", scopes);
        let bounds = read_bounds(&mut section);
        let key = section.secret("key");
        let Some(key) = section.required("key", key) else { continue };
        if key.expose().chars().count() < SHORTEST_KEY {
            let message = format!("is shorter than {SHORTEST_KEY} characters, so it can be guessed");
            section.problem("key", message, Some("Make one with: openssl rand -hex 32"));
            continue;
        }
        if let Some(other) = keys.iter().find(|other| other.is(&KeyDigest::of(key.expose().as_bytes()))) {
            let message = format!("is the same as that of {}", join(PATH, other.name()));
            section.problem("key", message, Some("Give every caller a key of its own."));
            continue;
        }
        let scopes = scopes.unwrap_or_else(|| Scope::ALL.to_vec());
        keys.push(ApiKey::new(name, &key, scopes).bounded(bounds));
    }
    let are_wrong = keys.len() < count;
    (keys, are_wrong)
}

/// Characters of the shortest API key.
const SHORTEST_KEY: usize = 16;

pub(in crate::config) fn scopes(text: &str) -> Option<Vec<Scope>> {
    let scope = |word: String| Scope::ALL.into_iter().find(|scope| scope.as_str() == word);
    let scopes: Vec<Scope> = words(text).into_iter().map(scope).collect::<Option<_>>()?;
    (!scopes.is_empty()).then_some(scopes)
}
