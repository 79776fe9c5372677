//! Which agent a command speaks to, and with which key.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use url::{Host, Url};

use super::Client;
use super::failure::ClientError;
use crate::cli::output;
use crate::config::{Environment, Secret, local_agent};

/// Where the agent is, when no argument says.
const URL_VARIABLE: &str = "DATA_EXCHANGE_AGENT_URL";
/// The API key, when no file has it.
const KEY_VARIABLE: &str = "DATA_EXCHANGE_AGENT_API_KEY";
/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for one answer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of the longest file with a key.
const LONGEST_KEY_FILE: u64 = 64 << 10;

/// Arguments that every command has which asks an agent.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "The agent")]
pub(in crate::cli) struct AgentArguments {
    /// Where the agent is [default: DATA_EXCHANGE_AGENT_URL, then the section server of the configuration, then http://127.0.0.1:5001]
    #[arg(long, value_name = "URL", global = true)]
    url: Option<String>,
    /// File with the API key [default: DATA_EXCHANGE_AGENT_API_KEY, then the configuration]
    #[arg(long, value_name = "FILE", global = true)]
    api_key_file: Option<PathBuf>,
    /// PEM file of an authority to trust besides the system's, for an agent with TLS
    #[arg(long, value_name = "FILE", global = true)]
    ca_certificate: Option<PathBuf>,
    /// PEM file of a certificate to show to an agent that asks its callers for one
    #[arg(long, value_name = "FILE", global = true)]
    client_certificate: Option<PathBuf>,
    /// PEM file of its private key [default: the file of --client-certificate, which then has both]
    #[arg(long, value_name = "FILE", global = true)]
    client_key: Option<PathBuf>,
    /// Configuration file of the agent, for its address and key [default: ./configuration.toml, then ~/.data_exchange_agent/configuration.toml]
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

/// Where a key may go.
struct Reach {
    base: Url,
    key: Option<Secret>,
}

impl AgentArguments {
    /// A client of the agent that these arguments, the environment and the configuration name.
    pub(in crate::cli) fn client(&self) -> Result<Client, ClientError> {
        let Reach { base, key } = self.reach(&Environment::process())?;
        let is_loopback = is_loopback(&base);
        if key.is_some() && base.scheme() == "http" && !is_loopback {
            output::note(format_args!(
                "warning: the API key goes to {} without encryption. Let the agent speak TLS, and use https.",
                base.host_str().unwrap_or_default()
            ));
        }
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose())).map_err(|_| {
                ClientError::Setup("the API key has characters that no header can have".into())
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        // A redirect would take the key to somebody else.
        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT);
        if is_loopback {
            // A proxy of the environment has no business on loopback.
            builder = builder.no_proxy();
        }
        if let Some(file) = &self.ca_certificate {
            builder = builder.tls_certs_merge(certificates(file)?);
        }
        let identity = identity(self.client_certificate.as_deref(), self.client_key.as_deref())?;
        let shows_certificate = identity.is_some();
        if let Some(identity) = identity {
            builder = builder.identity(identity);
        }
        let http = builder.build().map_err(|error| {
            ClientError::Setup(format!("set up the HTTP client: {}", super::chain(&error)))
        })?;
        Ok(Client::of(http, base, shows_certificate))
    }

    fn reach(&self, environment: &Environment) -> Result<Reach, ClientError> {
        let named = self.url.as_deref().or(environment.filled(URL_VARIABLE));
        let key = match (&self.api_key_file, environment.filled(KEY_VARIABLE)) {
            (Some(file), _) => Some(read_key(file)?),
            (None, Some(key)) => Some(Secret::new(key.trim())),
            (None, None) => None,
        };
        // The key of a configuration is for the agent of that configuration, and for one that is named
        // in the same breath. It does not go to whatever --url says.
        if let Some(named) = named
            && self.config.is_none()
        {
            return Ok(Reach { base: parse_url(named)?, key });
        }
        let agent = local_agent(self.config.as_deref(), environment)
            .map_err(|problems| ClientError::Setup(problems.to_string()))?;
        let base = match named {
            Some(named) => parse_url(named)?,
            None if agent.address.port() == 0 => {
                let message = "the configuration lets the agent take a free port (server.port = 0). Name the agent \
                               with --url; it prints its address when it starts";
                return Err(ClientError::Setup(message.into()));
            }
            None if agent.is_secure => parse_url(&format!("https://{}", agent.address))?,
            None => parse_url(&format!("http://{}", agent.address))?,
        };
        Ok(Reach { base, key: key.or(agent.key) })
    }
}

fn parse_url(text: &str) -> Result<Url, ClientError> {
    let wrong = |reason: &str| {
        let remedy = "Write it like http://127.0.0.1:5001 or https://agent.example.com:5001.";
        ClientError::Setup(format!("the URL of the agent {reason}. {remedy}"))
    };
    let mut url = Url::parse(text).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(wrong("is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("holds a user or a password, which agents do not know"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("has a query or a fragment"));
    }
    // What stands before the routes, where a proxy in front of the agent has put it.
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

fn read_key(file: &Path) -> Result<Secret, ClientError> {
    let wrong =
        |reason: String| ClientError::Setup(format!("read the API key from {}: {reason}", file.display()));
    let length = fs::metadata(file).map_err(|error| wrong(error.to_string()))?.len();
    if length > LONGEST_KEY_FILE {
        return Err(wrong("the file is too long for a key".into()));
    }
    let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    match text.trim() {
        "" => Err(wrong("the file is empty".into())),
        key if key.contains(['\n', '\r']) => Err(wrong("the file has more than one line".into())),
        key => Ok(Secret::new(key)),
    }
}

fn certificates(file: &Path) -> Result<Vec<reqwest::Certificate>, ClientError> {
    let wrong =
        |reason: String| ClientError::Setup(format!("read the certificates of {}: {reason}", file.display()));
    let pem = fs::read(file).map_err(|error| wrong(error.to_string()))?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(found) if found.is_empty() => Err(wrong("there is none in it; expected PEM".into())),
        Ok(found) => Ok(found),
        Err(error) => Err(wrong(super::chain(&error))),
    }
}

/// What this caller shows to an agent that asks for a certificate.
fn identity(
    certificate: Option<&Path>,
    key: Option<&Path>,
) -> Result<Option<reqwest::Identity>, ClientError> {
    let Some(certificate) = certificate else {
        return match key {
            Some(_) => Err(ClientError::Setup(
                "--client-key is the key of a certificate: name that one with --client-certificate".into(),
            )),
            None => Ok(None),
        };
    };
    let read = |file: &Path| {
        fs::read(file).map_err(|error| {
            ClientError::Setup(format!("read the client certificate of {}: {error}", file.display()))
        })
    };
    let mut pem = read(certificate)?;
    if let Some(key) = key {
        pem.push(b'\n');
        pem.extend(read(key)?);
    }
    reqwest::Identity::from_pem(&pem).map(Some).map_err(|_| {
        // What the error says beyond this could be of the key.
        let place = key.map_or(String::new(), |key| format!(" and {}", key.display()));
        ClientError::Setup(format!(
            "use the client certificate of {}{place}: expected PEM with a certificate and its private key. Name the \
             file of the key with --client-key when it is another one.",
            certificate.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: AgentArguments = AgentArguments {
        url: None,
        api_key_file: None,
        ca_certificate: None,
        client_certificate: None,
        client_key: None,
        config: None,
    };

    fn reach(arguments: &AgentArguments, environment: &Environment) -> (String, Option<String>) {
        let Reach { base, key } = arguments.reach(environment).unwrap();
        (base.to_string(), key.map(|key| key.expose().to_owned()))
    }

    #[test]
    fn the_key_of_a_configuration_goes_to_its_agent_only() {
        let folder = std::env::temp_dir().join(format!("reach-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&folder).unwrap();
        let file = folder.join("configuration.toml");
        fs::write(&file, "[server]\nport = 7001\n[server.api_keys.a]\nkey = \"of-the-configuration\"\n")
            .unwrap();
        let environment = Environment::of([("X", "")]).with_directory(&folder);
        let of_file = Some("of-the-configuration".to_owned());
        assert_eq!(reach(&NONE, &environment), ("http://127.0.0.1:7001/".into(), of_file.clone()));
        let elsewhere = AgentArguments { url: Some("https://elsewhere.example".into()), ..NONE };
        assert_eq!(reach(&elsewhere, &environment), ("https://elsewhere.example/".into(), None));
        let both = AgentArguments { config: Some(file.clone()), ..elsewhere };
        assert_eq!(reach(&both, &environment), ("https://elsewhere.example/".into(), of_file));

        let variables = [(URL_VARIABLE, "http://localhost:1/agent/"), (KEY_VARIABLE, "of-the-environment")];
        let environment = Environment::of(variables).with_directory(&folder);
        let key = Some("of-the-environment".to_owned());
        assert_eq!(reach(&NONE, &environment), ("http://localhost:1/agent".into(), key));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_url_that_is_none_is_told_with_the_form_of_one() {
        for wrong in ["", "localhost:5001", "ftp://host", "http://user@host", "http://host/?a=b"] {
            let message = parse_url(wrong).unwrap_err().to_string();
            assert!(message.contains("http://127.0.0.1:5001"), "{wrong}: {message}");
            assert!(!message.contains("user@"), "{message}");
        }
    }
}
