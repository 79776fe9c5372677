//! `completion` and `man`: what a shell and a manual need to know of this command line.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, output};

#[derive(Clone, Debug, Args)]
pub(super) struct CompletionArguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Clone, Debug, Args)]
pub(super) struct ManArguments {
    /// Write one page for each command into this folder, which has to be there [default: the main page to stdout]
    #[arg(long, value_name = "FOLDER")]
    directory: Option<PathBuf>,
}

pub(super) fn completion(arguments: &CompletionArguments) -> ExitCode {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    if arguments.shell == Shell::Bash {
        // The generator cuts names at their hyphens, and finds nothing below the first level then: it is
        // given a name without, which the script then registers for the real one.
        let plain = name.replace('-', "_");
        clap_complete::generate(Shell::Bash, &mut command, plain.as_str(), &mut script);
        let text = String::from_utf8_lossy(&script);
        script = text.replace(&format!(" {plain}\n"), &format!(" {name}\n")).into_bytes();
    } else {
        clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    }
    output::bytes(&script);
    ExitCode::SUCCESS
}

pub(super) fn man(arguments: &ManArguments) -> ExitCode {
    let command = Cli::command();
    let Some(directory) = &arguments.directory else {
        return match page(command) {
            Ok(page) => {
                output::bytes(&page);
                ExitCode::SUCCESS
            }
            Err(error) => super::failed(&format!("write the manual page: {error}")),
        };
    };
    match clap_mangen::generate_to(command, directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::failed(&format!("write the manual pages to {}: {error}", directory.display())),
    }
}

fn page(command: clap::Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(page)
}
