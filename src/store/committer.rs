//! The thread that owns the store. It takes every waiting commit, makes them one transaction, and answers them all
//! when it is on the disk (group commit). It never drops a command without an answer, and never recovers from an error.

mod watchdog;

use std::any::Any;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};

use super::durable::{Durable, Kind};
use super::error::StoreError;
use crate::crash;

pub use watchdog::Health;
use watchdog::Shared;

/// Bounds of one group: larger ones gain nothing, and make those wait who came first.
const MOST_COMMANDS: usize = 512;
const MOST_CHANGES: usize = 256;
/// So long nothing must have come for a store to rest.
const IDLE: Duration = Duration::from_millis(250);

/// Starts what drives a store.
#[derive(Debug)]
pub struct Committer;

impl Committer {
    /// How long a commit may take: claims stop and tokens are revoked within 5 s of a hang.
    pub const HUNG_AFTER: Duration = Duration::from_secs(4);

    /// Gives a store its own thread. A commit that takes longer than `hung_after` is reported as [`Health::Hung`],
    /// and everybody who waits is answered with [`StoreError::Hung`].
    ///
    /// The thread ends with [`Handle::close`], or uncleanly when the last handle is dropped.
    pub fn spawn<D: Durable + ?Sized + 'static>(store: Box<D>, hung_after: Duration) -> io::Result<Handle<D>> {
        let (commands, waiting): (Sender<Command<D>>, _) = channel();
        let shared = Arc::new(Shared::new());
        let watched = shared.clone();
        thread::Builder::new()
            .name("store-watchdog".to_owned())
            .spawn(move || watched.watch(hung_after))?;
        let mut core = Core::new(store, shared.clone());
        thread::Builder::new().name("store".to_owned()).spawn(move || {
            core.serve(&waiting);
            // Without a clean end the store is dropped here, and its files are free before the handle says so.
            core.store = None;
            core.shared.ended();
        })?;
        Ok(Handle {
            way: Way::Queued(Arc::new(move |command| drop(commands.send(command)))),
            shared,
        })
    }

    /// Runs every command in its caller: for virtual time, which runs away while another thread works. Open the store
    /// with [`Sync::Counted`](super::Sync::Counted).
    pub fn inline<D: Durable + ?Sized>(store: Box<D>) -> Handle<D> {
        let shared = Arc::new(Shared::new());
        Handle {
            way: Way::Inline(Arc::new(Lock::new(Core::new(store, shared.clone())))),
            shared,
        }
    }

    /// Leaves the store to a [`Driver`], which takes as long as it is told: for virtual time in which a disk is slow.
    pub fn driven<D: Durable + ?Sized + 'static>(store: Box<D>) -> (Handle<D>, Driver<D>) {
        let (commands, waiting): (UnboundedSender<Command<D>>, _) = unbounded_channel();
        let shared = Arc::new(Shared::new());
        let core = Core::new(store, shared.clone());
        let way = Way::Queued(Arc::new(move |command| drop(commands.send(command))));
        (Handle { way, shared }, Driver { core, waiting })
    }
}

#[expect(
    clippy::disallowed_types,
    reason = "the handle must be Send for both ways; inline, one thread takes the lock, briefly, and never awaits in it"
)]
type Lock<T> = std::sync::Mutex<T>;

enum Command<D: Durable + ?Sized> {
    Commit(Vec<D::Change>, oneshot::Sender<Result<(), StoreError>>),
    Ask(Ask<D>),
}

/// Any other command. It is not watched: verifying a large store may take its time.
type Ask<D> = Box<dyn FnOnce(&mut Core<D>) + Send>;

/// Commits that become one, and the command that ended the gathering.
struct Group<D: Durable + ?Sized> {
    changes: Vec<D::Change>,
    answers: Vec<oneshot::Sender<Result<(), StoreError>>>,
    other: Option<Ask<D>>,
}

impl<D: Durable + ?Sized> Group<D> {
    /// The commits that wait. Commands are answered in the order in which they came, so any other command ends the group.
    fn of(first: Command<D>, mut next: impl FnMut() -> Option<Command<D>>) -> Self {
        let mut group = Self {
            changes: Vec::new(),
            answers: Vec::new(),
            other: None,
        };
        let mut command = Some(first);
        loop {
            match command {
                Some(Command::Commit(mut more, answer)) => {
                    if group.changes.is_empty() {
                        group.changes = more;
                    } else {
                        group.changes.append(&mut more);
                    }
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

/// Drives a store in virtual time; see [`Committer::driven`]. Dropping it is a crash: what it has not done is lost.
pub struct Driver<D: Durable + ?Sized> {
    core: Core<D>,
    waiting: UnboundedReceiver<Command<D>>,
}

impl<D: Durable + ?Sized> Driver<D> {
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

/// Owns the store; the plain part of every way.
struct Core<D: ?Sized> {
    store: Option<Box<D>>,
    shared: Arc<Shared>,
}

impl<D: Durable + ?Sized> Core<D> {
    fn new(store: Box<D>, shared: Arc<Shared>) -> Self {
        Self {
            store: Some(store),
            shared,
        }
    }

    fn serve(&mut self, waiting: &Receiver<Command<D>>) {
        let mut rested = true;
        while let Some(first) = self.next(waiting, &mut rested) {
            let group = Group::of(first, || waiting.try_recv().ok());
            rested &= group.answers.is_empty();
            self.take(group);
            if self.store.is_none() {
                // What still comes finds the channel closed and learns that the store is.
                return;
            }
        }
    }

    fn take(&mut self, group: Group<D>) {
        if !group.answers.is_empty() {
            let result = self.commit(&group.changes);
            for answer in group.answers {
                // Whoever has stopped waiting needs no answer.
                let _ = answer.send(result.clone());
            }
            self.maintain();
        }
        if let Some(ask) = group.other {
            ask(self);
        }
    }

    /// Waits for a command; lets the store rest once where none comes for a while after a commit.
    fn next(&mut self, waiting: &Receiver<Command<D>>, rested: &mut bool) -> Option<Command<D>> {
        if !*rested {
            match waiting.recv_timeout(IDLE) {
                Err(RecvTimeoutError::Timeout) => self.watched(Durable::rest),
                other => return other.ok(),
            }
            *rested = true;
        }
        waiting.recv().ok()
    }

    /// Commits one batch; it is on the disk when this returns.
    fn commit(&mut self, batch: &[D::Change]) -> Result<(), StoreError> {
        self.shared.begin();
        crash::commit(batch.iter().map(Kind::kind), "before");
        let result = self.call(|store| store.commit(batch));
        crash::commit(batch.iter().map(Kind::kind), "after");
        self.shared.end();
        result
    }

    /// Follows every commit, after its answers.
    fn maintain(&mut self) {
        self.watched(Durable::maintain);
    }

    /// Work that nobody waits for. An error here stays, and the next commit is answered with it.
    fn watched(&mut self, work: impl FnOnce(&mut D) -> Result<(), StoreError>) {
        self.shared.begin();
        let _ = self.call(work);
        self.shared.end();
    }

    fn call<T>(&mut self, work: impl FnOnce(&mut D) -> Result<T, StoreError>) -> Result<T, StoreError> {
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

/// Hands a command to the store's driver. A store that is gone drops it, and the waiting ends with the reason.
type Queue<D> = Arc<dyn Fn(Command<D>) + Send + Sync>;

enum Way<D: Durable + ?Sized> {
    Queued(Queue<D>),
    Inline(Arc<Lock<Core<D>>>),
}

/// A store as everybody else sees it. Commands take effect in the order of the calls, whether or not their futures
/// are polled; a future that is dropped takes nothing back.
pub struct Handle<D: Durable + ?Sized> {
    way: Way<D>,
    shared: Arc<Shared>,
}

impl<D: Durable + ?Sized> Clone for Handle<D> {
    fn clone(&self) -> Self {
        let way = match &self.way {
            Way::Queued(commands) => Way::Queued(commands.clone()),
            Way::Inline(core) => Way::Inline(core.clone()),
        };
        Self {
            way,
            shared: self.shared.clone(),
        }
    }
}

impl<D: Durable + ?Sized + 'static> Handle<D> {
    /// Makes changes durable, all or none; see [`Durable::commit`]. An error means that they may or may not be.
    pub fn commit(&self, changes: Vec<D::Change>) -> impl Future<Output = Result<(), StoreError>> + Send + use<D> {
        let answer = match &self.way {
            Way::Queued(commands) => {
                let (answer, wait) = oneshot::channel();
                commands(Command::Commit(changes, answer));
                Answer::Waiting(wait)
            }
            Way::Inline(core) => {
                let mut core = core.lock().unwrap_or_else(PoisonError::into_inner);
                let result = core.commit(&changes);
                core.maintain();
                Answer::Ready(result)
            }
        };
        answered(answer, self.shared.clone())
    }

    /// Has the store's own thread do something else, after everything that was asked before.
    pub fn with<T, W>(&self, work: W) -> impl Future<Output = Result<T, StoreError>> + Send + use<D, T, W>
    where
        T: Send + 'static,
        W: FnOnce(&mut D) -> Result<T, StoreError> + Send + 'static,
    {
        self.ask(move |core| core.call(work))
    }

    /// Ends cleanly, after everything that was asked before. Later commands are answered with [`StoreError::Closed`].
    /// A store that has failed is dropped, and the answer is its error.
    pub fn close(&self) -> impl Future<Output = Result<(), StoreError>> + Send + use<D> {
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

    fn ask<T, W>(&self, work: W) -> impl Future<Output = Result<T, StoreError>> + Send + use<D, T, W>
    where
        T: Send + 'static,
        W: FnOnce(&mut Core<D>) -> Result<T, StoreError> + Send + 'static,
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

impl<D: Durable + ?Sized> std::fmt::Debug for Handle<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let way = match self.way {
            Way::Queued(_) => "queued",
            Way::Inline(_) => "inline",
        };
        f.debug_struct("Handle").field("way", &way).finish_non_exhaustive()
    }
}
