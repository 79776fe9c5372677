//! Where the file is found, who may read it, and how its text may be written.

use super::*;

#[test]
fn an_explicit_file_has_to_be_there() {
    let directory = Directory::new();
    let missing = directory.path().join("missing.toml");
    let problems = load(Some(&missing), &Overrides::default(), &environment()).unwrap_err();
    assert_eq!(problems.0.len(), 1);
    let text = problems.to_string();
    assert!(text.starts_with(&format!("{} cannot be read: ", missing.display())), "{text}");
    assert!(load(Some(directory.path()), &Overrides::default(), &environment()).is_err());
}

#[test]
fn the_working_directory_is_searched_before_the_home_directory() {
    let directory = Directory::new();
    let (here, home) = (directory.path().join("here"), directory.path().join("home"));
    let environment = Environment::default().with_home(&home).with_directory(&here);
    let load = || load(None, &Overrides::default(), &environment).unwrap();

    let (config, file, warnings) = load();
    assert_eq!((config.application.workers.get(), file), (4, None));
    assert_eq!(
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [format!(
            "configuration was not found at {}/configuration.toml, \
             {}/.data_exchange_agent/configuration.toml; defaults apply. \
             Start from configuration.example.toml, or name a file with --config.",
            here.display(),
            home.display()
        )]
    );

    let at_home =
        directory.write("home/.data_exchange_agent/configuration.toml", "[application]\nworkers = 2");
    let (config, file, _) = load();
    assert_eq!((config.application.workers.get(), file), (2, Some(at_home)));

    let near = directory.write("here/configuration.toml", "[application]\nworkers = 1");
    let (config, file, _) = load();
    assert_eq!((config.application.workers.get(), file), (1, Some(near.clone())));

    std::fs::write(&near, b"\xff").unwrap();
    let problems = super::load(None, &Overrides::default(), &environment).unwrap_err().to_string();
    assert!(problems.contains("cannot be read: it is not UTF-8 text"), "{problems}");
}

#[cfg(unix)]
#[test]
fn a_secret_in_a_file_for_everybody_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new();
    let path = directory.write(
        "configuration.toml",
        r#"
[task_source.api]
key = "first"
[connections.source.postgresql]
database = "d"
username = "u"
password = "second"
[connections.source.other]
kind = "postgresql"
database = "d"
username = "u"
password = "${env:PASSWORD}"
[connections.target.blob]
account_name = "account"
container_name = "lake"
account_key = "thirdKey"
"#,
    );
    let environment = Environment::of([("PASSWORD", "fourth")]).with_home("/");
    let warned = |mode| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let (_, _, warnings) = load(Some(&path), &Overrides::default(), &environment).unwrap();
        let all = format!("{warnings:?}");
        assert!(["first", "second", "third", "fourth"].iter().all(|secret| !all.contains(secret)), "{all}");
        warnings
            .into_iter()
            .filter(|warning| warning.message.starts_with("is a secret in a file"))
            .map(|warning| warning.key)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        warned(0o644),
        [
            "task_source.api.key",
            "connections.source.postgresql.password",
            "connections.target.blob.account_key"
        ]
    );
    assert_eq!(warned(0o600), [""; 0]);
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_no_problem() {
    let config = good("\u{feff}[application]\r\nworkers = 9\r\n");
    assert_eq!(config.application.workers.get(), 9);
}
