//! A certificate authority of one test, from the `openssl` program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::folder::Folder;

const CONFIGURATION: &str = "\
[req]
distinguished_name = name
prompt = no
[name]
CN = test
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = CA:FALSE
subjectAltName = DNS:localhost, IP:127.0.0.1
extendedKeyUsage = serverAuth
[client]
basicConstraints = CA:FALSE
extendedKeyUsage = clientAuth
";
const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -config openssl.cnf";

/// Signs certificates.
pub(crate) struct Authority {
    folder: Folder,
}

/// A certificate with its private key, as PEM files.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) private_key: PathBuf,
}

impl Certificate {
    /// Certificate and key in one text.
    pub(crate) fn pem(&self) -> Vec<u8> {
        let read = |path: &Path| fs::read(path).expect("openssl has written it");
        [read(&self.certificate), read(&self.private_key)].concat()
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let authority = Self { folder: Folder::new() };
        fs::write(authority.folder.path().join("openssl.cnf"), CONFIGURATION).expect("write openssl.cnf");
        authority.openssl(&format!(
            "req -x509 -days 2 {KEY} -extensions authority -keyout authority.key -out authority.crt"
        ));
        authority
    }

    /// The file that others have to trust.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("authority.crt")
    }

    /// For a server on this machine.
    pub(crate) fn server(&self, name: &str) -> Certificate {
        self.issue(name, "server")
    }

    /// For a client.
    pub(crate) fn client(&self, name: &str) -> Certificate {
        self.issue(name, "client")
    }

    fn issue(&self, name: &str, extensions: &str) -> Certificate {
        self.openssl(&format!("req -new {KEY} -subj /CN={name} -keyout {name}.key -out {name}.csr"));
        self.openssl(&format!(
            "x509 -req -days 2 -in {name}.csr -CA authority.crt -CAkey authority.key -CAcreateserial \
             -extfile openssl.cnf -extensions {extensions} -out {name}.crt"
        ));
        let file = |extension: &str| self.folder.path().join(format!("{name}.{extension}"));
        Certificate { certificate: file("crt"), private_key: file("key") }
    }

    #[expect(clippy::disallowed_methods, reason = "tests start programs of their own")]
    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        command.args(arguments.split_whitespace()).current_dir(self.folder.path());
        let output = command.stdin(Stdio::null()).output().expect("the program openssl is installed");
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
