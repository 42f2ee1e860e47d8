//! Ends of every kind: clean ones, kills at any moment, kills while opening, a second instance.

use std::collections::BTreeSet;
use std::io::BufRead as _;
use std::process::Command;

use codeferry::store::OpenError;
use rustix::process::Signal;

use super::test_support::*;
use super::writer::{ARGUMENTS, acknowledged, lost, running, write, writer};
use crate::patience::Finish as _;

#[test]
fn a_killed_writer_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().expect("folder");
    let (mut next, mut written) = (0, BTreeSet::new());
    for round in 0..8_u64 {
        let (child, lines) = running(writer(dir.path(), next, 1_000_000));
        for line in lines.lines() {
            // The harness prints without a line's end before the first one.
            if let Some((_, n)) = line.expect("read").split_once("ACK ") {
                written.insert(n.parse::<u64>().expect("a number"));
            }
            if written.last().is_some_and(|n| *n >= next + 3 + round * 7) {
                // What the pipe still holds counts too: the loop goes on until its end.
                child.signal(Signal::KILL);
            }
        }
        drop(child);
        let last = *written.last().expect("the child has committed");
        assert_eq!(lost(dir.path(), &written), Vec::<String>::new(), "round {round}");
        // The commit after the last one may or may not have made it, unacknowledged.
        next = last + 2;
    }
}

#[test]
fn a_second_instance_is_told_who_the_first_is() {
    let dir = tempfile::tempdir().expect("folder");
    let first = opened(dir.path()).store;
    let e = refused(dir.path());
    assert!(e.is_locked());
    assert!(e.to_string().contains(&std::process::id().to_string()), "{e}");
    drop(first);
    for _ in 0..20 {
        // At once after its predecessor: the engine lets go on its own threads.
        drop(opened(dir.path()));
    }
}

#[test]
fn a_copy_is_made_after_an_unclean_end_only() {
    let dir = tempfile::tempdir().expect("folder");
    let preopen = dir.path().join("journal/preopen");
    let mut store = opened(dir.path()).store;
    commit(&mut store, &[put(1)]);
    store.close().expect("closes");
    assert!(dir.path().join("journal/clean").exists());
    let _ = std::fs::remove_dir_all(&preopen);
    let store = opened(dir.path()).store;
    assert!(!preopen.exists(), "the end was clean");
    assert!(!dir.path().join("journal/clean").exists(), "it runs");
    drop(store);
    drop(opened(dir.path()).store);
    assert!(preopen.join("db").exists() && preopen.join("write-ahead").exists());
    // A clean end after which somebody has changed a file is none.
    opened(dir.path()).store.close().expect("closes");
    std::fs::remove_dir_all(&preopen).expect("removed");
    std::fs::write(dir.path().join("journal/engine/stray"), b"x").expect("written");
    drop(opened(dir.path()).store);
    assert!(preopen.join("stray").exists());
}

#[test]
fn a_torn_snapshot_is_removed_and_a_whole_one_is_not() {
    let dir = tempfile::tempdir().expect("folder");
    let mut store = opened(dir.path()).store;
    commit(&mut store, &[put(1)]);
    drop(store);
    drop(opened(dir.path()));
    let engine = dir.path().join("journal/engine");
    let snapshots = |suffix: &str| {
        let mut names: Vec<_> = std::fs::read_dir(&engine)
            .expect("listed")
            .map(|e| e.expect("listed").file_name().into_string().expect("text"))
            .filter(|name| name.starts_with("snap.") && name.ends_with(suffix))
            .collect();
        names.sort();
        names
    };
    let whole = snapshots("");
    assert!(!whole.is_empty());
    for (name, content) in [
        ("snap.00000000FFFFFFFF.generating", &b""[..]),
        ("snap.00000000FFFFFFFE.generating", b"half a snapsh"),
    ] {
        std::fs::write(engine.join(name), content).expect("written");
    }
    let again = opened(dir.path());
    assert_eq!(again.loaded.grants, [grant(1)]);
    assert_eq!(snapshots(".generating"), Vec::<String>::new());
    assert_eq!(again.notices.iter().filter(|n| n.contains("half-written")).count(), 2);
    assert!(!snapshots("").is_empty());
}

#[test]
fn a_kill_during_the_first_initialisation_leaves_nothing_in_the_way() {
    for left in ["empty", "engine", "marked"] {
        let dir = tempfile::tempdir().expect("folder");
        let root = dir.path().join("journal");
        if left == "empty" {
            std::fs::create_dir_all(root.join("engine.init")).expect("made");
        } else {
            drop(opened(dir.path()));
            std::fs::rename(root.join("engine"), root.join("engine.init")).expect("renamed");
            std::fs::remove_file(root.join("FORMAT")).expect("removed");
            if left == "engine" {
                std::fs::remove_file(root.join("engine.init/write-ahead")).expect("removed");
            }
        }
        let mut store = opened(dir.path()).store;
        commit(&mut store, &[put(1)]);
        drop(store);
        assert_eq!(opened(dir.path()).loaded.grants, [grant(1)], "{left}");
        assert!(!root.join("engine.init").exists());
    }
}

#[test]
fn a_store_of_a_newer_program_is_left_alone() {
    let dir = tempfile::tempdir().expect("folder");
    drop(opened(dir.path()));
    std::fs::write(dir.path().join("journal/FORMAT"), "2\n").expect("written");
    let e = refused(dir.path());
    assert!(matches!(e, OpenError::Newer { found: 2, known: 1, .. }), "{e}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().expect("folder");
    std::fs::write(dir.path().join("journal"), b"a file").expect("written");
    let e = refused(dir.path());
    assert!(e.to_string().contains("journal"), "{e}");
    assert!(!e.is_locked());
}

/// A file size limit is the full disk that a test can have without a file system of its own.
#[test]
fn a_real_write_limit_is_a_full_disk_and_nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().expect("folder");
    let mut shell = Command::new("sh");
    shell
        // The signal must be ignored, or it ends the process before the error is seen.
        .args(["-c", "trap '' XFSZ; ulimit -f 3000; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().expect("known"))
        .args(ARGUMENTS);
    let output = write(shell, dir.path(), 0, 1_000_000).finish();
    let written = acknowledged(&output);
    assert!(!written.is_empty(), "the child has committed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the disk is full"), "{said}");
    assert_eq!(lost(dir.path(), &written), Vec::<String>::new());
}
