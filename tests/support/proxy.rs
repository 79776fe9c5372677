//! An HTTP proxy in front of a real server that makes faults on request.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What happens to one request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Treatment {
    /// The server answers.
    Forward,
    /// The server never sees it; the client gets this status and S3 error code.
    Refuse(u16, &'static str),
    /// The server never sees it; the client gets no answer for as long as it waits.
    Hang,
    /// The server never sees it; the connection ends.
    Cut,
    /// The server carries it out; the connection ends in place of the answer.
    CutAnswer,
    /// The server carries it out; the client gets a 200 with something else in it.
    GarbleAnswer,
    /// The server carries it out; the client gets no answer for as long as it waits.
    HoldAnswer,
    /// The server answers after this time.
    Delay(Duration),
}

/// The requests of S3, and those of Azure and Google that are their counterparts, that tests tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    UploadPart,
    Complete,
    Abort,
    ListUploads,
    ListObjects,
    Head,
    Delete,
    Other,
}

/// A listening proxy. Ends with the runtime of the test.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Operation>>>,
    access_keys: Arc<Mutex<BTreeSet<String>>>,
}

impl Proxy {
    /// Starts a proxy for `server` that asks `treat` about every request.
    pub(crate) async fn start(
        server: SocketAddr,
        treat: impl Fn(Operation) -> Treatment + Send + Sync + 'static,
    ) -> Self {
        Self::watching(server, move |head| treat(operation(head))).await
    }

    /// Starts a proxy for `server` that shows `treat` the head of every request: its first line and
    /// its headers.
    #[expect(clippy::disallowed_methods, reason = "the proxy is no part of the agent, no stop waits for it")]
    pub(crate) async fn watching(
        server: SocketAddr,
        treat: impl Fn(&str) -> Treatment + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("there is a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let access_keys = Arc::new(Mutex::new(BTreeSet::new()));
        let keys = Arc::clone(&access_keys);
        let treat: Arc<dyn Fn(&str) -> Treatment + Send + Sync> = Arc::new(treat);
        let noted = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (treat, noted, keys) = (Arc::clone(&treat), Arc::clone(&noted), Arc::clone(&keys));
                tokio::spawn(async move {
                    // A connection that the client closes early is what some tests are about.
                    let _ = serve(client, server, |head| {
                        keys.lock().expect("no holder panics").extend(access_key(head));
                        noted.lock().expect("no holder panics").push(operation(head));
                        treat(head)
                    })
                    .await;
                });
            }
        });
        Self { address, seen, access_keys }
    }

    /// The access keys that requests were signed with.
    pub(crate) fn access_keys(&self) -> Vec<String> {
        self.access_keys.lock().expect("no holder panics").iter().cloned().collect()
    }

    /// How many requests of this kind have arrived.
    pub(crate) fn count(&self, operation: Operation) -> usize {
        self.seen.lock().expect("no holder panics").iter().filter(|seen| **seen == operation).count()
    }
}

/// Treats the first `count` requests of `operation` specially, and forwards all others.
pub(crate) fn first(
    count: usize,
    operation: Operation,
    treatment: Treatment,
) -> impl Fn(Operation) -> Treatment + Send + Sync + 'static {
    let left = AtomicUsize::new(count);
    let take =
        move || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
    move |seen| if seen == operation && take() { treatment } else { Treatment::Forward }
}

/// Treats the requests of `operation` one after the other as listed, and all later ones as the last.
pub(crate) fn in_turn(
    operation: Operation,
    treatments: &[Treatment],
) -> impl Fn(Operation) -> Treatment + Send + Sync + use<> {
    let treatments = treatments.to_vec();
    let seen_before = AtomicUsize::new(0);
    move |seen| {
        if seen != operation {
            return Treatment::Forward;
        }
        let turn = seen_before.fetch_add(1, Ordering::SeqCst);
        treatments[turn.min(treatments.len() - 1)]
    }
}

/// Treats every request of `operation` specially.
pub(crate) fn always(
    operation: Operation,
    treatment: Treatment,
) -> impl Fn(Operation) -> Treatment + Send + Sync + 'static {
    first(usize::MAX, operation, treatment)
}

/// The access key of a signature of version 4, from the head of a request.
fn access_key(head: &str) -> Option<String> {
    let (_, credential) = head.split_once("Credential=")?;
    Some(credential.split_once('/')?.0.to_owned())
}

/// One request; the connection ends after it.
async fn serve(
    mut client: TcpStream,
    server: SocketAddr,
    treat: impl FnOnce(&str) -> Treatment,
) -> io::Result<()> {
    let (reading, mut answering) = client.split();
    let mut reading = BufReader::new(reading);
    let mut first_line = String::new();
    reading.read_line(&mut first_line).await?;
    let mut head = first_line;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reading.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let (name, value) = line.split_once(':').unwrap_or((line.trim_end(), ""));
        match name.to_ascii_lowercase().as_str() {
            "" => break,
            "content-length" => length = value.trim().parse().expect("a length is a number"),
            "transfer-encoding" => panic!("the agent knows the length of everything that it sends"),
            "expect" => {
                answering.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
                continue;
            }
            "connection" => continue,
            _ => {}
        }
        head.push_str(&line);
    }
    head.push_str("connection: close\r\n\r\n");
    let mut body = vec![0; length];
    reading.read_exact(&mut body).await?;

    let treatment = treat(&head);
    match treatment {
        Treatment::Cut => {}
        Treatment::Hang => {
            // Resolves when the client gives up.
            reading.read_to_end(&mut Vec::new()).await?;
        }
        Treatment::Refuse(status, code) => {
            let body = format!(
                "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>made by a test</Message></Error>"
            );
            let answer = format!(
                "HTTP/1.1 {status} Refused\r\ncontent-type: application/xml\r\nx-ms-error-code: {code}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            answering.write_all(answer.as_bytes()).await?;
        }
        Treatment::Forward
        | Treatment::CutAnswer
        | Treatment::GarbleAnswer
        | Treatment::HoldAnswer
        | Treatment::Delay(_) => {
            if let Treatment::Delay(time) = treatment {
                tokio::time::sleep(time).await;
            }
            let mut upstream = TcpStream::connect(server).await?;
            upstream.write_all(head.as_bytes()).await?;
            upstream.write_all(&body).await?;
            let mut answer = Vec::new();
            upstream.read_to_end(&mut answer).await?;
            match treatment {
                Treatment::Forward | Treatment::Delay(_) => answering.write_all(&answer).await?,
                Treatment::HoldAnswer => {
                    reading.read_to_end(&mut Vec::new()).await?;
                }
                Treatment::GarbleAnswer => {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\nconnection: close\r\n\r\n<Other/>";
                    answering.write_all(answer).await?;
                }
                _ => {}
            }
        }
    }
    answering.shutdown().await
}

fn operation(head: &str) -> Operation {
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    let is = |pair: &str| query.split('&').any(|other| other == pair);
    match method {
        "PUT" if is("comp=block") => Operation::UploadPart,
        "PUT" if is("comp=blocklist") => Operation::Complete,
        "GET" if is("comp=list") => Operation::ListObjects,
        "HEAD" => Operation::Head,
        "POST" if has("uploads") => Operation::Create,
        "POST" if has("uploadId") => Operation::Complete,
        "PUT" if has("partNumber") => Operation::UploadPart,
        "DELETE" if has("uploadId") => Operation::Abort,
        "DELETE" => Operation::Delete,
        "GET" if has("uploads") => Operation::ListUploads,
        "GET" if has("list-type") => Operation::ListObjects,
        _ => Operation::Other,
    }
}
