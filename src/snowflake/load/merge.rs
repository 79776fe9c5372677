//! From the staging table into the table: what COPY alone cannot do.

use super::name::{QualifiedName, quote_identifier};
use super::table::Pair;
use super::types::Conversion;

/// Inserts every row of the staging table.
pub(super) fn insert_sql(table: &QualifiedName, staging: &QualifiedName, pairs: &[Pair]) -> String {
    format!("INSERT INTO {table} ({}) {}", columns(pairs, ""), converted(staging, pairs))
}

/// Updates the rows whose keys are there, inserts the others. `keys` are names of the result.
pub(super) fn merge_sql(
    table: &QualifiedName,
    staging: &QualifiedName,
    pairs: &[Pair],
    keys: &[String],
) -> String {
    let assign = |pair: &Pair, prefix: &str| {
        let column = quote_identifier(&pair.table);
        format!("{prefix}{column} = s.{column}")
    };
    let (keys, others): (Vec<&Pair>, Vec<&Pair>) = pairs.iter().partition(|pair| keys.contains(&pair.source));
    let on: Vec<String> = keys.into_iter().map(|pair| assign(pair, "t.")).collect();
    let set: Vec<String> = others.into_iter().map(|pair| assign(pair, "")).collect();
    let update = match set.as_slice() {
        [] => String::new(),
        set => format!(" WHEN MATCHED THEN UPDATE SET {}", set.join(", ")),
    };
    format!(
        "MERGE INTO {table} AS t USING ({}) AS s ON {}{update} WHEN NOT MATCHED THEN INSERT ({}) VALUES ({})",
        converted(staging, pairs),
        on.join(" AND "),
        columns(pairs, ""),
        columns(pairs, "s.")
    )
}

/// Counts the rows of the staging table that have NULL in a key, as `NULL_KEYS`, and the keys that
/// several rows have, as `DOUBLE_KEYS`. Either makes a merge depend on chance: NULL equals nothing,
/// so that its row would be inserted by every merge; of two rows with one key, one would win.
pub(super) fn keys_sql(staging: &QualifiedName, pairs: &[Pair], keys: &[String]) -> String {
    let columns: Vec<String> = pairs
        .iter()
        .filter(|pair| keys.contains(&pair.source))
        .map(|pair| quote_identifier(&pair.table))
        .collect();
    let nulls: Vec<String> = columns.iter().map(|column| format!("{column} IS NULL")).collect();
    let list = columns.join(", ");
    format!(
        "SELECT (SELECT COUNT(*) FROM {staging} WHERE {}) AS NULL_KEYS, \
         (SELECT COUNT(*) FROM (SELECT {list} FROM {staging} GROUP BY {list} HAVING COUNT(*) > 1) AS d) \
         AS DOUBLE_KEYS",
        nulls.join(" OR ")
    )
}

/// The rows of the staging table with the types of the table.
fn converted(staging: &QualifiedName, pairs: &[Pair]) -> String {
    let values: Vec<String> = pairs
        .iter()
        .map(|pair| {
            let column = quote_identifier(&pair.table);
            match pair.conversion {
                Conversion::Direct => format!("x.{column}"),
                Conversion::Json => format!("PARSE_JSON(x.{column}) AS {column}"),
                Conversion::JsonObject => format!("PARSE_JSON(x.{column})::OBJECT AS {column}"),
                Conversion::JsonArray => format!("PARSE_JSON(x.{column})::ARRAY AS {column}"),
            }
        })
        .collect();
    format!("SELECT {} FROM {staging} AS x", values.join(", "))
}

fn columns(pairs: &[Pair], prefix: &str) -> String {
    let columns: Vec<String> =
        pairs.iter().map(|pair| format!("{prefix}{}", quote_identifier(&pair.table))).collect();
    columns.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snowflake::load::types::ColumnType;

    fn name(table: &str) -> QualifiedName {
        QualifiedName { database: "D".into(), schema: "S".into(), table: table.into() }
    }

    fn pair(source: &str, table: &str, conversion: Conversion) -> Pair {
        Pair { source: source.into(), table: table.into(), column_type: ColumnType::Text(None), conversion }
    }

    #[test]
    fn a_merge_updates_what_is_there_and_inserts_the_rest() {
        let pairs = [
            pair("id", "ID", Conversion::Direct),
            pair("shop", "Shop", Conversion::Direct),
            pair("body", "BODY", Conversion::Json),
        ];
        let keys = ["id".to_owned(), "shop".to_owned()];
        assert_eq!(
            merge_sql(&name("T"), &name("X"), &pairs, &keys),
            "MERGE INTO \"D\".\"S\".\"T\" AS t USING \
             (SELECT x.\"ID\", x.\"Shop\", PARSE_JSON(x.\"BODY\") AS \"BODY\" FROM \"D\".\"S\".\"X\" AS x) AS s \
             ON t.\"ID\" = s.\"ID\" AND t.\"Shop\" = s.\"Shop\" \
             WHEN MATCHED THEN UPDATE SET \"BODY\" = s.\"BODY\" \
             WHEN NOT MATCHED THEN INSERT (\"ID\", \"Shop\", \"BODY\") VALUES (s.\"ID\", s.\"Shop\", s.\"BODY\")"
        );
        assert_eq!(
            keys_sql(&name("X"), &pairs, &keys),
            "SELECT (SELECT COUNT(*) FROM \"D\".\"S\".\"X\" WHERE \"ID\" IS NULL OR \"Shop\" IS NULL) AS NULL_KEYS, \
             (SELECT COUNT(*) FROM (SELECT \"ID\", \"Shop\" FROM \"D\".\"S\".\"X\" \
             GROUP BY \"ID\", \"Shop\" HAVING COUNT(*) > 1) AS d) AS DOUBLE_KEYS"
        );
    }

    #[test]
    fn rows_that_are_keys_only_are_never_updated() {
        let sql =
            merge_sql(&name("T"), &name("X"), &[pair("id", "ID", Conversion::Direct)], &["id".to_owned()]);
        assert!(!sql.contains("UPDATE"), "{sql}");
        assert!(sql.ends_with("WHEN NOT MATCHED THEN INSERT (\"ID\") VALUES (s.\"ID\")"), "{sql}");
    }

    #[test]
    fn json_is_parsed_on_its_way_out_of_the_staging_table() {
        let pairs = [
            pair("o", "O", Conversion::JsonObject),
            pair("a", "A", Conversion::JsonArray),
            pair("t", "T", Conversion::Direct),
        ];
        assert_eq!(
            insert_sql(&name("T"), &name("X"), &pairs),
            "INSERT INTO \"D\".\"S\".\"T\" (\"O\", \"A\", \"T\") SELECT PARSE_JSON(x.\"O\")::OBJECT AS \"O\", \
             PARSE_JSON(x.\"A\")::ARRAY AS \"A\", x.\"T\" FROM \"D\".\"S\".\"X\" AS x"
        );
    }
}
