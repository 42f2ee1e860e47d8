//! How a store is doing, and the watchdog that says so when it does not answer.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::sync::watch;

use crate::store::error::StoreError;

/// How the store is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    Fine,
    /// A commit has taken longer than it may. It stays so even if the disk comes back: the process must end.
    Hung,
    /// It has failed for good.
    Failed(StoreError),
}

impl Health {
    /// The error that everything is answered with, if there is one.
    pub fn error(&self) -> Option<StoreError> {
        match self {
            Self::Fine => None,
            Self::Hung => Some(StoreError::Hung),
            Self::Failed(e) => Some(e.clone()),
        }
    }
}

#[expect(
    clippy::disallowed_types,
    reason = "it measures the real disk, also where the time of a test is virtual"
)]
type RealInstant = std::time::Instant;

/// What the thread, its watchdog and the handles share.
pub(super) struct Shared {
    started: RealInstant,
    /// When the running commit began, in milliseconds after `started`, plus 1; 0 while none runs.
    busy_since: AtomicU64,
    /// Commits that have begun.
    begun: AtomicU64,
    /// The watchdog looks at the clock; else it sleeps until it is woken.
    awake: AtomicBool,
    ended: AtomicBool,
    watchdog: OnceLock<Thread>,
    pub health: watch::Sender<Health>,
}

impl Shared {
    pub fn new() -> Self {
        Self {
            started: RealInstant::now(),
            busy_since: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            awake: AtomicBool::new(true),
            ended: AtomicBool::new(false),
            watchdog: OnceLock::new(),
            health: watch::Sender::new(Health::Fine),
        }
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64 + 1
    }

    pub fn begin(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.busy_since.store(self.now(), Ordering::SeqCst);
        if !self.awake.swap(true, Ordering::SeqCst) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(watchdog) = self.watchdog.get() {
            watchdog.unpark();
        }
    }

    /// The store's thread has ended, and the watchdog may.
    pub fn ended(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub fn end(&self) {
        self.busy_since.store(0, Ordering::SeqCst);
    }

    pub fn busy_for(&self) -> Option<Duration> {
        match self.busy_since.load(Ordering::SeqCst) {
            0 => None,
            since => Some(Duration::from_millis(self.now().saturating_sub(since))),
        }
    }

    pub fn stopped(&self) -> Option<StoreError> {
        self.health.borrow().error()
    }

    pub fn failed(&self, e: &StoreError) {
        self.turns(Health::Failed(e.clone()));
    }

    /// The first thing that goes wrong stays.
    fn turns(&self, into: Health) {
        self.health.send_if_modified(|health| {
            let first = *health == Health::Fine;
            if first {
                *health = into;
            }
            first
        });
    }

    /// Watches until the store's thread has ended, or a commit takes longer than it may.
    pub fn watch(&self, hung_after: Duration) {
        let _ = self.watchdog.set(thread::current());
        let mut seen = 0;
        while !self.ended.load(Ordering::SeqCst) {
            let busy = self.busy_for();
            if busy.is_some_and(|busy| busy > hung_after) {
                return self.turns(Health::Hung);
            }
            let begun = self.begun.load(Ordering::SeqCst);
            if busy.is_some() || begun != seen {
                seen = begun;
                // A commit under way is looked at when its time is up. One that begins meanwhile is at most half as old at
                // the next look, so looking seldom finds a hang no later.
                let left = busy.map_or(hung_after / 2, |busy| hung_after.saturating_sub(busy));
                thread::park_timeout(left + Duration::from_millis(1));
                continue;
            }
            // Nothing has begun since the last look: sleep until something does.
            self.awake.store(false, Ordering::SeqCst);
            if self.busy_for().is_none() && !self.ended.load(Ordering::SeqCst) {
                thread::park();
            }
            self.awake.store(true, Ordering::SeqCst);
        }
    }
}
