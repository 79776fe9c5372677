//! A thread that writes log lines, so that a slow or full disk delays no work.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use tracing_subscriber::fmt::MakeWriter;

use super::rotation::{RotatingFile, RotationSettings};

/// Lines that wait to be written at most; what comes beyond is dropped and counted.
const WAITING: usize = 8_192;

enum Order {
    Line(Vec<u8>),
    Reopen,
    End,
}

/// Takes lines from any thread and never waits.
#[derive(Clone, Debug)]
pub(super) struct LineWriter {
    orders: SyncSender<Order>,
    dropped: Arc<AtomicU64>,
}

/// Writes what waits when it is dropped.
#[derive(Debug)]
pub struct LogGuard {
    writer: LineWriter,
    thread: Option<JoinHandle<()>>,
}

impl LineWriter {
    /// Starts the thread. The file is opened with the first line.
    pub(super) fn start(settings: RotationSettings) -> io::Result<(Self, LogGuard)> {
        let (orders, received) = sync_channel(WAITING);
        let writer = Self { orders, dropped: Arc::default() };
        let dropped = Arc::clone(&writer.dropped);
        let thread = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write(RotatingFile::new(settings), &received, &dropped))?;
        let guard = LogGuard { writer: writer.clone(), thread: Some(thread) };
        Ok((writer, guard))
    }

    /// Lets go of the file, for a program that has moved it away.
    pub(super) fn reopen(&self) {
        // With lines waiting that nobody writes there is nothing to reopen.
        drop(self.orders.try_send(Order::Reopen));
    }

    /// Lines that were dropped, because the disk did not take them, or not fast enough.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

fn write(mut file: RotatingFile, received: &Receiver<Order>, dropped: &AtomicU64) {
    while let Ok(order) = received.recv() {
        match order {
            Order::Line(line) => {
                // There is nowhere to log this: the metric has it.
                if file.line(&line).is_err() {
                    dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
            Order::Reopen => file.reopen(),
            Order::End => return,
        }
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        // The subscriber keeps its sender for the life of the process, so the end has to be said.
        let asked = self.writer.orders.send(Order::End);
        if let (Ok(()), Some(thread)) = (asked, self.thread.take()) {
            // A panic of the thread has been printed; there is nothing left to write.
            drop(thread.join());
        }
    }
}

/// One line at a time: the formatter writes each with one call.
impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.orders.try_send(Order::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for LineWriter {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    const THREADS: usize = 8;
    const LINES: usize = 500;

    fn place() -> PathBuf {
        std::env::temp_dir().join(format!("lines-test-{}", uuid::Uuid::new_v4()))
    }

    #[test]
    fn many_threads_write_every_line_once_and_whole_over_many_files() {
        let directory = place();
        let settings =
            RotationSettings { file: directory.join("agent.log"), max_bytes: 2_000, max_files: 1_000 };
        let (writer, guard) = LineWriter::start(settings).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let mut writer = writer.clone();
                scope.spawn(move || {
                    for line in 0..LINES {
                        let line = format!("thread {thread} line {line}\n");
                        writer.write_all(line.as_bytes()).unwrap();
                    }
                });
            }
        });
        drop(guard);
        let mut seen = BTreeSet::new();
        let mut files = 0;
        for entry in fs::read_dir(&directory).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            assert!(text.len() <= 2_000 && text.ends_with('\n'));
            files += 1;
            seen.extend(text.lines().map(str::to_owned));
        }
        fs::remove_dir_all(&directory).ok();
        assert_eq!(writer.dropped(), 0);
        assert_eq!(seen.len(), THREADS * LINES, "no line is lost, torn or doubled");
        assert!(files > 10, "{files}");
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_stop_nobody() {
        let directory = place();
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("logs"), "").unwrap();
        let file = directory.join("logs/agent.log");
        let (mut writer, guard) =
            LineWriter::start(RotationSettings { file, max_bytes: 2_000, max_files: 1 }).unwrap();
        for _ in 0..20_000 {
            writer.write_all(b"lost\n").expect("whoever logs never sees an error");
        }
        drop(guard);
        writer.write_all(b"after the end\n").unwrap();
        fs::remove_dir_all(&directory).ok();
        assert_eq!(writer.dropped(), 20_001);
    }
}
