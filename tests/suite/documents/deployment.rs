//! How the documents deploy the agent: the unit of systemd, and containers with their variables.

use std::fs;

use super::{document, documents, output_of, program, root};
use crate::support::agent::Place;
use crate::support::document::blocks;
use crate::support::folder::Folder;

#[test]
fn the_unit_of_systemd_is_one() {
    let Some(verify) = program("systemd-analyze") else { return };
    let folder = Folder::new();
    let unit = document("docs/systemd/data-exchange-agent.service")
        .replace("/usr/local/bin/data-exchange-agent", env!("CARGO_BIN_EXE_data-exchange-agent"));
    let file = folder.path().join("data-exchange-agent.service");
    let verified = |text: &str| {
        fs::write(&file, text).unwrap();
        output_of(&verify, &["verify", "--man=no", file.to_str().unwrap()])
    };
    let about = |said: &str| {
        let lines = said.lines().filter(|line| line.contains("data-exchange-agent.service"));
        lines.map(str::to_owned).collect::<Vec<String>>()
    };
    assert_eq!(about(&verified(&unit)), [""; 0]);
    let wrong = about(&verified(&unit.replace("WatchdogSec=60", "WatchDogSec=60")));
    assert!(!wrong.is_empty(), "what is verified can fail");
}

#[tokio::test]
async fn containers_are_started_with_variables_that_the_entrypoint_knows() {
    // What the entrypoint gets instead of an engine.
    const DOCKER: &str = r#"
docker() {
    local -a variables=()
    [[ $1 == run ]] || return 0
    shift
    while (($# > 0)); do
        case $1 in
            -e) [[ $2 == *=* ]] && variables+=("$2") || variables+=("$2=from-the-environment"); shift 2 ;;
            -p | -v | --tmpfs | --stop-timeout) shift 2 ;;
            --rm | --read-only) shift ;;
            *) break ;;
        esac
    done
    printf '%s\n' "${variables[@]%%=*}" >>variables
    shift
    env -i PATH="$PATH" HOME="$HOME" AGENT_RUNTIME_DIRECTORY="$PWD/runtime" AGENT_PROGRAM=true \
        "${variables[@]}" "$ENTRYPOINT" "$@"
    env -i PATH="$PATH" HOME="$HOME" SNOWFLAKE_HOME="$PWD/runtime/snowflake" \
        data-exchange-agent config print --config runtime/configuration.toml
}
"#;
    if program("envsubst").is_none() {
        return;
    }
    let entrypoint = root().join("docker-artifacts/docker-entrypoint.sh");
    let known = fs::read_to_string(&entrypoint).unwrap();
    let page = document("docs/DOCKER.md");
    let mut containers = 0;
    for (name, text) in documents() {
        for block in blocks(&text).iter().filter(|block| block.setting("unrun") == Some("image")) {
            let place = Place::new();
            let script = format!("set -euo pipefail\n{DOCKER}{}", block.text);
            let finished = place.shell(&script, &[("ENTRYPOINT", entrypoint.to_str().unwrap())]).await;
            assert_eq!(finished.code, Some(0), "{name}:{}: {finished:?}", block.line);
            assert!(finished.stdout.contains("affinity = \"blue\""), "{finished:?}");
            assert!(finished.stdout.contains("[connections.source."), "{finished:?}");
            for variable in fs::read_to_string(place.path().join("variables")).unwrap().lines() {
                assert!(known.contains(variable), "{name}: the entrypoint does not know {variable}");
                assert!(
                    page.contains(&format!("`{variable}`")),
                    "docs/DOCKER.md does not explain {variable}"
                );
            }
            containers += 1;
        }
    }
    assert!(containers > 1, "{containers}");
}
