//! The secrets, from the environment or from files it names. No value ever reaches an error.

use std::collections::BTreeMap;

use crate::ids::WebhookId;
use crate::secret::{BotToken, CallbackSecret, ClientSecret, ControlToken, Key, WebhookToken};

/// Every secret the service uses.
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
