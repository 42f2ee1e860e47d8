use std::fs;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::grant::{Outcome, Reason};
use crate::ids::Lane;
use crate::store::disk::{Disk, Sync};
use crate::store::keys::hour_of;

/// Four seconds into an hour.
const NOON: Timestamp = Timestamp::from_secs(1_786_363_204);

fn at(secs: u64) -> Timestamp {
    NOON + Duration::from_secs(secs)
}

fn closed(n: u64, closed_at: Timestamp) -> ClosedGrant {
    let outcome = Outcome::ALL[n as usize % Outcome::ALL.len()];
    ClosedGrant {
        id: GrantId::new(NOON, u128::from(n)),
        received_at: NOON,
        closed_at,
        lane: Lane(3),
        outcome,
        reason: (outcome != Outcome::Completed).then(|| Reason::new("invalid_grant")),
    }
}

fn disk() -> Disk {
    Disk::new(Sync::Counted, None)
}

fn opened(dir: &Path, marks: &Marks) -> ClosedFiles {
    let files = ClosedFiles::open(dir, &disk(), marks).unwrap_or_else(|e| panic!("it should open: {e}"));
    files.tidy().expect("tidies");
    files
}

#[track_caller]
fn damage(dir: &Path, marks: &Marks) -> String {
    match ClosedFiles::open(dir, &disk(), marks) {
        Err(StoreError::Damaged { what }) => what,
        other => panic!("it should be damaged: {other:?}"),
    }
}

fn names(dir: &Path) -> Vec<String> {
    let listed = fs::read_dir(dir).expect("listed");
    let mut names: Vec<_> = listed
        .map(|e| e.expect("listed").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

#[test]
fn every_closed_grant_reads_back_and_a_usual_one_is_small() {
    let noon = NOON.as_millis();
    let long = "x".repeat(64);
    for [received, ended] in [
        [noon, noon + 1500],
        [noon - 9, noon - 7_200_000],
        [0, -5],
        [i64::MIN, i64::MAX],
        [i64::MAX, i64::MIN],
    ] {
        for outcome in Outcome::ALL {
            for reason in [None, Some("invalid_grant"), Some(long.as_str())] {
                let closed = ClosedGrant {
                    id: GrantId(ulid::Ulid(u128::MAX - noon as u128)),
                    received_at: Timestamp::from_millis(received),
                    closed_at: Timestamp::from_millis(ended),
                    lane: Lane(255),
                    outcome,
                    reason: reason.map(Reason::new),
                };
                let text = line::encode(&closed);
                assert_eq!(line::decode(&text).as_ref(), Some(&closed), "{text}");
                assert_eq!(line::decode(&format!("{text} more")), None);
                let mut bytes = Vec::new();
                line::append(&mut bytes, 7, &text);
                assert!(bytes.len() as u64 <= line::LONGEST, "{text}");
            }
        }
    }
    let mut usual = Vec::new();
    line::append(&mut usual, 7, &line::encode(&closed(0, at(2))));
    assert_eq!(usual.len(), 57);
}

#[test]
fn the_bytes_of_format_1_load_for_ever() {
    const WRITTEN: &str = "codeferry closed grants 1 hour 496212 8f4dfbd0\n\
        01KZNRPMD00000000000000000 0 2000 3 completed - 3cbf5b39\n\
        01KZNRPMD00000000000000003 0 3000 3 refused invalid_grant 243785ec\n";
    let all = [closed(0, at(2)), closed(3, at(3))];
    let dir = tempfile::tempdir().expect("folder");
    let file = dir.path().join("496212");
    fs::write(&file, WRITTEN).expect("written");
    let mark = Mark {
        bytes: WRITTEN.len() as u64,
        sum: 0x2437_85ec,
    };
    let files = opened(dir.path(), &Marks::from([(496_212, mark)]));
    assert_eq!(files.newest(9).expect("lists"), [all[1].clone(), all[0].clone()]);
    let dir = tempfile::tempdir().expect("folder");
    opened(dir.path(), &Marks::new()).append(&all).expect("appends");
    assert_eq!(fs::read_to_string(dir.path().join("496212")).expect("read"), WRITTEN);
}

#[test]
fn what_is_appended_is_found_listed_and_counted_after_reopening_too() {
    let dir = tempfile::tempdir().expect("folder");
    let mut files = opened(dir.path(), &Marks::new());
    let all: Vec<_> = (0..30).map(|n| closed(n, at(n * 600))).collect();
    let mut marks = Marks::new();
    for group in all.chunks(4) {
        marks.extend(files.append(group).expect("appends"));
    }
    assert_eq!(marks.len(), 5, "five hours");
    for files in [files, opened(dir.path(), &marks)] {
        for closed in &all {
            assert_eq!(files.find(closed.id).expect("reads").as_ref(), Some(closed));
        }
        assert_eq!(files.find(GrantId::new(NOON, 17 << 70)).expect("reads"), None);
        assert_eq!(files.find(GrantId::new(at(9), 1)).expect("reads"), None);
        let newest_first: Vec<_> = all.iter().rev().cloned().collect();
        for limit in [0, 1, 7, 30, 100] {
            let expected = &newest_first[..limit.min(30)];
            assert_eq!(files.newest(limit).expect("lists"), expected);
        }
        assert_eq!(files.totals().sum(), 30);
        assert_eq!(files.totals().of(Outcome::Completed), 4);
        let mut seen = 0;
        assert_eq!(files.verify(&mut |_| seen += 1).expect("reads"), Vec::<String>::new());
        assert_eq!(seen, 30);
        assert_eq!(files.size_bytes(), marks.values().map(|mark| mark.bytes).sum::<u64>());
    }
}

#[test]
fn a_file_goes_when_its_whole_hour_is_past() {
    let dir = tempfile::tempdir().expect("folder");
    let mut files = opened(dir.path(), &Marks::new());
    let all: Vec<_> = (0..3).map(|n| closed(n, at(n * 3600))).collect();
    let mut marks = files.append(&all).expect("appends");
    let hour = hour_of(NOON);
    assert_eq!(
        files.sweep(at(3595)),
        [] as [i64; 0],
        "one second is left of the first hour"
    );
    assert_eq!(files.sweep(at(3596)), [hour]);
    assert_eq!(files.totals().sum(), 2);
    assert_eq!(files.find(all[0].id).expect("reads"), None);
    assert_eq!(names(dir.path()).len(), 3, "the engine still has its mark");
    files.tidy().expect("tidies");
    assert_eq!(names(dir.path()).len(), 2);
    // A clock that is stepped back: what closes then is kept until the next sweep.
    marks.remove(&hour);
    marks.extend(files.append(&[closed(9, at(10))]).expect("appends"));
    let mut files = opened(dir.path(), &marks);
    assert!(files.find(closed(9, at(10)).id).expect("reads").is_some());
    assert_eq!(files.sweep(at(4 * 3600)).len(), 3);
    assert_eq!(files.totals().sum(), 0);
}

#[test]
fn what_a_crash_leaves_beyond_the_marks_is_dropped_and_may_be_appended_again() {
    let dir = tempfile::tempdir().expect("folder");
    let [first, second, third] = [closed(1, at(1)), closed(2, at(2)), closed(3, at(7200))];
    let mut files = opened(dir.path(), &Marks::new());
    let marks = files.append(std::slice::from_ref(&first)).expect("appends");
    files.append(&[second.clone(), third.clone()]).expect("appends");
    fs::write(dir.path().join("notes.txt"), "not ours").expect("written");
    // The marks of the second group were never committed, and its last line is torn.
    let path = dir.path().join(hour_of(NOON).to_string());
    let bytes = fs::read(&path).expect("read");
    for left in [bytes.len(), bytes.len() - 1, marks[&hour_of(NOON)].bytes as usize] {
        fs::write(&path, &bytes[..left]).expect("written");
        let files = opened(dir.path(), &marks);
        assert_eq!(files.newest(9).expect("lists"), std::slice::from_ref(&first));
        assert_eq!(names(dir.path()), [hour_of(NOON).to_string(), "notes.txt".to_owned()]);
    }
    let mut files = opened(dir.path(), &marks);
    files.append(&[second.clone(), third.clone()]).expect("appends again");
    assert_eq!(fs::read(&path).expect("read"), bytes, "each stands there once");
    assert_eq!(files.newest(9).expect("lists"), [third, second, first]);
}

#[test]
fn no_changed_bit_and_no_other_file_goes_unnoticed() {
    let dir = tempfile::tempdir().expect("folder");
    let mut files = opened(dir.path(), &Marks::new());
    let marks = files
        .append(&[closed(1, at(1)), closed(2, at(2)), closed(3, at(3))])
        .expect("appends");
    let hour = hour_of(NOON);
    let path = dir.path().join(hour.to_string());
    let good = fs::read(&path).expect("read");
    let lines: Vec<&[u8]> = good.split_inclusive(|byte| *byte == b'\n').collect();
    let mut spoilt: Vec<Vec<u8>> = (0..good.len() * 8)
        .map(|bit| {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            bad
        })
        .collect();
    spoilt.extend((0..good.len()).map(|length| good[..length].to_vec()));
    spoilt.extend([
        [lines[0], lines[1], lines[3], lines[2]].concat(),
        [lines[0], lines[2], lines[2], lines[3]].concat(),
        vec![0; good.len()],
        vec![b'\n'; good.len()],
    ]);
    for bad in &spoilt {
        fs::write(&path, bad).expect("written");
        let told = files.verify(&mut |_| ()).expect("reads");
        assert!(told.len() == 1 && told[0].contains(&hour.to_string()), "{told:?}");
    }
    damage(dir.path(), &marks);
    fs::remove_file(&path).expect("removed");
    assert!(damage(dir.path(), &marks).contains("is missing"));
    // Another hour's file in this one's place, with the marks that fit its bytes.
    fs::write(dir.path().join((hour + 1).to_string()), &good).expect("written");
    damage(dir.path(), &Marks::from([(hour + 1, marks[&hour])]));
    // The same lines in other files were written under another first line.
    fs::write(&path, &good).expect("written");
    let wrong = Mark {
        sum: marks[&hour].sum ^ 1,
        ..marks[&hour]
    };
    damage(dir.path(), &Marks::from([(hour, wrong)]));
    opened(dir.path(), &marks);
}

#[test]
fn rows_of_the_engine_and_lines_of_the_log_are_one_list() {
    let dir = tempfile::tempdir().expect("folder");
    let log = Box::new(opened(dir.path(), &Marks::new()));
    // The engine lists its rows by id.
    let [early, late] = [closed(8, at(1)), closed(2, at(2))];
    let mut all = ClosedGrants::new(vec![late.clone(), early.clone()], log);
    let check = |all: &ClosedGrants, expected: &[&ClosedGrant]| {
        let newest = all.newest(9).expect("lists");
        assert_eq!(newest.iter().collect::<Vec<_>>(), expected);
        assert_eq!(all.newest(1).expect("lists").len(), 1);
        assert_eq!(all.totals().sum(), expected.len() as u64);
        for closed in expected {
            assert_eq!(all.find(closed.id).expect("reads").as_ref(), Some(*closed));
        }
    };
    check(&all, &[&late, &early]);
    let (rows, marks) = all.hand_over().expect("appends");
    assert_eq!((rows, marks.len()), (vec![early.id, late.id], 1));
    assert_eq!(all.recent(), 0);
    let newest = closed(5, at(3));
    all.add(newest.clone());
    assert_eq!(all.recent(), 1);
    check(&all, &[&newest, &late, &early]);
    assert_eq!(all.log().totals().sum(), 2);
}
