//! The codeferry binary: it maps the result of the command line to an exit code, and nothing else.

use std::process::ExitCode;

use codeferry::lifecycle::Exit;

fn main() -> ExitCode {
    // A panic that reaches this far is a bug; its message has been printed by then.
    std::panic::catch_unwind(codeferry::cli::main)
        .unwrap_or(Exit::Bug)
        .into()
}
