//! What a statement or a call is answered with.

use super::Script;
use super::wire::{self, Column, Framing, utf16};

/// The statement of the agent that selects everything as text.
pub(super) fn is_of_texts(sql: &str) -> bool {
    sql.contains("SELECT * FROM (SELECT")
}

/// The number of a procedure.
pub(super) const SP_PREPARE: u16 = 11;

/// The answer to a call: `sp_prepare` describes the result and gives a number to the statement.
pub(super) fn called(procedure: u16, script: &Script) -> Vec<u8> {
    let mut answer = Vec::new();
    if procedure == SP_PREPARE {
        answer.extend(wire::columns(&script.columns));
    }
    // A return status of 0.
    answer.extend([0x79, 0, 0, 0, 0]);
    if procedure == SP_PREPARE {
        // The output parameter: an integer.
        answer.extend([0xac, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x26, 4, 4, 1, 0, 0, 0]);
    }
    let mut done = wire::done(0, 0);
    done[0] = 0xfe;
    answer.extend(done);
    answer
}

pub(super) enum Answer {
    Message(Vec<u8>),
    /// The result of the script.
    Rows,
}

/// A result of texts.
fn texts(names: &[&str], rows: &[Vec<Option<String>>]) -> Vec<u8> {
    let columns: Vec<Column> = names.iter().map(|name| Column::nvarchar(name)).collect();
    let mut message = wire::columns(&columns);
    for row in rows {
        let values: Vec<_> = row.iter().map(|text| text.as_deref().map(utf16)).collect();
        message.extend(wire::row(&columns, &values, false, 8000));
    }
    message.extend(wire::done(wire::COUNTED, rows.len() as u64));
    message
}

pub(super) fn answer(sql: &str, script: &Script) -> Answer {
    if let Some((_, number, class)) = script.refuse.filter(|(word, ..)| sql.contains(word)) {
        let refusal = [wire::error(number, 1, class, "Refused 'secret'.", 1), wire::done(wire::FAILED, 0)];
        return Answer::Message(refusal.concat());
    }
    let some = |text: &str| Some(text.to_owned());
    let message = if sql.contains("sp_describe_first_result_set") {
        let rows: Vec<_> = script.columns.iter().filter(|_| script.describes).map(describe).collect();
        let names = [
            "is_hidden",
            "name",
            "is_nullable",
            "system_type_name",
            "user_type_name",
            "assembly_qualified_type_name",
        ];
        // A procedure ends its result, and then itself.
        let mut message = texts(&names, &rows);
        let end = message.len() - 13;
        message[end..].copy_from_slice(&wire::done(wire::COUNTED | wire::MORE, rows.len() as u64));
        message[end] = 0xff;
        message.extend([0x79, 0, 0, 0, 0]);
        let mut done = wire::done(0, 0);
        done[0] = 0xfe;
        message.extend(done);
        message
    } else if let (Some((columns, _)), true) = (&script.texts, sql.contains("FMTONLY ON")) {
        [wire::columns(columns), wire::done(wire::COUNTED, 0)].concat()
    } else if sql.starts_with("set textsize") || sql.starts_with("use ") {
        wire::done(0, 0)
    } else if sql.contains("sp_prepare") || sql.contains("TOP (0)") {
        let columns: Vec<Column> =
            chosen(sql, script).into_iter().map(|index| cast_column(sql, &script.columns[index])).collect();
        [wire::columns(&columns), wire::done(wire::COUNTED, 0)].concat()
    } else if sql.contains("sys.databases") {
        let state = if script.snapshots { "1" } else { "0" };
        let committed = if script.committed_snapshots { "1" } else { "0" };
        texts(&["", "", ""], &[vec![some(state), some("READ_WRITE"), some(committed)]])
    } else if sql.contains("FROM sys.indexes") {
        texts(&["name"], &[vec![Some(script.columns[0].name.clone())]])
    } else if sql.contains("SELECT type FROM sys.objects") {
        texts(&["type"], &[vec![some("U ")]])
    } else if sql.contains("MIN(") {
        let (least, greatest) = script.bounds.clone().unzip();
        texts(&["", ""], &[vec![least, greatest]])
    } else if sql.contains("SELECT TOP (1) CASE WHEN") {
        texts(&[""], &[vec![some(if script.rises { "1" } else { "0" })]])
    } else if sql.contains("SELECT TOP (1) 1") || sql == "SELECT 1" {
        texts(&[""], &[vec![some("1")]])
    } else if sql.starts_with("SET ") || sql.contains("TRANSACTION") {
        wire::done(0, 0)
    } else {
        return Answer::Rows;
    };
    Answer::Message(message)
}

fn describe(column: &Column) -> Vec<Option<String>> {
    let text = |text: &str| Some(text.to_owned());
    let is_clr = column.type_info[0] == 0xf0;
    vec![
        text("0"),
        text(&column.name),
        text(if column.nullable { "1" } else { "0" }),
        Some(column.type_name.clone()).filter(|_| !is_clr),
        Some(column.type_name.clone()).filter(|_| is_clr).or(column.user_type.clone()),
        Some("Types, Version=1.0".to_owned()).filter(|_| is_clr),
    ]
}

/// What the agent's casts make of a column: CLR types become text, or well-known binary.
pub(super) fn cast_column(sql: &str, column: &Column) -> Column {
    if column.type_info[0] != 0xf0 {
        return column.clone();
    }
    let is_binary = sql.contains(&format!(".STAsBinary() AS [{}]", column.name));
    Column {
        type_info: match is_binary {
            true => vec![0xa5, 0xff, 0xff],
            false => vec![0xe7, 0xff, 0xff, 0x09, 0x04, 0xd0, 0, 0],
        },
        framing: Framing::Chunks,
        ..column.clone()
    }
}

/// The columns that a statement of the agent selects, by their place in the script.
pub(super) fn chosen(sql: &str, script: &Script) -> Vec<usize> {
    let is_chosen = |column: &Column| !sql.contains("q.[") || sql.contains(&format!(" AS [{}]", column.name));
    (0..script.columns.len()).filter(|index| is_chosen(&script.columns[*index])).collect()
}
