//! A log file that is followed by a new one when it is full, and a bounded number of old ones.
//!
//! `agent.log` is written; `agent.log.1` is the one before it, and so on. Every line is whole in one
//! file. What cannot be written, on a full disk for example, is lost and counted, and the file is
//! tried again with the next line.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotationSettings {
    /// The file that is written.
    pub file: PathBuf,
    /// A file is full at this many bytes.
    pub max_bytes: u64,
    /// Old files that are kept.
    pub max_files: u32,
}

/// The file; not for several threads at once.
#[derive(Debug)]
pub(super) struct RotatingFile {
    settings: RotationSettings,
    /// `None` after a failure: the next line opens it again.
    open: Option<(File, u64)>,
}

impl RotatingFile {
    /// Nothing is touched before the first line.
    pub(super) fn new(settings: RotationSettings) -> Self {
        Self { settings, open: None }
    }

    /// Writes a line with its end.
    pub(super) fn line(&mut self, line: &[u8]) -> io::Result<()> {
        let written = self.try_line(line);
        if written.is_err() {
            self.open = None;
        }
        written
    }

    /// Lets go of the file, for a program that has moved it away.
    pub(super) fn reopen(&mut self) {
        self.open = None;
    }

    fn try_line(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        let (_, written) = self.opened()?;
        if *written > 0 && *written + length > self.settings.max_bytes {
            self.open = None;
            self.rotate()?;
        }
        let (file, written) = self.opened()?;
        // One call: a line of another process in the same file would not get into the middle.
        file.write_all(line)?;
        *written += length;
        Ok(())
    }

    fn opened(&mut self) -> io::Result<&mut (File, u64)> {
        match &mut self.open {
            Some(open) => Ok(open),
            none => {
                let path = &self.settings.file;
                if let Some(directory) = path.parent() {
                    create_directory(directory)?;
                }
                let mut options = OpenOptions::new();
                options.append(true).create(true);
                #[cfg(unix)]
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
                let file = options.open(path)?;
                let length = file.metadata()?.len();
                Ok(none.insert((file, length)))
            }
        }
    }

    /// Gives every file the number after its own. The oldest goes.
    fn rotate(&self) -> io::Result<()> {
        let RotationSettings { file, max_files, .. } = &self.settings;
        if *max_files == 0 {
            return fs::remove_file(file);
        }
        for number in (1..*max_files).rev() {
            match fs::rename(numbered(file, number), numbered(file, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        fs::rename(file, numbered(file, 1))
    }
}

fn numbered(file: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn create_directory(directory: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new() -> Self {
            Self(std::env::temp_dir().join(format!("rotation-test-{}", uuid::Uuid::new_v4())))
        }

        fn file(&self, max_bytes: u64, max_files: u32) -> RotatingFile {
            RotatingFile::new(RotationSettings { file: self.0.join("logs/agent.log"), max_bytes, max_files })
        }

        /// The content of every file, by name.
        fn contents(&self) -> Vec<(String, String)> {
            let mut found: Vec<_> = fs::read_dir(self.0.join("logs"))
                .unwrap()
                .map(|entry| {
                    let entry = entry.unwrap();
                    let text = fs::read_to_string(entry.path()).unwrap();
                    (entry.file_name().into_string().unwrap(), text)
                })
                .collect();
            found.sort();
            found
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    #[track_caller]
    fn check(place: &Place, expected: &[(&str, &str)]) {
        let found = place.contents();
        let found: Vec<_> = found.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_full_file_is_followed_by_a_new_one_and_the_oldest_goes() {
        let place = Place::new();
        let mut file = place.file(4, 2);
        for line in ["1\n", "2\n", "3\n", "4\n", "5\n", "6\n", "7\n"] {
            file.line(line.as_bytes()).unwrap();
        }
        check(&place, &[("agent.log", "7\n"), ("agent.log.1", "5\n6\n"), ("agent.log.2", "3\n4\n")]);
    }

    #[test]
    fn a_line_longer_than_a_file_is_whole() {
        let place = Place::new();
        let mut file = place.file(4, 1);
        for line in ["1\n", "a long line\n", "2\n"] {
            file.line(line.as_bytes()).unwrap();
        }
        check(&place, &[("agent.log", "2\n"), ("agent.log.1", "a long line\n")]);
    }

    #[test]
    fn a_new_process_goes_on_in_the_same_file() {
        let place = Place::new();
        place.file(4, 1).line(b"1\n").unwrap();
        let mut file = place.file(4, 1);
        file.line(b"2\n").unwrap();
        file.line(b"3\n").unwrap();
        check(&place, &[("agent.log", "3\n"), ("agent.log.1", "1\n2\n")]);
    }

    #[test]
    fn without_old_files_the_one_begins_anew() {
        let place = Place::new();
        let mut file = place.file(2, 0);
        file.line(b"1\n").unwrap();
        file.line(b"2\n").unwrap();
        check(&place, &[("agent.log", "2\n")]);
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_again_when_it_is_reopened() {
        let place = Place::new();
        let mut file = place.file(100, 1);
        file.line(b"1\n").unwrap();
        fs::rename(place.0.join("logs/agent.log"), place.0.join("logs/moved")).unwrap();
        file.line(b"2\n").unwrap();
        file.reopen();
        file.line(b"3\n").unwrap();
        check(&place, &[("agent.log", "3\n"), ("moved", "1\n2\n")]);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_tried_again_with_every_line() {
        let place = Place::new();
        fs::create_dir_all(&place.0).unwrap();
        // A file where the directory should be.
        fs::write(place.0.join("logs"), "").unwrap();
        let mut file = place.file(100, 1);
        file.line(b"lost\n").expect_err("there is no directory");
        fs::remove_file(place.0.join("logs")).unwrap();
        file.line(b"kept\n").unwrap();
        check(&place, &[("agent.log", "kept\n")]);
    }

    #[cfg(unix)]
    #[test]
    fn only_this_user_can_read_the_files() {
        use std::os::unix::fs::PermissionsExt;
        let place = Place::new();
        place.file(100, 1).line(b"1\n").unwrap();
        let mode = |path: &str| fs::metadata(place.0.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("logs"), mode("logs/agent.log")), (0o700, 0o600));
    }
}
