//! The signature of a request with the key of the account.
//! See <https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key>.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderMap;
use url::Url;

use crate::destination::cloud::http::Call;
use crate::fault::{Fault, FaultKind};

/// The key of one account.
pub(super) struct SharedKey {
    account: String,
    key: hmac::Key,
}

impl SharedKey {
    /// `key` is in base64, as the portal shows it.
    pub(super) fn new(account: &str, key: &str) -> Result<Self, Fault> {
        // The cause is dropped: it quotes a character of the key.
        let key = STANDARD.decode(key.trim()).map_err(|_| {
            Fault::new(FaultKind::Request, format!("use the key of the storage account `{account}`"))
                .because("it is not base64")
                .remedy("Copy the whole key from the portal, with the `=` at its end.")
        })?;
        Ok(Self { account: account.to_owned(), key: hmac::Key::new(hmac::HMAC_SHA256, &key) })
    }

    /// The value of the header `authorization` of a request that is complete otherwise.
    pub(super) fn authorization(&self, call: &Call) -> String {
        let signature = hmac::sign(&self.key, self.text(call).as_bytes());
        format!("SharedKey {}:{}", self.account, STANDARD.encode(signature))
    }

    /// What is signed.
    fn text(&self, call: &Call) -> String {
        let length = match call.body.len() {
            0 => String::new(),
            length => length.to_string(),
        };
        let header = |name: &str| call.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let lines = [
            call.method.as_str(),
            header("content-encoding"),
            header("content-language"),
            &length,
            header("content-md5"),
            header("content-type"),
            // The date is in `x-ms-date`.
            "",
            header("if-modified-since"),
            header("if-match"),
            header("if-none-match"),
            header("if-unmodified-since"),
            header("range"),
        ];
        format!("{}\n{}{}", lines.join("\n"), own_headers(&call.headers), self.resource(&call.url))
    }

    fn resource(&self, url: &Url) -> String {
        let mut text = format!("/{}{}", self.account, url.path());
        let mut pairs: Vec<(String, String)> =
            url.query_pairs().map(|(name, value)| (name.to_lowercase(), value.into_owned())).collect();
        pairs.sort();
        for (name, value) in pairs {
            text.push('\n');
            text.push_str(&name);
            text.push(':');
            text.push_str(&value);
        }
        text
    }
}

fn own_headers(headers: &HeaderMap) -> String {
    let mut lines: Vec<String> = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-ms-"))
        .map(|(name, value)| format!("{name}:{}\n", value.to_str().unwrap_or_default().trim()))
        .collect();
    lines.sort();
    lines.concat()
}

#[cfg(test)]
mod tests {
    use reqwest::Method;

    use super::*;

    #[test]
    fn the_signed_text_has_every_part_in_its_place() {
        let key = SharedKey::new("acc", "a2V5").expect("base64");
        let url = "https://acc.blob.core.windows.net/c/a%20b?comp=block&blockid=AA%3D%3D&timeout=9";
        let call = Call::new(Method::PUT, url.parse().expect("a URL"))
            .header("content-md5", "bWQ1")
            .header("x-ms-version", "2023-11-03")
            .header("x-ms-date", "Fri, 20 Nov 2026 12:00:00 GMT")
            .body("xyz");
        assert_eq!(
            key.text(&call),
            "PUT\n\n\n3\nbWQ1\n\n\n\n\n\n\n\n\
             x-ms-date:Fri, 20 Nov 2026 12:00:00 GMT\nx-ms-version:2023-11-03\n\
             /acc/c/a%20b\nblockid:AA==\ncomp:block\ntimeout:9"
        );
        let empty = Call::new(Method::GET, url.parse().expect("a URL"));
        assert!(key.text(&empty).starts_with("GET\n\n\n\n\n"), "a length of zero is left out");
    }

    #[test]
    fn a_key_that_is_no_base64_is_refused_without_being_shown() {
        let fault = SharedKey::new("acc", "hunter2!").err().expect("refused");
        assert!(!fault.chain().contains("hunter2"), "{}", fault.chain());
        assert!(fault.chain().contains("acc"));
    }
}
