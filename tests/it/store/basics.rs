//! Every change, read back after reopening; closed grants; sealing keys.

use codeferry::grant::Outcome;
use codeferry::ids::{ChannelId, GrantId, Lane};
use codeferry::store::{Change, SeenCode, SeenMessage, SourceMessage, Store, UsedNonce};
use codeferry::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

use super::test_support::*;

#[test]
fn every_change_reads_back_after_a_clean_end_and_after_a_kill() {
    let dir = tempfile::tempdir().expect("folder");
    let mut store = opened(dir.path()).store;
    let source_message = SourceMessage {
        message: message(1),
        lane: Lane(3),
        channel: CHANNEL,
        unspent: 2,
        attempts: 1,
        not_before: NOON,
    };
    let seen = SeenMessage {
        message: message(1),
        channel: CHANNEL,
    };
    let code = SeenCode {
        hash: hash(1),
        message: message(1),
        channel: CHANNEL,
    };
    let nonce = UsedNonce {
        nonce: [9; 8],
        keep_until: NOON,
    };
    let many: Vec<_> = (0..1000).map(|n| NOON + Duration::from_secs(n)).collect();
    commit(
        &mut store,
        &[
            put(1),
            put(2),
            data(2, 100),
            Change::PutSourceMessage(source_message.clone()),
            Change::PutSourceMessage(SourceMessage {
                message: message(2),
                ..source_message.clone()
            }),
            Change::SeeMessage(seen),
            Change::SeeMessage(SeenMessage {
                message: message(2),
                ..seen
            }),
            Change::SeeCode(code),
            Change::SeeCode(SeenCode { hash: hash(2), ..code }),
            Change::UseNonce(nonce),
            Change::UseNonce(UsedNonce { nonce: [8; 8], ..nonce }),
            Change::MoveCursor {
                channel: CHANNEL,
                read_to: message(7),
            },
            Change::PutSpending {
                channel: CHANNEL,
                sent_at: vec![NOON, Timestamp::from_millis(-5)],
            },
            Change::PutSpending {
                channel: ChannelId(CHANNEL.0 + 1),
                sent_at: many.clone(),
            },
        ],
    );
    commit(
        &mut store,
        &[
            Change::PutGrant(Arc::new(exchanged(1))),
            Change::RemoveSourceMessage(message(2)),
            Change::Forget {
                messages: vec![message(2)],
                codes: vec![hash(2)],
                nonces: vec![[8; 8]],
            },
            Change::Close(closed(3, Outcome::Denied, NOON)),
        ],
    );
    let killed = tempfile::tempdir().expect("folder");
    copy(dir.path(), killed.path());
    store.close().expect("closes");
    for dir in [dir.path(), killed.path()] {
        let again = opened(dir);
        let mut store = again.store;
        let mut loaded = again.loaded;
        loaded.grants.sort_by_key(|g| g.id);
        assert_eq!(loaded.grants, [exchanged(1), grant(2)]);
        assert_eq!(loaded.source_messages, std::slice::from_ref(&source_message));
        assert_eq!(loaded.messages, [seen]);
        assert_eq!(loaded.codes, [code]);
        assert_eq!(loaded.nonces, [nonce]);
        assert_eq!(loaded.cursors.into_iter().collect::<Vec<_>>(), [(CHANNEL, message(7))]);
        assert_eq!(
            loaded.spending.into_iter().collect::<Vec<_>>(),
            [
                (CHANNEL, vec![NOON, Timestamp::from_millis(-5)]),
                (ChannelId(CHANNEL.0 + 1), many.clone())
            ]
        );
        assert_eq!(loaded.closed, 1);
        let data = store.data(id(2)).expect("reads").expect("there");
        assert_eq!(data.expose(), person(2, 100));
        assert_eq!(store.data(id(1)).expect("reads"), None);
        assert_eq!(
            store.closed(id(3)).expect("reads"),
            Some(closed(3, Outcome::Denied, NOON))
        );
        assert_eq!(store.verify().expect("verifies"), []);
    }
}

#[test]
fn large_records_are_stored_in_pieces_and_shrink_again() {
    let dir = tempfile::tempdir().expect("folder");
    let mut store = opened(dir.path()).store;
    let large = settling(1, 60);
    commit(
        &mut store,
        &[Change::PutGrant(Arc::new(large.clone())), data(1, 100_000)],
    );
    for length in [679, 680, 681, 1_360, 50_000] {
        commit(&mut store, &[data(1, length)]);
        let read = store.data(id(1)).expect("reads").expect("there");
        assert_eq!(read.expose(), person(1, length));
        assert_eq!(store.verify().expect("verifies"), []);
    }
    drop(store);
    let again = opened(dir.path());
    assert_eq!(again.loaded.grants, [large]);
    let mut store = again.store;
    commit(&mut store, &[put(1), data(1, 10)]);
    assert_eq!(store.verify().expect("verifies"), []);
    drop(store);
    // As many leaves full of full pieces as can be, and merged again.
    let mut store = opened(dir.path()).store;
    for n in 10..60 {
        commit(&mut store, &[put(n), data(n, 6_000)]);
    }
    for n in (10..60).step_by(2) {
        commit(&mut store, &[Change::Close(closed(n, Outcome::Denied, NOON))]);
    }
    for n in (11..60).step_by(2) {
        commit(&mut store, &[data(n, 9_000)]);
    }
    assert_eq!(store.verify().expect("verifies"), []);
    let blobs = std::fs::read_dir(dir.path().join("journal/engine/blobs")).expect("listed");
    assert_eq!(blobs.count(), 0, "blob files are never synced by the engine");
}

#[test]
fn the_last_change_of_a_record_in_a_batch_wins() {
    let dir = tempfile::tempdir().expect("folder");
    let mut store = opened(dir.path()).store;
    commit(
        &mut store,
        &[
            data(1, 50),
            put(1),
            Change::PutGrant(Arc::new(exchanged(1))),
            put(2),
            data(2, 50),
            Change::Close(closed(2, Outcome::Expired, NOON)),
            Change::Close(closed(2, Outcome::Dropped, NOON)),
        ],
    );
    assert_eq!(store.verify().expect("verifies"), []);
    assert!(store.data(id(1)).expect("reads").is_some());
    assert!(store.data(id(2)).expect("reads").is_none());
    drop(store);
    assert_eq!(opened(dir.path()).loaded.grants, [exchanged(1)]);
}

#[test]
fn a_closed_state_closes_and_data_without_an_open_grant_is_not_kept() {
    let dir = tempfile::tempdir().expect("folder");
    let mut store = opened(dir.path()).store;
    let mut ended = grant(1);
    ended.state = codeferry::grant::State::Closed(closed(1, Outcome::Expired, NOON));
    commit(&mut store, &[put(1), Change::PutGrant(Arc::new(ended))]);
    commit(&mut store, &[data(1, 50), data(2, 50)]);
    assert_eq!(store.data(id(1)).expect("reads"), None);
    assert_eq!(store.data(id(2)).expect("reads"), None);
    assert!(store.closed(id(1)).expect("reads").is_some());
    assert_eq!(store.verify().expect("verifies"), []);
}

#[test]
fn a_grant_that_has_closed_stays_as_it_ended() {
    let dir = tempfile::tempdir().expect("folder");
    let mut store = opened(dir.path()).store;
    let end = |outcome, secs| Change::Close(closed(2, outcome, NOON + Duration::from_secs(secs)));
    commit(
        &mut store,
        &[put(2), end(Outcome::Expired, 0), end(Outcome::Dropped, 0)],
    );
    assert_eq!(closed_files(dir.path()), Vec::<std::path::PathBuf>::new());
    // Once while it is in the engine, and once while it is in a file.
    commit(&mut store, &[end(Outcome::Lost, 1)]);
    let others: Vec<_> = (10..60)
        .map(|n| Change::Close(closed(n, Outcome::Denied, NOON)))
        .collect();
    commit(&mut store, &others);
    assert_eq!(closed_files(dir.path()).len(), 1);
    commit(&mut store, &[end(Outcome::Lost, 1)]);
    let totals = store.closed_totals().expect("counts");
    assert_eq!((totals.of(Outcome::Expired), totals.sum()), (1, 51));
    let found = store.closed(id(2)).expect("reads").expect("kept");
    assert_eq!(found, closed(2, Outcome::Expired, NOON));
    assert_eq!(store.verify().expect("verifies"), []);
}

#[test]
fn closed_grants_are_listed_counted_and_swept_by_the_hour_they_closed_in() {
    let dir = tempfile::tempdir().expect("folder");
    let mut store = opened(dir.path()).store;
    // Ten in each hour, in the opposite order of their ids.
    let at = |n: u64| NOON + Duration::from_mins(6 * (100 - n) - 5);
    for n in (0..100).rev() {
        let outcome = Outcome::ALL[n as usize % Outcome::ALL.len()];
        commit(&mut store, &[Change::Close(closed(n, outcome, at(n)))]);
    }
    let listed = |store: &mut Box<dyn Store>, limit: usize| -> Vec<GrantId> {
        let newest = store.newest_closed(limit).expect("lists");
        newest.into_iter().map(|c| c.id).collect()
    };
    let ids: Vec<_> = (0..100).map(id).collect();
    for limit in [0, 1, 3, 50, 99] {
        assert_eq!(listed(&mut store, limit), ids[..limit]);
    }
    assert_eq!(listed(&mut store, usize::MAX), ids);
    let totals = store.closed_totals().expect("counts");
    assert_eq!((totals.sum(), totals.of(Outcome::Completed)), (100, 12));

    assert_eq!(store.sweep_closed(at(89)).expect("sweeps"), 10);
    assert!(store.closed(id(90)).expect("reads").is_none());
    assert!(store.closed(id(89)).expect("reads").is_some());
    assert_eq!(listed(&mut store, usize::MAX), ids[..90]);
    // In the middle of an hour: what closed in it stays until it is over.
    assert_eq!(store.sweep_closed(at(64)).expect("sweeps"), 20);
    assert_eq!(store.sweep_closed(at(60)).expect("sweeps"), 0);
    assert_eq!(
        store.sweep_closed(at(90)).expect("sweeps"),
        0,
        "a clock that stepped back"
    );
    assert_eq!(store.closed_totals().expect("counts").sum(), 70);
    assert_eq!(closed_files(dir.path()).len(), 7);
    assert_eq!(store.verify().expect("verifies"), []);
    drop(store);
    let again = opened(dir.path());
    assert_eq!(again.loaded.closed, 70);
    let mut store = again.store;
    assert_eq!(listed(&mut store, usize::MAX), ids[..70]);
    // What closes while the clock is behind is there until its hour is swept.
    commit(&mut store, &[Change::Close(closed(200, Outcome::Denied, NOON))]);
    assert!(store.closed(id(200)).expect("reads").is_some());
    let end = at(0) + Duration::from_hours(1);
    assert_eq!(store.sweep_closed(end).expect("sweeps"), 71);
    assert_eq!(listed(&mut store, usize::MAX), []);
    assert_eq!(
        closed_files(dir.path()),
        Vec::<std::path::PathBuf>::new(),
        "nothing is left of them"
    );
    assert_eq!(store.verify().expect("verifies"), []);
}

#[test]
fn nothing_secret_or_personal_stands_in_the_files() {
    let dir = tempfile::tempdir().expect("folder");
    let mut store = opened(dir.path()).store;
    commit(
        &mut store,
        &[put(1), Change::PutGrant(Arc::new(settling(2, 3))), data(2, 9000)],
    );
    commit(&mut store, &[Change::PutGrant(Arc::new(exchanged(1)))]);
    drop(store);
    let mut files = 0;
    let mut folders = vec![dir.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("listed") {
            let path = entry.expect("listed").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let bytes = std::fs::read(&path).expect("read");
            for canary in [&b"CANARY"[..], b"80000000000000001", b"identify"] {
                let found = bytes.windows(canary.len()).any(|w| w == canary);
                assert!(!found, "{} holds {}", path.display(), String::from_utf8_lossy(canary));
            }
        }
    }
    assert!(files > 4);
}

#[test]
fn a_destroyed_key_leaves_old_bytes_unopenable() {
    let dir = tempfile::tempdir().expect("folder");
    let mut store = opened(dir.path()).store;
    commit(&mut store, &[put(1), data(1, 500)]);
    let old = tempfile::tempdir().expect("folder");
    copy(&dir.path().join("journal"), &old.path().join("journal"));
    let key = dir
        .path()
        .join("keys/seal")
        .join(codeferry::store::keys::hour_of(NOON).to_string());
    assert!(key.exists());
    commit(&mut store, &[Change::Close(closed(1, Outcome::Completed, NOON))]);
    store.maintain().expect("maintains");
    assert!(key.exists(), "the hour is not over: other grants may still come in it");
    let hour = Duration::from_hours(1);
    assert_eq!(store.destroy_idle_keys(NOON).expect("destroys"), 0);
    assert_eq!(store.destroy_idle_keys(NOON + hour).expect("destroys"), 1);
    assert!(!key.exists());
    copy(&dir.path().join("keys"), &old.path().join("keys"));
    let e = refused(old.path()).to_string();
    assert!(e.contains("sealing key") && e.contains("is missing"), "{e}");
    // Even the next key of that hour opens nothing old.
    commit(&mut store, &[put(2)]);
    copy(&dir.path().join("keys"), &old.path().join("keys"));
    let e = refused(old.path()).to_string();
    assert!(e.contains("the tag does not match"), "{e}");
}

#[test]
fn keys_are_destroyed_after_the_hours_last_grant_has_closed_and_at_the_end() {
    let dir = tempfile::tempdir().expect("folder");
    let hour = Duration::from_hours(1);
    let mut store = codeferry::store::open(&codeferry::store::StoreOptions {
        clock: clock(NOON + hour),
        ..options(dir.path())
    })
    .expect("opens")
    .store;
    let keys = || std::fs::read_dir(dir.path().join("keys/seal")).expect("listed").count();
    commit(&mut store, &[put(1), put(2)]);
    let late = grant_at(NOON + hour, 3);
    commit(&mut store, &[Change::PutGrant(Arc::new(late.clone()))]);
    store.maintain().expect("maintains");
    assert_eq!(keys(), 2);
    commit(&mut store, &[Change::Close(closed(1, Outcome::Completed, NOON))]);
    store.maintain().expect("maintains");
    assert_eq!(keys(), 2, "grant 2 is still open");
    commit(&mut store, &[Change::Close(closed(2, Outcome::Completed, NOON))]);
    store.maintain().expect("maintains");
    assert_eq!(keys(), 1, "the hour is over and empty");
    let mut end = closed(3, Outcome::Completed, NOON);
    end.id = late.id;
    commit(&mut store, &[Change::Close(end)]);
    store.maintain().expect("maintains");
    assert_eq!(keys(), 1, "the hour still runs");
    store.close().expect("closes");
    assert_eq!(keys(), 0, "nothing is open");
}
