//! What ought to stand in the account: one source, one transformation, and a connection with a destination for each
//! lane.
//!
//! The transformation is shared: it marks an accepted callback with its lane's number, and each connection's filter
//! lets through its own number alone. So the keys stand in one place, whatever the number of lanes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use url::Url;

use crate::ids::{Lane, UserId, WebhookId};
use crate::intake::hash::hmac_sha256;
use crate::relay::script;
use crate::secret::{Key, Keys, WebhookToken};

/// What a person sees: XHTML, since Hookdeck serves JSON, text or XML only, of at most 1,000 characters.
pub const PAGE: &str = include_str!("page.xhtml").trim_ascii_end();
/// Posts a minute; Discord allows 30, and Hookdeck spreads them evenly.
const PER_MINUTE: u32 = 28;

/// What an account is set up for.
#[derive(Debug, Clone)]
pub struct HookdeckSettings {
    /// The source's and the transformation's name; connections and destinations add their lane's number.
    pub name: String,
    /// Discord's API, with its version.
    pub discord: Url,
    /// The bot to mention.
    pub bot: UserId,
    /// A code's life in seconds.
    pub code_lifetime: u64,
    /// The lanes' webhooks with their tokens.
    pub lanes: Vec<(Lane, WebhookId, WebhookToken)>,
    /// Signs messages.
    pub relay_key: Key,
    /// Check states.
    pub state_keys: Keys,
}

impl HookdeckSettings {
    /// The name of a lane's connection and destination.
    pub fn name_of(&self, lane: Lane) -> String {
        format!("{}-{}", self.name, lane.0)
    }

    /// The transformation, with its environment.
    pub fn transformation(&self) -> Value {
        json!({ "name": self.name, "code": script::hookdeck(), "env": self.environment() })
    }

    /// What the transformation's runtime is told.
    pub fn environment(&self) -> Value {
        environment(self, &self.relay_key, &self.state_keys)
    }

    /// A lane's connection, with its source and destination, as it is put.
    pub fn connection(&self, lane: &(Lane, WebhookId, WebhookToken), transformation_id: &str) -> Value {
        let (number, webhook, token) = lane;
        let name = self.name_of(*number);
        let base = self.discord.as_str().trim_end_matches('/');
        json!({
            "name": name,
            "description": self.description(),
            "source": { "name": self.name, "type": "HTTP", "config": source_config() },
            "destination": { "name": name, "type": "HTTP", "config": {
                // A version, or a 429's Retry-After would be in milliseconds; `wait`, or Discord may drop it silently.
                "url": format!("{base}/webhooks/{webhook}/{}?wait=true", token.expose()),
                "http_method": "POST",
                "path_forwarding_disabled": true,
                "rate_limit": PER_MINUTE,
                "rate_limit_period": "minute",
                "auth_type": "HOOKDECK_SIGNATURE",
                "auth": {},
            }},
            // The whole query, not `query.code`: denials have no code, and all of them would count as one.
            "rules": [
                { "type": "deduplicate", "window": 600_000, "include_fields": ["query"] },
                { "type": "transform", "transformation_id": transformation_id },
                { "type": "filter", "headers": { "x-codeferry-lane": number.0.to_string() } },
                { "type": "retry", "strategy": "linear", "interval": 3_000, "count": 12,
                  "response_status_codes": ["429", "500-599"] },
            ],
        })
    }

    /// Hookdeck need not give an environment back, so a fingerprint of it stands here: keyed, and of no use to a
    /// reader.
    pub fn description(&self) -> String {
        let environment = self.environment().to_string();
        let mac = hmac_sha256(&self.relay_key, format!("codeferry hookdeck {environment}").as_bytes());
        format!("made by codeferry; settings {}", URL_SAFE_NO_PAD.encode(&mac[..9]))
    }

    /// Every text that must not be shown.
    pub fn hidden(&self) -> Vec<String> {
        let keys = [self.relay_key.clone(), self.state_keys.first()]
            .into_iter()
            .chain(self.state_keys.second());
        let tokens = self.lanes.iter().map(|(_, _, token)| token.expose().to_owned());
        keys.map(|key| text_of(&key)).chain(tokens).collect()
    }
}

/// The environment with these keys in the place of the real ones.
pub(super) fn environment(settings: &HookdeckSettings, relay_key: &Key, state_keys: &Keys) -> Value {
    let mut environment = json!({
        "CODEFERRY_RELAY_KEY": text_of(relay_key),
        "CODEFERRY_STATE_KEY": text_of(&state_keys.first()),
        "CODEFERRY_BOT": settings.bot.to_string(),
        "CODEFERRY_LANES": settings.lanes.len().to_string(),
        "CODEFERRY_CODE_LIFETIME": settings.code_lifetime.to_string(),
    });
    if let Some(second) = state_keys.second() {
        environment["CODEFERRY_STATE_KEY_2"] = text_of(&second).into();
    }
    environment
}

fn source_config() -> Value {
    json!({
        "allowed_http_methods": ["GET"],
        "custom_response": { "content_type": "xml", "body": PAGE },
    })
}

/// A key as text: the caller has checked that it is one.
fn text_of(key: &Key) -> String {
    String::from_utf8_lossy(key.expose()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_fits_and_loads_nothing() {
        assert!(PAGE.chars().count() <= 1000, "{}", PAGE.chars().count());
        assert!(PAGE.contains("history.replaceState") && !PAGE.contains('&') && !PAGE.contains("src="));
    }
}
