//! Account names, and the host names that follow from them.
//!
//! Invariant: an account never becomes a host outside the known suffixes, whatever is in it, so that
//! a credential is never sent to a server that a configuration value smuggled in. Only an explicit
//! `host` leads elsewhere.

use std::fmt;
use std::net::IpAddr;

use thiserror::Error;

/// The suffixes below which Snowflake's own servers live: the world, China, and the United States'
/// military regions.
pub const KNOWN_SUFFIXES: [&str; 3] =
    ["snowflakecomputing.com", "snowflakecomputing.cn", "snowflakecomputing.mil"];

/// Longest host name that DNS can carry, and longest label in it.
const LONGEST_HOST: usize = 253;
const LONGEST_LABEL: usize = 63;

/// The region that was the only one before regions had names; its accounts carry none.
const UNNAMED_REGION: &str = "us-west-2";

/// An account identifier: labels of letters, digits, `_` and `-`, joined by dots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountName(String);

/// Why a text is no account, region or host, so that key and text read as one sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidName {
    /// The account has other characters than an account may have, or an empty label.
    #[error(
        "is no account identifier: letters, digits, `_` and `-` in parts joined by dots, such as `myorg-account1`"
    )]
    Account,
    /// The account is a whole host name.
    #[error("is a host name; the account is the part before `.snowflakecomputing`")]
    AccountIsHost,
    /// The region has other characters than a region may have.
    #[error("is no region: letters, digits, `_` and `-` in parts joined by dots, such as `eu-central-1.aws`")]
    Region,
    /// The account cannot be part of a host name.
    #[error("gives no valid host name; set `host` to the host of the account")]
    NoHost,
    /// The explicit host is none.
    #[error("is no host name or address; write it without scheme, port and path")]
    Host,
}

impl AccountName {
    /// Checks an account identifier. Case is kept.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        if !is_labels(text) {
            return Err(InvalidName::Account);
        }
        if is_below(text, &KNOWN_SUFFIXES) {
            return Err(InvalidName::AccountIsHost);
        }
        Ok(Self(text.to_owned()))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `ACCOUNT_NAME` of the login: without region, and without the suffix of a global account.
    #[must_use]
    pub fn for_login(&self) -> &str {
        let (first, rest) = self.0.split_once('.').unwrap_or((&self.0, ""));
        match first.rsplit_once('-') {
            Some((name, _)) if is_global(rest) && !name.is_empty() => name,
            _ => first,
        }
    }

    /// The account part of a key-pair token's claims.
    #[must_use]
    pub fn for_claims(&self) -> String {
        let (first, rest) = self.0.split_once('.').unwrap_or((&self.0, ""));
        let name = match first.split_once('-') {
            Some((name, _)) if is_global(rest) && !name.is_empty() => name,
            _ => first,
        };
        name.to_ascii_uppercase()
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn is_global(after_the_first_label: &str) -> bool {
    after_the_first_label == "global" || after_the_first_label.starts_with("global.")
}

/// The host of an account, and of a region when that is written apart from it.
pub fn host_of(account: &AccountName, region: Option<&str>) -> Result<String, InvalidName> {
    let mut name = account.0.clone();
    match region {
        Some(region) if !is_labels(region) || is_below(region, &KNOWN_SUFFIXES) => {
            return Err(InvalidName::Region);
        }
        Some(region) if !region.eq_ignore_ascii_case(UNNAMED_REGION) => {
            let first = name.split('.').next().unwrap_or_default();
            name = format!("{first}.{region}");
        }
        Some(_) | None => {}
    }
    // TLS knows no underscore in a host name; Snowflake's certificates have a hyphen there.
    let name = name.replace('_', "-").to_ascii_lowercase();
    let is_chinese = name.split('.').nth(1).is_some_and(|region| region.starts_with("cn-"));
    let top = if is_chinese { "cn" } else { "com" };
    let host = format!("{name}.snowflakecomputing.{top}");
    let is_valid = host.len() <= LONGEST_HOST
        && host
            .split('.')
            .all(|label| label.len() <= LONGEST_LABEL && !label.starts_with('-') && !label.ends_with('-'));
    if is_valid { Ok(host) } else { Err(InvalidName::NoHost) }
}

/// An explicit host: a name, or an address as URLs write it. In lower case, without a dot at its end.
pub fn explicit_host(text: &str) -> Result<String, InvalidName> {
    let unbracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = unbracketed.parse::<IpAddr>() {
        return Ok(match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        });
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_valid = is_labels(name)
        && name.len() <= LONGEST_HOST
        && name.split('.').all(|label| label.len() <= LONGEST_LABEL)
        // What ends in a number is read as an address by URL parsers, and it is none.
        && !name.rsplit('.').next().is_some_and(|label| label.starts_with(|letter: char| letter.is_ascii_digit()));
    if is_valid { Ok(name.to_ascii_lowercase()) } else { Err(InvalidName::Host) }
}

/// True when `host` is one of `suffixes`, or below one, at the boundary of a label.
#[must_use]
pub fn is_below<S: AsRef<str>>(host: &str, suffixes: &[S]) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    suffixes.iter().any(|suffix| {
        let suffix = suffix.as_ref();
        !suffix.is_empty()
            && host.strip_suffix(suffix).is_some_and(|before| before.is_empty() || before.ends_with('.'))
    })
}

fn is_labels(text: &str) -> bool {
    let is_letter = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_' || letter == b'-';
    text.len() <= LONGEST_HOST
        && text.split('.').all(|label| !label.is_empty() && label.bytes().all(is_letter))
}
