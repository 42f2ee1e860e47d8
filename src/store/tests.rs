//! The stored format: what version 1 has written loads for ever.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::change::{Change, Loaded, SeenCode, SeenMessage, SourceMessage, UsedNonce};
use super::disk::{Disk, Sync};
use super::engine::{Batch, Engine, Writes};
use super::error::OpenError;
use super::files;
use super::record;
use super::records::{self, Record as _};
use super::seal::{self, Envelope};
use super::sled_engine::SledEngine;
use super::write_ahead::{LogFile, WriteAhead};
use super::{StoreOptions, open};
use crate::grant::state::{
    Attempts, Delivery, DeliveryState, Invitation, Origin, Presentations, Requested, Revocation, Settling, Token,
};
use crate::grant::{ClosedGrant, FailedCall, Grant, Outcome, Reason, State};
use crate::ids::{ChannelId, CodeHash, GrantId, Lane, MessageId, UserId};
use crate::intake::gate::{Account, GateChange, HeldPlace, Reservation};
use crate::intake::state::StateToken;
use crate::secret::{AccessToken, AuthorizationCode, PersonalData, RawState};
use crate::time::{Clock, Timestamp};

const VERSION_1: &str = include_str!("../../tests/it/fixtures/store-v1.json");
/// Small, for the fixture has all of it.
const LOG_BYTES: usize = 64 * 1024;
const NOON: Timestamp = Timestamp::from_secs(1_786_363_204);
const CHANNEL: ChannelId = ChannelId(1_536_000_000_000_000_002);

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        NOON
    }
}

/// The write-ahead log up to its last byte that is not zero, the sealing keys, and the files of closed grants, in
/// hexadecimal.
#[derive(Serialize, Deserialize)]
struct Fixture {
    seal_keys: BTreeMap<String, String>,
    log: String,
    closed: BTreeMap<String, String>,
}

fn options(dir: &Path) -> StoreOptions {
    StoreOptions {
        sync: Sync::Counted,
        reserve_bytes: 4096,
        log_bytes: LOG_BYTES,
        closed_group: 9,
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
            again: n == 2,
            raw: Some(RawState::new("s1.example")),
        },
        person: Some(UserId(80_000_000_000_000_001)),
        state,
        failed: Vec::new(),
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

fn place() -> HeldPlace {
    HeldPlace {
        token: StateToken {
            user: UserId(80_000_000_000_000_001),
            expires_at: NOON,
            lane: Lane(1),
            purpose: 2,
            pkce: true,
            again: false,
            nonce: [4; 8],
        },
        until: NOON,
    }
}

fn account() -> Account {
    Account {
        user: UserId(80_000_000_000_000_001),
        made: vec![NOON, NOON],
        reservation: Some(Reservation {
            at: NOON,
            for_room: true,
        }),
    }
}

fn changes() -> Vec<Change> {
    let message = MessageId(1_536_343_372_988_416_001);
    let mut changes: Vec<_> = grants().into_iter().map(|g| Change::PutGrant(Arc::new(g))).collect();
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
        Change::Gate(GateChange::Hold(place())),
        Change::Gate(GateChange::Keep(account())),
    ]);
    changes
}

fn check_loaded(mut loaded: Loaded) {
    let message = MessageId(1_536_343_372_988_416_001);
    loaded.grants.sort_by_key(|g| g.id);
    assert_eq!(loaded.grants, grants());
    assert_eq!(loaded.closed, 10);
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
    assert_eq!(loaded.places, [place()]);
    assert_eq!(loaded.accounts, [account()]);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, b| text + &format!("{b:02x}"))
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|n| u8::from_str_radix(&text[2 * n..2 * n + 2], 16).expect("hexadecimal"))
        .collect()
}

fn log_of(dir: &Path) -> PathBuf {
    dir.join("journal/engine").join(files::LOG)
}

/// Gives a new store what version 1 has left of one that was killed before its first checkpoint.
fn store_with(dir: &Path, fixture: &Fixture) {
    drop(open(&options(dir)).expect("a new store").store);
    for (hour, key) in &fixture.seal_keys {
        std::fs::write(dir.join("keys/seal").join(hour), unhex(key)).expect("written");
    }
    for (name, bytes) in &fixture.closed {
        std::fs::write(dir.join("journal/closed").join(name), unhex(bytes)).expect("written");
    }
    let mut log = unhex(&fixture.log);
    log.resize(LOG_BYTES, 0);
    std::fs::write(log_of(dir), log).expect("written");
}

fn write(dir: &Path) -> Fixture {
    let mut store = open(&options(dir)).expect("opens").store;
    store.commit(&changes()).expect("commits");
    store.maintain().expect("hands closed grants over");
    store
        .commit(&[Change::Close(closed(20, Outcome::Denied))])
        .expect("commits");
    drop(store);
    let files = |folder: &str| -> BTreeMap<String, String> {
        let listed = std::fs::read_dir(dir.join(folder)).expect("listed").map(|entry| {
            let path = entry.expect("listed").path();
            let name = path.file_name().expect("named").to_str().expect("text").to_owned();
            (name, hex(&std::fs::read(path).expect("read")))
        });
        listed.collect()
    };
    let mut log = std::fs::read(log_of(dir)).expect("read");
    log.truncate(log.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    Fixture {
        log: hex(&log),
        seal_keys: files("keys/seal"),
        closed: files("journal/closed"),
    }
}

/// What a log holds.
fn writes(dir: &Path) -> Writes {
    LogFile::open(&log_of(dir), 1).expect("it reads").1.writes
}

#[test]
fn what_version_1_has_written_loads() {
    let fixture: Fixture = serde_json::from_str(VERSION_1).expect("the fixture is JSON");
    let dir = tempfile::tempdir().expect("folder");
    store_with(dir.path(), &fixture);
    for round in 0..2 {
        let opened = open(&options(dir.path())).unwrap_or_else(|e| panic!("round {round}: it should load: {e}"));
        check_loaded(opened.loaded);
        let mut store = opened.store;
        let read = store.data(grants()[3].id).expect("reads").expect("there");
        assert_eq!(read.expose(), data());
        for (n, outcome) in (0..).zip(Outcome::ALL) {
            let end = closed(n, outcome);
            assert_eq!(store.closed(end.id).expect("reads"), Some(end));
        }
        assert_eq!(store.newest_closed(100).expect("lists").len(), 10);
        assert_eq!(store.verify().expect("verifies"), []);
        store.close().expect("closes");
    }
}

#[test]
fn what_is_written_now_has_the_keys_and_bytes_of_version_1() {
    let fixture: Fixture = serde_json::from_str(VERSION_1).expect("the fixture is JSON");
    let (old, new) = (
        tempfile::tempdir().expect("folder"),
        tempfile::tempdir().expect("folder"),
    );
    let now = write(new.path());
    // To renew the fixture after a change of the format, which then needs a new version: write this out.
    if let Ok(path) = std::env::var("CODEFERRY_WRITE_STORE_FIXTURE") {
        let text = serde_json::to_string_pretty(&now).expect("written");
        std::fs::write(path, text + "\n").expect("written");
    }
    store_with(old.path(), &fixture);
    let (mut then, now_written) = (writes(old.path()), writes(new.path()));
    then.retain(|key, _| key[0] != record::IDENTIFIES.id);
    assert!(then.keys().eq(now_written.keys()));
    for (key, value) in then {
        let (Some(then), Some(now)) = (value, now_written[&key].clone()) else {
            continue;
        };
        match seal::look(&then) {
            // Two seals of one text differ.
            Ok(Envelope::Sealed(_)) => assert_eq!(then.len(), now.len(), "{}", hex(&key)),
            _ => assert_eq!(then, now, "{}", hex(&key)),
        }
    }
    assert_eq!((now.log.len(), now.closed), (fixture.log.len(), fixture.closed));
}

#[test]
fn an_unknown_version_or_record_is_refused_not_skipped() {
    for spoil in ["version", "kind", "table", "key"] {
        let dir = tempfile::tempdir().expect("folder");
        write(dir.path());
        let seen = |table: u8, key: u64, head: [u8; 2]| {
            let mut batch = Batch::default();
            let value = [&head[..], &[7, 9]].concat();
            batch.put(table, &key.to_be_bytes(), value);
            batch
        };
        let batch = match spoil {
            "version" => seen(b's', 7, [2, 0]),
            "kind" => seen(b's', 7, [1, 2]),
            "table" => seen(b'z', 7, [1, 0]),
            // Under the key of another record of the same table.
            _ => seen(b's', 8, [1, 0]),
        };
        let engine = dir.path().join("journal/engine");
        let disk = Disk::new(Sync::Counted, None);
        let inner = SledEngine::open(&engine, 1, disk.clone()).expect("opens");
        let mut log = WriteAhead::open(inner, &log_of(dir.path()), disk).expect("opens");
        log.apply(batch).expect("applies");
        drop(log);
        let refused = open(&options(dir.path())).map(|_| ()).expect_err("refused");
        assert!(matches!(refused, OpenError::Damaged { .. }), "{spoil}: {refused}");
        if spoil == "key" {
            // The same bytes under their own key are a record.
            assert!(refused.to_string().contains("content cannot be read"), "{refused}");
        }
    }
}

/// A settling grant is stored with its outcome's number, a closed one with its name.
#[test]
fn outcomes_keep_their_stored_numbers_and_names_and_all_of_them_are_listed() {
    let names = "completed denied expired refused wrong_person lost failed dropped duplicate";
    assert!(Outcome::ALL.map(Outcome::name).join(" ").starts_with(names));
    for number in 0..=u8::MAX >> 1 {
        let stored: Option<Outcome> = postcard::from_bytes(&[number]).ok();
        assert_eq!(
            Outcome::ALL.get(usize::from(number)),
            stored.as_ref(),
            "outcome {number}"
        );
    }
}

/// They stand behind the rest of a record, so what was written before they were kept is read as it is.
#[test]
fn failed_calls_are_read_back_and_a_record_without_them_is_as_it_was() {
    let mut grant = grants().remove(3);
    let key = grant.key();
    let without = grant.write(Vec::new()).expect("written");
    assert_eq!(without, postcard::to_stdvec(&grant).expect("written"));
    for n in 0..7 {
        grant.keep_failure(FailedCall {
            at: NOON,
            call: "deliver a".to_owned(),
            reason: format!("http_50{n}"),
        });
    }
    let with = grant.write(Vec::new()).expect("written");
    let read: Grant = records::decode(&key, &with).expect("read");
    assert_eq!(read, grant);
    let reasons: Vec<&str> = read.failed.iter().map(|f| f.reason.as_str()).collect();
    assert_eq!(
        reasons,
        ["http_502", "http_503", "http_504", "http_505", "http_506"],
        "the last five"
    );
    for odd in [
        [&without[..], &[0]].concat(),
        [&with[..], &[0]].concat(),
        with[..with.len() - 1].to_vec(),
    ] {
        assert!(records::decode::<Grant>(&key, &odd).is_none());
    }
}
