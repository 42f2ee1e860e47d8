//! The thread that owns the store. It takes every waiting commit, makes them one transaction, and answers them all
//! when it is on the disk (group commit). It never drops a command without an answer, and never recovers from an error.

use std::any::Any;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};

use crate::crash;
use crate::grant::ClosedGrant;
use crate::ids::GrantId;
use crate::secret::PersonalData;
use crate::time::Timestamp;

use super::change::{Change, Problem};
use super::error::StoreError;
use super::port::{ClosedTotals, Room, Store};

/// Bounds of one group: larger ones gain nothing, and make those wait who came first. The engine frees what a
/// transaction has replaced only when it ends: with groups of 4,000 a burst of 5,000 codes took 15 MB more.
const MOST_COMMANDS: usize = 512;
const MOST_CHANGES: usize = 256;

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

/// Starts what drives a store.
#[derive(Debug)]
pub struct Committer;

impl Committer {
    /// How long a commit may take: claims stop and tokens are revoked within 5 s of a hang.
    pub const HUNG_AFTER: Duration = Duration::from_secs(4);

    /// Gives a store its own thread. A commit that takes longer than `hung_after` is reported as [`Health::Hung`],
    /// and everybody who waits is answered with [`StoreError::Hung`].
    ///
    /// The thread ends with [`CommitterHandle::close`], or uncleanly when the last handle is dropped.
    pub fn spawn(store: Box<dyn Store>, hung_after: Duration) -> io::Result<CommitterHandle> {
        let (commands, waiting): (Sender<Command>, _) = channel();
        let shared = Arc::new(Shared::new());
        let mut core = Core::new(store, shared.clone());
        thread::Builder::new().name("store".to_owned()).spawn(move || {
            core.serve(&waiting);
            // Without a clean end the store is dropped here, and its files are free before the handle says so.
            core.store = None;
            core.shared.ended.store(true, Ordering::Release);
        })?;
        let watched = shared.clone();
        thread::Builder::new()
            .name("store-watchdog".to_owned())
            .spawn(move || watched.watch(hung_after))?;
        Ok(CommitterHandle {
            way: Way::Queued(Arc::new(move |command| drop(commands.send(command)))),
            shared,
        })
    }

    /// Runs every command in its caller: for virtual time, which runs away while another thread works. Open the store
    /// with [`Sync::Counted`](super::Sync::Counted).
    pub fn inline(store: Box<dyn Store>) -> CommitterHandle {
        let shared = Arc::new(Shared::new());
        CommitterHandle {
            way: Way::Inline(Arc::new(Lock::new(Core::new(store, shared.clone())))),
            shared,
        }
    }

    /// Leaves the store to a [`Driver`], which takes as long as it is told: for virtual time in which a disk is slow.
    pub fn driven(store: Box<dyn Store>) -> (CommitterHandle, Driver) {
        let (commands, waiting): (UnboundedSender<Command>, _) = unbounded_channel();
        let shared = Arc::new(Shared::new());
        let core = Core::new(store, shared.clone());
        let way = Way::Queued(Arc::new(move |command| drop(commands.send(command))));
        (CommitterHandle { way, shared }, Driver { core, waiting })
    }
}

#[expect(
    clippy::disallowed_types,
    reason = "the handle must be Send for both ways; inline, one thread takes the lock, briefly, and never awaits in it"
)]
type Lock<T> = std::sync::Mutex<T>;

#[expect(
    clippy::disallowed_types,
    reason = "it measures the real disk, also where the time of a test is virtual"
)]
type RealInstant = std::time::Instant;

enum Command {
    Commit(Vec<Change>, oneshot::Sender<Result<(), StoreError>>),
    Ask(Ask),
}

/// Any other command. It is not watched: verifying a large store may take its time.
type Ask = Box<dyn FnOnce(&mut Core) + Send>;

/// Commits that become one, and the command that ended the gathering.
#[derive(Default)]
struct Group {
    changes: Vec<Change>,
    answers: Vec<oneshot::Sender<Result<(), StoreError>>>,
    other: Option<Ask>,
}

/// Drives a store in virtual time; see [`Committer::driven`]. Dropping it is a crash: what it has not done is lost.
pub struct Driver {
    core: Core,
    waiting: UnboundedReceiver<Command>,
}

impl Driver {
    /// Serves commands until the store is closed. Each group of commits takes as long as `takes` says.
    pub async fn serve(mut self, mut takes: impl FnMut() -> Duration) {
        while let Some(first) = self.waiting.recv().await {
            let group = Group::of(first, || self.waiting.try_recv().ok());
            if !group.answers.is_empty() {
                tokio::time::sleep(takes()).await;
            }
            self.core.take(group);
            if self.core.store.is_none() {
                return;
            }
        }
    }
}

impl Group {
    /// The commits that wait. Commands are answered in the order in which they came, so any other command ends the group.
    fn of(first: Command, mut next: impl FnMut() -> Option<Command>) -> Self {
        let mut group = Self::default();
        let mut command = Some(first);
        loop {
            match command {
                Some(Command::Commit(more, answer)) => {
                    group.changes.extend(more);
                    group.answers.push(answer);
                }
                Some(Command::Ask(ask)) => {
                    group.other = Some(ask);
                    return group;
                }
                None => return group,
            }
            if group.answers.len() >= MOST_COMMANDS || group.changes.len() >= MOST_CHANGES {
                return group;
            }
            command = next();
        }
    }
}

/// Owns the store; the plain part of every way.
struct Core {
    store: Option<Box<dyn Store>>,
    shared: Arc<Shared>,
}

impl Core {
    fn new(store: Box<dyn Store>, shared: Arc<Shared>) -> Self {
        Self {
            store: Some(store),
            shared,
        }
    }

    fn serve(&mut self, waiting: &Receiver<Command>) {
        while let Ok(first) = waiting.recv() {
            self.take(Group::of(first, || waiting.try_recv().ok()));
            if self.store.is_none() {
                // What still comes finds the channel closed and learns that the store is.
                return;
            }
        }
    }

    fn take(&mut self, group: Group) {
        if !group.answers.is_empty() {
            let result = self.commit(&group.changes);
            for answer in group.answers {
                // Whoever has stopped waiting needs no answer.
                let _ = answer.send(result.clone());
            }
            self.housekeep();
        }
        if let Some(ask) = group.other {
            ask(self);
        }
    }

    /// Commits one batch; it is on the disk when this returns.
    fn commit(&mut self, batch: &[Change]) -> Result<(), StoreError> {
        self.shared.begin();
        crash::commit(batch.iter().map(Change::kind), "before");
        let result = self.call(|store| store.commit(batch));
        crash::commit(batch.iter().map(Change::kind), "after");
        self.shared.end();
        result
    }

    /// Follows every commit, after its answers. An error here stays, and the next commit is answered with it.
    fn housekeep(&mut self) {
        self.shared.begin();
        let _ = self.call(|store| store.housekeep());
        self.shared.end();
    }

    fn call<T>(&mut self, work: impl FnOnce(&mut dyn Store) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if let Some(e) = self.shared.stopped() {
            return Err(e);
        }
        let Some(store) = self.store.as_mut() else {
            return Err(StoreError::Closed);
        };
        caught(|| work(store.as_mut())).inspect_err(|e| self.shared.failed(e))
    }

    fn close(&mut self) -> Result<(), StoreError> {
        let store = self.store.take().ok_or(StoreError::Closed)?;
        if let Some(e) = self.shared.stopped() {
            // Without the marker of a clean end; but its files are free once this is answered.
            let _ = caught(|| {
                drop(store);
                Ok(())
            });
            return Err(e);
        }
        caught(|| store.close()).inspect_err(|e| self.shared.failed(e))
    }
}

/// Damage makes the engine panic in places; that must not pass for a bug of ours, nor leave anybody without an answer.
fn caught<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic: Box<dyn Any + Send>| {
        let text = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        tracing::error!(panic = text.unwrap_or("no text"), "the store panicked");
        Err(StoreError::Panicked)
    })
}

/// What the thread, its watchdog and the handles share.
struct Shared {
    started: RealInstant,
    /// When the running commit began, in milliseconds after `started`, plus 1; 0 while none runs.
    busy_since: AtomicU64,
    ended: AtomicBool,
    health: watch::Sender<Health>,
}

impl Shared {
    fn new() -> Self {
        Self {
            started: RealInstant::now(),
            busy_since: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            health: watch::Sender::new(Health::Fine),
        }
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64 + 1
    }

    fn begin(&self) {
        self.busy_since.store(self.now(), Ordering::Release);
    }

    fn end(&self) {
        self.busy_since.store(0, Ordering::Release);
    }

    fn busy_for(&self) -> Option<Duration> {
        match self.busy_since.load(Ordering::Acquire) {
            0 => None,
            since => Some(Duration::from_millis(self.now().saturating_sub(since))),
        }
    }

    /// The error that everything is answered with, if there is one.
    fn stopped(&self) -> Option<StoreError> {
        match &*self.health.borrow() {
            Health::Fine => None,
            Health::Hung => Some(StoreError::Hung),
            Health::Failed(e) => Some(e.clone()),
        }
    }

    fn failed(&self, e: &StoreError) {
        self.health.send_if_modified(|health| {
            let first = *health == Health::Fine;
            if first {
                *health = Health::Failed(e.clone());
            }
            first
        });
    }

    fn watch(&self, hung_after: Duration) {
        while !self.ended.load(Ordering::Acquire) {
            let busy = self.busy_for();
            if busy.is_some_and(|busy| busy > hung_after) {
                self.health.send_if_modified(|health| {
                    let first = *health == Health::Fine;
                    if first {
                        *health = Health::Hung;
                    }
                    first
                });
                return;
            }
            // A commit under way is looked at when its time is up. One that begins meanwhile is at most half as old at
            // the next look, so looking seldom finds a hang no later.
            let left = busy.map_or(hung_after / 2, |busy| hung_after.saturating_sub(busy));
            thread::sleep(left + Duration::from_millis(1));
        }
    }
}

/// Hands a command to whoever drives the store. A store that is gone drops it, and the waiting ends with the reason.
type Queue = Arc<dyn Fn(Command) + Send + Sync>;

#[derive(Clone)]
enum Way {
    Queued(Queue),
    Inline(Arc<Lock<Core>>),
}

/// The store as everybody else sees it. Commands take effect in the order of the calls, whether or not their futures
/// are polled; a future that is dropped takes nothing back.
#[derive(Clone)]
pub struct CommitterHandle {
    way: Way,
    shared: Arc<Shared>,
}

impl CommitterHandle {
    /// Makes changes durable, all or none; see [`Store::commit`]. An error means that they may or may not be.
    pub fn commit(&self, changes: Vec<Change>) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let answer = match &self.way {
            Way::Queued(commands) => {
                let (answer, wait) = oneshot::channel();
                commands(Command::Commit(changes, answer));
                Answer::Waiting(wait)
            }
            Way::Inline(core) => {
                let mut core = core.lock().unwrap_or_else(PoisonError::into_inner);
                let result = core.commit(&changes);
                core.housekeep();
                Answer::Ready(result)
            }
        };
        answered(answer, self.shared.clone())
    }

    fn ask<T, W>(&self, work: W) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(&mut Core) -> Result<T, StoreError> + Send + 'static,
    {
        let answer = match &self.way {
            Way::Queued(commands) => {
                let (answer, wait) = oneshot::channel();
                commands(Command::Ask(Box::new(move |core| {
                    let _ = answer.send(work(core));
                })));
                Answer::Waiting(wait)
            }
            Way::Inline(core) => Answer::Ready(work(&mut core.lock().unwrap_or_else(PoisonError::into_inner))),
        };
        answered(answer, self.shared.clone())
    }

    /// The data fetched for an open grant.
    pub fn data(&self, id: GrantId) -> impl Future<Output = Result<Option<PersonalData>, StoreError>> + Send + use<> {
        self.ask(move |core| core.call(|store| store.data(id)))
    }

    /// A closed grant that is still kept.
    pub fn closed(&self, id: GrantId) -> impl Future<Output = Result<Option<ClosedGrant>, StoreError>> + Send + use<> {
        self.ask(move |core| core.call(|store| store.closed(id)))
    }

    /// Closed grants, the last closed first; see [`Store::newest_closed`].
    pub fn newest_closed(
        &self,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<ClosedGrant>, StoreError>> + Send + use<> {
        self.ask(move |core| core.call(|store| store.newest_closed(limit)))
    }

    /// Closed grants by outcome.
    pub fn closed_totals(&self) -> impl Future<Output = Result<ClosedTotals, StoreError>> + Send + use<> {
        self.ask(|core| core.call(|store| store.closed_totals()))
    }

    /// Forgets old closed grants; see [`Store::sweep_closed`].
    pub fn sweep(&self, closed_before: Timestamp) -> impl Future<Output = Result<u64, StoreError>> + Send + use<> {
        self.ask(move |core| core.call(|store| store.sweep_closed(closed_before)))
    }

    /// Destroys the keys of hours that are over and have no open grant. It also happens by itself after commits.
    pub fn destroy_idle_keys(&self, now: Timestamp) -> impl Future<Output = Result<usize, StoreError>> + Send + use<> {
        self.ask(move |core| core.call(|store| store.destroy_idle_keys(now)))
    }

    /// Checks everything; see [`Store::verify`]. Commits wait for it: about a second for a million records.
    pub fn verify(&self) -> impl Future<Output = Result<Vec<Problem>, StoreError>> + Send + use<> {
        self.ask(|core| core.call(|store| store.verify()))
    }

    /// Bytes that the store's files take.
    pub fn size(&self) -> impl Future<Output = Result<u64, StoreError>> + Send + use<> {
        self.ask(|core| core.call(|store| Ok(store.size_bytes())))
    }

    /// Room that is left on the disk.
    pub fn room(&self) -> impl Future<Output = Result<Room, StoreError>> + Send + use<> {
        self.ask(|core| core.call(|store| store.room()))
    }

    /// Ends cleanly, after everything that was asked before. Later commands are answered with [`StoreError::Closed`].
    /// A store that has failed is let go of, and the answer is its error.
    pub fn close(&self) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.ask(Core::close)
    }

    /// How the store is doing.
    pub fn health(&self) -> Health {
        self.shared.health.borrow().clone()
    }

    /// Tells when the health changes; it changes once at most.
    pub fn watch_health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    /// For how long the running commit has been running; `None` while none runs.
    pub fn hung_for(&self) -> Option<Duration> {
        self.shared.busy_for()
    }
}

enum Answer<T> {
    Ready(Result<T, StoreError>),
    Waiting(oneshot::Receiver<Result<T, StoreError>>),
}

async fn answered<T>(answer: Answer<T>, shared: Arc<Shared>) -> Result<T, StoreError> {
    let wait = match answer {
        Answer::Ready(result) => return result,
        Answer::Waiting(wait) => wait,
    };
    let mut health = shared.health.subscribe();
    tokio::select! {
        biased;
        result = wait => match result {
            Ok(result) => result,
            Err(_) => Err(shared.stopped().unwrap_or(StoreError::Closed)),
        },
        hung = health.wait_for(|health| *health == Health::Hung) => match hung {
            Ok(_) => Err(StoreError::Hung),
            // The sender is in `shared`, which is held here.
            Err(_) => Err(StoreError::Closed),
        },
    }
}

impl std::fmt::Debug for CommitterHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let way = match self.way {
            Way::Queued(_) => "queued",
            Way::Inline(_) => "inline",
        };
        f.debug_struct("CommitterHandle")
            .field("way", &way)
            .finish_non_exhaustive()
    }
}
