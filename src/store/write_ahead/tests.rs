//! The log in front of an engine in memory: what is kept, what is told apart, and what a commit costs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;
use crate::store::disk::Sync;

/// An engine that keeps everything, and counts its batches.
#[derive(Clone, Default)]
struct Memory {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    batches: usize,
}

impl Engine for Memory {
    fn apply(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.batches += 1;
        for (key, value) in batch.0 {
            match value {
                Some(value) => self.values.insert(key, value),
                None => self.values.remove(&key),
            };
        }
        Ok(())
    }
    fn read(&mut self, table: u8, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.values.get(&full_key(table, key)).cloned())
    }
    fn scan(&mut self, table: u8, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        for (key, value) in self.values.iter().filter(|(key, _)| key[0] == table) {
            each(&key[1..], value);
        }
        Ok(())
    }
    fn maintain(&mut self, _: bool) -> Result<(), StoreError> {
        Ok(())
    }
    fn verify(&mut self) -> Result<Vec<Problem>, StoreError> {
        Ok(Vec::new())
    }
    fn size(&self) -> u64 {
        0
    }
    fn room(&self) -> Result<Room, StoreError> {
        Err(StoreError::Closed)
    }
    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

struct Bench {
    _folder: tempfile::TempDir,
    path: PathBuf,
    disk: Disk,
}

impl Bench {
    fn new(log_bytes: usize) -> (Self, WriteAhead<Memory>) {
        let folder = tempfile::tempdir().expect("folder");
        let bench = Self {
            path: folder.path().join("log"),
            _folder: folder,
            disk: Disk::new(Sync::Counted, None),
        };
        let mut inner = Memory::default();
        WriteAhead::create(&mut inner, &bench.path, log_bytes).expect("made");
        let log = bench.open(inner).expect("opens");
        (bench, log)
    }

    fn open(&self, inner: Memory) -> Result<WriteAhead<Memory>, StoreError> {
        WriteAhead::open(inner, &self.path, self.disk.clone())
    }

    #[track_caller]
    fn refused(&self, inner: &Memory) -> String {
        match self.open(inner.clone()) {
            Err(e) => e.to_string(),
            Ok(_) => panic!("it should be refused"),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.path).expect("read")
    }

    fn write(&self, bytes: &[u8]) {
        std::fs::write(&self.path, bytes).expect("written");
    }
}

fn put(log: &mut WriteAhead<Memory>, key: u8, value: Option<&[u8]>) {
    let mut batch = Batch::default();
    match value {
        Some(value) => batch.put(b't', &[key], value.to_vec()),
        None => batch.remove(b't', &[key]),
    }
    log.apply(batch).expect("applies");
}

fn all(log: &mut WriteAhead<Memory>) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    log.scan(b't', &mut |key, value| found.push((key[0], value.to_vec())))
        .expect("scans");
    found
}

#[test]
fn a_commit_is_one_sync_and_reaches_the_engine_at_a_checkpoint() {
    let (bench, mut log) = Bench::new(64 * 1024);
    let (syncs, batches) = (bench.disk.syncs(), log.inner.batches);
    for n in 0..20 {
        put(&mut log, n, Some(b"value"));
    }
    assert_eq!((bench.disk.syncs() - syncs, log.inner.batches), (20, batches));
    for n in (0..20).filter(|n| n % 2 == 0) {
        put(&mut log, n, None);
    }
    assert_eq!(all(&mut log).len(), 10);
    log.checkpoint().expect("hands over");
    assert_eq!(log.inner.batches, batches + 1);
    // What came and went never reached it; its own record is there too.
    assert_eq!(log.inner.values.len(), 11);
    put(&mut log, 1, None);
    put(&mut log, 2, Some(b"between"));
    put(&mut log, 3, Some(b"newer"));
    let keys: Vec<_> = all(&mut log).into_iter().collect();
    assert_eq!(keys[0], (2, b"between".to_vec()));
    assert_eq!(keys[1], (3, b"newer".to_vec()));
    assert_eq!(keys.len(), 10);
    assert_eq!(log.verify().expect("verifies"), []);
    // A start finds the same.
    let before = all(&mut log);
    let mut again = bench.open(log.inner.clone()).expect("opens");
    assert_eq!((all(&mut again), again.commit), (before, log.commit));
}

#[test]
fn a_full_log_makes_room_and_a_batch_larger_than_the_log_is_kept() {
    let (bench, mut log) = Bench::new(16 * 1024);
    for round in 0..40_u8 {
        put(&mut log, round % 7, Some(&[round; 900]));
    }
    put(&mut log, 100, Some(&vec![1; 50_000]));
    put(&mut log, 101, Some(b"after it"));
    assert_eq!(bench.bytes().len(), 16 * 1024, "the file never grows");
    let mut again = bench.open(log.inner.clone()).expect("opens");
    assert_eq!(all(&mut again), all(&mut log));
    assert_eq!(again.commit, 42);
    assert_eq!(log.verify().expect("verifies"), []);
}

#[test]
fn a_crash_between_any_two_steps_of_a_checkpoint_loses_nothing() {
    let (bench, mut log) = Bench::new(1 << 20);
    for n in 0..=u8::MAX {
        for high in 0..5 {
            let mut batch = Batch::default();
            batch.put(b't', &[n, high], vec![n; 20]);
            log.apply(batch).expect("applies");
        }
    }
    let before = all(&mut log);
    assert!(before.len() > 2 * AT_ONCE);
    // The log as it is, and the engine after each of its batches.
    let mut writes = log.pending.clone().into_iter().peekable();
    let (frames, last) = (bench.bytes(), log.commit);
    while writes.peek().is_some() {
        let part: Writes = writes.by_ref().take(AT_ONCE).collect();
        let done = writes.peek().is_none();
        log.hand_over(part, if done { last } else { 0 }, done)
            .expect("hands over");
        let mut again = bench.open(log.inner.clone()).expect("opens");
        assert_eq!((all(&mut again), again.commit), (before.clone(), last));
        // Opening has changed nothing; settling starts a new epoch, in which everything is still there.
        assert!(bench.bytes() == frames);
        again.maintain(true).expect("settles");
        put(&mut again, 0, Some(b"new"));
        let mut settled = bench.open(again.inner.clone()).expect("opens");
        assert_eq!(all(&mut settled), all(&mut again));
        bench.write(&frames);
    }
}

#[test]
fn crashes_one_after_another_within_a_checkpoint_lose_nothing() {
    let (bench, mut log) = Bench::new(1 << 20);
    put(&mut log, 1, Some(b"old"));
    let pending = std::mem::take(&mut log.pending);
    log.hand_over(pending, log.commit, true).expect("hands over");
    // The header was not written. What the next process does first must not depend on it any more.
    let frames = bench.bytes();
    let mut again = bench.open(log.inner.clone()).expect("opens");
    again.maintain(true).expect("settles");
    bench.write(&frames);
    let mut third = bench
        .open(again.inner.clone())
        .expect("opens after a crash before the header was written");
    put(&mut third, 2, Some(b"new"));
    let mut last = bench.open(third.inner.clone()).expect("opens");
    assert_eq!(all(&mut last), [(1, b"old".to_vec()), (2, b"new".to_vec())]);
}

#[test]
fn a_torn_last_frame_was_never_acknowledged_and_any_other_damage_is_told() {
    let (bench, mut log) = Bench::new(16 * 1024);
    for n in 0..3 {
        put(&mut log, n, Some(&[n; 200]));
    }
    let good = bench.bytes();
    let frame = |n: usize| 2 * 4096 + n * 256;
    // Torn in its middle: the commit before it is the last one.
    let mut torn = good.clone();
    torn[frame(2) + 100..frame(3)].fill(0);
    bench.write(&torn);
    let mut again = bench.open(log.inner.clone()).expect("opens");
    assert_eq!((all(&mut again).len(), again.commit), (2, 2));
    // So is one that never began; the next commit takes its place.
    again.maintain(true).expect("settles");
    put(&mut again, 9, Some(b"next"));
    assert_eq!(bench.open(again.inner.clone()).expect("opens").commit, 3);
    // With a sound frame behind it, it was acknowledged.
    for bit in 0..8 * 256 {
        let mut bad = good.clone();
        bad[frame(1) + bit / 8] ^= 1 << (bit % 8);
        bench.write(&bad);
        if bit / 8 < FRAME_BYTES {
            let told = bench.refused(&log.inner);
            assert!(told.contains("high_water_mark"), "bit {bit}: {told}");
        } else {
            bench.open(log.inner.clone()).expect("the padding says nothing");
        }
    }
    // And so was the last one, once the header says so.
    bench.write(&good);
    log.maintain(true).expect("rests");
    let rested = bench.bytes();
    for bit in 0..8 * FRAME_BYTES {
        let mut bad = rested.clone();
        bad[frame(2) + bit / 8] ^= 1 << (bit % 8);
        bench.write(&bad);
        let told = bench.refused(&log.inner);
        assert!(told.contains("high_water_mark"), "bit {bit}: {told}");
    }
    // A file that was cut is no log, wherever.
    for length in [rested.len() - 1, frame(1), 4096, 10, 0] {
        bench.write(&rested[..length]);
        bench.refused(&log.inner);
    }
}

/// A frame's head, and a payload of one key of two bytes and a value of 200.
const FRAME_BYTES: usize = 32 + 1 + 2 + 4 + 200;

#[test]
fn a_damaged_header_is_told_or_leaves_everything_as_it_was() {
    let (bench, mut log) = Bench::new(16 * 1024);
    put(&mut log, 1, Some(b"one"));
    log.checkpoint().expect("hands over");
    put(&mut log, 2, Some(b"two"));
    let expected = all(&mut log);
    let (good, mut told) = (bench.bytes(), 0);
    for slot in [0, 4096] {
        for at in 0..52 {
            let mut bad = good.clone();
            bad[slot + at] ^= 1;
            bench.write(&bad);
            match bench.open(log.inner.clone()) {
                Ok(mut again) => assert_eq!(all(&mut again), expected, "{slot} {at}"),
                Err(_) => told += 1,
            }
        }
    }
    assert_eq!(told, 52, "the newer one is needed");
}

#[test]
fn an_engine_that_lost_or_brought_back_anything_is_told() {
    let (bench, mut log) = Bench::new(16 * 1024);
    for n in 0..4 {
        put(&mut log, n, Some(&[n]));
    }
    log.checkpoint().expect("hands over");
    let earlier = (log.inner.clone(), bench.bytes());
    put(&mut log, 0, Some(b"changed"));
    put(&mut log, 1, None);
    log.checkpoint().expect("hands over");
    let good = log.inner.clone();
    for key in [[b't', 0], [b't', 2]] {
        let mut bad = good.clone();
        bad.values.remove(&key[..]);
        assert!(bench.refused(&bad).contains("digest"));
        bad.values.insert(key.to_vec(), vec![77]);
        assert!(bench.refused(&bad).contains("digest"));
    }
    let mut back = good.clone();
    back.values.insert(vec![b't', 1], vec![1]);
    assert!(bench.refused(&back).contains("digest"));
    // An older engine under a newer log, and an older log under a newer engine with commits behind it.
    assert!(bench.refused(&earlier.0).contains("high_water_mark"));
    put(&mut log, 5, Some(b"later"));
    log.checkpoint().expect("hands over");
    bench.write(&earlier.1);
    assert!(bench.refused(&log.inner).contains("high_water_mark"));
}
