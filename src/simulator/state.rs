//! What the simulator's parts share: the world behind one lock, the clock, the Gateway, and what is to happen later.

use std::sync::{Arc, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use super::faults::{Endpoint, Fault, FaultList};
use super::gateway::{BotIdentity, Directory, Dispatch, Gateway};
use super::ledger::Ledger;
use super::limits::Limits;
use super::message::{Author, Draft, Message, SUPPRESS_EMBEDS};
use super::options::SimulatorOptions;
use super::world::World;
use crate::time::{Clock, SystemClock};

/// Any of these intents brings an event (Discord Docs/Events/Gateway).
pub mod intent {
    /// Channels, roles and the guild itself.
    pub const GUILDS: u64 = 1;
    /// Webhooks.
    pub const GUILD_WEBHOOKS: u64 = 1 << 5;
    /// Messages in the guild.
    pub const GUILD_MESSAGES: u64 = 1 << 9;
    /// Reactions in the guild.
    pub const GUILD_MESSAGE_REACTIONS: u64 = 1 << 10;
    /// Direct messages.
    pub const DIRECT_MESSAGES: u64 = 1 << 12;
}

#[expect(
    clippy::disallowed_types,
    reason = "the handle lives on other threads than the server; the lock is held for one request's work and never across an await"
)]
type Lock<T> = std::sync::Mutex<T>;

/// What is behind the lock.
pub struct Inner {
    /// What exists.
    pub world: World,
    /// Rate limits.
    pub limits: Limits,
    /// Faults.
    pub faults: FaultList,
    /// The record.
    pub ledger: Ledger,
    /// Settings; what is read at every request may be changed while running.
    pub options: SimulatorOptions,
}

/// What a request caused beside its answer.
#[derive(Default)]
pub struct Effects {
    /// Events for the Gateway.
    pub dispatches: Vec<Dispatch>,
    /// Events for the Gateway, later.
    pub late: Vec<(Duration, Dispatch)>,
    /// A link to fetch, and the event that follows.
    pub crawl: Option<(String, Dispatch)>,
    /// A presentation of a code in the ledger.
    pub presentation: Option<(usize, usize)>,
    /// The token that a presentation gave.
    pub issued: Option<String>,
    /// The token that was used.
    pub used: Option<String>,
    /// The message that was made.
    pub message_id: Option<u64>,
}

/// Something to do later, on the server's thread.
pub enum Later {
    /// Publishes an event at a time.
    Publish(Instant, Box<Dispatch>),
    /// Fetches a link as Discord's crawler does, then publishes an event.
    Crawl(String, Box<Dispatch>),
}

/// What the parts share.
pub struct State {
    inner: Lock<Inner>,
    gateway: OnceLock<Gateway>,
    later: UnboundedSender<Later>,
    base_url: String,
    started: Instant,
    started_us: i64,
}

impl State {
    /// The shared state of a simulator that listens on a port.
    pub fn new(options: SimulatorOptions, seed: u64, port: u16, later: UnboundedSender<Later>) -> Arc<Self> {
        let started_us = (SystemClock.now().as_millis() + options.clock_offset_ms) * 1_000;
        let settings = options.gateway.clone();
        let state = Arc::new(Self {
            inner: Lock::new(Inner {
                world: World::new(&options, seed),
                limits: Limits::new(options.limits.clone()),
                faults: FaultList::default(),
                ledger: Ledger::default(),
                options,
            }),
            gateway: OnceLock::new(),
            later,
            base_url: format!("http://127.0.0.1:{port}"),
            started: Instant::now(),
            started_us,
        });
        let directory = Arc::new(Bots(Arc::downgrade(&state)));
        state
            .gateway
            .get_or_init(|| Gateway::new(settings, directory as Arc<dyn Directory>));
        state
    }

    /// The world. Never publish while holding it: the Gateway asks for it.
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Microseconds since the Unix epoch; never goes back.
    pub fn now_us(&self) -> i64 {
        self.started_us + i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    /// The Gateway.
    pub fn gateway(&self) -> &Gateway {
        self.gateway.get().expect("set before the state is shared")
    }

    /// `http://127.0.0.1:PORT`.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The Gateway's address.
    pub fn gateway_url(&self) -> String {
        format!("{}/gateway", self.base_url.replacen("http", "ws", 1))
    }

    /// Lets what a request caused happen. The lock must be free.
    pub fn release(&self, effects: &mut Effects) {
        for dispatch in effects.dispatches.drain(..) {
            self.gateway().publish(dispatch);
        }
        // A server that is stopping has nobody left to tell.
        for (delay, dispatch) in effects.late.drain(..) {
            let _ = self
                .later
                .send(Later::Publish(Instant::now() + delay, Box::new(dispatch)));
        }
        if let Some((link, dispatch)) = effects.crawl.take() {
            let _ = self.later.send(Later::Crawl(link, Box::new(dispatch)));
        }
    }
}

impl Inner {
    /// Puts a message into a channel and makes its event; returns its id.
    pub fn post(&mut self, channel_id: u64, author: Author, draft: Draft, now_us: i64, effects: &mut Effects) -> u64 {
        let id = self.world.mint(now_us);
        let (bot, other) = (self.world.application.bot_id, super::world::OTHER_BOT_ID);
        let mentions = draft.mentions(|id| id == bot || id == other || self.world.people.contains_key(&id));
        let link = draft.link().map(str::to_owned);
        let message = Message {
            id,
            channel_id,
            author,
            draft,
            mentions,
            reactions: Vec::new(),
        };
        let data = message.event(&self.world);
        let intents = match self.world.channels.get(&channel_id).and_then(|c| c.recipient) {
            Some(_) => intent::DIRECT_MESSAGES,
            None => intent::GUILD_MESSAGES,
        };
        if let Some(link) = link.filter(|_| self.options.unfurl_links) {
            let mut data = data.clone();
            if message.draft.flags & SUPPRESS_EMBEDS == 0 {
                data["embeds"] = json!([{"type": "link", "url": link}]);
            }
            let update = Dispatch {
                kind: "MESSAGE_UPDATE",
                data,
                intents,
            };
            effects.crawl = Some((link, update));
        }
        if let Some(channel) = self.world.channels.get_mut(&channel_id) {
            channel.messages.insert(id, message);
        }
        effects.message_id = Some(id);
        let event = Dispatch {
            kind: "MESSAGE_CREATE",
            data,
            intents,
        };
        let delivery = |f: &Fault| matches!(f, Fault::DeliverTwice | Fault::DeliverLate { .. } | Fault::DeliverNever);
        match self
            .faults
            .take(Endpoint::Webhook, now_us, &mut self.world.rng, delivery)
        {
            Some(Fault::DeliverNever) => {}
            Some(Fault::DeliverLate { ms }) => effects.late.push((Duration::from_millis(ms), event)),
            Some(_) => effects.dispatches.extend([event.clone(), event]),
            None => effects.dispatches.push(event),
        }
        id
    }

    /// The fault of a kind that strikes now.
    pub fn fault(&mut self, endpoint: Endpoint, now_us: i64, kind: impl Fn(&Fault) -> bool) -> Option<Fault> {
        self.faults.take(endpoint, now_us, &mut self.world.rng, kind)
    }
}

/// What the Gateway may ask. It holds the state weakly: the state owns the Gateway.
struct Bots(Weak<State>);

impl Directory for Bots {
    fn bot(&self, token: &str) -> Option<BotIdentity> {
        let state = self.0.upgrade()?;
        let inner = state.lock();
        let application = &inner.world.application;
        (token.strip_prefix("Bot ").unwrap_or(token) == application.bot_token).then(|| BotIdentity {
            user: inner.world.user_json(application.bot_id).unwrap_or_default(),
            application_id: application.id,
            application_flags: application.flags,
            guilds: vec![super::guild::create_event(&inner.world)],
        })
    }

    fn may_view(&self, channel_id: u64) -> bool {
        let Some(state) = self.0.upgrade() else { return false };
        let inner = state.lock();
        inner
            .world
            .channels
            .get(&channel_id)
            .is_some_and(|c| c.recipient.is_some() || c.permissions.view)
    }
}

#[cfg(test)]
mod tests;
