//! `kind = "blob"`: Azure Blob Storage.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ::config::Value;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::environment::Environment;
use super::super::keys;
use super::super::known::Known;
use super::super::model::{AzureBlobTarget, AzureCredentials, AzureIdentity, ManagedIdentity};
use super::super::report::Report;
use super::super::secret::Secret;
use super::super::section::Section;
use super::stores::{self, DEFAULT_PARALLEL_PARTS, DEFAULT_PART_SIZE, HOUR, MIB, SECOND};

const PUBLIC_SUFFIX: &str = "core.windows.net";
const PUBLIC_AUTHORITY: &str = "https://login.microsoftonline.com";
const METADATA_SERVICE: &str = "http://169.254.169.254";
/// Account and key of every emulator, as Microsoft publishes them: no secret.
const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
const EMULATOR_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const EMULATOR_ENDPOINT: &str = "http://127.0.0.1:10000/devstoreaccount1";

/// What a connection string says.
#[derive(Default)]
struct ConnectionString {
    account_name: Option<String>,
    account_key: Option<String>,
    signature: Option<String>,
    endpoint: Option<String>,
}

pub(in super::super) fn prove_azure_blob(
    report: &mut Report<'_>,
    path: &str,
    value: Value,
) -> Option<AzureBlobTarget> {
    let identity = identity(report.environment);
    let mut section = Section::open(report, path, Some(value), Known::exactly(keys::BLOB));
    section.skip("kind");
    let container_name = section.parsed(
        "container_name",
        "the name alone, of 3 to 63 lower-case letters, digits and hyphens",
        |name| is_container(name).then(|| name.to_owned()),
    );
    let container_name = section.required("container_name", container_name);
    let prefix = section.text_or_empty("prefix").map(stores::normal_prefix).unwrap_or_default();
    let connection_string = section.secret("connection_string");
    let account_name =
        section.parsed("account_name", "the name alone, of 3 to 24 lower-case letters and digits", |name| {
            is_account(name).then(|| name.to_owned())
        });
    let account_key = section.secret("account_key");
    let sas_token = section.secret("sas_token");
    let use_default = section.boolean("use_default_credential").unwrap_or(false);
    let endpoint_url = section.parsed_unseen(
        "endpoint_url",
        "a URL such as \"https://account.blob.core.windows.net\", without user, query and fragment",
        stores::endpoint,
    );
    let part_size = section.size("part_size", MIB..=4000 * MIB);
    let parallel_parts = section.integer("parallel_parts", 1..=16);
    let request_timeout = section.duration("request_timeout", SECOND..=HOUR);

    let parsed = match &connection_string {
        None => ConnectionString::default(),
        Some(text) => parse(&mut section, text.expose())?,
    };
    let is_exclusive = refuse_second_way(
        &mut section,
        &[
            ("connection_string", connection_string.is_some()),
            ("account_key", account_key.is_some()),
            ("sas_token", sas_token.is_some()),
            ("use_default_credential", use_default),
        ],
    );
    if connection_string.is_some() && section.has("account_name") {
        let remedy = "Keep one of them: the connection string names the account.";
        section.problem("account_name", "is given beside connection_string", Some(remedy));
    }
    let account = account_name.or(parsed.account_name);
    let endpoint_url = endpoint_url
        .or(parsed.endpoint)
        .or_else(|| Some(format!("https://{}.blob.{PUBLIC_SUFFIX}", account.as_deref()?)));
    let key = account_key.or(parsed.account_key.map(Secret::new));
    let signature = sas_token.or(parsed.signature.map(Secret::new));
    if !is_exclusive {
        return None;
    }
    let credentials = match (key, signature, use_default) {
        (Some(account_key), ..) => {
            let account_name = section.required("account_name", account)?;
            if STANDARD.decode(account_key.expose().trim()).is_err() {
                let key = if section.has("account_key") { "account_key" } else { "connection_string" };
                let remedy = "Copy the whole key from the portal, with the = at its end.";
                section.problem(key, "holds no key of a storage account: it is not base64", Some(remedy));
                return None;
            }
            AzureCredentials::AccountKey { account_name, account_key }
        }
        (None, Some(signature), _) => {
            AzureCredentials::SharedAccessSignature(proven_signature(&mut section, &signature)?)
        }
        (None, None, true) => AzureCredentials::Default(Box::new(identity)),
        (None, None, false) => {
            let has_wrong_one =
                ["connection_string", "account_key", "sas_token"].iter().any(|key| section.has(key));
            if !has_wrong_one {
                let remedy =
                    "Add connection_string, account_key, sas_token or use_default_credential = true.";
                section.problem(
                    "account_key",
                    "is missing, and no other credentials are given",
                    Some(remedy),
                );
            }
            return None;
        }
    };
    let endpoint_url = section.required("account_name", endpoint_url)?;
    // A key signs requests and is not sent itself.
    let sent = match credentials {
        AzureCredentials::Default(_) => Some("tokens"),
        AzureCredentials::SharedAccessSignature(_) => Some("the shared access signature"),
        AzureCredentials::AccountKey { .. } => None,
    };
    if let Some(sent) = sent.filter(|_| !stores::is_private(&endpoint_url)) {
        let key = if section.has("endpoint_url") { "endpoint_url" } else { "connection_string" };
        let remedy = "Write an endpoint that begins with https: what it carries is as good as a password.";
        section.problem(key, format!("would carry {sent} over plain HTTP"), Some(remedy));
        return None;
    }
    Some(AzureBlobTarget {
        endpoint_url: endpoint_url.trim_end_matches('/').to_owned(),
        container_name: container_name?,
        prefix,
        credentials,
        part_size: part_size
            .and_then(|size| NonZeroUsize::new(usize::try_from(size).ok()?))
            .unwrap_or(DEFAULT_PART_SIZE),
        parallel_parts: parallel_parts
            .and_then(|parts| NonZeroUsize::new(usize::try_from(parts).ok()?))
            .unwrap_or(DEFAULT_PARALLEL_PARTS),
        request_timeout: request_timeout.unwrap_or(Duration::from_secs(60)),
    })
}

fn is_container(name: &str) -> bool {
    let is_plain = (3..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    is_plain || matches!(name, "$root" | "$web")
}

fn is_account(name: &str) -> bool {
    (3..=24).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Two ways to log in are a mistake: one of them would be ignored. False when there are two.
fn refuse_second_way(section: &mut Section<'_, '_>, ways: &[(&str, bool)]) -> bool {
    let given: Vec<&str> = ways.iter().filter(|(_, is_given)| *is_given).map(|(key, _)| *key).collect();
    let [first, rest @ ..] = given.as_slice() else { return true };
    for key in rest {
        section.problem(key, format!("is given beside {first}"), Some("Keep one of them."));
    }
    rest.is_empty()
}

/// The query of a URL, without `?`.
fn proven_signature(section: &mut Section<'_, '_>, written: &Secret) -> Option<Secret> {
    let text = written.expose().trim().trim_start_matches('?');
    let is_signature = text.split('&').any(|pair| pair.starts_with("sig="))
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if !is_signature {
        let key = if section.has("sas_token") { "sas_token" } else { "connection_string" };
        let remedy = "Copy the whole token; it looks like sv=...&sp=...&sig=...";
        section.problem(key, "holds no shared access signature", Some(remedy));
        return None;
    }
    Some(Secret::new(text))
}

fn parse(section: &mut Section<'_, '_>, text: &str) -> Option<ConnectionString> {
    let parsed = fields(text);
    if parsed.is_none() {
        let remedy = "Copy it from the portal: DefaultEndpointsProtocol=https;AccountName=...;AccountKey=...;\
                      EndpointSuffix=core.windows.net.";
        section.problem("connection_string", "is not a connection string of a storage account", Some(remedy));
    }
    parsed
}

/// The fields of `Name=value;Name=value`. Nothing of it is shown anywhere: any part can be the key.
fn fields(text: &str) -> Option<ConnectionString> {
    let mut parsed = ConnectionString::default();
    let (mut protocol, mut suffix) = ("https".to_owned(), PUBLIC_SUFFIX.to_owned());
    for field in text.split(';').map(str::trim).filter(|field| !field.is_empty()) {
        let (name, value) = field.split_once('=')?;
        let value = value.trim().to_owned();
        match name.trim().to_ascii_lowercase().as_str() {
            "accountname" => parsed.account_name = Some(value),
            "accountkey" => parsed.account_key = Some(value),
            "sharedaccesssignature" => parsed.signature = Some(value),
            "blobendpoint" => parsed.endpoint = Some(stores::endpoint(&value)?),
            "defaultendpointsprotocol" if matches!(value.as_str(), "http" | "https") => protocol = value,
            "defaultendpointsprotocol" => return None,
            "endpointsuffix" => suffix = value,
            "usedevelopmentstorage" if value.eq_ignore_ascii_case("true") => {
                parsed.account_name = Some(EMULATOR_ACCOUNT.to_owned());
                parsed.account_key = Some(EMULATOR_KEY.to_owned());
                parsed.endpoint = Some(EMULATOR_ENDPOINT.to_owned());
            }
            // Queues, tables and files, which nobody needs here.
            _ => {}
        }
    }
    if parsed.endpoint.is_none() {
        let account = parsed.account_name.as_deref()?;
        parsed.endpoint = Some(stores::endpoint(&format!("{protocol}://{account}.blob.{suffix}"))?);
    }
    (parsed.account_key.is_some() || parsed.signature.is_some()).then_some(parsed)
}

/// What the default credential finds in the environment.
pub(super) fn identity(environment: &Environment) -> AzureIdentity {
    let text = |name: &str| environment.filled(name).map(str::to_owned);
    let base = |name: &str, default: &str| {
        let url = environment.filled(name).unwrap_or(default).trim_end_matches('/');
        if url.contains("://") { url.to_owned() } else { format!("https://{url}") }
    };
    let managed_identity = match (text("IDENTITY_ENDPOINT"), text("IDENTITY_HEADER")) {
        (Some(endpoint), Some(header)) => {
            ManagedIdentity::AppService { endpoint, header: Secret::new(header) }
        }
        _ => {
            ManagedIdentity::Machine { endpoint: base("AZURE_POD_IDENTITY_AUTHORITY_HOST", METADATA_SERVICE) }
        }
    };
    AzureIdentity {
        tenant_id: text("AZURE_TENANT_ID"),
        client_id: text("AZURE_CLIENT_ID"),
        client_secret: text("AZURE_CLIENT_SECRET").map(Secret::new),
        federated_token_file: text("AZURE_FEDERATED_TOKEN_FILE").map(PathBuf::from),
        authority_host: base("AZURE_AUTHORITY_HOST", PUBLIC_AUTHORITY),
        managed_identity,
    }
}
