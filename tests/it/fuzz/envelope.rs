//! What stands in the store: envelopes, their records, and the pieces of one record.

use codeferry::store::{Change, StoreOptions, read_values};
use rand::RngExt as _;
use rand::rngs::StdRng;
use sha2::{Digest as _, Sha256};

use super::mutate::pick;
use super::run::{Target, silent};
use crate::store::test_support;

/// Where a plain envelope's payload begins.
const PLAIN_HEAD: usize = 22;

/// The name that is bound into the envelopes of a table, by the first byte of its keys.
fn table(first: u8) -> Option<&'static str> {
    Some(match first {
        b'!' => "meta",
        b'b' => "spending",
        b'c' => "closed",
        b'd' => "data",
        b'g' => "grants",
        b'h' => "codes",
        b'i' => "identifies",
        b'm' => "source_messages",
        b'n' => "nonces",
        b'r' => "cursors",
        b's' => "messages",
        b't' => "closed_at",
        _ => return None,
    })
}

/// A plain envelope around a payload, rightly tagged: behind the tag is where records are read.
fn plain(key: &[u8], pieces: u16, payload: &[u8]) -> Vec<u8> {
    let name = table(key[0]).unwrap_or("grants");
    let head = [&[0xCF, 0x5E, 1, 0][..], &pieces.to_be_bytes()].concat();
    let mut sum = Sha256::new().chain_update(b"codeferry");
    for part in [&head[..], name.as_bytes(), key] {
        sum = sum.chain_update([part.len() as u8]).chain_update(part);
    }
    let tag = sum.chain_update(payload).finalize();
    [&head[..], &tag[..16], payload].concat()
}

/// A length, a key, a value: one input for both.
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
        Change::PutGrant(Box::new(test_support::exchanged(2))),
        Change::PutGrant(Box::new(test_support::settling(3, 60))),
        test_support::data(3, 9_000),
        Change::PutSpending {
            channel: test_support::CHANNEL,
            sent_at: vec![test_support::NOON; 3],
        },
        Change::PutIdentifies(vec![test_support::NOON]),
        Change::MoveCursor {
            channel: test_support::CHANNEL,
            read_to: test_support::message(9),
        },
    ];
    // Enough for files of closed grants, so that the records about those are tried too.
    changes.extend((10..30).map(denied));
    test_support::commit(&mut store, &changes);
    store.close().expect("closed");
    let engine = sled::Config::new()
        .path(options.path.join("engine"))
        .segment_size(64 * 1024);
    let engine = engine.open().expect("the engine's own files");
    let stored: Vec<(Vec<u8>, Vec<u8>)> = engine
        .iter()
        .map(|item| item.map(|(k, v)| (k.to_vec(), v.to_vec())).expect("read"))
        .collect();
    drop(engine);
    let data = options.data_dir();
    let whole = stored.iter().map(|(k, v)| (&k[..], &v[..]));
    let (loaded, problems) = read_values(data, whole).expect("the keys are there");
    assert_eq!((loaded.grants.len(), problems), (3, vec![]), "the good ones are read");

    let grant = serde_json::to_vec(&test_support::exchanged(2)).expect("a record");
    let grants = stored
        .iter()
        .find(|(key, _)| key[0] == b'g')
        .expect("one is open")
        .0
        .clone();
    let mut corpus: Vec<_> = stored.iter().map(|(key, value)| joined(key, value)).collect();
    corpus.push(joined(&grants, &plain(&grants, 1, &grant)));
    let tries = |input: &[u8], random: &mut StdRng| {
        let Some((key, value)) = apart(input) else { return };
        let mut value = value.to_vec();
        if random.random_bool(0.6) {
            let payload = value.get(PLAIN_HEAD..).unwrap_or_default();
            let pieces = *pick(&[1, 1, 1, 0, 2, u16::MAX], random);
            value = plain(key, pieces, payload);
        }
        // Alone, and among its neighbours: the pieces of one record follow each other.
        let place = stored.partition_point(|(k, _)| &k[..] < key);
        let near = &stored[place.saturating_sub(2)..stored.len().min(place + 2)];
        let mut among: Vec<_> = near.iter().map(|(k, v)| (&k[..], &v[..])).collect();
        among.insert(place.min(2), (key, &value));
        let tried = if random.random_bool(0.2) {
            among
        } else {
            vec![(key, &value[..])]
        };
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
