//! The SQL and the YAML of docs/snowflake, read by programs that know these languages.
