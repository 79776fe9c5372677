//! Where the credentials for S3 come from: the whole program, in environments as operators have them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use axum::routing::{get, put};
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::agent::{Finished, Place};
use crate::support::proxy::{Proxy, Treatment};
use crate::support::s3::{Bucket, server_address};

/// One row out of a database that needs no server, into the bucket, through a proxy that sees the keys.
struct Case {
    place: Place,
    bucket: Bucket,
    proxy: Proxy,
}

impl Case {
    /// `lines` go into the section of the target.
    async fn new(lines: &str) -> Self {
        let bucket = Bucket::new().await;
        let proxy = Proxy::start(server_address(), |_operation| Treatment::Forward).await;
        let place = Place::new();
        let section = format!(
            "kind = \"s3\"\nbucket_name = {:?}\nendpoint_url = \"http://{}\"\npath_style = true\n{lines}",
            bucket.name, proxy.address
        );
        let database = place.path().join("source.db");
        fs::write(&database, "").expect("an empty file is an empty database");
        let place = place
            .connection("target.lake", &section)
            .connection("source.shop", &format!("kind = \"sqlite\"\npath = {database:?}\n"));
        Self { place, bucket, proxy }
    }

    async fn extract(&self, environment: &[(&str, &str)]) -> Finished {
        let configuration = self.place.configuration();
        let configuration = configuration.to_str().expect("temporary folders have plain names");
        let arguments = [
            "extract",
            "--config",
            configuration,
            "--source",
            "shop",
            "--query",
            "SELECT 1 AS one",
            "--to",
            "lake",
            "--path",
            "p",
            "--id",
            "a",
        ];
        self.place.run_with(&arguments, environment).await
    }

    async fn stores_with(&self, environment: &[(&str, &str)], access_key: &str) {
        let finished = self.extract(environment).await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert_eq!(self.proxy.access_keys(), [access_key]);
        assert_eq!(self.bucket.objects("p/").await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_of_the_shared_files_gives_keys_and_region() {
    let case = Case::new("profile_name = \"extracts\"\n").await;
    let file = case.place.path().join("credentials");
    let text = "[default]\naws_access_key_id = WRONG\naws_secret_access_key = wrong\n\
                [extracts]\naws_access_key_id = FROMPROFILE\naws_secret_access_key = secret\nregion = eu-west-1\n";
    fs::write(&file, text).expect("write the shared file");
    let file = file.to_str().expect("temporary folders have plain names");
    case.stores_with(&[("AWS_SHARED_CREDENTIALS_FILE", file)], "FROMPROFILE").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_of_the_environment_give_keys() {
    let case = Case::new("").await;
    let environment = [
        ("AWS_ACCESS_KEY_ID", "FROMENVIRONMENT"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "eu-west-1"),
    ];
    case.stores_with(&environment, "FROMENVIRONMENT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_identity_is_exchanged_for_keys() {
    let case = Case::new("region_name = \"us-east-1\"\n").await;
    let token = case.place.path().join("token");
    fs::write(&token, "eyJhbGciOiJub25lIn0.e30.").expect("write the token");
    let token_service = format!("http://{}", server_address());
    let environment = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().expect("temporary folders have plain names")),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/extracts"),
        ("AWS_ROLE_SESSION_NAME", "test"),
        ("AWS_ENDPOINT_URL_STS", token_service.as_str()),
    ];
    let finished = case.extract(&environment).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let keys = case.proxy.access_keys();
    assert!(keys.len() == 1 && keys[0].starts_with("ASIA"), "temporary keys begin with ASIA: {keys:?}");
}

/// The metadata service of an instance, version 2: a token first, then role and keys.
#[expect(clippy::disallowed_methods, reason = "the service is no part of the agent, no stop waits for it")]
async fn metadata_service() -> SocketAddr {
    let keys = json!({
        "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z",
        "AccessKeyId": "FROMINSTANCE", "SecretAccessKey": "secret", "Token": "session",
        "Expiration": "2099-01-01T00:00:00Z",
    });
    let role = "/latest/meta-data/iam/security-credentials/";
    let router = Router::new()
        .route(
            "/latest/api/token",
            put(async || ([("x-aws-ec2-metadata-token-ttl-seconds", "21600")], "token")),
        )
        .route(role, get(async || "extracts"))
        .route(&format!("{role}extracts"), get(async move || Json(keys)));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("there is a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_gives_the_keys_of_its_role() {
    let case = Case::new("region_name = \"us-east-1\"\n").await;
    let service = format!("http://{}", metadata_service().await);
    case.stores_with(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &service)], "FROMINSTANCE").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credentials_at_all_are_said_at_once_with_a_remedy() {
    let case = Case::new("region_name = \"us-east-1\"\n").await;
    let finished = case.extract(&[("AWS_EC2_METADATA_DISABLED", "true")]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished.stderr.contains("credentials") && finished.stderr.contains("profile_name"),
        "{finished:?}"
    );
    assert!(case.bucket.objects("").await.is_empty());
}
