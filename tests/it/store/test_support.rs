//! What the store's tests share: grants to write, and opening.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use codeferry::grant::state::{Origin, Presentations, Requested, Settling, Token};
use codeferry::grant::{ClosedGrant, Grant, Outcome, Reason, State};
use codeferry::ids::{ChannelId, CodeHash, GrantId, Lane, MessageId, UserId};
use codeferry::secret::{AccessToken, AuthorizationCode, PersonalData, RawState};
use codeferry::store::{Change, OpenError, Opened, Store, StoreOptions, Sync, open};
use codeferry::time::{Clock, SharedClock, Timestamp};

pub use crate::files::copy_folder as copy;

/// 2026-08-10T12:00:04Z, in an hour that begins 4 s earlier.
pub const NOON: Timestamp = Timestamp::from_secs(1_786_363_204);
pub const CHANNEL: ChannelId = ChannelId(1_536_000_000_000_000_002);

/// A clock that stands still.
pub struct Fixed(pub Timestamp);

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        self.0
    }
}

pub fn clock(at: Timestamp) -> SharedClock {
    Arc::new(Fixed(at))
}

/// A log of a few commits, so that a few more meet a checkpoint.
pub const LOG_BYTES: usize = 32 * 1024;

/// Options with counted syncs: a test kills processes, not the power.
pub fn options(dir: &Path) -> StoreOptions {
    StoreOptions {
        sync: Sync::Counted,
        reserve_bytes: 64 * 1024,
        log_bytes: LOG_BYTES,
        closed_group: 4,
        ..StoreOptions::new(dir.join("journal"), clock(NOON))
    }
}

#[track_caller]
pub fn opened(dir: &Path) -> Opened {
    match open(&options(dir)) {
        Ok(opened) => opened,
        Err(e) => panic!("the store should open: {e}"),
    }
}

/// Opens, and wants an error.
#[track_caller]
pub fn refused(dir: &Path) -> OpenError {
    match open(&options(dir)) {
        Ok(_) => panic!("the store should not open"),
        Err(e) => e,
    }
}

#[track_caller]
pub fn commit(store: &mut Box<dyn Store>, changes: &[Change]) {
    store.commit(changes).expect("commits");
    store.maintain().expect("maintains");
}

pub fn message(n: u64) -> MessageId {
    MessageId(1_536_343_372_988_416_000 + n)
}

pub fn id(n: u64) -> GrantId {
    id_at(NOON, n)
}

pub fn id_at(at: Timestamp, n: u64) -> GrantId {
    GrantId::new(at, u128::from(n))
}

pub fn hash(n: u64) -> CodeHash {
    let mut bytes = [7; 16];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    CodeHash(bytes)
}

/// A received grant.
pub fn grant(n: u64) -> Grant {
    grant_at(NOON, n)
}

pub fn grant_at(at: Timestamp, n: u64) -> Grant {
    Grant {
        id: id_at(at, n),
        origin: Origin {
            lane: Lane(0),
            message: message(n),
            index: 0,
        },
        received_at: at,
        deadline: at + Duration::from_secs(100),
        redirected_at: Some(at),
        code_hash: Some(hash(n)),
        requested: Requested {
            user: Some(UserId(80_000_000_000_000_001)),
            purpose: Some(0),
            nonce: Some(n.to_be_bytes()),
            pkce: true,
            again: false,
            raw: Some(RawState::new(format!("s1.STATE-CANARY-{n}"))),
        },
        person: Some(UserId(80_000_000_000_000_001)),
        state: State::Received {
            code: AuthorizationCode::new(format!("CODE-CANARY-{n:06}")),
            presentations: Presentations::default(),
        },
        failed: Vec::new(),
    }
}

/// The same grant with a token.
pub fn exchanged(n: u64) -> Grant {
    Grant {
        state: State::Exchanged {
            token: Token {
                access: AccessToken::new(format!("TOKEN-CANARY-{n:06}")),
                scopes: vec!["identify".to_owned()],
            },
            attempts: codeferry::grant::state::Attempts::owed_since(NOON),
            unauthorized: 0,
        },
        ..grant(n)
    }
}

/// The same grant with a result whose record is larger than one piece.
pub fn settling(n: u64, sinks: usize) -> Grant {
    use codeferry::grant::state::{Attempts, Delivery, DeliveryState, Invitation, Revocation};
    let delivery = Delivery {
        state: DeliveryState::Owed,
        attempts: Attempts::owed_since(NOON),
        uncertain: false,
    };
    Grant {
        state: State::Settling(Settling {
            outcome: Outcome::Completed,
            reason: None,
            settled_at: NOON,
            scopes: vec!["identify".to_owned()],
            missing: Vec::new(),
            has_data: true,
            deliveries: (0..sinks).map(|s| (format!("sink-{s:04}"), delivery)).collect(),
            revocation: Revocation::Owed {
                token: AccessToken::new(format!("TOKEN-CANARY-{n:06}")),
                attempts: Attempts::owed_since(NOON),
            },
            invitation: Invitation::NotNeeded,
        }),
        ..grant(n)
    }
}

pub fn closed(n: u64, outcome: Outcome, closed_at: Timestamp) -> ClosedGrant {
    ClosedGrant {
        id: id(n),
        received_at: NOON,
        closed_at,
        lane: Lane(0),
        outcome,
        reason: (outcome != Outcome::Completed).then(|| Reason::new("invalid_grant")),
    }
}

pub fn put(n: u64) -> Change {
    Change::PutGrant(Arc::new(grant(n)))
}

pub fn data(n: u64, length: usize) -> Change {
    Change::PutData {
        grant: id(n),
        data: PersonalData::new(person(n, length)),
    }
}

/// A JSON object of about this many bytes.
pub fn person(n: u64, length: usize) -> String {
    format!(
        "{{\"user\":\"PERSON-CANARY-{n:06}{}\"}}",
        "x".repeat(length.saturating_sub(32))
    )
}

/// The files of closed grants.
pub fn closed_files(dir: &Path) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(dir.join("journal/closed")).expect("listed");
    let mut files: Vec<_> = listed.map(|e| e.expect("listed").path()).collect();
    files.sort();
    files
}
