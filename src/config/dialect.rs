//! Whose SQL a text is, and a server speaks.

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
    /// SQL Server 2016 and later, Azure SQL, Synapse, Sybase.
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

impl SqlDialect {
    /// The word of the configuration.
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
            Self::Ansi => "ansi",
        }
    }
}
