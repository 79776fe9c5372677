//! What Azure and Google keep about an object besides its content, in headers.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use super::http::{Refused, header};
use super::{Found, Metadata};
use crate::fault::{Fault, FaultKind};
use crate::snowflake::put::encryption::KeyMetadata;

/// How one store calls it.
pub(super) struct Headers {
    pub(super) digest: &'static str,
    pub(super) encryption: &'static str,
    pub(super) description: &'static str,
    /// The algorithm that other clients write there.
    pub(super) algorithm: &'static str,
}

impl Headers {
    /// Adds what is known about a file to the request that stores it.
    pub(super) fn write(&self, mut request: RequestBuilder, metadata: &Metadata) -> RequestBuilder {
        if let Some(digest) = metadata.digest {
            request = request.header(self.digest, digest.to_base64());
        }
        if let Some(key) = &metadata.key {
            request = request
                .header(self.encryption, encryption_data(key, self.algorithm))
                .header(self.description, &key.material_description);
        }
        request
    }

    /// What an answer says about the file.
    pub(super) fn read(&self, response: &Response) -> Found {
        let encryption = header(response, self.encryption);
        let key = encryption.and_then(|text| {
            let data = serde_json::from_str::<Value>(&text).ok()?;
            let key = data.pointer("/WrappedContentKey/EncryptedKey")?.as_str()?.to_owned();
            Some((key, data.get("ContentEncryptionIV")?.as_str()?.to_owned()))
        });
        let bytes = header(response, "content-length").and_then(|length| length.parse().ok());
        Found { digest: header(response, self.digest), key, bytes }
    }

    /// What the answer to HEAD says about a visible file; `None` when there is none, or the store does
    /// not tell.
    pub(super) fn look(&self, answer: Result<Response, Refused>) -> Result<Option<Found>, Fault> {
        match answer {
            Ok(response) => Ok(Some(self.read(&response))),
            Err(refused) if matches!(refused.status, StatusCode::NOT_FOUND | StatusCode::FORBIDDEN) => {
                Ok(None)
            }
            Err(refused) => Err(refused.into()),
        }
    }
}

/// What readers of other clients expect; only key and vector differ from file to file.
fn encryption_data(key: &KeyMetadata, agent_algorithm: &str) -> String {
    json!({
        "EncryptionMode": "FullBlob",
        "WrappedContentKey": {
            "KeyId": "symmKey1",
            "EncryptedKey": key.wrapped_key,
            "Algorithm": "AES_CBC_256",
        },
        "EncryptionAgent": {"Protocol": "1.0", "EncryptionAlgorithm": agent_algorithm},
        "ContentEncryptionIV": key.initialization_vector,
        "KeyWrappingMetadata": {"EncryptionLibrary": "Java 5.3.0"},
    })
    .to_string()
}

/// The body of an answer, without its URL in what goes wrong.
pub(super) fn body(response: Response) -> BoxStream<'static, Result<Bytes, Fault>> {
    let chunks = response.bytes_stream().map(|chunk| {
        chunk.map_err(|error| {
            let action = "read a file of the stage";
            Fault::new(FaultKind::Transient, action).because(error.without_url())
        })
    });
    chunks.boxed()
}

/// The URL below which the files are, if the endpoint that the server named gives one.
pub(super) fn checked_base(url: String) -> Result<String, Fault> {
    match url::Url::parse(&url) {
        Ok(parsed) if parsed.username().is_empty() && parsed.query().is_none() => Ok(url),
        _ => Err(Fault::new(FaultKind::Request, "use the endpoint of the stage's storage")
            .because("`stageInfo.endPoint` is not a host name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encryption_data_are_those_of_other_clients() {
        let key = KeyMetadata {
            wrapped_key: "k".into(),
            initialization_vector: "v".into(),
            material_description: "m".into(),
        };
        let data: Value = serde_json::from_str(&encryption_data(&key, "AES_CBC_128")).expect("JSON");
        assert_eq!(data.pointer("/WrappedContentKey/EncryptedKey"), Some(&json!("k")));
        assert_eq!(data.pointer("/EncryptionAgent/EncryptionAlgorithm"), Some(&json!("AES_CBC_128")));
        assert_eq!(data.get("ContentEncryptionIV"), Some(&json!("v")));
    }
}
