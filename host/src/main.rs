//! The binary: parse, run, and turn what happened into a documented exit code.

use std::process::ExitCode;

use clap::Parser;
use selvedge::cli::{self, Arguments};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match cli::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::say(format_args!("error: {error}"));
            error.exit_code()
        }
    }
}
