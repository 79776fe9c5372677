//! A double of the part of Snowflake that knows stages: PUT, GET, LIST and REMOVE, answered for
//! storage that is real where it can be had.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::cipher::{AES_128, AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::SnowflakeDouble;
use super::query::Answer;
use super::stage_storage::Backend;

/// The name of the one stage, as SQL has it.
pub(crate) const STAGE: &str = "@db.public.\"My Stage\"";
/// Before the names in a listing.
const LISTED_STAGE: &str = "my stage/";

/// How credentials are handed out: numbered, and good for a number of requests.
#[derive(Debug)]
pub(crate) struct Issued {
    /// How often the credentials of each number have been used.
    uses: Mutex<Vec<usize>>,
    limit: AtomicUsize,
    /// Of these many that are issued next, none is good for anything.
    expired: AtomicUsize,
}

impl Default for Issued {
    fn default() -> Self {
        Self { uses: Mutex::default(), limit: AtomicUsize::new(usize::MAX), expired: AtomicUsize::new(0) }
    }
}

impl Issued {
    /// Lets credentials expire after so many requests.
    pub(crate) fn limit(&self, requests: usize) {
        self.limit.store(requests, Ordering::SeqCst);
    }

    /// Lets the credentials that are issued next expire at once.
    pub(crate) fn expire_first(&self, count: usize) {
        self.expired.store(count, Ordering::SeqCst);
    }

    /// The number of the next credentials.
    pub(crate) fn issue(&self) -> usize {
        let mut uses = self.uses.lock().expect("no holder panics");
        let is_expired =
            self.expired.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        uses.push(if is_expired { usize::MAX - 1 } else { 0 });
        uses.len() - 1
    }

    pub(crate) fn count(&self) -> usize {
        self.uses.lock().expect("no holder panics").len()
    }

    /// Uses credentials once; false when they have expired or were never issued.
    pub(crate) fn admit(&self, number: usize) -> bool {
        let mut uses = self.uses.lock().expect("no holder panics");
        let Some(used) = uses.get_mut(number) else { return false };
        *used += 1;
        *used <= self.limit.load(Ordering::SeqCst)
    }
}

/// The stage.
pub(crate) struct Stage {
    pub(crate) backend: Backend,
    /// Bytes of the master key; none without client-side encryption.
    key_bytes: Option<usize>,
    /// The master key of each statement that was answered, by its query id.
    keys: Mutex<HashMap<String, Vec<u8>>>,
    statements: Mutex<Vec<String>>,
    query_count: AtomicUsize,
}

impl Stage {
    /// A stage on `double`. With the length of a master key, its files are encrypted by the client.
    ///
    /// The test has to run on several threads: a statement is answered while its thread waits for
    /// the storage.
    pub(crate) fn on(double: &SnowflakeDouble, backend: Backend, key_bytes: Option<usize>) -> Arc<Self> {
        let stage = Self::unmounted(backend, key_bytes);
        stage.mount(double);
        stage
    }

    /// The same, which answers no statements before [`Stage::mount`].
    pub(crate) fn unmounted(backend: Backend, key_bytes: Option<usize>) -> Arc<Self> {
        Arc::new(Self {
            backend,
            key_bytes,
            keys: Mutex::default(),
            statements: Mutex::default(),
            query_count: AtomicUsize::new(0),
        })
    }

    /// Answers the statements of `double` that no earlier handler has answered.
    pub(crate) fn mount(self: &Arc<Self>, double: &SnowflakeDouble) {
        let answering = Arc::clone(self);
        double.on(move |call| {
            let verb = call.sql.split(' ').next().unwrap_or_default();
            if !matches!(verb, "SELECT" | "PUT" | "GET" | "LIST" | "REMOVE") {
                return None;
            }
            let answer = answering.answer(call.sql);
            let answer = tokio::task::block_in_place(|| Handle::current().block_on(answer));
            Some(match answer {
                Ok(data) => Answer::data(data),
                Err((code, message)) => Answer::error(code, "02000", &message),
            })
        });
    }
}

type Refusal = (&'static str, String);

impl Stage {
    /// Statements that were run, by their first word.
    pub(crate) fn count(&self, verb: &str) -> usize {
        let statements = self.statements.lock().expect("no holder panics");
        statements.iter().filter(|sql| sql.starts_with(verb)).count()
    }

    async fn answer(&self, sql: &str) -> Result<Value, Refusal> {
        self.statements.lock().expect("no holder panics").push(sql.to_owned());
        let query_id = format!("query-{}", self.query_count.fetch_add(1, Ordering::SeqCst));
        let mut words = Words(sql);
        match words.next().as_str() {
            "SELECT" => Ok(table(&query_id, &["ONE"], vec![vec!["1".to_owned()]])),
            "PUT" => {
                let file = words.next();
                let directory = relative(&words.next())?;
                assert!(directory.is_empty() || directory.ends_with('/'), "a PUT is to a directory: {sql}");
                assert!(sql.contains(" AUTO_COMPRESS=FALSE "), "{sql}");
                let file_name = file.strip_prefix("file:///").expect("a URL of a file");
                let material = self.key_bytes.map(|length| self.new_key(&query_id, length));
                Ok(json!({
                    "command": "UPLOAD", "src_locations": [format!("/{file_name}")], "queryId": query_id,
                    "parallel": 4, "threshold": 67_108_864, "autoCompress": false, "overwrite": true,
                    "stageInfo": self.backend.stage_info(&directory, file_name),
                    "encryptionMaterial": material,
                }))
            }
            "GET" => {
                let path = relative(&words.next())?;
                let (directory, file_name) = path.rsplit_once('/').unwrap_or(("", &path));
                let directory = if directory.is_empty() { String::new() } else { format!("{directory}/") };
                let object = self.backend.get(&path).await;
                let object = object.ok_or(("253006", "file not found".to_owned()))?;
                let material = object.description.as_ref().map(|text| {
                    let description: Value = serde_json::from_str(text).expect("a description is JSON");
                    let query_id = description["queryId"].as_str().expect("of the statement that wrote it");
                    let key = self.keys.lock().expect("no holder panics")[query_id].clone();
                    json!({"queryStageMasterKey": STANDARD.encode(key), "queryId": query_id, "smkId": 92})
                });
                let material: Vec<Value> = material.into_iter().collect();
                Ok(json!({
                    "command": "DOWNLOAD", "src_locations": [file_name], "queryId": query_id,
                    "stageInfo": self.backend.stage_info(&directory, file_name),
                    "presignedUrls": self.backend.presigned_for_reading(&path),
                    "encryptionMaterial": material,
                }))
            }
            "LIST" => {
                let prefix = relative(&words.next())?;
                let objects = self.backend.list(&prefix).await.into_iter();
                let rows = objects.map(|(name, size, md5)| {
                    vec![
                        format!("{LISTED_STAGE}{name}"),
                        size.to_string(),
                        md5,
                        "Fri, 20 Nov 2026 12:00:00 GMT".to_owned(),
                    ]
                });
                Ok(table(&query_id, &["name", "size", "md5", "last_modified"], rows.collect()))
            }
            "REMOVE" => {
                let prefix = relative(&words.next())?;
                let pattern = words.next();
                let pattern = pattern.strip_prefix("PATTERN=").expect("a path alone removes too much");
                let mut removed = Vec::new();
                for (name, ..) in self.backend.list(&prefix).await {
                    if matches(pattern, &name) {
                        self.backend.delete(&name).await;
                        removed.push(vec![name, "removed".to_owned()]);
                    }
                }
                Ok(table(&query_id, &["name", "result"], removed))
            }
            other => panic!("the double does not know {other}: {sql}"),
        }
    }

    fn new_key(&self, query_id: &str, length: usize) -> Value {
        let mut key = vec![0; length];
        aws_lc_rs::rand::fill(&mut key).expect("random");
        let encoded = STANDARD.encode(&key);
        self.keys.lock().expect("no holder panics").insert(query_id.to_owned(), key);
        json!({"queryStageMasterKey": encoded, "queryId": query_id, "smkId": 92})
    }

    /// A file as a reader of the stage gets it.
    pub(crate) async fn read(&self, path: &str) -> Vec<u8> {
        let object = self.backend.get(path).await.expect("the file is there");
        let Some(description) = &object.description else {
            assert_eq!(self.key_bytes, None, "a file on an encrypted stage says how it is encrypted");
            return object.content;
        };
        let (key, vector) = (object.key.expect("with a key"), object.vector.expect("and a vector"));
        let description: Value = serde_json::from_str(description).expect("a description is JSON");
        let query_id = description["queryId"].as_str().expect("a query");
        let master_key = self.keys.lock().expect("no holder panics")[query_id].clone();
        assert_eq!(description["smkId"], "92");
        assert_eq!(description["keySize"], (master_key.len() * 8).to_string());
        let algorithm = if master_key.len() == 16 { &AES_128 } else { &AES_256 };
        let mut file_key = STANDARD.decode(key).expect("base64");
        let unwrapping = UnboundCipherKey::new(algorithm, &master_key).expect("a key");
        let unwrapping = PaddedBlockDecryptingKey::ecb_pkcs7(unwrapping).expect("a mode");
        let file_key = unwrapping.decrypt(&mut file_key, DecryptionContext::None).expect("unwrap").to_vec();
        let vector: [u8; 16] = STANDARD.decode(vector).expect("base64").try_into().expect("16 bytes");
        let decrypting = UnboundCipherKey::new(algorithm, &file_key).expect("as long as the master key");
        let decrypting = PaddedBlockDecryptingKey::cbc_pkcs7(decrypting).expect("a mode");
        let mut content = object.content;
        let context = DecryptionContext::Iv128((&vector).into());
        decrypting.decrypt(&mut content, context).expect("the padding is good").to_vec()
    }

    /// The key, as the connector of another vendor wants it.
    pub(crate) fn master_key(&self, description: &str) -> String {
        let description: Value = serde_json::from_str(description).expect("a description is JSON");
        let query_id = description["queryId"].as_str().expect("a query");
        STANDARD.encode(&self.keys.lock().expect("no holder panics")[query_id])
    }
}

fn table(query_id: &str, columns: &[&str], rows: Vec<Vec<String>>) -> Value {
    let columns: Vec<Value> =
        columns.iter().map(|name| json!({"name": name, "type": "text", "nullable": true})).collect();
    json!({
        "queryId": query_id, "rowtype": columns, "total": rows.len(), "returned": rows.len(),
        "queryResultFormat": "json", "rowset": rows,
    })
}

/// The path below the stage.
fn relative(location: &str) -> Result<String, Refusal> {
    let rest = location.strip_prefix(STAGE).and_then(|rest| rest.strip_prefix('/'));
    let missing =
        || ("002003", format!("SQL compilation error: Stage '{location}' does not exist or not authorized."));
    rest.map(str::to_owned).ok_or_else(missing)
}

/// Words of SQL; text in single quotes is one, or the end of one, without them.
struct Words<'s>(&'s str);

impl Words<'_> {
    fn next(&mut self) -> String {
        let mut word = String::new();
        let mut characters = self.0.trim_start().chars();
        while let Some(character) = characters.next() {
            match character {
                ' ' => break,
                '\'' => loop {
                    match characters.next().expect("a literal has an end") {
                        '\'' => break,
                        '\\' => word.push(characters.next().expect("an escape has an end")),
                        other => word.push(other),
                    }
                },
                other => word.push(other),
            }
        }
        self.0 = characters.as_str();
        word
    }
}

/// The patterns that the agent writes: anything, then a text in which a class has one character.
fn matches(pattern: &str, name: &str) -> bool {
    let pattern = pattern.strip_prefix(".*").expect("any stage before it");
    let mut text = String::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '[' => {
                text.push(characters.next().expect("a class has a character"));
                assert_eq!(characters.next(), Some(']'), "{pattern}");
            }
            plain => {
                assert!(plain.is_ascii_alphanumeric() || plain == '_', "{pattern}");
                text.push(plain);
            }
        }
    }
    name.ends_with(&text)
}
