//! A realm of Kerberos with a KDC of its own, for one test.
//!
//! The library finds everything through variables of its process (`KRB5_CONFIG`, `KRB5CCNAME`,
//! `KRB5_KTNAME`), and tests share a process. So a test that needs a realm starts one, and runs
//! itself again in a process whose variables lead there:
//!
//! ```text
//! let Some(realm) = Realm::enter("module::test") else { return };
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use libgssapi::context::{SecurityContext, ServerCtx};
use libgssapi::credential::{Cred, CredUsage};
use libgssapi::error::Error;

use super::folder::Folder;
use super::server::{Server, free_address};
use super::tds::{Package, Verdict};

/// The realm's name.
pub(crate) const REALM: &str = "AGENT.TEST";
/// Who logs in, in this realm.
pub(crate) const CLIENT: &str = "agent";
const PASSWORD: &str = "a-password-of-the-tests";
/// The folder of the realm, in the process that a test runs in again.
const ENTERED: &str = "TEST_KERBEROS_ENTERED";

/// A realm whose variables this process has.
#[derive(Debug)]
pub(crate) struct Realm {
    folder: PathBuf,
}

impl Realm {
    /// The realm of this process. In the process where all tests begin there is none: `None`, after the
    /// test `name` has passed in a process that has one, or was skipped where no KDC is installed and
    /// `REQUIRE_SERVERS` is not set.
    #[expect(clippy::print_stderr, reason = "the person who runs the tests should know")]
    pub(crate) fn enter(name: &str) -> Option<Self> {
        if let Some(folder) = std::env::var_os(ENTERED) {
            return Some(Self { folder: folder.into() });
        }
        let Some(kdc) = std::env::var_os("TEST_KDC").map(PathBuf::from) else {
            assert!(std::env::var_os("REQUIRE_SERVERS").is_none(), "TEST_KDC is not set: run tests/run.sh");
            eprintln!("skipped: no KDC of Kerberos is installed here; see docs/TESTING.md");
            return None;
        };
        let folder = Folder::new();
        let realm = Self { folder: folder.path().to_owned() };
        let _kdc = realm.start(&kdc);
        let this = std::env::current_exe().expect("a test is a program");
        let mut again = realm.command(&this);
        again.args(["--exact", name, "--nocapture"]).env(ENTERED, &realm.folder);
        let output = again.output().expect("start the tests again");
        let said = said(&output);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{name} in a realm of its own:\n{said}"
        );
        None
    }

    fn start(&self, kdc: &Path) -> Server {
        let file = |name: &str| self.folder.join(name).display().to_string();
        for _attempt in 0..10 {
            let port = free_address().port();
            let client = format!(
                "[libdefaults]\ndefault_realm = {REALM}\ndns_lookup_kdc = false\ndns_lookup_realm = false\n\
                 dns_canonicalize_hostname = false\nrdns = false\nudp_preference_limit = 1\n\
                 [realms]\n{REALM} = {{\nkdc = 127.0.0.1:{port}\n}}\n"
            );
            fs::write(file("krb5.conf"), client).expect("write a file");
            let server = format!(
                "[kdcdefaults]\nkdc_listen = 127.0.0.1:{port}\nkdc_tcp_listen = 127.0.0.1:{port}\n\
                 [realms]\n{REALM} = {{\ndatabase_name = {}\nkey_stash_file = {}\nacl_file = {}\n}}\n\
                 [logging]\nkdc = STDERR\nadmin_server = STDERR\n",
                file("principal"),
                file("stash"),
                file("acl"),
            );
            fs::write(file("kdc.conf"), server).expect("write a file");
            if !self.folder.join("principal").exists() {
                self.run("kdb5_util", &["create", "-s", "-W", "-P", "master"]);
                self.administer(&format!("addprinc -pw {PASSWORD} {CLIENT}"));
            }
            let configuration = format!("KRB5_CONFIG={}", file("krb5.conf"));
            let profile = format!("KRB5_KDC_PROFILE={}", file("kdc.conf"));
            let program = kdc.to_str().expect("programs have plain names");
            let arguments = [configuration.as_str(), profile.as_str(), program, "-n"];
            let server = Server::start(Path::new("/usr/bin/env"), &arguments);
            let listens = server.wait_for("KDC", |server| {
                let output = server.output();
                let begun = output.contains("commencing operation").then_some(true);
                // Where it cannot bind, it says why and ends.
                begun.or(output.contains("in use").then_some(false))
            });
            if listens {
                return server;
            }
        }
        panic!("no free port for a KDC in ten attempts")
    }

    /// A program with the variables of the realm and no others but the way to other programs.
    #[expect(clippy::disallowed_methods, reason = "tests start the programs that they talk to")]
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.envs(self.variables()).env("KRB5_KDC_PROFILE", self.folder.join("kdc.conf"));
        command.env("KRB5_KTNAME", self.folder.join("server.keytab")).env("KRB5RCACHENAME", "none:");
        command.env("LC_ALL", "C.UTF-8");
        command
    }

    /// Variables that lead a client to the realm and to its own cache of tickets.
    pub(crate) fn variables(&self) -> [(&'static str, String); 2] {
        let file = |name: &str| self.folder.join(name).display().to_string();
        [("KRB5_CONFIG", file("krb5.conf")), ("KRB5CCNAME", file("tickets"))]
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = self.command(Path::new(program)).args(arguments).output();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(output.status.success(), "{program} {arguments:?}:\n{}", said(&output));
    }

    fn administer(&self, request: &str) {
        let words: Vec<&str> = request.split(' ').collect();
        self.run("kadmin.local", &words);
    }

    /// Makes a service, whose key only its server has.
    pub(crate) fn add_service(&self, principal: &str) {
        self.administer(&format!("addprinc -randkey {principal}"));
        let keytab = self.folder.join("server.keytab");
        self.administer(&format!("ktadd -k {} {principal}", keytab.display()));
    }

    /// Gives a service a new key, which its server does not have.
    pub(crate) fn change_key(&self, principal: &str) {
        self.administer(&format!("cpw -randkey {principal}"));
    }

    /// A keytab of the client, in place of a person who types a password.
    pub(crate) fn client_keytab(&self) -> PathBuf {
        let keytab = self.folder.join("client.keytab");
        self.administer(&format!("ktadd -norandkey -k {} {CLIENT}", keytab.display()));
        keytab
    }

    /// Gets a ticket that is good for `lifetime`, as `kinit` reads it.
    pub(crate) fn log_in(&self, lifetime: &str) {
        use std::io::Write;
        let mut command = self.command(Path::new("kinit"));
        command.args(["-l", lifetime, CLIENT]).stdin(std::process::Stdio::piped());
        let mut child = command.stdout(std::process::Stdio::null()).spawn().expect("start kinit");
        let mut input = child.stdin.take().expect("a pipe");
        writeln!(input, "{PASSWORD}").expect("kinit reads");
        drop(input);
        assert!(child.wait().expect("a child can be waited for").success(), "kinit");
    }

    /// Throws the tickets away.
    pub(crate) fn log_out(&self) {
        fs::remove_file(self.folder.join("tickets")).expect("the cache is a file");
    }

    /// A configuration that leads to a KDC that is not there.
    pub(crate) fn without_kdc(&self) -> PathBuf {
        self.configured("kdc = ", &format!("kdc = {}", free_address()))
    }

    /// A configuration for which a ticket ends when it says, and not some minutes later.
    pub(crate) fn with_exact_clocks(&self) -> PathBuf {
        self.configured("rdns = ", "rdns = false\nclockskew = 1")
    }

    /// The configuration with another line in place of the one that begins with `beginning`.
    fn configured(&self, beginning: &str, line: &str) -> PathBuf {
        let text = fs::read_to_string(self.folder.join("krb5.conf")).expect("it was written");
        let old = text.lines().find(|line| line.starts_with(beginning)).expect("the line is there");
        let file = self.folder.join("another.conf");
        fs::write(&file, text.replace(old, line)).expect("write a file");
        file
    }
}

/// The package of a server that has the realm's keytab: it proves every token for real.
pub(crate) fn package() -> Package {
    fn verify(token: &[u8]) -> Result<Verdict, Error> {
        let credentials = Cred::acquire(None, None, CredUsage::Accept, None)?;
        let mut context = ServerCtx::new(Some(credentials));
        let proof = context.step(token, None)?.map(|proof| proof.to_vec()).unwrap_or_default();
        assert!(context.is_complete(), "Kerberos needs one token");
        Ok(Verdict::Known { principal: context.source_name()?.to_string(), proof })
    }
    Arc::new(|token| verify(token).unwrap_or(Verdict::Refused))
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
