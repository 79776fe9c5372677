//! Whose SQL a text is.

use sqlparser::dialect::{
    Dialect, GenericDialect, MsSqlDialect, MySqlDialect, OracleDialect, PostgreSqlDialect,
    RedshiftSqlDialect, SQLiteDialect, TeradataDialect,
};

use crate::config::OdbcDialect;

/// Whose SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqlDialect {
    /// PostgreSQL 11 and later.
    PostgreSql,
    /// MySQL 5.7 and later, MariaDB 10.5 and later; without the SQL modes that change where literals
    /// and names end (`ANSI_QUOTES`, `NO_BACKSLASH_ESCAPES`).
    MySql,
    /// SQLite 3.
    Sqlite,
    /// SQL Server 2016 and later, and Azure SQL.
    SqlServer,
    /// Oracle Database.
    Oracle,
    /// Db2.
    Db2,
    /// Teradata.
    Teradata,
    /// Amazon Redshift.
    Redshift,
    /// A server of which nothing is known: what two servers could read differently is refused.
    Ansi,
}

impl From<OdbcDialect> for SqlDialect {
    fn from(dialect: OdbcDialect) -> Self {
        match dialect {
            OdbcDialect::Ansi => Self::Ansi,
            OdbcDialect::PostgreSql => Self::PostgreSql,
            OdbcDialect::MySql => Self::MySql,
            OdbcDialect::Sqlite => Self::Sqlite,
            OdbcDialect::SqlServer => Self::SqlServer,
            OdbcDialect::Oracle => Self::Oracle,
            OdbcDialect::Db2 => Self::Db2,
            OdbcDialect::Teradata => Self::Teradata,
            OdbcDialect::Redshift => Self::Redshift,
        }
    }
}

impl SqlDialect {
    /// The kind of connections that speak it, as in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PostgreSql => "postgresql",
            Self::MySql => "mysql",
            Self::Sqlite => "sqlite",
            Self::SqlServer => "sqlserver",
            Self::Oracle => "oracle",
            Self::Db2 => "db2",
            Self::Teradata => "teradata",
            Self::Redshift => "redshift",
            Self::Ansi => "odbc",
        }
    }

    pub(super) fn parser_dialect(self) -> &'static dyn Dialect {
        match self {
            Self::PostgreSql => &PostgreSqlDialect {},
            Self::MySql => &MySqlDialect {},
            Self::Sqlite => &SQLiteDialect {},
            Self::SqlServer => &MsSqlDialect {},
            Self::Oracle => &OracleDialect {},
            Self::Teradata => &TeradataDialect {},
            Self::Redshift => &RedshiftSqlDialect {},
            Self::Db2 | Self::Ansi => &GenericDialect {},
        }
    }

    pub(super) fn begins_query(self, word: &str) -> bool {
        match self {
            Self::PostgreSql | Self::MySql | Self::Sqlite => {
                matches!(word, "SELECT" | "VALUES" | "TABLE" | "WITH")
            }
            Self::Db2 => matches!(word, "SELECT" | "WITH" | "VALUES"),
            Self::SqlServer | Self::Oracle | Self::Teradata | Self::Redshift | Self::Ansi => {
                matches!(word, "SELECT" | "WITH")
            }
        }
    }
}
