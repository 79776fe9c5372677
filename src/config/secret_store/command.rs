//! A secret that a program prints.
//!
//! The line is split at white space into the program and its arguments; what stands in single or double
//! quotes is one argument, without the quotes. There is no shell, and nothing else has a meaning: no
//! variables, no backslashes, no pipes.

use std::time::Duration;

use super::super::Secret;
use crate::bulk::{Inherited, Program};
use crate::fault::{Fault, FaultKind};
use crate::shutdown::Shutdown;

/// Longest time for a program. It may ask a person's agent or a service, not a person.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest output, in bytes.
const LONGEST_OUTPUT: usize = 64 * 1024;
const REMEDY: &str = "Run the command by hand, as the user and in the environment of the agent.";

/// Runs the program and returns what it prints, without one line end.
pub(super) async fn run(line: &str) -> Result<Secret, Fault> {
    run_within(line, TIMEOUT).await
}

async fn run_within(line: &str, limit: Duration) -> Result<Secret, Fault> {
    let words = words(line).ok_or_else(|| {
        Fault::new(FaultKind::Request, "read a command")
            .because("a quote in it has no end")
            .remedy("Put an argument with spaces in single or double quotes.")
    })?;
    let Some((name, arguments)) = words.split_first() else {
        return Err(Fault::new(FaultKind::Request, "read a command").because("it is empty"));
    };
    // Neither arguments nor anything that it says is told: both may hold the secret.
    let fault = |kind, cause: String| {
        Fault::new(kind, format!("run the program `{name}`")).because(cause).remedy(REMEDY)
    };
    let mut program = Program::new(name.as_str(), name.into(), limit, REMEDY);
    program.inherited = Inherited::All;
    program.arguments = arguments.to_vec();
    let output = program.output(&Shutdown::new(), LONGEST_OUTPUT).await;
    let (printed, exit) = output.map_err(|broken| match broken.kind() {
        FaultKind::Data => fault(FaultKind::Request, format!("it printed more than {LONGEST_OUTPUT} bytes")),
        FaultKind::Transient => fault(FaultKind::Transient, format!("it did not end within {limit:?}")),
        kind => fault(kind, "it is not there, or this user may not run it".to_owned()),
    })?;
    if !exit.is_success() {
        let ended = exit.status.map_or_else(|| "a signal".to_owned(), |status| status.to_string());
        return Err(fault(FaultKind::Credentials, format!("it ended with {ended}")));
    }
    // The decoding error would tell bytes of the secret.
    let text = String::from_utf8(printed)
        .map_err(|_| fault(FaultKind::Request, "it printed no UTF-8 text".to_owned()))?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return Err(fault(FaultKind::Credentials, "it printed nothing".to_owned()));
    }
    Ok(Secret::new(text))
}

/// Splits a line; `None` when a quote has no end.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' | '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        next if next == character => break,
                        next => word.push(next),
                    }
                }
            }
            space if space.is_whitespace() => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_at_spaces_and_quotes_keep_them() {
        for (line, expected) in [
            ("pass show db", vec!["pass", "show", "db"]),
            ("  a \t b  ", vec!["a", "b"]),
            ("a 'b c' \"d 'e' f\"", vec!["a", "b c", "d 'e' f"]),
            ("a b'c d'e", vec!["a", "bc de"]),
            ("a '' \"\"", vec!["a", "", ""]),
            ("a \\n $HOME | b ; c", vec!["a", "\\n", "$HOME", "|", "b", ";", "c"]),
            ("", vec![]),
        ] {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        }
        assert_eq!(words("a 'b"), None);
        assert_eq!(words("a \"b"), None);
    }

    #[tokio::test]
    async fn a_program_prints_a_secret_and_there_is_no_shell() {
        assert_eq!(run("echo 'a b' $HOME").await.unwrap().expose(), "a b $HOME");
        assert_eq!(run("printf '%s\\n\\n' x").await.unwrap().expose(), "x\n");
    }

    #[tokio::test]
    async fn what_goes_wrong_is_said_without_arguments_and_output() {
        for (line, expected) in [
            ("/nowhere/at/all planted", "run the program `/nowhere/at/all`: it is not there"),
            (
                "sh -c 'echo planted; echo planted >&2; exit 3'",
                "run the program `sh`: it ended with exit status: 3",
            ),
            ("true planted", "it printed nothing"),
            ("'planted", "a quote in it has no end"),
            ("head -c 70000 /dev/zero", "it printed more than 65536 bytes"),
        ] {
            let chain = run(line).await.unwrap_err().chain();
            assert!(chain.contains(expected) && !chain.contains("planted"), "{line}: {chain}");
        }
        let slow = run_within("sleep 600", Duration::from_millis(50)).await.unwrap_err();
        assert!(slow.chain().contains("it did not end within 50ms"), "{}", slow.chain());
    }
}
