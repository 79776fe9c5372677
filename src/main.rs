//! The exit code. No logic.

use std::process::ExitCode;

fn main() -> ExitCode {
    data_exchange_agent::cli::main()
}
