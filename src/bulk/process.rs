//! The one place that starts foreign programs.
//!
//! ```text
//! Program -> start -> Running: read its output ... end -> Exit
//!                 \-> supervisor (task): drains what it says, waits, ends the whole group
//! ```
//!
//! A program is started without a shell, from a list of arguments, in a process group of its own. Its
//! output comes through the pipe of its standard output, or through a named pipe for a program that
//! only writes files; nothing is staged on disk. What it says beside that is drained at all times, so
//! that a full pipe cannot block it, and only the end of it is kept, secrets masked.
//!
//! Whatever happens, the group is gone afterwards: dropping [`Running`] sends TERM to all of it and,
//! after a grace time, KILL. The supervisor is a tracked task, so a stop of the agent waits for that.
//! A process that leaves its group on purpose (`setsid`) is out of reach.

mod exit;
mod folder;
mod group;
mod named_pipe;
mod report;
mod variables;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::exit::Exit;
use self::exit::{Cut, left_behind};
pub use self::folder::{PrivateFolder, sweep};
use self::group::Group;
use self::named_pipe::NamedPipe;
pub use self::report::Tail;
pub use self::variables::Inherited;
use crate::config::{Environment, Secret};
use crate::fault::{Fault, FaultKind};
use crate::shutdown::Shutdown;

/// Between TERM and KILL.
const GRACE: Duration = Duration::from_secs(5);
/// How long a pipe may stay open after the program has ended: then somebody that it left behind holds it.
const LINGER: Duration = Duration::from_secs(5);
/// Bytes that may be in a pipe then, and be read by a reader that was held up: no pipe that a user makes has
/// more, unless the system was told so.
const PIPE_BYTES: usize = 1 << 20;
/// Bytes that are read at a time.
const READ_BYTES: usize = 256 * 1024;

/// A program to run.
pub struct Program {
    /// How messages call it.
    pub name: String,
    /// A path, or a name that is looked up in `PATH`.
    pub executable: PathBuf,
    /// Arguments, as they are: there is no shell.
    pub arguments: Vec<String>,
    /// Variables besides those that it inherits.
    pub variables: Vec<(String, Secret)>,
    /// Variables of the agent that it sees.
    pub inherited: Inherited,
    /// Those of them that it must not see all the same.
    pub hidden_variables: Vec<String>,
    /// What it reads from its standard input; nothing when `None`.
    pub input: Option<Secret>,
    /// Where its output comes from.
    pub output: Output,
    /// Texts that are masked in whatever it says.
    pub secrets: Vec<Secret>,
    /// Longest time from its start to its end.
    pub timeout: Duration,
    /// What to do when it is not there.
    pub install_hint: String,
}

/// Where the output of a program comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Its standard output.
    Stdout,
    /// A file that it writes. The runner makes a named pipe there.
    NamedPipe(PathBuf),
}

/// Arguments and variables can hold what nobody should see.
impl fmt::Debug for Program {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Program").field("executable", &self.executable).finish_non_exhaustive()
    }
}

/// A program that runs. Dropping it ends the whole group of processes.
pub struct Running {
    name: String,
    output: Pin<Box<dyn AsyncRead + Send>>,
    exit: watch::Receiver<Option<Exit>>,
    timeout: Duration,
    /// Bytes that were read long after the program had ended.
    late_bytes: usize,
    _stop: DropGuard,
}

impl fmt::Debug for Running {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Running").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Program {
    /// A program without arguments that writes to its standard output. Of the agent's variables it sees those
    /// that say where things are on this system, and none that could hold a secret.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        executable: PathBuf,
        timeout: Duration,
        install_hint: impl Into<String>,
    ) -> Self {
        let environment = Environment::process();
        Self {
            name: name.into(),
            executable,
            arguments: Vec::new(),
            variables: Vec::new(),
            inherited: Inherited::default(),
            hidden_variables: environment.own().map(str::to_owned).collect(),
            input: None,
            output: Output::Stdout,
            secrets: Vec::new(),
            timeout,
            install_hint: install_hint.into(),
        }
    }

    /// Starts it.
    #[expect(clippy::disallowed_methods, reason = "the one place that starts programs")]
    pub fn start(self, shutdown: &Shutdown) -> Result<Running, Fault> {
        let pipe = match &self.output {
            Output::Stdout => None,
            Output::NamedPipe(path) => Some(NamedPipe::create(path).map_err(|error| {
                Fault::new(FaultKind::Transient, format!("make a named pipe for {}", self.name))
                    .because(error)
            })?),
        };
        let mut command = Command::new(&self.executable);
        let environment = Environment::process();
        let is_hidden = |name: &str| self.hidden_variables.iter().any(|hidden| hidden == name);
        // Inherited ones first: a program may be given another value of its own.
        command
            .env_clear()
            .envs(environment.all().filter(|(name, _)| self.inherited.has(name) && !is_hidden(name)))
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value.expose())))
            .stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        group::lead(&mut command);
        let mut child = command.spawn().map_err(|error| self.cannot_start(error))?;
        let group = Group::of(&child);
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("standard output is piped");
        let stderr = child.stderr.take().expect("standard error is piped");
        let stop = CancellationToken::new();
        let (tell, exit) = watch::channel(None);
        type Pipe = Pin<Box<dyn AsyncRead + Send>>;
        let (output, chatter, keep_open): (Pipe, Option<Pipe>, _) = match pipe {
            None => (Box::pin(stdout), None, None),
            Some(pipe) => (Box::pin(pipe.receiver), Some(Box::pin(stdout)), Some((pipe.sender, pipe.path))),
        };
        let supervisor = Supervisor {
            child,
            group,
            input: stdin.zip(self.input),
            stderr: Box::pin(stderr),
            chatter,
            keep_open,
            secrets: self.secrets,
            timeout: self.timeout,
            stop: stop.clone(),
            tell,
        };
        shutdown.spawn(supervisor.run());
        Ok(Running {
            name: self.name,
            output,
            exit,
            timeout: self.timeout,
            late_bytes: 0,
            _stop: stop.drop_guard(),
        })
    }

    /// Runs it to its end and gives what it wrote, of which there may be `most` bytes.
    pub async fn output(self, shutdown: &Shutdown, most: usize) -> Result<(Vec<u8>, Exit), Fault> {
        let mut running = self.start(shutdown)?;
        let mut written = BytesMut::new();
        while running.read(&mut written).await? {
            if written.len() > most {
                return Err(Fault::new(FaultKind::Data, format!("read what {} writes", running.name))
                    .because(format!("it is more than {most} bytes")));
            }
        }
        Ok((written.into(), running.end().await?))
    }

    fn cannot_start(&self, error: io::Error) -> Fault {
        let action = format!("start {}", self.name);
        let executable = self.executable.display();
        match error.kind() {
            io::ErrorKind::NotFound => Fault::new(FaultKind::Request, action)
                .because(format!("there is no program `{executable}`"))
                .remedy(self.install_hint.clone()),
            io::ErrorKind::PermissionDenied => Fault::new(FaultKind::Permission, action)
                .because(format!("this user may not run `{executable}`"))
                .remedy("Make the file executable for the user of the agent, or correct `executable`."),
            io::ErrorKind::ArgumentListTooLong => Fault::new(FaultKind::Request, action)
                .because("the query is longer than an argument of a program may be")
                .remedy(
                    "Put the query into a view and select from that, or read it with `method` = `native`.",
                ),
            _ => Fault::new(FaultKind::Transient, action).because(error),
        }
    }
}

impl Running {
    /// Appends the next piece of output; false at its end.
    pub async fn read(&mut self, buffer: &mut BytesMut) -> Result<bool, Fault> {
        if buffer.capacity() - buffer.len() < READ_BYTES / 4 {
            buffer.reserve(READ_BYTES);
        }
        let is_late = self.exit.borrow().as_ref().is_some_and(|exit| exit.at.elapsed() >= LINGER);
        let mut exit = self.exit.clone();
        // One deadline for all reads: a process that was left behind could write now and then for ever.
        let abandoned = async move {
            // An error means that the supervisor is gone, and the program with it.
            let ended = exit.wait_for(Option::is_some).await.ok().and_then(|exit| Some(exit.as_ref()?.at));
            tokio::time::sleep_until(ended.unwrap_or_else(Instant::now) + LINGER).await;
        };
        let action = format!("read the output of {}", self.name);
        tokio::select! {
            // What is there is read before anybody asks how long that took.
            biased;
            read = self.output.read_buf(buffer) => match read {
                Ok(bytes) => {
                    if is_late {
                        self.late_bytes += bytes;
                    }
                    if self.late_bytes > PIPE_BYTES {
                        return Err(left_behind(action));
                    }
                    Ok(bytes > 0)
                }
                Err(error) => Err(Fault::new(FaultKind::Transient, action).because(error)),
            },
            () = abandoned => Err(left_behind(action)),
        }
    }

    /// Waits for the end of the program, after the end of its output. The whole group is gone then.
    pub async fn end(mut self) -> Result<Exit, Fault> {
        let exit = match self.exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone(),
            Err(_gone) => None,
        };
        let Some(exit) = exit else {
            return Err(Fault::new(FaultKind::Bug, format!("wait for the end of {}", self.name)));
        };
        match exit.cut {
            None => Ok(exit),
            Some(Cut::TimedOut) => Err(Fault::new(FaultKind::Transient, format!("run {}", self.name))
                .because(format!("it did not end within {:?}, and {}", self.timeout, exit.describe()))
                .remedy("Raise `timeout` in the section of the utility, or find out what it waits for.")),
            Some(Cut::LeftBehind) => Err(left_behind(format!("read the output of {}", self.name))),
            Some(Cut::Stopped) => {
                Err(Fault::new(FaultKind::Transient, format!("run {}", self.name)).because("it was stopped"))
            }
        }
    }
}

/// The task beside a program.
struct Supervisor {
    child: Child,
    group: Group,
    input: Option<(ChildStdin, Secret)>,
    stderr: Pin<Box<dyn AsyncRead + Send>>,
    /// Standard output, when the output is elsewhere.
    chatter: Option<Pin<Box<dyn AsyncRead + Send>>>,
    /// Our own end of a named pipe: without it the reader would see the end before the program has
    /// opened it, and again whenever it reopens it.
    keep_open: Option<(tokio::net::unix::pipe::Sender, PathBuf)>,
    secrets: Vec<Secret>,
    timeout: Duration,
    stop: CancellationToken,
    tell: watch::Sender<Option<Exit>>,
}

impl Supervisor {
    async fn run(mut self) {
        let mut said = Tail::default();
        let mut chatted = Tail::default();
        let input = self.input.take();
        let write = async {
            if let Some((mut stdin, text)) = input {
                // A program that does not want its input says so by its exit.
                let _ = stdin.write_all(text.expose().as_bytes()).await;
                let _ = stdin.shutdown().await;
            }
        };
        let chatter = async {
            if let Some(chatter) = self.chatter.take() {
                chatted.drain(chatter).await;
            }
        };
        let stderr = std::mem::replace(&mut self.stderr, Box::pin(tokio::io::empty()));
        let mut drain = Box::pin(async { tokio::join!(said.drain(stderr), chatter, write) });
        let (child, group) = (&mut self.child, self.group);
        let waited = async {
            let cut = tokio::select! {
                status = child.wait() => return (status.ok(), None),
                () = tokio::time::sleep(self.timeout) => Cut::TimedOut,
                () = self.stop.cancelled() => Cut::Stopped,
            };
            end_group(child, group).await;
            (None, Some(cut))
        };
        tokio::pin!(waited);
        let mut drained = false;
        let (status, cut) = loop {
            tokio::select! {
                ended = &mut waited => break ended,
                _ = &mut drain, if !drained => drained = true,
            }
        };
        if !drained {
            // Somebody whom it left behind may hold the pipe.
            let _ = tokio::time::timeout(LINGER, &mut drain).await;
        }
        drop(drain);
        let replaced = self.keep_open.take().is_some_and(|(_sender, path)| !named_pipe::is_pipe(&path));
        let mut text = chatted.text(&self.secrets);
        text.push_str(&said.text(&self.secrets));
        if replaced {
            text.push_str("\nIt replaced the named pipe by a file of its own; it cannot write to a pipe.");
        }
        let exit = Exit { status, cut, said: text, at: Instant::now() };
        self.tell.send_replace(Some(exit));
        if !self.group.has_members() {
            // From now on its number may be that of somebody else.
            return;
        }
        // Whoever reads the rest of the output keeps the token.
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(LINGER) => self.tell.send_modify(|exit| {
                // Before the group is gone, which ends the output: what it had not written yet is missing.
                if let Some(exit) = exit {
                    exit.cut.get_or_insert(Cut::LeftBehind);
                }
            }),
        }
        self.group.kill();
    }
}

/// TERM to the group, and KILL to whoever is left after the grace time or after its leader.
async fn end_group(child: &mut Child, group: Group) {
    group.terminate();
    let ended = tokio::time::timeout(GRACE, child.wait()).await;
    group.kill();
    if ended.is_err() {
        // KILL cannot be refused. An error means that it was waited for already.
        let _ = child.wait().await;
    }
}
