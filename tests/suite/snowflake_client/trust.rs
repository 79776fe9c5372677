//! Whom the client trusts, and what it tells to nobody.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use data_exchange_agent::fault::{Fault as AgentFault, FaultKind};
use data_exchange_agent::snowflake::connection::Protocol;
use data_exchange_agent::snowflake::{Connection, Statement};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{QUERY, chunked, client_of, double, select};
use crate::support::folder::Folder;
use crate::support::snowflake::query::Answer;
use crate::support::snowflake::{Fault, SnowflakeDouble, connection_to};

/// A server with a certificate that nobody has signed but itself, and how often it was connected to.
#[expect(clippy::disallowed_methods, reason = "the server is no part of the agent, no stop waits for it")]
async fn untrusted_server() -> (SocketAddr, Arc<AtomicUsize>) {
    let folder = Folder::new();
    let file = |name: &str| folder.path().join(name);
    let made = std::process::Command::new("openssl")
        .args("req -x509 -days 2 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes".split(' '))
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
        .arg(file("key.pem"))
        .arg("-out")
        .arg(file("certificate.pem"))
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let certificate = CertificateDer::from_pem_file(file("certificate.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            // The client ends the handshake.
            let _ = acceptor.accept(stream).await;
        }
    });
    (address, connections)
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_not_tried_again() {
    let (address, connections) = untrusted_server().await;
    let client = client_of(Connection { protocol: Protocol::Https, ..connection_to(address) });
    let fault = AgentFault::from(client.run(&select()).await.unwrap_err());
    assert_eq!(fault.kind(), FaultKind::Request, "{}", fault.chain());
    assert!(fault.hint().unwrap().contains("certificate"), "{}", fault.chain());
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_token_goes_to_no_other_server_for_a_result() {
    let (double, client) = double().await;
    let elsewhere = SnowflakeDouble::start().await;
    let url = format!("http://{}/queries/1/result", elsewhere.address());
    let answer = json!({"success": true, "code": "333333", "data": {"queryId": "1", "getResultUrl": url}});
    double.fail_next(QUERY, Fault::Answer(answer));
    let error = client.run(&select()).await.unwrap_err();
    assert!(error.to_string().contains("another server"), "{error}");
    assert!(elsewhere.seen("/").is_empty());
}

#[tokio::test]
async fn nothing_secret_is_in_what_can_be_printed() {
    let (double, client) = double().await;
    let gone = "http://127.0.0.1:1/chunk?X-Amz-Signature=5ec2e7".to_owned();
    double.answer("GONE", Answer::data(chunked(&[(gone, 1)], json!({"qrmk": "5ec2e7"}))));
    let statement = Statement::new("GONE").timeout(Duration::from_millis(500)).bind("hunter2");
    let error = client.run(&statement).await.unwrap_err();
    let session = client.session().await.unwrap();
    let printed = format!("{error:?} {error} {client:?} {session:?} {statement:?} {:?}", client.connection());
    for secret in ["5ec2e7", "hunter2", "session-1", "master-1"] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}
