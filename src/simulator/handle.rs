//! What tests and commands do with a running simulator without a socket: addresses and secrets, faults, the ledger, and
//! direct ways to issue codes and post messages. [`Simulator`](super::Simulator) dereferences to this.

use serde::Serialize;
use serde_json::Value;

use super::action::{CodeRequest, PortalChange, PostAuthor, PostRequest, UseRequest};
use super::authorize::{self, Request};
use super::draft::{Author, Draft};
use super::faults::FaultRule;
use super::gateway::{GatewayFault, GatewayStatus, intent};
use super::ids::{
    FIRST_LANE_CHANNEL, FIRST_LANE_WEBHOOK, GUILD_ID, OTHER_BOT_ID, OWNER_ID, RESULT_CHANNEL, RESULT_WEBHOOK,
    STRANGE_WEBHOOK, nth_person_id,
};
use super::ledger::{Ledger, Summary};
use super::limits::LimitSettings;
use super::options::BotPermissions;
use super::person::Person;
use super::state::State;
use super::world::{Interaction, text};
use super::{interactions, object, token};
use crate::permission::{Overwrite, Role};

/// Everything needed to point a service at the simulator. Its secrets are valid in the simulator only.
#[expect(missing_docs, reason = "the fields' names are those of the configuration")]
#[derive(Clone, Serialize)]
pub struct Description {
    /// `http://127.0.0.1:PORT`.
    pub base_url: String,
    pub api_base: String,
    /// The consent page.
    pub authorize_url: String,
    pub gateway_url: String,
    pub application_id: String,
    pub client_secret: String,
    pub bot_id: String,
    pub bot_token: String,
    /// The first registered redirect URI.
    pub redirect_uri: String,
    pub guild_id: String,
    /// The owner of guild and application.
    pub owner_id: String,
    /// A bot of another application.
    pub other_bot_id: String,
    /// The intake channels with their webhooks.
    pub lanes: Vec<LaneDescription>,
    /// A channel for results with its webhook.
    pub results: LaneDescription,
    /// A second webhook in the first intake channel, which no lane is configured for.
    pub strange_webhook: Option<WebhookDescription>,
    /// The initial users.
    pub people: Vec<String>,
}

/// A channel and its webhook.
#[expect(missing_docs, reason = "the names say it")]
#[derive(Clone, Serialize)]
pub struct LaneDescription {
    pub channel_id: String,
    pub webhook: WebhookDescription,
}

/// A webhook.
#[expect(missing_docs, reason = "the names say it")]
#[derive(Clone, Serialize)]
pub struct WebhookDescription {
    pub id: String,
    pub token: String,
    /// The URL to post to, with the API version.
    pub url: String,
}

impl State {
    /// Ids, addresses and secrets.
    pub fn describe(&self) -> Description {
        let inner = self.lock();
        let (world, base_url) = (&inner.world, &inner.base_url);
        let webhook = |id: u64| {
            let token = world.webhooks.get(&id).map_or("", |webhook| &webhook.token).to_owned();
            WebhookDescription {
                id: id.to_string(),
                url: format!("{base_url}/api/v10/webhooks/{id}/{token}"),
                token,
            }
        };
        let lane = |channel_id: u64, webhook_id: u64| LaneDescription {
            channel_id: channel_id.to_string(),
            webhook: webhook(webhook_id),
        };
        let exists = |id: &u64| world.webhooks.contains_key(id);
        let application = &world.application;
        Description {
            base_url: base_url.clone(),
            api_base: format!("{base_url}/api/v10"),
            authorize_url: format!("{base_url}/oauth2/authorize"),
            gateway_url: inner.gateway_url(),
            application_id: application.id.to_string(),
            client_secret: application.client_secret.clone(),
            bot_id: application.bot_id.to_string(),
            bot_token: application.bot_token.clone(),
            redirect_uri: application.redirect_uris.first().cloned().unwrap_or_default(),
            guild_id: GUILD_ID.to_string(),
            owner_id: OWNER_ID.to_string(),
            other_bot_id: OTHER_BOT_ID.to_string(),
            lanes: (0..u64::from(inner.options.lanes))
                .filter(|n| exists(&(FIRST_LANE_WEBHOOK + n)))
                .map(|n| lane(FIRST_LANE_CHANNEL + n, FIRST_LANE_WEBHOOK + n))
                .collect(),
            results: lane(RESULT_CHANNEL, RESULT_WEBHOOK),
            strange_webhook: Some(STRANGE_WEBHOOK).filter(exists).map(webhook),
            people: (0..u64::from(inner.options.people))
                .map(|n| nth_person_id(n).to_string())
                .collect(),
        }
    }

    /// The faults.
    pub fn faults(&self) -> Faults<'_> {
        Faults(self)
    }

    /// Causes a fault of the Gateway.
    pub fn gateway_fault(&self, fault: GatewayFault) {
        self.lock().hub.fault(fault);
    }

    /// The Gateway's counts since the start.
    pub fn gateway_status(&self) -> GatewayStatus {
        self.lock().hub.status
    }

    /// A copy of the ledger.
    pub fn ledger(&self) -> Ledger {
        self.lock().ledger.clone()
    }

    /// The ledger's figures, without a copy of it.
    pub fn summary(&self) -> Summary {
        self.lock().ledger.summary()
    }

    /// Records that the service was killed before it had stored the tokens of these codes.
    pub fn unrecorded(&self, codes: impl IntoIterator<Item = String>) {
        let ledger = &mut self.lock().ledger;
        for code in codes {
            ledger.unrecorded(&code);
        }
    }

    /// Issues codes without the consent page.
    pub fn mint_codes(&self, request: &CodeRequest) -> Vec<String> {
        self.act(|inner, now_us| {
            let approved = Request {
                redirect_uri: inner.world.application.redirect_uris.first().cloned(),
                state: None,
                scope: request.scopes.join(" "),
                challenge: request.code_challenge.clone(),
            };
            let code = |_| authorize::issue(inner, &approved, request.user_id, now_us);
            (0..request.count).map(code).collect()
        })
    }

    /// Posts as any author, without limits or checks. `None` if the channel or the webhook does not exist.
    pub fn post(&self, request: PostRequest) -> Option<u64> {
        self.act(|inner, now_us| {
            let (author, own_channel) = match request.author {
                PostAuthor::Person(id) => (Author::User(inner.world.person(id).id), None),
                PostAuthor::Bot => (Author::User(inner.world.application.bot_id), None),
                PostAuthor::OtherBot => (Author::User(OTHER_BOT_ID), None),
                PostAuthor::Webhook(id) => {
                    let webhook = inner.world.webhooks.get(&id)?;
                    (webhook.author(request.username.as_deref()), Some(webhook.channel_id))
                }
            };
            let channel_id = request.channel_id.or(own_channel)?;
            inner.world.channels.get(&channel_id)?;
            // The ledger does not count it as an execution of the webhook, since no limit applied.
            Some(inner.post(channel_id, author, Draft::text(request.content), now_us))
        })
    }

    /// Posts contents through a lane's webhook, one message each, without limits; returns how many were posted.
    pub fn post_to_lane(&self, lane: u8, contents: impl IntoIterator<Item = String>) -> usize {
        let webhook = FIRST_LANE_WEBHOOK + u64::from(lane);
        contents
            .into_iter()
            .filter_map(|content| self.post(PostRequest::webhook(webhook, content)))
            .count()
    }

    /// The number of messages in a channel.
    pub fn message_count(&self, channel_id: u64) -> usize {
        self.contents(channel_id).len()
    }

    /// The contents of a channel's messages, oldest first.
    pub fn contents(&self, channel_id: u64) -> Vec<String> {
        let inner = self.lock();
        let channel = inner.world.channels.get(&channel_id);
        let messages = channel.into_iter().flat_map(|c| c.messages.values());
        messages.map(|m| m.draft.content.clone()).collect()
    }

    /// The direct messages that the bot has sent to a user, oldest first, as that user sees them.
    pub fn direct_messages(&self, user_id: u64) -> Vec<Value> {
        let inner = self.lock();
        let theirs = inner.world.channels.values().filter(|c| c.recipient == Some(user_id));
        theirs
            .flat_map(|c| c.messages.values().map(|m| object::message(&inner.world, m)))
            .collect()
    }

    /// Random text of `[A-Za-z0-9]`, from the simulator's seed.
    pub fn random_text(&self, length: usize) -> String {
        text(&mut self.lock().world.rng, length)
    }

    /// A user uses a slash command; returns the interaction's id.
    pub fn use_command(&self, request: &UseRequest) -> u64 {
        self.act(|inner, now_us| interactions::use_command(inner, request, now_us))
    }

    /// An interaction, with its response once there is one.
    pub fn interaction(&self, id: u64) -> Option<Interaction> {
        self.lock().world.interactions.get(&id).cloned()
    }

    /// Ids and names of the users, by id.
    pub fn names(&self) -> Vec<(u64, String)> {
        let inner = self.lock();
        let name = |p: &Person| p.global_name.clone().unwrap_or_else(|| p.username.clone());
        let mut names: Vec<_> = inner.world.people.values().map(|p| (p.id, name(p))).collect();
        names.sort();
        names
    }

    /// Adds or replaces a user.
    pub fn set_person(&self, person: Person) {
        self.lock().world.people.insert(person.id, person);
    }

    /// Withdraws a user's authorization, as users can in Discord's settings.
    pub fn withdraw(&self, user_id: u64) {
        self.act(|inner, now_us| token::revoke_all(inner, user_id, now_us));
    }

    /// Changes the bot's permissions in a channel. False if the channel does not exist.
    pub fn permit(&self, channel_id: u64, permissions: BotPermissions) -> bool {
        self.act(|inner, _| {
            if !inner.world.permit(channel_id, permissions) {
                return false;
            }
            let data = object::channel(&inner.world, &inner.world.channels[&channel_id]);
            inner.dispatch("CHANNEL_UPDATE", data, intent::GUILDS);
            true
        })
    }

    /// Adds a role to the guild, or replaces it.
    pub fn set_role(&self, role: Role) {
        let roles = &mut self.lock().world.roles;
        roles.retain(|known| known.id != role.id);
        roles.push(role);
    }

    /// Changes a channel's type and adds these overwrites, or replaces them. False if the channel does not exist.
    pub fn change_channel(&self, channel_id: u64, kind: u8, overwrites: &[Overwrite]) -> bool {
        let mut inner = self.lock();
        let channel = inner.world.channels.get_mut(&channel_id);
        let changed = channel.map(|channel| {
            channel.kind = kind;
            let replaced = |id| overwrites.iter().any(|over| over.id == id);
            channel.overwrites.retain(|over| !replaced(over.id));
            channel.overwrites.extend(overwrites);
        });
        changed.is_some()
    }

    /// Gives a webhook to another application. False if the webhook does not exist.
    pub fn give_webhook(&self, webhook_id: u64, application_id: u64) -> bool {
        let mut inner = self.lock();
        let webhook = inner.world.webhooks.get_mut(&webhook_id);
        webhook
            .map(|webhook| webhook.application_id = Some(application_id))
            .is_some()
    }

    /// Changes settings of the developer portal.
    pub fn change_portal(&self, change: PortalChange) {
        let mut inner = self.lock();
        let application = &mut inner.world.application;
        application.flags = change.flags.unwrap_or(application.flags);
        if let Some(uris) = change.redirect_uris {
            application.redirect_uris = uris;
        }
        if let Some(url) = change.interactions_endpoint_url {
            application.interactions_endpoint_url = Some(url);
        }
        if let Some(secret) = change.client_secret {
            application.client_secret = secret;
        }
        if let Some(token) = change.bot_token {
            application.bot_token = token;
            inner.hub.fault(GatewayFault::Close { code: 4004 });
        }
    }

    /// Deletes a webhook, or moves it to another channel. False if the webhook does not exist.
    pub fn change_webhook(&self, webhook_id: u64, move_to: Option<u64>) -> bool {
        self.act(|inner, _| {
            let Some(webhook) = inner.world.webhooks.get_mut(&webhook_id) else {
                return false;
            };
            let before = webhook.channel_id;
            match move_to {
                Some(channel_id) => webhook.channel_id = channel_id,
                None => drop(inner.world.webhooks.remove(&webhook_id)),
            }
            for channel_id in [Some(before), move_to].into_iter().flatten() {
                inner.webhooks_changed(channel_id);
            }
            true
        })
    }

    /// Sets the limits, and resets every count, penalty and ban.
    pub fn set_limits(&self, settings: LimitSettings) {
        self.lock().limits = super::limits::Limits::new(settings);
    }

    /// Publishes an event of any kind to the Gateway's sessions.
    pub fn publish(&self, kind: &'static str, data: Value) {
        let is_message = kind.starts_with("MESSAGE_");
        let intents = if is_message { intent::GUILD_MESSAGES } else { 0 };
        self.lock().dispatch(kind, data, intents);
    }
}

/// The faults of a running simulator.
pub struct Faults<'a>(&'a State);

impl Faults<'_> {
    /// Adds a rule.
    pub fn add(&self, rule: FaultRule) {
        self.0.act(|inner, now_us| inner.faults.add(rule, now_us));
    }

    /// Removes all rules.
    pub fn clear(&self) {
        self.0.lock().faults.clear();
    }

    /// The rules, each with how often it struck.
    pub fn list(&self) -> Vec<FaultRule> {
        self.0.lock().faults.rules()
    }
}
