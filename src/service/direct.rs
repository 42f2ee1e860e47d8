//! Direct intake: the service takes redirects itself, with the relay's front and its own journal. No channel, no webhook and
//! no relay key are needed; a page is answered once what came is in the journal, durably.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use tokio::sync::Mutex;
use tokio::sync::broadcast::error::RecvError;

use super::settings::states;
use super::wiring::Core;
use crate::actors::journal::Journal;
use crate::actors::journal::events::{Audience, GrantEvent, Subscribe, Wanted};
use crate::actors::journal::message::{Append, JournalError};
use crate::actors::journal::open_grants::{Carried, Redirected};
use crate::config::{Config, Secrets};
use crate::front::counts::Counts;
use crate::front::pages::Pages;
use crate::front::server::{Front, FrontSettings};
use crate::ids::CodeHash;
use crate::intake::callback::{Callback, CallbackRules, MOST_PER_LINK};
use crate::intake::state::{StateKey, StateRules};
use crate::lifecycle::{Exit, Failure};
use crate::port::callback_intake::{CallbackAnswer, CallbackIntake, Ending};
use crate::secret::Key;
use crate::store::CommitterHandle;
use crate::time::{OnceAMinute, SharedClock, Timestamp};

/// What the front will count, where the configuration asks for one: the control interface tells it too, and opens first.
pub fn counts(config: &Config) -> Option<Arc<Counts>> {
    config.intake.http.listen.map(|_| Arc::default())
}

/// Opens the front where the configuration asks for one.
pub fn start(
    config: &Config,
    secrets: &Secrets,
    core: &Core,
    pages: Pages,
    counts: Option<Arc<Counts>>,
) -> Result<Option<Front>, Failure> {
    let (Some(listen), Some(counts)) = (config.intake.http.listen, counts) else {
        return Ok(None);
    };
    let direct = Direct(Arc::new(Shared {
        journal: core.journal.clone(),
        store: core.store.clone(),
        states: states(config, secrets),
        hash_key: core.code_hash_key.clone(),
        clock: core.clock.clone(),
        counts: Arc::clone(&counts),
        links: Mutex::default(),
        busy: Mutex::default(),
    }));
    let front = Front::start(FrontSettings {
        listen,
        rules: CallbackRules {
            key: StateKey::new(&secrets.state_keys),
            code_lifetime: config.intake.code_lifetime,
            // The clock that made the link judges it.
            tolerance: Duration::ZERO,
            lanes: None,
        },
        clock: core.clock.clone(),
        pages,
        trusted_proxies: config.intake.http.trusted_proxies.clone(),
        intake: Arc::new(direct),
        counts,
    })
    .map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot listen on {listen}"))
            .source(error)
            .way_out("free the port, or set intake.http.listen to another one")
    })?;
    tracing::info!(address = %front.address, "direct intake");
    Ok(Some(front))
}

struct Direct(Arc<Shared>);

struct Shared {
    journal: Addr<Journal>,
    store: CommitterHandle,
    states: StateRules,
    hash_key: Key,
    clock: SharedClock,
    counts: Arc<Counts>,
    /// What came from each link while it could still be used.
    links: Mutex<HashMap<[u8; 8], FromLink>>,
    /// Names people who were sent away.
    busy: Mutex<OnceAMinute>,
}

struct FromLink {
    until: Timestamp,
    seen: Vec<CodeHash>,
}

impl CallbackIntake for Direct {
    fn take(&self, callback: Callback) -> Pin<Box<dyn Future<Output = CallbackAnswer>>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { shared.take(callback).await })
    }

    fn ending(&self, callback: &Callback) -> Pin<Box<dyn Future<Output = Option<Ending>>>> {
        let (journal, code) = (self.0.journal.clone(), callback.hash(&self.0.hash_key));
        Box::pin(async move { ending(&journal, code).await })
    }
}

/// Waits for the outcome of one code. Of a link there may be several: a stranger's, then the user's own.
async fn ending(journal: &Addr<Journal>, code: CodeHash) -> Option<Ending> {
    let wanted = Wanted {
        code: Some(code),
        ..Wanted::default()
    };
    let asked = Subscribe {
        audience: Audience::Page,
        wanted: wanted.clone(),
        after: None,
    };
    let subscription = journal.send(asked).await.ok()?.ok()?;
    if let Some(ended) = subscription.past.iter().find_map(|n| of_event(&n.event)) {
        return Some(ended);
    }
    let mut next = subscription.next;
    loop {
        match next.recv().await {
            Ok(told) if wanted.takes(&told.event) => {
                if let Some(ended) = of_event(&told.event) {
                    return Some(ended);
                }
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

fn of_event(event: &GrantEvent) -> Option<Ending> {
    Some(match event.outcome.as_deref()? {
        // A duplicate's consent has completed by another code.
        "completed" | "duplicate" => Ending::Completed,
        "wrong_person" => Ending::WrongPerson,
        _ => Ending::Failed,
    })
}

/// What a link's record says of a callback.
enum Seen {
    New,
    Again,
    TooMany,
}

impl Shared {
    async fn take(&self, callback: Callback) -> CallbackAnswer {
        let now = self.clock.now();
        let hash = callback.hash(&self.hash_key);
        let (nonce, denied) = (callback.token.nonce, callback.result.is_err());
        match self.note(nonce, hash, callback.accepted_until, now).await {
            Seen::TooMany => {
                self.counts.refused.add();
                return CallbackAnswer::TooMany;
            }
            // The journal knows its codes, over restarts too; a denial has none.
            Seen::Again if denied => return self.known().await,
            Seen::Again | Seen::New => {}
        }
        let redirect = Redirected {
            redirected_at: Some(now),
            requested: self.states.interpret(Some(&callback.state), now),
            result: callback.result.map(|code| (code, hash)),
        };
        let low = u32::from_be_bytes([hash.0[0], hash.0[1], hash.0[2], hash.0[3]]);
        let carried = Carried::direct(now, low, callback.token.lane, redirect);
        let taken = match self.journal.send(Append(vec![carried])).await {
            Ok(Ok(appended)) if appended.left_out > 0 => CallbackAnswer::Busy,
            Ok(Ok(appended)) if appended.received > 0 => {
                self.counts.accepted.add();
                self.counts.denied.add_many(usize::from(denied));
                tracing::info!(code = hash.short(), denied, "a callback is on disk");
                return CallbackAnswer::Safe;
            }
            Ok(Ok(_)) => return self.known().await,
            Ok(Err(JournalError::Full | JournalError::NoRoom)) => CallbackAnswer::Busy,
            Ok(Err(error)) => {
                tracing::error!(%error, "a callback was not accepted");
                CallbackAnswer::Failed
            }
            Err(_) => CallbackAnswer::Failed,
        };
        if taken == CallbackAnswer::Busy {
            self.counts.busy.add();
            if let Some(people) = self.busy.lock().await.tell() {
                tracing::warn!(people, "users were turned away: the journal is full");
            }
        }
        self.forget(nonce, hash).await;
        taken
    }

    /// What is known may still be on its way to the disk, by a request that came a moment before: the store answers in
    /// order, so when it answers this, that is durable.
    async fn known(&self) -> CallbackAnswer {
        self.counts.repeated.add();
        match self.store.closed_totals().await {
            Ok(_) => CallbackAnswer::Safe,
            Err(_) => CallbackAnswer::Failed,
        }
    }

    async fn note(&self, nonce: [u8; 8], hash: CodeHash, until: Timestamp, now: Timestamp) -> Seen {
        let mut links = self.links.lock().await;
        if !links.contains_key(&nonce) {
            links.retain(|_, link| link.until > now);
        }
        let seen = &mut links
            .entry(nonce)
            .or_insert_with(|| FromLink {
                until,
                seen: Vec::new(),
            })
            .seen;
        if seen.contains(&hash) {
            Seen::Again
        } else if seen.len() >= MOST_PER_LINK {
            Seen::TooMany
        } else {
            seen.push(hash);
            Seen::New
        }
    }

    /// It was not taken, and may come again.
    async fn forget(&self, nonce: [u8; 8], hash: CodeHash) {
        if let Some(link) = self.links.lock().await.get_mut(&nonce) {
            link.seen.retain(|seen| *seen != hash);
        }
    }
}
