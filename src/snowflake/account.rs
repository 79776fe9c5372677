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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(account: &str, region: Option<&str>, expected: Result<&str, InvalidName>) {
        let found = AccountName::parse(account).and_then(|account| host_of(&account, region));
        assert_eq!(found, expected.map(str::to_owned), "{account} {region:?}");
    }

    #[test]
    fn an_account_and_its_region_give_the_host() {
        use InvalidName::{Account, AccountIsHost, NoHost, Region};
        check("myorg-account1", None, Ok("myorg-account1.snowflakecomputing.com"));
        check("MyOrg-My_Account", None, Ok("myorg-my-account.snowflakecomputing.com"));
        check("ab12345", None, Ok("ab12345.snowflakecomputing.com"));
        check("ab12345.eu-central-1", None, Ok("ab12345.eu-central-1.snowflakecomputing.com"));
        check("ab12345.west-europe.azure", None, Ok("ab12345.west-europe.azure.snowflakecomputing.com"));
        check("ab12345", Some("eu-west-1"), Ok("ab12345.eu-west-1.snowflakecomputing.com"));
        check("ab12345.us-east-1", Some("eu-west-1.aws"), Ok("ab12345.eu-west-1.aws.snowflakecomputing.com"));
        check("ab12345", Some("us-west-2"), Ok("ab12345.snowflakecomputing.com"));
        check("ab12345", Some("US-WEST-2"), Ok("ab12345.snowflakecomputing.com"));
        check("ab12345", Some("cn-northwest-1"), Ok("ab12345.cn-northwest-1.snowflakecomputing.cn"));
        check("ab12345.cn-northwest-1.aws", None, Ok("ab12345.cn-northwest-1.aws.snowflakecomputing.cn"));
        check("cn-account", None, Ok("cn-account.snowflakecomputing.com"));
        check(
            "ab12345.eu-west-1.privatelink",
            None,
            Ok("ab12345.eu-west-1.privatelink.snowflakecomputing.com"),
        );
        check("myorg-account1.privatelink", None, Ok("myorg-account1.privatelink.snowflakecomputing.com"));
        check("acct-x1.global", None, Ok("acct-x1.global.snowflakecomputing.com"));
        check("", None, Err(Account));
        check(".", None, Err(Account));
        check("a..b", None, Err(Account));
        check("a.", None, Err(Account));
        check("evil.com/", None, Err(Account));
        check("a@evil.com", None, Err(Account));
        check("a#", None, Err(Account));
        check("a?x=.snowflakecomputing.com", None, Err(Account));
        check("a:443", None, Err(Account));
        check("a b", None, Err(Account));
        check("a\n", None, Err(Account));
        check("ä", None, Err(Account));
        check("myorg-account1.snowflakecomputing.com", None, Err(AccountIsHost));
        check("myorg-account1.SnowflakeComputing.CN", None, Err(AccountIsHost));
        check("-account", None, Err(NoHost));
        check("account_", None, Err(NoHost));
        check(&"a".repeat(64), None, Err(NoHost));
        check(&vec!["a"; 120].join("."), None, Err(NoHost));
        check("ab12345", Some("eu west"), Err(Region));
        check("ab12345", Some("evil.com/"), Err(Region));
        check("ab12345", Some(""), Err(Region));
    }

    #[test]
    fn login_and_claims_carry_the_account_without_its_region() {
        for (account, login, claims) in [
            ("myorg-account1", "myorg-account1", "MYORG-ACCOUNT1"),
            ("my_org-my_account", "my_org-my_account", "MY_ORG-MY_ACCOUNT"),
            ("ab12345.eu-central-1", "ab12345", "AB12345"),
            ("ab12345.west-europe.azure", "ab12345", "AB12345"),
            ("acct-x1.global", "acct", "ACCT"),
            ("my-acct-x1.global.snow", "my-acct", "MY"),
            ("acct.globalish", "acct", "ACCT"),
            ("myorg-account1.privatelink", "myorg-account1", "MYORG-ACCOUNT1"),
        ] {
            let account = AccountName::parse(account).unwrap();
            assert_eq!((account.for_login(), account.for_claims().as_str()), (login, claims), "{account}");
        }
    }

    #[test]
    fn an_explicit_host_is_a_name_or_an_address_alone() {
        for (text, expected) in [
            ("myorg-account1.privatelink.snowflakecomputing.com", true),
            ("LOCALHOST", true),
            ("127.0.0.1", true),
            ("host.", true),
            ("my_account.example.com", true),
            ("https://host", false),
            ("host:443", false),
            ("host/path", false),
            ("user@host", false),
            ("host name", false),
            ("host?x", false),
            ("", false),
            (".", false),
            ("300.1.1.1", false),
            ("1.2.3", false),
            ("0x7f000001", false),
        ] {
            assert_eq!(explicit_host(text).is_ok(), expected, "{text}");
        }
        assert_eq!(explicit_host("HOST.Example.").unwrap(), "host.example");
        assert_eq!(explicit_host("::1").unwrap(), "[::1]");
        assert_eq!(explicit_host("[::1]").unwrap(), "[::1]");
    }

    #[test]
    fn suffixes_match_at_the_boundary_of_a_label_only() {
        for (host, expected) in [
            ("a.snowflakecomputing.com", true),
            ("A.SNOWFLAKECOMPUTING.CN", true),
            ("a.snowflakecomputing.mil.", true),
            ("snowflakecomputing.com", true),
            ("evilsnowflakecomputing.com", false),
            ("snowflakecomputing.com.evil.example", false),
            ("a.snowflakecomputing.org", false),
            ("", false),
        ] {
            assert_eq!(is_below(host, &KNOWN_SUFFIXES), expected, "{host}");
        }
        assert!(!is_below("anything", &[""]));
    }

    /// What an attacker of the configuration would try, and what a person would.
    fn any_name() -> impl Strategy<Value = String> {
        prop_oneof![
            "\\PC{0,40}",
            "[a-zA-Z0-9._@:/?#\\\\%-]{0,40}",
            "[a-z0-9_-]{1,20}(\\.[a-z0-9_-]{1,20}){0,3}",
            "[a-z]{1,8}(\\.evil\\.example|\\.snowflakecomputing\\.com|@evil|/\\.|\\.cn-x)?",
        ]
    }

    proptest! {
        #[test]
        fn no_account_gives_a_host_outside_the_known_suffixes(
            account in any_name(), region in proptest::option::of(any_name())
        ) {
            let host = AccountName::parse(&account).and_then(|account| host_of(&account, region.as_deref()));
            if let Ok(host) = host {
                prop_assert!(host.ends_with(".snowflakecomputing.com") || host.ends_with(".snowflakecomputing.cn"));
                let is_plain =
                    host.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte));
                prop_assert!(is_plain, "{}", host);
                prop_assert!(host.split('.').all(|label| !label.is_empty() && label.len() <= 63));
                let url = url::Url::parse(&format!("https://{host}:443/session?x=1")).unwrap();
                prop_assert_eq!(url.host_str(), Some(host.as_str()));
                prop_assert_eq!((url.username(), url.path()), ("", "/session"));
            }
        }

        #[test]
        fn an_explicit_host_is_the_host_of_its_url(text in any_name()) {
            if let Ok(host) = explicit_host(&text) {
                let url = url::Url::parse(&format!("https://{host}:443/session?x=1")).unwrap();
                prop_assert_eq!(url.host_str(), Some(host.as_str()));
                prop_assert_eq!((url.username(), url.path()), ("", "/session"));
            }
        }
    }
}
