//! Workload identity: the platform that the agent runs on says who it is.
//!
//! The attestation is a bearer secret, so it is made for known hosts only.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, json};
use url::Url;

use super::super::account;
use super::super::connection::{Connection, LoginParts};
use super::encoded;
use super::token::{TokenSource, token_parts};
use crate::config::Secret;
use crate::fault::{Fault, FaultKind};

/// Who the attestation is for.
const AUDIENCE: &str = "snowflakecomputing.com";
/// Metadata servers are near and answer at once, or they are not there.
const METADATA_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const GCP_METADATA: &str = "http://metadata.google.internal";
const GCP_IMPERSONATION: &str = "https://iamcredentials.googleapis.com";
const AZURE_METADATA: &str = "http://169.254.169.254";
/// The session name of roles that are assumed on the way.
const ROLE_SESSION: &str = "data-exchange-agent";

/// The platform that says who the agent is, and to whom it may be told.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadIdentity {
    /// The platform.
    pub provider: WorkloadProvider,
    /// Roles or service accounts to become, one after the other; the last one logs in.
    pub impersonation_path: Vec<String>,
    /// The attestation goes to hosts below these alone.
    pub allowed_suffixes: Vec<String>,
}

/// A platform that vouches for its workloads.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkloadProvider {
    /// Amazon: a signed request to its identity service, which Snowflake sends.
    Aws {
        /// Another host of that service than the region's own.
        sts_host: Option<String>,
    },
    /// Google: an identity token of the metadata server.
    Gcp {
        /// Another metadata server than the cloud's own.
        metadata: Option<Url>,
    },
    /// Microsoft: a token of the managed identity.
    Azure(Box<AzureIdentity>),
    /// Anybody else who makes OpenID Connect tokens.
    Oidc {
        /// The token.
        token: TokenSource,
    },
}

/// Where Microsoft's cloud keeps the token of a managed identity.
#[derive(Clone, Debug, PartialEq)]
pub struct AzureIdentity {
    /// Who the token is for.
    pub resource: String,
    /// Which identity, when the machine has more than one.
    pub client_id: Option<String>,
    /// Endpoint and header of Azure Functions.
    pub functions: Option<(Url, Secret)>,
    /// A token of Kubernetes that is exchanged.
    pub federated: Option<AzureFederation>,
    /// Another metadata server than the cloud's own.
    pub metadata: Option<Url>,
}

/// Federation of Kubernetes with Microsoft's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureFederation {
    /// The token of the pod; the platform rewrites it.
    pub token_file: PathBuf,
    /// The directory.
    pub tenant_id: String,
    /// The application that the pod is.
    pub client_id: String,
    /// The server of the directory.
    pub authority: Url,
}

impl WorkloadIdentity {
    pub(super) async fn login_parts(&self, connection: &Connection) -> Result<LoginParts, Fault> {
        // Checked again beside the proof: whoever changes the host later must not get a token.
        if !account::is_below(&connection.host, &self.allowed_suffixes) {
            return Err(self.failed(FaultKind::Credentials).because(format!(
                "{} is not a host of Snowflake, and an attestation is shown to nobody else",
                connection.host
            )));
        }
        let (name, token) = match &self.provider {
            WorkloadProvider::Aws { sts_host } => ("AWS", self.aws(sts_host.as_deref()).await?),
            WorkloadProvider::Gcp { metadata } => ("GCP", self.gcp(metadata.as_ref()).await?),
            WorkloadProvider::Azure(identity) => ("AZURE", self.azure(identity).await?),
            WorkloadProvider::Oidc { token } => ("OIDC", token.read().await?),
        };
        let mut parts = token_parts("WORKLOAD_IDENTITY", None, &token);
        parts.data.insert("PROVIDER".into(), json!(name));
        parts.client_environment.insert(
            "WORKLOAD_IDENTITY_IMPERSONATION_PATH_LENGTH".into(),
            json!(self.impersonation_path.len()),
        );
        Ok(parts)
    }

    fn failed(&self, kind: FaultKind) -> Fault {
        let platform = match &self.provider {
            WorkloadProvider::Aws { .. } => "AWS",
            WorkloadProvider::Gcp { .. } => "Google Cloud",
            WorkloadProvider::Azure(_) => "Azure",
            WorkloadProvider::Oidc { .. } => "the configuration",
        };
        Fault::new(kind, format!("prove the identity of this workload with {platform}"))
    }

    async fn aws(&self, sts_host: Option<&str>) -> Result<Secret, Fault> {
        let shared = Box::pin(aws_config::defaults(BehaviorVersion::latest()).load()).await;
        let Some(region) = shared.region().cloned() else {
            return Err(self
                .failed(FaultKind::Credentials)
                .because("no region is known")
                .remedy("Set AWS_REGION, or run the agent where the instance says its region."));
        };
        let no_credentials = |fault: Fault| fault.remedy("Give the machine a role, or set a profile.");
        let Some(mut provider) = shared.credentials_provider() else {
            return Err(no_credentials(
                self.failed(FaultKind::Credentials).because("there are no credentials"),
            ));
        };
        for role in &self.impersonation_path {
            let assumed = AssumeRoleProvider::builder(role)
                .session_name(ROLE_SESSION)
                .region(Region::new(region.to_string()))
                .configure(&shared)
                .build_from_provider(provider);
            provider = SharedCredentialsProvider::new(Box::pin(assumed).await);
        }
        let credentials = Box::pin(provider.provide_credentials())
            .await
            .map_err(|error| no_credentials(self.failed(FaultKind::Credentials).because(error)))?;
        let host = sts_host.map_or_else(|| sts_host_of(region.as_ref()), str::to_owned);
        aws_attestation(&credentials, region.as_ref(), &host, SystemTime::now())
            .map_err(|error| self.failed(FaultKind::Bug).because(error))
    }

    async fn gcp(&self, metadata: Option<&Url>) -> Result<Secret, Fault> {
        let base = metadata.map_or_else(|| GCP_METADATA.to_owned(), base_of);
        let accounts = format!("{base}/computeMetadata/v1/instance/service-accounts/default");
        let client = self.metadata_client()?;
        let ask = |url: String| client.get(url).header("Metadata-Flavor", "Google");
        let Some((last, delegates)) = self.impersonation_path.split_last() else {
            let request = ask(format!("{accounts}/identity?audience={AUDIENCE}"));
            return self.plain(request).await;
        };
        let answer: AccessToken = self.json(ask(format!("{accounts}/token"))).await?;
        // With a metadata server of one's own, everything of the cloud is there.
        let base = metadata.map_or_else(|| GCP_IMPERSONATION.to_owned(), base_of);
        let name = |account: &String| format!("projects/-/serviceAccounts/{account}");
        let body = json!({"audience": AUDIENCE, "includeEmail": true,
            "delegates": delegates.iter().map(name).collect::<Vec<_>>()});
        let request = self
            .client(metadata.is_none())?
            .post(format!("{base}/v1/{}:generateIdToken", name(last)))
            .bearer_auth(&answer.access_token)
            .json(&body);
        let answer: IdentityToken = self.json(request).await?;
        Ok(Secret::new(answer.token))
    }

    async fn azure(&self, identity: &AzureIdentity) -> Result<Secret, Fault> {
        let client_id = identity.client_id.as_deref().map(|id| ("client_id", id));
        let query = |version| {
            let mut query = vec![("api-version", version), ("resource", identity.resource.as_str())];
            query.extend(client_id);
            encoded(&query)
        };
        let request = match (&identity.functions, &identity.federated) {
            (Some((endpoint, header)), _) => {
                let mut url = endpoint.clone();
                url.set_query(Some(&query("2019-08-01")));
                self.metadata_client()?.get(url).header("X-IDENTITY-HEADER", header.expose())
            }
            (None, Some(federation)) => {
                let assertion = TokenSource::File(federation.token_file.clone()).read().await?;
                let form = encoded(&[
                    ("grant_type", "client_credentials"),
                    ("client_id", &federation.client_id),
                    ("scope", &format!("{}/.default", identity.resource)),
                    ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                    ("client_assertion", assertion.expose()),
                ]);
                let base = base_of(&federation.authority);
                self.client(true)?
                    .post(format!("{base}/{}/oauth2/v2.0/token", federation.tenant_id))
                    .header("Content-Type", "application/x-www-form-urlencoded")
                    .body(form)
            }
            (None, None) => {
                let base = identity.metadata.as_ref().map_or_else(|| AZURE_METADATA.to_owned(), base_of);
                let url = format!("{base}/metadata/identity/oauth2/token?{}", query("2018-02-01"));
                self.metadata_client()?.get(url).header("Metadata", "true")
            }
        };
        let answer: AccessToken = self.json(request).await?;
        Ok(Secret::new(answer.access_token))
    }

    /// Never through a proxy: a proxy would answer with its own identity.
    fn metadata_client(&self) -> Result<reqwest::Client, Fault> {
        self.client(false)
    }

    /// Redirects are not followed: the answer is a secret, or the request holds one.
    fn client(&self, through_proxy: bool) -> Result<reqwest::Client, Fault> {
        let builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(METADATA_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none());
        let builder = if through_proxy { builder } else { builder.no_proxy() };
        builder.build().map_err(|error| self.failed(FaultKind::Bug).because(error))
    }

    async fn plain(&self, request: reqwest::RequestBuilder) -> Result<Secret, Fault> {
        let body = self.ask(request).await?;
        match std::str::from_utf8(&body).map(str::trim) {
            Ok(token) if !token.is_empty() => Ok(Secret::new(token)),
            Ok(_) | Err(_) => Err(self.failed(FaultKind::Transient).because("the answer has no token")),
        }
    }

    /// The parser's error could show a part of a token, so it is dropped.
    async fn json<T: for<'a> Deserialize<'a>>(&self, request: reqwest::RequestBuilder) -> Result<T, Fault> {
        let body = self.ask(request).await?;
        serde_json::from_slice(&body)
            .map_err(|_| self.failed(FaultKind::Transient).because("the answer has no token"))
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Result<bytes::Bytes, Fault> {
        let is_here = "Check that the agent runs on that platform and has an identity there.";
        let broken = |error: reqwest::Error| {
            self.failed(FaultKind::Transient).because(error.without_url()).remedy(is_here)
        };
        let response = request.send().await.map_err(broken)?;
        let status = response.status();
        if !status.is_success() {
            let is_passing = status.is_server_error() || status.as_u16() == 429 || status.as_u16() == 408;
            let kind = if is_passing { FaultKind::Transient } else { FaultKind::Credentials };
            let fault = self.failed(kind).because(format!("the answer is HTTP {}", status.as_u16()));
            return Err(fault.remedy(is_here));
        }
        response.bytes().await.map_err(broken)
    }
}

#[derive(Deserialize)]
struct AccessToken {
    access_token: String,
}

#[derive(Deserialize)]
struct IdentityToken {
    token: String,
}

fn base_of(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// The identity service of a region: the plain endpoint of its partition.
fn sts_host_of(region: &str) -> String {
    let suffix = match region {
        region if region.starts_with("cn-") => "amazonaws.com.cn",
        region if region.starts_with("us-isob-") => "sc2s.sgov.gov",
        region if region.starts_with("us-isof-") => "csp.hci.ic.gov",
        region if region.starts_with("us-iso-") => "c2s.ic.gov",
        region if region.starts_with("eu-isoe-") => "cloud.adc-e.uk",
        region if region.starts_with("eusc-") => "amazonaws.eu",
        _ => "amazonaws.com",
    };
    format!("sts.{region}.{suffix}")
}

/// A request that only its signer could have made, for Snowflake to send.
fn aws_attestation(
    credentials: &Credentials,
    region: &str,
    host: &str,
    now: SystemTime,
) -> Result<Secret, Box<dyn std::error::Error + Send + Sync>> {
    let url = format!("https://{host}/?Action=GetCallerIdentity&Version=2011-06-15");
    let identity = credentials.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("sts")
        .time(now)
        .settings(SigningSettings::default())
        .build()?
        .into();
    let fixed = [("host", host), ("x-snowflake-audience", AUDIENCE)];
    let request = SignableRequest::new("POST", &url, fixed.into_iter(), SignableBody::empty())?;
    let (instructions, _) = sign(request, &parameters)?.into_parts();
    let mut headers = Map::new();
    for (name, value) in fixed.into_iter().chain(instructions.headers()) {
        headers.insert(canonical(name), json!(value));
    }
    let attestation = json!({"url": url, "method": "POST", "headers": headers});
    Ok(Secret::new(STANDARD.encode(attestation.to_string())))
}

/// `x-amz-date` as `X-Amz-Date`.
fn canonical(name: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
    };
    name.split('-').map(capital).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::time::UNIX_EPOCH;

    use aws_lc_rs::digest::{SHA256, digest};
    use aws_lc_rs::hmac;
    use serde_json::Value;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes everything");
            text
        })
    }

    fn sign_with(key: &[u8], text: &str) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
    }

    /// The attestation at a fixed time, decoded.
    fn attest(token: Option<&str>) -> Value {
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", token.map(str::to_owned), None, "test");
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let attestation =
            aws_attestation(&credentials, "eu-west-1", "sts.eu-west-1.amazonaws.com", now).unwrap();
        serde_json::from_slice(&STANDARD.decode(attestation.expose()).unwrap()).unwrap()
    }

    #[test]
    fn the_request_to_amazon_is_signed_with_its_audience() {
        let attestation = attest(Some("session"));
        let url = "https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15";
        assert_eq!(attestation["url"], url);
        assert_eq!(attestation["method"], "POST");
        let headers = &attestation["headers"];
        assert_eq!(headers["Host"], "sts.eu-west-1.amazonaws.com");
        assert_eq!(headers["X-Snowflake-Audience"], "snowflakecomputing.com");
        assert_eq!(headers["X-Amz-Date"], "20231114T221320Z");
        assert_eq!(headers["X-Amz-Security-Token"], "session");
        // Calculated by the rules of Signature Version 4, apart from the library.
        let names = "host;x-amz-date;x-amz-security-token;x-snowflake-audience";
        let canonical = format!(
            "POST\n/\nAction=GetCallerIdentity&Version=2011-06-15\nhost:sts.eu-west-1.amazonaws.com\n\
             x-amz-date:20231114T221320Z\nx-amz-security-token:session\n\
             x-snowflake-audience:snowflakecomputing.com\n\n{names}\n{}",
            hex(digest(&SHA256, b"").as_ref())
        );
        let scope = "20231114/eu-west-1/sts/aws4_request";
        let text = format!(
            "AWS4-HMAC-SHA256\n20231114T221320Z\n{scope}\n{}",
            hex(digest(&SHA256, canonical.as_bytes()).as_ref())
        );
        let key = ["20231114", "eu-west-1", "sts", "aws4_request"]
            .iter()
            .fold(b"AWS4secret".to_vec(), |key, part| sign_with(&key, part));
        let signature = hex(&sign_with(&key, &text));
        assert_eq!(
            headers["Authorization"],
            format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{scope}, SignedHeaders={names}, Signature={signature}"
            )
        );
    }

    #[test]
    fn without_a_session_there_is_no_token_of_one() {
        let attestation = attest(None);
        assert_eq!(attestation["headers"].as_object().unwrap().len(), 4);
    }

    #[test]
    fn each_partition_has_its_own_identity_service() {
        for (region, expected) in [
            ("eu-west-1", "sts.eu-west-1.amazonaws.com"),
            ("us-gov-west-1", "sts.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", "sts.cn-north-1.amazonaws.com.cn"),
            ("us-iso-east-1", "sts.us-iso-east-1.c2s.ic.gov"),
            ("us-isob-east-1", "sts.us-isob-east-1.sc2s.sgov.gov"),
            ("eusc-de-east-1", "sts.eusc-de-east-1.amazonaws.eu"),
        ] {
            assert_eq!(sts_host_of(region), expected);
        }
    }
}
