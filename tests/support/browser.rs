//! A real browser, steered by the scripts of `tests/browser`.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use super::agent::Agent;
use super::postgres::setting;

/// Longest time for one scenario; each of its own waits is bounded, too.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(600);

/// True when node, a browser and the packages are there; says so when not.
#[expect(clippy::print_stderr, reason = "the person who runs the tests should know")]
pub(crate) fn is_installed() -> bool {
    let installed = setting("TEST_PLAYWRIGHT").is_some() && setting("TEST_CHROMIUM").is_some();
    if !installed {
        let is_required = setting("REQUIRE_SERVERS").is_some();
        assert!(!is_required, "TEST_PLAYWRIGHT and TEST_CHROMIUM are not set; run tests/run.sh");
        eprintln!("skipped: there is no browser with playwright-core and axe-core; see docs/TESTING.md");
    }
    installed
}

/// Plays a scenario of `tests/browser/console.mjs` with these variables. `asked` gets the words that the
/// scenario asks with. Panics with what the script said when it fails.
#[expect(clippy::disallowed_methods, reason = "tests start the programs that they talk to")]
pub(crate) async fn play(
    scenario: &str,
    address: &str,
    variables: &[(&str, &str)],
    mut asked: impl AsyncFnMut(&str),
) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/console.mjs");
    let mut node = Command::new(setting("TEST_NODE").unwrap_or_else(|| "node".into()))
        .arg(script)
        .args([scenario, address])
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("start node");
    let mut errors = node.stderr.take().expect("it is piped");
    let mut lines = BufReader::new(node.stdout.take().expect("it is piped")).lines();
    let read_errors = async {
        let mut text = String::new();
        errors.read_to_string(&mut text).await.expect("node writes text");
        text
    };
    let answer = async {
        let mut said = String::new();
        while let Some(line) = lines.next_line().await.expect("node writes text") {
            match line.strip_prefix('@') {
                Some(word) => asked(word).await,
                None => said.push_str(&format!("{line}\n")),
            }
        }
        said
    };
    let all = async { tokio::join!(answer, read_errors, node.wait()) };
    let (said, errors, status) = tokio::time::timeout(LONGEST, all).await.expect("the scenario ends");
    let status = status.expect("node can be waited for");
    assert!(status.success(), "the scenario `{scenario}` failed: {status}\n{said}{errors}");
}

/// The same for a scenario that asks for nothing.
pub(crate) async fn play_alone(scenario: &str, agent: &Agent, variables: &[(&str, &str)]) {
    play(scenario, &agent.url(""), variables, async |word| panic!("nobody knows what `{word}` asks for"))
        .await;
}
