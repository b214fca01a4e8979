//! The command line's documentation, of its own definition: man pages into `FOLDER/man`, completions of bash, zsh and fish into
//! `FOLDER/completions`. `cargo xtask dist` runs it; the binary itself does not know how to.

use std::path::PathBuf;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;
use selvedge::cli::Arguments;

fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.context("usage: manual FOLDER")?;
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    for made in [&man, &completions] {
        std::fs::create_dir_all(made).with_context(|| format!("{} cannot be made", made.display()))?;
    }
    clap_mangen::generate_to(Arguments::command(), &man)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Arguments::command(), "selvedge", &completions)?;
    }
    Ok(())
}
