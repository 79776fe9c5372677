//! Snowflake's numbers of errors: what each means for what happens next, and what to tell a person.

use crate::fault::FaultKind;

/// The session token has expired; the master token renews it.
pub(super) const SESSION_EXPIRED: u32 = 390_112;
/// The statement still runs.
pub(super) const IN_PROGRESS: [u32; 2] = [333_333, 333_334];
/// There was nothing to abort: the statement had ended.
pub(super) const NOTHING_TO_ABORT: u32 = 605;
/// A token of an OAuth server is invalid or has expired: a fresh one may be accepted.
pub(super) const TOKEN_REFUSED: [u32; 2] = [390_303, 390_318];

/// What follows from a code.
pub(super) struct Meaning {
    /// The kind.
    pub(super) kind: FaultKind,
    /// What a person can do.
    pub(super) remedy: Option<&'static str>,
    /// How much of the server's text may be kept.
    pub(super) text: Text,
}

/// What the server's text can contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// Names of objects and users, and nothing from a statement or a table.
    Names,
    /// Pieces of the statement in single quotes.
    Quotes,
    /// Values of a table, anywhere.
    Values,
}

/// True when the session is gone for good: the master token is missing, expired or invalid, or there
/// is no such session.
pub(super) fn wants_login(code: u32) -> bool {
    matches!(code, 390_103 | 390_104 | 390_111 | 390_113 | 390_114 | 390_115)
}

/// The same for the answer to a renewal, where more codes say so.
pub(super) fn renewal_wants_login(code: u32) -> bool {
    wants_login(code) || matches!(code, 390_110 | SESSION_EXPIRED | 390_400)
}

const KEY: &str = "Check the key pair: the public key has to be set as RSA_PUBLIC_KEY or RSA_PUBLIC_KEY_2 of the user \
     (DESC USER shows its fingerprint), and account and user have to be those of the key.";
const CLOCK: &str = "Check the clock of this machine: the signed token carries its time.";
const SECOND_FACTOR: &str = "The user needs a second factor, which a service cannot give: use a key pair, an OAuth token or a \
     programmatic access token.";
const TOKEN: &str =
    "Check the token of this connection: it is wrong, has expired, or belongs to another account.";
const MISSING: &str = "Check the name (database, schema, upper and lower case), and that the role of the connection has \
     the rights on it and USAGE on its database and schema: Snowflake does not say which of them is missing.";
const GRANT: &str = "Grant the missing right to the role of this connection, or set another `role`.";
const WAREHOUSE: &str = "Give the session a warehouse: set `warehouse` of the connection (inside Snowpark Container Services \
     QUERY_WAREHOUSE of the service does it too), or give the user one with ALTER USER ... SET DEFAULT_WAREHOUSE. The role \
     needs USAGE on it; when it is suspended, set AUTO_RESUME = TRUE or resume it.";
const MONITOR: &str = "The warehouse cannot be resumed: a resource monitor has reached its quota, or the role may not operate \
     the warehouse. Raise the quota, or name another `warehouse`.";

/// What an answer means. Unknown codes are decided by their SQLSTATE, and by the few sentences of the
/// server that are known and whose codes are not.
pub(super) fn meaning_of(code: Option<u32>, sql_state: Option<&str>, message: Option<&str>) -> Meaning {
    let says = |words: &str| message.is_some_and(|message| message.contains(words));
    let (kind, remedy) = if says("No active warehouse") {
        (FaultKind::Request, WAREHOUSE)
    } else if says("Warehouse") && says("cannot be resumed") {
        (FaultKind::Permission, MONITOR)
    } else if says("Insufficient privileges") {
        (FaultKind::Permission, GRANT)
    } else {
        return meaning(code, sql_state);
    };
    Meaning { kind, remedy: Some(remedy), text: Text::Names }
}

/// What `code` and `sql_state` mean.
fn meaning(code: Option<u32>, sql_state: Option<&str>) -> Meaning {
    use FaultKind::{Credentials, Data, Permission, Request, Transient};
    use Text::{Names, Quotes, Values};

    let known = |kind, remedy, text| Meaning { kind, remedy, text };
    let Some(code) = code else { return by_state(sql_state) };
    match code {
        // Statements that ended without a verdict on them.
        604 => known(
            Transient,
            Some("The statement was cancelled: by a person, or because its time was up."),
            Names,
        ),
        630 => known(
            Transient,
            Some(
                "The statement took longer than STATEMENT_TIMEOUT_IN_SECONDS allows: raise it, or use a larger warehouse.",
            ),
            Names,
        ),
        603 | 625 => known(Transient, None, Quotes),
        606..=608 => known(Request, Some(WAREHOUSE), Names),
        612 | 709 => {
            known(Request, Some("The result of the query is not kept any more: run it again."), Names)
        }
        90_073 => known(Permission, Some(MONITOR), Names),
        90_105 | 90_106 => known(
            Request,
            Some("Set `database` and `schema` of the connection, or write the name in full."),
            Names,
        ),
        // The statement.
        1_003 => known(Request, None, Quotes),
        2_003 | 2_043 => known(Request, Some(MISSING), Names),
        2_002 => known(Request, None, Names),
        3_001 | 3_540 | 3_041 => known(Permission, Some(GRANT), Names),
        // Values.
        100_000..=100_999 => known(Data, Some(value(code)), Values),
        // The login.
        390_100 => known(
            Credentials,
            Some(
                "Check user and password of this connection. Snowflake locks a user after several wrong passwords.",
            ),
            Names,
        ),
        390_101 | 390_102 => known(
            Credentials,
            Some(
                "The user is disabled or locked: ALTER USER ... SET DISABLED = FALSE, or SET MINS_TO_UNLOCK = 0.",
            ),
            Names,
        ),
        390_144 | 394_300 | 394_304..=394_306 => known(Credentials, Some(KEY), Names),
        394_301..=394_303 => known(Credentials, Some(CLOCK), Names),
        390_120 | 390_123 | 390_126 | 390_127 | 390_129 => known(Credentials, Some(SECOND_FACTOR), Names),
        390_303 | 390_318 => known(Credentials, Some(TOKEN), Names),
        390_186 | 390_189 => known(
            Permission,
            Some("Grant the role to the user of this connection, or set another `role`."),
            Names,
        ),
        390_201 => known(
            Request,
            Some(
                "Check `database`, `schema`, `warehouse` and `role` of this connection: one of them is missing, or the user may not use it.",
            ),
            Names,
        ),
        390_420..=390_422 => known(
            Permission,
            Some(
                "The network policy of the account or of the user does not allow the address of this machine.",
            ),
            Names,
        ),
        SESSION_EXPIRED => known(Transient, None, Names),
        code if wants_login(code) => known(Transient, None, Names),
        // Their SQLSTATE is 08001 as well as 28000, although no connection has broken.
        390_000..=394_999 => match sql_state {
            Some(state) if state.starts_with("XX") => known(Transient, None, Names),
            Some(_) | None => known(Credentials, None, Names),
        },
        _ => by_state(sql_state),
    }
}

fn value(code: u32) -> &'static str {
    match code {
        100_035 => "A text is no valid timestamp, date or time for its column.",
        100_038 => "A text is no valid number for its column.",
        100_040 => "A text is no valid date for its column.",
        100_072 => "A column that is NOT NULL got a NULL.",
        100_078 => "A text is longer than its column allows.",
        100_090 => {
            "Several rows of the source match the same row of the target: the keys of the merge are not unique."
        }
        _ => "Snowflake's query history has the message with the value; it is not repeated here.",
    }
}

/// By the class of the SQLSTATE; without one, the request is taken for wrong.
fn by_state(sql_state: Option<&str>) -> Meaning {
    use FaultKind::{Credentials, Data, Permission, Request, Transient};

    let kind = match sql_state {
        Some("42501") => Permission,
        Some("57014") => Transient,
        Some(state) => match state.get(..2).unwrap_or_default() {
            "08" | "40" | "53" | "54" | "57" | "58" | "XX" => Transient,
            "28" => Credentials,
            "22" | "23" => Data,
            _ => Request,
        },
        None => Request,
    };
    Meaning { kind, remedy: None, text: if kind == Data { Text::Values } else { Text::Quotes } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_protocol_is_decided() {
        use FaultKind::{Credentials, Data, Permission, Request, Transient};

        let cases = [
            (604, None, Transient),
            (606, None, Request),
            (612, None, Request),
            (1003, Some("42000"), Request),
            (2003, Some("02000"), Request),
            (3001, Some("42501"), Permission),
            (90_073, Some("22000"), Permission),
            (100_072, Some("22000"), Data),
            (390_100, Some("08001"), Credentials),
            (390_114, Some("08001"), Transient),
            (390_144, Some("08001"), Credentials),
            (390_422, None, Permission),
            (394_303, None, Credentials),
            (123_456, Some("08006"), Transient),
            (123_456, Some("22018"), Data),
            (123_456, None, Request),
        ];
        for (code, state, kind) in cases {
            assert_eq!(meaning(Some(code), state).kind, kind, "{code} {state:?}");
        }
        assert_eq!(meaning(None, Some("")).kind, Request);
        assert!(meaning(Some(606), None).remedy.is_some_and(|remedy| remedy.contains("DEFAULT_WAREHOUSE")));
    }
}
