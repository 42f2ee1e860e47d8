//! What commands print. `println!` panics when the reader has gone (`codeferry … | head`); these end the command in peace.

use std::io::{self, IsTerminal as _, Write as _};

/// The reader of stdout has gone. It is no failure: the process ends with 0.
#[derive(Debug, thiserror::Error)]
#[error("the reader of the output has gone")]
pub struct ReaderGone;

/// A table without lines between its rows.
pub fn table() -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::ASCII_FULL_CONDENSED);
    table
}

/// Prints a text and a line end.
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

/// Prints texts one after another, at once.
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
