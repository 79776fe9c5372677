//! PRELOGIN and LOGIN7: the encryption that is agreed on, and who may come in.

use std::io;

use tokio::io::AsyncWriteExt;

use super::packets::{Both, LOGIN, PACKET_BYTES, PRELOGIN, RESULT, packet, receive, send};
use super::wire;
use super::{Encryption, Log, PASSWORD, Script, Seen, USERNAME, Verdict};

/// Answers PRELOGIN; returns the encryption that the client asked for.
pub(super) async fn agree(stream: &mut dyn Both, encryption: Encryption, script: &Script) -> io::Result<u8> {
    let (kind, request) = receive(stream).await?;
    assert_eq!(kind, PRELOGIN, "a client begins with PRELOGIN");
    let wanted = request
        .chunks(5)
        .take_while(|option| option[0] != 0xff)
        .find(|option| option[0] == 1)
        .map_or(2, |option| request[usize::from(u16::from_be_bytes([option[1], option[2]]))]);
    let granted = match (encryption, wanted) {
        (Encryption::NotSupported | Encryption::Strict, _) => 2,
        (Encryption::Off, 1) | (Encryption::On | Encryption::Cut, _) => 1,
        (Encryption::Off, _) => 0,
        (Encryption::Required, _) => 3,
    };
    let federated = u8::from(script.token.is_some());
    // Version, encryption and federated authentication, then their values.
    let options = [0, 0, 16, 0, 6, 1, 0, 22, 0, 1, 6, 0, 23, 0, 1, 0xff];
    let answer = [&options[..], &[16, 0, 0x10, 0, 0, 0], &[granted, federated]].concat();
    send(stream, &answer).await?;
    Ok(wanted)
}

pub(super) async fn log_in(
    stream: &mut dyn Both,
    script: &Script,
    log: &Log,
    encrypted: bool,
) -> io::Result<()> {
    let (kind, message) = receive(stream).await?;
    answer_login(stream, kind, &message, script, log, encrypted).await
}

pub(super) async fn answer_login(
    stream: &mut dyn Both,
    kind: u8,
    message: &[u8],
    script: &Script,
    log: &Log,
    encrypted: bool,
) -> io::Result<()> {
    assert_eq!(kind, LOGIN, "LOGIN7 comes after PRELOGIN");
    let number = |place: usize| usize::from(u16::from_le_bytes([message[place], message[place + 1]]));
    let bytes = |place: usize| {
        let (offset, length) = (number(place), number(place + 2));
        message[offset..offset + length * 2].to_vec()
    };
    let text = |bytes: &[u8]| {
        let units: Vec<u16> = bytes.chunks(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
        String::from_utf16(&units).expect("UTF-16")
    };
    let password: Vec<u8> = bytes(44).iter().map(|byte| (byte ^ 0xa5).rotate_left(4)).collect();
    let (username, password) = (text(&bytes(40)), text(&password));
    let extension = number(number(56));
    let token = (message[extension] == 2).then(|| {
        let length = u32::from_le_bytes(message[extension + 6..extension + 10].try_into().expect("4 bytes"));
        assert_eq!(message[extension + 5], 3, "a security token, with the server's word repeated");
        text(&message[extension + 10..extension + 10 + length as usize])
    });
    log.lock().expect("not poisoned").push(Seen::Login {
        username: username.clone(),
        database: text(&bytes(68)),
        application: text(&bytes(48)),
        read_only: message[26] & 0x20 != 0,
        encrypted,
        packet_bytes: u32::from_le_bytes(message[8..12].try_into().expect("4 bytes")),
    });
    let mut answer = Vec::new();
    let is_right = match (&script.integrated, &script.token) {
        (Some(integrated), _) => match integrated.verify(message) {
            Verdict::Known { principal, proof } => {
                log.lock().expect("not poisoned").push(Seen::Principal(principal));
                answer = integrated.prove(stream, proof).await?;
                true
            }
            Verdict::Refused => false,
        },
        (None, Some(wanted)) => token.as_ref() == Some(wanted),
        (None, None) => (username.as_str(), password.as_str()) == (USERNAME, PASSWORD),
    };
    if !is_right {
        let text = format!("Login failed for user '{username}'.");
        let refusal = [wire::error(18_456, 1, 14, &text, 1), wire::done(wire::FAILED, 0)].concat();
        send(stream, &refusal).await?;
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    if script.floods_login {
        // Features without an end: whoever gathers them gathers for ever.
        let feature = [&[0xae, 1, 0, 0, 0xf0, 0][..], &vec![0; 0xf0_0000]].concat();
        loop {
            let packets: Vec<u8> =
                feature.chunks(PACKET_BYTES - 8).flat_map(|piece| packet(RESULT, 0, piece)).collect();
            stream.write_all(&packets).await?;
        }
    }
    let granted = [
        wire::change(1, "tests", "master"),
        wire::information("Changed database context to 'tests'."),
        wire::change(4, &PACKET_BYTES.to_string(), "4096"),
        wire::login_acknowledged(),
        wire::features_acknowledged(),
    ];
    answer.extend(granted.concat());
    if let Some(address) = script.route {
        answer.extend(wire::route(&address.ip().to_string(), address.port()));
    }
    answer.extend(wire::done(0, 0));
    send(stream, &answer).await
}
