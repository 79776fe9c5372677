//! `[bulk_utility.<name>]`, proven.

use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

/// The settings of one utility.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkUtilitySettings {
    /// A path, or a name that is looked up in `PATH`; the utility's own when `None`.
    pub executable: Option<PathBuf>,
    /// Longest time from the start of the program to its end.
    pub timeout: Duration,
    /// Bytes of the longest row.
    pub longest_row: NonZeroUsize,
    /// Variables of the agent that the program sees beside those of the system: names, or their beginnings
    /// before a `*`.
    pub variables: Vec<String>,
    /// There is a section for it: somebody wants it, so `check` looks for its program.
    pub has_section: bool,
    /// Which utility, with what only it has.
    pub kind: BulkUtilityKind,
}

impl BulkUtilitySettings {
    /// Longest time of a run that no configuration says.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(6 * 60 * 60);
    /// Bytes of the longest row when no configuration says.
    pub const DEFAULT_LONGEST_ROW: NonZeroUsize = NonZeroUsize::new(64 << 20).expect("not zero");

    /// A utility with every setting at its default.
    #[must_use]
    pub fn new(kind: BulkUtilityKind) -> Self {
        Self {
            executable: None,
            timeout: Self::DEFAULT_TIMEOUT,
            longest_row: Self::DEFAULT_LONGEST_ROW,
            variables: Vec::new(),
            has_section: false,
            kind,
        }
    }
}

/// The utilities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BulkUtilityKind {
    /// Microsoft's `bcp`, or `freebcp` of FreeTDS.
    Bcp(BcpSettings),
    /// PostgreSQL's `psql`.
    Psql,
    /// The client `mysql` or `mariadb`.
    Mysql,
    /// Teradata Parallel Transporter.
    Tpt(TptSettings),
    /// The user's own program.
    Command(CommandSettings),
}

/// `[bulk_utility.bcp]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BcpSettings {
    /// Whose options are used; what the executable's name says when `None`.
    pub dialect: Option<BcpDialect>,
    /// Between two fields.
    pub delimiter: String,
    /// After a row.
    pub row_terminator: String,
    /// Log in as the user that the agent runs as.
    pub trusted_connection: bool,
    /// Encrypt everything; what the connection says when `None`.
    pub encrypt: Option<bool>,
    /// Bytes of a packet; what the connection says when `None`.
    pub packet_size: Option<NonZeroU16>,
    /// How the program gets the password.
    pub password_by: PasswordBy,
}

impl Default for BcpSettings {
    fn default() -> Self {
        Self {
            dialect: None,
            delimiter: "\u{1f}".into(),
            row_terminator: "\u{1e}".into(),
            trusted_connection: false,
            encrypt: None,
            packet_size: None,
            password_by: PasswordBy::Input,
        }
    }
}

/// Whose options a `bcp` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BcpDialect {
    /// Those of Microsoft's program.
    Microsoft,
    /// Those of `freebcp`.
    FreeTds,
}

/// How a program gets a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordBy {
    /// It reads it from its standard input.
    Input,
    /// As an argument, which every user of the machine can see.
    Argument,
}

/// `[bulk_utility.tpt]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TptSettings {
    /// Sessions of the export operator; the server's own number when `None`.
    pub max_sessions: Option<NonZeroU16>,
}

/// A section with `kind = "command"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSettings {
    /// The arguments, with placeholders.
    pub arguments: Vec<String>,
    /// How the output tells fields and rows apart.
    pub format: CommandFormat,
    /// The last line of its messages says how many rows there were.
    pub reports_rows: bool,
}

/// What the user's own program writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandFormat {
    /// RFC 4180: quotes where they are needed; an empty field without quotes is NULL.
    Csv {
        /// Between two fields.
        delimiter: String,
        /// The first row has the names of the columns.
        header: bool,
    },
    /// No quotes: terminators that no value has.
    Delimited {
        /// Between two fields.
        delimiter: String,
        /// After a row.
        row_terminator: String,
        /// The text that is NULL.
        null: String,
    },
}
