//! Where a task's files go: always below the root, whatever the task's path contains.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::io_fault::io_fault;
use crate::fault::{Fault, FaultKind};

/// Proves that the root is a directory, or that nothing stands where the first attempt creates it.
pub(super) fn check(root: &Path) -> Result<(), Fault> {
    match fs::metadata(root) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(io_fault("open the root directory", root, ErrorKind::NotADirectory.into())),
        Err(error) if error.kind() == ErrorKind::NotFound => match root.parent() {
            Some(parent) if parent != Path::new("") => check(parent),
            _ => Ok(()),
        },
        Err(error) => Err(io_fault("open the root directory", root, error)),
    }
}

/// Creates the directory for `path` below `root`, and returns it absolute and without symbolic
/// links. New directories are durable in their parents.
///
/// A leading `/`, `.` and empty components have no meaning, as in a key prefix. `..` and NUL are
/// refused, and so is a symbolic link that leads out of the root. The path is followed one
/// component at a time, so that nothing is created outside before the refusal.
pub(super) fn create(root: &Path, path: &str) -> Result<PathBuf, Fault> {
    let components = components(path)?;
    create_durably(root)?;
    let root = fs::canonicalize(root).map_err(|error| io_fault("open the root directory", root, error))?;
    let mut directory = root.clone();
    for component in components {
        directory.push(component);
        make_directory(&directory).map_err(|error| io_fault("create the directory", &directory, error))?;
        let real = fs::canonicalize(&directory)
            .map_err(|error| io_fault("open the directory", &directory, error))?;
        if !real.starts_with(&root) {
            let action = format!(
                "open the directory `{path}`: a symbolic link leads out of the root `{}`",
                root.display()
            );
            return Err(Fault::new(FaultKind::Request, action)
                .remedy("Choose a path that stays below the root of the connection."));
        }
        directory = real;
    }
    if !fs::metadata(&directory).is_ok_and(|found| found.is_dir()) {
        return Err(io_fault("open the directory", &directory, ErrorKind::NotADirectory.into()));
    }
    Ok(directory)
}

/// Removes a directory below the root that has nothing in it. One that has, and the root, stay.
pub(super) fn remove_when_empty(root: &Path, directory: &Path) {
    if fs::canonicalize(root).is_ok_and(|root| root != directory) {
        // The system refuses to remove one that is not empty, also when somebody has just filled it.
        let _is_empty = fs::remove_dir(directory);
    }
}

/// Makes the entries of a directory durable.
pub(super) fn sync(directory: &Path) -> Result<(), Fault> {
    File::open(directory)
        .and_then(|open| open.sync_all())
        .map_err(|error| io_fault("make durable the directory", directory, error))
}

fn components(path: &str) -> Result<Vec<&str>, Fault> {
    let refuse = |why: &str| {
        Fault::new(FaultKind::Request, format!("use the path {path:?}: {why}"))
            .remedy("Choose a path below the root of the connection, such as `sales/2026`.")
    };
    if path.contains('\0') {
        return Err(refuse("it contains a NUL character"));
    }
    let components: Vec<&str> = path.split('/').filter(|component| !matches!(*component, "" | ".")).collect();
    if components.contains(&"..") {
        return Err(refuse("`..` could lead out of the root"));
    }
    Ok(components)
}

fn create_durably(directory: &Path) -> Result<(), Fault> {
    if directory == Path::new("") || directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent() {
        create_durably(parent)?;
    }
    make_directory(directory).map_err(|error| io_fault("create the root directory", directory, error))
}

/// Creates a directory and makes it durable; anything that is there already is left as it is.
fn make_directory(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Ok(()) => match directory.parent() {
            Some(parent) if parent != Path::new("") => File::open(parent)?.sync_all(),
            _ => File::open(".")?.sync_all(),
        },
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_list_of_names() {
        for (path, expected) in [
            ("", vec![]),
            ("/", vec![]),
            ("/a//b/./c/", vec!["a", "b", "c"]),
            ("it's/\"ünïcode\" and space", vec!["it's", "\"ünïcode\" and space"]),
            ("a\\..\\b/..c/d..", vec!["a\\..\\b", "..c", "d.."]),
        ] {
            assert_eq!(components(path).expect(path), expected);
        }
    }

    #[test]
    fn a_path_that_could_leave_the_root_is_refused_by_name() {
        for path in ["..", "../x", "a/../../x", "a/..", "/../etc", "a\0b"] {
            let fault = components(path).expect_err(path);
            assert_eq!(fault.kind(), FaultKind::Request);
            assert!(fault.to_string().contains(&format!("{path:?}")), "{fault}");
            assert!(fault.hint().is_some());
        }
    }
}
