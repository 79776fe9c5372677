//! Secrets that live elsewhere: what a program prints, HashiCorp Vault, AWS Secrets Manager, Azure Key Vault.
//!
//! They are asked while the configuration is proven, and again when a login was refused. Nothing is kept
//! beyond one proof, so that a secret that was replaced is seen at the next one. The answers of a store are
//! secrets: no message quotes them.

mod aws;
mod azure;
mod command;
mod http;
mod vault;

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;

use serde_json::Value;

use super::Secret;
use super::model::{AzureIdentity, SecretSettings};
use crate::fault::{Fault, FaultKind};

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Address {
    /// `${cmd:program argument ...}`.
    Command(String),
    /// `${vault:path#field}`.
    Vault { path: String, field: String },
    /// `${aws-secret:id}` or `${aws-secret:id#field}`.
    Aws { id: String, field: Option<String> },
    /// `${azure-secret:vault/name}`.
    Azure { vault: String, name: String },
}

/// What a reference to a store begins with, and how it is written.
pub(super) const FORMS: [(&str, &str); 4] = [
    ("cmd:", "${cmd:program argument}"),
    ("vault:", "${vault:path#field}"),
    ("aws-secret:", "${aws-secret:id#field}"),
    ("azure-secret:", "${azure-secret:vault/name}"),
];

impl Address {
    /// Reads what stands between the braces. `None` when it begins like none of [`FORMS`], an error when
    /// it does and something of it is missing.
    pub(super) fn read(body: &str) -> Option<Result<Self, &'static str>> {
        let (prefix, form) = FORMS.into_iter().find(|(prefix, _)| body.starts_with(prefix))?;
        let rest = body[prefix.len()..].trim();
        let both = |separator| {
            rest.rsplit_once(separator)
                .filter(|(before, after)| !before.is_empty() && !after.is_empty())
                .map(|(before, after)| (before.to_owned(), after.to_owned()))
        };
        let address = match prefix {
            "cmd:" => (!rest.is_empty()).then(|| Self::Command(rest.to_owned())),
            "vault:" => both('#').map(|(path, field)| Self::Vault { path, field }),
            "azure-secret:" => both('/').map(|(vault, name)| Self::Azure { vault, name }),
            _ => match rest.contains('#') {
                true => both('#').map(|(id, field)| Self::Aws { id, field: Some(field) }),
                false => (!rest.is_empty()).then(|| Self::Aws { id: rest.to_owned(), field: None }),
            },
        };
        Some(address.ok_or(form))
    }
}

/// The stores of one configuration, and what they have answered during this proof.
#[derive(Debug, Default)]
pub(super) struct SecretStores {
    settings: SecretSettings,
    /// Who asks Azure; `None` before the section `[secrets]` is proven.
    azure_identity: Option<AzureIdentity>,
    /// The whole secret behind several fields is asked for once; so is a store that does not answer.
    answers: RefCell<HashMap<Address, Result<Secret, Refusal>>>,
    documents: RefCell<HashMap<Address, Result<Secret, Refusal>>>,
    vault_token: RefCell<Option<Result<Secret, Refusal>>>,
}

/// Why a secret cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The end of the sentence "... refers to a secret that cannot be had: ".
    pub(super) reason: String,
    /// What a person can do.
    pub(super) remedy: String,
}

impl Refusal {
    fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { reason: reason.into(), remedy: remedy.into() }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::new(fault.chain(), fault.hint().unwrap_or("Check the section `[secrets]`."))
    }
}

impl SecretStores {
    pub(super) fn new(settings: SecretSettings, azure_identity: AzureIdentity) -> Self {
        Self { settings, azure_identity: Some(azure_identity), ..Self::default() }
    }

    /// The secret at an address.
    pub(super) fn get(&self, address: &Address) -> Result<Secret, Refusal> {
        if let Some(known) = self.answers.borrow().get(address) {
            return known.clone();
        }
        let answer = self.ask(address);
        self.answers.borrow_mut().insert(address.clone(), answer.clone());
        answer
    }

    fn ask(&self, address: &Address) -> Result<Secret, Refusal> {
        match address {
            Address::Command(line) => {
                if !self.settings.allow_commands {
                    return Err(Refusal::new(
                        "it is the output of a program, and programs are not allowed",
                        "Set secrets.allow_command_secrets = true when the file is written by nobody else.",
                    ));
                }
                Ok(wait_for(command::run(line))?)
            }
            Address::Vault { path, field } => {
                let Some(vault) = &self.settings.vault else {
                    return Err(Refusal::new(
                        "no Vault is configured",
                        "Add [secrets.vault] with its address and a way to log in.",
                    ));
                };
                let token = self.vault_token.borrow().clone();
                let token = match token {
                    Some(token) => token?,
                    None => {
                        let token = wait_for(vault::log_in(vault)).map_err(Refusal::from);
                        self.vault_token.borrow_mut().insert(token).clone()?
                    }
                };
                let whole = Address::Vault { path: path.clone(), field: String::new() };
                let document = self.document(whole, || Ok(wait_for(vault::read(vault, &token, path))?))?;
                field_of(&document, field)
            }
            Address::Aws { id, field } => {
                let whole = Address::Aws { id: id.clone(), field: None };
                let document = self.document(whole, || Ok(wait_for(aws::read(&self.settings.aws, id))?))?;
                match field {
                    Some(field) => field_of(&document, field),
                    None => Ok(document),
                }
            }
            Address::Azure { vault, name } => {
                let Some(identity) = &self.azure_identity else {
                    return Err(Refusal::new(
                        "a section of [secrets] cannot take its values from there",
                        "Write ${env:NAME} or ${file:/path} here.",
                    ));
                };
                Ok(wait_for(azure::read(&self.settings.azure, identity, vault, name))?)
            }
        }
    }

    fn document(
        &self,
        address: Address,
        ask: impl FnOnce() -> Result<Secret, Refusal>,
    ) -> Result<Secret, Refusal> {
        if let Some(known) = self.documents.borrow().get(&address) {
            return known.clone();
        }
        let document = ask();
        self.documents.borrow_mut().insert(address, document.clone());
        document
    }
}

/// One field of a JSON object.
fn field_of(document: &Secret, field: &str) -> Result<Secret, Refusal> {
    // The error of the parser is dropped: it could quote the secret.
    let Ok(Value::Object(fields)) = serde_json::from_str(document.expose()) else {
        let remedy = "Leave out the field, or store a JSON object.";
        return Err(Refusal::new("the secret is no JSON object, so that it has no fields", remedy));
    };
    match fields.get(field) {
        Some(Value::String(text)) => Ok(Secret::new(text)),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Secret::new(value.to_string())),
        Some(_) => Err(Refusal::new(
            format!("the field `{field}` is neither a text nor a number"),
            "Store the text alone in this field.",
        )),
        None => {
            let mut known: Vec<&str> = fields.keys().map(String::as_str).collect();
            known.sort_unstable();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Err(Refusal::new(
                format!("the secret has no field `{field}`; it has: {known}"),
                "Correct the field after the #.",
            ))
        }
    }
}

/// Waits for an answer on a thread of its own: the proof of a configuration is no asynchronous work, and
/// may run on a thread of a runtime.
fn wait_for<T: Send>(ask: impl Future<Output = Result<T, Fault>> + Send) -> Result<T, Fault> {
    let broken = |error: std::io::Error| Fault::new(FaultKind::Bug, "start a runtime").because(error);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(broken)?;
            runtime.block_on(ask)
        });
        asking.join().unwrap_or_else(|_panic| Err(Fault::new(FaultKind::Bug, "ask a store of secrets")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_to_their_end() {
        let text = str::to_owned;
        for (body, expected) in [
            ("cmd:pass show db", Address::Command(text("pass show db"))),
            ("vault:db/sales#password", Address::Vault { path: text("db/sales"), field: text("password") }),
            ("vault:a#b#c", Address::Vault { path: text("a#b"), field: text("c") }),
            ("aws-secret:prod/db", Address::Aws { id: text("prod/db"), field: None }),
            (
                "aws-secret:arn:aws:secretsmanager:eu-west-1:1:secret:db-x#user",
                Address::Aws {
                    id: text("arn:aws:secretsmanager:eu-west-1:1:secret:db-x"),
                    field: Some(text("user")),
                },
            ),
            ("azure-secret:kv/db", Address::Azure { vault: text("kv"), name: text("db") }),
        ] {
            assert_eq!(Address::read(body), Some(Ok(expected)), "{body}");
        }
        for body in [
            "cmd:",
            "cmd: ",
            "vault:",
            "vault:path",
            "vault:#f",
            "vault:p#",
            "aws-secret:",
            "aws-secret:#f",
            "azure-secret:x",
            "azure-secret:/x",
            "azure-secret:x/",
        ] {
            assert!(matches!(Address::read(body), Some(Err(_))), "{body}");
        }
        assert_eq!(Address::read("env:X"), None);
    }

    #[test]
    fn a_field_is_a_text_or_a_number_and_no_message_has_a_value() {
        let document = Secret::new(r#"{"a": "planted", "n": 5432, "o": {"x": "planted"}}"#);
        let get = |field: &str| field_of(&document, field);
        assert_eq!(get("a").unwrap().expose(), "planted");
        assert_eq!(get("n").unwrap().expose(), "5432");
        for refusal in [get("o").unwrap_err(), get("missing").unwrap_err()] {
            assert!(!format!("{refusal:?}").contains("planted"), "{refusal:?}");
        }
        assert_eq!(get("missing").unwrap_err().reason, "the secret has no field `missing`; it has: a, n, o");
        assert!(field_of(&Secret::new("planted"), "a").is_err());
    }

    #[test]
    fn programs_run_only_where_they_are_allowed() {
        let address = Address::Command("echo planted".to_owned());
        let refused = SecretStores::default().get(&address).unwrap_err();
        assert!(refused.remedy.contains("secrets.allow_command_secrets = true"), "{refused:?}");
        let settings = SecretSettings { allow_commands: true, ..SecretSettings::default() };
        let stores = SecretStores { settings, ..SecretStores::default() };
        assert_eq!(stores.get(&address).unwrap().expose(), "planted");
    }

    #[test]
    fn stores_that_are_not_configured_say_where_to_begin() {
        let address = Address::Vault { path: "db".to_owned(), field: "password".to_owned() };
        let refused = SecretStores::default().get(&address).unwrap_err();
        assert_eq!(refused.reason, "no Vault is configured");
        assert!(refused.remedy.contains("[secrets.vault]"));
    }
}
