//! `${env:NAME}`, `${file:/path}` and references to stores of secrets inside strings of the configuration.
//!
//! `$${` stands for `${`. Texts that only look alike (`a${b`, `$`) stay as they are, because a
//! password of a 1.2.0 file may contain them; a whole `${NAME}` is refused, because it is nearly
//! always a template that nobody filled in.

use std::fs::File;
use std::io::Read;

use super::Environment;
use super::secret_store::{Address, FORMS, SecretStores};

/// A text after its references were replaced.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    /// The text; a secret, as far as this module knows.
    pub text: String,
    /// The first reference in it, as it was written; none when the text is literal.
    pub reference: Option<String>,
}

/// A reference that leads nowhere: the end of the sentence about its key, and the remedy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub message: String,
    pub remedy: String,
}

/// The longest file that a reference takes in, in bytes. Secrets are short; a path that was meant
/// for something else must not fill the memory.
const LONGEST_FILE: u64 = 64 * 1024;

/// True when the text takes nothing from elsewhere.
pub(super) fn is_literal(text: &str) -> bool {
    let text = text.replace("$${", "");
    !beginnings().any(|beginning| text.contains(&format!("${{{beginning}")))
}

/// What stands after the brace of a reference.
fn beginnings() -> impl Iterator<Item = &'static str> {
    ["env:", "file:"].into_iter().chain(FORMS.map(|(prefix, _)| prefix))
}

/// Replaces every reference in `text`. Errors name references, never what
/// they lead to.
pub(super) fn resolve(
    text: &str,
    environment: &Environment,
    stores: &SecretStores,
) -> Result<Resolved, Broken> {
    let mut resolved = Resolved { text: String::with_capacity(text.len()), reference: None };
    let mut rest = text;
    while let Some(position) = rest.find("${") {
        let (before, after) = (&rest[..position], &rest[position + 2..]);
        if let Some(kept) = before.strip_suffix('$') {
            resolved.text.push_str(kept);
            resolved.text.push_str("${");
            rest = after;
            continue;
        }
        resolved.text.push_str(before);
        let body = after.find('}').map(|end| &after[..end]);
        let Some(reference) = Reference::read(after, body)? else {
            resolved.text.push_str("${");
            rest = after;
            continue;
        };
        let written = match &reference {
            Reference::Stored(written, address) => shown(written, address),
            Reference::Variable(_) | Reference::File(_) => format!("${{{}}}", body.unwrap_or_default()),
        };
        resolved.text.push_str(&reference.follow(environment, stores)?);
        resolved.reference.get_or_insert(written);
        // A reference has a body, so its closing brace is there.
        rest = &after[body.map_or(after.len(), |body| body.len() + 1)..];
    }
    resolved.text.push_str(rest);
    Ok(resolved)
}

enum Reference<'a> {
    Variable(&'a str),
    File(&'a str),
    /// What stands between the braces, and what it means.
    Stored(&'a str, Address),
}

impl<'a> Reference<'a> {
    /// What follows a `${`: a reference, nothing of the kind, or something that was meant as one.
    fn read(after: &str, body: Option<&'a str>) -> Result<Option<Self>, Broken> {
        let is_one = beginnings().any(|beginning| after.starts_with(beginning));
        let Some(body) = body else {
            if is_one {
                return Err(Broken {
                    message: "holds a reference without its closing brace".into(),
                    remedy: "Write ${env:NAME} or ${file:/path}, and $${ for a literal ${.".into(),
                });
            }
            return Ok(None);
        };
        if let Some(name) = body.strip_prefix("env:") {
            return Ok(Some(Self::Variable(name)));
        }
        if let Some(path) = body.strip_prefix("file:") {
            return Ok(Some(Self::File(path)));
        }
        match Address::read(body) {
            Some(Ok(address)) => return Ok(Some(Self::Stored(body, address))),
            Some(Err(form)) => {
                return Err(Broken {
                    message: format!("holds ${{{body}}}, of which a part is missing"),
                    remedy: format!("Write {form}."),
                });
            }
            None => {}
        }
        let is_name = !body.is_empty()
            && body.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
            && !body.starts_with(|letter: char| letter.is_ascii_digit());
        if is_name {
            return Err(Broken {
                message: format!("holds ${{{body}}}, which is no reference"),
                remedy: format!(
                    "Write ${{env:{body}}} for the environment variable, or $${{{body}}} for the literal text."
                ),
            });
        }
        Ok(None)
    }

    fn follow(&self, environment: &Environment, stores: &SecretStores) -> Result<String, Broken> {
        match self {
            Self::Variable(name) => environment.get(name).map(str::to_owned).ok_or_else(|| Broken {
                message: format!("refers to the environment variable {name}, which is not set"),
                remedy: format!("Set {name}, or write the value here."),
            }),
            Self::File(path) => read_file(path, environment),
            Self::Stored(written, address) => match stores.get(address) {
                Ok(secret) => Ok(secret.expose().to_owned()),
                Err(refusal) => Err(Broken {
                    message: format!(
                        "refers to {}, which cannot be had: {}",
                        shown(written, address),
                        refusal.reason
                    ),
                    remedy: refusal.remedy,
                }),
            },
        }
    }
}

/// A reference in a message. The arguments of a program may hold a secret themselves.
fn shown(written: &str, address: &Address) -> String {
    match address {
        Address::Command(line) => {
            format!("the output of the program {:?}", line.split_whitespace().next().unwrap_or_default())
        }
        Address::Vault { .. } | Address::Aws { .. } | Address::Azure { .. } => format!("${{{written}}}"),
    }
}

fn read_file(path: &str, environment: &Environment) -> Result<String, Broken> {
    let broken = |reason: String| Broken {
        message: format!("refers to the file {path}, which {reason}"),
        remedy: "Make the file readable for the user of the agent, or correct the path.".into(),
    };
    let Some(expanded) = environment.expand_home(path) else {
        return Err(broken("needs a home directory, and there is none".into()));
    };
    let mut bytes = Vec::new();
    File::open(expanded)
        .and_then(|file| file.take(LONGEST_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| broken(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(broken(format!("is longer than {LONGEST_FILE} bytes")));
    }
    // The decoding error would tell bytes of the content, so it is dropped.
    let mut text = String::from_utf8(bytes).map_err(|_| broken("is not UTF-8 text".into()))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let environment = Environment::of([("NAME", "value"), ("NESTED", "${env:NAME}"), ("EMPTY", "")]);
        let resolved = resolve(text, &environment, &SecretStores::default())
            .unwrap_or_else(|broken| panic!("{text}: {broken:?}"));
        assert_eq!(resolved.text, expected, "{text}");
        assert_eq!(resolved.reference.is_none(), is_literal(text), "{text}");
    }

    #[test]
    fn references_are_replaced_and_everything_else_stays() {
        check("", "");
        check("plain", "plain");
        check("${env:NAME}", "value");
        check("a${env:NAME}b${env:NAME}c", "avaluebvaluec");
        check("${env:EMPTY}", "");
        check("${env:NESTED}", "${env:NAME}");
        check("$${env:NAME}", "${env:NAME}");
        check("$$${env:NAME}", "$${env:NAME}");
        check("$${NAME}", "${NAME}");
        check("pa$$word", "pa$$word");
        check("a${b", "a${b");
        check("${}", "${}");
        check("${a b}", "${a b}");
        check("${9}", "${9}");
        check("é${env:NAME}ü", "évalueü");
        check("$", "$");
        check("${", "${");
    }

    #[test]
    fn a_reference_that_leads_nowhere_names_it_and_never_a_value() {
        let environment = Environment::of([("SECRET", "hunter2")]);
        for (text, expected) in [
            ("${env:MISSING}", "refers to the environment variable MISSING, which is not set"),
            ("${env:SECRET}${env:MISSING}", "refers to the environment variable MISSING, which is not set"),
            ("${env:NAME", "holds a reference without its closing brace"),
            ("${DATA_SOURCE_PASSWORD}", "holds ${DATA_SOURCE_PASSWORD}, which is no reference"),
            ("${vault:db#", "holds a reference without its closing brace"),
            ("${vault:db}", "holds ${vault:db}, of which a part is missing"),
            ("${vault:db#x}", "refers to ${vault:db#x}, which cannot be had: no Vault is configured"),
            (
                "${cmd:pass hunter2}",
                "refers to the output of the program \"pass\", which cannot be had: it is the output of a program, \
                 and programs are not allowed",
            ),
            ("${file:~/x}", "refers to the file ~/x, which needs a home directory, and there is none"),
        ] {
            let broken = resolve(text, &environment, &SecretStores::default()).unwrap_err();
            assert_eq!(broken.message, expected, "{text}");
            assert!(!format!("{broken:?}").contains("hunter2"));
        }
        let missing = resolve("${file:/nowhere/at/all}", &environment, &SecretStores::default()).unwrap_err();
        assert!(
            missing.message.starts_with("refers to the file /nowhere/at/all, which cannot be read: "),
            "{missing:?}"
        );
    }

    #[test]
    fn a_file_loses_one_trailing_line_end() {
        let directory = super::super::testing::Directory::new();
        for (content, expected) in [
            (&b"secret"[..], Some("secret")),
            (b"secret\n", Some("secret")),
            (b"secret\r\n", Some("secret")),
            (b"secret\n\n", Some("secret\n")),
            (b"", Some("")),
            (b"sec\xffret", None),
            (&vec![b'x'; LONGEST_FILE as usize + 1], None),
        ] {
            let path = directory.write("secret", content);
            let text = format!("${{file:{}}}", path.display());
            let resolved = resolve(&text, &Environment::default(), &SecretStores::default());
            assert_eq!(resolved.ok().map(|resolved| resolved.text).as_deref(), expected);
        }
    }
}
