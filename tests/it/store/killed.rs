//! A writer that is killed at its n-th system call of one kind, while it opens the store and while it uses it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use super::test_support::{copy, refused};
use super::writer::{ARGUMENTS, acknowledged, lost, write, writer};
use crate::patience::{Finish as _, installed};
use crate::tally::{Tally, tell};

/// Everything by which the store and its engine touch the disk.
const CALLS: [&str; 12] = [
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "rename",
    "unlink",
    "unlinkat",
    "openat",
    "ftruncate",
    "copy_file_range",
    "fallocate",
];
/// Commits of one writer.
const COMMITS: u64 = 10;

/// `strace` with these words before the writer; `None` where it cannot be used.
pub fn strace(words: &[&str], dir: &Path, first: u64, count: u64) -> Command {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-o"])
        .arg(dir.with_extension("strace"))
        .args(words)
        .arg(std::env::current_exe().expect("known"))
        .args(ARGUMENTS);
    write(command, dir, first, count)
}

/// Whether processes can be traced here; says so loudly where not.
pub fn can_trace() -> bool {
    let can = installed("strace")
        && Command::new("strace")
            .args(["-o", "/dev/null", "true"])
            .finish()
            .status
            .success();
    if !can {
        eprintln!("SKIPPED: strace is not there or may not trace; install it (apt install strace)");
    }
    can
}

/// How often the busiest thread of a writer makes each call. (strace counts for each thread by itself.)
fn counted(dir: &Path, first: u64) -> BTreeMap<&'static str, u64> {
    let trace = format!("trace={}", CALLS.join(","));
    let output = strace(&["-e", &trace], dir, first, COMMITS).finish();
    assert_eq!(acknowledged(&output).len() as u64, COMMITS, "undisturbed, it writes");
    let log = std::fs::read_to_string(dir.with_extension("strace")).expect("a log");
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for line in log.lines() {
        let Some((thread, call)) = line.split_once(' ') else {
            continue;
        };
        let name = call.trim_start().split('(').next().unwrap_or_default();
        *counts.entry((thread, name)).or_default() += 1;
    }
    let busiest = |call: &str| counts.iter().filter(|((_, c), _)| *c == call).map(|(_, n)| *n).max();
    CALLS
        .into_iter()
        .filter_map(|call| Some((call, busiest(call)?)))
        .collect()
}

/// The calls to kill at: a few spread over all of them, or every one.
fn chosen(most: u64) -> Vec<u64> {
    if std::env::var_os("CODEFERRY_SLOW").is_some() {
        return (1..=most).collect();
    }
    let picks: BTreeSet<u64> = [most.div_ceil(3), most * 2 / 3, most].into_iter().collect();
    picks.into_iter().filter(|n| *n > 0).collect()
}

/// Kills writers one after the other, each at the n-th call of a kind, and answers what is wrong afterwards.
fn killed(start: Option<&Path>, written: &BTreeSet<u64>, kills: &[(&str, u64)]) -> (u64, Vec<String>) {
    let dir = tempfile::tempdir().expect("folder");
    let data = dir.path().join("data");
    if let Some(start) = start {
        copy(start, &data);
    }
    let mut written = written.clone();
    let (mut next, mut deaths) = (written.last().map_or(0, |n| n + 2), 0);
    for (call, nth) in kills {
        let kill = format!("inject={call}:signal=KILL:when={nth}");
        let output = strace(&["-e", &format!("trace={call}"), "-e", &kill], &data, next, COMMITS).finish();
        deaths += u64::from(!output.status.success());
        written.extend(acknowledged(&output));
        // The commit after the last acknowledged one may be there or not.
        next = written.last().map_or(next, |n| n + 2).max(next + 2);
    }
    (deaths, lost(&data, &written))
}

#[test]
fn a_kill_at_any_call_that_touches_the_disk_loses_nothing_acknowledged() {
    if !can_trace() {
        return;
    }
    let base = tempfile::tempdir().expect("folder");
    let old = base.path().join("old");
    let output = writer(&old, 0, 6).finish();
    let written = acknowledged(&output);
    assert_eq!(written.len(), 6);
    let (new, again) = (base.path().join("new"), base.path().join("again"));
    copy(&old, &again);
    let mut faults = Vec::new();
    let starts = [
        (None, BTreeSet::new(), counted(&new, 0)),
        (Some(old.as_path()), written.clone(), counted(&again, 8)),
    ];
    for call in CALLS {
        let mut tally = Tally::default();
        for (start, written, counts) in &starts {
            for nth in counts.get(call).map(|most| chosen(*most)).unwrap_or_default() {
                // Once alone; and, for some, once more while what the first kill has left is opened.
                let alone = &[(call, nth)][..];
                let again = &[(call, nth), (call, nth.div_ceil(2))][..];
                let chains = if nth.is_multiple_of(3) {
                    vec![alone, again]
                } else {
                    vec![alone]
                };
                for kills in chains {
                    let (deaths, wrong) = killed(*start, written, kills);
                    tally.tried += deaths;
                    tally.survived += if wrong.is_empty() { deaths } else { 0 };
                    tally.lost += u64::from(!wrong.is_empty());
                    let about = format!("{kills:?}, a new store: {}", start.is_none());
                    faults.extend(wrong.into_iter().map(|w| format!("{about}: {w}")));
                }
            }
        }
        // A call that this system's library never makes is not tried.
        if tally.tried > 0 {
            tell(&format!("disk: killed at {call}"), tally);
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_crash_around_an_append_to_or_a_sweep_of_closed_grants_loses_nothing() {
    let slow = std::env::var_os("CODEFERRY_SLOW").is_some();
    let mut faults = Vec::new();
    for point in ["closed.before", "closed.after", "sweep.before", "sweep.after"] {
        let mut tally = Tally::default();
        for nth in 1..=if slow { 20 } else { 4 } {
            let folder = tempfile::tempdir().expect("folder");
            let dir = folder.path().join("data");
            let mut written = BTreeSet::new();
            // Twice in a row: the second run meets what the first has left.
            for _ in 0..2 {
                let next = written.last().map_or(0, |n| n + 2);
                let mut command = writer(&dir, next, 200);
                let output = command.env("CRASH_AT", format!("{point}:{nth}")).finish();
                assert!(!output.status.success(), "{point}, {nth}: never reached");
                written.extend(acknowledged(&output));
                assert!(
                    written.last() < Some(&190),
                    "{point}, {nth}: it was killed, and did not just end"
                );
                let wrong = lost(&dir, &written);
                tally.tried += 1;
                tally.survived += u64::from(wrong.is_empty());
                tally.lost += u64::from(!wrong.is_empty());
                faults.extend(wrong.into_iter().map(|w| format!("{point}, {nth}: {w}")));
            }
        }
        tell(&format!("crash point: {point}"), tally);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The copy from before an opening that was cut off was once replaced by a copy of what the cut had left.
#[test]
fn an_opening_that_was_cut_off_is_undone_with_the_copy_from_before_it() {
    if !can_trace() {
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let dir = folder.path().join("data");
    let written = acknowledged(&writer(&dir, 0, 12).finish());
    // The first file that is unlinked is the marker of a clean end, right after the copy.
    let words = ["-e", "trace=unlink", "-e", "inject=unlink:signal=KILL:when=1"];
    let cut = strace(&words, &dir, 20, 1).finish();
    assert!(!cut.status.success() && acknowledged(&cut).is_empty());
    let journal = dir.join("journal");
    assert!(journal.join("opening/db").exists());
    // As if the engine had been in the middle of its log.
    let db = std::fs::OpenOptions::new().write(true).open(journal.join("engine/db"));
    db.and_then(|file| file.set_len(100)).expect("cut");
    for _ in 0..2 {
        let told = refused(&dir);
        assert!(told.to_string().contains("journal/damaged"), "{told}");
    }
    // The way back, as docs/durability.md has it.
    std::fs::rename(journal.join("engine"), journal.join("engine.aside")).expect("moved");
    copy(&journal.join("damaged"), &journal.join("engine"));
    assert_eq!(lost(&dir, &written), Vec::<String>::new());
    assert!(journal.join("damaged-1").exists());
}
