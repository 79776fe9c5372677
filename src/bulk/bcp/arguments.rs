//! What is told to the program, and how.

use std::fmt::Write as _;

use super::super::process::{Output, Program};
use super::super::{Job, as_argument};
use super::section::PasswordBy;
use super::{Bcp, refused};
use crate::bulk::BulkUtility;
use crate::config::{Secret, SqlServerEncryption, SqlServerLogin, SqlServerSource};
use crate::fault::Fault;
use crate::source::sqlserver::SNAPSHOT;

/// The server in the file of FreeTDS that is made for one run.
const FREETDS_SERVER: &str = "agent";
/// Bytes of the longest text. FreeTDS asks for 4096 by itself, and the server cuts what is longer.
const LONGEST_TEXT: &str = "2147483647";
/// Variables that would change how FreeTDS connects or prints.
const FREETDS_VARIABLES: [&str; 8] =
    ["DSQUERY", "FREEBCP_DATEFMT", "TDSDUMP", "TDSDUMPCONFIG", "TDSHOST", "TDSPORT", "TDSQUERY", "TDSVER"];

impl Bcp {
    /// The program with what both dialects have in common.
    fn common(&self, job: &Job<'_>, sql: &str) -> Program {
        let (executable, hint) = self.executable();
        let pipe = job.folder.join("rows");
        let mut program = Program::new("bcp", executable, self.settings.timeout, hint);
        let arguments = [sql, "queryout", &as_argument(&pipe), "-c"].map(str::to_owned);
        program.arguments.extend(arguments);
        program.arguments.extend(["-t".to_owned(), written(&self.bcp.delimiter)]);
        program.arguments.extend(["-r".to_owned(), written(&self.bcp.row_terminator)]);
        program.output = Output::NamedPipe(pipe);
        // Texts are written in the encoding of the locale.
        program.variables.push(("LC_ALL".into(), Secret::new("C.UTF-8")));
        program
    }

    fn packet_bytes(&self, source: &SqlServerSource) -> u16 {
        self.bcp.packet_size.unwrap_or(source.packet_bytes).get()
    }

    /// Name and password, or nothing for the user that the agent runs as.
    fn login<'s>(&self, source: &'s SqlServerSource) -> Option<(&'s str, &'s Secret)> {
        match &source.login {
            _ if self.bcp.trusted_connection => None,
            SqlServerLogin::Password { username, password } => Some((username, password)),
            SqlServerLogin::Token(_)
            | SqlServerLogin::ServicePrincipal { .. }
            | SqlServerLogin::Kerberos { .. } => None,
        }
    }

    pub(super) fn microsoft(&self, job: &Job<'_>, source: &SqlServerSource) -> Program {
        // It has no option for statements of the session. Only the last one here has a result, which is the one
        // that it copies.
        let is_snapshot = job.export.session.iter().any(|statement| statement == SNAPSHOT);
        let sql = match is_snapshot {
            true => format!("{SNAPSHOT} {}", job.export.sql),
            false => job.export.sql.clone(),
        };
        let mut program = self.common(job, &sql);
        let mut arguments = Vec::new();
        let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        option("-S", server(source));
        option("-d", source.database.clone());
        option("-a", self.packet_bytes(source).to_string());
        option("-l", source.connect_timeout.as_secs().clamp(1, 65_534).to_string());
        if source.reads_only {
            option("-K", "ReadOnly".into());
        }
        if let Some((username, password)) = self.login(source) {
            option("-U", username.to_owned());
            match self.bcp.password_by {
                PasswordBy::Input => program.input = Some(line(password)),
                PasswordBy::Argument => option("-P", password.expose().to_owned()),
            }
            program.secrets.push(password.clone());
        } else {
            arguments.push("-T".into());
        }
        // Version 18 encrypts unless it is told otherwise; version 17 does not know the option.
        match (self.bcp.encrypt, self.encryption(source)) {
            (None, SqlServerEncryption::Mandatory) => {}
            (_, SqlServerEncryption::Mandatory) => arguments.push("-Ym".into()),
            (_, SqlServerEncryption::Optional) => arguments.push("-Yo".into()),
            (_, SqlServerEncryption::Strict) => arguments.push("-Ys".into()),
        }
        if source.trusts_any_certificate {
            arguments.push("-u".into());
        }
        arguments.push("-q".into());
        program.arguments.extend(arguments);
        program
    }

    pub(super) fn freetds(&self, job: &Job<'_>, source: &SqlServerSource) -> Result<Program, Fault> {
        let file = job.folder.write("freetds.conf", &self.freetds_file(source)?)?;
        let mut program = self.common(job, &job.export.sql);
        let session = job.export.session.join(" ");
        let mut arguments: Vec<String> =
            ["-S", FREETDS_SERVER, "-T", LONGEST_TEXT, "-O", &session, "-D", &source.database]
                .map(str::to_owned)
                .to_vec();
        arguments.extend(["-A".to_owned(), self.packet_bytes(source).to_string()]);
        if let Some((username, password)) = self.login(source) {
            arguments.extend(["-U".to_owned(), username.to_owned(), "-P".to_owned()]);
            match self.bcp.password_by {
                PasswordBy::Input => {
                    arguments.push("-".into());
                    program.input = Some(line(password));
                }
                PasswordBy::Argument => arguments.push(password.expose().to_owned()),
            }
            program.secrets.push(password.clone());
        }
        program.arguments.extend(arguments);
        let file = Secret::new(as_argument(&file));
        program.variables.extend([("FREETDSCONF".into(), file.clone()), ("FREETDS".into(), file)]);
        program.hidden_variables.extend(FREETDS_VARIABLES.map(str::to_owned));
        Ok(program)
    }

    /// Everything that `freebcp` has no option for.
    fn freetds_file(&self, source: &SqlServerSource) -> Result<Secret, Fault> {
        let certificates = match &source.root_certificate {
            Some(file) => as_argument(file),
            None => "system".into(),
        };
        for text in [&source.host, &certificates] {
            if text.contains(|letter: char| letter.is_control()) {
                return Err(refused(
                    "host or root_certificate has a control character",
                    "Correct the section of the connection.",
                ));
            }
        }
        // Writing to a string cannot fail.
        let mut file = String::new();
        let _ = writeln!(file, "[{FREETDS_SERVER}]\nhost = {}", source.host);
        match &source.instance {
            Some(instance) if !instance.contains(|letter: char| letter.is_control()) => {
                let _ = writeln!(file, "instance = {instance}");
            }
            _ => {
                let _ = writeln!(file, "port = {}", source.port);
            }
        }
        let encryption = match self.encryption(source) {
            SqlServerEncryption::Optional => "request",
            SqlServerEncryption::Mandatory | SqlServerEncryption::Strict => "require",
        };
        let seconds = source.connect_timeout.as_secs().max(1);
        let _ = writeln!(
            file,
            "tds version = 7.4\nclient charset = UTF-8\nencryption = {encryption}\nconnect timeout = {seconds}\n\
             text size = {LONGEST_TEXT}"
        );
        if !source.trusts_any_certificate && encryption == "require" {
            let _ = writeln!(file, "ca file = {certificates}\ncheck certificate hostname = yes");
        }
        Ok(Secret::new(file))
    }
}

/// Host and port, or host and instance, as Microsoft's programs take them.
fn server(source: &SqlServerSource) -> String {
    match &source.instance {
        Some(instance) => format!(r"{}\{instance}", source.host),
        None => format!("tcp:{},{}", source.host, source.port),
    }
}

fn line(password: &Secret) -> Secret {
    Secret::new(format!("{}\n", password.expose()))
}

/// A terminator as an argument: a backslash begins an escape there.
fn written(terminator: &str) -> String {
    terminator.replace('\\', r"\\")
}
