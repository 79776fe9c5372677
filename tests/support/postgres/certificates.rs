//! Certificate authorities, and the certificate of a server, made by `openssl`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{ExpectSuccess, run};

/// Certificate authorities, as PEM files, for clients of a server with TLS.
#[derive(Clone, Debug)]
pub(crate) struct Authorities {
    /// Signed the server's certificate.
    pub(crate) right: PathBuf,
    /// Did not.
    pub(crate) wrong: PathBuf,
}

/// Makes two authorities in `folder`, and a certificate for `localhost` signed by the first one. `openssl`
/// is the program, run there as the user that owns it.
pub(crate) async fn make_certificates(folder: &Path, openssl: impl Fn() -> Command) -> Authorities {
    const CONFIGURATION: &str = "[req]\ndistinguished_name = name\nprompt = no\n[name]\nCN = localhost\n\
        [authority]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\n\
        subjectKeyIdentifier = hash\n\
        [server]\nbasicConstraints = CA:FALSE\nsubjectAltName = DNS:localhost\nextendedKeyUsage = serverAuth\n";
    const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -config openssl.cnf";
    fs::write(folder.join("openssl.cnf"), CONFIGURATION).expect("write openssl.cnf");
    let authority = |name: &str| {
        format!(
            "req -x509 -days 2 {KEY} -extensions authority -subj /CN={name} -keyout {name}.key -out {name}.crt"
        )
    };
    for arguments in [
        authority("right"),
        authority("wrong"),
        format!("req -new {KEY} -subj /CN=localhost -keyout server.key -out server.csr"),
        "x509 -req -days 2 -in server.csr -CA right.crt -CAkey right.key -set_serial 2 -extfile openssl.cnf \
         -extensions server -out server.crt"
            .to_owned(),
    ] {
        let mut openssl = openssl();
        openssl.args(arguments.split_whitespace());
        run(openssl).await.expect_success("openssl");
    }
    let file = |name: &str| folder.join(name);
    Authorities { right: file("right.crt"), wrong: file("wrong.crt") }
}
