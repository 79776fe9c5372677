//! A folder for the files of one run, and what is left of those of agents that died.
//!
//! An agent holds a lock on a file in each of its folders, which the system takes from it however it dies. So
//! a folder that nobody holds is nobody's, and the processes that its run has left behind are known by a
//! variable with its name.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::config::Secret;
use crate::fault::{Fault, FaultKind};

/// What the names of all folders begin with.
const PREFIX: &str = "data-exchange-agent-";
/// The file that the agent holds.
const OWNER: &str = "owner";
/// The variable by which the processes of a run are known.
const RUN: &str = "DATA_EXCHANGE_AGENT_RUN";

/// A folder below the system's directory for temporary files (`TMPDIR`) that only this user may
/// enter. It goes away with its owner.
#[derive(Debug)]
pub struct PrivateFolder {
    path: PathBuf,
    _held: File,
}

impl PrivateFolder {
    /// Makes an empty one.
    pub fn new() -> Result<Self, Fault> {
        Self::below(&std::env::temp_dir())
    }

    fn below(directory: &Path) -> Result<Self, Fault> {
        let name = format!("{PREFIX}{}", uuid::Uuid::new_v4().simple());
        // It is held before it has a name that is looked for.
        let draft = directory.join(format!(".{name}"));
        let path = directory.join(name);
        DirBuilder::new().mode(0o700).create(&draft).map_err(|error| broken(&path, error))?;
        let held = hold(&draft).and_then(|held| std::fs::rename(&draft, &path).map(|()| held));
        match held {
            Ok(held) => Ok(Self { path, _held: held }),
            Err(error) => {
                let _best_effort = std::fs::remove_dir_all(&draft);
                Err(broken(&path, error))
            }
        }
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Name and value of the variable by which the processes of this run are known to the next agent.
    pub fn mark(&self) -> (String, Secret) {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        (RUN.to_owned(), Secret::new(name.into_owned()))
    }

    /// Writes a file that only this user may read.
    pub fn write(&self, name: &str, content: &Secret) -> Result<PathBuf, Fault> {
        let path = self.join(name);
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(content.expose().as_bytes()))
            .map_err(|error| broken(&path, error))?;
        Ok(path)
    }
}

fn hold(folder: &Path) -> io::Result<File> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(folder.join(OWNER))?;
    // Where a file system has no locks, nobody finds out that the folder is nobody's.
    let _held = file.try_lock();
    Ok(file)
}

fn broken(path: &Path, error: io::Error) -> Fault {
    Fault::new(FaultKind::Transient, format!("write the temporary file {}", path.display()))
        .because(error)
        .remedy(
            "See that the directory for temporary files can be written to, or name another one with TMPDIR.",
        )
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        // A file that is still in use on another system would stay; there is nobody to tell.
        let _best_effort = remove(&self.path);
    }
}

/// Removes a folder, the file that is held last: a removal that is cut short is continued by the next agent.
fn remove(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name() != OWNER && !entry.file_type()?.is_dir() {
            std::fs::remove_file(entry.path())?;
        }
    }
    std::fs::remove_dir_all(folder)
}

/// Ends what runs of agents have left behind that died, and removes their folders, with the secrets in them.
/// Called when an agent starts; those of agents that live are left alone.
pub fn sweep() {
    sweep_below(&std::env::temp_dir());
}

fn sweep_below(directory: &Path) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        let is_ours = std::fs::symlink_metadata(&path)
            .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == geteuid().as_raw());
        if !name.starts_with(PREFIX) || !is_ours {
            continue;
        }
        let Ok(owner) = File::open(path.join(OWNER)) else { continue };
        if owner.try_lock().is_err() {
            continue;
        }
        let ended = end_processes(&name);
        match remove(&path) {
            Ok(()) => tracing::warn!(
                folder = %path.display(), processes = ended,
                "removed what a bulk utility of an agent that died has left behind"
            ),
            Err(error) => tracing::warn!(
                folder = %path.display(), error = %error,
                "a bulk utility of an agent that died has left files behind that cannot be removed, \
                 and there may be secrets in them; remove them by hand"
            ),
        }
    }
}

/// Ends the processes of a run; how many there were. Those of other users show nobody their variables.
fn end_processes(run: &str) -> usize {
    let wanted = format!("{RUN}={run}");
    let mut ended = 0;
    // One that was starting another one meanwhile is found by its child the next time.
    for _round in 0..8 {
        let found: Vec<Pid> = processes().filter(|process| has_variable(*process, &wanted)).collect();
        if found.is_empty() {
            break;
        }
        for process in found {
            // An error means that it has ended meanwhile.
            ended += usize::from(kill_process(process, Signal::KILL).is_ok());
        }
    }
    ended
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}

fn has_variable(process: Pid, wanted: &str) -> bool {
    // Nothing can be read of a process that has ended.
    std::fs::read(format!("/proc/{}/environ", process.as_raw_nonzero())).is_ok_and(|variables| {
        variables.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_nobody_holds_goes_away_and_one_that_is_held_stays() {
        let directory = PrivateFolder::new().unwrap();
        let held = PrivateFolder::below(&directory.path).unwrap();
        held.write("client.cnf", &Secret::new("secret")).unwrap();
        let abandoned = directory.join(&format!("{PREFIX}abandoned"));
        let of_somebody_else = directory.join("other");
        for folder in [&abandoned, &of_somebody_else] {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join(OWNER), "").unwrap();
            std::fs::write(folder.join("job.tpt"), "secret").unwrap();
        }
        sweep_below(&directory.path);
        assert!(held.join("client.cnf").exists() && of_somebody_else.exists() && !abandoned.exists());
        let path = held.path.clone();
        drop(held);
        assert!(!path.exists());
    }
}
