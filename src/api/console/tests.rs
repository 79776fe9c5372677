//! The page over HTTP, and the files that are in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::assets::{ASSETS, VERSION};

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/console/assets"))
}

#[test]
fn every_file_of_the_folder_is_served() {
    let mut found = BTreeSet::new();
    for (prefix, folder) in [("", folder().to_owned()), ("vendor/", folder().join("vendor"))] {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                found.insert(format!("{prefix}{}", entry.file_name().to_str().unwrap()));
            }
        }
    }
    for not_served in ["index.html", "vendor/README.md", "vendor/uPlot.LICENSE"] {
        assert!(found.remove(not_served), "{not_served}");
    }
    let served: BTreeSet<String> = ASSETS.iter().map(|asset| asset.name.to_owned()).collect();
    assert_eq!(served, found);
    assert_eq!(VERSION.len(), 16);
}

#[test]
fn files_of_others_are_as_they_were_published() {
    let readme = fs::read_to_string(folder().join("vendor/README.md")).unwrap();
    let mut count = 0;
    for entry in fs::read_dir(folder().join("vendor")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_str().unwrap().to_owned();
        if name == "README.md" {
            continue;
        }
        let sum = Sha256::digest(fs::read(entry.path()).unwrap());
        let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
        let line = readme.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        assert!(line.is_some_and(|line| line.contains(&sum)), "{name} is {sum}");
        count += 1;
    }
    assert_eq!(count, 3);
}

/// The policy in the headers would stop such code in the browser; here it is stopped before.
#[test]
fn no_file_of_the_console_makes_html_of_texts_or_names_another_host() {
    let own = ASSETS.iter().filter(|asset| !asset.name.starts_with("vendor/"));
    let page = fs::read_to_string(folder().join("index.html")).unwrap();
    for (name, content) in own.map(|asset| (asset.name, asset.content)).chain([("index.html", page.as_str())])
    {
        for forbidden in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("]
        {
            assert!(!content.contains(forbidden), "{name} has {forbidden}");
        }
        // The name space of SVG is a name and not an address.
        let content = content.replace("http://www.w3.org/2000/svg", "");
        for address in ["http://", "https://", "//cdn"] {
            assert!(!content.contains(address), "{name} has {address}");
        }
        for inline in [" style=", "<style", "onclick=\"", "javascript:"] {
            assert!(!content.contains(inline), "{name} has {inline}");
        }
    }
}
