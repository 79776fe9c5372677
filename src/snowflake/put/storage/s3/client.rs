//! Clients of S3: connections that all stages share, and credentials that belong to one grant.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result as ProviderResult, future};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::InterceptorContext;
use aws_sdk_s3::config::retry::{ClassifyRetry, RetryAction, RetryConfig};
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, Credentials as AwsCredentials, IdentityCache, Region,
    RequestChecksumCalculation, ResponseChecksumValidation,
};
use url::Url;

use crate::fault::{Fault, FaultKind};
use crate::snowflake::put::answer::{Credentials, is_url};
use crate::snowflake::put::grant::{Access, Grant};

/// Attempts for one request, the first included; with the SDK's back-off this bridges half a minute
/// of throttling. What lasts longer is left to the lease of the task.
const MAX_ATTEMPTS: u32 = 6;
/// Longest time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Clients by region and endpoint. A client is a set of connections; credentials come with each
/// request, so that all stages of a deployment share it.
#[derive(Clone, Debug)]
pub struct S3Clients {
    clients: Arc<Mutex<ByPlace>>,
    timeout: Duration,
}

/// A URL, and whether the bucket is in its path.
type Endpoint = (String, bool);
/// By region and endpoint.
type ByPlace = HashMap<(String, Option<Endpoint>), Client>;

impl S3Clients {
    /// Opens nothing yet. An attempt at a request may take `timeout`, and what its body needs.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self { clients: Arc::default(), timeout }
    }

    pub(in super::super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The client for a place that the server named.
    pub(in super::super) fn client(
        &self,
        region: Option<&str>,
        endpoint: Option<&str>,
    ) -> Result<Client, Fault> {
        // A signature names a region even where the endpoint has none.
        let region = region.unwrap_or("us-east-1").to_owned();
        let endpoint = endpoint.map(endpoint_url).transpose()?;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let client = clients
            .entry((region, endpoint))
            .or_insert_with_key(|(region, endpoint)| connect(region.clone(), endpoint.as_ref()));
        Ok(client.clone())
    }
}

fn connect(region: String, endpoint: Option<&Endpoint>) -> Client {
    let mut builder = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
        .timeout_config(timeouts(CONNECT_TIMEOUT))
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if let Some((url, is_path_style)) = endpoint {
        builder = builder.endpoint_url(url).force_path_style(*is_path_style);
    }
    Client::from_conf(builder.build())
}

/// A host gets TLS, and the bucket before its name; a whole URL is an emulator, which is used as it
/// is, with the bucket in the path.
fn endpoint_url(endpoint: &str) -> Result<Endpoint, Fault> {
    let (url, is_path_style) =
        if is_url(endpoint) { (endpoint.to_owned(), true) } else { (format!("https://{endpoint}"), false) };
    match Url::parse(&url) {
        Ok(parsed) if parsed.has_host() && parsed.username().is_empty() => Ok((url, is_path_style)),
        _ => Err(Fault::new(FaultKind::Request, "use the endpoint of the stage's storage")
            .because("`stageInfo.endPoint` is not a host name")),
    }
}

/// The limits of a request that may take `attempt`, without its retries.
fn timeouts(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT.min(attempt))
        .operation_attempt_timeout(attempt)
        .build()
}

/// What makes a request one of this grant, which may take `attempt`.
pub(super) fn under(grant: &Arc<Grant>, attempt: Duration) -> Builder {
    let credentials =
        RequestCredentials { grant: Arc::clone(grant), used: Arc::default(), refused: Arc::default() };
    Builder::new()
        .identity_cache(IdentityCache::no_cache())
        .credentials_provider(credentials.clone())
        .retry_classifier(credentials)
        .timeout_config(timeouts(attempt))
}

/// The credentials of one request, renewed when S3 says that they have expired.
///
/// The SDK asks for credentials before each attempt at the request, and for a judgement after it.
#[derive(Clone, Debug)]
struct RequestCredentials {
    grant: Arc<Grant>,
    /// The generation that the newest attempt was signed with.
    used: Arc<AtomicU64>,
    /// 1 more than the generation that S3 refused last; 0 when it has refused none.
    refused: Arc<AtomicU64>,
}

impl RequestCredentials {
    async fn load(&self) -> ProviderResult {
        let mut access = self.grant.access();
        if self.refused.load(Ordering::Acquire) == access.generation() + 1 {
            access = self.grant.renew(&access).await.map_err(CredentialsError::provider_error)?;
        }
        self.used.store(access.generation(), Ordering::Release);
        to_aws(&access)
    }
}

fn to_aws(access: &Access) -> ProviderResult {
    let Credentials::Aws { key_id, secret_key, token } = &access.credentials else {
        return Err(CredentialsError::invalid_configuration("the stage is not on Amazon S3 any more"));
    };
    let token = token.as_ref().map(|token| token.expose().to_owned());
    Ok(AwsCredentials::new(key_id.expose(), secret_key.expose(), token, None, "Snowflake stage"))
}

impl ProvideCredentials for RequestCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.load())
    }
}

impl ClassifyRetry for RequestCredentials {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let is_refused = context.response().is_some_and(|response| {
            response.status().is_client_error() && response.body().bytes().is_some_and(says_expired)
                // An answer to HEAD has no body, and a good request no other reason for this status.
                || response.status().as_u16() == 400 && response.body().bytes() == Some(b"")
        });
        if !is_refused {
            return RetryAction::NoActionIndicated;
        }
        self.refused.store(self.used.load(Ordering::Acquire) + 1, Ordering::Release);
        RetryAction::transient_error()
    }

    fn name(&self) -> &'static str {
        "expired credentials of a stage"
    }
}

fn says_expired(body: &[u8]) -> bool {
    [
        b"<Code>ExpiredToken</Code>".as_slice(),
        b"<Code>TokenRefreshRequired</Code>",
        b"<Code>InvalidToken</Code>",
    ]
    .iter()
    .any(|code| body.windows(code.len()).any(|window| window == *code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_or_the_url_of_an_emulator() {
        let expected = ("https://s3-fips.us-east-1.amazonaws.com".to_owned(), false);
        assert_eq!(endpoint_url("s3-fips.us-east-1.amazonaws.com").expect("a host"), expected);
        let expected = ("http://127.0.0.1:5000".to_owned(), true);
        assert_eq!(endpoint_url("http://127.0.0.1:5000").expect("a URL"), expected);
        for wrong in ["", "a b", "user:secret@host", "http://"] {
            let fault = endpoint_url(wrong).expect_err(wrong);
            assert!(!fault.chain().contains("secret"), "{}", fault.chain());
        }
    }

    #[test]
    fn only_the_codes_of_expired_credentials_count() {
        assert!(says_expired(b"<?xml?><Error><Code>ExpiredToken</Code><Message>x</Message></Error>"));
        assert!(!says_expired(b"<Error><Code>AccessDenied</Code><Message>ExpiredToken</Message></Error>"));
    }
}
