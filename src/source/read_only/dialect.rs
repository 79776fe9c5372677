//! What the check has to know of whose SQL a text is.

use sqlparser::dialect::{
    Dialect, GenericDialect, MsSqlDialect, MySqlDialect, OracleDialect, PostgreSqlDialect,
    RedshiftSqlDialect, SQLiteDialect, TeradataDialect,
};

use crate::config::SqlDialect;

impl SqlDialect {
    /// The kind of connections that speak it, as in the configuration.
    #[must_use]
    pub fn connection_kind(self) -> &'static str {
        match self {
            Self::Ansi => "odbc",
            known => known.as_str(),
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
