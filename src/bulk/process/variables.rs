//! Which variables of the agent a program sees.
//!
//! The agent's environment holds the secrets of every connection, so a program that was asked for the rows of
//! one of them inherits what says where things are on this system, and nothing else.

/// Names, or their beginnings before a `*`: who and where, languages and times, certificates, Kerberos, where
/// drivers and the libraries of vendors are.
const OF_THE_SYSTEM: [&str; 29] = [
    "COPERR",
    "COPLIB",
    "DYLD_LIBRARY_PATH",
    "HOME",
    "HOSTALIASES",
    "KRB5*",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "LD_LIBRARY_PATH",
    "LOCALDOMAIN",
    "LOGNAME",
    "NLSPATH",
    "ODBCINI",
    "ODBCINSTINI",
    "ODBCSYSINI",
    "PATH",
    "RES_OPTIONS",
    "SHELL",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TDICU*",
    "TD_ICU*",
    "TEMP",
    "TMP",
    "TMPDIR",
    "TWB*",
    "TZ*",
    "USER",
];

/// Variables of the agent that a program sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inherited {
    /// All of them: for a program that the configuration asks for a secret, which may need another one for it.
    All,
    /// Those of the system, and these: names, or their beginnings before a `*`.
    Known(Vec<String>),
}

impl Default for Inherited {
    fn default() -> Self {
        Self::Known(Vec::new())
    }
}

impl Inherited {
    /// Adds names, or their beginnings before a `*`.
    pub fn add<N: Into<String>>(&mut self, names: impl IntoIterator<Item = N>) {
        if let Self::Known(known) = self {
            known.extend(names.into_iter().map(Into::into));
        }
    }

    /// True for a variable that the program sees.
    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Known(known) => {
                let known = known.iter().map(String::as_str);
                OF_THE_SYSTEM.into_iter().chain(known).any(|pattern| fits(pattern, name))
            }
        }
    }
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_could_be_a_secret_is_inherited_unless_it_is_named() {
        let mut inherited = Inherited::default();
        for name in ["PATH", "HOME", "LC_ALL", "TZ", "KRB5CCNAME", "ODBCINI", "TWB_ROOT"] {
            assert!(inherited.has(name), "{name}");
        }
        let secrets = [
            "SNOWFLAKE_PASSWORD",
            "AWS_SECRET_ACCESS_KEY",
            "PGPASSWORD",
            "VAULT_TOKEN",
            "HOMEPAGE",
            "PATHS",
            "",
        ];
        for name in secrets {
            assert!(!inherited.has(name), "{name}");
            assert!(Inherited::All.has(name), "{name}");
        }
        inherited.add(["VAULT_TOKEN", "ORACLE_*"]);
        assert!(
            inherited.has("VAULT_TOKEN") && inherited.has("ORACLE_HOME") && !inherited.has("VAULT_TOKENS")
        );
    }
}
