//! Proofs of a password, as the server's authentication plugins want them.

use aws_lc_rs::digest;
use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey};
use tokio_rustls::rustls::pki_types::SubjectPublicKeyInfoDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

/// Plugins that this client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plugin {
    /// SHA-1 of the password, twice. The default of MySQL 5.7 and of MariaDB.
    Native,
    /// SHA-256, with the password itself at times. The default of MySQL 8 and later.
    CachingSha2,
    /// The password itself, over a protected connection: LDAP and PAM.
    ClearText,
}

impl Plugin {
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "mysql_native_password" => Self::Native,
            "caching_sha2_password" => Self::CachingSha2,
            "mysql_clear_password" | "dialog" => Self::ClearText,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Native => "mysql_native_password",
            Self::CachingSha2 => "caching_sha2_password",
            Self::ClearText => "mysql_clear_password",
        }
    }
}

/// `sha1(password) xor sha1(challenge + sha1(sha1(password)))`; empty without a password.
pub(super) fn native(password: &[u8], challenge: &[u8]) -> Vec<u8> {
    let sha1 = |parts: &[&[u8]]| hash(&digest::SHA1_FOR_LEGACY_USE_ONLY, parts);
    if password.is_empty() {
        return Vec::new();
    }
    let once = sha1(&[password]);
    let twice = sha1(&[&once]);
    xor(once, &sha1(&[challenge, &twice]))
}

/// `sha256(password) xor sha256(sha256(sha256(password)) + challenge)`; empty without a password.
pub(super) fn caching_sha2(password: &[u8], challenge: &[u8]) -> Vec<u8> {
    let sha256 = |parts: &[&[u8]]| hash(&digest::SHA256, parts);
    if password.is_empty() {
        return Vec::new();
    }
    let once = sha256(&[password]);
    let twice = sha256(&[&once]);
    xor(once, &sha256(&[&twice, challenge]))
}

/// The password with its closing zero, mixed with the challenge and encrypted for the server's RSA
/// key. `None` when the key is not one, or too short.
pub(super) fn encrypted(password: &[u8], challenge: &[u8], key: &[u8]) -> Option<Vec<u8>> {
    let mut mixed = with_zero(password);
    for (byte, mask) in mixed.iter_mut().zip(challenge.iter().cycle()) {
        *byte ^= mask;
    }
    let key = SubjectPublicKeyInfoDer::from_pem_slice(key).ok()?;
    let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(key.as_ref()).ok()?).ok()?;
    let mut room = vec![0; key.ciphertext_size()];
    key.encrypt(&OAEP_SHA1_MGF1SHA1, &mixed, &mut room, None).ok().map(|text| text.to_vec())
}

/// A password as it is sent where it is sent itself.
pub(super) fn with_zero(password: &[u8]) -> Vec<u8> {
    let mut bytes = password.to_vec();
    bytes.push(0);
    bytes
}

fn hash(algorithm: &'static digest::Algorithm, parts: &[&[u8]]) -> Vec<u8> {
    let mut context = digest::Context::new(algorithm);
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref().to_vec()
}

fn xor(mut left: Vec<u8>, right: &[u8]) -> Vec<u8> {
    for (left, right) in left.iter_mut().zip(right) {
        *left ^= right;
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_shows_the_password_to_a_server_that_has_its_hash_only() {
        let challenge = b"01234567890123456789";
        // What a server does with the proof: it mixes its own hash out of it, and what is left
        // must hash to what it has stored.
        let sha1 = |parts: &[&[u8]]| hash(&digest::SHA1_FOR_LEGACY_USE_ONLY, parts);
        let stored = sha1(&[&sha1(&[b"secret"])]);
        let proof = native(b"secret", challenge);
        assert_eq!(sha1(&[&xor(proof, &sha1(&[challenge, &stored]))]), stored);

        let sha256 = |parts: &[&[u8]]| hash(&digest::SHA256, parts);
        let stored = sha256(&[&sha256(&[b"secret"])]);
        let proof = caching_sha2(b"secret", challenge);
        assert_eq!(sha256(&[&xor(proof, &sha256(&[&stored, challenge]))]), stored);

        assert!(native(b"", challenge).is_empty() && caching_sha2(b"", challenge).is_empty());
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        assert_eq!(encrypted(b"secret", b"0123", b"-----BEGIN PUBLIC KEY-----\nAAAA\n"), None);
        assert_eq!(encrypted(b"secret", b"0123", b""), None);
    }
}
