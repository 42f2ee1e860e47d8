//! Printing to stdout. `println!` panics when the reader has gone (`codeferry … | head`); here the command ends normally.

use std::io::{self, IsTerminal as _, Write as _};

/// The reader of stdout has gone. No failure: the process exits with 0.
#[derive(Debug, thiserror::Error)]
#[error("the reader of the output closed it")]
pub struct ReaderGone;

/// Prints a line to stderr. One that is closed is no failure, and `eprintln!` would panic.
pub fn say(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A table without lines between its rows.
pub fn table() -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::ASCII_FULL_CONDENSED);
    table
}

/// The columns and rows of the terminal on stdout; `None` where it is none.
pub fn size() -> Option<(usize, usize)> {
    let stdout = io::stdout();
    let size = stdout
        .is_terminal()
        .then(|| rustix::termios::tcgetwinsize(&stdout).ok())??;
    let fits = size.ws_col > 0 && size.ws_row > 0;
    fits.then(|| (usize::from(size.ws_col), usize::from(size.ws_row)))
}

/// Prints a line.
pub fn line(text: impl std::fmt::Display) -> anyhow::Result<()> {
    write(&[&format!("{text}\n")])
}

/// Prints a value as JSON: indented for a terminal, on one line otherwise.
pub fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let text = if io::stdout().is_terminal() {
        serde_json::to_string_pretty(value)?
    } else {
        serde_json::to_string(value)?
    };
    line(text)
}

/// Prints a value: as JSON for machines, else as text.
pub fn value(
    as_json: bool,
    value: &serde_json::Value,
    text: impl FnOnce(&serde_json::Value) -> String,
) -> anyhow::Result<()> {
    if as_json { json(value) } else { line(text(value)) }
}

/// Prints texts one after another.
pub fn write(parts: &[&str]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let result = parts
        .iter()
        .try_for_each(|part| out.write_all(part.as_bytes()))
        .and_then(|()| out.flush());
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        other => Ok(other?),
    }
}
