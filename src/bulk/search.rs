//! Where a program is.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::config::Environment;

/// The file that would run: `executable` itself when it is a path, else the first one of the name
/// in `PATH`.
pub(super) fn find(executable: &Path) -> Option<PathBuf> {
    if executable.components().count() > 1 {
        return is_executable(executable).then(|| executable.to_owned());
    }
    let environment = Environment::process();
    let folders = environment.get("PATH")?;
    std::env::split_paths(folders).map(|folder| folder.join(executable)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_path_and_by_name() {
        assert!(find(Path::new("/bin/sh")).is_some());
        assert!(find(Path::new("sh")).is_some_and(|file| file.ends_with("sh")));
        assert_eq!(find(Path::new("no-such-program-anywhere")), None);
        assert_eq!(find(Path::new("/etc/passwd")), None);
    }
}
