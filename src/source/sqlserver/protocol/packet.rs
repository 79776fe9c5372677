//! Packets: a header of eight bytes and a piece of a message.

use bytes::BytesMut;

use super::Malformed;

/// Bytes of a packet's header: type, status, length (big endian, with the header), process id,
/// number, window.
pub(in crate::source::sqlserver) const HEADER_BYTES: usize = 8;
/// Packet size until the server has granted another one.
pub(in crate::source::sqlserver) const DEFAULT_PACKET_BYTES: usize = 4096;
/// Status: this packet is the last one of its message.
const END_OF_MESSAGE: u8 = 0x01;
/// Type of every packet that a server sends.
const TABULAR_RESULT: u8 = 0x04;

/// What a message of the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::source::sqlserver) enum MessageKind {
    Batch = 0x01,
    Attention = 0x06,
    Login = 0x10,
    /// A further token of a security package, after the one in LOGIN7.
    SecurityPackage = 0x11,
    Prelogin = 0x12,
}

/// `message` in packets of at most `packet_bytes`.
pub(in crate::source::sqlserver) fn packets(
    kind: MessageKind,
    message: &[u8],
    packet_bytes: usize,
) -> Vec<u8> {
    let piece_bytes = packet_bytes.saturating_sub(HEADER_BYTES).max(1);
    let count = message.len().div_ceil(piece_bytes).max(1);
    let mut packets = Vec::with_capacity(message.len() + count * HEADER_BYTES);
    for number in 0..count {
        let piece = &message[number * piece_bytes..message.len().min((number + 1) * piece_bytes)];
        let status = if number + 1 == count { END_OF_MESSAGE } else { 0 };
        let length = u16::try_from(piece.len() + HEADER_BYTES).unwrap_or(u16::MAX).to_be_bytes();
        // The number of a packet counts from 1, modulo 256; servers do not look at it.
        let order = ((number + 1) & 0xff) as u8;
        packets.extend_from_slice(&[kind as u8, status, length[0], length[1], 0, 0, order, 0]);
        packets.extend_from_slice(piece);
    }
    packets
}

/// Takes packets apart, however their bytes arrive.
#[derive(Debug, Default)]
pub(in crate::source::sqlserver) struct Unpacker {
    header: [u8; HEADER_BYTES],
    /// Bytes of the header that have arrived.
    header_bytes: usize,
    /// Bytes of the current packet's piece that have not.
    left: usize,
    message_ended: bool,
}

impl Unpacker {
    /// True when the last packet of a message was taken apart, and nothing after it.
    pub(in crate::source::sqlserver) fn message_ended(&self) -> bool {
        self.message_ended
    }

    /// Another message is expected.
    pub(in crate::source::sqlserver) fn begin_message(&mut self) {
        self.message_ended = false;
    }

    /// Appends the pieces of the packets in `bytes` to `payload`.
    pub(in crate::source::sqlserver) fn take(
        &mut self,
        mut bytes: &[u8],
        payload: &mut BytesMut,
    ) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            if self.left == 0 {
                let missing = HEADER_BYTES - self.header_bytes;
                let (head, rest) = bytes.split_at(missing.min(bytes.len()));
                self.header[self.header_bytes..self.header_bytes + head.len()].copy_from_slice(head);
                self.header_bytes += head.len();
                bytes = rest;
                if self.header_bytes < HEADER_BYTES {
                    return Ok(());
                }
                self.open_packet()?;
            }
            let (piece, rest) = bytes.split_at(self.left.min(bytes.len()));
            payload.extend_from_slice(piece);
            self.left -= piece.len();
            bytes = rest;
            if self.left == 0 {
                self.header_bytes = 0;
                self.message_ended = self.header[1] & END_OF_MESSAGE != 0;
            }
        }
        Ok(())
    }

    fn open_packet(&mut self) -> Result<(), Malformed> {
        // The answer to PRELOGIN has this type too.
        if self.header[0] != TABULAR_RESULT {
            return Err(Malformed("a packet of an unknown type"));
        }
        let length = usize::from(u16::from_be_bytes([self.header[2], self.header[3]]));
        self.left = length.checked_sub(HEADER_BYTES).ok_or(Malformed("a packet shorter than its header"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_message_comes_back_however_it_was_cut(
            message in prop::collection::vec(any::<u8>(), 0..300),
            packet_bytes in 9_usize..64,
            cut in 1_usize..40,
        ) {
            let mut bytes = packets(MessageKind::Batch, &message, packet_bytes);
            // A server's packets have a type of their own.
            let mut position = 0;
            while position < bytes.len() {
                bytes[position] = TABULAR_RESULT;
                position += usize::from(u16::from_be_bytes([bytes[position + 2], bytes[position + 3]]));
            }
            let (mut unpacker, mut payload) = (Unpacker::default(), BytesMut::new());
            let last = bytes.len() - 1;
            unpacker.take(&bytes[..last], &mut payload)?;
            let ended_early = message.is_empty() && unpacker.message_ended();
            prop_assert!(!ended_early || last == HEADER_BYTES);
            let (mut unpacker, mut payload) = (Unpacker::default(), BytesMut::new());
            for piece in bytes.chunks(cut) {
                unpacker.take(piece, &mut payload)?;
            }
            prop_assert!(unpacker.message_ended());
            prop_assert_eq!(&payload[..], &message[..]);
        }
    }

    #[test]
    fn what_is_no_packet_of_a_server_is_refused() {
        let mut payload = BytesMut::new();
        let refused = Unpacker::default().take(b"HTTP/1.1 400 Bad Request", &mut payload);
        assert!(refused.is_err());
        let refused = Unpacker::default().take(&[4, 1, 0, 7, 0, 0, 1, 0], &mut payload);
        assert!(refused.is_err());
    }
}
