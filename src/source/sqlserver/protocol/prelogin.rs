//! PRELOGIN: what the two sides agree on before anybody logs in.

use super::Malformed;

/// Whether TLS is used inside TDS 7.4. In 8.0 TLS comes first, and nobody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source::sqlserver) enum Encryption {
    /// For the login only.
    Off,
    /// For everything.
    On,
    /// Not at all.
    NotSupported,
    /// The server insists.
    Required,
}

impl Encryption {
    fn byte(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::On => 1,
            Self::NotSupported => 2,
            Self::Required => 3,
        }
    }
}

/// The server's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source::sqlserver) struct Answer {
    pub(in crate::source::sqlserver) encryption: Encryption,
    /// The server wants a token of Entra ID and its own word repeated.
    pub(in crate::source::sqlserver) federated: bool,
}

const VERSION: u8 = 0;
const ENCRYPTION: u8 = 1;
const INSTANCE: u8 = 2;
const THREAD: u8 = 3;
const MARS: u8 = 4;
const FEDERATED: u8 = 6;
const TERMINATOR: u8 = 0xff;

/// The client's message. `federated` says that a token will be sent.
pub(in crate::source::sqlserver) fn request(encryption: Encryption, federated: bool) -> Vec<u8> {
    let mut options: Vec<(u8, Vec<u8>)> = vec![
        (VERSION, vec![0, 1, 0, 0, 0, 0]),
        (ENCRYPTION, vec![encryption.byte()]),
        // An empty name is not compared with that of the instance.
        (INSTANCE, vec![0]),
        (THREAD, std::process::id().to_be_bytes().to_vec()),
        (MARS, vec![0]),
    ];
    if federated {
        options.push((FEDERATED, vec![1]));
    }
    let mut offset = options.len() * 5 + 1;
    let mut message = Vec::with_capacity(64);
    for (kind, value) in &options {
        message.push(*kind);
        for number in [offset, value.len()] {
            message.extend_from_slice(&u16::try_from(number).unwrap_or_default().to_be_bytes());
        }
        offset += value.len();
    }
    message.push(TERMINATOR);
    message.extend(options.into_iter().flat_map(|(_, value)| value));
    message
}

/// Reads the server's message.
pub(in crate::source::sqlserver) fn answer(message: &[u8]) -> Result<Answer, Malformed> {
    let mut answer = Answer { encryption: Encryption::NotSupported, federated: false };
    for option in message.chunks(5) {
        let [kind, offset_high, offset_low, length_high, length_low] = option else { break };
        if *kind == TERMINATOR {
            break;
        }
        let offset = usize::from(u16::from_be_bytes([*offset_high, *offset_low]));
        let length = usize::from(u16::from_be_bytes([*length_high, *length_low]));
        let value = message.get(offset..offset + length).ok_or(Malformed("an option outside of PRELOGIN"))?;
        match (*kind, value.first()) {
            (ENCRYPTION, Some(byte)) => {
                answer.encryption = match byte {
                    0 => Encryption::Off,
                    1 => Encryption::On,
                    2 => Encryption::NotSupported,
                    3 => Encryption::Required,
                    _ => return Err(Malformed("an unknown encryption in PRELOGIN")),
                }
            }
            (FEDERATED, Some(byte)) => answer.federated = *byte != 0,
            _ => {}
        }
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_back_as_itself() {
        for encryption in [Encryption::Off, Encryption::On, Encryption::NotSupported, Encryption::Required] {
            for federated in [false, true] {
                let read = answer(&request(encryption, federated));
                assert_eq!(read, Ok(Answer { encryption, federated }));
            }
        }
    }

    #[test]
    fn an_option_outside_of_the_message_is_refused() {
        assert!(answer(&[ENCRYPTION, 0, 200, 0, 1, TERMINATOR]).is_err());
        assert!(answer(&[ENCRYPTION, 0, 6, 0, 1, TERMINATOR, 77]).is_err());
        assert!(answer(&[]).is_ok());
    }
}
