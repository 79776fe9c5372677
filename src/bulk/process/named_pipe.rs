//! A named pipe between a program that writes files and the agent.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, mkfifoat};
use tokio::net::unix::pipe::{OpenOptions, Receiver, Sender};

/// Both of our ends. The writing one keeps the pipe open until the program has ended; then its
/// reader sees the end of the data.
pub(super) struct NamedPipe {
    pub(super) receiver: Receiver,
    pub(super) sender: Sender,
    pub(super) path: PathBuf,
}

impl NamedPipe {
    /// Makes the pipe and opens both ends. Only this user may open it.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR)?;
        let receiver = OpenOptions::new().open_receiver(path)?;
        let sender = OpenOptions::new().open_sender(path)?;
        Ok(Self { receiver, sender, path: path.to_owned() })
    }
}

/// False when a file has taken its place. A pipe that was removed after use is still one.
pub(super) fn is_pipe(path: &Path) -> bool {
    std::fs::symlink_metadata(path).map_or(true, |metadata| metadata.file_type().is_fifo())
}
