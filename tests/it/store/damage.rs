//! Damage: whatever is flipped, cut or missing is found at the next start or changes nothing. Nothing is ever wiped.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use codeferry::grant::Outcome;
use codeferry::store::{Change, OpenError, open};

use super::test_support::*;

/// What was acknowledged, in a comparable form.
#[derive(Debug, PartialEq, Eq)]
struct Acknowledged {
    grants: Vec<codeferry::grant::Grant>,
    data: Vec<Option<String>>,
    closed: Vec<codeferry::grant::ClosedGrant>,
    messages: usize,
}

const GRANTS: u64 = 120;

fn write(dir: &Path, cleanly: bool) {
    let mut store = opened(dir).store;
    for n in 0..GRANTS {
        let mut changes = vec![
            put(n),
            data(n, 700),
            Change::SeeMessage(codeferry::store::SeenMessage {
                message: message(n),
                channel: CHANNEL,
            }),
        ];
        if n >= 10 && n.is_multiple_of(3) {
            let at = NOON + Duration::from_hours(n / 20);
            changes.push(Change::Close(closed(n - 10, Outcome::Completed, at)));
        }
        commit(&mut store, &changes);
    }
    if cleanly {
        store.close().expect("closes");
    } else {
        // A quarter of a second without commits: what the last one wrote can be told from a torn write from here on.
        store.rest().expect("rests");
    }
}

/// `None` where the store does not open.
fn read(dir: &Path) -> Result<Acknowledged, OpenError> {
    let opened = open(&options(dir))?;
    let mut store = opened.store;
    let mut grants = opened.loaded.grants;
    grants.sort_by_key(|g| g.id);
    let data = grants
        .iter()
        .map(|g| store.data(g.id).expect("reads").map(|d| d.expose().to_owned()))
        .collect();
    assert_eq!(store.verify().expect("verifies"), []);
    Ok(Acknowledged {
        grants,
        data,
        closed: store.newest_closed(10_000).expect("pages"),
        messages: opened.loaded.messages.len(),
    })
}

/// Three stores to damage: killed with the log not covered by a snapshot, killed after a second opening, ended cleanly.
fn stores() -> Vec<(&'static str, tempfile::TempDir)> {
    ["killed", "reopened", "clean"]
        .map(|kind| {
            let live = tempfile::tempdir().expect("folder");
            write(live.path(), kind == "clean");
            if kind == "reopened" {
                let mut store = opened(live.path()).store;
                commit(&mut store, &[put(GRANTS)]);
                store.rest().expect("rests");
            }
            (kind, live)
        })
        .into()
}

/// The engine's files and those of closed grants.
fn data_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir.join("journal/engine"))
        .expect("listed")
        .map(|e| e.expect("listed").path())
        .filter(|p| p.is_file())
        .collect();
    let closed = closed_files(dir);
    assert!(closed.len() > 2, "some closed grants lie in files");
    files.extend(closed);
    files.sort();
    files
}

/// Opens a damaged copy: it must hold exactly what was acknowledged, or be refused with everything kept.
#[track_caller]
fn check_found_or_harmless(dir: &Path, expected: &Acknowledged, what: &str) -> bool {
    match read(dir) {
        Ok(found) => {
            assert!(
                found == *expected,
                "{what}: it opened, and something acknowledged is missing or stale"
            );
            false
        }
        Err(OpenError::Damaged {
            kept_where,
            cure,
            what: told,
            ..
        }) => {
            assert!(kept_where.exists(), "{what}: `{}` is there", kept_where.display());
            assert!(!cure.is_empty() && !told.is_empty(), "{what}");
            assert!(!told.contains("CANARY"), "{what}: {told}");
            true
        }
        Err(other) => panic!("{what}: refused for the wrong reason: {other}"),
    }
}

#[test]
fn flips_cuts_and_holes_in_any_file_are_found_or_harmless() {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = |below: u64| {
        // A plain xorshift: the cases must be the same in every run.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below.max(1)
    };
    let (mut found, mut cases) = (0, 0);
    let scale: u64 = std::env::var("CODEFERRY_TEST_DAMAGE_SCALE").map_or(1, |s| s.parse().expect("a number"));
    for (kind, live) in stores() {
        let expected = {
            let copied = tempfile::tempdir().expect("folder");
            copy(live.path(), copied.path());
            read(copied.path()).unwrap_or_else(|e| panic!("undamaged, it opens: {e}"))
        };
        assert!(expected.grants.len() > 80);
        for path in data_files(live.path()) {
            let name = path.file_name().expect("named").to_str().expect("text").to_owned();
            let of_closed = path.starts_with(live.path().join("journal/closed"));
            let below = path.strip_prefix(live.path()).expect("below");
            let rounds = scale * if ["db", "write-ahead"].contains(&&*name) { 6 } else { 1 };
            for round in 0..rounds {
                for damage in ["flip", "zero", "cut"] {
                    let copied = tempfile::tempdir().expect("folder");
                    copy(live.path(), copied.path());
                    let target = copied.path().join(below);
                    let mut bytes = fs::read(&target).expect("read");
                    // The file is longer than what was written: damage where something is.
                    let used = bytes.iter().rposition(|b| *b != 0).map_or(1, |p| p + 1) as u64;
                    let at = next(used) as usize;
                    match damage {
                        "flip" => bytes[at] ^= 1 << next(8),
                        "zero" => {
                            let end = bytes.len().min(at + 512);
                            bytes[at..end].fill(0);
                        }
                        _ => bytes.truncate(at),
                    }
                    fs::write(&target, bytes).expect("written");
                    let what = format!("{kind}: {damage} at {at} of {name}, round {round}");
                    cases += 1;
                    let told = check_found_or_harmless(copied.path(), &expected, &what);
                    assert!(told || !of_closed, "{what}: it was not found");
                    found += u64::from(told);
                }
            }
        }
    }
    assert!(
        cases >= 60 && found >= 20 && found < cases,
        "{found} of {cases} were found"
    );
}

#[test]
fn missing_files_are_found_or_harmless() {
    for (kind, live) in stores() {
        let expected = {
            let copied = tempfile::tempdir().expect("folder");
            copy(live.path(), copied.path());
            read(copied.path()).unwrap_or_else(|e| panic!("undamaged, it opens: {e}"))
        };
        let hour = codeferry::store::keys::hour_of(NOON).to_string();
        let mut missing: Vec<PathBuf> = data_files(live.path())
            .iter()
            .map(|p| p.strip_prefix(live.path()).expect("below").to_owned())
            .collect();
        missing.extend(
            [
                "journal/engine",
                "journal/closed",
                "journal/FORMAT",
                "journal/LOCK",
                "journal/clean",
                "journal/reserve",
            ]
            .map(PathBuf::from),
        );
        missing.push(Path::new("keys/seal").join(hour));
        for path in missing {
            let copied = tempfile::tempdir().expect("folder");
            copy(live.path(), copied.path());
            let target = copied.path().join(&path);
            if target.is_dir() {
                fs::remove_dir_all(&target).expect("removed");
            } else {
                let _ = fs::remove_file(&target);
            }
            let found =
                check_found_or_harmless(copied.path(), &expected, &format!("{kind}: {} is gone", path.display()));
            let must_be_found = ["db", "conf", "write-ahead", "engine"]
                .iter()
                .any(|n| path.ends_with(n))
                || path.starts_with("keys")
                || path.starts_with("journal/closed");
            assert!(found || !must_be_found, "{kind}: {}", path.display());
        }
    }
}

#[test]
fn a_file_of_closed_grants_that_is_another_ones_is_found() {
    // The same ids, times and lengths; one outcome differs.
    let write = |last: Outcome| {
        let dir = tempfile::tempdir().expect("folder");
        let mut store = opened(dir.path()).store;
        let ends = (0..7).map(|n| if n == 1 { last } else { Outcome::Expired });
        let changes: Vec<_> = (0..)
            .zip(ends)
            .map(|(n, o)| Change::Close(closed(n, o, NOON)))
            .collect();
        commit(&mut store, &changes);
        dir
    };
    let (one, other) = (write(Outcome::Expired), write(Outcome::Refused));
    let (file, with) = (closed_files(one.path()).remove(0), closed_files(other.path()).remove(0));
    let (mine, theirs) = (fs::read(&file).expect("read"), fs::read(with).expect("read"));
    assert!(mine != theirs && mine.len() == theirs.len());
    fs::write(&file, theirs).expect("written");
    let told = refused(one.path()).to_string();
    assert!(told.contains("journal/closed/"), "{told}");
    fs::write(&file, &mine).expect("written");
    drop(opened(one.path()));
    // So is what it was before its last block.
    fs::write(&file, &mine[..mine.len() / 2]).expect("written");
    let told = refused(one.path()).to_string();
    assert!(told.contains("is not as it was written"), "{told}");
}

#[test]
fn what_an_append_or_a_sweep_that_was_cut_off_has_left_counts_for_nothing() {
    let dir = tempfile::tempdir().expect("folder");
    write(dir.path(), false);
    let before = {
        let copied = tempfile::tempdir().expect("folder");
        copy(dir.path(), copied.path());
        read(copied.path()).unwrap_or_else(|e| panic!("undamaged, it opens: {e}"))
    };
    let files = closed_files(dir.path());
    let last = files.iter().max_by_key(|f| number(f)).expect("some").clone();
    let whole = fs::read(&last).expect("read");
    fs::write(&last, [&whole[..], &[7; 300]].concat()).expect("written");
    let stray = dir.path().join("journal/closed/900");
    fs::write(&stray, b"half a segm").expect("written");
    let foreign = dir.path().join("journal/closed/notes.txt");
    fs::write(&foreign, b"an operator's").expect("written");
    let found = read(dir.path()).unwrap_or_else(|e| panic!("it opens: {e}"));
    assert!(found == before);
    assert_eq!(fs::read(&last).expect("read"), whole);
    assert!(!stray.exists() && foreign.exists());
    let mut store = opened(dir.path()).store;
    let more: Vec<_> = (500..520)
        .map(|n| Change::Close(closed(n, Outcome::Denied, NOON)))
        .collect();
    commit(&mut store, &more);
    assert_eq!(store.verify().expect("verifies"), []);
    drop(store);
    let after = read(dir.path()).unwrap_or_else(|e| panic!("it opens: {e}"));
    assert_eq!(after.closed.len(), before.closed.len() + 20);
}

fn number(file: &Path) -> u64 {
    let name = file.file_name().expect("named").to_str().expect("text");
    name.parse().expect("a number")
}

#[test]
fn an_older_copy_of_the_engine_under_a_newer_log_is_found() {
    let dir = tempfile::tempdir().expect("folder");
    write(dir.path(), false);
    let old = tempfile::tempdir().expect("folder");
    copy(dir.path(), old.path());
    // An opening hands the log to the engine and starts it again.
    let mut store = opened(dir.path()).store;
    commit(&mut store, &[put(GRANTS)]);
    drop(store);
    let log = "journal/engine/write-ahead";
    fs::copy(dir.path().join(log), old.path().join(log)).expect("copied");
    let e = refused(old.path()).to_string();
    assert!(e.contains("high_water_mark"), "{e}");
    // Neither is the evidence replaced by a second attempt, nor does the message lose its sense.
    let evidence = fs::read(old.path().join("journal/damaged/db")).expect("kept");
    let again = refused(old.path()).to_string();
    assert!(
        again.contains("high_water_mark") && again.contains("journal/damaged"),
        "{again}"
    );
    assert!(fs::read(old.path().join("journal/damaged/db")).expect("kept") == evidence);
}

#[test]
fn damage_in_the_log_is_repairable_from_the_kept_copy() {
    let dir = tempfile::tempdir().expect("folder");
    write(dir.path(), false);
    let db = dir.path().join("journal/engine/db");
    let good = fs::read(&db).expect("read");
    let used = good.iter().rposition(|b| *b != 0).expect("written");
    // Somewhere in the middle of the log, one bit that matters.
    let mut found = None;
    for at in (used / 3..used).step_by(997) {
        let copied = tempfile::tempdir().expect("folder");
        copy(dir.path(), copied.path());
        let mut bad = good.clone();
        bad[at] ^= 4;
        fs::write(copied.path().join("journal/engine/db"), &bad).expect("written");
        if let Err(OpenError::Damaged { kept_where, .. }) = open(&options(copied.path())).map(|_| ()) {
            found = Some((copied, kept_where, at));
            break;
        }
    }
    let (copied, kept, at) = found.expect("some flip is found");
    assert!(kept.ends_with("journal/damaged"));
    // The engine has cut its own file by now; the copy still has everything but the one bit.
    let mut bytes = fs::read(kept.join("db")).expect("kept");
    bytes[at] ^= 4;
    assert!(bytes == good);
    let engine = copied.path().join("journal/engine");
    fs::remove_dir_all(&engine).expect("removed");
    copy(&kept, &engine);
    fs::write(engine.join("db"), bytes).expect("repaired");
    let again = opened(copied.path());
    assert!(
        again.notices.iter().any(|n| n.contains("damaged-1")),
        "{:?}",
        again.notices
    );
    assert!(copied.path().join("journal/damaged-1/db").exists());
    drop(again);
    let restored = read(copied.path()).unwrap_or_else(|e| panic!("repaired, it opens: {e}"));
    let untouched = read(dir.path()).unwrap_or_else(|e| panic!("undamaged, it opens: {e}"));
    assert!(restored == untouched);
}
