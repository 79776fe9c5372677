//! The progress bar of a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::count;
use crate::task::ProgressSnapshot;

/// Shows live figures on stderr when that is a terminal, and nothing otherwise.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// A bar; with the number of rows when it is known.
    pub(super) fn new(rows: Option<u64>) -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(rows, target);
        let template = match rows {
            Some(_) => "{spinner} [{bar:30}] {percent}% {msg}",
            None => "{spinner} {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        // The beginning is drawn, however late the thread of the ticks is.
        bar.tick();
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    /// Shows the figures of this moment.
    pub(super) fn show(&self, progress: &ProgressSnapshot) {
        self.0.set_position(progress.rows);
        self.0.set_message(format!(
            "{} rows, {} rows/s, {} written, {}",
            HumanCount(progress.rows),
            HumanCount(progress.rows_per_second as u64),
            HumanBytes(progress.bytes),
            count(progress.parts, "file"),
        ));
    }

    /// Shows the last figures, and takes the bar away.
    pub(super) fn end(&self, progress: &ProgressSnapshot) {
        self.show(progress);
        // Drawn whatever was drawn a moment before.
        self.0.abandon();
        self.0.finish_and_clear();
    }
}
