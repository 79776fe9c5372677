//! A thread that writes log lines, so that neither a slow or full disk nor a pipe that nobody reads delays
//! work.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvError, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use super::rotation::{RotatingFile, RotationSettings};

/// Lines that wait to be written at most; what comes beyond is dropped and counted.
const WAITING: usize = 8_192;
/// How long what waits may take at the end: whoever reads no line must not keep the process.
const END_LIMIT: Duration = Duration::from_secs(2);

/// Where lines go.
pub(super) trait Place: Send + 'static {
    /// Writes a line.
    fn line(&mut self, line: &[u8]) -> io::Result<()>;

    /// Begins anew at the place of the first line, for a program that has moved the file away.
    fn reopen(&mut self) {}
}

impl Place for RotatingFile {
    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        Self::line(self, line)
    }

    fn reopen(&mut self) {
        Self::reopen(self);
    }
}

impl Place for io::Stderr {
    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.write_all(line)
    }
}

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

/// Writes what waits when it is dropped, within reason.
#[derive(Debug)]
pub struct LogGuard {
    writer: LineWriter,
    is_ending: Arc<AtomicBool>,
    /// Says something when the thread has ended, however it ends.
    ended: Receiver<()>,
    limit: Duration,
}

impl LineWriter {
    /// Starts a thread for a file, which is opened with the first line.
    pub(super) fn start(settings: RotationSettings) -> io::Result<(Self, LogGuard)> {
        Self::start_at(RotatingFile::new(settings), END_LIMIT)
    }

    /// Starts a thread for stderr.
    pub(super) fn stderr() -> io::Result<(Self, LogGuard)> {
        Self::start_at(io::stderr(), END_LIMIT)
    }

    fn start_at(place: impl Place, limit: Duration) -> io::Result<(Self, LogGuard)> {
        let (orders, received) = sync_channel(WAITING);
        let writer = Self { orders, dropped: Arc::default() };
        let dropped = Arc::clone(&writer.dropped);
        let is_ending = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&is_ending);
        let (end, ended) = sync_channel(0);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            // Dropped after the receiver, which says that the thread has ended and takes no line any more.
            let _end = end;
            let received = received;
            write(place, &received, &ending, &dropped);
        })?;
        let guard = LogGuard { writer: writer.clone(), is_ending, ended, limit };
        Ok((writer, guard))
    }

    /// Lets go of the file, for a program that has moved it away.
    pub(super) fn reopen(&self) {
        // With lines waiting that nobody writes there is nothing to reopen.
        drop(self.orders.try_send(Order::Reopen));
    }

    /// Lines that were dropped, because their place did not take them, or not fast enough.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

fn write(mut place: impl Place, received: &Receiver<Order>, is_ending: &AtomicBool, dropped: &AtomicU64) {
    // With so many lines waiting that there was no room for the order to end, what waits is all there is.
    let next = || {
        if is_ending.load(Ordering::Acquire) {
            received.try_recv().map_err(|_empty| RecvError)
        } else {
            received.recv()
        }
    };
    while let Ok(order) = next() {
        match order {
            Order::Line(line) => {
                // There is nowhere to log this: the metric has it.
                if place.line(&line).is_err() {
                    dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
            Order::Reopen => place.reopen(),
            Order::End => return,
        }
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        // The subscriber keeps its sender for the life of the process, so the end has to be said. Nobody waits
        // for a place among the orders: without one, the thread finds out by itself.
        self.is_ending.store(true, Ordering::Release);
        drop(self.writer.orders.try_send(Order::End));
        // Nothing is ever sent: what comes is the end of the thread, or of the patience with it. A panic of the
        // thread has been printed.
        self.ended.recv_timeout(self.limit).ok();
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
        let (writer, guard) = LineWriter::start_at(RotatingFile::new(settings), Duration::MAX).unwrap();
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

    /// Takes no line until it is let go, as a pipe that nobody reads.
    struct Stuck {
        held: Receiver<()>,
        written: Arc<AtomicU64>,
    }

    impl Place for Stuck {
        fn line(&mut self, _line: &[u8]) -> io::Result<()> {
            // Nobody holds it any more: all right.
            self.held.recv().ok();
            self.written.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    fn stuck() -> (SyncSender<()>, Stuck) {
        let (let_go, held) = sync_channel(0);
        (let_go, Stuck { held, written: Arc::default() })
    }

    #[test]
    fn a_reader_that_reads_nothing_stops_neither_work_nor_the_end() {
        let (let_go, stuck) = stuck();
        let (mut writer, guard) = LineWriter::start_at(stuck, Duration::from_millis(1)).unwrap();
        for _ in 0..2 * WAITING {
            writer.write_all(b"unread\n").expect("whoever logs never sees an error");
        }
        // One line may be with the thread.
        assert!(writer.dropped() >= WAITING as u64 - 1, "{}", writer.dropped());
        drop(guard);
        drop(let_go);
    }

    #[test]
    fn what_waits_is_written_at_the_end_also_without_room_for_the_order_to_end() {
        let (let_go, stuck) = stuck();
        let written = Arc::clone(&stuck.written);
        let (mut writer, guard) = LineWriter::start_at(stuck, Duration::MAX).unwrap();
        for _ in 0..2 * WAITING {
            writer.write_all(b"late\n").unwrap();
        }
        let is_ending = Arc::clone(&guard.is_ending);
        std::thread::scope(|scope| {
            scope.spawn(move || drop(guard));
            while !is_ending.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            drop(let_go);
        });
        assert_eq!(written.load(Ordering::Relaxed) + writer.dropped(), 2 * WAITING as u64);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_stop_nobody() {
        let directory = place();
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("logs"), "").unwrap();
        let file = directory.join("logs/agent.log");
        let place = RotatingFile::new(RotationSettings { file, max_bytes: 2_000, max_files: 1 });
        let (mut writer, guard) = LineWriter::start_at(place, Duration::MAX).unwrap();
        for _ in 0..20_000 {
            writer.write_all(b"lost\n").expect("whoever logs never sees an error");
        }
        drop(guard);
        writer.write_all(b"after the end\n").unwrap();
        fs::remove_dir_all(&directory).ok();
        assert_eq!(writer.dropped(), 20_001);
    }
}
