//! Logins to SQL Server with Kerberos, against a real KDC and a double that verifies every ticket.

use std::path::Path;

use data_exchange_agent::config::{Secret, SqlServerEncryption, SqlServerLogin, SqlServerSource};
use data_exchange_agent::fault::{Fault, FaultKind};
use data_exchange_agent::source::Source;

use crate::support::agent::{Place, eventually};
use crate::support::extraction::{column, query, read};
use crate::support::kerberos::{CLIENT, REALM, Realm, package};
use crate::support::sqlserver::open;
use crate::support::tds::{
    Certificate, Column, Encryption, Integrated, Proof, Script, Seen, TdsServer, utf16,
};

fn script(proof: Proof) -> Script {
    let integrated = Some(Integrated { package: package(), proof });
    Script { integrated, ..Script::of(vec![Column::nvarchar("one")], vec![vec![Some(utf16("1"))]]) }
}

fn principal(server: &TdsServer) -> String {
    format!("MSSQLSvc/localhost:{}", server.address.port())
}

fn login(principal: Option<&str>, service_principal: Option<String>) -> SqlServerLogin {
    SqlServerLogin::Kerberos { principal: principal.map(str::to_owned), service_principal }
}

fn configuration(server: &TdsServer) -> SqlServerSource {
    SqlServerSource { host: "localhost".into(), login: login(None, None), ..server.configuration() }
}

/// A server that the realm knows.
async fn server(realm: &Realm, script: Script) -> TdsServer {
    let server = TdsServer::start(script).await;
    realm.add_service(&principal(&server));
    server
}

fn principals(server: &TdsServer) -> Vec<String> {
    let principal = |seen| if let Seen::Principal(name) = seen { Some(name) } else { None };
    server.seen().into_iter().filter_map(principal).collect()
}

#[track_caller]
fn assert_refused(outcome: Result<(), Fault>, kind: FaultKind, cause: &str, remedy: &str) {
    let fault = outcome.expect_err(cause);
    assert_eq!(fault.kind(), kind, "{}", fault.chain());
    assert!(fault.chain().contains(cause), "{cause}: {}", fault.chain());
    assert!(fault.hint().is_some_and(|hint| hint.contains(remedy)), "{remedy}: {:?}", fault.hint());
}

#[tokio::test]
async fn rows_are_read_with_a_ticket_and_without_a_password() {
    let Some(realm) = Realm::enter("sqlserver_kerberos::rows_are_read_with_a_ticket_and_without_a_password")
    else {
        return;
    };
    realm.log_in("1h");
    let certificate = Certificate::new();
    use SqlServerEncryption::{Mandatory, Optional, Strict};
    for (offered, wanted, proof) in [
        (Encryption::NotSupported, Optional, Proof::Together),
        (Encryption::Off, Optional, Proof::Apart),
        (Encryption::On, Mandatory, Proof::Together),
        (Encryption::On, Mandatory, Proof::Apart),
        (Encryption::Strict, Strict, Proof::Together),
    ] {
        let script = Script { encryption: offered, certificate: Some(certificate.clone()), ..script(proof) };
        let server = server(&realm, script).await;
        let base = SqlServerSource {
            encryption: wanted,
            root_certificate: Some(certificate.file()),
            ..configuration(&server)
        };
        let whole = format!("{CLIENT}@{REALM}");
        let named = login(Some(&whole), Some(format!("{}@{REALM}", principal(&server))));
        for configuration in [SqlServerSource { login: named, ..base.clone() }, base] {
            let found = read(&open(configuration), &query("SELECT one FROM t"), 1).await;
            let found = found.unwrap_or_else(|fault| panic!("{offered:?} {proof:?}: {}", fault.chain()));
            assert_eq!(column(&found, "one"), [Some("1".to_owned())]);
        }
        let seen = principals(&server);
        assert!(seen.len() >= 2 && seen.iter().all(|seen| *seen == whole), "{seen:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_ticket_is_told() {
    use FaultKind::Credentials;
    let Some(realm) = Realm::enter("sqlserver_kerberos::what_is_wrong_with_a_ticket_is_told") else { return };
    let server = server(&realm, script(Proof::Together)).await;
    let base = configuration(&server);
    let with = |login| open(SqlServerSource { login, ..base.clone() });

    assert_refused(open(base.clone()).check().await, Credentials, "No Kerberos credentials", "kinit");
    realm.log_in("1h");
    open(base.clone()).check().await.expect("a ticket");

    let unknown = format!("MSSQLSvc/elsewhere.test:1433@{REALM}");
    assert_refused(
        with(login(None, Some(unknown))).check().await,
        Credentials,
        "not found in Kerberos database",
        "service_principal",
    );
    assert_refused(
        with(login(Some("somebody"), None)).check().await,
        Credentials,
        &format!("somebody@{REALM}"),
        "kinit",
    );
    assert_eq!(principals(&server).len(), 1, "what cannot log in does not try");

    // The library of this process has read its configuration; another process reads another one.
    let place = place(&server);
    let file = place.configuration();
    let arguments = ["check", "--config", file.to_str().expect("plain")];
    let [_, (name, tickets)] = realm.variables();
    let checked = async |configuration: &Path| {
        let configuration = configuration.display().to_string();
        let variables = [("KRB5_CONFIG", configuration.as_str()), (name, tickets.as_str())];
        place.run_with(&arguments, &variables).await
    };
    // Without the ticket for the server, which is in the cache by now.
    realm.log_out();
    realm.log_in("1h");
    let finished = checked(&realm.without_kdc()).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stdout.contains("Check that the KDC runs"), "{}", finished.stdout);

    realm.log_out();
    realm.log_in("1s");
    let exact = realm.with_exact_clocks();
    let said = eventually("the end of the ticket", async || {
        let finished = checked(&exact).await;
        (finished.code == Some(1)).then_some(finished.stdout)
    })
    .await;
    assert!(said.contains("expired") && said.contains("Get a new ticket"), "{said}");

    // A ticket that the server cannot read.
    realm.log_out();
    realm.log_in("1h");
    realm.change_key(&principal(&server));
    assert_refused(open(base.clone()).check().await, Credentials, "error 18456", "service principal");
}

/// A configuration of the agent with the double as a source.
fn place(server: &TdsServer) -> Place {
    let section = format!(
        "kind = \"sqlserver\"\nhost = \"localhost\"\nport = {}\ndatabase = \"tests\"\nencrypt = false\ntrusted_connection = true\n",
        server.address.port()
    );
    Place::new().connection("source.crm", &section)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_logs_in_with_a_client_keytab_and_says_when_there_is_no_ticket() {
    let Some(realm) = Realm::enter(
        "sqlserver_kerberos::the_program_logs_in_with_a_client_keytab_and_says_when_there_is_no_ticket",
    ) else {
        return;
    };
    let server = server(&realm, script(Proof::Together)).await;
    let place = place(&server);
    let file = place.configuration();
    let check = ["check", "--config", file.to_str().expect("plain")];
    let [configuration, tickets] = realm.variables();
    let mut variables = vec![(configuration.0, configuration.1.as_str()), (tickets.0, tickets.1.as_str())];
    let finished = place.run_with(&check, &variables).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stdout.contains("No Kerberos credentials available"), "{}", finished.stdout);
    assert!(finished.stdout.contains("KRB5_CLIENT_KTNAME"), "{}", finished.stdout);

    let keytab = realm.client_keytab().display().to_string();
    variables.push(("KRB5_CLIENT_KTNAME", &keytab));
    let finished = place.run_with(&check, &variables).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let output = format!("file://{}", place.path().join("rows").display());
    let extract =
        ["extract", "--config", check[2], "--source", "crm", "--query", "SELECT one FROM t", "--to", &output];
    let finished = place.run_with(&extract, &variables).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(principals(&server).iter().all(|seen| *seen == format!("{CLIENT}@{REALM}")));
}

#[tokio::test]
async fn a_server_that_proves_nothing_is_left() {
    let Some(realm) = Realm::enter("sqlserver_kerberos::a_server_that_proves_nothing_is_left") else {
        return;
    };
    realm.log_in("1h");
    for (proof, cause) in [
        (Proof::Missing, "did not prove"),
        (Proof::Forged, "prove who the server is"),
        (Proof::Endless, "goes on after the proof"),
    ] {
        let server = server(&realm, script(proof)).await;
        assert_refused(open(configuration(&server)).check().await, FaultKind::Credentials, cause, "host");
        assert_eq!(server.batches(), Vec::<String>::new(), "{proof:?}: nothing is asked of such a server");
    }
    // One that begins with integrated authentication where a password was meant.
    let server = server(&realm, script(Proof::Together)).await;
    let password = SqlServerLogin::Password { username: "u".into(), password: Secret::new("p") };
    let source = open(SqlServerSource { login: password, ..configuration(&server) });
    assert!(source.check().await.is_err());
}

#[tokio::test]
async fn the_library_is_needed_by_such_connections_alone_and_named_when_it_is_missing() {
    let place = Place::new().connection(
        "source.crm",
        "kind = \"sqlserver\"\nhost = \"localhost\"\nport = 1\ndatabase = \"d\"\ntrusted_connection = true\n",
    );
    let needed = place.run_with(&["--version"], &[("LD_TRACE_LOADED_OBJECTS", "1")]).await;
    assert!(needed.stdout.contains("libc.so") && !needed.stdout.contains("libgssapi"), "{needed:?}");

    std::fs::write(place.path().join("libgssapi_krb5.so.2"), "no library").unwrap();
    let folder = place.path().display().to_string();
    let configuration = place.configuration().display().to_string();
    place
        .run_with(&["check", "--config", &configuration], &[("LD_LIBRARY_PATH", &folder)])
        .await
        .assert_ends(1, &["source crm", "load MIT Kerberos", "Debian: libgssapi-krb5-2"]);
}
