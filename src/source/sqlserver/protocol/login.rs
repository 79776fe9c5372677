//! LOGIN7: who the client is and what it wants.

use std::fmt;

use super::cursor::utf16_bytes;

/// TDS 7.4 and 8.0, as LOGIN7 has them.
pub(in crate::source::sqlserver) const VERSION_7_4: u32 = 0x7400_0004;
pub(in crate::source::sqlserver) const VERSION_8_0: u32 = 0x0800_0000;

/// Bytes before the variable part.
const FIXED_BYTES: usize = 94;
/// Longest text of a field in UTF-16 units, except the password and token.
const LONGEST_TEXT: usize = 128;

/// Database first or fail, warn about the language: fUseDB, fDatabase, fSetLang.
const FLAGS_1: u8 = 0xe0;
/// The session's settings are those of ODBC, ANSI ones: fLanguage, fODBC.
const FLAGS_2: u8 = 0x03;
/// Who logs in is proven by a security package, not by a password: fIntSecurity.
const INTEGRATED: u8 = 0x80;
/// The session only reads: a listener may pick a readable secondary.
const READ_ONLY_INTENT: u8 = 0x20;
/// A feature extension follows; unknown collations are not refused.
const FLAGS_3: u8 = 0x18;

const FEATURE_FEDERATED: u8 = 0x02;
const FEATURE_UTF8: u8 = 0x0a;
const FEATURE_END: u8 = 0xff;
/// The token is part of LOGIN7 (the library "Security Token").
const LIBRARY_SECURITY_TOKEN: u8 = 0x01;

/// How the client proves who it is.
pub(in crate::source::sqlserver) enum Proof<'a> {
    Password {
        username: &'a str,
        password: &'a str,
    },
    /// A token of Entra ID; `echo` repeats the word of the server's PRELOGIN.
    Token {
        token: &'a str,
        echo: bool,
    },
    /// The first token of a security package (SSPI to the specification); others can follow.
    Integrated {
        token: &'a [u8],
    },
}

impl fmt::Debug for Proof<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Password { .. } => "Password",
            Self::Token { .. } => "Token",
            Self::Integrated { .. } => "Integrated",
        })
    }
}

/// Everything in a LOGIN7 message.
#[derive(Debug)]
pub(in crate::source::sqlserver) struct Login<'a> {
    pub(in crate::source::sqlserver) version: u32,
    pub(in crate::source::sqlserver) packet_bytes: u32,
    pub(in crate::source::sqlserver) proof: Proof<'a>,
    pub(in crate::source::sqlserver) application_name: &'a str,
    pub(in crate::source::sqlserver) server_name: &'a str,
    pub(in crate::source::sqlserver) database: &'a str,
    pub(in crate::source::sqlserver) read_only: bool,
}

impl Login<'_> {
    /// The message.
    pub(in crate::source::sqlserver) fn message(&self) -> Vec<u8> {
        let (username, password) = match self.proof {
            Proof::Password { username, password } => (short(username), scrambled(password)),
            Proof::Token { .. } | Proof::Integrated { .. } => (Vec::new(), Vec::new()),
        };
        let (package, flags_2) = match self.proof {
            Proof::Integrated { token } => (token, FLAGS_2 | INTEGRATED),
            Proof::Password { .. } | Proof::Token { .. } => (&[][..], FLAGS_2),
        };
        // In the order of the specification. The host's name is nobody's business.
        let texts: [Vec<u8>; 9] = [
            Vec::new(),
            username,
            password,
            short(self.application_name),
            short(self.server_name),
            // Where the offset of the extension goes.
            vec![0; 4],
            short("data-exchange-agent"),
            Vec::new(),
            short(self.database),
        ];
        let mut fixed = Vec::with_capacity(FIXED_BYTES);
        fixed.extend_from_slice(&[0; 4]);
        for number in [self.version, self.packet_bytes, 0x0100_0000, std::process::id(), 0] {
            fixed.extend_from_slice(&number.to_le_bytes());
        }
        let intent = if self.read_only { READ_ONLY_INTENT } else { 0 };
        fixed.extend_from_slice(&[FLAGS_1, flags_2, intent, FLAGS_3]);
        // Time zone and locale of the client; servers ignore both.
        fixed.extend_from_slice(&[0; 8]);
        let mut rest: Vec<u8> = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let offset = FIXED_BYTES + rest.len();
            // The extension counts bytes, the texts count units.
            let length = if index == 5 { text.len() } else { text.len() / 2 };
            for number in [offset, length] {
                fixed.extend_from_slice(&u16::try_from(number).unwrap_or_default().to_le_bytes());
            }
            rest.extend_from_slice(text);
        }
        // The client's address, which nobody asks for.
        fixed.extend_from_slice(&[0; 6]);
        let end = u16::try_from(FIXED_BYTES + rest.len()).unwrap_or_default().to_le_bytes();
        // The token's length in two bytes; one that is longer has it in the four at the end.
        let long = u32::try_from(package.len()).unwrap_or_default();
        let (short, long) = match u16::try_from(package.len()) {
            Ok(short) if short < u16::MAX => (short, 0),
            Ok(_) | Err(_) => (u16::MAX, long),
        };
        fixed.extend_from_slice(&end);
        fixed.extend_from_slice(&short.to_le_bytes());
        // A file to attach and a new password: empty texts.
        for _empty in 0..2 {
            fixed.extend_from_slice(&[end[0], end[1], 0, 0]);
        }
        fixed.extend_from_slice(&long.to_le_bytes());
        rest.extend_from_slice(package);
        let extension = u32::try_from(FIXED_BYTES + rest.len()).unwrap_or_default().to_le_bytes();
        let place: usize = texts[..5].iter().map(Vec::len).sum();
        rest[place..place + 4].copy_from_slice(&extension);
        rest.extend_from_slice(&self.features());
        let mut message = fixed;
        message.append(&mut rest);
        let length = u32::try_from(message.len()).unwrap_or_default().to_le_bytes();
        message[..4].copy_from_slice(&length);
        message
    }

    fn features(&self) -> Vec<u8> {
        let mut features = Vec::new();
        if let Proof::Token { token, echo } = self.proof {
            let token = utf16_bytes(token);
            let length = u32::try_from(token.len()).unwrap_or_default();
            features.push(FEATURE_FEDERATED);
            features.extend_from_slice(&(length + 5).to_le_bytes());
            features.push(LIBRARY_SECURITY_TOKEN << 1 | u8::from(echo));
            features.extend_from_slice(&length.to_le_bytes());
            features.extend_from_slice(&token);
        }
        // Without it a server translates texts of UTF-8 collations.
        features.extend_from_slice(&[FEATURE_UTF8, 1, 0, 0, 0, 1]);
        features.push(FEATURE_END);
        features
    }
}

/// A text of at most the length that the server reads.
fn short(text: &str) -> Vec<u8> {
    text.encode_utf16().take(LONGEST_TEXT).flat_map(u16::to_le_bytes).collect()
}

/// How LOGIN7 hides a password from a glance: halves swapped, then XOR 0xA5. It is no protection;
/// TLS is.
fn scrambled(password: &str) -> Vec<u8> {
    utf16_bytes(password).into_iter().map(|byte| byte.rotate_left(4) ^ 0xa5).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(message: &[u8], place: usize) -> usize {
        usize::from(u16::from_le_bytes([message[place], message[place + 1]]))
    }

    fn text(message: &[u8], place: usize) -> String {
        let (offset, length) = (number(message, place), number(message, place + 2));
        super::super::cursor::utf16_lossy(&message[offset..offset + length * 2])
    }

    fn login(proof: Proof<'_>) -> Vec<u8> {
        let login = Login {
            version: VERSION_7_4,
            packet_bytes: 16_000,
            proof,
            application_name: "agent",
            server_name: "server",
            database: "sales",
            read_only: true,
        };
        login.message()
    }

    #[test]
    fn every_text_lies_where_its_offset_says() {
        let message = login(Proof::Password { username: "sa", password: "p" });
        assert_eq!(message.len(), number(&message, 0));
        assert_eq!(text(&message, 40), "sa");
        assert_eq!(text(&message, 48), "agent");
        assert_eq!(text(&message, 52), "server");
        assert_eq!(text(&message, 68), "sales");
        assert_eq!(message[26] & READ_ONLY_INTENT, READ_ONLY_INTENT);
        let (offset, length) = (number(&message, 44), number(&message, 46));
        assert_eq!((&message[offset..offset + 2], length), (&[0xa2, 0xa5][..], 1));
        let extension = number(&message, number(&message, 56));
        assert_eq!(message[extension..], [FEATURE_UTF8, 1, 0, 0, 0, 1, FEATURE_END]);
    }

    #[test]
    fn a_security_package_takes_the_place_of_name_and_password() {
        for (length, short, long) in
            [(3, 3, 0), (65_534, 65_534, 0), (65_535, 65_535, 65_535), (70_000, 65_535, 70_000)]
        {
            let token: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            let message = login(Proof::Integrated { token: &token });
            let whole =
                |place: usize| u32::from_le_bytes([0, 1, 2, 3].map(|index| message[place + index])) as usize;
            assert_eq!(message.len(), whole(0), "{length}");
            assert_eq!(message[25] & INTEGRATED, INTEGRATED);
            assert_eq!((number(&message, 42), number(&message, 46)), (0, 0));
            let offset = number(&message, 78);
            assert_eq!((number(&message, 80), whole(90)), (short, long), "{length}");
            assert_eq!(message[offset..offset + length], token, "{length}");
            let extension = whole(number(&message, 56));
            assert_eq!(extension, offset + length, "it comes after the token");
            assert_eq!(message[extension..], [FEATURE_UTF8, 1, 0, 0, 0, 1, FEATURE_END]);
        }
        let password = login(Proof::Password { username: "sa", password: "p" });
        assert_eq!((password[25] & INTEGRATED, number(&password, 80)), (0, 0));
        assert_eq!(format!("{:?}", Proof::Integrated { token: b"abc" }), "Integrated");
    }

    #[test]
    fn a_token_takes_the_place_of_name_and_password() {
        let message = login(Proof::Token { token: "abc", echo: true });
        assert_eq!((number(&message, 42), number(&message, 46)), (0, 0));
        let extension = number(&message, number(&message, 56));
        assert_eq!(message[extension..extension + 10], [FEATURE_FEDERATED, 11, 0, 0, 0, 3, 6, 0, 0, 0]);
        assert!(!format!("{:?}", Proof::Token { token: "abc", echo: true }).contains("abc"));
    }
}
