//! A real PgBouncer in front of a test database, in transaction mode, with its own defaults: startup
//! parameters that it does not know are refused.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use url::Url;

use super::folder::Folder;
use super::postgres::{Database, USER};
use super::server::{Server, free_address};

/// A running pooler. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct PgBouncer {
    url: String,
    _server: Server,
    _folder: Folder,
}

impl PgBouncer {
    /// Starts a pooler of its own; `None`, with a line that says so, where PgBouncer is not installed
    /// and `REQUIRE_SERVERS` is not set.
    #[expect(clippy::print_stderr, reason = "the person who runs the tests should know")]
    pub(crate) fn in_front_of(database: &Database) -> Option<Self> {
        let Some(program) = std::env::var_os("TEST_PGBOUNCER").map(PathBuf::from) else {
            assert!(
                std::env::var_os("REQUIRE_SERVERS").is_none(),
                "TEST_PGBOUNCER is not set: run tests/run.sh"
            );
            eprintln!("skipped: PgBouncer is not installed here; see docs/TESTING.md");
            return None;
        };
        let upstream = Url::parse(&database.url()).expect("the URL of a test database");
        let port = upstream.port().expect("test databases have a port");
        let folder = Folder::new();
        let file = folder.path().join("pgbouncer.ini");
        for _attempt in 0..10 {
            let address = free_address();
            let settings = format!(
                "[databases]\n* = host=127.0.0.1 port={port} user={USER}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {listen}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n",
                listen = address.port(),
            );
            fs::write(&file, settings).expect("write pgbouncer.ini");
            let server = Server::start(&program, &arguments(&file));
            let listens = server.wait_for("listening socket", |server| {
                if server.output().contains("Address already in use") {
                    return Some(false);
                }
                // Not by a connection, which somebody else may take who was faster.
                server.output().contains(&format!("listening on {address}")).then_some(true)
            });
            if listens {
                let url = format!("postgresql://{USER}@{address}/{}", database.name());
                return Some(Self { url, _server: server, _folder: folder });
            }
        }
        panic!("no free port for PgBouncer in ten attempts")
    }

    /// `postgresql://tester@127.0.0.1:port/name` through the pooler.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

/// PgBouncer refuses to run as root; asked to, it goes on as another user.
fn arguments(file: &Path) -> Vec<&str> {
    let owner = fs::metadata(file).expect("it was just written").uid();
    let mut arguments = Vec::new();
    if owner == 0 {
        arguments.push("--user=nobody");
    }
    arguments.push(file.to_str().expect("temporary folders have plain names"));
    arguments
}
