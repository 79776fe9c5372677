//! A client of the store: credentials, region, limits in time and number.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::{RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_s3::config::{
    Builder, Credentials, IdentityCache, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};

use super::credentials::RenewedCredentials;
use crate::config::S3Target;
use crate::fault::{Fault, FaultKind};

/// Attempts for one request, the first included; with the SDK's back-off this bridges up to half a
/// minute of throttling. What lasts longer is left to the lease of the task.
const MAX_ATTEMPTS: u32 = 6;
/// Longest time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Builds the client, and tells the address of the server. Reads the shared AWS configuration files; sends
/// nothing to the store.
pub(super) async fn connect(target: &S3Target) -> Result<(Client, String), Fault> {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(profile) = &target.profile_name {
        loader = loader.profile_name(profile);
    }
    if let Some(region) = &target.region_name {
        loader = loader.region(Region::new(region.clone()));
    }
    let explicit = explicit_credentials(target);
    if let Some(credentials) = &explicit {
        loader = loader.credentials_provider(credentials.clone());
    }
    let shared = loader.load().await;

    let mut builder = Builder::from(&shared)
        .force_path_style(target.path_style)
        .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
        // By default all requests of a process share one budget of retries, which some dozens of failures use up:
        // from then on no request would bridge anything. The number of attempts and the back-off are bound enough.
        .retry_partition(RetryPartition::custom("target").token_bucket(TokenBucket::unlimited()).build())
        .timeout_config(timeouts(target.request_timeout))
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled().grace_period(target.request_timeout).build(),
        )
        // Every part is sent with its own checksum; other requests only where S3 demands one,
        // because stores that copy S3 know no other.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if let Some(endpoint) = &target.endpoint_url {
        builder = builder.endpoint_url(endpoint);
    }
    let server = match (target.endpoint_url.as_deref().or(shared.endpoint_url()), shared.region()) {
        (Some(endpoint), _) => endpoint.to_owned(),
        (None, Some(region)) => address_at_amazon(region.as_ref()),
        (None, None) => {
            let action = format!("open the bucket `{}`: no region is known", target.bucket_name);
            return Err(Fault::new(FaultKind::Request, action)
                .remedy("Set `region_name` of the connection, or AWS_REGION, or `region` in the profile."));
        }
    };
    if shared.region().is_none() {
        // Other stores than Amazon's have no regions, but a signature names one.
        builder = builder.region(Region::new("us-east-1"));
    }
    if let (None, Some(provider)) = (explicit, shared.credentials_provider()) {
        let credentials = RenewedCredentials::new(provider);
        builder = builder
            .identity_cache(IdentityCache::no_cache())
            .credentials_provider(credentials.clone())
            .retry_classifier(credentials);
    }
    Ok((Client::from_conf(builder.build()), server))
}

/// Where Amazon has S3 in a region. The SDK knows it too, and tells it for single requests only.
fn address_at_amazon(region: &str) -> String {
    // The other partitions that are open to the public, also those of governments, have the usual domain.
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://s3.{region}.{domain}")
}

/// The limits of a request that may take `attempt`, without its retries.
pub(super) fn timeouts(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT.min(attempt))
        .operation_attempt_timeout(attempt)
        .build()
}

fn explicit_credentials(target: &S3Target) -> Option<Credentials> {
    let access_key_id = target.access_key_id.as_ref()?;
    let secret_access_key = target.secret_access_key.as_ref()?.expose();
    let session_token = target.session_token.as_ref().map(|token| token.expose().to_owned());
    Some(Credentials::new(access_key_id, secret_access_key, session_token, None, "configuration"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_its_domain() {
        for (region, expected) in [
            ("eu-central-1", "https://s3.eu-central-1.amazonaws.com"),
            ("us-gov-west-1", "https://s3.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", "https://s3.cn-north-1.amazonaws.com.cn"),
        ] {
            assert_eq!(address_at_amazon(region), expected);
        }
    }
}
