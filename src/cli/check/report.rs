//! The findings for a person: a table, and on a terminal one of its width and in colours.

use console::{Style, measure_text_width};

use super::Finding;
use crate::cli::output::plain;
use crate::cli::table::wrap;

/// Columns from the end of the names to where the texts begin: result and time, with their gaps.
const RESULT_AND_TIME: usize = 20;
/// Texts that would have less room than this beside their names stand below them.
const NARROWEST: usize = 30;
/// How far texts below their names are moved in.
const INDENT: usize = 4;
/// Before the name of what belongs to the finding before it.
const PART: &str = "  ";

/// Where things are in a table.
struct Layout {
    /// Longer names take several lines.
    name: usize,
    /// What stands before the lines of a text that do not begin beside a name.
    indent: usize,
    /// Longest line of a text; `None` when it is never broken.
    room: Option<usize>,
    /// The text begins in the line of the name.
    is_beside: bool,
}

impl Layout {
    fn new(findings: &[Finding], width: Option<usize>) -> Self {
        let longest = findings.iter().map(|finding| measure_text_width(&shown_name(finding))).max();
        let name = longest.unwrap_or(0);
        let indent = name + RESULT_AND_TIME;
        match width {
            None => Self { name, indent, room: None, is_beside: true },
            Some(width) if width >= indent + NARROWEST => {
                Self { name, indent, room: Some(width - indent), is_beside: true }
            }
            Some(width) => Self {
                // There are two blanks less where no text follows.
                name: name.min((width + 2).saturating_sub(RESULT_AND_TIME)).max(1),
                indent: INDENT,
                room: Some(width.saturating_sub(INDENT).max(1)),
                is_beside: false,
            },
        }
    }

    /// The lines of a text.
    fn lines(&self, text: &str) -> Vec<String> {
        let text = plain(text);
        match self.room {
            Some(room) => wrap(&text, room).iter().map(|line| line.trim_end().to_owned()).collect(),
            None => vec![text],
        }
    }

    /// The lines of a name, of which the last one has the result.
    fn name(&self, finding: &Finding) -> Vec<String> {
        let name = shown_name(finding);
        // A name that fits keeps the blanks that it begins with.
        if measure_text_width(&name) <= self.name { vec![name] } else { wrap(&name, self.name) }
    }
}

/// The name of a finding, moved in when it belongs to the one before it.
fn shown_name(finding: &Finding) -> String {
    let indent = if finding.is_part { PART } else { "" };
    format!("{indent}{}", plain(&finding.check))
}

/// The findings as aligned text. On a terminal of this `width` texts are broken; elsewhere each one is a line,
/// however long.
pub(super) fn table(findings: &[Finding], width: Option<usize>) -> String {
    let layout = Layout::new(findings, width);
    let mut text = String::new();
    for finding in findings {
        let result = if finding.ok { "ok    " } else { "FAILED" };
        let style = match finding {
            Finding { ok: false, .. } => Style::new().red(),
            Finding { is_warning: true, .. } => Style::new().yellow(),
            _ => Style::new().green(),
        };
        let time = format!("{} ms", finding.duration_ms);
        let mut name = layout.name(finding);
        let last = name.pop().unwrap_or_default();
        name.iter().for_each(|line| text += &format!("{line}\n"));
        let padding = layout.name.saturating_sub(measure_text_width(&last));
        let shown = if finding.is_warning { style.apply_to(&last).to_string() } else { last };
        text += &format!("{shown}{:padding$}  {}  {time:>8}", "", style.apply_to(result));
        let mut lines = layout.lines(&finding.detail);
        if layout.is_beside {
            text += &format!("  {}", lines.remove(0));
        }
        text.push('\n');
        lines.extend(finding.remedy.iter().flat_map(|remedy| layout.lines(remedy)));
        for line in lines {
            text += &format!("{:indent$}{line}\n", "", indent = layout.indent);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(check: &str, ok: bool, detail: &str, remedy: Option<&str>) -> Finding {
        Finding {
            check: check.into(),
            ok,
            is_warning: false,
            is_part: false,
            duration_ms: 7,
            detail: detail.into(),
            remedy: remedy.map(str::to_owned),
        }
    }

    fn findings() -> Vec<Finding> {
        vec![
            finding("configuration", true, "a.toml", None),
            finding(
                "source sales",
                false,
                "connect to 127.0.0.1:1: open a TCP connection: Connection refused",
                Some("Check that the server runs and that the network is up."),
            ),
        ]
    }

    #[test]
    fn a_file_has_each_text_in_one_line() {
        let refused = "connect to 127.0.0.1:1: open a TCP connection: Connection refused";
        let expected = format!(
            "configuration  ok          7 ms  a.toml\n\
             source sales   FAILED      7 ms  {refused}\n\
             {:33}Check that the server runs and that the network is up.\n",
            ""
        );
        assert_eq!(table(&findings(), None), expected);
    }

    #[test]
    fn a_terminal_has_cause_and_remedy_beside_the_name() {
        let indent = " ".repeat(33);
        let expected = [
            "configuration  ok          7 ms  a.toml".to_owned(),
            "source sales   FAILED      7 ms  connect to 127.0.0.1:1: open a".to_owned(),
            format!("{indent}TCP connection: Connection"),
            format!("{indent}refused"),
            format!("{indent}Check that the server runs and"),
            format!("{indent}that the network is up."),
            String::new(),
        ];
        assert_eq!(table(&findings(), Some(63)).split('\n').collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_narrow_terminal_has_them_below_it() {
        let expected = [
            "configuration  ok          7 ms",
            "    a.toml",
            "source sales   FAILED      7 ms",
            "    connect to 127.0.0.1:1: open a TCP",
            "    connection: Connection refused",
            "    Check that the server runs and that",
            "    the network is up.",
            "",
        ];
        assert_eq!(table(&findings(), Some(40)).split('\n').collect::<Vec<_>>(), expected);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_whatever_it_is_about() {
        let findings = [
            finding("source of-a-name-that-somebody-has-made-very-long", true, "logged in", None),
            Finding {
                is_part: true,
                ..finding("warning", true, "s3://a-bucket/a/path/without/any/blank/to/break/it/at", None)
            },
        ];
        for width in [25, 40, 60, 80, 120] {
            for line in table(&findings, Some(width)).lines() {
                assert!(measure_text_width(line) <= width, "{width}: {line:?}");
            }
        }
        assert!(table(&findings, Some(40)).contains("\n  warning  "), "{}", table(&findings, Some(40)));
    }

    #[test]
    fn what_a_server_says_does_not_steer_the_terminal() {
        let hostile = [finding("source a", false, "it said \u{1b}[2J\nand more", None)];
        assert_eq!(table(&hostile, None), "source a  FAILED      7 ms  it said  [2J and more\n");
    }
}
