//! No text, variable or URL makes the reader panic.

use proptest::prelude::*;

use super::super::keys;
use super::documents::lists;
use super::*;

/// A key that the reader knows somewhere, or nothing of the kind.
fn any_key() -> impl Strategy<Value = String> {
    let known: Vec<String> = lists()
        .iter()
        .flat_map(|(_, list, _)| list.iter().map(|key| key.name.to_owned()))
        .chain(keys::POSTGRESQL_IGNORED.iter().chain(keys::SNOWFLAKE_IGNORED).map(|name| (*name).to_owned()))
        .collect();
    prop_oneof![4 => proptest::sample::select(known), 1 => "[a-zA-Z_]{0,8}", 1 => "\\PC{0,6}"]
}

fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<bool>().prop_map(|truth| truth.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}").replace("NaN", "nan")),
        "\\PC{0,12}".prop_map(|text| format!("{text:?}")),
        "[$]{0,2}[{](env|file)?:?[a-z/]{0,4}[}]?".prop_map(|text| format!("{text:?}")),
        "[0-9]{0,22} ?(s|m|h|MiB|GB|B)?".prop_map(|text| format!("{text:?}")),
        "decimal\\([0-9]{0,3},-?[0-9]{0,3}\\)".prop_map(|text| format!("{text:?}")),
        Just("2024-01-01T00:00:00Z".to_owned()),
        Just("[1, \"x\", {}]".to_owned()),
        Just("{ a = { b = 1 } }".to_owned()),
    ]
}

fn any_configuration() -> impl Strategy<Value = String> {
    let more = ["connections.source.postgresql", "connections.source.postgresql.options", "bulk_utility.bcp"];
    let sections: Vec<String> =
        lists().into_iter().map(|(section, ..)| section).chain(more.map(str::to_owned)).collect();
    let line = (any_key(), any_value()).prop_map(|(key, value)| format!("{key:?} = {value}\n"));
    let section = (proptest::sample::select(sections), proptest::collection::vec(line, 0..6)).prop_map(
        |(section, lines)| match section.as_str() {
            "" => lines.concat(),
            section => format!("[{section}]\n{}", lines.concat()),
        },
    );
    proptest::collection::vec(section, 0..5).prop_map(|sections| sections.concat())
}

proptest! {
    #[test]
    fn no_text_panics(text in "(\\PC|\\n|\\t){0,200}") {
        let _ = parse_in(&text, &environment());
    }

    #[test]
    fn no_configuration_panics_and_every_problem_has_a_line(text in any_configuration()) {
        if let Err(problems) = parse_in(&text, &environment()) {
            prop_assert!(!problems.0.is_empty());
            for problem in problems.0 {
                prop_assert!(problem.place.is_some(), "{problem}");
                prop_assert!(!problem.to_string().contains('\n'), "{problem}");
            }
        }
    }

    #[test]
    fn no_variable_panics(name in "[A-Z_.\\[\\]0-9]{0,20}", value in "\\PC{0,10}") {
        let prefixed = format!("{}{name}", raw::PREFIX);
        let below = format!("{}CONNECTIONS__SOURCE__POSTGRESQL__{name}", raw::PREFIX);
        let environment = Environment::of([(prefixed, value.clone()), (below, value)]).with_home("/");
        let _ = parse_in("", &environment);
    }

    #[test]
    fn no_url_panics(scheme in "(postgresql://|sqlserver://|sqlite:|file:|s3://)?", rest in "\\PC{0,30}") {
        let url = format!("{scheme}{rest}");
        let _ = source_from_url(&url, &environment());
        let _ = target_from_url(&url, &environment());
    }
}
