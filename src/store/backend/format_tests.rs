//! The stored formats: what versions 1 and 2 have written loads for ever.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::disk::Sync;
use super::{Sizes, StoreOptions, open};
use crate::grant::state::{
    Attempts, Delivery, DeliveryState, Invitation, Origin, Presentations, Requested, Revocation, Settling, Token,
};
use crate::grant::{ClosedGrant, Grant, Outcome, Reason, State};
use crate::ids::{ChannelId, CodeHash, GrantId, Lane, MessageId, UserId};
use crate::secret::{AccessToken, AuthorizationCode, PersonalData, RawState};
use crate::store::change::{Change, Loaded, SeenCode, SeenMessage, SourceMessage, UsedNonce};
use crate::store::error::OpenError;
use crate::time::{Clock, Timestamp};

const VERSION_1: &str = include_str!("../../../tests/it/fixtures/store-v1.json");
const VERSION_2: &str = include_str!("../../../tests/it/fixtures/store-v2.json");
const NOON: Timestamp = Timestamp::from_secs(1_786_363_204);
const CHANNEL: ChannelId = ChannelId(1_536_000_000_000_000_002);

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        NOON
    }
}

/// Keys and values as the engine holds them, the sealing keys, and the files of closed grants, in hexadecimal.
#[derive(Serialize, Deserialize)]
struct Fixture {
    seal_keys: BTreeMap<String, String>,
    records: BTreeMap<String, String>,
    #[serde(default)]
    segments: BTreeMap<String, String>,
}

fn options(dir: &Path) -> StoreOptions {
    StoreOptions {
        sync: Sync::Counted,
        reserve_bytes: 4096,
        // Two of the nine closed grants in a block, one block in a file.
        sizes: Sizes {
            block: 60,
            segment: 60,
            ..Sizes::default()
        },
        ..StoreOptions::new(dir.join("journal"), Arc::new(Noon))
    }
}

fn grant(n: u64, state: State) -> Grant {
    Grant {
        id: GrantId::new(NOON, u128::from(n)),
        origin: Origin {
            lane: Lane(1),
            message: MessageId(1_536_343_372_988_416_000 + n),
            index: 2,
        },
        received_at: NOON,
        deadline: Timestamp::from_millis(NOON.as_millis() + 100_000),
        redirected_at: (n == 1).then_some(NOON),
        code_hash: Some(CodeHash([n as u8; 16])),
        requested: Requested {
            user: Some(UserId(80_000_000_000_000_001)),
            purpose: Some(0),
            nonce: Some(n.to_be_bytes()),
            pkce: true,
            again: false,
            raw: Some(RawState::new("s1.example")),
        },
        person: Some(UserId(80_000_000_000_000_001)),
        state,
    }
}

/// One grant in every state.
fn grants() -> Vec<Grant> {
    let presentations = Presentations {
        count: 1,
        unclear: 2,
        cut_off: 3,
        not_before: NOON,
    };
    let attempts = Attempts::owed_since(NOON);
    let delivery = |state| Delivery {
        state,
        attempts,
        uncertain: true,
    };
    let settling = |reason, revocation| {
        State::Settling(Settling {
            outcome: Outcome::Failed,
            reason,
            settled_at: NOON,
            scopes: vec!["identify".into(), "connections".into()],
            missing: vec!["guilds".into()],
            has_data: false,
            deliveries: [
                ("a".into(), delivery(DeliveryState::Owed)),
                ("b".into(), delivery(DeliveryState::Parked)),
                ("c".into(), delivery(DeliveryState::Done)),
                ("d".into(), delivery(DeliveryState::GaveUp)),
            ]
            .into(),
            revocation,
            invitation: Invitation::default(),
        })
    };
    let code = || AuthorizationCode::new("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123");
    let states = [
        State::Received {
            code: code(),
            presentations: Presentations::default(),
        },
        State::Exchanging {
            code: code(),
            presentations,
        },
        State::Exchanged {
            token: Token {
                access: AccessToken::new("example-token"),
                scopes: vec!["identify".into()],
            },
            attempts,
            unauthorized: 1,
        },
        settling(
            Some(Reason::new("token_dead")),
            Revocation::Owed {
                token: AccessToken::new("example-token"),
                attempts,
            },
        ),
        settling(None, Revocation::Done),
        settling(None, Revocation::NotNeeded),
    ];
    (1..).zip(states).map(|(n, state)| grant(n, state)).collect()
}

fn data() -> String {
    format!("{{\"user\":\"{}\"}}", "example ".repeat(600))
}

fn closed(n: u64, outcome: Outcome) -> ClosedGrant {
    ClosedGrant {
        id: GrantId::new(NOON, u128::from(100 + n)),
        received_at: NOON,
        closed_at: NOON,
        lane: Lane(1),
        outcome,
        reason: Some(Reason::new("other")),
    }
}

fn changes() -> Vec<Change> {
    let message = MessageId(1_536_343_372_988_416_001);
    let mut changes: Vec<_> = grants().into_iter().map(|g| Change::PutGrant(Box::new(g))).collect();
    changes.extend((0..).zip(Outcome::ALL).map(|(n, o)| Change::Close(closed(n, o))));
    changes.extend([
        Change::PutData {
            grant: grants()[3].id,
            data: PersonalData::new(data()),
        },
        Change::PutSourceMessage(SourceMessage {
            message,
            lane: Lane(1),
            channel: CHANNEL,
            unspent: 3,
            attempts: 2,
            not_before: NOON,
        }),
        Change::SeeMessage(SeenMessage {
            message,
            channel: CHANNEL,
        }),
        Change::SeeCode(SeenCode {
            hash: CodeHash([5; 16]),
            message,
            channel: CHANNEL,
        }),
        Change::UseNonce(UsedNonce {
            nonce: [6; 8],
            keep_until: NOON,
        }),
        Change::MoveCursor {
            channel: CHANNEL,
            read_to: message,
        },
        Change::PutSpending {
            channel: CHANNEL,
            sent_at: vec![NOON, NOON],
        },
        Change::PutIdentifies(vec![NOON]),
    ]);
    changes
}

fn check_loaded(mut loaded: Loaded) {
    let message = MessageId(1_536_343_372_988_416_001);
    loaded.grants.sort_by_key(|g| g.id);
    assert_eq!(loaded.grants, grants());
    assert_eq!(loaded.closed, 9);
    assert_eq!(loaded.source_messages.len(), 1);
    assert_eq!(
        (loaded.source_messages[0].unspent, loaded.source_messages[0].attempts),
        (3, 2)
    );
    assert_eq!(loaded.messages[0].message, message);
    assert_eq!(loaded.codes[0].hash, CodeHash([5; 16]));
    assert_eq!(loaded.nonces[0].keep_until, NOON);
    assert_eq!(loaded.cursors.get(&CHANNEL), Some(&message));
    assert_eq!(loaded.spending.get(&CHANNEL), Some(&vec![NOON, NOON]));
    assert_eq!(loaded.identifies, [NOON]);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, b| text + &format!("{b:02x}"))
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|n| u8::from_str_radix(&text[2 * n..2 * n + 2], 16).expect("hexadecimal"))
        .collect()
}

/// Puts raw records into a new store's engine, in place of its own.
fn store_with(dir: &Path, fixture: &Fixture) {
    drop(open(&options(dir)).expect("a new store").store);
    for (hour, key) in &fixture.seal_keys {
        std::fs::write(dir.join("keys/seal").join(hour), unhex(key)).expect("written");
    }
    for (name, bytes) in &fixture.segments {
        std::fs::write(dir.join("journal/closed").join(name), unhex(bytes)).expect("written");
    }
    let engine = dir.join("journal/engine");
    super::host::wait_until_released(&engine.join("db")).expect("free");
    let db = super::open::configuration(&engine, &options(dir))
        .open()
        .expect("opens");
    for (key, value) in &fixture.records {
        db.insert(unhex(key), unhex(value)).expect("inserted");
    }
    db.flush().expect("flushed");
}

fn dump(dir: &Path) -> Fixture {
    let engine = dir.join("journal/engine");
    super::host::wait_until_released(&engine.join("db")).expect("free");
    let db = super::open::configuration(&engine, &options(dir))
        .open()
        .expect("opens");
    let records = db.iter().map(|item| {
        let (key, value) = item.expect("read");
        (hex(&key), hex(&value))
    });
    let files = |folder: &str| -> BTreeMap<String, String> {
        let listed = std::fs::read_dir(dir.join(folder)).expect("listed").map(|entry| {
            let path = entry.expect("listed").path();
            let name = path.file_name().expect("named").to_str().expect("text").to_owned();
            (name, hex(&std::fs::read(path).expect("read")))
        });
        listed.collect()
    };
    Fixture {
        records: records.collect(),
        seal_keys: files("keys/seal"),
        segments: files("journal/closed"),
    }
}

/// Opens what an earlier program has written: everything is there.
fn check_loads(dir: &Path) {
    let opened = open(&options(dir)).unwrap_or_else(|e| panic!("it should load: {e}"));
    check_loaded(opened.loaded);
    let mut store = opened.store;
    let read = store.data(grants()[3].id).expect("reads").expect("there");
    assert_eq!(read.expose(), data());
    for (n, outcome) in (0..).zip(Outcome::ALL) {
        let end = closed(n, outcome);
        assert_eq!(store.closed(end.id).expect("reads"), Some(end));
    }
    assert_eq!(store.newest_closed(100).expect("lists").len(), 9);
    assert_eq!(store.verify().expect("verifies"), []);
    store.close().expect("closes");
}

#[test]
fn what_version_1_has_written_loads_and_its_closed_grants_are_moved_once() {
    let fixture: Fixture = serde_json::from_str(VERSION_1).expect("the fixture is JSON");
    let dir = tempfile::tempdir().expect("folder");
    store_with(dir.path(), &fixture);
    let format = dir.path().join("journal/FORMAT");
    std::fs::write(&format, "1\n").expect("written");
    for _ in 0..2 {
        check_loads(dir.path());
        assert_eq!(std::fs::read_to_string(&format).expect("read"), "2\n");
    }
    let now = dump(dir.path());
    let old = |key: &&String| key.starts_with("63") || key.starts_with("74");
    assert_eq!(now.records.keys().find(old), None);
    assert!(!now.segments.is_empty());
}

#[test]
fn a_move_that_was_cut_off_goes_on() {
    let fixture: Fixture = serde_json::from_str(VERSION_1).expect("the fixture is JSON");
    let dir = tempfile::tempdir().expect("folder");
    store_with(dir.path(), &fixture);
    // A part has moved: grants that version 1 never had stand for it.
    let mut store = open(&options(dir.path())).expect("opens").store;
    let moved: Vec<_> = (20..30).map(|n| Change::Close(closed(n, Outcome::Denied))).collect();
    store.commit(&moved).expect("commits");
    drop(store);
    let mut mixed = dump(dir.path());
    let key = hex(&super::write::meta_key());
    let mut meta = super::meta::Meta::decode(&unhex(&mixed.records[&key])[22..]).expect("it reads");
    for n in 0..9 {
        // The nine of version 1 are in the log by now, and there once more under other ids.
        let old = closed(40 + n, Outcome::Expired);
        let mut bytes = [super::record::sortable(NOON); 2].concat();
        bytes.extend_from_slice(&[1, 2]);
        bytes.extend_from_slice(b"other");
        let address = super::record::Address::grant(super::record::Table::Closed, old.id);
        for (address, payload) in [(address, bytes), (super::record::Address::closed_at(&old), Vec::new())] {
            let key = address.piece(0);
            let value = crate::store::seal::wrap(address.place(&key), 1, &payload);
            meta.add(crate::store::seal::head(&value).expect("a head").tag);
            mixed.records.insert(hex(&key), hex(&value));
        }
        meta.closed.add(Outcome::Expired);
    }
    mixed.records.insert(key, hex(&super::write::meta_value(&meta)));
    let dir = tempfile::tempdir().expect("folder");
    store_with(dir.path(), &mixed);
    let opened = open(&options(dir.path())).unwrap_or_else(|e| panic!("it should open: {e}"));
    assert_eq!(opened.loaded.closed, 28);
    assert!(opened.notices.iter().any(|n| n.contains("9 closed grants were moved")));
    let mut store = opened.store;
    assert_eq!(store.closed_totals().expect("counts").sum(), 28);
    for (n, outcome) in [(0, Outcome::ALL[0]), (25, Outcome::Denied), (44, Outcome::Expired)] {
        let end = closed(n, outcome);
        assert_eq!(store.closed(end.id).expect("reads"), Some(end));
    }
    assert_eq!(store.verify().expect("verifies"), []);
}

#[test]
fn what_version_2_has_written_loads() {
    let fixture: Fixture = serde_json::from_str(VERSION_2).expect("the fixture is JSON");
    assert!(fixture.segments.len() > 1);
    let dir = tempfile::tempdir().expect("folder");
    store_with(dir.path(), &fixture);
    check_loads(dir.path());
}

#[test]
fn what_is_written_now_has_the_keys_and_bytes_of_version_2() {
    let fixture: Fixture = serde_json::from_str(VERSION_2).expect("the fixture is JSON");
    let dir = tempfile::tempdir().expect("folder");
    let mut store = open(&options(dir.path())).expect("opens").store;
    store.commit(&changes()).expect("commits");
    drop(store);
    let now = dump(dir.path());
    // To renew the fixture after a change of the format, which then needs a new version: write this out.
    if let Ok(path) = std::env::var("CODEFERRY_WRITE_STORE_FIXTURE") {
        let text = serde_json::to_string_pretty(&now).expect("written");
        std::fs::write(path, text + "\n").expect("written");
    }
    let shape = |fixture: &Fixture| -> Vec<(String, usize)> {
        fixture.records.iter().map(|(k, v)| (k.clone(), v.len())).collect()
    };
    assert_eq!(shape(&now), shape(&fixture));
    assert_eq!(now.segments, fixture.segments);
    // Plain values are the same to the last bit; the meta record holds a digest of sealed ones, which are not.
    for (key, value) in &fixture.records {
        if value.starts_with("cf5e0100") && !key.starts_with("21") {
            assert_eq!(now.records.get(key), Some(value), "{key}");
        }
    }
}

#[test]
fn an_unknown_version_or_record_is_refused_not_skipped() {
    for spoil in ["version", "table", "value"] {
        let mut fixture: Fixture = serde_json::from_str(VERSION_2).expect("the fixture is JSON");
        let (key, mut value) = fixture
            .records
            .iter()
            .find(|(key, _)| key.starts_with("73"))
            .map(|(k, v)| (k.clone(), v.clone()))
            .expect("a seen message");
        match spoil {
            "version" => {
                value.replace_range(4..6, "02");
                fixture.records.insert(key, value);
            }
            "table" => {
                fixture.records.insert(key.replacen("73", "7a", 1), value);
            }
            _ => {
                // Under the key of another record of the same table.
                fixture.records.insert(key.replacen("0001", "0002", 1), value);
            }
        }
        let dir = tempfile::tempdir().expect("folder");
        store_with(dir.path(), &fixture);
        let refused = open(&options(dir.path())).map(|_| ()).expect_err("refused");
        assert!(matches!(refused, OpenError::Damaged { .. }), "{spoil}: {refused}");
    }
}
