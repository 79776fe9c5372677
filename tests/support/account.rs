//! Where tests that need nothing but Snowflake itself run: on the emulator, or on a live account.

use data_exchange_agent::config::Environment;
use data_exchange_agent::shutdown::Shutdown;
use data_exchange_agent::snowflake::{Client, Connection, Statement, connection_files};

use super::agent::Place;
use super::emulator_relay::Relay;
use super::fakesnow;

/// The variable that names a connection in the files of Snowflake's tools.
const LIVE: &str = "TEST_SNOWFLAKE_CONNECTION";

/// A schema of one test.
pub(crate) struct Account {
    /// Leads into the schema.
    pub(crate) connection: Connection,
    /// The same as lines of a target section.
    section: String,
    /// Between agent and emulator; a live account has none, and no faults can be made there.
    pub(crate) relay: Option<Relay>,
    /// Text of the connection file, for an agent that has a home of its own.
    files: Option<String>,
}

impl Account {
    /// A new database of the emulator, or a new schema of the account that `TEST_SNOWFLAKE_CONNECTION`
    /// leads to. `None` when neither is there.
    pub(crate) async fn open() -> Option<Self> {
        match live_name() {
            Some(name) => Some(Self::open_live(&name).await),
            None => {
                let relay = Relay::start(fakesnow::address_if_installed()?).await;
                let connection = fakesnow::connection(relay.address);
                let section = format!(
                    "kind = \"snowflake\"\naccount = \"test-account\"\nhost = \"127.0.0.1\"\nport = {}\n\
                     protocol = \"http\"\nuser = \"tester\"\npassword = \"hunter2\"\ndatabase = {:?}\n\
                     schema = \"PUBLIC\"\n",
                    relay.address.port(),
                    connection.database.as_deref().expect("each test has a database"),
                );
                Some(Self { connection, section, relay: Some(relay), files: None })
            }
        }
    }

    async fn open_live(name: &str) -> Self {
        let environment = Environment::process();
        let mut connection =
            connection_files::named(name, &environment).unwrap_or_else(|fault| panic!("{}", fault.chain()));
        assert!(connection.database.is_some(), "the connection `{name}` names the database for the tests");
        let schema = format!("TEST_{}", uuid::Uuid::new_v4().simple()).to_uppercase();
        connection.schema = None;
        run(&connection, &format!("CREATE SCHEMA {schema}")).await;
        connection.schema = Some(schema.clone());
        let section = format!("kind = \"snowflake\"\nconnection_name = {name:?}\nschema = {schema:?}\n");
        let directory = environment.home().expect("there is a home").join(".snowflake");
        let file = environment.get("SNOWFLAKE_HOME").map_or(directory, Into::into).join("connections.toml");
        let files =
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Self { connection, section, relay: None, files: Some(files) }
    }

    /// A client of the schema.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.connection.clone(), &Shutdown::new()).expect("a proven connection")
    }

    /// Gives the agent the target `name`, which leads here.
    pub(crate) fn target(&self, place: Place, name: &str) -> Place {
        if let Some(files) = &self.files {
            let folder = place.path().join(".snowflake");
            std::fs::create_dir_all(&folder).expect("the folder of a test takes new ones");
            let file = folder.join("connections.toml");
            std::fs::write(&file, files).expect("write the connection file");
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))
                .expect("ours");
        }
        place.connection(&format!("target.{name}"), &self.section)
    }

    /// Removes the schema of a live account; the emulator forgets by itself.
    pub(crate) async fn close(self) {
        if self.relay.is_none()
            && let Some(schema) = self.connection.schema.clone()
        {
            run(&Connection { schema: None, ..self.connection }, &format!("DROP SCHEMA {schema}")).await;
        }
    }
}

async fn run(connection: &Connection, sql: &str) {
    let client = Client::new(connection.clone(), &Shutdown::new()).expect("a proven connection");
    client.run(&Statement::new(sql)).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    client.close().await;
}

#[expect(clippy::disallowed_methods, reason = "whoever starts the tests says where they run")]
fn live_name() -> Option<String> {
    std::env::var(LIVE).ok().filter(|name| !name.is_empty())
}
