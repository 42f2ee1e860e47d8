//! What the actors' tests share: paused time, a journal over a real store that counts its syncs, codes that were posted,
//! and a step that does as it is told.

mod fake;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::{Actor, Addr};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tempfile::TempDir;

pub use self::fake::{Fake, exchanged};
use super::governor::{self, Governor, Inspect};
use super::journal::message::{Append, JournalError, Release};
use super::journal::open_grants::{Appended, Carried, OpenGrants, OpenGrantsRules, Redirected};
use super::journal::view::{Filter, GrantView, List};
use super::journal::{self, Journal};
use crate::grant::state::Requested;
use crate::grant::{ClosedGrant, Outcome, Policy, Task};
use crate::ids::{ChannelId, CodeHash, GrantId, Lane, MessageId, UserId, snowflake_at};
use crate::intake::gate::GateRules;
use crate::port::permit::{LedgerError, SpendingLedger};
use crate::rate::limits::Limits;
use crate::secret::{AuthorizationCode, RawState};
use crate::store::{self, Committer, CommitterHandle, Fault, StoreOptions, Sync};
use crate::testing::minter;
use crate::time::{Clock, SharedClock, SteadyClock, Timestamp};

/// Where codes are posted.
pub const CHANNEL: ChannelId = ChannelId(1_536_343_300_000_000_001);
/// The zeroth person's id; the others follow.
pub const PERSON: u64 = 80_000_000_000_000_001;

/// Waits in virtual time until something holds, at most for so long.
#[track_caller]
pub fn until(within: Duration, what: &'static str, holds: impl Fn() -> bool) -> impl Future<Output = ()> {
    let end = tokio::time::Instant::now() + within;
    let caller = std::panic::Location::caller();
    async move {
        while !holds() {
            assert!(
                tokio::time::Instant::now() < end,
                "{caller}: not within {within:?}: {what}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A clock that panics on demand: the only way into an actor that does nothing wrong.
pub struct Fuse {
    clock: Arc<SteadyClock>,
    lit: AtomicBool,
}

impl Clock for Fuse {
    fn now(&self) -> Timestamp {
        assert!(!self.lit.load(Ordering::Relaxed), "a panic on purpose");
        self.clock.now()
    }
}

/// A journal over a store in a folder of its own, and a governor without limits.
pub struct Site {
    pub clock: Arc<SteadyClock>,
    pub store: CommitterHandle,
    pub journal: Addr<Journal>,
    pub governor: Addr<Governor>,
    pub closed: Rc<RefCell<Vec<ClosedGrant>>>,
    fuses: [Arc<Fuse>; 2],
    posted: Cell<u64>,
    _folder: TempDir,
}

impl Site {
    /// With this one sink.
    pub fn new(sink: Option<&str>) -> Self {
        Self::with(sink, 1_000, None)
    }

    /// With room for so many grants, and a store that fails so.
    pub fn with(sink: Option<&str>, max_open: usize, fault: Option<Fault>) -> Self {
        let clock = SteadyClock::starting_at(Timestamp::from_secs(1_786_363_204));
        let fuses = [(); 2].map(|()| {
            Arc::new(Fuse {
                clock: Arc::clone(&clock),
                lit: AtomicBool::new(false),
            })
        });
        let folder = tempfile::tempdir().expect("a folder");
        let opened = store::open(&StoreOptions {
            sync: Sync::Counted,
            reserve_bytes: 64 * 1024,
            fault,
            ..StoreOptions::new(folder.path().join("journal"), Arc::clone(&clock) as SharedClock)
        });
        let opened = opened.expect("it opens");
        let store = Committer::inline(opened.store);
        let policy = Policy {
            code_lifetime: Duration::from_secs(100),
            sinks: sink.map(str::to_owned).into_iter().collect(),
            keep_parked: Duration::from_hours(1),
            reinvite: false,
        };
        let random = StdRng::seed_from_u64(1);
        let closed: Rc<RefCell<Vec<ClosedGrant>>> = Rc::default();
        let told = Rc::clone(&closed);
        let settings = journal::JournalSettings {
            store: store.clone(),
            clock: Arc::clone(&fuses[0]) as SharedClock,
            max_open,
            closed_retention: Duration::from_hours(1),
            on_closed: Some(Rc::new(move |grant| told.borrow_mut().push(grant.clone()))),
            minter: minter(),
        };
        let gate = GateRules::unlimited(policy.code_lifetime);
        let rules = OpenGrantsRules {
            policy,
            keep_messages: true,
            gate,
        };
        let open_grants = OpenGrants::new(opened.loaded, rules, random, clock.now());
        let governor = Governor::new(governor::GovernorSettings {
            limits: Limits {
                webhook: None,
                global: None,
                oauth: None,
                invalid_requests: 0,
            },
            lanes: BTreeMap::new(),
            spending: BTreeMap::new(),
            ledger: Box::new(NoDisk),
            clock: Arc::clone(&fuses[1]) as SharedClock,
        });
        Self {
            journal: Journal::new(settings, open_grants).start(),
            governor: governor.start(),
            clock,
            store,
            closed,
            fuses,
            posted: Cell::new(0),
            _folder: folder,
        }
    }

    /// The n-th person's code in a message of its own, posted now. Each is another one.
    pub fn carried(&self, person: u64) -> Carried {
        let nth = self.posted.replace(self.posted.get() + 1);
        let mut hash = [0; 16];
        hash[..8].copy_from_slice(&nth.to_be_bytes());
        Carried {
            unread_lines: false,
            message: MessageId(snowflake_at(self.clock.now()) + nth),
            channel: CHANNEL,
            lane: Lane(0),
            redirects: vec![Redirected {
                redirected_at: None,
                result: Ok((AuthorizationCode::new(format!("code-{nth:016}")), CodeHash(hash))),
                requested: Ok(Requested {
                    user: Some(UserId(PERSON + person)),
                    nonce: Some(nth.to_be_bytes()),
                    raw: Some(RawState::new(format!("state-{nth}"))),
                    ..Requested::default()
                }),
            }],
        }
    }

    /// Takes messages in.
    pub async fn append(&self, carried: Vec<Carried>) -> Result<Appended, JournalError> {
        self.journal.send(Append(carried)).await.expect("the journal lives")
    }

    /// Posts one code for each of these people.
    pub async fn post(&self, people: impl IntoIterator<Item = u64>) {
        let carried: Vec<Carried> = people.into_iter().map(|person| self.carried(person)).collect();
        let count = carried.len();
        assert_eq!(self.append(carried).await.expect("taken").received, count);
    }

    /// Open grants, oldest first.
    pub async fn open(&self) -> Vec<GrantView> {
        let listing = self.journal.send(List(Filter::default())).await;
        listing.expect("the journal lives").grants
    }

    /// How the grants ended, in order.
    pub fn outcomes(&self) -> Vec<Outcome> {
        self.closed.borrow().iter().map(|grant| grant.outcome).collect()
    }

    /// The journal panics in a handler.
    pub async fn kill_journal(&self) {
        self.fuses[0].lit.store(true, Ordering::Relaxed);
        let (grant, task) = (GrantId::new(self.clock.now(), 0), Task::Fetch);
        assert!(self.journal.send(Release { grant, task }).await.is_err(), "it died");
    }

    /// The governor panics in a handler.
    pub async fn kill_governor(&self) {
        self.fuses[1].lit.store(true, Ordering::Relaxed);
        assert!(self.governor.send(Inspect).await.is_err(), "it died");
    }
}

struct NoDisk;

impl SpendingLedger for NoDisk {
    fn persist(&self, _: ChannelId, _: Vec<Timestamp>) -> LocalBoxFuture<'static, Result<(), LedgerError>> {
        async { Ok(()) }.boxed_local()
    }
}
