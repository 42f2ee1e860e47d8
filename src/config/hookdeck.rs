//! The section and the secrets of `codeferry hookdeck`. Of the service's secrets only those are read that Hookdeck is to hold.

use super::check::Checker;
use super::checked::{Config, HookdeckConfig, StateMode};
use super::environment::Environment;
use super::error::ConfigErrors;
use super::raw::RawHookdeck;
use super::secrets::{LinkKeys, Reader};
use crate::ids::{Lane, WebhookId};
use crate::secret::{HookdeckKey, Key, WebhookToken};

impl Checker<'_> {
    pub(super) fn hookdeck(&mut self, raw: &RawHookdeck) -> Option<HookdeckConfig> {
        let api_base = self.given("hookdeck.api_base", raw.api_base.as_ref());
        let api_base = api_base.and_then(|text| self.base_url("hookdeck.api_base", text));
        let name = self.given("hookdeck.name", raw.name.as_ref());
        let name = name.filter(|name| self.name("hookdeck.name", name));
        Some(HookdeckConfig {
            api_base: api_base?,
            name: name?.clone(),
        })
    }
}

/// What setting up Hookdeck needs.
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
        let mut read = Reader::new(environment);
        let api_key = read.token("CODEFERRY_HOOKDECK_KEY");
        if api_key.is_none() {
            read.missing(
                "CODEFERRY_HOOKDECK_KEY",
                "the project is set up with it",
                "copy the project's API key from the dashboard, Project Settings, Secrets",
            );
        }
        let relay_key = read.key("CODEFERRY_RELAY_KEY");
        if relay_key.is_none() {
            read.missing(
                "CODEFERRY_RELAY_KEY",
                "Hookdeck signs messages with it",
                "set a key of at least 32 bytes, the same that the service has",
            );
        }
        let given = read.key("CODEFERRY_STATE_KEY");
        let tokens = read.webhook_tokens();
        let mut lanes = Vec::new();
        for lane in &config.intake.lanes {
            match tokens.get(&lane.webhook_id) {
                Some(token) => lanes.push((lane.lane, lane.webhook_id, token.clone())),
                None => read.fault(
                    "CODEFERRY_WEBHOOK_TOKENS",
                    &format!(
                        "has no token for webhook {}, which lane {} posts through",
                        lane.webhook_id, lane.lane
                    ),
                    "add `webhook_id:token`, separated by commas; both stand in the webhook's URL",
                ),
            }
        }
        if config.intake.lanes.is_empty() {
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
        let keys = LinkKeys::load_state_key(config, given)?;
        let built = api_key.zip(relay_key).map(|(api_key, relay_key)| Self {
            api_key: HookdeckKey::new(api_key.as_str()),
            relay_key,
            state_key: keys,
            lanes,
        });
        ConfigErrors::default().or(built)
    }
}
