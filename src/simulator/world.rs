//! What exists in the simulated Discord: the application, the guild, people, channels, webhooks, messages, codes and
//! tokens. It stores and finds; what may be done with it is decided by the endpoints.

use std::collections::{BTreeMap, HashMap};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::interactions::Interaction;
use super::message::Message;
use super::options::{BotPermissions, SimulatorOptions};
use super::person::Person;
use crate::ids::DISCORD_EPOCH_MS;

/// The guild of the simulator.
pub const GUILD_ID: u64 = 1_536_340_000_000_000_001;
/// The person who owns the guild and the application.
pub const OWNER_ID: u64 = 153_600_000_000_000_777;
/// A bot in the guild that is not the application's.
pub const OTHER_BOT_ID: u64 = 1_536_000_000_000_000_666;
/// The first intake channel; the next ones follow.
pub const FIRST_LANE_CHANNEL: u64 = 1_536_340_000_000_000_100;
/// The webhook of the first intake channel; the next ones follow.
pub const FIRST_LANE_WEBHOOK: u64 = 1_536_343_300_000_000_100;
/// A channel for results.
pub const RESULT_CHANNEL: u64 = 1_536_340_000_000_000_020;
/// The webhook of the channel for results.
pub const RESULT_WEBHOOK: u64 = 1_536_343_300_000_000_020;
/// A second webhook in the first intake channel: the right place, the wrong sender.
pub const STRANGE_WEBHOOK: u64 = 1_536_343_300_000_000_030;
/// A guild role that only the bot holds.
pub const BOT_ROLE_ID: u64 = 1_536_340_000_000_000_010;

/// The application.
pub struct Application {
    /// `client_id`.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// The client secret.
    pub client_secret: String,
    /// The bot's user id.
    pub bot_id: u64,
    /// The bot's token.
    pub bot_token: String,
    /// Flags.
    pub flags: u64,
    /// Registered redirect URIs.
    pub redirect_uris: Vec<String>,
}

/// A channel of the guild, or a direct message channel.
pub struct Channel {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// The person on the other side, for a direct message channel.
    pub recipient: Option<u64>,
    /// What the bot may do here.
    pub permissions: BotPermissions,
    /// Its messages by id.
    pub messages: BTreeMap<u64, Message>,
}

/// A webhook.
#[derive(Clone)]
pub struct Webhook {
    /// Its id.
    pub id: u64,
    /// Its token.
    pub token: String,
    /// Where it posts.
    pub channel_id: u64,
    /// Its default name.
    pub name: String,
    /// The application that made it.
    pub application_id: Option<u64>,
    /// Who made it.
    pub creator: u64,
}

/// An authorization code.
pub struct Code {
    /// Where the answer went; `None` if the request did not say.
    pub redirect_uri: Option<String>,
    /// The PKCE challenge.
    pub challenge: Option<String>,
    /// Granted scopes, space separated.
    pub scope: String,
    /// Who approved.
    pub user_id: u64,
    /// When, in microseconds.
    pub issued_us: i64,
    /// Whether it can no longer be exchanged.
    pub spent: bool,
    /// Access tokens it gave.
    pub tokens: Vec<String>,
}

/// An access token.
pub struct Token {
    /// Whose.
    pub user_id: u64,
    /// Granted scopes, space separated.
    pub scope: String,
    /// When, in microseconds.
    pub issued_us: i64,
    /// Its refresh token.
    pub refresh: Option<String>,
}

/// Everything that exists.
pub struct World {
    /// The application.
    pub application: Application,
    /// People by id.
    pub people: HashMap<u64, Person>,
    /// Channels by id.
    pub channels: BTreeMap<u64, Channel>,
    /// Webhooks by id.
    pub webhooks: BTreeMap<u64, Webhook>,
    /// Codes that were ever issued.
    pub codes: HashMap<String, Code>,
    /// Access tokens that are alive.
    pub tokens: HashMap<String, Token>,
    /// Refresh tokens that are alive, with the access token each came with.
    pub refresh_tokens: HashMap<String, String>,
    /// The live access tokens of each person.
    pub tokens_of: HashMap<u64, Vec<String>>,
    /// The application's commands, as Discord shows them.
    pub commands: Vec<Value>,
    /// Interactions by id.
    pub interactions: HashMap<u64, Interaction>,
    /// Chance.
    pub rng: StdRng,
    last_id: u64,
}

impl World {
    /// The world as it is at the start.
    pub fn new(options: &SimulatorOptions, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let wanted = &options.application;
        let application = Application {
            id: wanted.id,
            name: wanted.name.clone(),
            client_secret: wanted.client_secret.clone().unwrap_or_else(|| text(&mut rng, 32)),
            bot_id: wanted.bot_id,
            bot_token: wanted
                .bot_token
                .clone()
                .unwrap_or_else(|| token_of(wanted.bot_id, &mut rng)),
            flags: wanted.flags,
            redirect_uris: wanted.redirect_uris.clone(),
        };
        let mut world = Self {
            application,
            people: HashMap::new(),
            channels: BTreeMap::new(),
            webhooks: BTreeMap::new(),
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
        let owned = options.application_owned_webhooks;
        for lane in 0..u64::from(options.lanes) {
            world.add_channel(
                FIRST_LANE_CHANNEL + lane,
                &format!("codes-{lane}"),
                None,
                options.permissions,
            );
            world.add_webhook(FIRST_LANE_WEBHOOK + lane, FIRST_LANE_CHANNEL + lane, "intake", owned);
        }
        world.add_channel(RESULT_CHANNEL, "results", None, options.permissions);
        world.add_webhook(RESULT_WEBHOOK, RESULT_CHANNEL, "results", owned);
        if options.lanes > 0 {
            world.add_webhook(STRANGE_WEBHOOK, FIRST_LANE_CHANNEL, "intake", false);
        }
        world
    }

    /// Adds a channel; `recipient` makes it a direct message channel.
    pub fn add_channel(&mut self, id: u64, name: &str, recipient: Option<u64>, permissions: BotPermissions) {
        let channel = Channel {
            id,
            name: name.to_owned(),
            recipient,
            permissions,
            messages: BTreeMap::new(),
        };
        self.channels.insert(id, channel);
    }

    /// Adds a webhook and returns it.
    pub fn add_webhook(&mut self, id: u64, channel_id: u64, name: &str, application_owned: bool) -> Webhook {
        let webhook = Webhook {
            id,
            token: text(&mut self.rng, 68),
            channel_id,
            name: name.to_owned(),
            application_id: application_owned.then_some(self.application.id),
            creator: if application_owned {
                self.application.bot_id
            } else {
                OWNER_ID
            },
        };
        self.webhooks.insert(id, webhook.clone());
        webhook
    }

    /// The person of an id, born if there was none.
    pub fn person(&mut self, id: u64) -> &mut Person {
        self.people.entry(id).or_insert_with(|| Person::synthetic(id))
    }

    /// A new snowflake of a moment: strictly greater than every one before.
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

    /// Issues an access token, with a refresh token unless told otherwise.
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

    /// Kills one access token and its refresh token.
    pub fn kill_token(&mut self, access: &str) {
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

    /// The user object of anyone: a person, the bot, the other bot. `None` for an id that nobody has.
    pub fn user_json(&self, id: u64) -> Option<Value> {
        if id == self.application.bot_id {
            return Some(bot_json(id, "door"));
        }
        if id == OTHER_BOT_ID {
            return Some(bot_json(id, "not-the-door"));
        }
        self.people.get(&id).map(Person::public_json)
    }
}

/// A bot's user object.
fn bot_json(id: u64, username: &str) -> Value {
    json!({"id": id.to_string(), "username": username, "discriminator": "4242", "global_name": null, "avatar": null,
        "bot": true, "public_flags": 0, "flags": 0, "primary_guild": null})
}

/// The ids of the people who exist from the start have 17, 18, 19 and 20 digits in turn.
pub fn nth_person_id(nth: u64) -> u64 {
    let base = match nth % 4 {
        0 => 80_000_000_000_000_001,
        1 => 180_000_000_000_000_001,
        2 => 1_180_000_000_000_000_001,
        _ => 18_000_000_000_000_000_001,
    };
    base + nth / 4
}

/// Text of `[A-Za-z0-9]`.
pub fn text(rng: &mut StdRng, length: usize) -> String {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    (0..length)
        .map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())]))
        .collect()
}

/// A token in the form that Discord gives now: the base64 of an id, a period, chance.
fn token_of(id: u64, rng: &mut StdRng) -> String {
    use base64::Engine;
    let id = base64::engine::general_purpose::STANDARD_NO_PAD.encode(id.to_string());
    format!("{id}.{}", text(rng, 30))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UserId;

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
    fn people_have_ids_of_17_to_20_digits() {
        for nth in 0..8 {
            let id = nth_person_id(nth).to_string();
            assert_eq!(id.len() as u64, 17 + nth % 4);
            assert!(id.parse::<UserId>().is_ok());
        }
    }

    #[test]
    fn a_seed_repeats_the_secrets() {
        let options = SimulatorOptions::default();
        let secret = |seed| World::new(&options, seed).application.client_secret;
        assert_eq!(secret(7), secret(7));
        assert_ne!(secret(7), secret(8));
    }
}
