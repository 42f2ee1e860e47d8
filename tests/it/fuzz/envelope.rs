//! What stands in the store: envelopes and their records.

use std::sync::Arc;

use codeferry::store::engine::Engine as _;
use codeferry::store::sled_engine::SledEngine;
use codeferry::store::{Change, Disk, StoreOptions, Sync, read_values};
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::run::{Target, silent};
use crate::store::test_support;

/// A plain envelope around a payload: behind its head is where records are read.
fn plain(payload: &[u8]) -> Vec<u8> {
    [&[1, 0][..], payload].concat()
}

/// A length, a key with its table in front, a value: one input for all.
fn joined(key: &[u8], value: &[u8]) -> Vec<u8> {
    [&[key.len() as u8][..], key, value].concat()
}

fn apart(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = input.split_first()?;
    rest.split_at_checked(usize::from(*length))
        .filter(|(key, _)| !key.is_empty())
}

pub fn values() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = StoreOptions::new(folder.path().join("journal"), test_support::clock(test_support::NOON));
    let mut store = test_support::opened(folder.path()).store;
    let denied = |n| {
        Change::Close(test_support::closed(
            n,
            codeferry::grant::Outcome::Denied,
            test_support::NOON,
        ))
    };
    let mut changes = vec![
        test_support::put(1),
        Change::PutGrant(Arc::new(test_support::exchanged(2))),
        Change::PutGrant(Arc::new(test_support::settling(3, 60))),
        test_support::data(3, 9_000),
        Change::PutSpending {
            channel: test_support::CHANNEL,
            sent_at: vec![test_support::NOON; 3],
        },
        Change::MoveCursor {
            channel: test_support::CHANNEL,
            read_to: test_support::message(9),
        },
    ];
    // Enough for a file of closed grants, so that the records about those are tried too.
    changes.extend((10..30).map(denied));
    test_support::commit(&mut store, &changes);
    store.close().expect("closed");
    let disk = Disk::new(Sync::Counted, None);
    let mut engine = SledEngine::open(&options.path.join("engine"), 1, disk).expect("the engine's own files");
    let mut stored: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    // The first table is the write-ahead log's.
    for table in b'a'..=b'z' {
        let mut each = |key: &[u8], value: &[u8]| stored.push(([&[table], key].concat(), value.to_vec()));
        engine.scan(table, &mut each).expect("read");
    }
    drop(engine);
    let data = options.data_dir();
    let whole = stored.iter().map(|(k, v)| (k[0], &k[1..], &v[..]));
    let (loaded, problems) = read_values(data, whole).expect("the keys are there");
    assert_eq!((loaded.grants.len(), problems), (3, vec![]), "the good ones are read");

    let grant = postcard::to_stdvec(&test_support::exchanged(2)).expect("a record");
    let grants = stored
        .iter()
        .find(|(key, _)| key[0] == b'g')
        .expect("one is open")
        .0
        .clone();
    let mut corpus: Vec<_> = stored.iter().map(|(key, value)| joined(key, value)).collect();
    corpus.push(joined(&grants, &plain(&grant)));
    let tries = |input: &[u8], random: &mut StdRng| {
        let Some((key, value)) = apart(input) else { return };
        let mut value = value.to_vec();
        if random.random_bool(0.6) {
            value = plain(value.get(2..).unwrap_or_default());
        }
        let tried = [(key[0], &key[1..], &value[..])];
        let (loaded, problems) = read_values(data, tried).expect("the keys are there");
        silent(&format!("{problems:?}"));
        silent(&format!("{loaded:?}"));
    };
    Target {
        test: "no_stored_value_harms_a_start",
        name: "stored envelope",
        corpus: corpus.clone(),
        share: 30,
        tries: &tries,
    }
    .run();
}
