//! Packets: messages as they come and go.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub(super) const BATCH: u8 = 1;
/// A remote procedure call: other clients prepare statements.
pub(super) const CALL: u8 = 3;
pub(super) const RESULT: u8 = 4;
pub(super) const ATTENTION: u8 = 6;
pub(super) const LOGIN: u8 = 16;
pub(super) const PRELOGIN: u8 = 18;
/// Packet size that the double grants.
pub(super) const PACKET_BYTES: usize = 8000;

pub(super) trait Both: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Both for T {}

pub(super) async fn receive(stream: &mut (impl AsyncRead + Unpin + ?Sized)) -> io::Result<(u8, Vec<u8>)> {
    let mut message = Vec::new();
    loop {
        let mut header = [0; 8];
        stream.read_exact(&mut header).await?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let start = message.len();
        message.resize(start + length.checked_sub(8).ok_or(io::ErrorKind::InvalidData)?, 0);
        stream.read_exact(&mut message[start..]).await?;
        if header[1] & 1 == 1 {
            return Ok((header[0], message));
        }
    }
}

/// Sends pieces of one message; the last packet goes out with `finish`.
pub(super) struct Sender<'s> {
    pub(super) stream: &'s mut dyn Both,
    pub(super) waiting: Vec<u8>,
}

impl Sender<'_> {
    pub(super) async fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() < 16 * PACKET_BYTES {
            return Ok(());
        }
        let piece = PACKET_BYTES - 8;
        let whole = (self.waiting.len() - 1) / piece * piece;
        let rest = self.waiting.split_off(whole);
        let packets: Vec<u8> =
            self.waiting.chunks(piece).flat_map(|piece| packet(RESULT, 0, piece)).collect();
        self.waiting = rest;
        self.stream.write_all(&packets).await
    }

    /// Sends what waits, as packets that are not the last ones.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        let packets: Vec<u8> =
            self.waiting.chunks(PACKET_BYTES - 8).flat_map(|piece| packet(RESULT, 0, piece)).collect();
        self.waiting.clear();
        self.stream.write_all(&packets).await?;
        self.stream.flush().await
    }

    pub(super) async fn finish(mut self) -> io::Result<()> {
        let last = self.waiting.split_off(self.waiting.len().saturating_sub(PACKET_BYTES - 8));
        self.flush().await?;
        self.stream.write_all(&packet(RESULT, 1, &last)).await?;
        self.stream.flush().await
    }
}

pub(super) fn packet(kind: u8, status: u8, piece: &[u8]) -> Vec<u8> {
    let length = ((piece.len() + 8) as u16).to_be_bytes();
    [&[kind, status, length[0], length[1], 0, 51, 1, 0][..], piece].concat()
}

pub(super) async fn send(stream: &mut dyn Both, message: &[u8]) -> io::Result<()> {
    let mut sender = Sender { stream, waiting: Vec::new() };
    sender.put(message).await?;
    sender.finish().await
}
