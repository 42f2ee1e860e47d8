//! The secrets of the service, of the relay and of the Hookdeck setup: each reads its own alone.

use std::collections::BTreeMap;

use super::environment::Environment;
use super::error::ConfigErrors;
use super::relations::Needs;
use super::secret_reader::Reader;
use super::table::{Config, LaneConfig};
use crate::ids::{Lane, WebhookId};
use crate::intake::state::StateMode;
use crate::secret::{BotToken, CallbackSecret, ClientSecret, ControlToken, HookdeckKey, Key, WebhookToken};

/// Every secret of the service.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// `CODEFERRY_BOT_TOKEN`; there whenever a lane is configured.
    pub bot_token: Option<BotToken>,
    /// `CODEFERRY_CLIENT_SECRET`.
    pub client_secret: ClientSecret,
    /// `CODEFERRY_RELAY_KEY`; there whenever a lane accepts version 1.
    pub relay_key: Option<Key>,
    /// `CODEFERRY_STATE_KEY`, or made once.
    pub state_key: Key,
    /// `CODEFERRY_PKCE_KEY`, or made once.
    pub pkce_key: Key,
    /// `CODEFERRY_CALLBACK_SECRET`; there whenever an `http` sink is configured.
    pub callback_secret: Option<CallbackSecret>,
    /// `CODEFERRY_WEBHOOK_TOKENS`; one for each `discord_webhook` sink, and any others given.
    pub webhook_tokens: BTreeMap<WebhookId, WebhookToken>,
    /// `CODEFERRY_CONTROL_TOKEN`; there whenever `control.listen` is set.
    pub control_token: Option<ControlToken>,
}

impl Secrets {
    /// What is wrong with the secrets, as far as that needs no writing.
    pub(super) fn check(needs: &Needs, environment: &Environment) -> ConfigErrors {
        Self::read(needs, Reader::new(environment, None)).1
    }

    /// The secrets of a configuration in which all else is right. For commands that may write: state and PKCE keys that
    /// are not given are made, once.
    pub(super) fn load(needs: &Needs, environment: &Environment, config: &Config) -> Result<Self, ConfigErrors> {
        let (secrets, faults) = Self::read(needs, Reader::new(environment, Some(config)));
        faults.or(secrets)
    }

    fn read(needs: &Needs, mut read: Reader<'_>) -> (Option<Self>, ConfigErrors) {
        let bot_token = read.token("CODEFERRY_BOT_TOKEN", needs.bot_token);
        let client_secret = read.token("CODEFERRY_CLIENT_SECRET", Some("exchanging codes needs it"));
        let relay_key = read.key("CODEFERRY_RELAY_KEY", needs.relay_key);
        let state_key = read.given_or_made("CODEFERRY_STATE_KEY");
        let pkce_key = read.given_or_made("CODEFERRY_PKCE_KEY");
        let callback_secret = read.callback_secret(needs.callback_secret);
        let of_sinks = needs.webhooks.iter().filter_map(|(id, sink)| {
            let id = id.parse().ok()?;
            Some((id, format!("which sink `{sink}` posts to")))
        });
        let webhook_tokens = read.webhook_tokens(of_sinks);
        let control_token = read.token("CODEFERRY_CONTROL_TOKEN", needs.control_token);
        let build = || {
            Some(Self {
                bot_token: bot_token.map(|t| BotToken::new(t.as_str())),
                client_secret: ClientSecret::new(client_secret?.as_str()),
                relay_key,
                state_key: state_key?,
                pkce_key: pkce_key?,
                callback_secret,
                webhook_tokens,
                control_token: control_token.map(|t| ControlToken::new(t.as_str())),
            })
        };
        (build(), read.faults)
    }
}

/// The two keys that links are made with.
#[derive(Debug, Clone)]
pub struct LinkKeys {
    /// `CODEFERRY_STATE_KEY`, or made once.
    pub state_key: Key,
    /// `CODEFERRY_PKCE_KEY`, or made once.
    pub pkce_key: Key,
}

impl LinkKeys {
    /// Reads the two keys alone, making those that are not given. For commands that may write.
    pub fn load(config: &Config, environment: &Environment) -> Result<Self, ConfigErrors> {
        let mut read = Reader::new(environment, Some(config));
        let state_key = read.given_or_made("CODEFERRY_STATE_KEY");
        let keys = state_key.zip(read.given_or_made("CODEFERRY_PKCE_KEY"));
        read.faults
            .or(keys.map(|(state_key, pkce_key)| Self { state_key, pkce_key }))
    }
}

/// Every secret a relay uses: no bot token, no client secret, no PKCE key.
#[derive(Debug, Clone)]
pub struct RelaySecrets {
    /// `CODEFERRY_RELAY_KEY`: signs messages.
    pub relay_key: Key,
    /// `CODEFERRY_STATE_KEY`: checks states.
    pub state_key: Key,
    /// `CODEFERRY_WEBHOOK_TOKENS`: one for each lane.
    pub webhook_tokens: BTreeMap<WebhookId, WebhookToken>,
}

impl RelaySecrets {
    pub(super) fn read(webhooks: &[WebhookId], environment: &Environment) -> (Option<Self>, ConfigErrors) {
        let mut read = Reader::new(environment, None);
        let relay_key = read.key(
            "CODEFERRY_RELAY_KEY",
            Some("messages to the service are signed with it"),
        );
        let state_key = read.key("CODEFERRY_STATE_KEY", Some("links are checked with it"));
        let lanes = webhooks.iter().map(|id| (*id, "which is in `relay.lanes`".to_owned()));
        let webhook_tokens = read.webhook_tokens(lanes);
        let secrets = relay_key.zip(state_key).map(|(relay_key, state_key)| Self {
            relay_key,
            state_key,
            webhook_tokens,
        });
        (secrets, read.faults)
    }
}

/// What setting up Hookdeck needs. Of the service's secrets only those are read that Hookdeck is to hold.
#[derive(Debug, Clone)]
pub struct HookdeckSecrets {
    /// `CODEFERRY_HOOKDECK_KEY`.
    pub api_key: HookdeckKey,
    /// `CODEFERRY_RELAY_KEY`.
    pub relay_key: Key,
    /// `CODEFERRY_STATE_KEY`, or made once.
    pub state_key: Key,
    /// Every lane's webhook with its token from `CODEFERRY_WEBHOOK_TOKENS`.
    pub lanes: Vec<(Lane, WebhookId, WebhookToken)>,
}

impl HookdeckSecrets {
    /// Reads them; every fault is named at once.
    pub fn load(config: &Config, environment: &Environment) -> Result<Self, ConfigErrors> {
        let mut read = Reader::new(environment, None);
        let api_key = read.token("CODEFERRY_HOOKDECK_KEY", Some("the project is set up with it"));
        let relay_key = read.key("CODEFERRY_RELAY_KEY", Some("Hookdeck signs messages with it"));
        read.given_or_made("CODEFERRY_STATE_KEY");
        let lanes = &config.intake.lanes;
        let of_lanes = lanes
            .iter()
            .map(|lane| (lane.webhook_id, format!("which lane {} posts through", lane.lane)));
        let tokens = read.webhook_tokens(of_lanes);
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
        read.faults.or(Some(()))?;
        // Only now that all else is right, since it may be made.
        let mut read = Reader::new(environment, Some(config));
        let state_key = read.given_or_made("CODEFERRY_STATE_KEY");
        let with_token = |lane: &LaneConfig| Some((lane.lane, lane.webhook_id, tokens.get(&lane.webhook_id)?.clone()));
        let built = api_key
            .zip(relay_key)
            .zip(state_key)
            .map(|((api_key, relay_key), state_key)| Self {
                api_key: HookdeckKey::new(api_key.as_str()),
                relay_key,
                state_key,
                lanes: lanes.iter().filter_map(with_token).collect(),
            });
        read.faults.or(built)
    }
}
