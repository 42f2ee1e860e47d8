//! What the simulator's parts share: the world and the Gateway behind one lock, the clock, and events for later.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use super::draft::{Author, Draft, Message, SUPPRESS_EMBEDS};
use super::faults::{Endpoint, Fault, FaultList, Phase};
use super::gateway::{Dispatch, intent};
use super::hub::Hub;
use super::ids::{GUILD_ID, OTHER_BOT_ID};
use super::ledger::Ledger;
use super::limits::Limits;
use super::object;
use super::options::SimulatorOptions;
use super::request::Call;
use super::world::World;
use crate::time::{Clock, SystemClock};

#[expect(
    clippy::disallowed_types,
    reason = "tests call from other threads than the server's; the lock is held for one request and never across an await"
)]
type Lock<T> = std::sync::Mutex<T>;

/// Discord fetches a link about a second after the message.
const CRAWL_AFTER: Duration = Duration::from_secs(1);

/// What is behind the lock.
pub struct Inner {
    pub world: World,
    pub hub: Hub,
    pub limits: Limits,
    pub faults: FaultList,
    pub ledger: Ledger,
    pub options: SimulatorOptions,
    /// What the request that is being handled caused.
    pub effects: Effects,
    /// `http://127.0.0.1:PORT`.
    pub base_url: String,
    later: UnboundedSender<Later>,
}

/// What a request caused apart from its answer.
#[derive(Default)]
pub struct Effects {
    /// Where the ledger recorded the code that was presented.
    pub presentation: Option<(usize, usize)>,
    /// The token that the code was exchanged for.
    pub issued: Option<String>,
    /// The message that was posted.
    pub message_id: Option<u64>,
}

/// An event to publish later, on the server's thread.
pub struct Later {
    pub at: Instant,
    /// A link to fetch first, as Discord's crawler does.
    pub link: Option<String>,
    pub dispatch: Dispatch,
}

/// What the parts share. Its methods are the simulator's controls: see `handle.rs`.
pub struct State {
    inner: Lock<Inner>,
    started: Instant,
    started_us: AtomicI64,
}

impl State {
    /// The state of a simulator that listens on a port.
    pub(super) fn new(options: SimulatorOptions, seed: u64, port: u16, later: UnboundedSender<Later>) -> Self {
        let started_us = AtomicI64::new((SystemClock.now().as_millis() + options.clock_offset_ms) * 1_000);
        Self {
            inner: Lock::new(Inner::new(options, seed, format!("http://127.0.0.1:{port}"), later)),
            started: Instant::now(),
            started_us,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on the world at the present time, in microseconds.
    pub(super) fn act<T>(&self, work: impl FnOnce(&mut Inner, i64) -> T) -> T {
        let now_us = self.now_us();
        work(&mut self.lock(), now_us)
    }

    /// Microseconds since the Unix epoch; goes back only where it is stepped.
    pub(super) fn now_us(&self) -> i64 {
        self.started_us.load(Ordering::Relaxed) + i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    /// Steps Discord's clock forwards or back, as if this machine's had been set or had stood still.
    pub fn step_clock(&self, by_ms: i64) {
        self.started_us.fetch_add(by_ms * 1_000, Ordering::Relaxed);
    }

    /// `http://127.0.0.1:PORT`; the API is below `/api/v10`.
    pub fn base_url(&self) -> String {
        self.lock().base_url.clone()
    }
}

fn gateway_url(base_url: &str) -> String {
    format!("{}/gateway", base_url.replacen("http", "ws", 1))
}

impl Inner {
    pub(super) fn new(options: SimulatorOptions, seed: u64, base_url: String, later: UnboundedSender<Later>) -> Self {
        Self {
            world: World::new(&options, seed),
            hub: Hub::new(options.gateway.clone(), gateway_url(&base_url)),
            limits: Limits::new(options.limits.clone()),
            faults: FaultList::default(),
            ledger: Ledger::default(),
            options,
            effects: Effects::default(),
            base_url,
            later,
        }
    }

    /// The Gateway's address.
    pub fn gateway_url(&self) -> String {
        gateway_url(&self.base_url)
    }

    /// Puts a message into a channel and publishes its event; returns its id.
    pub fn post(&mut self, channel_id: u64, author: Author, draft: Draft, now_us: i64) -> u64 {
        let id = self.world.mint(now_us);
        let bot = self.world.application.bot_id;
        let mentions = draft.mentions(|id| id == bot || id == OTHER_BOT_ID || self.world.people.contains_key(&id));
        let link = draft.link().map(str::to_owned);
        let message = Message {
            id,
            channel_id,
            author,
            draft,
            mentions,
            reactions: Vec::new(),
        };
        let event = Dispatch {
            kind: "MESSAGE_CREATE",
            data: object::message_create(&self.world, &message),
            intents: self.message_intent(channel_id),
        };
        if let Some(link) = link {
            let mut update = event.clone();
            update.kind = "MESSAGE_UPDATE";
            if message.draft.flags & SUPPRESS_EMBEDS == 0 {
                update.data["embeds"] = json!([{"type": "link", "url": link}]);
            }
            self.later(CRAWL_AFTER, Some(link), update);
        }
        if let Some(channel) = self.world.channels.get_mut(&channel_id) {
            channel.messages.insert(id, message);
        }
        self.effects.message_id = Some(id);
        let delivery = |f: &Fault| matches!(f, Fault::DeliverTwice | Fault::DeliverLate { .. } | Fault::DeliverNever);
        match self.fault(Endpoint::Webhook, now_us, delivery) {
            Some(Fault::DeliverNever) => {}
            Some(Fault::DeliverLate { ms }) => self.later(Duration::from_millis(ms), None, event),
            twice => {
                for _ in 0..=usize::from(twice.is_some()) {
                    self.hub.publish(&self.world, &event);
                }
            }
        }
        id
    }

    /// Publishes an event after a while, once a link has been fetched.
    fn later(&self, after: Duration, link: Option<String>, dispatch: Dispatch) {
        let at = Instant::now() + after;
        // This fails when the server is stopping: its receiver is gone.
        let _ = self.later.send(Later { at, link, dispatch });
    }

    /// Removes a message and publishes its event.
    pub fn remove_message(&mut self, channel_id: u64, id: u64) {
        let Some(channel) = self.world.channels.get_mut(&channel_id) else {
            return;
        };
        channel.messages.remove(&id);
        let mut data = json!({"id": id.to_string(), "channel_id": channel_id.to_string()});
        if channel.recipient.is_none() {
            data["guild_id"] = json!(GUILD_ID.to_string());
        }
        self.dispatch("MESSAGE_DELETE", data, self.message_intent(channel_id));
    }

    fn message_intent(&self, channel_id: u64) -> u64 {
        if self.world.is_direct(channel_id) {
            intent::DIRECT_MESSAGES
        } else {
            intent::GUILD_MESSAGES
        }
    }

    /// Publishes an event.
    pub fn dispatch(&mut self, kind: &'static str, data: Value, intents: u64) {
        self.hub.publish(&self.world, &Dispatch { kind, data, intents });
    }

    /// Publishes the event of a change to a channel's webhooks. It does not say what has changed.
    pub fn webhooks_changed(&mut self, channel_id: u64) {
        let data = json!({"guild_id": GUILD_ID.to_string(), "channel_id": channel_id.to_string()});
        self.dispatch("WEBHOOKS_UPDATE", data, intent::GUILD_WEBHOOKS);
    }

    /// The first fault of a phase that strikes a request now.
    pub fn fault_in(&mut self, phase: Phase, call: &Call<'_>) -> Option<Fault> {
        self.fault(call.endpoint, call.now_us, |fault| fault.phase() == phase)
    }

    /// The first fault that `kind` selects and that strikes now.
    pub fn fault(&mut self, endpoint: Endpoint, now_us: i64, kind: impl Fn(&Fault) -> bool) -> Option<Fault> {
        self.faults.take(endpoint, now_us, &mut self.world.rng, kind)
    }
}

#[cfg(test)]
mod tests;
