//! The user's own program.
//!
//! It is started with the arguments of its section, in which placeholders stand for the query and the
//! connection. The password is in the variable `EXPORT_PASSWORD`. It writes to its standard output, or
//! into the file that `{output}` stands for, which is a named pipe.

mod section;

use std::path::PathBuf;

pub(super) use self::section::KIND;
use self::section::{CommandFormat, CommandSettings};
use super::delimited::{Layout, Quoting};
use super::process::{Exit, Output, Program};
use super::{BulkUtility, Job, as_argument, template};
use crate::config::{BulkUtilitySettings, Secret, SourceConnection, SqlServerLogin};
use crate::fault::{Fault, FaultKind};

/// The variable with the password.
const PASSWORD: &str = "EXPORT_PASSWORD";

/// The utility.
struct Command {
    name: String,
    settings: BulkUtilitySettings,
    command: CommandSettings,
}

impl Command {
    fn new(name: &str, settings: BulkUtilitySettings, command: CommandSettings) -> Self {
        Self { name: name.to_owned(), settings, command }
    }
}

/// What a program may know of a connection.
#[derive(Default)]
struct Place<'a> {
    host: &'a str,
    port: Option<u16>,
    database: &'a str,
    username: &'a str,
    password: Option<&'a Secret>,
}

fn place(connection: &SourceConnection) -> Place<'_> {
    match connection {
        SourceConnection::Postgres(source) => Place {
            host: &source.host,
            port: Some(source.port),
            database: &source.database,
            username: &source.username,
            password: source.password.as_ref(),
        },
        SourceConnection::Mysql(source) => Place {
            host: &source.host,
            port: Some(source.port),
            database: source.database.as_deref().unwrap_or_default(),
            username: &source.username,
            password: source.password.as_ref(),
        },
        SourceConnection::SqlServer(source) => {
            let (username, password) = match &source.login {
                SqlServerLogin::Password { username, password } => (username.as_str(), Some(password)),
                SqlServerLogin::Token(token) => ("", Some(token)),
                SqlServerLogin::ServicePrincipal { client_id, client_secret, .. } => {
                    (client_id.as_str(), Some(client_secret))
                }
                SqlServerLogin::Kerberos { principal, .. } => {
                    (principal.as_deref().unwrap_or_default(), None)
                }
            };
            Place {
                host: &source.host,
                port: Some(source.port),
                database: &source.database,
                username,
                password,
            }
        }
        SourceConnection::Sqlite(_) | SourceConnection::Odbc(_) => Place::default(),
    }
}

impl BulkUtility for Command {
    fn name(&self) -> &str {
        &self.name
    }

    fn settings(&self) -> &BulkUtilitySettings {
        &self.settings
    }

    fn executable(&self) -> (PathBuf, String) {
        let hint = format!("Install it, or correct `executable` in [bulk_utility.{}].", self.name);
        (self.settings.executable.clone().unwrap_or_default(), hint)
    }

    fn supports(&self, connection: &SourceConnection) -> Result<(), Fault> {
        match connection {
            SourceConnection::Sqlite(_) | SourceConnection::Odbc(_) => {
                Err(super::not_for(&self.name, "PostgreSQL, MySQL, MariaDB or SQL Server"))
            }
            _ => Ok(()),
        }
    }

    fn program(&self, job: &Job<'_>) -> Result<(Program, Layout), Fault> {
        let (executable, hint) = self.executable();
        let mut program = Program::new(&self.name, executable, self.settings.timeout, hint);
        let place = place(job.connection);
        let pipe = job.folder.join("rows");
        let value = |name: &str| {
            Some(match name {
                "query" => job.export.sql.clone(),
                "host" => place.host.to_owned(),
                "port" => place.port.map(|port| port.to_string()).unwrap_or_default(),
                "database" => place.database.to_owned(),
                "username" => place.username.to_owned(),
                "output" => as_argument(&pipe),
                _ => return None,
            })
        };
        let arguments = &self.command.arguments;
        program.arguments = arguments.iter().map(|word| template::fill(word, value)).collect();
        if arguments.iter().flat_map(|word| template::placeholders(word)).any(|name| name == "output") {
            program.output = Output::NamedPipe(pipe);
        }
        if let Some(password) = place.password {
            program.variables.push((PASSWORD.to_owned(), password.clone()));
            program.secrets.push(password.clone());
        }
        let layout = match &self.command.format {
            CommandFormat::Csv { delimiter, header } => {
                let mut layout = Layout::new(delimiter.as_bytes(), "\n", Quoting::Double);
                let names = job.export.schema.columns().iter().map(|column| column.name.clone());
                layout.header = header.then(|| names.collect());
                layout
            }
            CommandFormat::Delimited { delimiter, row_terminator, null } => {
                let quoting = Quoting::None(null.as_bytes().to_vec());
                Layout::new(delimiter.as_bytes(), row_terminator.as_bytes(), quoting)
            }
        };
        Ok((program, layout))
    }

    fn diagnose(&self, exit: &Exit) -> Result<Option<u64>, Fault> {
        if !exit.is_success() {
            // Nobody knows what its exit codes mean, so the attempts of the task decide.
            let action = format!("export with {}", self.name);
            return Err(Fault::new(FaultKind::Transient, action).because(exit.describe()));
        }
        match exit.reported_rows() {
            Some(rows) if self.command.reports_rows => Ok(Some(rows)),
            None if self.command.reports_rows => {
                let action = format!("count the rows of {}", self.name);
                Err(Fault::new(FaultKind::Data, action)
                    .because("its messages do not end with the line `rows N`")
                    .remedy("Correct the program, or set `reports_rows` to false."))
            }
            _ => Ok(None),
        }
    }
}
