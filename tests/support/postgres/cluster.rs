//! Where a cluster lives, what it is told, and the commands that run in it.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{Account, CLEAR_TEXT_USER, MD5_USER, SCRAM_USER, TLS_USER, setting};

/// Where a cluster lives, and who runs it.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    pub(super) binaries: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) account: Option<Account>,
}

impl Cluster {
    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(super) fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }

    pub(super) fn program(&self, name: &str) -> Command {
        self.command(&self.binaries.join(name))
    }

    /// A command that runs as the server's user, in the cluster's folder, away from the terminal's signals.
    #[expect(clippy::disallowed_methods, reason = "tests start the servers that they need")]
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).process_group(0).stdin(Stdio::null());
        command.env("LC_ALL", "C").env_remove("PGDATA").env_remove("PGPORT");
        if let Some(Account { uid, gid }) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Starts the shell that outlives this process by as long as cleaning up takes.
    pub(super) fn guard(&self) -> Child {
        const SCRIPT: &str = r#"
            trap '' INT TERM HUP
            cat >/dev/null
            "$1/pg_ctl" -D "$2/data" -w -m immediate stop
            cd / && rm -rf "$2"
        "#;
        let mut shell = self.command(Path::new("/bin/sh"));
        shell.args(["-c", SCRIPT, "sh"]).arg(&self.binaries).arg(&self.folder);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        shell.spawn().expect("start /bin/sh")
    }

    /// Never waits for a disk, and yet what is committed survives a crash of the server (not of the machine).
    pub(super) fn configuration(&self, port: u16, tls: bool, settings: &[(&'static str, String)]) -> String {
        let folder = self.folder.display();
        let mut text = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{folder}'\n\
             max_connections = 100\nshared_buffers = 64MB\nfsync = off\nfull_page_writes = off\n\
             timezone = 'UTC'\n"
        );
        if tls {
            text += &format!(
                "ssl = on\nssl_cert_file = '{folder}/server.crt'\nssl_key_file = '{folder}/server.key'\n"
            );
        }
        for (name, value) in settings {
            text += &format!("{name} = '{}'\n", value.replace('\'', "''"));
        }
        text
    }
}

pub(super) fn host_based_authentication() -> String {
    let rule = |kind, user, method| format!("{kind} all {user} 127.0.0.1/32 {method}\n");
    [
        "local all all trust\n".to_owned(),
        rule("host", SCRAM_USER.0, "scram-sha-256"),
        rule("host", MD5_USER.0, "md5"),
        rule("host", CLEAR_TEXT_USER.0, "password"),
        rule("hostnossl", TLS_USER, "reject"),
        rule("host", "all", "trust"),
    ]
    .concat()
}

/// `TEST_POSTGRES_BIN`, else the newest version of Debian's layout.
pub(super) fn installed_binaries() -> Option<PathBuf> {
    if let Some(folder) = setting("TEST_POSTGRES_BIN") {
        return Some(PathBuf::from(folder));
    }
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let number = |folder: &PathBuf| folder.file_name()?.to_str()?.parse::<u32>().ok();
    let folders = versions.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let newest = folders
        .filter(|folder| folder.join("bin/initdb").exists())
        .filter_map(|folder| number(&folder).map(|number| (number, folder)))
        .max()?;
    Some(newest.1.join("bin"))
}
