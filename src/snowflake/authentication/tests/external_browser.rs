//! A browser played by a client on this machine.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::external_browser::ExternalBrowser as Browser;
use super::*;

#[tokio::test]
async fn without_a_terminal_nobody_is_waited_for() {
    let server = Server::start(|_, _| (200, String::new())).await;
    let mut connection = of(&server);
    connection.authentication = Authentication::ExternalBrowser(Browser::attended("ada", false));
    let (kind, text) = bad(&connection).await;
    assert_eq!(kind, FaultKind::Credentials);
    assert_eq!(
        text,
        "log in to Snowflake with a browser: the agent has no terminal, so nobody can answer. Use a key pair, \
         a programmatic access token or another way to log in for a service."
    );
    assert!(server.seen().is_empty());
}

fn of(server: &Server) -> Connection {
    connection(&[
        ("authenticator", text("externalbrowser")),
        ("user", text("ada")),
        ("host", text("127.0.0.1")),
        ("port", Setting::Integer(server.port())),
        ("protocol", text("http")),
    ])
}

async fn visit(port: &str, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_browser_brings_the_token_in_either_form() {
    let body = r#"{"token": "tok/en=", "consent": true}"#;
    let posted = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nOrigin: https://app.example.com\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let asked = "GET /?token=tok%2Fen%3D HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned();
    for request in [asked, posted] {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let server = Server::start(move |_, seen| {
            let body: Value = serde_json::from_str(&seen.body).unwrap();
            sender.send(body["data"].clone()).unwrap();
            let started = json!({"ssoUrl": "https://idp.example.com/x\u{1b}[31m", "proofKey": "proof"});
            (200, json!({"success": true, "data": started}).to_string())
        })
        .await;
        let mut connection = of(&server);
        connection.authentication = Authentication::ExternalBrowser(Browser::attended("ada", true));
        let browser = async {
            let data = receiver.recv().await.unwrap();
            assert_eq!(data["AUTHENTICATOR"], "EXTERNALBROWSER");
            assert_eq!(
                (&data["ACCOUNT_NAME"], &data["LOGIN_NAME"]),
                (&json!("myorg-account1"), &json!("ada"))
            );
            let port = data["BROWSER_MODE_REDIRECT_PORT"].as_str().unwrap();
            let icon = visit(port, "GET /favicon.ico HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
            assert!(icon.starts_with("HTTP/1.1 404"), "{icon}");
            let asked = "OPTIONS / HTTP/1.1\r\nOrigin: https://app.example.com\r\n\r\n";
            let allowed = visit(port, asked).await;
            assert!(
                allowed.contains("Access-Control-Allow-Origin: https://app.example.com\r\n"),
                "{allowed}"
            );
            let done = visit(port, &request).await;
            assert!(done.starts_with("HTTP/1.1 200") && done.ends_with("can be closed."), "{done}");
        };
        let (parts, ()) = tokio::join!(good(&connection), browser);
        assert_eq!(
            Value::from(parts.data),
            json!({"AUTHENTICATOR": "EXTERNALBROWSER", "LOGIN_NAME": "ada", "TOKEN": "tok/en=", "PROOF_KEY": "proof"})
        );
        assert_eq!(server.seen()[0].uri, "/session/authenticator-request");
    }
}

#[tokio::test]
async fn a_refusal_of_the_server_is_shown() {
    let server = Server::start(|_, _| {
        (
            200,
            json!({"success": false, "code": "390190", "message": "no SAML here", "data": null}).to_string(),
        )
    })
    .await;
    let mut connection = of(&server);
    connection.authentication = Authentication::ExternalBrowser(Browser::attended("ada", true));
    let (kind, text) = bad(&connection).await;
    assert_eq!(kind, FaultKind::Credentials);
    assert!(text.starts_with("log in to Snowflake with a browser: no SAML here"), "{text}");
}
