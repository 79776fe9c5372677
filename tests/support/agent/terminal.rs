//! Commands in a pseudo terminal, which `script` makes, and what they draw there.

use std::fs;
use std::path::PathBuf;

use super::{Finished, Place};

/// Name of the file with what the terminal was shown.
const SHOWN: &str = "terminal";

/// Figures of a progress bar at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Drawn {
    pub(crate) rows: u64,
    /// Rows a second.
    pub(crate) rate: u64,
}

impl Place {
    /// Runs a shell command, without single quotes in it, to its end on a terminal of this width. What it
    /// shows on both its outputs is the standard output of the result, and can be read before the end, by
    /// [`Place::drawn`].
    pub(crate) async fn on_terminal(
        &self,
        columns: usize,
        command: &str,
        environment: &[(&str, &str)],
    ) -> Finished {
        let file = self.shown();
        let script = format!(
            "script -qec 'stty rows 24 cols {columns}; {command}' /dev/null > {:?} 2>&1",
            file.display()
        );
        let environment = [&[("TERM", "xterm"), ("SHELL", "/bin/sh")][..], environment].concat();
        let finished = self.shell(&script, &environment).await;
        Finished {
            stdout: String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned(),
            ..finished
        }
    }

    /// What progress bars have drawn so far in the terminal of [`Place::on_terminal`].
    pub(crate) fn drawn(&self) -> Vec<Drawn> {
        drawn(&String::from_utf8_lossy(&fs::read(self.shown()).unwrap_or_default()))
    }

    fn shown(&self) -> PathBuf {
        self.path().join(SHOWN)
    }
}

/// The figures of every bar in what a terminal was shown. A bar says rows, rows a second, bytes and files.
pub(crate) fn drawn(shown: &str) -> Vec<Drawn> {
    shown.split(['\r', '\n']).filter_map(bar).collect()
}

fn bar(line: &str) -> Option<Drawn> {
    let words: Vec<&str> = line.split_whitespace().map(|word| word.trim_end_matches(',')).collect();
    if !words.last()?.starts_with("file") {
        return None;
    }
    let before = |word: &str| {
        let place = words.iter().position(|other| *other == word)?;
        words.get(place.checked_sub(1)?).copied()
    };
    // `4,096 rows/s` or `4,096/s`.
    let rate = before("rows/s").or_else(|| words.iter().find_map(|word| word.strip_suffix("/s")))?;
    let number = |text: &str| text.replace(',', "").parse().ok();
    Some(Drawn { rows: number(before("rows")?)?, rate: number(rate)? })
}

/// True when colours or other styles are in it.
pub(crate) fn is_styled(shown: &str) -> bool {
    let mut sequences = shown.split("\u{1b}[").skip(1);
    sequences.any(|sequence| {
        sequence.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == ';').starts_with('m')
    })
}
