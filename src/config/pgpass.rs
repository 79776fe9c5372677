//! The password file of libpq: lines of `host:port:database:user:password`.

use std::path::PathBuf;

use super::{Environment, Secret};

/// What a password is looked up by.
pub(super) struct Login<'a> {
    pub host: &'a str,
    pub port: &'a str,
    pub database: &'a str,
    pub username: &'a str,
}

/// The password of the first line that fits, from `PGPASSFILE` or else `~/.pgpass`.
///
/// A file that others can read is passed over, as libpq does.
pub(super) fn password(login: &Login<'_>, environment: &Environment) -> Option<Secret> {
    let path = match environment.filled("PGPASSFILE") {
        Some(path) => PathBuf::from(path),
        None => environment.home()?.join(".pgpass"),
    };
    let metadata = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
    if is_exposed(&metadata) {
        tracing::warn!(
            path = %path.display(),
            "the password file is not used, because others can open it; run chmod 600 on it"
        );
        return None;
    }
    lookup(&std::fs::read_to_string(path).ok()?, login)
}

#[cfg(unix)]
fn is_exposed(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o077 != 0
}

#[cfg(not(unix))]
fn is_exposed(_: &std::fs::Metadata) -> bool {
    false
}

fn lookup(text: &str, login: &Login<'_>) -> Option<Secret> {
    // A socket directory is found under "localhost", as libpq does.
    let host = if login.host.starts_with('/') { "localhost" } else { login.host };
    let wanted = [host, login.port, login.database, login.username];
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = split(line);
        let [names @ .., password] = fields.as_slice() else { return None };
        let fits = names.len() == wanted.len()
            && names.iter().zip(wanted).all(|(field, wanted)| field.is_any || field.text == wanted);
        fits.then(|| Secret::new(password.text.clone())).filter(|password| !password.expose().is_empty())
    })
}

#[derive(Default)]
struct Field {
    text: String,
    /// A lone `*`, which an escaped one is not.
    is_any: bool,
}

/// The five fields of a line; a backslash takes the next character as it is. A colon in the
/// password needs no backslash.
fn split(line: &str) -> Vec<Field> {
    let mut fields = vec![Field::default()];
    let mut letters = line.chars();
    let mut start = true;
    while let Some(letter) = letters.next() {
        let last = fields.len() - 1;
        match letter {
            ':' if last < 4 => {
                fields.push(Field::default());
                start = true;
                continue;
            }
            '\\' => fields[last].text.extend(letters.next()),
            '*' if start && (letters.as_str().is_empty() || letters.as_str().starts_with(':')) => {
                fields[last].is_any = true;
                fields[last].text.push('*');
            }
            letter => fields[last].text.push(letter),
        }
        start = false;
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: Login<'static> =
        Login { host: "db.example.com", port: "5432", database: "sales", username: "reader" };

    fn check(text: &str, expected: Option<&str>) {
        let found = lookup(text, &LOGIN);
        assert_eq!(found.as_ref().map(Secret::expose), expected, "{text}");
    }

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        check("db.example.com:5432:sales:reader:secret", Some("secret"));
        check("other:5432:sales:reader:no\n*:*:*:*:any\n*:*:*:*:later", Some("any"));
        check("# *:*:*:*:no\ndb.example.com:*:sales:*:yes", Some("yes"));
        check("*:*:*:*:with:colon", Some("with:colon"));
        check(r"*:*:*:*:with\:colon\\", Some(r"with:colon\"));
        check(r"\*:*:*:*:escaped star", None);
        check("*:*:sales:secret", None);
        check("*:*:*:*:", None);
        check("*:*:*:*", None);
        check("", None);
        check("db.example.com:5433:sales:reader:secret", None);
        check("*x:*:*:*:no", None);
    }

    #[test]
    fn a_socket_directory_is_found_under_localhost() {
        let login = Login { host: "/var/run/postgresql", ..LOGIN };
        let found = lookup("localhost:5432:sales:reader:secret", &login);
        assert_eq!(found.as_ref().map(Secret::expose), Some("secret"));
    }
}
