//! What a simulator can be told before it starts. Everything has a default and a JSON form; nothing here binds or opens.

use serde::{Deserialize, Serialize};

use super::gateway::GatewaySettings;
use super::limits::LimitSettings;

/// `GATEWAY_MESSAGE_CONTENT`: the verified form of the message content switch (Discord Docs/Resources/Application).
pub const FLAG_MESSAGE_CONTENT: u64 = 1 << 18;
/// `GATEWAY_MESSAGE_CONTENT_LIMITED`: the form that an unverified application gets by a switch in the portal.
pub const FLAG_MESSAGE_CONTENT_LIMITED: u64 = 1 << 19;

/// Settings of an embedded Discord.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulatorOptions {
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// The seed of everything made by chance; a fixed one repeats tokens and codes.
    pub seed: Option<u64>,
    /// How long an authorization code lives, in milliseconds. Discord: 100 s.
    pub code_lifetime_ms: u64,
    /// How long an access token lives, in seconds. Discord: 604,800.
    pub token_lifetime_s: u64,
    /// Added to the machine's clock, in milliseconds: the service's clock and Discord's differ in practice.
    pub clock_offset_ms: i64,
    /// The application, its bot and what is set in the portal.
    pub application: ApplicationOptions,
    /// How many people exist from the start. Codes may be minted for others: they are born then.
    pub people: u32,
    /// How many intake channels exist, each with one webhook.
    pub lanes: u8,
    /// Whether the intake webhooks belong to the application (only it sees their tokens) or to a person.
    pub application_owned_webhooks: bool,
    /// What the bot may do in the guild's channels.
    pub permissions: BotPermissions,
    /// Rate limits.
    pub limits: LimitSettings,
    /// The Gateway.
    pub gateway: GatewaySettings,
    /// Whether a redirect URI must be sent in the exchange (Discord's staff call it optional; practice says send it).
    pub redirect_uri_required: bool,
    /// Status and code of a call whose token lacks the scope: false gives 401 `40001`, true gives 403 `50026`.
    pub missing_scope_is_forbidden: bool,
    /// Status of revoking a token that nobody knows. RFC 7009: 200. Discord's behaviour is not documented.
    pub unknown_token_revocation_status: u16,
    /// Whether links in messages are fetched and get an embed by `MESSAGE_UPDATE` a second later. Only loopback is called.
    pub unfurl_links: bool,
}

impl Default for SimulatorOptions {
    fn default() -> Self {
        Self {
            port: 0,
            seed: None,
            code_lifetime_ms: 100_000,
            token_lifetime_s: 604_800,
            clock_offset_ms: 0,
            application: ApplicationOptions::default(),
            people: 8,
            lanes: 1,
            application_owned_webhooks: true,
            permissions: BotPermissions::default(),
            limits: LimitSettings::default(),
            gateway: GatewaySettings::default(),
            redirect_uri_required: true,
            missing_scope_is_forbidden: false,
            unknown_token_revocation_status: 200,
            unfurl_links: true,
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
    /// Registered redirect URIs, compared exactly; at most 10 on Discord.
    pub redirect_uris: Vec<String>,
    /// The client secret; made by chance if not given.
    pub client_secret: Option<String>,
    /// The bot's token; made by chance if not given.
    pub bot_token: Option<String>,
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
            redirect_uris: vec!["http://127.0.0.1:8710/oauth".into()],
            client_secret: None,
            bot_token: None,
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
