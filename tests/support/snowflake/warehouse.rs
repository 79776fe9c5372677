//! Lets the double run the SQL of a load: statements go to the emulator, and a COPY finds there what is
//! on the encrypted stage of the double.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use super::SnowflakeDouble;
use super::query::{Answer, Call};
use super::stage::{STAGE, Stage};
use crate::support::emulator_relay::Relay;

/// The stage of the emulator that files are handed over on.
const EMULATOR_STAGE: &str = "STG";

/// The emulator, as the double uses it.
pub(crate) struct Warehouse {
    relay: Relay,
    database: String,
    stage: Arc<Stage>,
    http: reqwest::Client,
    /// The token of the emulator for each session of the double.
    tokens: Mutex<HashMap<u64, String>>,
}

impl Warehouse {
    /// Runs what no earlier handler of `double` has answered, but for the statements about files, in
    /// `database` of the emulator. The test has to run on several threads.
    pub(crate) fn behind(double: &SnowflakeDouble, relay: Relay, database: &str, stage: &Arc<Stage>) {
        let warehouse = Self {
            relay,
            database: database.to_owned(),
            stage: Arc::clone(stage),
            http: reqwest::Client::builder().no_proxy().build().expect("a client"),
            tokens: Mutex::default(),
        };
        double.on(move |call| {
            let verb = call.sql.split(' ').next().unwrap_or_default();
            if matches!(verb, "PUT" | "GET" | "LIST" | "REMOVE") {
                return None;
            }
            Some(tokio::task::block_in_place(|| Handle::current().block_on(warehouse.run(call))))
        });
    }

    async fn run(&self, call: &Call<'_>) -> Answer {
        let token = {
            let mut tokens = self.tokens.lock().await;
            match tokens.get(&call.session.number) {
                Some(token) => token.clone(),
                None => {
                    let token = self.log_in().await;
                    tokens.insert(call.session.number, token.clone());
                    token
                }
            }
        };
        let mut body = call.body.clone();
        if call.sql.starts_with("COPY ") {
            body["sqlText"] = json!(self.hand_over(&token, call.sql).await);
        }
        let answer = self.send(&token, &body).await;
        if answer["success"] == json!(true) {
            return Answer::data(answer["data"].clone());
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let state = text(&answer["data"]["sqlState"]);
        Answer::error(&text(&answer["code"]), &state, &text(&answer["message"]))
    }

    async fn log_in(&self) -> String {
        let url = format!(
            "http://{}/session/v1/login-request?databaseName={}&schemaName=PUBLIC",
            self.relay.address, self.database
        );
        let login = json!({"data": {
            "ACCOUNT_NAME": "test", "LOGIN_NAME": "tester", "PASSWORD": "hunter2", "SESSION_PARAMETERS": {},
        }});
        let answer = self.http.post(url).json(&login).send().await.expect("the relay answers");
        let answer: Value = answer.json().await.expect("a login is answered with JSON");
        answer["data"]["token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
    }

    async fn send(&self, token: &str, body: &Value) -> Value {
        let request = uuid::Uuid::new_v4();
        let url = format!("http://{}/queries/v1/query-request?requestId={request}", self.relay.address);
        let request = self.http.post(url).header("authorization", format!("Snowflake Token=\"{token}\""));
        let answer = request.json(body).send().await.expect("the relay answers");
        answer.json().await.expect("a statement is answered with JSON")
    }

    /// Decrypts the files that a COPY names, puts them on the stage of the emulator, and returns the COPY
    /// from there.
    async fn hand_over(&self, token: &str, sql: &str) -> String {
        let (before, rest) = sql.split_once(" FROM '").expect("the name of the stage needs quotes");
        let (location, rest) = rest.split_once("' FILES=(").expect("files are named");
        let (files, after) = rest.split_once(')').expect("FILES has an end");
        let path = location.strip_prefix(STAGE).and_then(|path| path.strip_prefix('/')).expect("the stage");
        for file in files.split(',').map(|file| file.trim().trim_matches('\'')) {
            let content = self.stage.read(&format!("{path}{file}")).await;
            let put = format!("PUT 'file:///{file}' @{EMULATOR_STAGE}/{path} AUTO_COMPRESS=FALSE");
            let order = self.send(token, &json!({"sqlText": put})).await;
            let url = order["data"]["stageInfo"]["presignedUrl"].as_str().expect("fakesnow gives a URL");
            let stored = self.http.put(url).body(content).send().await.expect("fakesnow takes it");
            assert!(stored.status().is_success(), "{stored:?}");
        }
        format!("{before} FROM @{EMULATOR_STAGE}/{path} FILES=({files}){after}")
    }
}
