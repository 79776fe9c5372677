//! What is computed over a file while it is written: digests of what a reader gets and of what is
//! stored.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha2::{Digest, Sha256};

/// The SHA-256 of a file's content: after compression, before encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentDigest([u8; 32]);

impl ContentDigest {
    /// In lower-case hex, as receipts have it.
    #[must_use]
    pub fn to_hex(self) -> String {
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes every write");
            text
        })
    }

    /// In base64, as `sfc-digest` has it.
    #[must_use]
    pub fn to_base64(self) -> String {
        STANDARD.encode(self.0)
    }
}

/// Digests of one file, taken chunk by chunk and in order. A MiB costs a few milliseconds, so this
/// belongs on a blocking thread.
#[derive(Clone, Debug, Default)]
pub struct FileDigests {
    content: Sha256,
    content_bytes: u64,
    stored: Option<Md5>,
    stored_bytes: u64,
}

/// The finished digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Of the content.
    pub content: ContentDigest,
    /// Bytes of the content.
    pub content_bytes: u64,
    /// MD5 of what is stored, in base64, where the store wants it.
    pub stored_md5: Option<String>,
    /// Bytes that are stored: with encryption more than the content.
    pub stored_bytes: u64,
}

impl FileDigests {
    /// `with_md5` for stores that want the MD5 of what they store and do not compute it themselves.
    #[must_use]
    pub fn new(with_md5: bool) -> Self {
        Self { stored: with_md5.then(Md5::new), ..Self::default() }
    }

    /// Appends content, before it is encrypted.
    pub fn update_content(&mut self, chunk: &[u8]) {
        self.content.update(chunk);
        self.content_bytes += chunk.len() as u64;
    }

    /// Appends what is stored.
    pub fn update_stored(&mut self, chunk: &[u8]) {
        if let Some(md5) = &mut self.stored {
            md5.update(chunk);
        }
        self.stored_bytes += chunk.len() as u64;
    }

    /// The digests of everything so far.
    #[must_use]
    pub fn finish(self) -> Finished {
        Finished {
            content: ContentDigest(self.content.finalize().into()),
            content_bytes: self.content_bytes,
            stored_md5: self.stored.map(|md5| STANDARD.encode(md5.finalize())),
            stored_bytes: self.stored_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_digest_is_met_in_pieces() {
        let mut digests = FileDigests::new(true);
        for chunk in ["id,n\n", "", "1,a\n2,b\n"] {
            digests.update_content(chunk.as_bytes());
        }
        digests.update_stored(b"abc");
        let finished = digests.finish();
        assert_eq!(finished.content.to_base64(), "pM4dz7ylH3c6ckaJe9NX4jLZCsP3Ue3OLSuSihdcqzU=");
        assert_eq!(finished.content.to_hex().len(), 64);
        assert_eq!((finished.content_bytes, finished.stored_bytes), (13, 3));
        // The MD5 of "abc" is a test vector of RFC 1321.
        assert_eq!(finished.stored_md5.as_deref(), Some("kAFQmDzST7DWlj99KOF/cg=="));
        assert_eq!(FileDigests::new(false).finish().stored_md5, None);
    }
}
