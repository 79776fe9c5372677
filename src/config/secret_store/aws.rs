//! AWS Secrets Manager: one signed request, with the credentials that the SDK finds.

use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::Secret;
use super::super::model::AwsSecretSettings;
use super::http::{Question, client, shortened};
use crate::fault::{Fault, FaultKind};

/// Longest time for the credentials: metadata services and token exchanges answer within seconds.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(30);
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
const TARGET: &str = "secretsmanager.GetSecretValue";

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "SecretString")]
    text: Option<String>,
    #[serde(rename = "SecretBinary")]
    binary: Option<String>,
}

/// The current version of a secret.
pub(super) async fn read(settings: &AwsSecretSettings, id: &str) -> Result<Secret, Fault> {
    let action = format!("read the secret `{id}` in AWS Secrets Manager");
    let fault = |cause: String, remedy: &'static str| {
        Fault::new(FaultKind::Credentials, action.clone()).because(cause).remedy(remedy)
    };
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(profile) = &settings.profile_name {
        loader = loader.profile_name(profile);
    }
    // The ARN of a secret of another region says which.
    let named =
        id.starts_with("arn:").then(|| id.split(':').nth(3)).flatten().filter(|name| !name.is_empty());
    if let Some(region) = named.map(str::to_owned).or_else(|| settings.region_name.clone()) {
        loader = loader.region(Region::new(region));
    }
    let shared = Box::pin(loader.load()).await;
    let Some(region) = shared.region().cloned() else {
        return Err(fault("no region is known".to_owned(), "Set secrets.aws.region_name or AWS_REGION."));
    };
    const CREDENTIALS: &str = "Give the agent an identity: a profile, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
        or a role of the machine.";
    let Some(provider) = shared.credentials_provider() else {
        return Err(fault("there are no credentials".to_owned(), CREDENTIALS));
    };
    let credentials = tokio::time::timeout(CREDENTIALS_TIMEOUT, Box::pin(provider.provide_credentials()))
        .await
        .map_err(|_elapsed| fault("the provider of credentials does not answer".to_owned(), CREDENTIALS))?
        .map_err(|error| {
            Fault::new(FaultKind::Credentials, action.clone()).because(error).remedy(CREDENTIALS)
        })?;
    let url = match &settings.endpoint_url {
        Some(endpoint) => format!("{endpoint}/"),
        // China has a domain of its own.
        None if region.as_ref().starts_with("cn-") => {
            format!("https://secretsmanager.{region}.amazonaws.com.cn/")
        }
        None => format!("https://secretsmanager.{region}.amazonaws.com/"),
    };
    let body = json!({"SecretId": id}).to_string();
    let question = Question {
        action: action.clone(),
        unreachable: "Check secrets.aws.region_name and secrets.aws.endpoint_url, and the way to there.",
        judge: &judge,
    };
    let client = client(None)?;
    // Signed once: the attempts follow each other within the quarter of an hour that a signature is good.
    let headers = signed(&credentials, region.as_ref(), &url, &body)
        .map_err(|error| Fault::new(FaultKind::Bug, action.clone()).because(error))?;
    let answer: Answer = question
        .ask(|| {
            let request = client.post(&url).body(body.clone());
            headers.iter().fold(request, |request, (name, value)| request.header(name, value))
        })
        .await?;
    let binary = || {
        let bytes = STANDARD.decode(answer.binary.as_deref()?).ok()?;
        String::from_utf8(bytes).ok()
    };
    answer.text.clone().or_else(binary).map(Secret::new).ok_or_else(|| {
        fault("the secret is neither a text nor UTF-8".to_owned(), "Store the secret as a text.")
    })
}

/// The headers of the request, with its signature.
fn signed(
    credentials: &Credentials,
    region: &str,
    url: &str,
    body: &str,
) -> Result<Vec<(String, String)>, Box<dyn std::error::Error + Send + Sync>> {
    let identity = credentials.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("secretsmanager")
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()?
        .into();
    let fixed = [("content-type", CONTENT_TYPE), ("x-amz-target", TARGET)];
    let signable =
        SignableRequest::new("POST", url, fixed.into_iter(), SignableBody::Bytes(body.as_bytes()))?;
    let (instructions, _) = sign(signable, &parameters)?.into_parts();
    let headers = fixed.into_iter().chain(instructions.headers());
    Ok(headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// The words of AWS about a refusal hold no secret.
fn judge(status: u16, body: &[u8]) -> (String, &'static str) {
    let answer = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let text = |names: [&str; 2]| {
        names.into_iter().find_map(|name| answer.get(name)?.as_str()).unwrap_or_default().to_owned()
    };
    let code = text(["__type", "code"]);
    let code = code.rsplit('#').next().unwrap_or_default();
    let remedy = match code {
        "ResourceNotFoundException" => "Check the name or ARN of the secret, and secrets.aws.region_name.",
        "AccessDeniedException" => {
            "Allow secretsmanager:GetSecretValue on the secret, and kms:Decrypt on its key."
        }
        _ => "Check the credentials of the agent and secrets.aws.",
    };
    (shortened(&format!("AWS answered {status} {code} {}", text(["message", "Message"]))), remedy)
}
