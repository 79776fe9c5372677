//! The server's answer to a PUT or GET statement: where the files are, how to get there, and how
//! they are encrypted.
//!
//! Read leniently, because deployments and emulators leave members out; strictly where a wrong
//! guess would store something that nobody can read. The answer also names local files: nothing
//! here reads them, since the agent uploads what it was asked to and nothing else.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::encryption::MasterKey;
use crate::config::Secret;

/// What the server said about one transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether it is an answer to PUT or to GET.
    pub command: Command,
    /// Where the files are.
    pub store: StageStore,
    /// What gives access to it, for a while.
    pub credentials: Credentials,
    /// The key of each file for GET, in the order of `files`; one key for PUT. Empty when the
    /// stage has no client-side encryption.
    pub encryption: Vec<EncryptionMaterial>,
    /// GET: names of the files, relative to the location.
    pub files: Vec<String>,
    /// GET from Google Cloud Storage without a token: one URL for each of `files`.
    pub presigned_urls: Vec<Secret>,
}

/// The direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// PUT.
    Upload,
    /// GET.
    Download,
}

/// Whose storage it is, and the directory in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StageStore {
    /// Amazon S3.
    S3 {
        /// Bucket and key prefix.
        place: Place,
        /// Region of the bucket.
        region: Option<String>,
        /// Host without the bucket, or a URL.
        endpoint: Option<String>,
    },
    /// Azure Blob Storage.
    Azure {
        /// Container and name prefix.
        place: Place,
        /// The account, which is part of the host name.
        account: String,
        /// Domain of the host, or a URL of the account.
        endpoint: Option<String>,
    },
    /// Google Cloud Storage.
    Gcs {
        /// Bucket and name prefix.
        place: Place,
        /// Region of the bucket.
        region: Option<String>,
        /// Host, or a URL.
        endpoint: Option<String>,
        /// The bucket is part of the host name.
        is_virtual: bool,
        /// The region is part of the host name.
        is_regional: bool,
    },
    /// A directory of this machine: emulators only.
    LocalDirectory(String),
}

/// `location`, divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Bucket or container.
    pub container: String,
    /// Before every file name: empty, or ending in `/`.
    pub prefix: String,
}

/// What gives access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Temporary keys of AWS.
    Aws {
        /// Access key id.
        key_id: Secret,
        /// Secret access key.
        secret_key: Secret,
        /// Session token.
        token: Option<Secret>,
    },
    /// A shared access signature, without a leading `?`.
    AzureSas(Secret),
    /// An OAuth access token of Google.
    GcsToken(Secret),
    /// A URL that allows one request for the one file that the statement named; none in answers
    /// to GET, which have a list of them.
    Presigned(Option<Secret>),
    /// None are needed.
    None,
}

/// The key of a stage, and what tells readers which one it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptionMaterial {
    /// Encrypts the keys of files.
    pub master_key: MasterKey,
    /// The statement that the key was handed out for.
    pub query_id: String,
    /// Id of the master key, decimal.
    pub smk_id: String,
}

impl EncryptionMaterial {
    /// What an object says about its key: compact JSON with these members in this order.
    #[must_use]
    pub fn description(&self) -> String {
        let text = |value: &str| Value::from(value).to_string();
        let (query_id, smk_id) = (text(&self.query_id), text(&self.smk_id));
        format!(r#"{{"queryId":{query_id},"smkId":{smk_id},"keySize":"{}"}}"#, self.master_key.bits())
    }
}

/// Why an answer cannot be used. Names members, never their values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// A member that is needed is missing, or of another type.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A member has a value that this agent does not know.
    #[error("`{0}` is {1:?}, which this version of the agent does not know")]
    Unknown(&'static str, String),
    /// A member has an impossible value.
    #[error("`{0}` {1}")]
    Invalid(&'static str, &'static str),
}

impl Answer {
    /// Reads the `data` member of an answer.
    pub fn read(data: &Value) -> Result<Self, AnswerError> {
        let command = match text(data, "command").map(str::to_ascii_uppercase).as_deref() {
            Some("UPLOAD") => Command::Upload,
            Some("DOWNLOAD") => Command::Download,
            Some(other) => return Err(AnswerError::Unknown("command", shortened(other))),
            None => return Err(AnswerError::Missing("command")),
        };
        let info = data.get("stageInfo").filter(|info| info.is_object());
        let info = info.ok_or(AnswerError::Missing("stageInfo"))?;
        let store = store(info)?;
        let presigned_urls: Vec<Secret> =
            strings(data.get("presignedUrls")).into_iter().map(Secret::new).collect();
        let credentials = match credentials(&store, info, command)? {
            // What is signed for one file stands in the list.
            Credentials::Presigned(Some(_)) if !presigned_urls.is_empty() => Credentials::Presigned(None),
            credentials => credentials,
        };
        let encryption = match info.get("isClientSideEncrypted") {
            Some(Value::Bool(false)) => Vec::new(),
            _ => encryption(data.get("encryptionMaterial"))?,
        };
        Ok(Self {
            command,
            store,
            credentials,
            encryption,
            files: strings(data.get("src_locations")),
            presigned_urls,
        })
    }
}

fn store(info: &Value) -> Result<StageStore, AnswerError> {
    let location = text(info, "location").ok_or(AnswerError::Missing("stageInfo.location"))?;
    let region = text(info, "region").map(str::to_owned);
    let endpoint = text(info, "endPoint").map(str::to_owned);
    let flag = |name| info.get(name).and_then(Value::as_bool).unwrap_or(false);
    let kind = text(info, "locationType").ok_or(AnswerError::Missing("stageInfo.locationType"))?;
    Ok(match kind.to_ascii_uppercase().as_str() {
        "S3" => StageStore::S3 { place: place(location)?, region, endpoint },
        "AZURE" => {
            let account = text(info, "storageAccount").unwrap_or_default().to_owned();
            let is_host_name = account.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            if !is_host_name {
                return Err(AnswerError::Invalid("stageInfo.storageAccount", "is not a name of an account"));
            }
            if account.is_empty() && !endpoint.as_deref().is_some_and(is_url) {
                return Err(AnswerError::Missing("stageInfo.storageAccount"));
            }
            StageStore::Azure { place: place(location)?, account, endpoint }
        }
        "GCS" => StageStore::Gcs {
            place: place(location)?,
            region,
            endpoint,
            is_virtual: flag("useVirtualUrl"),
            is_regional: flag("useRegionalUrl"),
        },
        "LOCAL_FS" => StageStore::LocalDirectory(location.to_owned()),
        _ => return Err(AnswerError::Unknown("stageInfo.locationType", shortened(kind))),
    })
}

fn place(location: &str) -> Result<Place, AnswerError> {
    let (container, prefix) = location.split_once('/').unwrap_or((location, ""));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_$".contains(&byte);
    // It becomes part of a host name.
    if container.is_empty() || !container.bytes().all(is_name) {
        return Err(AnswerError::Invalid("stageInfo.location", "does not begin with a name of a container"));
    }
    let mut prefix = prefix.to_owned();
    if !prefix.is_empty() && !prefix.ends_with('/') {
        prefix.push('/');
    }
    Ok(Place { container: container.to_owned(), prefix })
}

fn credentials(store: &StageStore, info: &Value, command: Command) -> Result<Credentials, AnswerError> {
    let secret = |names: &[&str]| {
        let creds = info.get("creds")?;
        names.iter().find_map(|name| text(creds, name)).map(Secret::new)
    };
    match store {
        StageStore::S3 { .. } => {
            let key_id = secret(&["AWS_KEY_ID", "AWS_ID"]);
            let secret_key = secret(&["AWS_SECRET_KEY", "AWS_KEY"]);
            Ok(Credentials::Aws {
                key_id: key_id.ok_or(AnswerError::Missing("stageInfo.creds.AWS_KEY_ID"))?,
                secret_key: secret_key.ok_or(AnswerError::Missing("stageInfo.creds.AWS_SECRET_KEY"))?,
                token: secret(&["AWS_TOKEN"]),
            })
        }
        StageStore::Azure { .. } => {
            let sas = secret(&["AZURE_SAS_TOKEN"]);
            let sas = sas.ok_or(AnswerError::Missing("stageInfo.creds.AZURE_SAS_TOKEN"))?;
            Ok(Credentials::AzureSas(Secret::new(sas.expose().trim_start_matches('?'))))
        }
        StageStore::Gcs { .. } => {
            if let Some(token) = secret(&["GCS_ACCESS_TOKEN"]) {
                return Ok(Credentials::GcsToken(token));
            }
            match (text(info, "presignedUrl"), command) {
                (Some(url), _) => Ok(Credentials::Presigned(Some(Secret::new(url)))),
                (None, Command::Download) => Ok(Credentials::Presigned(None)),
                (None, Command::Upload) => Err(AnswerError::Missing("stageInfo.creds.GCS_ACCESS_TOKEN")),
            }
        }
        StageStore::LocalDirectory(_) => Ok(Credentials::None),
    }
}

/// One object, an array of them, an empty array, null or nothing.
fn encryption(value: Option<&Value>) -> Result<Vec<EncryptionMaterial>, AnswerError> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => items.iter().filter_map(|item| material(item).transpose()).collect(),
        Some(item) => Ok(material(item)?.into_iter().collect()),
    }
}

/// `None` for an object without a key, which means no encryption. A key that cannot be used is an
/// error: plain content on an encrypted stage is unreadable.
fn material(value: &Value) -> Result<Option<EncryptionMaterial>, AnswerError> {
    let Value::Object(members) = value else {
        return match value {
            Value::Null => Ok(None),
            _ => Err(AnswerError::Invalid("encryptionMaterial", "is not an object")),
        };
    };
    let Some(key) = members.get("queryStageMasterKey").filter(|key| !key.is_null()) else {
        return match members.is_empty() || members.values().all(Value::is_null) {
            true => Ok(None),
            false => Err(AnswerError::Missing("encryptionMaterial.queryStageMasterKey")),
        };
    };
    let key = key.as_str().and_then(|key| STANDARD.decode(key).ok()).and_then(MasterKey::new);
    let invalid = "is not a key of 128, 192 or 256 bits in base64";
    let master_key = key.ok_or(AnswerError::Invalid("encryptionMaterial.queryStageMasterKey", invalid))?;
    let smk_id = match members.get("smkId") {
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) => text.clone(),
        _ => return Err(AnswerError::Missing("encryptionMaterial.smkId")),
    };
    let query_id = text(value, "queryId").ok_or(AnswerError::Missing("encryptionMaterial.queryId"))?;
    Ok(Some(EncryptionMaterial { master_key, query_id: query_id.to_owned(), smk_id }))
}

/// A text that is there and not empty.
fn text<'v>(object: &'v Value, name: &str) -> Option<&'v str> {
    object.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// The texts of an array; anything else has none.
fn strings(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

/// True for an endpoint that is a whole URL: an emulator, which is used as it is.
pub(super) fn is_url(endpoint: &str) -> bool {
    endpoint.contains("://")
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODw==";

    fn s3() -> Value {
        json!({
            "command": "UPLOAD",
            "src_locations": ["/tmp/a.parquet"],
            "stageInfo": {
                "locationType": "S3", "location": "sfc-bucket/tables/1/", "region": "us-west-2",
                "creds": {"AWS_KEY_ID": "id", "AWS_SECRET_KEY": "secret", "AWS_TOKEN": "token"},
                "endPoint": null, "isClientSideEncrypted": true,
            },
            "encryptionMaterial": {"queryStageMasterKey": KEY, "queryId": "q", "smkId": 17},
        })
    }

    fn changed(pointer: &str, value: Value) -> Value {
        let mut answer = s3();
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        answer.pointer_mut(parent).expect("the parent is there")[name] = value;
        answer
    }

    #[test]
    fn an_answer_for_s3_is_read() {
        let answer = Answer::read(&s3()).expect("a good answer");
        let place = Place { container: "sfc-bucket".into(), prefix: "tables/1/".into() };
        assert_eq!(answer.store, StageStore::S3 { place, region: Some("us-west-2".into()), endpoint: None });
        assert_eq!(answer.encryption[0].description(), r#"{"queryId":"q","smkId":"17","keySize":"128"}"#);
        let shown = format!("{answer:?}");
        for secret in ["\"secret\"", "\"token\"", KEY] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn every_spelling_of_no_encryption_and_of_one_key_is_read() {
        for none in [json!(null), json!([]), json!({}), json!([null]), json!({"queryStageMasterKey": null})] {
            let answer = Answer::read(&changed("/encryptionMaterial", none.clone())).expect("a good answer");
            assert!(answer.encryption.is_empty(), "{none}");
        }
        let array = json!([{"queryStageMasterKey": KEY, "queryId": "q", "smkId": "17"}]);
        let answer = Answer::read(&changed("/encryptionMaterial", array)).expect("a good answer");
        assert_eq!(answer.encryption[0].smk_id, "17");
        let answer = Answer::read(&changed("/stageInfo/isClientSideEncrypted", json!(false))).expect("good");
        assert!(answer.encryption.is_empty());
    }

    #[test]
    fn an_answer_that_would_lose_data_is_refused_by_the_name_of_the_member() {
        for (pointer, value, expected) in [
            (
                "/command",
                json!("REMOVE"),
                "`command` is \"REMOVE\", which this version of the agent does not know",
            ),
            ("/stageInfo", json!([]), "`stageInfo` is missing"),
            ("/stageInfo/location", json!(""), "`stageInfo.location` is missing"),
            (
                "/stageInfo/location",
                json!("evil.host@x/y"),
                "`stageInfo.location` does not begin with a name of a container",
            ),
            ("/stageInfo/creds", json!({}), "`stageInfo.creds.AWS_KEY_ID` is missing"),
            (
                "/encryptionMaterial/queryStageMasterKey",
                json!("c2hvcnQ="),
                "`encryptionMaterial.queryStageMasterKey` is not a key of 128, 192 or 256 bits in base64",
            ),
            (
                "/encryptionMaterial/queryStageMasterKey",
                json!(null),
                "`encryptionMaterial.queryStageMasterKey` is missing",
            ),
            ("/encryptionMaterial", json!("secret"), "`encryptionMaterial` is not an object"),
        ] {
            let error = Answer::read(&changed(pointer, value)).expect_err(pointer);
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn the_answer_of_the_emulator_is_a_presigned_url() {
        let answer = json!({
            "stageInfo": {
                "locationType": "GCS", "location": "DB1.S1.STG/", "creds": {},
                "presignedUrl": "http://127.0.0.1:18765/fs_bucket/DB1/S1/STG/p1/a.csv",
            },
            "src_locations": ["/dir/a.csv"], "parallel": 4, "autoCompress": true,
            "sourceCompression": "auto_detect", "overwrite": false, "command": "UPLOAD",
        });
        let answer = Answer::read(&answer).expect("a good answer");
        assert!(matches!(answer.credentials, Credentials::Presigned(Some(_))));
        assert!(answer.encryption.is_empty());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            prop::sample::select(vec!["S3", "AZURE", "GCS", "LOCAL_FS", "UPLOAD", "DOWNLOAD", KEY, "b/p"])
                .prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 40, 6, |inner| {
            let names = prop::sample::select(vec![
                "command",
                "stageInfo",
                "locationType",
                "location",
                "creds",
                "AWS_KEY_ID",
                "AWS_SECRET_KEY",
                "AZURE_SAS_TOKEN",
                "GCS_ACCESS_TOKEN",
                "storageAccount",
                "endPoint",
                "presignedUrl",
                "encryptionMaterial",
                "queryStageMasterKey",
                "queryId",
                "smkId",
                "src_locations",
            ]);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((names, inner), 0..8).prop_map(|members| {
                    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic(value in any_json()) {
            drop(Answer::read(&value));
        }

        #[test]
        fn a_member_that_was_changed_is_read_or_refused(
            pointer in prop::sample::select(vec![
                "/command", "/stageInfo/locationType", "/stageInfo/location", "/stageInfo/creds",
                "/stageInfo/creds/AWS_TOKEN", "/encryptionMaterial", "/encryptionMaterial/smkId",
            ]),
            value in any_json(),
        ) {
            drop(Answer::read(&changed(pointer, value)));
        }
    }
}
