//! What exists in the simulated Discord: the application, users, channels, webhooks, messages, codes and tokens.
//! It stores and finds; the endpoints decide what may be done with it.

use std::collections::{BTreeMap, HashMap};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::draft::{Author, Message};
use super::ids::{
    BOT_ROLE_ID, FIRST_LANE_CHANNEL, FIRST_LANE_WEBHOOK, GUILD_ID, OTHER_BOT_ID, OWNER_ID, RESULT_CHANNEL,
    RESULT_WEBHOOK, STRANGE_WEBHOOK, nth_person_id,
};
use super::options::{ApplicationOptions, BotPermissions, SimulatorOptions};
use super::person::Person;
use crate::ids::DISCORD_EPOCH_MS;
use crate::permission::{Overwrite, Permissions, Role, in_channel};

/// A channel of the guild, or a direct message channel.
pub struct Channel {
    pub id: u64,
    pub name: String,
    /// The user on the other side of a direct message channel; `None` in the guild.
    pub recipient: Option<u64>,
    /// Discord's type: 0 is a text channel, 1 a direct message channel.
    pub kind: u8,
    /// What it changes of the guild's permissions.
    pub overwrites: Vec<Overwrite>,
    pub messages: BTreeMap<u64, Message>,
}

/// A webhook.
#[derive(Clone)]
pub struct Webhook {
    pub id: u64,
    pub token: String,
    pub channel_id: u64,
    /// The name shown unless a post chooses another one.
    pub name: String,
    /// The application that created it, if one did.
    pub application_id: Option<u64>,
}

impl Webhook {
    /// The author of a post through this webhook.
    pub fn author(&self, username: Option<&str>) -> Author {
        Author::Webhook {
            id: self.id,
            name: username.unwrap_or(&self.name).to_owned(),
            application_id: self.application_id,
        }
    }
}

/// An authorization code.
pub struct Code {
    /// Where the user was sent back to; `None` if the authorization request named no redirect URI.
    pub redirect_uri: Option<String>,
    /// The PKCE challenge.
    pub challenge: Option<String>,
    /// Granted scopes, separated by spaces.
    pub scope: String,
    pub user_id: u64,
    pub issued_us: i64,
    /// It can no longer be exchanged.
    pub spent: bool,
    /// Access tokens issued from it.
    pub tokens: Vec<String>,
}

/// What `@everyone` may do: among others view, send, read history and add reactions.
const EVERYONE: u64 = 2_248_473_465_835_073;

/// How long an access token lives.
pub const TOKEN_LIFETIME_S: i64 = 604_800;

/// An access token.
#[derive(Clone)]
pub struct Token {
    pub user_id: u64,
    /// Granted scopes, separated by spaces.
    pub scope: String,
    pub issued_us: i64,
    pub refresh: Option<String>,
}

impl Token {
    /// Whether a scope was granted.
    pub fn has(&self, scope: &str) -> bool {
        self.scope.split(' ').any(|s| s == scope)
    }

    pub fn expires_us(&self) -> i64 {
        self.issued_us + TOKEN_LIFETIME_S * 1_000_000
    }
}

/// An interaction and its response.
#[derive(Clone)]
pub struct Interaction {
    /// The token that its response has to name.
    pub token: String,
    pub(super) used_us: i64,
    /// The response's `data`, once there is one.
    pub answer: Option<Value>,
    /// Responses that were refused because they came too late or a second time.
    pub refused: u64,
}

/// Everything that exists; maps are by id.
pub struct World {
    pub application: ApplicationOptions,
    pub people: HashMap<u64, Person>,
    pub channels: BTreeMap<u64, Channel>,
    pub webhooks: BTreeMap<u64, Webhook>,
    /// The guild's roles, `@everyone` first.
    pub roles: Vec<Role>,
    /// Every code ever issued.
    pub codes: HashMap<String, Code>,
    /// Live access tokens.
    pub tokens: HashMap<String, Token>,
    /// Live refresh tokens, each with the access token it came with.
    pub refresh_tokens: HashMap<String, String>,
    /// Live access tokens by user.
    pub tokens_of: HashMap<u64, Vec<String>>,
    /// The application's commands, as Discord shows them.
    pub commands: Vec<Value>,
    pub interactions: HashMap<u64, Interaction>,
    pub rng: StdRng,
    last_id: u64,
}

impl World {
    /// The initial world.
    pub fn new(options: &SimulatorOptions, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut application = options.application.clone();
        if application.client_secret.is_empty() {
            application.client_secret = text(&mut rng, 32);
        }
        if application.bot_token.is_empty() {
            application.bot_token = token_of(application.bot_id, &mut rng);
        }
        let mut world = Self {
            application,
            people: HashMap::new(),
            channels: BTreeMap::new(),
            webhooks: BTreeMap::new(),
            roles: roles(),
            codes: HashMap::new(),
            tokens: HashMap::new(),
            refresh_tokens: HashMap::new(),
            tokens_of: HashMap::new(),
            commands: Vec::new(),
            interactions: HashMap::new(),
            rng,
            last_id: 0,
        };
        for nth in 0..u64::from(options.people) {
            world.person(nth_person_id(nth));
        }
        world.person(OWNER_ID);
        for lane in 0..u64::from(options.lanes) {
            let (channel, name) = (FIRST_LANE_CHANNEL + lane, format!("codes-{lane}"));
            world.add_channel(channel, &name, None);
            world.add_webhook(FIRST_LANE_WEBHOOK + lane, channel, "intake", true);
        }
        world.add_channel(RESULT_CHANNEL, "results", None);
        world.add_webhook(RESULT_WEBHOOK, RESULT_CHANNEL, "results", true);
        if options.lanes > 0 {
            world.add_webhook(STRANGE_WEBHOOK, FIRST_LANE_CHANNEL, "intake", false);
        }
        world
    }

    /// Adds a channel; `recipient` makes it a direct message channel.
    /// In the guild it is the bot's alone.
    pub fn add_channel(&mut self, id: u64, name: &str, recipient: Option<u64>) {
        let channel = Channel {
            id,
            name: name.to_owned(),
            recipient,
            kind: u8::from(recipient.is_some()),
            overwrites: Vec::new(),
            messages: BTreeMap::new(),
        };
        self.channels.insert(id, channel);
        if recipient.is_none() {
            self.permit(id, BotPermissions::default());
        }
    }

    /// Denies everyone the view of a channel, and gives the bot what it may do. False if the channel does not exist.
    pub fn permit(&mut self, channel_id: u64, permissions: BotPermissions) -> bool {
        let own = permissions.bits();
        let bot = self.application.bot_id;
        let over = |id, deny, allow| Overwrite {
            id,
            deny: Permissions(deny),
            allow: Permissions(allow),
        };
        let denied = BotPermissions::default().bits() & !own;
        let overwrites = vec![over(GUILD_ID, Permissions::VIEW_CHANNEL.0, 0), over(bot, denied, own)];
        let channel = self.channels.get_mut(&channel_id);
        channel.map(|channel| channel.overwrites = overwrites).is_some()
    }

    /// What the bot may do in a channel.
    pub fn held(&self, channel: &Channel) -> BotPermissions {
        if channel.recipient.is_some() {
            return BotPermissions {
                manage_messages: false,
                manage_webhooks: false,
                ..BotPermissions::default()
            };
        }
        let bot = Some(self.application.bot_id);
        let held = in_channel(GUILD_ID, bot, &[BOT_ROLE_ID], &self.roles, &channel.overwrites);
        BotPermissions::of(held)
    }

    /// Adds a webhook and returns it.
    pub fn add_webhook(&mut self, id: u64, channel_id: u64, name: &str, application_owned: bool) -> Webhook {
        let webhook = Webhook {
            id,
            token: text(&mut self.rng, 68),
            channel_id,
            name: name.to_owned(),
            application_id: application_owned.then_some(self.application.id),
        };
        self.webhooks.insert(id, webhook.clone());
        webhook
    }

    /// A message of a channel.
    pub fn message(&self, channel_id: u64, id: u64) -> Option<&Message> {
        self.channels.get(&channel_id)?.messages.get(&id)
    }

    /// Whether a channel is one of direct messages.
    pub fn is_direct(&self, channel_id: u64) -> bool {
        self.channels.get(&channel_id).is_some_and(|c| c.recipient.is_some())
    }

    /// The user with an id, created if there was none.
    pub fn person(&mut self, id: u64) -> &mut Person {
        self.people.entry(id).or_insert_with(|| Person::synthetic(id))
    }

    /// A new snowflake for a time; always greater than the last one.
    pub fn mint(&mut self, now_us: i64) -> u64 {
        let ms = (now_us / 1_000 - DISCORD_EPOCH_MS).max(0) as u64;
        self.last_id = (self.last_id + 1).max(ms << 22);
        self.last_id
    }

    /// Issues a code.
    pub fn issue_code(&mut self, code: Code) -> String {
        let name = text(&mut self.rng, 30);
        self.codes.insert(name.clone(), code);
        name
    }

    /// Marks a code as spent.
    pub fn spend(&mut self, code: &str) -> Option<&mut Code> {
        let code = self.codes.get_mut(code)?;
        code.spent = true;
        Some(code)
    }

    /// Issues an access token, with a refresh token if `refreshable`.
    pub fn issue_token(&mut self, user_id: u64, scope: &str, now_us: i64, refreshable: bool) -> String {
        let access = token_of(self.application.id, &mut self.rng);
        let refresh = refreshable.then(|| text(&mut self.rng, 30));
        if let Some(refresh) = &refresh {
            self.refresh_tokens.insert(refresh.clone(), access.clone());
        }
        self.tokens_of.entry(user_id).or_default().push(access.clone());
        let token = Token {
            user_id,
            scope: scope.to_owned(),
            issued_us: now_us,
            refresh,
        };
        self.tokens.insert(access.clone(), token);
        access
    }

    /// Removes an access token and its refresh token.
    pub fn remove_token(&mut self, access: &str) {
        let Some(token) = self.tokens.remove(access) else {
            return;
        };
        if let Some(refresh) = token.refresh {
            self.refresh_tokens.remove(&refresh);
        }
        if let Some(of_user) = self.tokens_of.get_mut(&token.user_id) {
            of_user.retain(|t| t != access);
        }
    }

    /// The bot's user object.
    pub fn bot_json(&self) -> Value {
        bot_json(self.application.bot_id, "door")
    }

    /// The user object of a user, the bot or the other bot; `None` for an unknown id.
    pub fn user_json(&self, id: u64) -> Option<Value> {
        match id {
            OTHER_BOT_ID => Some(bot_json(id, "not-the-door")),
            id if id == self.application.bot_id => Some(self.bot_json()),
            id => self.people.get(&id).map(Person::public_json),
        }
    }
}

fn roles() -> Vec<Role> {
    let role = |id, name: &str, permissions| Role {
        id,
        name: name.to_owned(),
        permissions: Permissions(permissions),
    };
    vec![role(GUILD_ID, "@everyone", EVERYONE), role(BOT_ROLE_ID, "door", 0)]
}

/// A bot's user object.
fn bot_json(id: u64, username: &str) -> Value {
    json!({"id": id.to_string(), "username": username, "discriminator": "4242", "global_name": null, "avatar": null,
        "bot": true, "public_flags": 0, "flags": 0, "primary_guild": null})
}

/// Random text of `[A-Za-z0-9]`.
pub fn text(rng: &mut StdRng, length: usize) -> String {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    (0..length)
        .map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())]))
        .collect()
}

/// A token in Discord's current form: an id in base64, a period, random text.
fn token_of(id: u64, rng: &mut StdRng) -> String {
    use base64::Engine;
    let id = base64::engine::general_purpose::STANDARD_NO_PAD.encode(id.to_string());
    format!("{id}.{}", text(rng, 30))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minted_ids_grow_strictly_and_carry_the_time() {
        let mut world = World::new(&SimulatorOptions::default(), 1);
        let now_us = 1_786_363_204_000_000;
        let first = world.mint(now_us);
        assert_eq!(first, 1_536_343_372_988_416_000);
        assert_eq!(world.mint(now_us), first + 1);
        assert!(
            world.mint(now_us - 5_000_000) > first + 1,
            "a clock that steps back does not reuse ids"
        );
    }

    #[test]
    fn a_seed_repeats_the_secrets() {
        let options = SimulatorOptions::default();
        let secret = |seed| World::new(&options, seed).application.client_secret;
        assert_eq!(secret(7), secret(7));
        assert_ne!(secret(7), secret(8));
    }
}
