//! What tests and demonstrations may ask of the simulator, in Rust and as JSON at `/_sim/…`: codes, posts, uses of
//! commands, changes in the developer portal, in channels and in webhooks.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::options::BotPermissions;
use crate::ids::UserId;

/// Ids come as strings.
pub(super) fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    UserId::deserialize(deserializer).map(|id| id.0)
}

fn maybe_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Option::<UserId>::deserialize(deserializer).map(|id| id.map(|id| id.0))
}

/// Codes to issue without the consent page.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeRequest {
    /// The user who approved.
    #[serde(deserialize_with = "id")]
    pub user_id: u64,
    /// Granted scopes.
    #[serde(default = "identify")]
    pub scopes: Vec<String>,
    /// The PKCE challenge.
    #[serde(default)]
    pub code_challenge: Option<String>,
    /// The number of codes.
    #[serde(default = "one")]
    pub count: usize,
}

fn identify() -> Vec<String> {
    vec!["identify".into()]
}

const fn one() -> usize {
    1
}

impl CodeRequest {
    /// One code of a user, with the scope `identify`.
    pub fn of(user_id: u64) -> Self {
        Self {
            user_id,
            scopes: identify(),
            code_challenge: None,
            count: 1,
        }
    }

    /// Several codes.
    pub fn times(mut self, count: usize) -> Self {
        self.count = count;
        self
    }

    /// Bound to a PKCE challenge.
    pub fn with_challenge(mut self, challenge: impl Into<String>) -> Self {
        self.code_challenge = Some(challenge.into());
        self
    }

    /// With scopes.
    pub fn with_scopes(mut self, scopes: &[&str]) -> Self {
        self.scopes = scopes.iter().map(|s| (*s).to_owned()).collect();
        self
    }
}

/// A message that is posted without any limit or check.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostRequest {
    /// The channel; by default the webhook's own.
    #[serde(default, deserialize_with = "maybe_id")]
    pub channel_id: Option<u64>,
    /// The author.
    #[serde(rename = "as")]
    pub author: PostAuthor,
    /// The text, of any length.
    pub content: String,
    /// The name shown, for a webhook.
    #[serde(default)]
    pub username: Option<String>,
}

/// The author of a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PostAuthor {
    /// A user.
    Person(#[serde(deserialize_with = "id")] u64),
    /// The application's bot.
    Bot,
    /// Another application's bot.
    OtherBot,
    /// A webhook.
    Webhook(#[serde(deserialize_with = "id")] u64),
}

impl PostRequest {
    /// A post in a channel.
    pub fn new(channel_id: u64, author: PostAuthor, content: impl Into<String>) -> Self {
        Self {
            channel_id: Some(channel_id),
            author,
            content: content.into(),
            username: None,
        }
    }

    /// A post through a webhook into its own channel.
    pub fn webhook(webhook_id: u64, content: impl Into<String>) -> Self {
        Self {
            channel_id: None,
            ..Self::new(0, PostAuthor::Webhook(webhook_id), content)
        }
    }
}

/// A user's use of a command.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UseRequest {
    /// The command's name.
    pub command: String,
    /// The chosen values, which are texts, by the option's name.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// The user.
    #[serde(deserialize_with = "id")]
    pub user_id: u64,
    /// The language of the user's client.
    #[serde(default = "english")]
    pub locale: String,
    /// In a direct message with the bot instead of in the guild.
    #[serde(default)]
    pub direct: bool,
    /// The interaction's type: 2 is a command, 4 a request for suggestions.
    #[serde(default = "command")]
    pub kind: u8,
    /// How long ago the command was used, as if the Gateway had been slow.
    #[serde(default)]
    pub age_ms: u64,
}

fn english() -> String {
    "en-US".to_owned()
}

const fn command() -> u8 {
    2
}

impl UseRequest {
    /// A use in the guild, in English.
    pub fn of(user_id: u64, command: &str) -> Self {
        Self {
            command: command.to_owned(),
            options: BTreeMap::new(),
            user_id,
            locale: english(),
            direct: false,
            kind: self::command(),
            age_ms: 0,
        }
    }
}

/// A change in the developer portal; absent fields stay as they are.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PortalChange {
    /// Application flags.
    pub flags: Option<u64>,
    /// Registered redirect URIs.
    pub redirect_uris: Option<Vec<String>>,
    /// A new client secret; the old one is refused.
    pub client_secret: Option<String>,
    /// Where interactions go from now on.
    pub interactions_endpoint_url: Option<String>,
    /// A new bot token; the old one is refused, and its gateway sessions end.
    pub bot_token: Option<String>,
}

/// New permissions of the bot in a channel.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelChange {
    #[serde(deserialize_with = "id")]
    pub channel_id: u64,
    pub permissions: BotPermissions,
}

/// A webhook to move, or without a destination to delete.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookChange {
    #[serde(deserialize_with = "id")]
    pub webhook_id: u64,
    #[serde(default, deserialize_with = "maybe_id")]
    pub move_to: Option<u64>,
}
