//! The whole configuration, a file a theme.

mod any_text;
mod documents;
mod file;
mod layers;
mod messages;
mod odbc;
mod postgresql;
mod s3;
mod sections;
mod snowflake;
mod sqlserver;
mod version_1_2;

use std::time::Duration;

use super::testing::Directory;
use super::*;

fn environment() -> Environment {
    Environment::default().with_home("/home/agent")
}

fn parse_in(text: &str, environment: &Environment) -> Result<(Config, Vec<Warning>), Problems> {
    parse(text, "configuration.toml", &Overrides::default(), environment)
}

#[track_caller]
fn good(text: &str) -> Config {
    parse_in(text, &environment()).unwrap_or_else(|problems| panic!("{text}\n{problems}")).0
}

/// The complete text of all problems.
#[track_caller]
fn bad(text: &str) -> String {
    match parse_in(text, &environment()) {
        Ok((config, _)) => panic!("accepted:\n{text}\n{config:#?}"),
        Err(problems) => problems.to_string(),
    }
}

fn warnings(text: &str) -> Vec<String> {
    parse_in(text, &environment()).unwrap().1.iter().map(ToString::to_string).collect()
}

fn parsed_toml(text: &str) -> raw::Table {
    let file = ::config::File::from_str(text, ::config::FileFormat::Toml);
    let document = ::config::Config::builder().add_source(file).build();
    document.unwrap_or_else(|error| panic!("{error}")).cache.into_table().unwrap()
}
