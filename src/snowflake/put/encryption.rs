//! Client-side encryption of stage files.
//!
//! A file has a random key and initialization vector of its own: its content is AES-CBC with
//! PKCS#7 padding. The file key itself is kept in the object's metadata, encrypted (AES-ECB, which
//! is sound for a single random value) with the stage's master key that the server handed out.
//! The length of the master key, 16 or 32 bytes, decides between 128 and 256 bits everywhere.

use std::fmt;

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey,
    PaddedBlockEncryptingKey, StreamingDecryptingKey, StreamingEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;

use super::answer::EncryptionMaterial;
use crate::fault::{Fault, FaultKind};

/// Bytes of an AES block.
pub const BLOCK_BYTES: usize = 16;
/// Bytes that are encrypted at a time, beside the buffer: the library does not encrypt in place.
const SCRATCH_BYTES: usize = 32 * 1024;

/// The key of a stage, as the server hands it out for one statement: 16, 24 or 32 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey(Vec<u8>);

impl MasterKey {
    /// `None` when AES has no keys of this length.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        matches!(bytes.len(), 16 | 24 | 32).then_some(Self(bytes))
    }

    /// Its length in bits.
    #[must_use]
    pub fn bits(&self) -> usize {
        self.0.len() * 8
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "*** ({} bits)", self.bits())
    }
}

/// What a reader needs beside the stage's master key, for the metadata of an object. None of it is
/// secret without that key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMetadata {
    /// The encrypted file key, in base64.
    pub wrapped_key: String,
    /// The initialization vector, in base64.
    pub initialization_vector: String,
    /// Which master key: the compact JSON `{"queryId","smkId","keySize"}`, in this order.
    pub material_description: String,
}

/// Length of the encrypted form of `bytes` bytes: padding always adds 1 to 16.
#[must_use]
pub fn encrypted_length(bytes: u64) -> u64 {
    (bytes / BLOCK_BYTES as u64 + 1) * BLOCK_BYTES as u64
}

/// Encrypts one file, chunk by chunk and in order.
///
/// AES in hardware takes about a millisecond for each MiB, so this belongs on a blocking thread.
pub struct Encryptor {
    key: StreamingEncryptingKey,
    scratch: Vec<u8>,
}

impl fmt::Debug for Encryptor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Encryptor").finish_non_exhaustive()
    }
}

impl Encryptor {
    /// Draws a key and a vector for one file.
    pub fn new(material: &EncryptionMaterial) -> Result<(Self, KeyMetadata), Fault> {
        let mut file_key = vec![0; material.master_key.0.len()];
        let mut vector = [0; BLOCK_BYTES];
        aws_lc_rs::rand::fill(&mut file_key).map_err(|_| failed("draw a random key"))?;
        aws_lc_rs::rand::fill(&mut vector).map_err(|_| failed("draw a random vector"))?;
        Self::with_key(material, &file_key, vector)
    }

    fn with_key(
        material: &EncryptionMaterial,
        file_key: &[u8],
        vector: [u8; BLOCK_BYTES],
    ) -> Result<(Self, KeyMetadata), Fault> {
        let mut wrapped = file_key.to_vec();
        PaddedBlockEncryptingKey::ecb_pkcs7(cipher_key(&material.master_key.0)?)
            .and_then(|key| key.encrypt(&mut wrapped))
            .map_err(|_| failed("encrypt the key of a file"))?;
        let context = EncryptionContext::Iv128(FixedLength::from(&vector));
        let key = StreamingEncryptingKey::less_safe_cbc_pkcs7(cipher_key(file_key)?, context)
            .map_err(|_| failed("prepare the encryption of a file"))?;
        let metadata = KeyMetadata {
            wrapped_key: STANDARD.encode(wrapped),
            initialization_vector: STANDARD.encode(vector),
            material_description: material.description(),
        };
        Ok((Self { key, scratch: Vec::new() }, metadata))
    }

    /// Encrypts `content` in place. Its length is a multiple of [`BLOCK_BYTES`]: only the last
    /// chunk of a file, which goes to [`Encryptor::finish`], can have another one.
    pub fn encrypt(&mut self, content: &mut [u8]) -> Result<(), Fault> {
        assert!(content.len().is_multiple_of(BLOCK_BYTES), "chunks before the last are whole blocks");
        self.scratch.resize(SCRATCH_BYTES + BLOCK_BYTES, 0);
        for chunk in content.chunks_mut(SCRATCH_BYTES) {
            let update = self.key.update(chunk, &mut self.scratch).map_err(|_| failed("encrypt a file"))?;
            // Whole blocks in, whole blocks out: nothing is held back but the chaining value.
            chunk.copy_from_slice(update.written());
        }
        Ok(())
    }

    /// Encrypts the last chunk, of any length, with its padding.
    pub fn finish(mut self, content: &mut BytesMut) -> Result<(), Fault> {
        let whole = content.len() - content.len() % BLOCK_BYTES;
        self.encrypt(&mut content[..whole])?;
        let rest = content.split_off(whole);
        let mut last = [0; 2 * BLOCK_BYTES];
        let update = self.key.update(&rest, &mut last).map_err(|_| failed("encrypt a file"))?;
        assert!(update.written().is_empty(), "less than a block is held back");
        let (_, update) = self.key.finish(&mut last).map_err(|_| failed("pad a file"))?;
        content.extend_from_slice(update.written());
        Ok(())
    }
}

/// Decrypts one file, chunk by chunk and in order.
pub struct Decryptor {
    key: StreamingDecryptingKey,
    output: Vec<u8>,
}

impl fmt::Debug for Decryptor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Decryptor").finish_non_exhaustive()
    }
}

impl Decryptor {
    /// For the file with this metadata. Wrong metadata, or those of another master key, are a data
    /// fault.
    pub fn new(
        master_key: &MasterKey,
        wrapped_key: &str,
        initialization_vector: &str,
    ) -> Result<Self, Fault> {
        let unreadable = || {
            Fault::new(FaultKind::Data, "read the encryption metadata of a stage file")
                .because("they do not fit the key of the stage")
        };
        let mut wrapped = STANDARD.decode(wrapped_key).map_err(|_| unreadable())?;
        let vector = STANDARD.decode(initialization_vector).map_err(|_| unreadable())?;
        let vector = <[u8; BLOCK_BYTES]>::try_from(vector.as_slice()).map_err(|_| unreadable())?;
        let file_key = PaddedBlockDecryptingKey::ecb_pkcs7(cipher_key(&master_key.0)?)
            .and_then(|key| Ok(key.decrypt(&mut wrapped, DecryptionContext::None)?.to_vec()))
            .map_err(|_| unreadable())?;
        let context = DecryptionContext::Iv128(FixedLength::from(&vector));
        let key = cipher_key(&file_key).map_err(|_| unreadable())?;
        let key = StreamingDecryptingKey::cbc_pkcs7(key, context).map_err(|_| unreadable())?;
        Ok(Self { key, output: Vec::new() })
    }

    /// Decrypts a chunk of any length; what comes back may be shorter or longer by a block.
    pub fn decrypt(&mut self, content: &[u8]) -> Result<&[u8], Fault> {
        self.output.resize(content.len() + BLOCK_BYTES, 0);
        let update = self.key.update(content, &mut self.output).map_err(|_| failed("decrypt a file"))?;
        let written = update.written().len();
        Ok(&self.output[..written])
    }

    /// The end of the file. Wrong padding is a data fault.
    pub fn finish(self) -> Result<Vec<u8>, Fault> {
        let mut last = [0; BLOCK_BYTES];
        let update = self.key.finish(&mut last).map_err(|_| {
            Fault::new(FaultKind::Data, "decrypt a file").because("its end is not that of an encrypted file")
        })?;
        Ok(update.written().to_vec())
    }
}

fn cipher_key(bytes: &[u8]) -> Result<UnboundCipherKey, Fault> {
    let algorithm = match bytes.len() {
        16 => &AES_128,
        24 => &AES_192,
        32 => &AES_256,
        length => {
            return Err(Fault::new(FaultKind::Bug, format!("use a key of {length} bytes for encryption")));
        }
    };
    UnboundCipherKey::new(algorithm, bytes).map_err(|_| failed("use a key for encryption"))
}

fn failed(action: &'static str) -> Fault {
    Fault::new(FaultKind::Bug, action).because("the cryptographic library refused it")
}

#[cfg(test)]
mod tests {
    use super::*;
    const PLAIN: &[u8] = b"id,n\n1,a\n2,b\n";

    fn material(master_key: &str) -> EncryptionMaterial {
        EncryptionMaterial {
            master_key: MasterKey::new(STANDARD.decode(master_key).expect("base64"))
                .expect("a length of AES"),
            query_id: "01b2".to_owned(),
            smk_id: "92019681909886".to_owned(),
        }
    }

    fn random_material(bytes: usize) -> EncryptionMaterial {
        let mut key = vec![0; bytes];
        aws_lc_rs::rand::fill(&mut key).expect("random");
        material(&STANDARD.encode(key))
    }

    /// Encrypts in pieces of these lengths, all but the last whole blocks.
    fn encrypt(mut encryptor: Encryptor, content: &[u8], piece: usize) -> Vec<u8> {
        let mut encrypted = Vec::new();
        let mut rest = content;
        while rest.len() > piece {
            let (now, later) = rest.split_at(piece);
            let mut now = now.to_vec();
            encryptor.encrypt(&mut now).expect("encrypt");
            encrypted.extend(now);
            rest = later;
        }
        let mut last = BytesMut::from(rest);
        encryptor.finish(&mut last).expect("finish");
        encrypted.extend_from_slice(&last);
        encrypted
    }

    #[test]
    fn the_published_vectors_are_met() {
        for (master_key, wrapped_key, ciphertext, key_size) in [
            (
                "AAECAwQFBgcICQoLDA0ODw==",
                "1TPlm0WhU+1+Xpxd/P1KqpVPZPLk6G6e7oLSAhZoSJk=",
                "4FVHBI1Ft7JBperepjq1gg==",
                "128",
            ),
            (
                "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
                "o37fP5dauu+Te2LHjVuxV5dLQSc45Q9Fx/nbJUE/J0ufO3UEkm+L024xGOkDpM1K",
                "dutKKeoKtPdfippn2cWCWg==",
                "256",
            ),
        ] {
            let material = material(master_key);
            let length = material.master_key.0.len();
            let file_key: Vec<u8> = (0x40..).take(length).collect();
            let vector: [u8; BLOCK_BYTES] =
                std::array::from_fn(|index| 0x80 + u8::try_from(index).expect("small"));
            let (encryptor, metadata) =
                Encryptor::with_key(&material, &file_key, vector).expect("a legal key");
            assert_eq!(metadata.wrapped_key, wrapped_key);
            assert_eq!(metadata.initialization_vector, "gIGCg4SFhoeIiYqLjI2Ojw==");
            let description =
                format!(r#"{{"queryId":"01b2","smkId":"92019681909886","keySize":"{key_size}"}}"#);
            assert_eq!(metadata.material_description, description);
            assert_eq!(STANDARD.encode(encrypt(encryptor, PLAIN, 4096)), ciphertext);
        }
    }

    #[test]
    fn a_file_comes_back_whatever_its_length_and_pieces() {
        for key_bytes in [16, 24, 32] {
            let material = random_material(key_bytes);
            for length in [0, 1, 15, 16, 17, 31, 32, 4096, SCRATCH_BYTES + 1, 3 * SCRATCH_BYTES] {
                for piece in [16, 48, 4096, 2 * SCRATCH_BYTES + 16] {
                    let content: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
                    let (encryptor, metadata) = Encryptor::new(&material).expect("a legal key");
                    let encrypted = encrypt(encryptor, &content, piece);
                    assert_eq!(encrypted.len() as u64, encrypted_length(length as u64));
                    let mut decryptor = Decryptor::new(
                        &material.master_key,
                        &metadata.wrapped_key,
                        &metadata.initialization_vector,
                    )
                    .expect("the metadata are good");
                    let mut found = Vec::new();
                    for chunk in encrypted.chunks(1000) {
                        found.extend_from_slice(decryptor.decrypt(chunk).expect("decrypt"));
                    }
                    found.extend(decryptor.finish().expect("the padding is good"));
                    assert!(found == content, "{length} bytes in pieces of {piece}");
                }
            }
        }
    }

    #[test]
    fn two_files_never_share_key_or_vector() {
        let material = random_material(16);
        let (_, one) = Encryptor::new(&material).expect("a legal key");
        let (_, other) = Encryptor::new(&material).expect("a legal key");
        assert_ne!(one.wrapped_key, other.wrapped_key);
        assert_ne!(one.initialization_vector, other.initialization_vector);
    }

    #[test]
    fn broken_metadata_are_refused() {
        let (_, metadata) = Encryptor::new(&random_material(16)).expect("a legal key");
        let other = random_material(16);
        for (key, vector) in
            [("", ""), ("!", "gIGCg4SFhoeIiYqLjI2Ojw=="), (metadata.wrapped_key.as_str(), "AAAA")]
        {
            let fault = Decryptor::new(&other.master_key, key, vector).expect_err("broken metadata");
            assert_eq!(fault.kind(), FaultKind::Data);
        }
    }
}
