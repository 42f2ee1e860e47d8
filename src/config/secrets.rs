//! The secrets of the service, of the relay and of the Hookdeck setup: each reads its own alone.

use std::collections::BTreeMap;

use super::environment::Environment;
use super::error::ConfigErrors;
use super::layers::Layers;
use super::secret_reader::Reader;
use super::section::Changes;
use super::table::{Config, LaneConfig};
use crate::ids::{Lane, WebhookId};
use crate::intake::pkce;
use crate::intake::state::StateMode;
use crate::secret::{BotToken, CallbackSecret, ClientSecret, ControlToken, HookdeckKey, Key, Keys, WebhookToken};

/// Every secret of the service.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// `CODEFERRY_BOT_TOKEN`; there whenever a lane is configured.
    pub bot_token: Option<BotToken>,
    /// `CODEFERRY_CLIENT_SECRET`.
    pub client_secret: ClientSecret,
    /// `CODEFERRY_RELAY_KEY`, and `…_2`; there whenever a lane accepts version 1.
    pub relay_keys: Option<Keys>,
    /// `CODEFERRY_STATE_KEY`, or made once; and `…_2`.
    pub state_keys: Keys,
    /// `CODEFERRY_PKCE_KEY`, or made once; and `…_2`.
    pub pkce_keys: Keys,
    /// `CODEFERRY_CALLBACK_SECRET`; there whenever an `http` sink is configured.
    pub callback_secret: Option<CallbackSecret>,
    /// `CODEFERRY_WEBHOOK_TOKENS`; one for each `discord_webhook` sink, and any others given.
    pub webhook_tokens: BTreeMap<WebhookId, WebhookToken>,
    /// `CODEFERRY_CONTROL_TOKEN`; there whenever `control.listen` is set.
    pub control_token: Option<ControlToken>,
    /// `CODEFERRY_METRICS_TOKEN`: opens `GET /v1/metrics` on `control.listen`, and nothing else.
    pub metrics_token: Option<ControlToken>,
}

impl Secrets {
    /// Reads those that a tree asks for, even one that has faults. State and PKCE keys that are not given are made,
    /// once, if all else is right and there is a `config`.
    pub(super) fn read(tree: &Layers, read: &mut Reader<'_>, config: Option<&Config>) -> Option<Self> {
        let kinds = tree.texts("delivery", "kind");
        let has_sink = |kind: &str| kinds.iter().flatten().any(|k| k == kind);
        let has_lanes = !tree.items("intake.lanes").is_empty();
        let is_signed = tree
            .items("intake.accept")
            .iter()
            .any(|word| word.as_str() == Some("v1"));
        let bots_own = [
            (has_lanes, "the bot that reads the lanes needs it"),
            (
                has_sink("discord_webhook"),
                "the bot reads back what a webhook sink has posted",
            ),
            (
                tree.is_filled("commands.connect"),
                "the command of `commands.connect` is the bot's",
            ),
            (
                tree.is_true("reinvite.enabled"),
                "the bot sends the messages of `reinvite`",
            ),
        ];
        let needed = bots_own.into_iter().find_map(|(needed, why)| needed.then_some(why));
        let bot_token = read.token("CODEFERRY_BOT_TOKEN", needed);
        let client_secret = read.token("CODEFERRY_CLIENT_SECRET", Some("exchanging codes needs it"));
        let needed = "`intake.accept` has \"v1\", whose messages are signed with it";
        let relay_keys = read.keys("CODEFERRY_RELAY_KEY", (has_lanes && is_signed).then_some(needed));
        let needed = has_sink("http").then_some("a sink of kind `http` signs with it");
        let callback_secret = read.callback_secret(needed);
        let sinks = tree.texts("delivery", "webhook_id").into_iter();
        let sinks = sinks.zip(tree.texts("delivery", "name")).zip(&kinds);
        let webhook_tokens = read.webhook_tokens(sinks.filter_map(|((id, name), kind)| {
            let id = id.filter(|_| kind.as_deref() == Some("discord_webhook"))?;
            Some((id.parse().ok()?, format!("which sink `{}` posts to", name?)))
        }));
        let needed = "`control.listen` opens a TCP port that needs it";
        let needed = tree.is_filled("control.listen").then_some(needed);
        let control_token = read.long_token("CODEFERRY_CONTROL_TOKEN", needed);
        let metrics_token = read.long_token("CODEFERRY_METRICS_TOKEN", None);
        if metrics_token.is_some() && metrics_token == control_token {
            read.fault(
                "CODEFERRY_METRICS_TOKEN",
                "is the same as CODEFERRY_CONTROL_TOKEN, which opens everything",
                "make another one with `openssl rand -base64 32`",
            );
        }
        let keys = LinkKeys::read(read, config).or_else(|| config.is_none().then(LinkKeys::not_made_yet).flatten());
        let LinkKeys { state_keys, pkce_keys } = keys?;
        Some(Self {
            bot_token: bot_token.map(|t| BotToken::new(t.as_str())),
            client_secret: ClientSecret::new(client_secret?.as_str()),
            relay_keys: both(relay_keys),
            state_keys,
            pkce_keys,
            callback_secret,
            webhook_tokens,
            control_token: control_token.map(|t| ControlToken::new(t.as_str())),
            metrics_token: metrics_token.map(|t| ControlToken::new(t.as_str())),
        })
    }

    /// Puts the keys of another reading in the place of these, wherever they are used, and notes what changed.
    pub fn renew(&self, new: &Self, changes: &mut Changes) {
        let mut note = |name, live, differs| changes.note(name, live, differs);
        let relay_keys = self.relay_keys.as_ref().zip(new.relay_keys.as_ref());
        let replaced = relay_keys.is_some_and(|(old, new)| old.replace(new));
        note("CODEFERRY_RELAY_KEY", true, replaced);
        note("CODEFERRY_STATE_KEY", true, self.state_keys.replace(&new.state_keys));
        note("CODEFERRY_PKCE_KEY", true, self.pkce_keys.replace(&new.pkce_keys));
        for (name, differs) in [
            ("CODEFERRY_BOT_TOKEN", self.bot_token != new.bot_token),
            ("CODEFERRY_CLIENT_SECRET", self.client_secret != new.client_secret),
            ("CODEFERRY_CALLBACK_SECRET", self.callback_secret != new.callback_secret),
            ("CODEFERRY_WEBHOOK_TOKENS", self.webhook_tokens != new.webhook_tokens),
            ("CODEFERRY_CONTROL_TOKEN", self.control_token != new.control_token),
            ("CODEFERRY_METRICS_TOKEN", self.metrics_token != new.metrics_token),
        ] {
            note(name, false, differs);
        }
    }
}

/// The keys of a variable, where there is a first one.
fn both([first, second]: [Option<Key>; 2]) -> Option<Keys> {
    first.map(|first| Keys::new(first, second))
}

/// The two keys that links are made with.
#[derive(Debug, Clone)]
pub struct LinkKeys {
    /// `CODEFERRY_STATE_KEY`, or made once; and `…_2`.
    pub state_keys: Keys,
    /// `CODEFERRY_PKCE_KEY`, or made once; and `…_2`.
    pub pkce_keys: Keys,
}

impl LinkKeys {
    /// Reads the two keys alone, making those that are not given. For commands that may write.
    pub fn load(config: &Config, environment: &Environment) -> Result<Self, ConfigErrors> {
        let mut read = Reader::new(environment, ConfigErrors::default());
        let keys = Self::read(&mut read, Some(config));
        read.faults.or(keys)
    }

    /// In place of keys that the first start will make, for those who only look.
    fn not_made_yet() -> Option<Self> {
        let nobodys = || both([Some(Key::new([0; 32])), None]);
        Some(Self {
            state_keys: nobodys()?,
            pkce_keys: nobodys()?,
        })
    }

    fn read(read: &mut Reader<'_>, config: Option<&Config>) -> Option<Self> {
        let [state_key, state_key_2] = read.keys("CODEFERRY_STATE_KEY", None);
        let [pkce_key, pkce_key_2] = read.keys("CODEFERRY_PKCE_KEY", None);
        let config = config.filter(|_| read.faults.errors().is_empty());
        let state_key = read.given_or_made(state_key, config, "state.key", |_| true);
        let is_told_apart = |key: &Key| {
            pkce_key_2
                .as_ref()
                .is_none_or(|second| pkce::id(second) != pkce::id(key))
        };
        let pkce_key = read.given_or_made(pkce_key, config, "pkce.key", is_told_apart);
        if !pkce_key.as_ref().is_none_or(is_told_apart) {
            read.fault(
                "CODEFERRY_PKCE_KEY_2",
                "cannot be told apart from the first key: links name their key by four bits, and these agree",
                "make another one with `openssl rand -base64 32`, for the key that is new",
            );
        }
        Some(Self {
            state_keys: both([state_key, state_key_2])?,
            pkce_keys: both([pkce_key, pkce_key_2])?,
        })
    }
}

/// Every secret a relay uses: no bot token, no client secret, no PKCE key.
#[derive(Debug, Clone)]
pub struct RelaySecrets {
    /// `CODEFERRY_RELAY_KEY`: signs messages. A second one signs nothing.
    pub relay_keys: Keys,
    /// `CODEFERRY_STATE_KEY`, and `…_2`: check states.
    pub state_keys: Keys,
    /// `CODEFERRY_WEBHOOK_TOKENS`: one for each lane.
    pub webhook_tokens: BTreeMap<WebhookId, WebhookToken>,
}

impl RelaySecrets {
    pub(super) fn read(tree: &Layers, read: &mut Reader<'_>) -> Option<Self> {
        let needed = "messages to the service are signed with it";
        let relay_keys = read.keys("CODEFERRY_RELAY_KEY", Some(needed));
        let state_keys = read.keys("CODEFERRY_STATE_KEY", Some("links are checked with it"));
        let lanes = tree.texts("relay.lanes", "webhook_id").into_iter();
        let ids = lanes.filter_map(|id| id?.parse().ok());
        let webhook_tokens = read.webhook_tokens(ids.map(|id| (id, "which is in `relay.lanes`".to_owned())));
        Some(Self {
            relay_keys: both(relay_keys)?,
            state_keys: both(state_keys)?,
            webhook_tokens,
        })
    }

    /// Puts the keys of another reading in the place of these, and notes what changed.
    pub fn renew(&self, new: &Self, changes: &mut Changes) {
        let replaced = self.relay_keys.replace(&new.relay_keys);
        changes.note("CODEFERRY_RELAY_KEY", true, replaced);
        changes.note("CODEFERRY_STATE_KEY", true, self.state_keys.replace(&new.state_keys));
        let differ = self.webhook_tokens != new.webhook_tokens;
        changes.note("CODEFERRY_WEBHOOK_TOKENS", false, differ);
    }
}

/// What setting up Hookdeck needs. Of the service's secrets only those are read that Hookdeck is to hold.
#[derive(Debug, Clone)]
pub struct HookdeckSecrets {
    /// `CODEFERRY_HOOKDECK_KEY`.
    pub api_key: HookdeckKey,
    /// `CODEFERRY_RELAY_KEY`: signs messages. A second one signs nothing.
    pub relay_key: Key,
    /// `CODEFERRY_STATE_KEY`, or made once; and `…_2`.
    pub state_keys: Keys,
    /// Every lane's webhook with its token from `CODEFERRY_WEBHOOK_TOKENS`.
    pub lanes: Vec<(Lane, WebhookId, WebhookToken)>,
}

impl HookdeckSecrets {
    /// Reads them; every fault is named at once.
    pub fn load(config: &Config, environment: &Environment) -> Result<Self, ConfigErrors> {
        let mut read = Reader::new(environment, ConfigErrors::default());
        let secrets = Self::read(&mut read, config);
        read.faults.or(secrets)
    }

    fn read(read: &mut Reader<'_>, config: &Config) -> Option<Self> {
        let api_key = read.token("CODEFERRY_HOOKDECK_KEY", Some("the project is set up with it"));
        let [relay_key, _] = read.keys("CODEFERRY_RELAY_KEY", Some("Hookdeck signs messages with it"));
        let [state_key, state_key_2] = read.keys("CODEFERRY_STATE_KEY", None);
        let lanes = &config.intake.lanes;
        let needed = |lane: &LaneConfig| (lane.webhook_id, format!("which lane {} posts through", lane.lane));
        let tokens = read.webhook_tokens(lanes.iter().map(needed));
        if lanes.is_empty() {
            read.fault(
                "CODEFERRY_WEBHOOK_TOKENS",
                "can name no lane's webhook: the configuration has no lanes",
                "add `[[intake.lanes]]` with `channel_id` and `webhook_id`",
            );
        }
        if config.state.mode != StateMode::Signed {
            read.fault(
                "CODEFERRY_STATE_KEY",
                "checks nothing: `state.mode` is not \"signed\", and a relay lets only signed states through",
                "set `state.mode = \"signed\"`",
            );
        }
        let may_write = Some(config).filter(|_| read.faults.errors().is_empty());
        let state_key = read.given_or_made(state_key, may_write, "state.key", |_| true);
        let with_token = |lane: &LaneConfig| Some((lane.lane, lane.webhook_id, tokens.get(&lane.webhook_id)?.clone()));
        Some(Self {
            api_key: HookdeckKey::new(api_key?.as_str()),
            relay_key: relay_key?,
            state_keys: both([state_key, state_key_2])?,
            lanes: lanes.iter().filter_map(with_token).collect(),
        })
    }
}
