//! A disk that fails for real: calls that answer with an error, a file system that is full and then freed, and a power cut.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, Read as _};
use std::process::Command;
use std::time::Duration;

use codeferry::store::{OpenError, open};
use rustix::process::Signal;

use super::killed::{can_trace, strace};
use super::test_support::options;
use super::writer::{acknowledged, lost, running, without_syncs, writer};
use crate::files::Mounted;
use crate::patience::{Finish as _, installed, until};
use crate::tally::{Tally, tell};

/// One fault that was made, and what was wrong afterwards.
fn one(wrong: &[String]) -> Tally {
    Tally {
        tried: 1,
        survived: u64::from(wrong.is_empty()),
        lost: u64::from(!wrong.is_empty()),
        ..Tally::default()
    }
}

#[test]
fn after_a_call_has_failed_nothing_is_acknowledged_and_nothing_acknowledged_is_lost() {
    if !can_trace() {
        return;
    }
    // The engine writes at checkpoints alone, on several threads of its own, and strace counts for each thread.
    let (many, few) = ([9, 14, 20, 27], [2, 3, 4, 5]);
    for (call, error, calls) in [
        ("fdatasync", "EIO", many),
        ("pwrite64", "EIO", many),
        ("pwrite64", "ENOSPC", many),
        ("sync_file_range", "EIO", few),
    ] {
        let kind = format!("disk: {call} answers {error}");
        let (mut tried, mut faults) = (0, Vec::new());
        for nth in calls {
            let folder = tempfile::tempdir().expect("folder");
            let dir = folder.path().join("data");
            let inject = format!("inject={call}:error={error}:when={nth}");
            let output = strace(&["-e", &format!("trace={call}"), "-e", &inject], &dir, 0, 40).finish();
            let said = String::from_utf8_lossy(&output.stderr);
            // The writer ends with the first error of a commit, or where a commit hangs. All of its calls were made in order.
            let written = acknowledged(&output);
            if output.status.success() && written.len() == 40 {
                // The writer made fewer such calls.
                continue;
            }
            tried += 1;
            assert_eq!(output.status.code(), Some(74), "{kind}, {nth}: {said}");
            assert!(said.contains("should"), "{kind}, {nth}: {said}");
            assert_eq!(written, (0..written.len() as u64).collect::<BTreeSet<_>>());
            let wrong = lost(&dir, &written);
            tell(&kind, one(&wrong));
            faults.extend(wrong.into_iter().map(|w| format!("{kind}, {nth}: {w}")));
        }
        assert!(tried > 1, "{kind}: {tried}");
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}

#[test]
fn a_file_system_that_is_full_and_then_freed_keeps_everything_acknowledged() {
    let Some(mounted) = Mounted::new(&["-t", "tmpfs", "-o", "size=72m", "tmpfs"]) else {
        return;
    };
    let dir = mounted.at().join("data");
    let ballast = mounted.at().join("ballast");
    fs::write(&ballast, vec![1; 60 << 20]).expect("written");
    let output = writer(&dir, 0, 1_000_000).finish();
    let written = acknowledged(&output);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the disk is full"), "{said}");
    assert!(!written.is_empty());
    // The reserve was freed; a start works on it, or says what is missing and loses nothing.
    match open(&options(&dir)).map(drop) {
        Ok(()) | Err(OpenError::DiskFull { .. }) => {}
        Err(other) => panic!("{other}"),
    }
    fs::remove_file(&ballast).expect("removed");
    let wrong = lost(&dir, &written);
    tell("disk: full, then freed", one(&wrong));
    assert_eq!(wrong, Vec::<String>::new());
    let next = written.last().expect("some") + 2;
    assert_eq!(acknowledged(&writer(&dir, next, 5).finish()).len(), 5);
}

/// Whether every thread of a process is stopped (`proc(5)`: the state stands behind the name in brackets).
fn all_stopped(process: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("it is there");
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    })
}

/// Writes on a disk of its own, stops at some commit, and takes the disk away as it is: what its file holds then is what
/// had been written to the disk, and nothing of what was only in memory. Answers what is wrong with it.
fn power_cut(after: u64, syncs: bool) -> Option<Vec<String>> {
    let folder = tempfile::tempdir().expect("folder");
    let (image, cut) = (folder.path().join("image"), folder.path().join("cut"));
    fs::File::create(&image)
        .and_then(|f| f.set_len(48 << 20))
        .expect("made");
    if !installed("mkfs.ext4") {
        eprintln!("SKIPPED: mkfs.ext4 is not there");
        return None;
    }
    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image).finish();
    assert!(made.status.success(), "{made:?}");
    let disk = Mounted::new(&["-o", "loop", image.to_str().expect("text")])?;
    let command = writer(&disk.at().join("data"), 0, 1_000_000);
    let command = if syncs { command } else { without_syncs(command) };
    let (child, mut lines) = running(command);
    let mut said = String::new();
    let last = format!("ACK {after}\n");
    while !said.ends_with(&last) {
        assert!(lines.read_line(&mut said).expect("read") > 0, "{said}");
    }
    child.signal(Signal::STOP);
    // A call that is under way ends first: a copy made meanwhile would hold what was written last, and lack what it rests on.
    until(Duration::from_secs(10), "nothing is written any more", || {
        all_stopped(child.id())
    });
    fs::copy(&image, &cut).expect("copied");
    child.signal(Signal::KILL);
    lines.read_to_string(&mut said).expect("read");
    drop(child);
    drop(disk);
    // What was acknowledged up to the cut; what the pipe held as well.
    let numbers = said.lines().filter_map(|line| line.split_once("ACK "));
    let written: BTreeSet<u64> = numbers.filter_map(|(_, n)| n.parse().ok()).collect();
    let disk = Mounted::new(&["-o", "loop", cut.to_str().expect("text")])?;
    Some(lost(&disk.at().join("data"), &written))
}

#[test]
fn a_power_cut_loses_nothing_acknowledged() {
    let slow = std::env::var_os("CODEFERRY_SLOW").is_some();
    let cuts: Vec<u64> = if slow { (0..120).collect() } else { vec![0, 7, 31, 80] };
    let mut faults = Vec::new();
    for after in cuts {
        let Some(wrong) = power_cut(after, true) else { return };
        tell("disk: power cut", one(&wrong));
        faults.extend(wrong.into_iter().map(|w| format!("after {after}: {w}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // The cut is a real one: without syncs it takes what was acknowledged.
    let without = power_cut(31, false).expect("it could be mounted a moment ago");
    assert!(
        !without.is_empty(),
        "a cut without syncs lost nothing: it shows nothing"
    );
}
