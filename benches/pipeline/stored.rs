//! Journals made beforehand, through the store's own interface.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use codeferry::grant::state::{
    Attempts, Delivery, DeliveryState, Invitation, Origin, Presentations, Requested, Revocation, Settling,
};
use codeferry::grant::{ClosedGrant, Grant, Outcome, State};
use codeferry::ids::{ChannelId, CodeHash, GrantId, Lane, MessageId, snowflake_at};
use codeferry::intake::hash::code_hash;
use codeferry::secret::{AuthorizationCode, PersonalData, RawState};
use codeferry::store::{self, Change, SeenCode, SeenMessage, SourceMessage, Store, StoreOptions, UsedNonce};
use codeferry::time::{Clock, SystemClock, Timestamp};

use crate::people::{Approved, Person};

/// A channel that nobody reads: its messages are only remembered.
const ELSEWHERE: ChannelId = ChannelId(1_536_000_000_000_000_002);
/// Closed grants are kept for 24 h; these are spread over a bit less, so that none is swept meanwhile.
const KEPT_OVER: Duration = Duration::from_hours(23);
/// How long messages and codes are remembered: a code's life and ten minutes.
const REMEMBERED: Duration = Duration::from_secs(700);
/// How long nonces are: an hour more.
const NONCES: Duration = Duration::from_secs(4_300);
/// Changes in one transaction.
const BATCH: usize = 4_000;

struct Filling {
    store: Box<dyn Store>,
    waiting: Vec<Change>,
}

impl Filling {
    fn open(data: &Path) -> anyhow::Result<Self> {
        let options = StoreOptions::new(data.join("journal"), SystemClock::shared());
        Ok(Self {
            store: store::open(&options)?.store,
            waiting: Vec::new(),
        })
    }

    fn put(&mut self, changes: impl IntoIterator<Item = Change>) -> anyhow::Result<()> {
        self.waiting.extend(changes);
        if self.waiting.len() >= BATCH {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        Ok(self.store.commit(&std::mem::take(&mut self.waiting))?)
    }
}

/// Keeps so many closed grants, spread over the last day as a steady service would, and ends cleanly.
pub fn keep_closed(data: &Path, count: u64) -> anyhow::Result<()> {
    let mut filling = Filling::open(data)?;
    let now = SystemClock.now();
    for n in 0..count {
        let age = KEPT_OVER.mul_f64((count - n) as f64 / count as f64);
        let at = now - age;
        filling.put([Change::Close(ClosedGrant {
            id: GrantId::new(at, u128::from(n)),
            received_at: at,
            closed_at: at + Duration::from_millis(300),
            lane: Lane(0),
            outcome: Outcome::Completed,
            reason: None,
        })])?;
        if age < NONCES {
            filling.put([Change::UseNonce(UsedNonce {
                nonce: (u64::MAX - n).to_be_bytes(),
                keep_until: now + Duration::from_hours(1),
            })])?;
        }
        if age < REMEMBERED {
            let message = MessageId(snowflake_at(at) + n);
            let mut hash = [0; 16];
            hash[..8].copy_from_slice(&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
            filling.put(seen(message, CodeHash(hash)))?;
        }
    }
    filling.flush()?;
    Ok(filling.store.close()?)
}

/// Keeps codes that wait to be presented, and results that wait to be delivered; the end is not a clean one.
pub fn keep_open(data: &Path, codes: &[Approved], results: u64) -> anyhow::Result<()> {
    let mut filling = Filling::open(data)?;
    let key = store::keys::code_hash_key(data)?;
    let now = SystemClock.now();
    for (n, approved) in codes.iter().enumerate() {
        let code = AuthorizationCode::new(approved.code.as_str());
        let hash = code_hash(&key, &code);
        let state = State::Received {
            code,
            presentations: Presentations::default(),
        };
        let grant = grant(&approved.person, n as u64, now, Some(hash), state);
        filling.put(seen(grant.origin.message, hash))?;
        filling.put([
            Change::PutSourceMessage(SourceMessage {
                message: grant.origin.message,
                lane: Lane(0),
                channel: ELSEWHERE,
                unspent: 1,
                attempts: 0,
                not_before: now,
            }),
            Change::PutGrant(Arc::new(grant)),
        ])?;
    }
    for n in (codes.len() as u64..).take(results as usize) {
        let person = Person::of(n);
        let owed = Delivery {
            state: DeliveryState::Owed,
            attempts: Attempts::owed_since(now),
            uncertain: false,
        };
        let state = State::Settling(Settling {
            outcome: Outcome::Completed,
            reason: None,
            settled_at: now,
            scopes: vec!["identify".to_owned()],
            missing: Vec::new(),
            has_data: true,
            deliveries: BTreeMap::from([("results".to_owned(), owed)]),
            revocation: Revocation::Done,
            invitation: Invitation::NotNeeded,
        });
        let user = format!(
            r#"{{"user":{{"id":"{}","username":"person{n}","avatar":null}}}}"#,
            person.user
        );
        let grant = grant(&person, n, now, None, state);
        let id = grant.id;
        let data = PersonalData::new(user);
        filling.put([Change::PutGrant(Arc::new(grant)), Change::PutData { grant: id, data }])?;
    }
    filling.flush()
}

fn seen(message: MessageId, hash: CodeHash) -> [Change; 2] {
    let channel = ELSEWHERE;
    [
        Change::SeeMessage(SeenMessage { message, channel }),
        Change::SeeCode(SeenCode { hash, message, channel }),
    ]
}

fn grant(person: &Person, n: u64, now: Timestamp, code_hash: Option<CodeHash>, state: State) -> Grant {
    Grant {
        id: GrantId::new(now, u128::from(n)),
        origin: Origin {
            lane: Lane(0),
            message: MessageId(snowflake_at(now) + n),
            index: 0,
        },
        received_at: now,
        deadline: now + Duration::from_secs(100),
        redirected_at: Some(now),
        code_hash,
        requested: Requested {
            user: Some(person.user),
            purpose: Some(0),
            nonce: Some(person.nonce),
            pkce: true,
            again: false,
            raw: Some(RawState::new(person.state.as_str())),
        },
        person: Some(person.user),
        state,
        failed: Vec::new(),
    }
}
