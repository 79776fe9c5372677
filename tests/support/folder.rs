//! A folder of one test.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A new, empty folder that is removed with its owner.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("data-exchange-{}", uuid::Uuid::new_v4().simple()));
        fs::create_dir(&path).expect("the folder for temporary files takes new ones");
        Self(fs::canonicalize(path).expect("it was just created"))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed does not make a test fail that has passed.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Gives a file another content at once: who reads it meanwhile sees the old one or the new one.
pub(crate) fn replace(file: &Path, content: &str) {
    let new = file.with_extension("new");
    fs::write(&new, content).expect("its folder takes new files");
    fs::rename(&new, file).expect("they are in one folder");
}

/// Writes a program that can be run at once. Another process writes it: one that a test beside this one starts
/// meanwhile would inherit the descriptor, and nobody could run the program while it has that.
#[expect(clippy::disallowed_methods, reason = "a test may start a shell")]
pub(crate) fn write_program(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    let mut shell = Command::new("sh")
        .args(["-c", "cat > \"$1\" && chmod 755 \"$1\"", "sh"])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("every Unix has sh");
    let mut input = shell.stdin.take().expect("it is piped");
    input.write_all(text.as_bytes()).expect("the shell reads it");
    drop(input);
    assert!(shell.wait().expect("it ends").success(), "{} cannot be written", path.display());
    path
}
