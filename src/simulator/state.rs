//! What the simulator's parts share: the world behind one lock, the clock, the Gateway, and events for later.

use std::sync::{MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use super::draft::{Author, Draft, Message, SUPPRESS_EMBEDS};
use super::faults::{Endpoint, Fault, FaultList};
use super::gateway::{Dispatch, Gateway};
use super::ids::{GUILD_ID, OTHER_BOT_ID};
use super::ledger::Ledger;
use super::limits::Limits;
use super::object;
use super::options::SimulatorOptions;
use super::world::World;
use crate::time::{Clock, SystemClock};

/// A session receives an event if it asked for any of the event's intents (Discord Docs/Events/Gateway).
pub mod intent {
    pub const GUILDS: u64 = 1;
    pub const GUILD_WEBHOOKS: u64 = 1 << 5;
    pub const GUILD_MESSAGES: u64 = 1 << 9;
    pub const GUILD_MESSAGE_REACTIONS: u64 = 1 << 10;
    pub const DIRECT_MESSAGES: u64 = 1 << 12;
}

#[expect(
    clippy::disallowed_types,
    reason = "tests call from other threads than the server's; the lock is held for one request and never across an await"
)]
type Lock<T> = std::sync::Mutex<T>;

/// What is behind the lock.
pub struct Inner {
    pub world: World,
    pub limits: Limits,
    pub faults: FaultList,
    pub ledger: Ledger,
    /// Options; those that are read at every request may be changed while running.
    pub options: SimulatorOptions,
    /// What the work since the last [`State::act`] caused.
    pub effects: Effects,
    /// `http://127.0.0.1:PORT`.
    pub base_url: String,
}

/// What a request caused apart from its answer.
#[derive(Default)]
pub struct Effects {
    /// Events for the Gateway.
    pub dispatches: Vec<Dispatch>,
    /// Events for the Gateway after a delay.
    pub late: Vec<(Duration, Dispatch)>,
    /// A link to fetch, and the event that follows.
    pub crawl: Option<(String, Dispatch)>,
    /// Where the ledger recorded the code that was presented.
    pub presentation: Option<(usize, usize)>,
    /// The token that the code was exchanged for.
    pub issued: Option<String>,
    /// The token that the request was authorized by.
    pub used: Option<String>,
    /// The message that was posted.
    pub message_id: Option<u64>,
}

/// Something to do later, on the server's thread.
pub enum Later {
    /// Publishes an event at a time.
    Publish(Instant, Box<Dispatch>),
    /// Fetches a link as Discord's crawler does, then publishes an event.
    Crawl(String, Box<Dispatch>),
}

/// What the parts share. Its methods are the simulator's controls: see `handle.rs`.
pub struct State {
    inner: Lock<Inner>,
    gateway: OnceLock<Gateway>,
    later: UnboundedSender<Later>,
    base_url: String,
    started: Instant,
    started_us: i64,
}

impl State {
    /// The state of a simulator that listens on a port.
    pub(super) fn new(options: SimulatorOptions, seed: u64, port: u16, later: UnboundedSender<Later>) -> Self {
        let base_url = format!("http://127.0.0.1:{port}");
        let started_us = (SystemClock.now().as_millis() + options.clock_offset_ms) * 1_000;
        Self {
            inner: Lock::new(Inner::new(options, seed, base_url.clone())),
            gateway: OnceLock::new(),
            later,
            base_url,
            started: Instant::now(),
            started_us,
        }
    }

    /// The world. Never publish while holding it: the Gateway locks it too.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on the world at the present time, in microseconds, and publishes the events that this caused.
    pub(super) fn act<T>(&self, work: impl FnOnce(&mut Inner, i64) -> T) -> T {
        let now_us = self.now_us();
        let mut inner = self.lock();
        let result = work(&mut inner, now_us);
        let effects = std::mem::take(&mut inner.effects);
        drop(inner);
        self.publish_effects(effects);
        result
    }

    /// Publishes events. The lock must be free.
    pub(super) fn publish_effects(&self, effects: Effects) {
        for dispatch in effects.dispatches {
            self.gateway().publish(dispatch);
        }
        // Sending fails when the server is stopping: its receiver is gone.
        for (delay, dispatch) in effects.late {
            let at = Instant::now() + delay;
            let _ = self.later.send(Later::Publish(at, Box::new(dispatch)));
        }
        if let Some((link, dispatch)) = effects.crawl {
            let _ = self.later.send(Later::Crawl(link, Box::new(dispatch)));
        }
    }

    /// Microseconds since the Unix epoch; never goes back.
    pub(super) fn now_us(&self) -> i64 {
        self.started_us + i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    /// Connects the Gateway, once.
    pub(super) fn set_gateway(&self, gateway: Gateway) {
        self.gateway.get_or_init(|| gateway);
    }

    /// The Gateway.
    pub fn gateway(&self) -> &Gateway {
        self.gateway.get().expect("connected before the server starts")
    }

    /// `http://127.0.0.1:PORT`; the API is below `/api/v10`.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }
}

impl Inner {
    pub(super) fn new(options: SimulatorOptions, seed: u64, base_url: String) -> Self {
        Self {
            world: World::new(&options, seed),
            limits: Limits::new(options.limits.clone()),
            faults: FaultList::default(),
            ledger: Ledger::default(),
            options,
            effects: Effects::default(),
            base_url,
        }
    }

    /// The Gateway's address.
    pub fn gateway_url(&self) -> String {
        format!("{}/gateway", self.base_url.replacen("http", "ws", 1))
    }

    /// Puts a message into a channel and creates its event; returns its id.
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
        if let Some(link) = link.filter(|_| self.options.unfurl_links) {
            let mut update = event.clone();
            update.kind = "MESSAGE_UPDATE";
            if message.draft.flags & SUPPRESS_EMBEDS == 0 {
                update.data["embeds"] = json!([{"type": "link", "url": link}]);
            }
            self.effects.crawl = Some((link, update));
        }
        if let Some(channel) = self.world.channels.get_mut(&channel_id) {
            channel.messages.insert(id, message);
        }
        self.effects.message_id = Some(id);
        let delivery = |f: &Fault| matches!(f, Fault::DeliverTwice | Fault::DeliverLate { .. } | Fault::DeliverNever);
        match self.fault(Endpoint::Webhook, now_us, delivery) {
            Some(Fault::DeliverNever) => {}
            Some(Fault::DeliverLate { ms }) => self.effects.late.push((Duration::from_millis(ms), event)),
            Some(_) => self.effects.dispatches.extend([event.clone(), event]),
            None => self.effects.dispatches.push(event),
        }
        id
    }

    /// Removes a message and creates its event.
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

    /// Creates an event.
    pub fn dispatch(&mut self, kind: &'static str, data: Value, intents: u64) {
        self.effects.dispatches.push(Dispatch { kind, data, intents });
    }

    /// Creates the event of a change to a channel's webhooks. It does not say what has changed.
    pub fn webhooks_changed(&mut self, channel_id: u64) {
        let data = json!({"guild_id": GUILD_ID.to_string(), "channel_id": channel_id.to_string()});
        self.dispatch("WEBHOOKS_UPDATE", data, intent::GUILD_WEBHOOKS);
    }

    /// The first fault that `kind` selects and that strikes now.
    pub fn fault(&mut self, endpoint: Endpoint, now_us: i64, kind: impl Fn(&Fault) -> bool) -> Option<Fault> {
        self.faults.take(endpoint, now_us, &mut self.world.rng, kind)
    }
}

#[cfg(test)]
mod tests;
