//! `[bulk_utility.bcp]`.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::Bcp;
use crate::bulk::kind::{self, Kind, Own, OwnSettings};
use crate::bulk::{BulkUtility, terminator};
use crate::config::{BulkUtilitySettings, Section, key};

/// The utility, as the registry knows it.
pub(in crate::bulk) const KIND: Kind = Kind {
    name: "bcp",
    keys: &[
        kind::WHICH,
        kind::executable("The program, started without a shell; `bcp` when absent."),
        key(
            "dialect",
            "`\"microsoft\"`, `\"freetds\"`",
            "",
            "Whose options the program has; `freetds` for an executable called `freebcp`, else `microsoft`.",
        ),
        key(
            "delimiter",
            "string of ASCII",
            "\"\\u001f\"",
            "Between two fields: a text that no value has. `\\n`, `\\r`, `\\t` and `\\\\` are read as bcp reads them.",
        ),
        key("row_terminator", "string of ASCII", "\"\\u001e\"", "After a row, likewise."),
        key("encoding", "`\"UTF8\"`", "\"UTF8\"", "Texts are exported in UTF-8 always."),
        key(
            "trusted_connection",
            "boolean",
            "false",
            "Log in as the user that the agent runs as (Kerberos), not with the name and password of the connection.",
        ),
        key("encrypt", "boolean", "", "Encrypt everything; what the connection says when absent."),
        key(
            "packet_size",
            "integer, 512 to 32767",
            "",
            "Bytes of a network packet; what the connection says when absent.",
        ),
        key(
            "password_by",
            "`\"input\"`, `\"argument\"`",
            "\"input\"",
            "How the program gets the password. `argument` is for a program that does not read its standard input: \
             every user of the machine can see it then.",
        ),
        kind::TIMEOUT,
        kind::LONGEST_ROW,
        kind::VARIABLES,
    ],
    is_there_without_a_section: true,
    prove: |section| Some(Own::new(prove(section))),
};

/// `[bulk_utility.bcp]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BcpSettings {
    /// Whose options are used; what the executable's name says when `None`.
    pub(super) dialect: Option<BcpDialect>,
    /// Between two fields.
    pub(super) delimiter: String,
    /// After a row.
    pub(super) row_terminator: String,
    /// Log in as the user that the agent runs as.
    pub(super) trusted_connection: bool,
    /// Encrypt everything; what the connection says when `None`.
    pub(super) encrypt: Option<bool>,
    /// Bytes of a packet; what the connection says when `None`.
    pub(super) packet_size: Option<NonZeroU16>,
    /// How the program gets the password.
    pub(super) password_by: PasswordBy,
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
pub(super) enum BcpDialect {
    /// Those of Microsoft's program.
    Microsoft,
    /// Those of `freebcp`.
    FreeTds,
}

/// How a program gets a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PasswordBy {
    /// It reads it from its standard input.
    Input,
    /// As an argument, which every user of the machine can see.
    Argument,
}

impl OwnSettings for BcpSettings {
    fn utility(&self, _name: &str, settings: BulkUtilitySettings) -> Arc<dyn BulkUtility> {
        Arc::new(Bcp::new(settings, self.clone()))
    }
}

fn prove(section: &mut Section<'_, '_>) -> BcpSettings {
    let default = BcpSettings::default();
    let dialect =
        section.choice("dialect", &[("microsoft", BcpDialect::Microsoft), ("freetds", BcpDialect::FreeTds)]);
    let delimiter = section.parsed("delimiter", terminator::EXPECTED, terminator::read);
    let row_terminator = section.parsed("row_terminator", terminator::EXPECTED, terminator::read);
    section.parsed("encoding", "\"UTF8\"", |text| {
        matches!(text.to_ascii_lowercase().as_str(), "utf8" | "utf-8" | "65001").then_some(())
    });
    for (key, written) in [("delimiter", &delimiter), ("row_terminator", &row_terminator)] {
        if written.as_ref().is_some_and(|text| {
            text.bytes().all(|byte| byte >= b' ' || byte == b'\t' || byte == b'\n' || byte == b'\r')
        }) {
            let remedy = "A value that has it fails the attempt. Leave the key out: the default is a control character.";
            section.warning(key, "is a text that values can have", Some(remedy));
        }
    }
    let delimiter = delimiter.unwrap_or(default.delimiter);
    let row_terminator = row_terminator.unwrap_or(default.row_terminator);
    terminator::prove(section, &delimiter, &row_terminator);
    BcpSettings {
        dialect,
        delimiter,
        row_terminator,
        trusted_connection: section.boolean("trusted_connection").unwrap_or_default(),
        encrypt: section.boolean("encrypt"),
        packet_size: section.integer("packet_size", 512..=32_767).and_then(kind::small),
        password_by: section
            .choice("password_by", &[("input", PasswordBy::Input), ("argument", PasswordBy::Argument)])
            .unwrap_or(default.password_by),
    }
}
