//! The bodies of logins, with real keys and with servers on this machine.

mod client_credentials;
mod external_browser;
mod key_pair;
mod workload_identity;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Value, json};

use super::*;
use crate::config::testing::Directory;
use crate::config::{Environment, Secret};
use crate::fault::FaultKind;
use crate::snowflake::proof;
use crate::snowflake::settings::{Setting, Settings};

/// A server on this machine that writes down what it is asked.
struct Server {
    url: String,
    requests: Arc<Mutex<Vec<Seen>>>,
}

/// One request.
#[derive(Clone, Debug)]
struct Seen {
    method: String,
    uri: String,
    headers: HeaderMap,
    body: String,
}

impl Server {
    /// Answers request number n (from 0) with what `answer` gives for it.
    async fn start(answer: impl Fn(usize, &Seen) -> (u16, String) + Send + Sync + 'static) -> Self {
        let requests: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let seen = Arc::clone(&requests);
        let answer = Arc::new(answer);
        let router = axum::Router::new().fallback(
            move |method: Method, uri: Uri, headers: HeaderMap, body: String| {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                async move {
                    let request = Seen { method: method.to_string(), uri: uri.to_string(), headers, body };
                    let mut seen = seen.lock().unwrap();
                    let (status, body) = answer(seen.len(), &request);
                    seen.push(request);
                    (StatusCode::from_u16(status).unwrap(), body)
                }
            },
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        crate::shutdown::spawn_server(async move { axum::serve(listener, router).await });
        Self { url, requests }
    }

    fn seen(&self) -> Vec<Seen> {
        self.requests.lock().unwrap().clone()
    }

    fn port(&self) -> i64 {
        self.url.rsplit(':').next().unwrap().parse().unwrap()
    }
}

fn header<'a>(seen: &'a Seen, name: &str) -> &'a str {
    seen.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

fn text(value: &str) -> Setting {
    Setting::Text(value.into())
}

fn secret(value: &str) -> Setting {
    Setting::Secret(Secret::new(value))
}

fn path(value: &Path) -> Setting {
    Setting::Path(value.to_owned())
}

/// A connection of these settings and those of every connection.
#[track_caller]
fn connection_in(settings: &[(&'static str, Setting)], environment: &Environment) -> Connection {
    let mut all = Settings::default();
    all.set("account", text("myorg-account1"));
    for (key, value) in settings {
        all.set(key, value.clone());
    }
    proof::prove(&all, environment).unwrap_or_else(|problems| panic!("{problems:?}"))
}

#[track_caller]
fn connection(settings: &[(&'static str, Setting)]) -> Connection {
    connection_in(settings, &Environment::default())
}

async fn login(connection: &Connection) -> Result<LoginParts, Fault> {
    connection.authentication.login_parts(connection, &reqwest::Client::new()).await
}

async fn good(connection: &Connection) -> LoginParts {
    login(connection).await.unwrap_or_else(|fault| panic!("{}", fault.chain()))
}

/// Cause chain and remedy of a login that fails.
async fn bad(connection: &Connection) -> (FaultKind, String) {
    let fault = login(connection).await.unwrap_err();
    (fault.kind(), format!("{}. {}", fault.chain(), fault.hint().unwrap_or_default()))
}

#[tokio::test]
async fn a_password_is_sent_with_what_the_second_factor_needs() {
    let base = [("user", text("ada")), ("password", secret("pw"))];
    let mut settings = base.to_vec();
    let parts = good(&connection(&settings)).await;
    assert_eq!(Value::from(parts.data), json!({"LOGIN_NAME": "ada", "PASSWORD": "pw"}));

    settings.push(("passcode", secret("123456")));
    let parts = good(&connection(&settings)).await;
    assert_eq!(
        Value::from(parts.data),
        json!({"LOGIN_NAME": "ada", "PASSWORD": "pw", "EXT_AUTHN_DUO_METHOD": "passcode", "PASSCODE": "123456"})
    );

    let mut settings = base.to_vec();
    settings.push(("authenticator", text("username_password_mfa")));
    settings.push(("passcode_in_password", Setting::Boolean(true)));
    let parts = good(&connection(&settings)).await;
    assert_eq!(
        Value::from(parts.data),
        json!({"LOGIN_NAME": "ada", "PASSWORD": "pw", "EXT_AUTHN_DUO_METHOD": "passcode"})
    );
}

#[tokio::test]
async fn a_token_is_sent_with_its_kind_and_without_a_line_end() {
    let oauth = connection(&[("token", secret(" tok\n"))]);
    let parts = good(&oauth).await;
    assert_eq!(Value::from(parts.data), json!({"AUTHENTICATOR": "OAUTH", "LOGIN_NAME": "", "TOKEN": "tok"}));
    assert!(!oauth.authentication.forget_token(), "the same text would be refused again");

    let programmatic = connection(&[
        ("authenticator", text("Programmatic_Access_Token")),
        ("user", text("ada")),
        ("password", secret("pat")),
    ]);
    let parts = good(&programmatic).await;
    assert_eq!(
        Value::from(parts.data),
        json!({"AUTHENTICATOR": "PROGRAMMATIC_ACCESS_TOKEN", "LOGIN_NAME": "ada", "TOKEN": "pat"})
    );

    let (kind, text) = bad(&connection(&[("token", secret(" "))])).await;
    assert_eq!(kind, FaultKind::Credentials);
    assert_eq!(text, "use the token of the connection: it is empty. Write a token there.");
}

#[tokio::test]
async fn a_token_file_is_read_at_each_login() {
    let directory = Directory::new();
    let file = directory.write("token", "first\r\n");
    let connection = connection(&[("token", secret("never")), ("token_file_path", path(&file))]);
    assert_eq!(good(&connection).await.data["TOKEN"], "first");
    directory.write("token", "second");
    assert_eq!(good(&connection).await.data["TOKEN"], "second");
    assert!(connection.authentication.forget_token());
    std::fs::remove_file(&file).unwrap();
    let (kind, text) = bad(&connection).await;
    assert_eq!(kind, FaultKind::Credentials);
    assert!(text.starts_with(&format!("read the token file {}: No such file", file.display())), "{text}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_token_file_that_others_can_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new();
    let file = directory.write("token", "stolen");
    let connection = connection(&[("token_file_path", path(&file))]);
    for (mode, is_good) in [(0o600, true), (0o644, true), (0o620, false), (0o602, false)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let found = login(&connection).await;
        assert_eq!(found.is_ok(), is_good, "{mode:o}: {found:?}");
    }
    let (kind, text) = bad(&connection).await;
    assert_eq!(kind, FaultKind::Credentials);
    assert!(text.contains("other users of this machine can write to it. Run chmod go-w on "), "{text}");
}

/// What a container service has, with its files in `directory`.
fn service(directory: &Directory) -> (Connection, PathBuf) {
    let environment = Environment::of([
        ("SNOWFLAKE_HOST", "snowflake.example.com"),
        ("SNOWFLAKE_ACCOUNT", "AB12345"),
        ("SNOWFLAKE_RUNNING_INSIDE_SPCS", "1"),
    ]);
    let mut over = Settings::default();
    let file = directory.path().join("token");
    over.set("token_file_path", path(&file));
    let settings = crate::snowflake::spcs::settings(&environment).unwrap().under(over);
    (proof::prove(&settings, &environment).unwrap(), file)
}

#[tokio::test]
async fn a_container_service_shows_its_token_and_that_of_its_platform() {
    let directory = Directory::new();
    let (mut connection, file) = service(&directory);
    assert_eq!(connection.service_token_file.as_deref(), Some(Path::new("/snowflake/session/spcs_token")));
    assert_eq!(connection.base_url(), "https://snowflake.example.com:443");

    let (kind, text) = bad(&connection).await;
    assert_eq!(kind, FaultKind::Credentials);
    assert!(
        text.starts_with(&format!(
            "log in as the service of this container: read the token file {}: ",
            file.display()
        )),
        "{text}"
    );
    assert!(text.contains("Run the agent inside Snowpark Container Services"), "{text}");

    directory.write("token", "service\n");
    connection.service_token_file = Some(directory.path().join("spcs_token"));
    let expected = json!({"AUTHENTICATOR": "OAUTH", "LOGIN_NAME": "", "TOKEN": "service"});
    assert_eq!(Value::from(good(&connection).await.data), expected, "it goes on without the second token");

    directory.write("spcs_token", " platform \n");
    let expected =
        json!({"AUTHENTICATOR": "OAUTH", "LOGIN_NAME": "", "TOKEN": "service", "SPCS_TOKEN": "platform"});
    assert_eq!(Value::from(good(&connection).await.data), expected);
}

#[tokio::test]
async fn no_debug_output_of_a_login_shows_a_secret() {
    let connection = connection(&[
        ("user", text("ada")),
        ("password", secret("hunter2")),
        ("passcode", secret("hunter3")),
    ]);
    let shown = format!("{connection:?} {:?}", good(&connection).await);
    assert!(shown.contains("PASSWORD") && !shown.contains("hunter"), "{shown}");
}
