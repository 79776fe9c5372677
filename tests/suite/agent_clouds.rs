//! The whole program with targets in Azure and Google, and with credentials as operators have them.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::agent::{Agent, Finished, Place};
use crate::support::azurite::{ACCOUNT, account_key};
use crate::support::blob_container::{Container, shared_access_signature};
use crate::support::cloud_front::{Cloud, Front};
use crate::support::folder::{Folder, write_program};
use crate::support::foreign_reader;
use crate::support::s3::Bucket;
use crate::support::server::free_address;

/// Rows of the query below.
const ROWS: u64 = 20_000;
const QUERY: &str = "WITH RECURSIVE numbers(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM numbers WHERE id < 20000) \
     SELECT id, 'name ' || id AS name FROM numbers";

/// A place with a database that needs no server.
fn place() -> Place {
    let place = Place::new();
    let database = place.path().join("source.db");
    fs::write(&database, "").expect("an empty file is an empty database");
    place.connection("source.shop", &format!("kind = \"sqlite\"\npath = {database:?}\n"))
}

/// Posts a task in both forms, and compares receipts, objects and rows.
async fn check_tasks(agent: &Agent, kind: &str, objects: impl AsyncFn() -> BTreeMap<String, Vec<u8>>) {
    agent
        .submit(json!({
            "id": "nested",
            "source_config": {"database": "shop", "query": QUERY},
            "destination_config": {"type": kind, "path": "to/it", "max_file_size": 50_000},
        }))
        .await;
    agent
        .submit(json!({
            "id": "flat", "engine": "shop", "statement": QUERY, "source_type": "jdbc",
            "upload_type": kind, "upload_path": "to/it/",
        }))
        .await;
    let mut paths = Vec::new();
    let download = Folder::new();
    let mut file_count = 0;
    for id in ["nested", "flat"] {
        let task = agent.wait_until(id, "completed").await;
        let objects = objects().await;
        let files = task["receipt"]["files"].as_array().expect("files").clone();
        file_count += files.len();
        assert_eq!(files.iter().filter_map(|file| file["rows"].as_u64()).sum::<u64>(), ROWS);
        for file in &files {
            let name = file["location"].as_str().unwrap().rsplit('/').next().unwrap();
            let content = &objects[&format!("exports/to/it/{name}")];
            assert_eq!(file["bytes"], content.len());
            let sha256: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(file["sha256"], Value::String(sha256));
            let path = download.path().join(name);
            fs::write(&path, content).unwrap();
            paths.push(path);
        }
    }
    assert_eq!(objects().await.len(), file_count, "nothing else is there");
    if foreign_reader::is_installed() {
        let found = foreign_reader::query(
            &paths,
            "SELECT CAST(count(*) AS varchar), CAST(sum(id) AS varchar), max(name) FROM result",
        );
        let expected = ["40000", "400020000", "name 9999"].map(|text| Some(text.to_owned()));
        assert_eq!(found.rows, [expected]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_posted_task_becomes_the_same_rows_in_azure() {
    let Some(container) = Container::new().await else { return };
    let connection_string = format!(
        "DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={};BlobEndpoint=http://{}/{ACCOUNT};",
        account_key(),
        container.service()
    );
    let section = format!(
        "connection_string = {connection_string:?}\ncontainer_name = {:?}\nprefix = \"exports\"\n",
        container.name
    );
    let agent = place().connection("target.blob", &section).start().await;
    check_tasks(&agent, "blob", async || container.blobs("").await).await;
    agent.health_when("destination_connections", "blob").await;
    assert_eq!(container.uncommitted().await, Vec::<String>::new());
    assert!(!agent.log().contains(&account_key()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_posted_task_becomes_the_same_rows_in_google_cloud_storage() {
    let front = Front::start(Cloud::Google).await.expect("moto is always there");
    let bucket = Bucket::new().await;
    let place = place();
    let key_file = place.path().join("key.json");
    fs::write(&key_file, front.service_account()).unwrap();
    let section = format!(
        "bucket_name = {:?}\nprefix = \"exports\"\nendpoint_url = \"http://{}\"\nservice_account_file = {key_file:?}\n",
        bucket.name, front.address
    );
    let agent = place.connection("target.gcs", &section).start().await;
    check_tasks(&agent, "gcs", async || bucket.objects("").await).await;
    assert_eq!(bucket.unfinished_uploads().await, Vec::<String>::new());
    assert_eq!(front.ways(), ["service account"]);
    assert!(!agent.log().contains("PRIVATE KEY") && !agent.log().contains("token-0"));
}

/// One row into the target `lake`, which has these lines.
async fn extract(place: &Place, environment: &[(&str, &str)]) -> Finished {
    let configuration = place.configuration();
    let configuration = configuration.to_str().expect("temporary folders have plain names");
    let [source, query, to] = ["shop", "SELECT 1 AS one", "lake"];
    let arguments = [
        "extract",
        "--config",
        configuration,
        "--source",
        source,
        "--query",
        query,
        "--to",
        to,
        "--path",
        "p",
        "--id",
        "a",
    ];
    place.run_with(&arguments, environment).await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_signatures_of_azure_are_enough_each_alone() {
    let Some(container) = Container::new().await else { return };
    let base = format!(
        "kind = \"blob\"\ncontainer_name = {:?}\nendpoint_url = \"http://{}/{ACCOUNT}\"\n",
        container.name,
        container.service()
    );
    let signature = shared_access_signature();
    let string =
        format!("SharedAccessSignature={signature};BlobEndpoint=http://{}/{ACCOUNT}", container.service());
    for lines in [
        format!("account_name = \"{ACCOUNT}\"\naccount_key = \"${{env:KEY}}\"\n"),
        format!("sas_token = {:?}\n", format!("?{signature}")),
        format!("connection_string = {string:?}\n"),
    ] {
        let place = place().connection("target.lake", &format!("{base}{lines}"));
        let finished = extract(&place, &[("KEY", &account_key())]).await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!(!format!("{finished:?}").contains("sig="), "{finished:?}");
        assert_eq!(container.blobs("p/").await.len(), 1);
    }
}

/// A place whose target `lake` is in Azure behind `front`, with the default credential.
fn place_with_default_credential(container: &Container, front: &Front) -> Place {
    place().connection(
        "target.lake",
        &format!(
            "kind = \"blob\"\ncontainer_name = {:?}\nendpoint_url = \"http://{}/{ACCOUNT}\"\n\
             account_name = \"{ACCOUNT}\"\nuse_default_credential = true\n",
            container.name, front.address
        ),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_credential_of_azure_is_found_where_operators_keep_it() {
    let Some(container) = Container::new().await else { return };
    let front = Front::start(Cloud::Azure).await.expect("it was there before");
    let place = place_with_default_credential(&container, &front);
    let base = format!("http://{}", front.address);
    let nobody = format!("http://{}", free_address());
    let msi = format!("{base}/msi");
    let assertion = place.path().join("assertion");
    fs::write(&assertion, "assertion-of-cluster\n").unwrap();
    let assertion = assertion.to_str().unwrap();
    let [authority, tenant, client] = [
        ("AZURE_AUTHORITY_HOST", base.as_str()),
        ("AZURE_TENANT_ID", "tenant"),
        ("AZURE_CLIENT_ID", "client"),
    ];
    for (environment, expected) in [
        (&[authority, tenant, client, ("AZURE_CLIENT_SECRET", "secret-of-client")][..], "client secret"),
        (&[authority, tenant, client, ("AZURE_FEDERATED_TOKEN_FILE", assertion)][..], "workload identity"),
        (&[("IDENTITY_ENDPOINT", msi.as_str()), ("IDENTITY_HEADER", "header-of-service")][..], "app service"),
        (&[client, ("AZURE_POD_IDENTITY_AUTHORITY_HOST", base.as_str())][..], "machine"),
    ] {
        let seen = front.ways().len();
        let finished = extract(&place, environment).await;
        assert_eq!(finished.code, Some(0), "{expected}: {finished:?}");
        assert_eq!(front.ways()[seen..], [expected]);
        assert_eq!(container.blobs("p/").await.len(), 1);
    }

    // A stand-in for the program of that name, which logs in with a browser.
    let seen = front.ways().len();
    let programs = place.path().join("programs");
    fs::create_dir(&programs).unwrap();
    let answer = json!({"accessToken": format!("token-{seen}"), "expires_on": 4_102_444_800_u64, "tokenType": "Bearer"});
    let curl = format!("#!/bin/sh\n[ \"$1 $2\" = 'account get-access-token' ] || exit 9\necho '{answer}'\n");
    write_program(&programs, "az", &curl);
    let path = format!("{}:/usr/bin:/bin", programs.display());
    // The token is known to the front as the next one that it gives.
    let given = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = given.get(format!("{base}/msi")).header("x-identity-header", "header-of-service");
    assert!(request.send().await.unwrap().status().is_success());
    let environment = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", nobody.as_str()), ("PATH", path.as_str())];
    let finished = extract(&place, &environment).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");

    write_program(&programs, "az", "#!/bin/sh\necho 'Please run az login to setup account.' >&2\nexit 1\n");
    let finished = extract(&place, &environment).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("Please run az login"), "{finished:?}");

    fs::remove_file(programs.join("az")).unwrap();
    let alone = programs.display().to_string();
    let finished = extract(&place, &[environment[0], ("PATH", &alone)]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("no program `az`"), "{finished:?}");
    assert!(finished.stderr.contains("AZURE_CLIENT_SECRET"), "the remedy: {finished:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_azure_refuses_is_renewed() {
    let Some(container) = Container::new().await else { return };
    let front = Front::start(Cloud::Azure).await.expect("it was there before");
    let mut place = place_with_default_credential(&container, &front);
    for (name, value) in [
        ("AZURE_AUTHORITY_HOST", format!("http://{}", front.address)),
        ("AZURE_TENANT_ID", "tenant".to_owned()),
        ("AZURE_CLIENT_ID", "client".to_owned()),
        ("AZURE_CLIENT_SECRET", "secret-of-client".to_owned()),
    ] {
        place = place.environment(name, &value);
    }
    let agent = place.start().await;
    for id in ["before", "after"] {
        agent
            .submit(json!({
                "id": id,
                "source_config": {"database": "shop", "query": QUERY},
                "destination_config": {"type": "blob", "connection": "lake", "path": id},
            }))
            .await;
        let task = agent.wait_until(id, "completed").await;
        assert_eq!(task["receipt"]["rows"], ROWS);
        assert_eq!(container.blobs(&format!("{id}/")).await.len(), 1);
        front.revoke();
    }
    assert_eq!(front.ways(), ["client secret"; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_secret_that_is_refused_is_told_at_once_and_not_shown() {
    let Some(container) = Container::new().await else { return };
    let front = Front::start(Cloud::Azure).await.expect("it was there before");
    let place = place_with_default_credential(&container, &front);
    let base = format!("http://{}", front.address);
    let environment = [
        ("AZURE_AUTHORITY_HOST", base.as_str()),
        ("AZURE_TENANT_ID", "tenant"),
        ("AZURE_CLIENT_ID", "client"),
        ("AZURE_CLIENT_SECRET", "hunter2"),
    ];
    let finished = extract(&place, &environment).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("invalid_client"), "{finished:?}");
    assert!(finished.stderr.contains("Check AZURE_TENANT_ID"), "{finished:?}");
    assert!(!format!("{finished:?}").contains("hunter2"), "{finished:?}");
    assert!(container.blobs("").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_credentials_of_google_are_found_where_operators_keep_them() {
    let front = Front::start(Cloud::Google).await.expect("moto is always there");
    let bucket = Bucket::new().await;
    let place = place().connection(
        "target.lake",
        &format!(
            "kind = \"gcs\"\nbucket_name = {:?}\nendpoint_url = \"http://{}\"\n",
            bucket.name, front.address
        ),
    );
    let key_file = place.path().join("key.json");
    fs::write(&key_file, front.service_account()).unwrap();
    let host = front.address.to_string();
    let person = json!({
        "type": "authorized_user", "client_id": "c", "client_secret": "s",
        "refresh_token": "refresh-of-person", "token_uri": format!("http://{host}/token"),
    });
    let metadata = ("GCE_METADATA_HOST", host.as_str());
    let named = ("GOOGLE_APPLICATION_CREDENTIALS", key_file.to_str().unwrap());
    let logged_in = place.path().join(".config/gcloud/application_default_credentials.json");
    for (environment, has_logged_in, expected) in [
        (&[metadata][..], false, "metadata server"),
        (&[metadata][..], true, "person"),
        (&[metadata, named][..], true, "service account"),
    ] {
        if has_logged_in {
            fs::create_dir_all(logged_in.parent().unwrap()).unwrap();
            fs::write(&logged_in, person.to_string()).unwrap();
        }
        let seen = front.ways().len();
        let finished = extract(&place, environment).await;
        assert_eq!(finished.code, Some(0), "{expected}: {finished:?}");
        assert_eq!(front.ways()[seen..], [expected]);
        assert_eq!(bucket.objects("p/").await.len(), 1);
    }
}
