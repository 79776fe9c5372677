//! How a command on this machine reaches the agent that a configuration describes.
//!
//! Only `[server]` is read, so that a person can ask an agent without the passwords of its
//! databases in the environment.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use ::config::Value;

use super::keys;
use super::known::Known;
use super::prove::scopes;
use super::raw::{self, join};
use super::report::Report;
use super::section::Section;
use super::{Environment, Overrides, Problems, Scope, Secret, discover};

/// What a configuration says of the way to its agent.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalAgent {
    /// Where it listens. An address that stands for all of a machine's is loopback here; the port is
    /// 0 when the agent takes a free one.
    pub address: SocketAddr,
    /// Whether it speaks HTTPS.
    pub is_secure: bool,
    /// The API key with the most scopes of those that can be read here.
    pub key: Option<Secret>,
}

/// Finds the configuration as [`super::load`] does, and reads its section `[server]`. Without a file
/// the environment and the defaults apply.
///
/// # Errors
/// When the file is not there or not TOML, or host or port are wrong. Other sections may be wrong.
pub fn local_agent(explicit: Option<&Path>, environment: &Environment) -> Result<LocalAgent, Problems> {
    let found = discover::find(explicit, environment)?;
    let origin = found.as_ref().map(|found| found.path.display().to_string());
    let layer = found.as_ref().map(|found| found.text.as_str()).zip(origin.as_deref());
    let mut report = Report::new(environment);
    let mut tree = raw::read(layer, &Overrides::default(), environment, &mut report);
    let server = tree.remove("server");
    let mut section = Section::open(&mut report, "server", server, Known::exactly(keys::SERVER));
    let host = section.address("host").unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let port = section.integer("port", 0..=65_535).and_then(|port| u16::try_from(port).ok()).unwrap_or(5001);
    let key = section.value("api_keys").and_then(|keys| best_key(section.report(), keys));
    let is_secure = section.value("tls").is_some();
    let (mut problems, _warnings) = report.finish();
    problems.0.retain(|problem| ["syntax", "server", "server.host", "server.port"].contains(&&*problem.key));
    if !problems.0.is_empty() {
        return Err(problems);
    }
    let host = match host {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        host => host,
    };
    Ok(LocalAgent { address: SocketAddr::new(host, port), is_secure, key })
}

fn best_key(report: &mut Report<'_>, value: Value) -> Option<Secret> {
    const PATH: &str = "server.api_keys";
    let mut written: Vec<(String, Value)> = report.table(PATH, value)?.into_iter().collect();
    written.sort_by(|left, right| left.0.cmp(&right.0));
    let mut best: Option<(usize, Secret)> = None;
    for (name, value) in written {
        let path = join(PATH, &name);
        let mut section = Section::open(report, &path, Some(value), Known::exactly(keys::API_KEY));
        let count =
            section.parsed("scopes", "scopes", scopes).map_or(Scope::ALL.len(), |scopes| scopes.len());
        let Some(key) = section.secret("key") else { continue };
        if best.as_ref().is_none_or(|(most, _)| count > *most) {
            best = Some((count, key));
        }
    }
    best.map(|(_, key)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, variables: &[(&str, &str)]) -> Result<LocalAgent, String> {
        let folder = std::env::temp_dir().join(format!("local-agent-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("configuration.toml");
        std::fs::write(&file, text).unwrap();
        let environment = Environment::of(variables.iter().copied()).with_directory(&folder);
        let found = local_agent(None, &environment).map_err(|problems| problems.to_string());
        std::fs::remove_dir_all(&folder).unwrap();
        found
    }

    fn address(text: &str) -> String {
        read(text, &[]).unwrap().address.to_string()
    }

    #[test]
    fn the_address_is_one_that_can_be_called() {
        for (text, expected) in [
            ("", "127.0.0.1:5001"),
            ("[server]\nport = 8080", "127.0.0.1:8080"),
            ("[server]\nhost = \"0.0.0.0\"", "127.0.0.1:5001"),
            ("[server]\nhost = \"::\"", "[::1]:5001"),
            ("[server]\nhost = \"10.1.2.3\"\nport = 0", "10.1.2.3:0"),
        ] {
            assert_eq!(address(text), expected, "{text}");
        }
        let variables = [("DATA_EXCHANGE_AGENT__SERVER__PORT", "7000")];
        assert_eq!(read("[server]\nport = 1", &variables).unwrap().address.port(), 7000);
    }

    #[test]
    fn an_agent_with_a_certificate_speaks_https() {
        assert!(!read("", &[]).unwrap().is_secure);
        assert!(read("[server.tls]\ncertificate = \"/not/there\"", &[]).unwrap().is_secure);
    }

    #[test]
    fn what_is_wrong_elsewhere_does_not_keep_people_from_asking() {
        let text = "[connections.source.sales]\nkind = \"nothing\"\npassword = \"${env:NOT_SET}\"\n\
                    [server.api_keys.far]\nkey = \"${env:NOT_SET}\"\n";
        assert_eq!(read(text, &[]).unwrap().key, None);
        let problem = read("[server]\nport = 70000", &[]).unwrap_err();
        assert!(problem.contains("server.port"), "{problem}");
        let problem = read("[server", &[]).unwrap_err();
        assert!(problem.contains("is not valid TOML"), "{problem}");
    }

    #[test]
    fn the_key_with_the_most_scopes_is_taken() {
        let text = "[server.api_keys.a]\nkey = \"aaaaaaaaaaaaaaaaaaaa\"\nscopes = \"read\"\n\
                    [server.api_keys.b]\nkey = \"${env:KEY}\"\n\
                    [server.api_keys.c]\nkey = \"cccccccccccccccccccc\"\n";
        let key = |variables| read(text, variables).unwrap().key.unwrap().expose().to_owned();
        assert_eq!(key(&[("KEY", "bbbbbbbbbbbbbbbbbbbb")]), "bbbbbbbbbbbbbbbbbbbb");
        assert_eq!(key(&[]), "cccccccccccccccccccc");
    }
}
