//! Targets in Azure and Google: what is proven, and what the environment adds.

use std::path::PathBuf;
use std::time::Duration;

use super::*;

const ACCOUNT: &str = "container_name = \"lake\"\naccount_name = \"account\"\n";

fn parsed(section: &str, lines: &str, environment: &Environment) -> Result<TargetConnection, String> {
    let text = format!("[application]\ndata_directory = \"/d\"\n[connections.target.{section}]\n{lines}\n");
    match parse(&text, "configuration.toml", &Overrides::default(), environment) {
        Ok((mut config, _)) => Ok(config.targets.remove(section).expect("the section is a target")),
        Err(problems) => Err(problems.to_string()),
    }
}

fn blob(lines: &str) -> AzureBlobTarget {
    blob_in(lines, &Environment::default())
}

fn blob_in(lines: &str, environment: &Environment) -> AzureBlobTarget {
    match parsed("blob", lines, environment) {
        Ok(TargetConnection::AzureBlob(target)) => target,
        other => panic!("{lines}: {other:?}"),
    }
}

fn gcs_in(lines: &str, environment: &Environment) -> GcsTarget {
    match parsed("gcs", lines, environment) {
        Ok(TargetConnection::Gcs(target)) => target,
        other => panic!("{lines}: {other:?}"),
    }
}

fn bad(section: &str, lines: &str) -> String {
    parsed(section, lines, &Environment::default()).expect_err(lines)
}

#[test]
fn a_connection_string_says_everything_about_the_account() {
    let key =
        AzureCredentials::AccountKey { account_name: "account".into(), account_key: Secret::new("a2V5") };
    let signature = AzureCredentials::SharedAccessSignature(Secret::new("sv=1&sig=x%3D"));
    for (string, endpoint, credentials) in [
        (
            "DefaultEndpointsProtocol=https;AccountName=account;AccountKey=a2V5;EndpointSuffix=core.windows.net",
            "https://account.blob.core.windows.net",
            &key,
        ),
        ("accountname=account;accountkey=a2V5", "https://account.blob.core.windows.net", &key),
        (
            "AccountName=account;AccountKey=a2V5;EndpointSuffix=core.chinacloudapi.cn;QueueEndpoint=https://q",
            "https://account.blob.core.chinacloudapi.cn",
            &key,
        ),
        (
            "AccountName=account;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:10000/account/;",
            "http://127.0.0.1:10000/account",
            &key,
        ),
        (
            "BlobEndpoint=https://b.example.com;SharedAccessSignature=?sv=1&sig=x%3D",
            "https://b.example.com",
            &signature,
        ),
    ] {
        let target = blob(&format!("container_name = \"lake\"\nconnection_string = {string:?}"));
        assert_eq!((target.endpoint_url.as_str(), &target.credentials), (endpoint, credentials), "{string}");
    }
    let target = blob("container_name = \"lake\"\nconnection_string = \"UseDevelopmentStorage=true\"");
    assert_eq!(target.endpoint_url, "http://127.0.0.1:10000/devstoreaccount1");
}

#[test]
fn every_way_to_log_in_to_azure_is_enough_alone() {
    let target = blob(&format!("{ACCOUNT}account_key = \"a2V5\"\nprefix = \"/a/b/\"\npart_size = \"1 MiB\""));
    assert_eq!(target.endpoint_url, "https://account.blob.core.windows.net");
    assert_eq!(
        (target.prefix.as_str(), target.part_size.get(), target.parallel_parts.get()),
        ("a/b/", 1 << 20, 2)
    );
    assert_eq!(target.request_timeout, Duration::from_secs(60));
    let target = blob(&format!("{ACCOUNT}sas_token = \"?sv=1&sig=x\""));
    assert_eq!(target.credentials, AzureCredentials::SharedAccessSignature(Secret::new("sv=1&sig=x")));
    let AzureCredentials::Default(identity) =
        blob(&format!("{ACCOUNT}use_default_credential = true")).credentials
    else {
        panic!("another way");
    };
    assert_eq!(identity.authority_host, "https://login.microsoftonline.com");
    let metadata = ManagedIdentity::Machine { endpoint: "http://169.254.169.254".into() };
    assert_eq!(identity.managed_identity, metadata);
}

#[test]
fn the_default_credential_of_azure_is_taken_from_the_environment() {
    let environment = Environment::of([
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_CLIENT_SECRET", "hunter2"),
        ("AZURE_FEDERATED_TOKEN_FILE", "/var/run/token"),
        ("AZURE_AUTHORITY_HOST", "login.chinacloudapi.cn/"),
        ("IDENTITY_ENDPOINT", "http://localhost/msi"),
        ("IDENTITY_HEADER", "hunter2"),
    ]);
    let target = blob_in(&format!("{ACCOUNT}use_default_credential = true"), &environment);
    assert!(!format!("{target:?}").contains("hunter2"), "{target:?}");
    let AzureCredentials::Default(identity) = target.credentials else { panic!("another way") };
    let expected = AzureIdentity {
        tenant_id: Some("t".into()),
        client_id: Some("c".into()),
        client_secret: Some(Secret::new("hunter2")),
        federated_token_file: Some(PathBuf::from("/var/run/token")),
        authority_host: "https://login.chinacloudapi.cn".into(),
        managed_identity: ManagedIdentity::AppService {
            endpoint: "http://localhost/msi".into(),
            header: Secret::new("hunter2"),
        },
    };
    assert_eq!(*identity, expected);
}

#[test]
fn wrong_targets_in_azure_are_told_without_their_secrets() {
    let account = |lines: &str| format!("{ACCOUNT}{lines}");
    for (lines, expected) in [
        ("account_name = \"account\"\nsas_token = \"sig=hunter2\"".to_owned(), "container_name is missing"),
        ("container_name = \"Lake\"".to_owned(), "3 to 63 lower-case letters"),
        (account(""), "account_key is missing, and no other credentials are given"),
        (account("use_default_credential = false"), "no other credentials"),
        (account("account_key = \"hunter2!\""), "it is not base64"),
        (account("sas_token = \"hunter2\""), "holds no shared access signature"),
        (account("sas_token = \"sig=x\"\naccount_key = \"a2V5\""), "sas_token is given beside account_key"),
        (
            account("use_default_credential = true\naccount_key = \"a2V5\""),
            "use_default_credential is given beside account_key",
        ),
        (
            account("connection_string = \"AccountName=a;AccountKey=a2V5\""),
            "account_name is given beside connection_string",
        ),
        (
            "container_name = \"lake\"\nconnection_string = \"hunter2\"".to_owned(),
            "is not a connection string of a storage account",
        ),
        (
            "container_name = \"lake\"\nconnection_string = \"AccountName=account;Password=hunter2\""
                .to_owned(),
            "is not a connection string of a storage account",
        ),
        ("container_name = \"lake\"\naccount_key = \"a2V5\"".to_owned(), "account_name is missing"),
        ("container_name = \"lake\"\nuse_default_credential = true".to_owned(), "account_name is missing"),
        (
            account("use_default_credential = true\nendpoint_url = \"http://storage.example.com\""),
            "would carry tokens over plain HTTP",
        ),
        (
            account("sas_token = \"sig=hunter2\"\nendpoint_url = \"http://storage.example.com\""),
            "endpoint_url would carry the shared access signature over plain HTTP",
        ),
        (
            "container_name = \"lake\"\nconnection_string = \
             \"DefaultEndpointsProtocol=http;AccountName=account;SharedAccessSignature=sig=hunter2\""
                .to_owned(),
            "connection_string would carry the shared access signature over plain HTTP",
        ),
        (
            account("sas_token = \"sig=x\"\nendpoint_url = \"https://u:hunter2@host\""),
            "endpoint_url is not a URL",
        ),
        (account("sas_token = \"sig=x\"\npart_size = \"512 KiB\""), "a size from 1 MiB to 4000 MiB"),
    ] {
        let problems = bad("blob", &lines);
        assert!(problems.contains(expected), "{lines}\n{problems}");
        assert!(!problems.contains("hunter2"), "{problems}");
    }
}

#[test]
fn google_is_proven_with_the_credentials_of_the_environment() {
    let home = Environment::default().with_home("/home/agent");
    let target = gcs_in("bucket_name = \"lake\"\nprefix = \"a\"", &home);
    assert_eq!(
        (target.prefix.as_str(), target.endpoint_url.as_str()),
        ("a/", "https://storage.googleapis.com")
    );
    let expected = GoogleCredentials::Default {
        user_file: Some("/home/agent/.config/gcloud/application_default_credentials.json".into()),
        metadata_endpoint: "http://metadata.google.internal".into(),
    };
    assert_eq!(target.credentials, expected);

    let named =
        Environment::of([("GOOGLE_APPLICATION_CREDENTIALS", "/run/key.json")]).with_home("/home/agent");
    let file = |path: &str| GoogleCredentials::File(path.into());
    assert_eq!(gcs_in("bucket_name = \"lake\"", &named).credentials, file("/run/key.json"));
    let lines = "bucket_name = \"lake\"\nservice_account_file = \"~/own.json\"";
    assert_eq!(gcs_in(lines, &named).credentials, file("/home/agent/own.json"));

    let elsewhere = Environment::of([("CLOUDSDK_CONFIG", "/gcloud"), ("GCE_METADATA_HOST", "127.0.0.1:1")]);
    let expected = GoogleCredentials::Default {
        user_file: Some("/gcloud/application_default_credentials.json".into()),
        metadata_endpoint: "http://127.0.0.1:1".into(),
    };
    assert_eq!(gcs_in("bucket_name = \"lake\"", &elsewhere).credentials, expected);
}

#[test]
fn wrong_targets_in_google_are_told() {
    for (lines, expected) in [
        ("", "bucket_name is missing"),
        ("bucket_name = \"gs://lake\"", "the name alone"),
        ("bucket_name = \"lake\"\nendpoint_url = \"http://storage.example.com\"", "tokens over plain HTTP"),
        ("bucket_name = \"lake\"\npart_size = \"1 MiB\"", "a size from 5 MiB to 5 GiB"),
        ("bucket_name = \"lake\"\nservice_account_key = \"x\"", "Did you mean service_account_file?"),
    ] {
        let problems = bad("gcs", lines);
        assert!(problems.contains(expected), "{lines}\n{problems}");
    }
    gcs_in("bucket_name = \"lake\"\nendpoint_url = \"http://127.0.0.1:4443\"", &Environment::default());
}

#[test]
fn urls_name_containers_and_buckets() {
    let target =
        |url: &str, environment: &Environment| target_from_url(url, environment).map(|(target, _)| target);
    let azure = |url: &str, environment: &Environment| match target(url, environment) {
        Ok(TargetConnection::AzureBlob(target)) => target,
        other => panic!("{url}: {other:?}"),
    };
    let nothing = Environment::default();
    let found = azure("azure://account/lake/a/b%20c?part_size=16MiB", &nothing);
    assert_eq!(found.endpoint_url, "https://account.blob.core.windows.net");
    assert_eq!((found.container_name.as_str(), found.prefix.as_str()), ("lake", "a/b%20c/"));
    assert_eq!(found.part_size.get(), 16 << 20);
    assert!(matches!(found.credentials, AzureCredentials::Default(_)));
    let found = azure("azure://account.blob.core.chinacloudapi.cn/lake?sas_token=sv%3D1%26sig%3Dx", &nothing);
    assert_eq!(found.endpoint_url, "https://account.blob.core.chinacloudapi.cn");
    assert_eq!(found.credentials, AzureCredentials::SharedAccessSignature(Secret::new("sv=1&sig=x")));
    let with_key = Environment::of([("AZURE_STORAGE_KEY", "a2V5")]);
    assert!(matches!(
        azure("azure://account/lake", &with_key).credentials,
        AzureCredentials::AccountKey { .. }
    ));
    let string = "AccountName=other;AccountKey=a2V5";
    let with_string =
        Environment::of([("AZURE_STORAGE_CONNECTION_STRING", string), ("AZURE_STORAGE_KEY", "b")]);
    assert_eq!(
        azure("azure://account/lake", &with_string).endpoint_url,
        "https://other.blob.core.windows.net"
    );
    let problems = target("azure://account", &nothing).expect_err("no container").to_string();
    assert!(problems.contains("container_name is missing. Add container_name to the URL."), "{problems}");

    let Ok(TargetConnection::Gcs(found)) = target("gs://lake/a?service_account_file=/k.json", &nothing)
    else {
        panic!("a bucket");
    };
    assert_eq!((found.bucket_name.as_str(), found.prefix.as_str()), ("lake", "a/"));
    assert_eq!(found.credentials, GoogleCredentials::File("/k.json".into()));
    target("gs://", &nothing).expect_err("no bucket");
}
