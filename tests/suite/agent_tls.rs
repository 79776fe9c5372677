//! The API over HTTPS: handshakes, renewal, client certificates.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use reqwest::tls::TlsInfo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::agent::{Agent, Place, eventually};
use crate::support::certificates::{Authority, Certificate};
use crate::support::folder::Folder;

/// Copies a pair to the place where the configuration expects it.
fn show(folder: &Path, pair: &Certificate) {
    // The key first: between the two, the pair is a broken one.
    fs::copy(&pair.private_key, folder.join("tls.key")).unwrap();
    fs::copy(&pair.certificate, folder.join("tls.crt")).unwrap();
}

fn section(folder: &Path, more: &str) -> String {
    let file = |name: &str| folder.join(name).display().to_string();
    format!("certificate = {:?}\nprivate_key = {:?}\n{more}", file("tls.crt"), file("tls.key"))
}

/// A client with connections of its own.
fn client(authority: &Authority, identity: Option<&Certificate>) -> reqwest::Client {
    let root = reqwest::Certificate::from_pem(&fs::read(authority.file()).unwrap()).unwrap();
    let builder = reqwest::Client::builder().no_proxy().tls_certs_only([root]).tls_info(true);
    match identity {
        Some(pair) => builder.identity(reqwest::Identity::from_pem(&pair.pem()).unwrap()),
        None => builder,
    }
    .build()
    .unwrap()
}

async fn status(agent: &Agent, client: &reqwest::Client) -> Option<u16> {
    Some(client.get(agent.url("/live")).send().await.ok()?.status().as_u16())
}

/// The certificate that a new connection is shown.
async fn shown(agent: &Agent, authority: &Authority) -> Option<Vec<u8>> {
    let answer = client(authority, None).get(agent.url("/live")).send().await.ok()?;
    Some(answer.extensions().get::<TlsInfo>()?.peer_certificate()?.to_vec())
}

fn address(agent: &Agent) -> SocketAddr {
    agent.url("").strip_prefix("https://").unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart_and_open_connections_stay() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let (first, second) = (authority.server("first"), authority.server("second"));
    show(folder.path(), &first);
    let agent = Place::new()
        .section("server.tls", &section(folder.path(), ""))
        .connection("source.sales", "kind = \"sqlite\"\npath = \"/nowhere/at/all\"\n")
        .trusting(&authority.file())
        .start()
        .await;
    assert_eq!(agent.get("/live").await["live"], true);
    let before = shown(&agent, &authority).await.unwrap();

    // A stream of events that is open all the time.
    agent.post("/stop", None).await;
    let task = json!({
        "id": "waiting",
        "source_config": {"database": "sales", "query": "SELECT 1"},
        "destination_config": {"type": "local", "path": "x"},
    });
    agent.submit(task).await;
    let mut events = agent.http().get(agent.url("/tasks/waiting/events")).send().await.unwrap();
    assert!(events.chunk().await.unwrap().is_some());

    fs::write(folder.path().join("tls.crt"), "no certificate").unwrap();
    eventually("the broken pair to be told", async || {
        agent.log().contains("the earlier one stays in use").then_some(())
    })
    .await;
    assert_eq!(shown(&agent, &authority).await.as_ref(), Some(&before));

    show(folder.path(), &second);
    eventually("the new certificate", async || {
        shown(&agent, &authority).await.filter(|shown| *shown != before)
    })
    .await;
    assert_eq!(agent.delete("/tasks/waiting").await.status, 200);
    let mut rest = String::new();
    while let Some(chunk) = events.chunk().await.expect("the old connection is whole") {
        rest.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(rest.contains("cancelled"), "{rest}");
}

#[tokio::test]
async fn handshakes_that_do_not_end_hold_up_nobody_and_http_is_told_the_way() {
    let (authority, folder) = (Authority::new(), Folder::new());
    show(folder.path(), &authority.server("agent"));
    let mut agent = Place::new()
        .section("server.tls", &section(folder.path(), ""))
        .trusting(&authority.file())
        .start()
        .await;
    let mut silent = Vec::new();
    for number in 0..100 {
        let mut stream = TcpStream::connect(address(&agent)).await.unwrap();
        if number % 2 == 0 {
            // The beginning of a TLS record that never comes.
            stream.write_all(&[22, 3, 1]).await.unwrap();
        }
        silent.push(stream);
    }
    assert_eq!(status(&agent, &client(&authority, None)).await, Some(200));

    let mut plain = TcpStream::connect(address(&agent)).await.unwrap();
    plain.write_all(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // What is left unread of the request resets the connection, after the answer.
    let _ = plain.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{answer}");
    assert_healthy(&agent).await;

    // The silent ones do not hold up the end either.
    agent.signal("TERM");
    assert!(agent.exit().await.success(), "{}", agent.log());
    drop(silent);
}

/// What a container asks says so; it gives a busy agent a few seconds, and asks again later.
async fn assert_healthy(agent: &Agent) {
    let port = address(agent).port().to_string();
    eventually("a healthy agent", async || crate::docker::health_check(&port).then_some(())).await;
}

#[tokio::test]
async fn client_certificates_are_asked_for_as_the_configuration_says() {
    let (authority, stranger, folder) = (Authority::new(), Authority::new(), Folder::new());
    show(folder.path(), &authority.server("agent"));
    let (good, bad) = (authority.client("good"), stranger.client("bad"));
    for (lines, without) in [("", None), ("client_certificates_required = false\n", Some(200))] {
        let clients = format!("client_certificates = {:?}\n{lines}", authority.file().display().to_string());
        let agent = Place::new()
            .section("server.tls", &section(folder.path(), &clients))
            .trusting(&authority.file())
            .start()
            .await;
        assert_eq!(status(&agent, &client(&authority, Some(&good))).await, Some(200), "{lines}");
        assert_eq!(status(&agent, &client(&authority, None)).await, without, "{lines}");
        assert_eq!(status(&agent, &client(&authority, Some(&bad))).await, None, "{lines}");
        // A probe inside the container has no certificate.
        assert_healthy(&agent).await;
    }
}

#[tokio::test]
async fn a_new_authority_of_clients_is_taken_up_without_a_restart_and_the_old_one_is_refused() {
    let (authority, next, folder) = (Authority::new(), Authority::new(), Folder::new());
    show(folder.path(), &authority.server("agent"));
    let clients = folder.path().join("clients.crt");
    fs::copy(authority.file(), &clients).unwrap();
    let lines = format!("client_certificates = {:?}\n", clients.display().to_string());
    let agent = Place::new()
        .section("server.tls", &section(folder.path(), &lines))
        .trusting(&authority.file())
        .start()
        .await;
    let (old, new) = (authority.client("old"), next.client("new"));
    // Each question is a new client, so that it shakes hands anew.
    let ask = async |pair: &Certificate| status(&agent, &client(&authority, Some(pair))).await;
    assert_eq!((ask(&old).await, ask(&new).await), (Some(200), None));

    fs::write(&clients, "no certificate").unwrap();
    eventually("the broken file to be told", async || {
        agent.log().contains("the earlier one stays in use").then_some(())
    })
    .await;
    assert_eq!((ask(&old).await, ask(&new).await), (Some(200), None));

    // Both for a while, as an operator does it who changes the certificates of many callers.
    let both = [fs::read(authority.file()).unwrap(), fs::read(next.file()).unwrap()].concat();
    fs::write(&clients, both).unwrap();
    eventually("the new authority", async || (ask(&new).await == Some(200)).then_some(())).await;
    assert_eq!(ask(&old).await, Some(200));

    fs::copy(next.file(), &clients).unwrap();
    eventually("the end of the old authority", async || ask(&old).await.is_none().then_some(())).await;
    assert_eq!(ask(&new).await, Some(200));
}

#[tokio::test]
async fn a_pair_that_does_not_fit_is_told_before_anything_is_started() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let (one, other) = (authority.server("one"), authority.server("other"));
    fs::copy(&one.certificate, folder.path().join("tls.crt")).unwrap();
    fs::copy(&other.private_key, folder.path().join("tls.key")).unwrap();
    let place = Place::new().section("server.tls", &section(folder.path(), ""));
    let file = place.configuration();
    for command in ["run", "check"] {
        let finished = place.run(&[command, "--config", file.to_str().unwrap()]).await;
        assert!(finished.code.is_some_and(|code| code != 0), "{finished:?}");
        let said = format!("{}{}", finished.stdout, finished.stderr);
        assert!(said.contains("tls.crt") && said.contains("private key"), "{said}");
        assert!(!said.contains("PRIVATE KEY"), "{said}");
    }
    fs::copy(&one.private_key, folder.path().join("tls.key")).unwrap();
    let finished = place.run(&["check", "--config", file.to_str().unwrap()]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout.contains("server.tls"), "{finished:?}");
}
