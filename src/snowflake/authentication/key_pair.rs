//! Key pairs: a signed claim about who logs in, fresh for each attempt.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, RSA_PKCS1_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use pkcs8::EncryptedPrivateKeyInfoRef;
use serde_json::json;
use thiserror::Error;

use super::super::account::AccountName;
use super::super::connection::LoginParts;
use super::super::private_file;
use super::token::token_parts;
use crate::config::Secret;
use crate::fault::{Fault, FaultKind};
use crate::shutdown::run_blocking;

/// How long a claim is good for. The server takes up to an hour; a stolen claim should be stale soon,
/// and one that travels through a slow proxy should not.
const LIFETIME: Duration = Duration::from_secs(120);

/// A private key whose public half Snowflake knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// The user.
    pub user: String,
    /// The private key.
    pub key: KeySource,
    /// What the key is encrypted with.
    pub passphrase: Option<Secret>,
}

/// Where a private key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The configuration: PEM, or PKCS#8 DER in base64.
    Text(Secret),
    /// A file of the same; it is read at every login, so that a key can be exchanged.
    File(PathBuf),
}

/// Why a text is no private key that can sign. Nothing of the text is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum KeyError {
    /// The passphrase does not decrypt it.
    #[error("the passphrase does not decrypt the key")]
    WrongPassphrase,
    /// It is encrypted and there is no passphrase.
    #[error("the key is encrypted, and there is no passphrase")]
    NoPassphrase,
    /// It is encrypted in a way that this program cannot undo.
    #[error("the key is encrypted in a way that this program does not know")]
    UnknownEncryption,
    /// It is the public half.
    #[error("this is a public key")]
    Public,
    /// A format that came before PKCS#8.
    #[error("the key is not in the format PKCS#8")]
    NotPkcs8,
    /// Neither PEM nor base64.
    #[error("this is neither PEM nor base64")]
    NotText,
    /// Not RSA of at least 2048 bits and not one of the curves.
    #[error("this is neither an RSA key of 2048 bits or more nor a key of the curves P-256, P-384 or P-521")]
    UnknownKind,
    /// The library refused to sign.
    #[error("the key cannot sign")]
    Unusable,
}

impl KeyError {
    fn remedy(self) -> &'static str {
        match self {
            Self::WrongPassphrase => "Correct private_key_file_pwd.",
            Self::NoPassphrase => "Set private_key_file_pwd.",
            Self::UnknownEncryption => {
                "Encrypt it anew: openssl pkcs8 -topk8 -v2 aes256 -in old.pem -out new.p8."
            }
            Self::Public => "Give the private key; the public one belongs to the user in Snowflake.",
            Self::NotPkcs8 => "Convert it: openssl pkcs8 -topk8 -in old.pem -out new.p8.",
            Self::NotText => "Give PEM text, or the base64 of a PKCS#8 key.",
            Self::UnknownKind | Self::Unusable => {
                "Make a new one: openssl genrsa 2048 | openssl pkcs8 -topk8 -v2 aes256 -out key.p8."
            }
        }
    }
}

impl KeyPair {
    pub(super) async fn login_parts(&self, account: &AccountName) -> Result<LoginParts, Fault> {
        let (key_pair, account) = (self.clone(), account.clone());
        // A passphrase costs time on purpose.
        let token = run_blocking("sign a login", move || key_pair.token(&account, SystemTime::now())).await?;
        Ok(token_parts("SNOWFLAKE_JWT", Some(&self.user), &token))
    }

    fn token(&self, account: &AccountName, now: SystemTime) -> Result<Secret, Fault> {
        let (text, place) = match &self.key {
            KeySource::Text(text) => (text.clone(), "the private key of the connection".to_owned()),
            KeySource::File(path) => (
                private_file::read_now(path, "the private key")?,
                format!("the private key {}", path.display()),
            ),
        };
        SigningKey::parse(&text, self.passphrase.as_ref())
            .and_then(|key| key.claim(account, &self.user, now))
            .map_err(|error| {
                Fault::new(FaultKind::Credentials, format!("use {place}"))
                    .because(error)
                    .remedy(error.remedy())
            })
    }
}

/// A private key that was read.
enum SigningKey {
    Rsa(RsaKeyPair),
    Ecdsa { key: EcdsaKeyPair, algorithm: &'static str },
}

const CURVES: [(&EcdsaSigningAlgorithm, &str); 3] = [
    (&ECDSA_P256_SHA256_FIXED_SIGNING, "ES256"),
    (&ECDSA_P384_SHA384_FIXED_SIGNING, "ES384"),
    (&ECDSA_P521_SHA512_FIXED_SIGNING, "ES512"),
];

impl SigningKey {
    fn parse(text: &Secret, passphrase: Option<&Secret>) -> Result<Self, KeyError> {
        let (kind, der) = decode(text.expose())?;
        let (der, is_decrypted) = match kind {
            Kind::Encrypted => (decrypt(&der, passphrase)?, true),
            // Bare base64 does not say what it is.
            Kind::Unsaid => match EncryptedPrivateKeyInfoRef::try_from(der.as_slice()) {
                Ok(_) => (decrypt(&der, passphrase)?, true),
                Err(_) => (der, false),
            },
            Kind::Plain => (der, false),
        };
        if let Ok(key) = RsaKeyPair::from_pkcs8(&der) {
            return Ok(Self::Rsa(key));
        }
        for (curve, algorithm) in CURVES {
            if let Ok(key) = EcdsaKeyPair::from_pkcs8(curve, &der) {
                return Ok(Self::Ecdsa { key, algorithm });
            }
        }
        // Padding that happens to look right lets one wrong passphrase in 256 through to here.
        let is_key = pkcs8::PrivateKeyInfoRef::try_from(der.as_slice()).is_ok();
        Err(if is_decrypted && !is_key { KeyError::WrongPassphrase } else { KeyError::UnknownKind })
    }

    /// `SHA256:` and the digest of the public key, as `DESCRIBE USER` shows it.
    fn fingerprint(&self) -> Result<String, KeyError> {
        let public = match self {
            Self::Rsa(key) => key.public_key().as_der(),
            Self::Ecdsa { key, .. } => key.public_key().as_der(),
        };
        let public = public.map_err(|_| KeyError::Unusable)?;
        Ok(format!("SHA256:{}", STANDARD.encode(digest(&SHA256, public.as_ref()))))
    }

    fn claim(&self, account: &AccountName, user: &str, now: SystemTime) -> Result<Secret, KeyError> {
        let subject = format!("{}.{}", account.for_claims(), user.to_uppercase());
        let issued = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let header = json!({"alg": self.algorithm(), "typ": "JWT"});
        let claims = json!({
            "iss": format!("{subject}.{}", self.fingerprint()?),
            "sub": subject,
            "iat": issued,
            "exp": issued + LIFETIME.as_secs(),
        });
        let encoded = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encoded(header), encoded(claims));
        let signature = self.sign(message.as_bytes())?;
        Ok(Secret::new(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ecdsa { algorithm, .. } => algorithm,
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map_err(|_| KeyError::Unusable)?;
                Ok(signature)
            }
            Self::Ecdsa { key, .. } => {
                let signature = key.sign(&random, message).map_err(|_| KeyError::Unusable)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

/// The key itself is never shown.
impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("SigningKey").field(&self.algorithm()).finish()
    }
}

enum Kind {
    Plain,
    Encrypted,
    /// Base64 without a label.
    Unsaid,
}

/// The bytes of a key, and what its label says. Line ends may be missing, or written as `\n`, as it
/// happens to keys that travel through environment variables.
fn decode(text: &str) -> Result<(Kind, Vec<u8>), KeyError> {
    let Some((_, after)) = text.split_once("-----BEGIN ") else {
        return Ok((Kind::Unsaid, base64(text)?));
    };
    let (label, body) = after.split_once("-----").ok_or(KeyError::NotText)?;
    let kind = match label {
        "PRIVATE KEY" => Kind::Plain,
        "ENCRYPTED PRIVATE KEY" => Kind::Encrypted,
        "PUBLIC KEY" | "RSA PUBLIC KEY" => return Err(KeyError::Public),
        _ => return Err(KeyError::NotPkcs8),
    };
    let (body, _) = body.split_once("-----END ").ok_or(KeyError::NotText)?;
    Ok((kind, base64(body)?))
}

fn base64(text: &str) -> Result<Vec<u8>, KeyError> {
    let dense: String = text.replace("\\n", "").replace("\\r", "").split_whitespace().collect();
    match STANDARD.decode(dense) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        // The decoding error would tell bytes of the key, so it is dropped.
        Ok(_) | Err(_) => Err(KeyError::NotText),
    }
}

fn decrypt(der: &[u8], passphrase: Option<&Secret>) -> Result<Vec<u8>, KeyError> {
    let passphrase = passphrase.ok_or(KeyError::NoPassphrase)?;
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|_| KeyError::NotPkcs8)?;
    match encrypted.decrypt(passphrase.expose()) {
        Ok(document) => Ok(document.as_bytes().to_vec()),
        Err(pkcs8::Error::EncryptedPrivateKey(
            pkcs8::pkcs5::Error::UnsupportedAlgorithm { .. }
            | pkcs8::pkcs5::Error::NoPbes1CryptSupport
            | pkcs8::pkcs5::Error::AlgorithmParametersInvalid { .. },
        )) => Err(KeyError::UnknownEncryption),
        Err(_) => Err(KeyError::WrongPassphrase),
    }
}
