//! A token server on this machine.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

fn token(number: usize, expires_in: u64) -> (u16, String) {
    (200, json!({"access_token": format!("token-{number}"), "expires_in": expires_in}).to_string())
}

fn client(server: &Server, extra: &[(&'static str, Setting)]) -> Connection {
    let mut settings = vec![
        ("authenticator", text("OAUTH_CLIENT_CREDENTIALS")),
        ("oauth_client_id", text("agent")),
        ("oauth_client_secret", secret("s+e/c=ret")),
        ("oauth_token_request_url", text(&format!("{}/token?tenant=1", server.url))),
    ];
    settings.extend(extra.iter().cloned());
    connection(&settings)
}

#[tokio::test]
async fn a_token_is_fetched_and_kept_until_snowflake_refuses_it() {
    let server = Server::start(|number, _| token(number, 600)).await;
    let connection = client(&server, &[("role", text("LOADER"))]);
    let parts = good(&connection).await;
    assert_eq!(
        Value::from(parts.data),
        json!({"AUTHENTICATOR": "OAUTH", "LOGIN_NAME": "", "TOKEN": "token-0"})
    );
    assert_eq!(Value::from(parts.client_environment), json!({"OAUTH_TYPE": "oauth_client_credentials"}));
    assert_eq!(good(&connection.clone()).await.data["TOKEN"], "token-0", "clones share it");
    assert!(connection.authentication.forget_token());
    assert_eq!(good(&connection).await.data["TOKEN"], "token-1");

    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!((seen[0].method.as_str(), seen[0].uri.as_str()), ("POST", "/token?tenant=1"));
    assert_eq!(header(&seen[0], "content-type"), "application/x-www-form-urlencoded");
    let basic = format!("Basic {}", STANDARD.encode("agent:s+e/c=ret"));
    assert_eq!(header(&seen[0], "authorization"), basic);
    assert_eq!(seen[0].body, "grant_type=client_credentials&scope=session%3Arole%3ALOADER");
}

#[tokio::test]
async fn the_secret_travels_in_the_form_when_asked_to() {
    let server = Server::start(|number, _| token(number, 600)).await;
    let extra = [("oauth_credentials_in_body", Setting::Boolean(true)), ("oauth_scope", text("all"))];
    good(&client(&server, &extra)).await;
    let seen = server.seen();
    assert_eq!(header(&seen[0], "authorization"), "");
    assert_eq!(
        seen[0].body,
        "grant_type=client_credentials&scope=all&client_id=agent&client_secret=s%2Be%2Fc%3Dret"
    );
}

#[tokio::test]
async fn a_token_that_ends_soon_is_fetched_for_each_login() {
    let server = Server::start(|number, _| token(number, 30)).await;
    let connection = client(&server, &[]);
    assert_eq!(good(&connection).await.data["TOKEN"], "token-0");
    assert_eq!(good(&connection).await.data["TOKEN"], "token-1");
}

#[tokio::test]
async fn the_account_has_a_token_server_itself() {
    let server = Server::start(|number, _| token(number, 600)).await;
    let connection = connection(&[
        ("oauth_client_id", text("agent")),
        ("oauth_client_secret", secret("s")),
        ("host", text("127.0.0.1")),
        ("port", Setting::Integer(server.port())),
        ("protocol", text("http")),
    ]);
    good(&connection).await;
    assert_eq!(server.seen()[0].uri, "/oauth/token-request");
    assert_eq!(server.seen()[0].body, "grant_type=client_credentials");
}

#[tokio::test]
async fn a_server_that_is_busy_is_asked_again_and_not_for_ever() {
    let server = Server::start(|number, _| match number {
        0 => (503, "<html>".into()),
        1 => (429, String::new()),
        2 => (408, String::new()),
        number => token(number, 600),
    })
    .await;
    assert_eq!(good(&client(&server, &[])).await.data["TOKEN"], "token-3");

    let server = Server::start(|_, _| (500, String::new())).await;
    let (kind, text) = bad(&client(&server, &[])).await;
    assert_eq!(kind, FaultKind::Transient);
    assert_eq!(text, format!("fetch an OAuth token from {}/token: it answers HTTP 500. ", server.url));
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn a_refusal_is_final_and_quotes_nothing_that_was_sent() {
    let refusal = json!({"error": "invalid_client", "error_description": "agent sent s+e/c=ret"}).to_string();
    let server = Server::start(move |_, _| (401, refusal.clone())).await;
    let (kind, text) = bad(&client(&server, &[])).await;
    assert_eq!(kind, FaultKind::Credentials);
    assert_eq!(
        text,
        format!(
            "fetch an OAuth token from {}/token: it answers HTTP 401 (invalid_client). Check oauth_client_id, \
             oauth_client_secret, oauth_scope and oauth_token_request_url.",
            server.url
        )
    );
    assert_eq!(server.seen().len(), 1);

    for answer in ["", "not json", "{}", "{\"access_token\": \"\"}", "{\"access_token\": 1}"] {
        let server = Server::start(move |_, _| (200, answer.to_owned())).await;
        let (kind, text) = bad(&client(&server, &[])).await;
        assert_eq!(kind, FaultKind::Credentials);
        assert!(text.ends_with("the answer has no token. Check oauth_token_request_url."), "{text}");
    }
}

#[test]
fn the_secret_is_sent_over_tls_or_on_this_machine_only() {
    for (url, is_good) in [
        ("https://login.example.com/token", true),
        ("http://localhost:8080/token", true),
        ("http://[::1]:8080/token", true),
        ("http://login.example.com/token", false),
        ("http://127.0.0.1.example.com/token", false),
        ("https://user:pw@login.example.com/", false),
        ("ftp://login.example.com/", false),
        ("token", false),
    ] {
        let mut settings = Settings::default();
        for (key, value) in [
            ("account", text("a")),
            ("oauth_client_id", text("agent")),
            ("oauth_client_secret", secret("s")),
            ("oauth_token_request_url", text(url)),
        ] {
            settings.set(key, value);
        }
        assert_eq!(proof::prove(&settings, &Environment::default()).is_ok(), is_good, "{url}");
    }
}
