//! The metadata servers of the clouds, played by servers on this machine.

use super::*;

fn workload_in(
    provider: &str,
    extra: &[(&'static str, Setting)],
    environment: &[(&str, &str)],
) -> Connection {
    let mut settings = vec![("workload_identity_provider", text(provider))];
    settings.extend(extra.iter().cloned());
    connection_in(&settings, &Environment::of(environment.iter().copied()))
}

fn expected(provider: &str, token: &str) -> Value {
    json!({"AUTHENTICATOR": "WORKLOAD_IDENTITY", "LOGIN_NAME": "", "PROVIDER": provider, "TOKEN": token})
}

#[tokio::test]
async fn google_vouches_with_an_identity_token() {
    let server = Server::start(|_, _| (200, "gcp-token\n".into())).await;
    let parts = good(&workload_in("gcp", &[], &[("GCE_METADATA_HOST", &server.url)])).await;
    assert_eq!(Value::from(parts.data), expected("GCP", "gcp-token"));
    assert_eq!(
        Value::from(parts.client_environment),
        json!({"WORKLOAD_IDENTITY_IMPERSONATION_PATH_LENGTH": 0})
    );
    let seen = server.seen();
    assert_eq!(
        seen[0].uri,
        "/computeMetadata/v1/instance/service-accounts/default/identity?audience=snowflakecomputing.com"
    );
    assert_eq!(header(&seen[0], "metadata-flavor"), "Google");
}

#[tokio::test]
async fn google_vouches_for_the_last_account_of_a_path() {
    let server = Server::start(|number, _| match number {
        0 => (200, json!({"access_token": "access"}).to_string()),
        _ => (200, json!({"token": "impersonated"}).to_string()),
    })
    .await;
    let path = [("workload_identity_impersonation_path", text("one@p.iam, two@p.iam"))];
    let parts = good(&workload_in("GCP", &path, &[("GCE_METADATA_HOST", &server.url)])).await;
    assert_eq!(parts.data["TOKEN"], "impersonated");
    assert_eq!(parts.client_environment["WORKLOAD_IDENTITY_IMPERSONATION_PATH_LENGTH"], 2);
    let seen = server.seen();
    assert_eq!(seen[0].uri, "/computeMetadata/v1/instance/service-accounts/default/token");
    assert_eq!(seen[1].uri, "/v1/projects/-/serviceAccounts/two@p.iam:generateIdToken");
    assert_eq!(header(&seen[1], "authorization"), "Bearer access");
    let body: Value = serde_json::from_str(&seen[1].body).unwrap();
    assert_eq!(body["audience"], "snowflakecomputing.com");
    assert_eq!(body["delegates"], json!(["projects/-/serviceAccounts/one@p.iam"]));
}

#[tokio::test]
async fn azure_vouches_from_a_machine_a_function_and_a_pod() {
    let token = || Server::start(|_, _| (200, json!({"access_token": "azure-token"}).to_string()));
    let server = token().await;
    let environment =
        [("AZURE_POD_IDENTITY_AUTHORITY_HOST", server.url.as_str()), ("MANAGED_IDENTITY_CLIENT_ID", "id-1")];
    let parts = good(&workload_in("AZURE", &[], &environment)).await;
    assert_eq!(Value::from(parts.data), expected("AZURE", "azure-token"));
    let seen = server.seen();
    assert_eq!(
        seen[0].uri,
        "/metadata/identity/oauth2/token?api-version=2018-02-01&\
         resource=api%3A%2F%2Ffd3f753b-eed3-462c-b6a7-a4b5bb650aad&client_id=id-1"
    );
    assert_eq!(header(&seen[0], "metadata"), "true");

    let server = token().await;
    let endpoint = format!("{}/msi/token", server.url);
    let resource = [("workload_identity_entra_resource", text("api://own"))];
    let environment = [("IDENTITY_ENDPOINT", endpoint.as_str()), ("IDENTITY_HEADER", "hunter2")];
    let connection = workload_in("AZURE", &resource, &environment);
    assert!(!format!("{connection:?}").contains("hunter2"));
    good(&connection).await;
    let seen = server.seen();
    assert_eq!(seen[0].uri, "/msi/token?api-version=2019-08-01&resource=api%3A%2F%2Fown");
    assert_eq!(header(&seen[0], "x-identity-header"), "hunter2");

    let server = token().await;
    let directory = Directory::new();
    let file = directory.write("federated", "pod-token\n");
    let environment = [
        ("AZURE_FEDERATED_TOKEN_FILE", file.to_str().unwrap()),
        ("AZURE_TENANT_ID", "tenant"),
        ("AZURE_CLIENT_ID", "client"),
        ("AZURE_AUTHORITY_HOST", &format!("{}/", server.url)),
    ];
    good(&workload_in("AZURE", &resource, &environment)).await;
    let seen = server.seen();
    assert_eq!((seen[0].method.as_str(), seen[0].uri.as_str()), ("POST", "/tenant/oauth2/v2.0/token"));
    assert_eq!(
        seen[0].body,
        "grant_type=client_credentials&client_id=client&scope=api%3A%2F%2Fown%2F.default&\
         client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&\
         client_assertion=pod-token"
    );
}

#[tokio::test]
async fn anybody_else_vouches_with_a_token_of_the_configuration() {
    let parts = good(&workload_in("oidc", &[("token", secret("jwt"))], &[])).await;
    assert_eq!(Value::from(parts.data), expected("OIDC", "jwt"));
}

#[tokio::test]
async fn a_platform_that_does_not_vouch_is_named() {
    let server = Server::start(|_, _| (404, "no identity".into())).await;
    let (kind, text) = bad(&workload_in("GCP", &[], &[("GCE_METADATA_HOST", &server.url)])).await;
    assert_eq!(kind, FaultKind::Credentials);
    assert_eq!(
        text,
        "prove the identity of this workload with Google Cloud: the answer is HTTP 404. \
         Check that the agent runs on that platform and has an identity there."
    );
    let server = Server::start(|_, _| (503, String::new())).await;
    let (kind, _) = bad(&workload_in("GCP", &[], &[("GCE_METADATA_HOST", &server.url)])).await;
    assert_eq!(kind, FaultKind::Transient);
    // A redirect would lead the token elsewhere.
    let server = Server::start(|_, _| (307, String::new())).await;
    let (kind, _) = bad(&workload_in("GCP", &[], &[("GCE_METADATA_HOST", &server.url)])).await;
    assert_eq!(kind, FaultKind::Credentials);
}

#[tokio::test]
async fn nobody_but_snowflake_is_shown_an_attestation() {
    let mut settings = Settings::default();
    for (key, value) in [
        ("account", text("a")),
        ("host", text("evilsnowflakecomputing.com")),
        ("workload_identity_provider", text("OIDC")),
        ("token", secret("jwt")),
    ] {
        settings.set(key, value);
    }
    let problems = proof::prove(&settings, &Environment::default()).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "host is not a host of Snowflake, and a workload identity is shown to nobody else. \
         Correct it, or add its suffix to SNOWFLAKE_WIF_ALLOWED_HOST_SUFFIXES."
    );
    let environment = Environment::of([(
        "SNOWFLAKE_WIF_ALLOWED_HOST_SUFFIXES",
        "example.com, .evilsnowflakecomputing.com",
    )]);
    let mut connection = proof::prove(&settings, &environment).unwrap();
    good(&connection).await;
    connection.host = "other.example.org".into();
    let (kind, text) = bad(&connection).await;
    assert_eq!(kind, FaultKind::Credentials);
    assert!(text.contains("other.example.org is not a host of Snowflake"), "{text}");
}
