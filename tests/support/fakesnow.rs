//! A real emulator of Snowflake (fakesnow), one for all tests, and a database for each.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::OnceLock;

use data_exchange_agent::snowflake::Connection;

use super::server::Server;
use super::snowflake::connection_to;

/// How often the server is started, when the port that it chose is taken before it listens.
const STARTS: usize = 5;

/// The address of the server. Starts it the first time. `None` when `TEST_FAKESNOW` is not set, and
/// the test is to be skipped.
///
/// # Panics
///
/// When there is none and `REQUIRE_SERVERS` is set.
pub(crate) fn address_if_installed() -> Option<SocketAddr> {
    static RUNNING: OnceLock<Option<(Server, SocketAddr)>> = OnceLock::new();
    let running = RUNNING.get_or_init(|| {
        let Some(python) = setting("TEST_FAKESNOW") else {
            assert!(setting("REQUIRE_SERVERS").is_none(), "TEST_FAKESNOW is not set; run tests/run.sh");
            return None;
        };
        // The files of its stages go into the folder of the server, which is removed with it. It
        // takes none when that is not absolute.
        let program = Path::new("sh");
        let script = "TMPDIR=$PWD exec \"$0\" -m fakesnow -s --host 127.0.0.1";
        let arguments = ["-c", script, &python];
        for _ in 0..STARTS {
            let server = Server::start(program, &arguments);
            let address = server.wait_for("address of fakesnow", |server| {
                let output = server.output();
                if output.contains("already in use") {
                    return Some(None);
                }
                let (_, rest) = output.split_once("running on http://")?;
                rest.split_once(' ')?.0.parse().ok().map(Some)
            });
            if let Some(address) = address {
                return Some((server, address));
            }
        }
        panic!("fakesnow found no free port in {STARTS} starts");
    });
    running.as_ref().map(|(_, address)| *address)
}

/// The Python that has fakesnow, and with it Snowflake's own connector.
pub(crate) fn python_if_installed() -> Option<String> {
    let python = setting("TEST_FAKESNOW");
    assert!(python.is_some() || setting("REQUIRE_SERVERS").is_none(), "TEST_FAKESNOW is not set");
    python
}

#[expect(clippy::disallowed_methods, reason = "tests/run.sh says where the server is installed")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A connection to the server with a database of its own, which the login creates.
pub(crate) fn connection(address: SocketAddr) -> Connection {
    let name = format!("TEST_{}", uuid::Uuid::new_v4().simple()).to_uppercase();
    Connection { database: Some(name), schema: Some("PUBLIC".to_owned()), ..connection_to(address) }
}
