//! The options of a simulator. Each has a default and a JSON form.

use serde::{Deserialize, Serialize};

use super::gateway::GatewaySettings;
use super::limits::LimitSettings;
use crate::permission::Permissions;

/// `GATEWAY_MESSAGE_CONTENT`: message content, for a verified application (Discord Docs/Resources/Application).
pub const FLAG_MESSAGE_CONTENT: u64 = 1 << 18;
/// `GATEWAY_MESSAGE_CONTENT_LIMITED`: message content, switched on in the portal for an unverified application.
pub const FLAG_MESSAGE_CONTENT_LIMITED: u64 = 1 << 19;

/// Options of an embedded Discord.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulatorOptions {
    /// The port on 127.0.0.1; 0 chooses a free one.
    pub port: u16,
    /// The seed of all random values; with the same seed, tokens and codes are the same.
    pub seed: Option<u64>,
    /// How long an authorization code lives, in milliseconds. Discord: 100 s.
    pub code_lifetime_ms: u64,
    /// Offset of Discord's clock from this machine's, in milliseconds: the two differ in practice.
    pub clock_offset_ms: i64,
    /// The application, its bot and its settings in the developer portal.
    pub application: ApplicationOptions,
    /// How many users exist at the start. A code for another user creates that user.
    pub people: u32,
    /// How many intake channels exist, each with one webhook.
    pub lanes: u8,
    /// Rate limits.
    pub limits: LimitSettings,
    /// The Gateway.
    pub gateway: GatewaySettings,
}

impl Default for SimulatorOptions {
    fn default() -> Self {
        Self {
            port: 0,
            seed: None,
            code_lifetime_ms: 100_000,
            clock_offset_ms: 0,
            application: ApplicationOptions::default(),
            people: 8,
            lanes: 1,
            limits: LimitSettings::default(),
            gateway: GatewaySettings::default(),
        }
    }
}

impl SimulatorOptions {
    /// The defaults without any rate limit, for benchmarks.
    pub fn without_limits() -> Self {
        Self {
            limits: LimitSettings::off(),
            ..Self::default()
        }
    }
}

/// The application as the developer portal has it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApplicationOptions {
    /// The application's id, which is OAuth2's `client_id`.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// The bot's user id.
    pub bot_id: u64,
    /// Public flags; the message content switch is [`FLAG_MESSAGE_CONTENT_LIMITED`].
    pub flags: u64,
    /// The hash of its icon, if it has one.
    pub icon: Option<String>,
    /// Where interactions go in place of the gateway.
    pub interactions_endpoint_url: Option<String>,
    /// Registered redirect URIs, compared exactly; at most 10 on Discord.
    pub redirect_uris: Vec<String>,
    /// The client secret; random if empty.
    pub client_secret: String,
    /// The bot's token; random if empty.
    pub bot_token: String,
}

impl std::fmt::Debug for ApplicationOptions {
    /// Leaves the secrets out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApplicationOptions")
            .field("id", &self.id)
            .field("flags", &self.flags)
            .field("redirect_uris", &self.redirect_uris)
            .finish_non_exhaustive()
    }
}

impl Default for ApplicationOptions {
    fn default() -> Self {
        Self {
            id: 1_536_000_000_000_000_001,
            name: "Door".into(),
            bot_id: 1_536_000_000_000_000_009,
            flags: FLAG_MESSAGE_CONTENT_LIMITED,
            icon: Some("d00a".repeat(8)),
            interactions_endpoint_url: None,
            redirect_uris: vec!["http://127.0.0.1:8710/callback".into()],
            client_secret: String::new(),
            bot_token: String::new(),
        }
    }
}

/// What the bot may do in a channel (Discord Docs/Topics/Permissions).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BotPermissions {
    /// `VIEW_CHANNEL`, without which nothing else counts.
    pub view: bool,
    /// `READ_MESSAGE_HISTORY`, without which a list of messages is empty, not an error.
    pub read_history: bool,
    /// `SEND_MESSAGES`.
    pub send: bool,
    /// `MANAGE_MESSAGES`.
    pub manage_messages: bool,
    /// `MANAGE_WEBHOOKS`.
    pub manage_webhooks: bool,
    /// `ADD_REACTIONS`.
    pub add_reactions: bool,
}

impl Default for BotPermissions {
    fn default() -> Self {
        Self {
            view: true,
            read_history: true,
            send: true,
            manage_messages: true,
            manage_webhooks: true,
            add_reactions: true,
        }
    }
}

impl BotPermissions {
    /// Those among a member's permissions in a channel.
    pub fn of(held: Permissions) -> Self {
        Self {
            view: held.holds(Permissions::VIEW_CHANNEL),
            read_history: held.holds(Permissions::READ_MESSAGE_HISTORY),
            send: held.holds(Permissions::SEND_MESSAGES),
            manage_messages: held.holds(Permissions::MANAGE_MESSAGES),
            manage_webhooks: held.holds(Permissions::MANAGE_WEBHOOKS),
            add_reactions: held.holds(Permissions::ADD_REACTIONS),
        }
    }

    /// The permission bits.
    pub fn bits(self) -> u64 {
        [
            (self.add_reactions, 6),
            (self.view, 10),
            (self.send, 11),
            (self.manage_messages, 13),
            (self.read_history, 16),
            (self.manage_webhooks, 29),
        ]
        .into_iter()
        .filter(|(held, _)| *held)
        .fold(0, |bits, (_, bit)| bits | 1 << bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_from_json_and_unknown_keys_are_errors() {
        let options: SimulatorOptions =
            serde_json::from_str(r#"{"port": 8700, "limits": {"enabled": false}}"#).expect("valid options");
        assert_eq!(options.port, 8700);
        assert!(!options.limits.enabled);
        assert_eq!(options.code_lifetime_ms, 100_000);
        assert!(serde_json::from_str::<SimulatorOptions>(r#"{"prot": 1}"#).is_err());
        let text = serde_json::to_string(&SimulatorOptions::default()).expect("options have a JSON form");
        serde_json::from_str::<SimulatorOptions>(&text).expect("what is written is read");
    }

    #[test]
    fn permission_bits_are_discords() {
        assert_eq!(BotPermissions::default().bits(), 536_870_912 + 76_864);
    }
}
