//! What is selected in place of a column, so that its text says everything that its value does.
//!
//! Character files of bcp cut times to milliseconds, drop offsets, round floats and money, and print
//! texts in a code page; none of that can happen to what is a text of ASCII or Unicode already.

use super::sql::{Base, Described, Selected};
use super::types::Select;
use crate::fault::{Fault, FaultKind};

/// The expression for a column of the result.
pub(super) fn text_of(base: &Base, all: &[Described], selected: &Selected) -> Result<String, Fault> {
    let column = base.column(all, selected.position);
    let described = &all[selected.position];
    Ok(match selected.select {
        Select::Text => format!("CAST({column} AS nvarchar(max))"),
        Select::ClrText => format!("CAST({column}.ToString() AS nvarchar(max))"),
        Select::WellKnownBinary => format!("CONVERT(varchar(max), {column}.STAsBinary(), 2)"),
        Select::AsIs => match text_of_type(&described.type_name, &column) {
            Some(text) => text,
            None => {
                let action = format!("export column `{}` as text", selected.name);
                return Err(Fault::new(FaultKind::Request, action)
                    .because(format!(
                        "a value of the type {} has no text that says its type",
                        described.type_name
                    ))
                    .remedy("Cast it to the type that it has in the query, or set `method` to `native`."));
            }
        },
    })
}

/// Style 121 is ISO with all digits, 23 its date, 3 all digits of a float, 2 hexadecimal.
fn text_of_type(name: &str, column: &str) -> Option<String> {
    let base = name.split('(').next().unwrap_or_default().trim().to_ascii_lowercase();
    Some(match base.as_str() {
        "bit" | "tinyint" | "smallint" | "int" | "bigint" => column.to_owned(),
        "decimal" | "numeric" => format!("CONVERT(varchar(41), {column})"),
        "money" | "smallmoney" => format!("CONVERT(varchar(41), CONVERT(decimal(19,4), {column}))"),
        "float" | "real" => format!("CONVERT(varchar(32), {column}, 3)"),
        "date" => format!("CONVERT(varchar(10), {column}, 23)"),
        "time" => format!("CONVERT(varchar(16), {column}, 121)"),
        "datetime" | "smalldatetime" => format!("CONVERT(varchar(23), {column}, 121)"),
        "datetime2" => format!("CONVERT(varchar(27), {column}, 121)"),
        "datetimeoffset" => format!("CONVERT(varchar(34), {column}, 121)"),
        "uniqueidentifier" => format!("UPPER(CONVERT(char(36), {column}))"),
        "binary" | "varbinary" | "image" | "rowversion" | "timestamp" => {
            format!("CONVERT(varchar(max), CONVERT(varbinary(max), {column}), 2)")
        }
        "sql_variant" => return None,
        _ => format!("CAST({column} AS nvarchar(max))"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::sql::choose;
    use super::*;

    #[test]
    fn a_table_becomes_a_query_of_texts() {
        let table = Base::Table { name: "[dbo].[t]".into(), hint: None };
        let column = |name: &str, type_name: &str| Described {
            name: name.into(),
            type_name: type_name.into(),
            is_clr: false,
            nullable: true,
        };
        let all = [column("id", "int"), column("moment", "datetime2(7)")];
        let selected = choose(&all, None, |_| Select::AsIs).unwrap();
        let texts: Vec<String> =
            selected.iter().map(|selected| text_of(&table, &all, selected).unwrap()).collect();
        assert_eq!(
            table.statement_of_texts(&all, &texts),
            "SELECT * FROM (SELECT q.[id] AS [c1], CONVERT(varchar(27), q.[moment], 121) AS [c2] \
             FROM [dbo].[t] AS q) AS t"
        );
    }

    #[test]
    fn nothing_is_left_to_the_character_mode_of_a_program() {
        for (name, expected) in [
            ("int", "c"),
            ("decimal(38,10)", "CONVERT(varchar(41), c)"),
            ("money", "CONVERT(varchar(41), CONVERT(decimal(19,4), c))"),
            ("float", "CONVERT(varchar(32), c, 3)"),
            ("datetime2(7)", "CONVERT(varchar(27), c, 121)"),
            ("datetimeoffset(7)", "CONVERT(varchar(34), c, 121)"),
            ("varbinary(max)", "CONVERT(varchar(max), CONVERT(varbinary(max), c), 2)"),
            ("varchar(10)", "CAST(c AS nvarchar(max))"),
            ("xml", "CAST(c AS nvarchar(max))"),
        ] {
            assert_eq!(text_of_type(name, "c").as_deref(), Some(expected), "{name}");
        }
        assert_eq!(text_of_type("sql_variant", "c"), None);
    }
}
