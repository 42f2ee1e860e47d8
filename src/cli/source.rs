//! Where a command's answers come from: the running service, or the store of a stopped one.

use std::cell::RefCell;
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::Config;
use crate::control::client::ControlClient;
use crate::control::stopped::StoppedStore;
use crate::control::{Ask, LinkRequest, Refusal};
use crate::intake::mint::Minter;
use crate::lifecycle::{Exit, Failure};
use crate::time::SystemClock;

/// How often a locked store is retried: its service may be starting or stopping.
const TRIES: u32 = 10;
/// The time between two tries.
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// What to do if there is no journal yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingJournal {
    /// Fail: a new journal at a mistyped path would look like an empty queue.
    Refuse,
    /// Create one.
    Make,
}

/// A running service or a stopped one; both answer alike.
pub enum Source<'a> {
    /// A service, through its control socket.
    Running(ControlClient, tokio::runtime::Runtime),
    /// The store of a stopped service.
    Stopped(RefCell<Option<StoppedStore<'a>>>),
}

impl<'a> Source<'a> {
    /// The running service, if one answers.
    pub fn running(config: &Config) -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let client = ControlClient::new(config.control.socket.as_deref()?);
        let (runtime, client) = (runtime.ok()?, client.ok()?);
        let answers = runtime.block_on(client.ask(&Ask::Budget)).is_ok();
        answers.then_some(Self::Running(client, runtime))
    }

    /// The running service if one answers, else the store.
    pub fn find(config: &'a Config, missing: MissingJournal) -> anyhow::Result<Self> {
        let mut tries = 0;
        loop {
            if let Some(running) = Self::running(config) {
                return Ok(running);
            }
            if missing == MissingJournal::Refuse && !config.journal.path.exists() {
                let path = config.journal.path.display();
                return Err(Failure::new(Exit::Failed, format!("there is no journal at `{path}`"))
                    .way_out("check that --config names the configuration of the service; `codeferry run` creates the journal")
                    .into());
            }
            match StoppedStore::open(config, SystemClock::shared()) {
                Ok(store) => return Ok(Self::Stopped(RefCell::new(Some(store)))),
                // A service locks its journal before it opens the socket, and releases it after the socket has closed.
                Err(error) if error.is_locked() && tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(BETWEEN_TRIES);
                }
                Err(error) if error.is_locked() => {
                    return Err(Failure::new(
                        Exit::Failed,
                        "the journal is in use, but no service answers at `control.socket`",
                    )
                    .source(error)
                    .way_out("the service may be starting or stopping: see its log; or `control.socket` is another path for it than for this command")
                    .into());
                }
                Err(error) => {
                    return Err(Failure::new(Exit::Store, "the journal cannot be opened")
                        .source(error)
                        .into());
                }
            }
        }
    }

    /// Asks for something, and returns the answer.
    pub fn ask(&self, ask: &Ask) -> anyhow::Result<Value> {
        let answer = match self {
            Self::Running(client, runtime) => runtime.block_on(client.ask(ask)).map_err(|error| {
                Failure::new(Exit::Failed, "the service no longer answers at `control.socket`").source(error)
            })?,
            Self::Stopped(store) => {
                let mut store = store.borrow_mut();
                store
                    .as_mut()
                    .map_or_else(|| Err(Refusal::new(503, "the store is closed")), |store| store.ask(ask))
            }
        };
        answer.map_err(|refusal| of_refusal(refusal).into())
    }

    /// A link: from the running service, or made with this minter in the stopped store.
    pub fn link(&self, request: &LinkRequest, minter: &Minter, nonce: [u8; 8]) -> anyhow::Result<Value> {
        let Self::Stopped(store) = self else {
            return self.ask(&Ask::Link(request.clone()));
        };
        let mut store = store.borrow_mut();
        let link = match store.as_mut() {
            Some(store) => store.link(minter, request, nonce),
            None => Err(Refusal::new(503, "the store is closed")),
        };
        Ok(json!(link.map_err(of_refusal)?))
    }
}

/// The failure, with its exit code, for a refusal.
pub fn of_refusal(refusal: Refusal) -> Failure {
    let exit = match refusal.status {
        400 => Exit::Usage,
        503 if refusal.retry_after.is_none() => Exit::Store,
        _ => Exit::Failed,
    };
    Failure::new(exit, refusal.message)
}

impl Drop for Source<'_> {
    fn drop(&mut self) {
        if let Self::Stopped(store) = self
            && let Some(store) = store.take()
            && let Err(error) = store.close()
        {
            tracing::error!(%error, "the journal was not closed cleanly");
        }
    }
}
