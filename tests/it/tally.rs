//! One line of the table that `just prove` prints. Every test that makes faults reports here how many, and the result.

use std::fs::OpenOptions;
use std::io::Write as _;

/// What a kind of fault came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Times the fault was made to happen.
    pub tried: u64,
    /// Times everything promised held.
    pub survived: u64,
    /// Codes or acknowledged changes without an outcome.
    pub lost: u64,
    /// Codes presented again after their token was received.
    pub twice: u64,
    /// Received tokens left alive.
    pub left_behind: u64,
}

/// Tells the table, if one is being made: `CODEFERRY_TALLY` names the file that lines are appended to.
pub fn tell(kind: &str, tally: Tally) {
    let Some(path) = std::env::var_os("CODEFERRY_TALLY") else {
        return;
    };
    let Tally {
        tried,
        survived,
        lost,
        twice,
        left_behind,
    } = tally;
    // One write: lines of tests that run at the same time do not mix.
    let line = format!("{kind}\t{tried}\t{survived}\t{lost}\t{twice}\t{left_behind}\n");
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .expect("the tally's file");
    file.write_all(line.as_bytes()).expect("written");
}
