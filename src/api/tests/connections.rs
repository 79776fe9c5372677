//! Limits of connections: slow heads, slow readers, and too many at once.

use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// A server of these limits, with `/small` and an endless `/large`.
async fn start(limits: ConnectionLimits) -> (SocketAddr, CancellationToken, Shutdown) {
    let endless = async || {
        let chunks =
            futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 65536])));
        Body::from_stream(chunks)
    };
    let router = Router::new().route("/small", get(async || "small")).route("/large", get(endless));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, shutdown) = (CancellationToken::new(), Shutdown::new());
    shutdown.spawn(Server::new(listener, limits).serve(router, stop.clone().cancelled_owned()));
    (address, stop, shutdown)
}

fn limits() -> ConnectionLimits {
    ConnectionLimits::new(NonZeroUsize::new(100).unwrap())
}

async fn open(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Reads until the server closes, and returns the beginning.
async fn rest(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    let read = stream.read_to_end(&mut text);
    // A connection that is cut while bytes are on their way is reset.
    drop(tokio::time::timeout(PATIENCE, read).await.expect("the server ends the connection"));
    String::from_utf8_lossy(&text[..text.len().min(200)]).into_owned()
}

#[tokio::test]
async fn a_head_that_does_not_arrive_ends_the_connection() {
    let (address, _stop, _shutdown) =
        start(ConnectionLimits { head: Duration::from_millis(200), ..limits() }).await;
    for beginning in ["", "GET", "GET /small HTTP/1.1\r\nHost: localhost\r\nX-Slow: "] {
        assert_eq!(rest(open(address, beginning).await).await, "", "{beginning}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let (address, _stop, _shutdown) = start(limits()).await;
    let head = format!("GET /small HTTP/1.1\r\nHost: localhost\r\nX-Large: {}\r\n\r\n", "x".repeat(200_000));
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may stop to read before all of it is sent.
    let _ = stream.write_all(head.as_bytes()).await;
    let answer = rest(stream).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    // And others are served.
    let answer =
        rest(open(address, "GET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await).await;
    assert!(answer.ends_with("small"), "{answer}");
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut_off() {
    let one = NonZeroUsize::MIN;
    let limits = ConnectionLimits { write: Duration::from_millis(300), connections: one, ..limits() };
    let (address, _stop, _shutdown) = start(limits).await;
    // It never reads; the buffers between the two take some of it.
    let slow = open(address, "GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    // There is one place, so that this is answered when the slow one has lost it.
    let answer =
        rest(open(address, "GET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await).await;
    assert!(answer.ends_with("small"), "{answer}");
    drop(slow);
}

#[tokio::test]
async fn further_connections_wait_for_a_place() {
    let two = NonZeroUsize::new(2).unwrap();
    let (address, _stop, _shutdown) = start(ConnectionLimits { connections: two, ..limits() }).await;
    let request = "GET /small HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut first = open(address, request).await;
    let mut second = open(address, request).await;
    let mut byte = [0];
    for stream in [&mut first, &mut second] {
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut byte)).await.unwrap().unwrap();
    }
    let mut third = open(address, request).await;
    // Nothing comes while both places are taken. A defect is found in most runs, and no run fails without one.
    let early = tokio::time::timeout(Duration::from_millis(100), third.read(&mut byte)).await;
    assert!(early.is_err(), "{early:?}");
    drop(first);
    tokio::time::timeout(PATIENCE, third.read_exact(&mut byte)).await.unwrap().unwrap();
    drop(second);
}

/// Opens a connection from this address of the machine.
#[cfg(target_os = "linux")]
async fn open_from(own: [u8; 4], address: SocketAddr, request: &str) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((own, 0).into()).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    // Whoever is not wanted may be told so before anything is sent.
    let _ = stream.write_all(request.as_bytes()).await;
    stream
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_idle_connections_of_one_address_leave_room_for_others() {
    const STRANGER: [u8; 4] = [127, 0, 0, 2];
    const REQUEST: &str = "GET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let number = |number| NonZeroUsize::new(number).unwrap();
    // Nothing is closed for being idle: that takes longer than anybody has patience here.
    let limits = ConnectionLimits {
        connections: number(8),
        per_address: Some(number(5)),
        head: 2 * PATIENCE,
        ..limits()
    };
    let (address, _stop, _shutdown) = start(limits).await;
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(open_from(STRANGER, address, "").await);
    }
    for _ in 0..2 {
        let answer = rest(open(address, REQUEST).await).await;
        assert!(answer.ends_with("small"), "{answer}");
    }
    // Connections are accepted in their order, so that the first five are those that it may hold.
    let held: Vec<TcpStream> = idle.drain(..5).collect();
    for stream in idle {
        assert_eq!(rest(stream).await, "");
    }
    assert_eq!(rest(open_from(STRANGER, address, REQUEST).await).await, "");
    for stream in &held {
        let error = stream.try_read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "it is open, and nothing came");
    }
    drop(held);
    // When the server has seen that they are gone, there is room for the same address again.
    let served = async {
        loop {
            let answer = rest(open_from(STRANGER, address, REQUEST).await).await;
            if answer.ends_with("small") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, served).await.expect("there is room again");
}
