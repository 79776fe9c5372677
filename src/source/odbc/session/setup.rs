//! What a session begins with in each dialect.

use crate::config::{OdbcSource, SqlDialect};

/// A statement that sets up a session.
pub(super) struct Setting {
    pub(super) sql: String,
    /// Without it, the session must not be used.
    pub(super) is_needed: bool,
}

/// Whose SQL a database speaks, by the name that its driver gives it.
pub(super) fn dialect_of(name: &str) -> SqlDialect {
    let name = name.to_ascii_lowercase();
    let known = [
        ("postgresql", SqlDialect::PostgreSql),
        ("mysql", SqlDialect::MySql),
        ("mariadb", SqlDialect::MySql),
        ("sqlite", SqlDialect::Sqlite),
        ("sql server", SqlDialect::SqlServer),
        ("oracle", SqlDialect::Oracle),
        ("db2", SqlDialect::Db2),
        ("teradata", SqlDialect::Teradata),
        ("redshift", SqlDialect::Redshift),
    ];
    let found = known.iter().find(|(word, _)| name.contains(word));
    found.map_or(SqlDialect::Ansi, |(_, dialect)| *dialect)
}

/// Modes of MySQL that change where literals and names end, or bring such modes with them.
const READING_MODES: &[&str] = &[
    "ANSI_QUOTES",
    "NO_BACKSLASH_ESCAPES",
    "IGNORE_SPACE",
    "ANSI",
    "DB2",
    "MAXDB",
    "MSSQL",
    "ORACLE",
    "POSTGRESQL",
];

/// What a session begins with: texts have to mean to the server what the check of them has read,
/// times have one zone, numbers a point; and what reads is shown where there is a place for it.
pub(super) fn settings(config: &OdbcSource, dialect: SqlDialect) -> Vec<Setting> {
    let needed = |sql: &str| Setting { sql: sql.to_owned(), is_needed: true };
    let wished = |sql: String| Setting { sql, is_needed: false };
    let name = config.application_name.replace('\'', "''");
    // Their drivers do not cancel a statement that is being described.
    let limit = config.statement_timeout.map(|limit| {
        let milliseconds = limit.as_millis().min(i32::MAX as u128);
        needed(&format!("SET statement_timeout = {milliseconds}"))
    });
    match dialect {
        SqlDialect::PostgreSql => vec![
            needed("SET standard_conforming_strings = on"),
            needed("SET TIME ZONE 'UTC'"),
            wished(format!("SET application_name = '{}'", name.replace('\\', "\\\\"))),
        ]
        .into_iter()
        .chain(limit)
        .collect(),
        SqlDialect::MySql => {
            let mode =
                READING_MODES.iter().fold("CONCAT(',', @@SESSION.sql_mode, ',')".to_owned(), |mode, word| {
                    format!("REPLACE({mode}, ',{word},', ',')")
                });
            vec![
                needed(&format!("SET SESSION sql_mode = TRIM(BOTH ',' FROM {mode})")),
                needed("SET SESSION time_zone = '+00:00'"),
            ]
        }
        SqlDialect::Sqlite => vec![needed("PRAGMA query_only = ON")],
        SqlDialect::SqlServer => vec![needed("SET QUOTED_IDENTIFIER ON")],
        SqlDialect::Oracle => vec![
            needed(
                "ALTER SESSION SET TIME_ZONE = 'UTC' NLS_NUMERIC_CHARACTERS = '. ' \
                 NLS_TIMESTAMP_TZ_FORMAT = 'YYYY-MM-DD HH24:MI:SS.FF TZH:TZM'",
            ),
            wished(format!("BEGIN DBMS_APPLICATION_INFO.SET_MODULE('{name}', 'extract'); END;")),
        ],
        SqlDialect::Redshift => vec![
            needed("SET timezone TO 'UTC'"),
            wished(format!("SET query_group TO '{}'", name.replace('\\', ""))),
        ]
        .into_iter()
        .chain(limit)
        .collect(),
        SqlDialect::Teradata => {
            let band = config.query_band.clone().unwrap_or_default();
            let has_name = band.to_ascii_lowercase().contains("applicationname=");
            let own =
                if has_name { String::new() } else { format!("ApplicationName={};", name.replace(';', "")) };
            let band = format!("{}{own}", band.replace('\'', "''"));
            let sql = format!("SET QUERY_BAND = '{band}' FOR SESSION");
            vec![Setting { sql, is_needed: config.query_band.is_some() }]
        }
        SqlDialect::Db2 | SqlDialect::Ansi => Vec::new(),
    }
}

/// What begins a transaction that can only read, where the server has one.
pub(super) fn begin_reading(dialect: SqlDialect) -> Option<&'static str> {
    match dialect {
        SqlDialect::PostgreSql => Some("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"),
        SqlDialect::MySql => Some("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"),
        SqlDialect::Oracle => Some("SET TRANSACTION READ ONLY"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConnectionString;

    fn statements(dialect: SqlDialect, query_band: Option<&str>) -> Vec<String> {
        let mut config = OdbcSource::new(ConnectionString::new(), Some(dialect));
        config.application_name = "it's me".into();
        config.query_band = query_band.map(str::to_owned);
        settings(&config, dialect).into_iter().map(|setting| setting.sql).collect()
    }

    #[test]
    fn a_query_band_names_what_reads_unless_it_does_so_itself() {
        assert_eq!(
            statements(SqlDialect::Teradata, Some("Group=n'ight;")),
            ["SET QUERY_BAND = 'Group=n''ight;ApplicationName=it''s me;' FOR SESSION"]
        );
        assert_eq!(
            statements(SqlDialect::Teradata, Some("APPLICATIONNAME=x;")),
            ["SET QUERY_BAND = 'APPLICATIONNAME=x;' FOR SESSION"]
        );
    }

    #[test]
    fn names_stay_inside_of_their_literals() {
        for (dialect, expected) in [
            (SqlDialect::PostgreSql, "SET application_name = 'it''s me'"),
            (SqlDialect::Redshift, "SET query_group TO 'it''s me'"),
            (SqlDialect::Oracle, "BEGIN DBMS_APPLICATION_INFO.SET_MODULE('it''s me', 'extract'); END;"),
        ] {
            assert!(statements(dialect, None).contains(&expected.to_owned()), "{dialect:?}");
        }
    }

    #[test]
    fn databases_are_known_by_the_names_that_drivers_give_them() {
        for (name, expected) in [
            ("PostgreSQL", SqlDialect::PostgreSql),
            ("MariaDB", SqlDialect::MySql),
            ("Microsoft SQL Server", SqlDialect::SqlServer),
            ("DB2/LINUXX8664", SqlDialect::Db2),
            ("Oracle", SqlDialect::Oracle),
            ("SQLite", SqlDialect::Sqlite),
            ("Informix", SqlDialect::Ansi),
        ] {
            assert_eq!(dialect_of(name), expected, "{name}");
        }
    }
}
