//! How servers read text, as far as they differ.

use super::super::SqlDialect;

/// How a server reads text, as far as servers differ.
#[derive(Clone, Copy)]
pub(in super::super) struct Rules {
    pub(super) nested_comments: bool,
    pub(super) carriage_return_ends_line: bool,
    pub(super) escape_strings: bool,
    pub(super) dollar_quotes: bool,
    pub(super) backtick_names: bool,
    pub(super) bracket_names: BracketNames,
    /// Backslashes escape in all literals.
    pub(super) backslash_escapes: bool,
    /// `#` begins a comment, `--` only before white space, and `/*!` holds SQL.
    pub(super) mysql_comments: bool,
    /// Characters that begin a parameter.
    pub(super) parameter_marks: &'static str,
    /// Other signs that are refused outside of literals and names.
    pub(super) refused_signs: &'static str,
    /// Words that are refused outside of literals and quoted names, in capitals.
    pub(super) refused_words: &'static [&'static str],
    /// Functions that read files of the server, in capitals. Refused as words and as names in backticks,
    /// which can be called as well.
    pub(super) file_functions: &'static [&'static str],
    /// `TABLE name` is a query.
    pub(super) table_queries: bool,
    /// Line comments end at a line feed, and nothing else in them looks like a line's end: nobody
    /// has written down where else the server would end them.
    pub(super) plain_line_ends: bool,
    /// What servers read differently is refused, since this one has not been watched: comments inside
    /// of comments, comments that some server runs, a backslash before a quote, and literals that begin
    /// with `q'`.
    pub(super) cautious: bool,
}

impl Rules {
    /// For servers behind ODBC drivers. What is not refused, all of them read alike.
    const CAUTIOUS: Self = Self {
        nested_comments: false,
        carriage_return_ends_line: false,
        escape_strings: false,
        dollar_quotes: false,
        backtick_names: false,
        bracket_names: BracketNames::None,
        backslash_escapes: false,
        mysql_comments: false,
        parameter_marks: "?:",
        refused_signs: "@#$[]{}`\\",
        refused_words: &[],
        file_functions: &[],
        table_queries: false,
        plain_line_ends: true,
        cautious: true,
    };
}

/// What `[` does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum BracketNames {
    /// It opens a subscript.
    None,
    /// It opens a name, which ends at the first `]`.
    Plain,
    /// The same, and `]]` stands for one `]`.
    Doubled,
}

/// Words that begin another statement of T-SQL, where no semicolon is needed between two; that lock
/// rows for writing; or that send text to another server, which may do anything with it. Those
/// that begin statements are reserved: no name can be one of them outside of brackets.
const REFUSED_IN_TRANSACT_SQL: &[&str] = &[
    "ALTER",
    "BACKUP",
    "BEGIN",
    "BREAK",
    "BULK",
    "CHECKPOINT",
    "CLOSE",
    "COMMIT",
    "CONTINUE",
    "CREATE",
    "DBCC",
    "DEALLOCATE",
    "DECLARE",
    "DELETE",
    "DENY",
    "DISK",
    "DROP",
    "DUMP",
    "EXEC",
    "EXECUTE",
    "GOTO",
    "GRANT",
    "IF",
    "INSERT",
    "KILL",
    "LOAD",
    "MERGE",
    "OPEN",
    "OPENDATASOURCE",
    "OPENQUERY",
    "OPENROWSET",
    "PRINT",
    "RAISERROR",
    "READTEXT",
    "RECONFIGURE",
    "RESTORE",
    "RETURN",
    "REVERT",
    "REVOKE",
    "ROLLBACK",
    "SAVE",
    "SET",
    "SETUSER",
    "SHUTDOWN",
    "TABLOCKX",
    "TRUNCATE",
    "UPDATE",
    "UPDATETEXT",
    "UPDLOCK",
    "USE",
    "WAITFOR",
    "WHILE",
    "WRITETEXT",
    "XLOCK",
];

impl SqlDialect {
    pub(in super::super) fn rules(self) -> Rules {
        match self {
            Self::PostgreSql => Rules {
                nested_comments: true,
                carriage_return_ends_line: true,
                escape_strings: true,
                dollar_quotes: true,
                backtick_names: false,
                bracket_names: BracketNames::None,
                backslash_escapes: false,
                mysql_comments: false,
                parameter_marks: "",
                refused_signs: "",
                refused_words: &[],
                file_functions: &[],
                table_queries: true,
                plain_line_ends: false,
                cautious: false,
            },
            Self::MySql => Rules {
                nested_comments: false,
                carriage_return_ends_line: false,
                escape_strings: false,
                dollar_quotes: false,
                backtick_names: true,
                bracket_names: BracketNames::None,
                backslash_escapes: true,
                mysql_comments: true,
                // Variables of the session as well: an assignment would be a side effect.
                parameter_marks: "?:@",
                refused_signs: "",
                refused_words: &[],
                file_functions: &["LOAD_FILE"],
                table_queries: true,
                plain_line_ends: false,
                cautious: false,
            },
            Self::Sqlite => Rules {
                nested_comments: false,
                carriage_return_ends_line: false,
                escape_strings: false,
                dollar_quotes: false,
                backtick_names: true,
                bracket_names: BracketNames::Plain,
                backslash_escapes: false,
                mysql_comments: false,
                parameter_marks: "?:@#$",
                refused_signs: "",
                refused_words: &[],
                file_functions: &[],
                table_queries: true,
                plain_line_ends: false,
                cautious: false,
            },
            Self::SqlServer => Rules {
                nested_comments: true,
                carriage_return_ends_line: false,
                escape_strings: false,
                dollar_quotes: false,
                backtick_names: false,
                bracket_names: BracketNames::Doubled,
                backslash_escapes: false,
                mysql_comments: false,
                parameter_marks: "?@",
                // Temporary objects, money literals and pseudo columns, labels, escapes of ODBC.
                refused_signs: "#$:{}`\\",
                refused_words: REFUSED_IN_TRANSACT_SQL,
                file_functions: &[],
                table_queries: false,
                plain_line_ends: true,
                cautious: false,
            },
            Self::Oracle | Self::Db2 | Self::Teradata => Rules::CAUTIOUS,
            // Casts with `::`, and paths into semi-structured values.
            Self::Redshift => Rules { parameter_marks: "?", refused_signs: "@#${}`\\", ..Rules::CAUTIOUS },
            // Where no semicolon is needed between two statements, words are all that tells them apart.
            Self::Ansi => Rules { refused_words: REFUSED_IN_TRANSACT_SQL, ..Rules::CAUTIOUS },
        }
    }
}
