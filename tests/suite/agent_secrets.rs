//! Secrets that live elsewhere, and passwords that are replaced while the agent runs.

use std::fs;

use serde_json::json;

use crate::support::agent::{Finished, Place};
use crate::support::postgres::{self, Database, Options, Postgres, SCRAM_USER};
use crate::support::s3;
use crate::support::secret_services::{
    IDENTITY_HEADER, SECRET_ID, SERVICE_ACCOUNT, SecretServices, VAULT_TOKEN,
};

/// A source that logs in with what `password` refers to.
fn source(port: u16, database: &Database, password: &str) -> String {
    format!(
        "kind = \"postgresql\"\nhost = \"127.0.0.1\"\nport = {port}\nusername = {:?}\npassword = {password:?}\n\
         database = {:?}\n",
        SCRAM_USER.0,
        database.name()
    )
}

fn task(id: &str, source: &str) -> serde_json::Value {
    json!({
        "id": id,
        "source_config": {"database": source, "query": "SELECT 1 AS one"},
        "destination_config": {"type": "local", "path": id},
        "max_attempts": 1,
    })
}

async fn check(place: &Place, environment: &[(&str, &str)]) -> Finished {
    let file = place.configuration();
    let finished = place.run_with(&["check", "--config", file.to_str().unwrap()], environment).await;
    for planted in ["planted", SCRAM_USER.1] {
        assert!(!format!("{finished:?}").contains(planted), "{finished:?}");
    }
    finished
}

#[tokio::test]
async fn a_password_comes_from_vault_by_every_way_to_log_in() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let services = SecretServices::start().await;
    services.set("kv/db/sales", json!({"password": SCRAM_USER.1, "user": "x"}));
    let place = |login: &str| {
        let vault = format!("address = \"http://{}\"\nmount = \"kv\"\n{login}", services.address);
        let reference = "${vault:db/sales#password}";
        Place::new()
            .section("secrets.vault", &vault)
            .connection("source.sales", &source(server.port(), &database, reference))
    };
    let folder = crate::support::folder::Folder::new();
    let account = folder.path().join("token");
    fs::write(&account, format!("{SERVICE_ACCOUNT}\n")).unwrap();
    let token = format!("token = {VAULT_TOKEN:?}\n");
    let role = format!("authentication = \"approle\"\nrole_id = \"agent\"\nsecret_id = {SECRET_ID:?}\n");
    let pod = format!(
        "authentication = \"kubernetes\"\nauthentication_mount = \"cluster\"\nrole = \"agent\"\ntoken_file = {:?}\n",
        account.display().to_string()
    );
    for login in [&token, &role, &pod] {
        let finished = check(&place(login), &[]).await;
        assert_eq!(finished.code, Some(0), "{login}: {finished:?}");
    }
    // Both fields of a secret are one question.
    let before = services.reads("kv/db/sales");
    let both = place(&token)
        .connection("source.same", &source(server.port(), &database, "${vault:db/sales#password}"));
    assert_eq!(check(&both, &[]).await.code, Some(0));
    assert_eq!(services.reads("kv/db/sales"), before + 1);

    for (login, expected) in [
        ("token = \"planted-wrong\"\n", "Vault answered 403: permission denied"),
        (
            "authentication = \"approle\"\nrole_id = \"agent\"\nsecret_id = \"planted-wrong\"\n",
            "log in to Vault at auth/approle: Vault answered 400: invalid role or secret ID",
        ),
        (
            "authentication = \"kubernetes\"\nrole = \"agent\"\ntoken_file = \"/nowhere/at/all\"\n",
            "read the token of the service account in /nowhere/at/all",
        ),
    ] {
        let finished = check(&place(login), &[]).await;
        let said = format!("{}{}", finished.stdout, finished.stderr);
        assert_eq!(finished.code, Some(2), "{said}");
        assert!(
            said.contains("connections.source.sales.password refers to ${vault:db/sales#password}"),
            "{said}"
        );
        assert!(said.contains(expected), "{said}");
    }
    for (reference, expected) in [
        ("${vault:db/sales#user_name}", "the secret has no field `user_name`; it has: password, user"),
        ("${vault:db/slaes#password}", "there is no such secret, or its version was deleted"),
    ] {
        let place = place(&token).connection("source.sales", &source(server.port(), &database, reference));
        let said = format!("{:?}", check(&place, &[]).await);
        assert!(said.contains(expected), "{said}");
    }
}

#[tokio::test]
async fn a_password_comes_from_the_stores_of_amazon_and_microsoft_and_from_a_program() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let services = SecretServices::start().await;
    let name = format!("prod/{}", uuid::Uuid::new_v4());
    let endpoint = format!("http://{}", s3::server_address());
    create_secret(&endpoint, &name, &json!({"password": SCRAM_USER.1}).to_string()).await;
    create_secret(&endpoint, &format!("{name}-plain"), SCRAM_USER.1).await;
    services.set("sales-password", json!(SCRAM_USER.1));
    let azure = format!("http://{}/identity", services.address);
    let environment = [
        ("AWS_ACCESS_KEY_ID", "writer"),
        ("AWS_SECRET_ACCESS_KEY", "planted-aws-secret"),
        ("IDENTITY_ENDPOINT", azure.as_str()),
        ("IDENTITY_HEADER", IDENTITY_HEADER),
    ];
    let place = |reference: &str| {
        Place::new()
            .section("secrets", "allow_command_secrets = true\n")
            .section("secrets.aws", &format!("region_name = \"us-east-1\"\nendpoint_url = {endpoint:?}\n"))
            .section("secrets.azure", &format!("endpoint_url = \"http://{}\"\n", services.address))
            .connection("source.sales", &source(server.port(), &database, reference))
    };
    let folder = crate::support::folder::Folder::new();
    let file = folder.path().join("a secret");
    fs::write(&file, format!("{}\n", SCRAM_USER.1)).unwrap();
    let program = format!("${{cmd:cat '{}'}}", file.display());
    for reference in [
        format!("${{aws-secret:{name}#password}}"),
        format!("${{aws-secret:{name}-plain}}"),
        "${azure-secret:vault/sales-password}".to_owned(),
        program.clone(),
    ] {
        let finished = check(&place(&reference), &environment).await;
        assert_eq!(finished.code, Some(0), "{reference}: {finished:?}");
    }
    for (reference, expected) in [
        (format!("${{aws-secret:{name}#user}}"), "the secret has no field `user`; it has: password"),
        ("${aws-secret:nobody}".to_owned(), "ResourceNotFoundException"),
        ("${azure-secret:vault/nobody}".to_owned(), "Azure answered 404"),
        ("${azure-secret:vault.evil.example/x}".to_owned(), "names of vaults and secrets"),
        ("${cmd:false planted}".to_owned(), "run the program `false`: it ended with exit status: 1"),
    ] {
        let finished = check(&place(&reference), &environment).await;
        let said = format!("{}{}", finished.stdout, finished.stderr);
        assert_eq!(finished.code, Some(2), "{said}");
        assert!(said.contains(expected), "{reference}: {said}");
    }
    let forbidden = Place::new().connection("source.sales", &source(server.port(), &database, &program));
    let said = check(&forbidden, &[]).await.stderr;
    let said = if said.is_empty() { format!("{:?}", check(&forbidden, &[]).await) } else { said };
    assert!(said.contains("secrets.allow_command_secrets = true"), "{said}");
}

/// Creates a secret in moto.
async fn create_secret(endpoint: &str, name: &str, text: &str) {
    ask_secrets_manager(endpoint, "CreateSecret", &json!({"Name": name, "SecretString": text})).await;
}

/// Asks moto, which looks at the form of a signature only.
async fn ask_secrets_manager(endpoint: &str, operation: &str, body: &serde_json::Value) {
    let scope = "AWS4-HMAC-SHA256 Credential=tester/20260101/us-east-1/secretsmanager/aws4_request, \
                 SignedHeaders=host, Signature=0";
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client
        .post(format!("{endpoint}/"))
        .header("authorization", scope)
        .header("x-amz-target", format!("secretsmanager.{operation}"))
        .header("content-type", "application/x-amz-json-1.1")
        .body(body.to_string());
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
}

/// Gives the user of the tests another password.
async fn change(database: &Database, password: &str) {
    database.execute(&format!("ALTER ROLE {} PASSWORD '{password}'", SCRAM_USER.0)).await;
}

#[tokio::test]
async fn a_password_that_is_replaced_while_the_agent_runs_is_read_again() {
    if postgres::server_if_installed().await.is_none() {
        return;
    }
    // Of its own: the password of a role belongs to the whole server.
    let server = Postgres::private(Options::default()).await;
    let database = server.create_database().await;
    let services = SecretServices::start().await;
    let folder = crate::support::folder::Folder::new();
    let file = folder.path().join("password");
    let (stored, written) = ("planted-first-password", "planted-second-password");
    let store = |password: &str| {
        services.set("secret/sales", json!({"password": password}));
        fs::write(&file, password).unwrap();
    };
    store(stored);
    change(&database, stored).await;
    let vault = format!("address = \"http://{}\"\ntoken = {VAULT_TOKEN:?}\n", services.address);
    let from_file = format!("${{file:{}}}", file.display());
    let mut agent = Place::new()
        .section("secrets.vault", &vault)
        .connection("source.vault", &source(server.port(), &database, "${vault:sales#password}"))
        .connection("source.file", &source(server.port(), &database, &from_file))
        .connection("source.literal", &source(server.port(), &database, stored))
        .argument("--debug")
        .start()
        .await;
    for name in ["vault", "file", "literal"] {
        agent.submit(task(&format!("before-{name}"), name)).await;
        agent.wait_until(&format!("before-{name}"), "completed").await;
    }
    // The database is first, so that a login is refused and nothing is newer yet.
    change(&database, written).await;
    agent.submit(task("early", "vault")).await;
    let early = agent.wait_until("early", "failed").await;
    assert_eq!(early["attempts"][0]["error"]["kind"], "credentials", "{early}");
    store(written);
    for name in ["vault", "file"] {
        // With one attempt for each task, the login itself has to be tried again.
        agent.submit(task(&format!("after-{name}"), name)).await;
        agent.wait_until(&format!("after-{name}"), "completed").await;
    }
    agent.submit(task("after-literal", "literal")).await;
    agent.wait_until("after-literal", "failed").await;
    let health = agent.health_when("database_connections", "vault").await;
    assert_ne!(health["database_connections"]["literal"], "connected", "{health}");
    agent.signal("TERM");
    agent.exit().await;
    let log = agent.log();
    assert_eq!(log.matches("there are new secrets for it").count(), 2, "{log}");
    assert!(!log.contains("planted"), "{log}");
    assert!(!agent.answers_seen().contains("planted"));
}

#[tokio::test]
async fn a_password_of_amazon_of_microsoft_and_of_a_program_is_read_again_when_it_is_refused() {
    if postgres::server_if_installed().await.is_none() {
        return;
    }
    // Of its own: the password of a role belongs to the whole server.
    let server = Postgres::private(Options::default()).await;
    let database = server.create_database().await;
    let services = SecretServices::start().await;
    let endpoint = format!("http://{}", s3::server_address());
    let name = format!("prod/{}", uuid::Uuid::new_v4());
    let folder = crate::support::folder::Folder::new();
    let file = folder.path().join("password");
    let stored = |password: &str| json!({"password": password}).to_string();
    let store = async |password: &str| {
        let value = json!({"SecretId": name, "SecretString": stored(password)});
        ask_secrets_manager(&endpoint, "PutSecretValue", &value).await;
        services.set("sales-password", json!(password));
        fs::write(&file, password).unwrap();
    };
    create_secret(&endpoint, &name, &stored("planted-first-password")).await;
    store("planted-first-password").await;
    change(&database, "planted-first-password").await;
    let references = [
        ("amazon", format!("${{aws-secret:{name}#password}}")),
        ("microsoft", "${azure-secret:vault/sales-password}".to_owned()),
        ("program", format!("${{cmd:cat '{}'}}", file.display())),
    ];
    let mut place = Place::new()
        .section("secrets", "allow_command_secrets = true\n")
        .section("secrets.aws", &format!("region_name = \"us-east-1\"\nendpoint_url = {endpoint:?}\n"))
        .section("secrets.azure", &format!("endpoint_url = \"http://{}\"\n", services.address))
        .environment("AWS_ACCESS_KEY_ID", "writer")
        .environment("AWS_SECRET_ACCESS_KEY", "planted-aws-secret")
        .environment("IDENTITY_ENDPOINT", &format!("http://{}/identity", services.address))
        .environment("IDENTITY_HEADER", IDENTITY_HEADER)
        .argument("--debug");
    for (name, reference) in &references {
        place = place.connection(&format!("source.{name}"), &source(server.port(), &database, reference));
    }
    let mut agent = place.start().await;
    for (name, _) in &references {
        agent.submit(task(&format!("before-{name}"), name)).await;
        agent.wait_until(&format!("before-{name}"), "completed").await;
    }
    // The database is first, so that a login is refused and nothing is newer yet.
    change(&database, "planted-second-password").await;
    for (name, _) in &references {
        agent.submit(task(&format!("early-{name}"), name)).await;
        let early = agent.wait_until(&format!("early-{name}"), "failed").await;
        assert_eq!(early["attempts"][0]["error"]["kind"], "credentials", "{early}");
    }
    store("planted-second-password").await;
    for (name, _) in &references {
        // With one attempt for each task, the login itself has to be tried again.
        agent.submit(task(&format!("after-{name}"), name)).await;
        agent.wait_until(&format!("after-{name}"), "completed").await;
    }
    // A store that cannot be asked changes nothing: the password that is known goes on to work.
    fs::remove_file(&file).unwrap();
    agent.submit(task("last", "program")).await;
    agent.wait_until("last", "completed").await;
    change(&database, "planted-third-password").await;
    agent.submit(task("gone", "program")).await;
    let gone = agent.wait_until("gone", "failed").await;
    assert_eq!(gone["attempts"][0]["error"]["kind"], "credentials", "{gone}");
    agent.signal("TERM");
    agent.exit().await;
    let log = agent.log();
    assert_eq!(log.matches("there are new secrets for it").count(), 3, "{log}");
    assert!(log.contains("the secrets of a connection cannot be read again"), "{log}");
    assert!(!log.contains("planted"), "{log}");
    assert!(!agent.answers_seen().contains("planted"));
}
