//! What a test or a command asks of a running simulator without a socket: addresses, secrets, faults, the record, and the
//! fast ways to make codes and posts.

use serde::Serialize;
use serde_json::json;

use super::authorize::{self, Request};
use super::control::{CodeRequest, PortalChange, PostAuthor, PostRequest};
use super::faults::FaultRule;
use super::gateway::{Dispatch, Gateway};
use super::interactions::{self, Interaction, UseRequest};
use super::ledger::{Ledger, Revocation, Summary};
use super::limits::LimitSettings;
use super::message::{Author, Draft};
use super::options::BotPermissions;
use super::person::Person;
use super::server::Simulator;
use super::state::{Effects, State, intent};
use super::world::{
    FIRST_LANE_CHANNEL, FIRST_LANE_WEBHOOK, GUILD_ID, OTHER_BOT_ID, OWNER_ID, RESULT_CHANNEL, RESULT_WEBHOOK,
    STRANGE_WEBHOOK, nth_person_id, text,
};

/// Everything needed to point a service at the simulator. Its secrets open nothing but the simulator.
#[derive(Clone, Serialize)]
pub struct Description {
    /// `http://127.0.0.1:PORT`.
    pub base_url: String,
    /// The API's root.
    pub api_base: String,
    /// The consent page.
    pub authorize_url: String,
    /// The Gateway.
    pub gateway_url: String,
    /// `client_id`.
    pub application_id: String,
    /// The client secret.
    pub client_secret: String,
    /// The bot's user id.
    pub bot_id: String,
    /// The bot's token.
    pub bot_token: String,
    /// The first registered redirect URI.
    pub redirect_uri: String,
    /// The guild.
    pub guild_id: String,
    /// Who owns guild and application.
    pub owner_id: String,
    /// A bot that is not the application's.
    pub other_bot_id: String,
    /// The intake channels with their webhooks.
    pub lanes: Vec<LaneDescription>,
    /// A channel for results with its webhook.
    pub results: LaneDescription,
    /// A second webhook in the first intake channel, which is not to be trusted.
    pub strange_webhook: Option<WebhookDescription>,
    /// People who exist from the start.
    pub people: Vec<String>,
}

/// A channel and its webhook.
#[derive(Clone, Serialize)]
pub struct LaneDescription {
    /// The channel.
    pub channel_id: String,
    /// Its webhook.
    pub webhook: WebhookDescription,
}

/// A webhook.
#[derive(Clone, Serialize)]
pub struct WebhookDescription {
    /// Its id.
    pub id: String,
    /// Its token.
    pub token: String,
    /// Where to post: the versioned address.
    pub url: String,
}

impl State {
    /// Everything needed to point a service here.
    pub fn describe(&self) -> Description {
        let inner = self.lock();
        let world = &inner.world;
        let base_url = self.base_url().to_owned();
        let webhook = |id: u64| {
            let webhook = world.webhooks.get(&id)?;
            Some(WebhookDescription {
                id: id.to_string(),
                token: webhook.token.clone(),
                url: format!("{base_url}/api/v10/webhooks/{id}/{}", webhook.token),
            })
        };
        let lane = |channel_id: u64, webhook_id: u64| {
            Some(LaneDescription {
                channel_id: channel_id.to_string(),
                webhook: webhook(webhook_id)?,
            })
        };
        Description {
            api_base: format!("{base_url}/api/v10"),
            authorize_url: format!("{base_url}/oauth2/authorize"),
            gateway_url: self.gateway_url(),
            application_id: world.application.id.to_string(),
            client_secret: world.application.client_secret.clone(),
            bot_id: world.application.bot_id.to_string(),
            bot_token: world.application.bot_token.clone(),
            redirect_uri: world.application.redirect_uris.first().cloned().unwrap_or_default(),
            guild_id: GUILD_ID.to_string(),
            owner_id: OWNER_ID.to_string(),
            other_bot_id: OTHER_BOT_ID.to_string(),
            lanes: (0..u64::from(inner.options.lanes))
                .filter_map(|n| lane(FIRST_LANE_CHANNEL + n, FIRST_LANE_WEBHOOK + n))
                .collect(),
            results: lane(RESULT_CHANNEL, RESULT_WEBHOOK).unwrap_or_else(|| LaneDescription {
                channel_id: RESULT_CHANNEL.to_string(),
                webhook: WebhookDescription {
                    id: RESULT_WEBHOOK.to_string(),
                    token: String::new(),
                    url: String::new(),
                },
            }),
            strange_webhook: webhook(STRANGE_WEBHOOK),
            people: (0..u64::from(inner.options.people))
                .map(|n| nth_person_id(n).to_string())
                .collect(),
            base_url,
        }
    }

    /// Issues codes as if a person had approved so often.
    pub fn mint_codes(&self, request: &CodeRequest) -> Vec<String> {
        let now_us = self.now_us();
        let mut inner = self.lock();
        let first = inner.world.application.redirect_uris.first().cloned();
        let approved = Request {
            redirect_uri: request.redirect_uri.clone().or(first),
            state: None,
            scope: request.scopes.join(" "),
            challenge: request.code_challenge.clone(),
        };
        (0..request.count)
            .map(|_| authorize::issue(&mut inner, &approved, request.user_id, now_us))
            .collect()
    }

    /// Posts as anyone, past every limit and rule. `None` for a channel or webhook that does not exist.
    pub fn post(&self, request: PostRequest) -> Option<u64> {
        let now_us = self.now_us();
        let mut effects = Effects::default();
        let id = {
            let mut inner = self.lock();
            let (author, webhook_id) = match &request.author {
                PostAuthor::Person(id) => {
                    inner.world.person(*id);
                    (Author::User(*id), None)
                }
                PostAuthor::Bot => (Author::User(inner.world.application.bot_id), None),
                PostAuthor::OtherBot => (Author::User(OTHER_BOT_ID), None),
                PostAuthor::Webhook(id) => {
                    let webhook = inner.world.webhooks.get(id)?;
                    (Author::webhook(webhook, request.username.as_deref()), Some(*id))
                }
            };
            let lands_in = webhook_id.and_then(|id| inner.world.webhooks.get(&id).map(|w| w.channel_id));
            let channel_id = request.channel_id.or(lands_in)?;
            inner.world.channels.get(&channel_id)?;
            let draft = Draft {
                flags: request.flags,
                allowed_mentions: request.allowed_mentions,
                ..Draft::text(request.content)
            };
            // Not recorded as an execution: it went past the limits that executions are judged by.
            inner.post(channel_id, author, draft, now_us, &mut effects)
        };
        self.release(&mut effects);
        Some(id)
    }

    /// Changes what the bot may do in a channel, and tells the Gateway.
    pub fn permit(&self, channel_id: u64, permissions: BotPermissions) -> bool {
        let mut effects = Effects::default();
        {
            let mut inner = self.lock();
            let Some(channel) = inner.world.channels.get_mut(&channel_id) else {
                return false;
            };
            channel.permissions = permissions;
            let channel = &inner.world.channels[&channel_id];
            effects.dispatches.push(Dispatch {
                kind: "CHANNEL_UPDATE",
                data: super::channels::channel_json(&inner.world, channel),
                intents: intent::GUILDS,
            });
        }
        self.release(&mut effects);
        true
    }

    /// Changes the portal's settings.
    pub fn change_portal(&self, change: PortalChange) {
        let mut inner = self.lock();
        let application = &mut inner.world.application;
        if let Some(flags) = change.flags {
            application.flags = flags;
        }
        if let Some(uris) = change.redirect_uris {
            application.redirect_uris = uris;
        }
        if let Some(secret) = change.client_secret {
            application.client_secret = secret;
        }
        if let Some(token) = change.bot_token {
            application.bot_token = token;
        }
        if let Some(ms) = change.code_lifetime_ms {
            inner.options.code_lifetime_ms = ms;
        }
    }

    /// Ends a webhook, or moves it to another channel.
    pub fn change_webhook(&self, webhook_id: u64, move_to: Option<u64>) -> bool {
        let mut effects = Effects::default();
        {
            let mut inner = self.lock();
            let Some(webhook) = inner.world.webhooks.get_mut(&webhook_id) else {
                return false;
            };
            let was_in = webhook.channel_id;
            effects.dispatches.push(super::webhooks::update(was_in));
            match move_to {
                Some(channel_id) => {
                    webhook.channel_id = channel_id;
                    effects.dispatches.push(super::webhooks::update(channel_id));
                }
                None => {
                    inner.world.webhooks.remove(&webhook_id);
                }
            }
        }
        self.release(&mut effects);
        true
    }
}

impl Simulator {
    /// `http://127.0.0.1:PORT`; the API is below `/api/v10`.
    pub fn base_url(&self) -> &str {
        self.state.base_url()
    }

    /// Ids, addresses and secrets.
    pub fn describe(&self) -> Description {
        self.state.describe()
    }

    /// The faults.
    pub fn faults(&self) -> Faults<'_> {
        Faults(&self.state)
    }

    /// The Gateway.
    pub fn gateway(&self) -> &Gateway {
        self.state.gateway()
    }

    /// A copy of the record.
    pub fn ledger(&self) -> Ledger {
        self.state.lock().ledger.clone()
    }

    /// Tells the record that the service was killed before it had written down the tokens of these codes.
    pub fn unrecorded(&self, codes: impl IntoIterator<Item = String>) {
        let ledger = &mut self.state.lock().ledger;
        for code in codes {
            ledger.unrecorded(&code);
        }
    }

    /// The record's judgement, without the copy.
    pub fn summary(&self) -> Summary {
        self.state.lock().ledger.summary()
    }

    /// Issues codes without a consent page.
    pub fn mint_codes(&self, request: &CodeRequest) -> Vec<String> {
        self.state.mint_codes(request)
    }

    /// Posts as anyone, past every limit and rule.
    pub fn post(&self, request: PostRequest) -> Option<u64> {
        self.state.post(request)
    }

    /// Posts contents through a lane's webhook, one message each, past every limit; returns how many were posted.
    pub fn post_to_lane(&self, lane: u8, contents: impl IntoIterator<Item = String>) -> usize {
        let webhook = FIRST_LANE_WEBHOOK + u64::from(lane);
        contents
            .into_iter()
            .filter_map(|content| self.state.post(PostRequest::webhook(webhook, content)))
            .count()
    }

    /// How many messages stand in a channel.
    pub fn message_count(&self, channel_id: u64) -> usize {
        self.state
            .lock()
            .world
            .channels
            .get(&channel_id)
            .map_or(0, |c| c.messages.len())
    }

    /// The contents of a channel's messages, oldest first.
    pub fn contents(&self, channel_id: u64) -> Vec<String> {
        let inner = self.state.lock();
        let channel = inner.world.channels.get(&channel_id);
        channel.map_or_else(Vec::new, |c| {
            c.messages.values().map(|m| m.draft.content.clone()).collect()
        })
    }

    /// Text of `[A-Za-z0-9]` by chance, from the simulator's seed.
    pub fn random_text(&self, length: usize) -> String {
        text(&mut self.state.lock().world.rng, length)
    }

    /// Somebody uses a slash command; answers the interaction's id.
    pub fn use_command(&self, request: &UseRequest) -> u64 {
        interactions::use_command(&self.state, request)
    }

    /// An interaction, with its answer once there is one.
    pub fn interaction(&self, id: u64) -> Option<Interaction> {
        self.state.lock().world.interactions.get(&id).cloned()
    }

    /// The token of an interaction.
    pub fn interaction_token(&self, id: u64) -> Option<String> {
        let inner = self.state.lock();
        inner.world.interactions.get(&id).map(|i| i.token.clone())
    }

    /// The direct messages that the bot has sent to a person, oldest first, as that person sees them.
    pub fn direct_messages(&self, user_id: u64) -> Vec<serde_json::Value> {
        let inner = self.state.lock();
        let theirs = inner.world.channels.values().filter(|c| c.recipient == Some(user_id));
        theirs
            .flat_map(|c| c.messages.values().map(|m| m.json(&inner.world, true)))
            .collect()
    }

    /// Sets a person.
    pub fn set_person(&self, person: Person) {
        self.state.lock().world.people.insert(person.id, person);
    }

    /// Withdraws a person's authorization, as a person can in the settings.
    pub fn withdraw(&self, user_id: u64) {
        let now_us = self.state.now_us();
        super::token::kill_tokens_of(&mut self.state.lock(), user_id, Revocation::Withdrawn, now_us);
    }

    /// Changes what the bot may do in a channel.
    pub fn permit(&self, channel_id: u64, permissions: BotPermissions) -> bool {
        self.state.permit(channel_id, permissions)
    }

    /// Changes the portal's settings.
    pub fn change_portal(&self, change: PortalChange) {
        self.state.change_portal(change);
    }

    /// Ends a webhook, or moves it to another channel.
    pub fn change_webhook(&self, webhook_id: u64, move_to: Option<u64>) -> bool {
        self.state.change_webhook(webhook_id, move_to)
    }

    /// Sets the limits and forgets every count, penalty and ban.
    pub fn set_limits(&self, settings: LimitSettings) {
        let mut inner = self.state.lock();
        inner.limits.settings = settings;
        inner.limits.reset();
    }

    /// Tells the Gateway's sessions something of one's choice, on behalf of the guild.
    pub fn publish(&self, kind: &'static str, data: serde_json::Value) {
        let intents = if kind.starts_with("MESSAGE_") {
            intent::GUILD_MESSAGES
        } else {
            0
        };
        self.state.gateway().publish(Dispatch { kind, data, intents });
    }

    /// Tells the Gateway's sessions that the guild is away.
    pub fn guild_outage(&self) {
        self.publish("GUILD_DELETE", json!({"id": GUILD_ID.to_string(), "unavailable": true}));
    }
}

/// The faults of a running simulator.
pub struct Faults<'a>(&'a State);

impl Faults<'_> {
    /// Adds one.
    pub fn add(&self, rule: FaultRule) {
        let now_us = self.0.now_us();
        self.0.lock().faults.add(rule, now_us);
    }

    /// Takes all away.
    pub fn clear(&self) {
        self.0.lock().faults.clear();
    }

    /// The list, with how often each struck.
    pub fn list(&self) -> Vec<FaultRule> {
        self.0.lock().faults.rules()
    }
}
