//! Where a command's answers come from: the running service, or the store of one that does not run.

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

/// A service that starts or ends is met again this often before it counts as one without a socket.
const TRIES: u32 = 10;
/// Between two of these.
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// What is done where there is no journal yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingJournal {
    /// Opening would make one, and a mistaken path would look like an empty queue.
    Refuse,
    /// One is made.
    Make,
}

/// Where the answers come from; nobody needs to know which.
pub enum Source<'a> {
    /// A service that answers at its socket.
    Running(ControlClient, tokio::runtime::Runtime),
    /// The store of one that does not run.
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
                    .way_out("`codeferry run` makes it; is this the configuration that the service runs with?")
                    .into());
            }
            match StoppedStore::open(config, SystemClock::shared()) {
                Ok(store) => return Ok(Self::Stopped(RefCell::new(Some(store)))),
                // Between a service's lock and its socket lies the opening of the journal; between its socket's end and
                // the release of the lock lies its closing.
                Err(error) if error.is_locked() && tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(BETWEEN_TRIES);
                }
                Err(error) if error.is_locked() => {
                    return Err(Failure::new(
                        Exit::Failed,
                        "the journal is in use, but no service answers at control.socket",
                    )
                    .source(error)
                    .way_out("see whether control.socket is set to the same path for both, or stop the service")
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

    /// Asks.
    pub fn ask(&self, ask: &Ask) -> anyhow::Result<Value> {
        let answer = match self {
            Self::Running(client, runtime) => runtime
                .block_on(client.ask(ask))
                .map_err(|error| Failure::new(Exit::Failed, "the service stopped answering").source(error))?,
            Self::Stopped(store) => {
                let mut store = store.borrow_mut();
                store
                    .as_mut()
                    .map_or_else(|| Err(Refusal::new(503, "the store is closed")), |store| store.ask(ask))
            }
        };
        answer.map_err(|refusal| of_refusal(refusal).into())
    }

    /// A link, made by the running service, or with these keys over the stopped store.
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

/// A refusal as a failure with its exit code.
pub fn of_refusal(refusal: Refusal) -> Failure {
    let exit = match refusal.status {
        400 => Exit::Usage,
        503 => Exit::Store,
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
            tracing::error!(%error, "the journal could not be closed cleanly");
        }
    }
}
