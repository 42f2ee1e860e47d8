//! `completions` and `man`: what a package puts beside the binary.

use std::path::PathBuf;

use clap::Command;
use clap_complete::Shell;

use super::out;
use crate::lifecycle::Exit;

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// Write a page for each command into this folder
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// Prints the completions of a shell for the whole command line.
pub fn completions(args: &CompletionsArgs, mut whole: Command) -> anyhow::Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut whole, "codeferry", &mut text);
    out::write(&[&String::from_utf8(text)?])?;
    Ok(Exit::Fine)
}

/// Prints the man page, or writes the pages of every command.
pub fn man(args: &ManArgs, whole: Command) -> anyhow::Result<Exit> {
    if let Some(folder) = &args.output {
        std::fs::create_dir_all(folder)?;
        clap_mangen::generate_to(whole, folder)?;
        return Ok(Exit::Fine);
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(whole).render(&mut text)?;
    out::write(&[&String::from_utf8(text)?])?;
    Ok(Exit::Fine)
}
