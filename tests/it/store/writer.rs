//! A small process that writes into a store and says what was acknowledged, for tests that end it in every way; and the
//! judgement of what it leaves.

use std::collections::BTreeSet;
use std::io::BufReader;
use std::path::Path;
use std::process::{ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use codeferry::grant::Outcome;
use codeferry::lifecycle::Exit;
use codeferry::store::{Change, Committer, StoreOptions, Sync, open};
use codeferry::time::Timestamp;

use super::test_support::*;
use crate::patience::Process;

const FOLDER: &str = "CODEFERRY_TEST_STORE_CHILD";
const NUMBERS: &str = "CODEFERRY_TEST_STORE_NUMBERS";
const SYNC: &str = "CODEFERRY_TEST_STORE_SYNC";

/// The arguments with which this test binary is the writer.
pub const ARGUMENTS: [&str; 3] = ["--exact", "store::writer::writer_child", "--nocapture"];

/// Not a test by itself: the process that other tests start, and end. A line says that it is open, and one for each
/// commit that it was acknowledged.
#[test]
fn writer_child() {
    let Ok(dir) = std::env::var(FOLDER) else { return };
    let numbers = std::env::var(NUMBERS).expect("given");
    let (first, count) = numbers.split_once('+').expect("two numbers");
    let (first, count): (u64, u64) = (first.parse().expect("a number"), count.parse().expect("a number"));
    let sync = match std::env::var(SYNC).as_deref() {
        Ok("counted") => Sync::Counted,
        _ => Sync::Real,
    };
    let opened = open(&StoreOptions {
        sync,
        ..options(Path::new(&dir))
    });
    codeferry::crash::arm();
    let store = opened.unwrap_or_else(|e| failed("open", &e)).store;
    // As the service has it: what hangs in the engine is answered as hung.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let committer = Committer::spawn(store, Committer::HUNG_AFTER).expect("threads");
    println!("\nOPEN");
    for n in first..first + count {
        runtime
            .block_on(committer.commit(changes(n)))
            .unwrap_or_else(|e| failed("commit", &e));
        println!("ACK {n}");
        if n.is_multiple_of(4) && n > SWEPT_AFTER {
            let before = moment(n - SWEPT_AFTER);
            runtime
                .block_on(committer.sweep(before))
                .unwrap_or_else(|e| failed("sweep", &e));
        }
    }
}

/// Ends the process as the service ends where its store fails. A thread that hangs is not waited for.
#[expect(clippy::disallowed_methods, reason = "the store's thread may hang")]
fn failed(to: &str, e: &dyn std::error::Error) -> ! {
    eprintln!("the child should {to}: {e}");
    std::process::exit(Exit::Store.code().into())
}

/// Commits after which a closed grant is forgotten.
const SWEPT_AFTER: u64 = 6;

/// The n-th commit's time: a few are in one hour, which is what a sweep forgets as a whole.
fn moment(n: u64) -> Timestamp {
    NOON + Duration::from_mins(20 * n)
}

/// The n-th commit. Of two grants one is closed four commits later, so that records also disappear; after every fourth
/// commit what closed some time ago is swept.
pub fn changes(n: u64) -> Vec<Change> {
    let mut changes = vec![put(n), data(n, length(n))];
    if n >= 4 && n.is_multiple_of(2) {
        changes.push(Change::Close(closed(n - 4, Outcome::Completed, moment(n))));
    }
    changes
}

fn length(n: u64) -> usize {
    300 + (n as usize * 977) % 9000
}

/// Makes this test binary's command the writer: in `dir`, `count` commits from `first` on.
pub fn write(mut command: Command, dir: &Path, first: u64, count: u64) -> Command {
    command.env(FOLDER, dir).env(NUMBERS, format!("{first}+{count}"));
    command
}

/// A writer, run directly.
pub fn writer(dir: &Path, first: u64, count: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("known"));
    command.args(ARGUMENTS);
    write(command, dir, first, count)
}

/// Starts a writer whose lines are read while it runs.
pub fn running(mut command: Command) -> (Process, BufReader<ChildStdout>) {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut process = Process::start(&mut command);
    let lines = BufReader::new(process.stdout());
    (process, lines)
}

/// The same without syncs.
pub fn without_syncs(mut command: Command) -> Command {
    command.env(SYNC, "counted");
    command
}

/// The numbers of the commits that were acknowledged.
pub fn acknowledged(output: &Output) -> BTreeSet<u64> {
    let text = String::from_utf8_lossy(&output.stdout);
    // The harness prints without a line's end before the first one.
    let numbers = text.lines().filter_map(|line| line.split_once("ACK "));
    numbers.filter_map(|(_, n)| n.parse().ok()).collect()
}

/// What is wrong with what a store holds, if these commits were acknowledged. An unacknowledged one after each end may be
/// there or not. The store must open.
pub fn lost(dir: &Path, acknowledged: &BTreeSet<u64>) -> Vec<String> {
    let opened = match open(&options(dir)) {
        Ok(opened) => opened,
        Err(e) => return vec![format!("it does not open: {e}")],
    };
    let mut store = opened.store;
    let mut wrong = Vec::new();
    let last = acknowledged.last().copied().unwrap_or(0);
    for n in acknowledged {
        let open = opened.loaded.grants.iter().any(|g| *g == grant(*n));
        let end = store.closed(id(*n)).expect("reads");
        let closed_by = n + 4;
        let may_be_swept = n.is_multiple_of(2) && closed_by + SWEPT_AFTER < last;
        if (open || !may_be_swept) && open == end.is_some() {
            wrong.push(format!("grant {n}: open {open}, closed {}", end.is_some()));
        }
        if n.is_multiple_of(2) && acknowledged.contains(&(n + 4)) && open {
            wrong.push(format!("grant {n} was closed"));
        }
        if !n.is_multiple_of(2) && !open {
            wrong.push(format!("grant {n} was not closed"));
        }
        if open {
            let text = store.data(id(*n)).expect("reads");
            if text.is_none_or(|t| t.expose() != person(*n, length(*n))) {
                wrong.push(format!("the data of grant {n}"));
            }
        }
    }
    wrong.extend(store.verify().expect("verifies").iter().map(|p| format!("{p:?}")));
    wrong
}
