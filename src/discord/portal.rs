//! What Discord says of an application, its guilds, channels and webhooks: for those who look at a set-up. Nothing here is
//! called while codes flow.

use std::cell::RefCell;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tokio::sync::mpsc;

use super::api_base::ApiBase;
use super::bot::id_of;
use super::bot_call::{Call, Caller, Route, odd};
use crate::http::SetupError;
use crate::ids::{ApplicationId, ChannelId, GuildId, MessageId, UserId, WebhookId};
use crate::permission::{Overwrite, Permissions, Role};
use crate::port::discord::BotError;
use crate::rate::feedback::HttpFeedback;
use crate::secret::{BotToken, WebhookToken};
use crate::time::Timestamp;

/// For one call.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A text channel (Discord Docs/Resources/Channel, channel types).
pub const TEXT_CHANNEL: u64 = 0;

/// The application of the bot's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// Its id.
    pub id: ApplicationId,
    /// Its name.
    pub name: String,
    /// The bot's user id.
    pub bot: UserId,
    /// Its public flags.
    pub flags: u64,
    /// Registered redirects, letter by letter.
    pub redirect_uris: Vec<String>,
    /// Where interactions go in place of the gateway.
    pub interactions_endpoint: Option<String>,
    /// The scopes it may ask for; empty where Discord does not say.
    pub eligible_scopes: Vec<String>,
}

/// A channel of a guild.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuildChannel {
    /// Its guild; `None` for a direct message channel.
    pub guild: Option<GuildId>,
    /// Its name.
    pub name: String,
    /// Discord's type of channel.
    pub kind: u64,
    /// What it changes for roles and members.
    pub overwrites: Vec<Overwrite>,
}

/// A webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Webhook {
    /// Where it posts.
    pub channel: ChannelId,
    /// The application that made it, if one did.
    pub application: Option<ApplicationId>,
}

/// What `GET /gateway/bot` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sessions {
    /// Sessions that all programs of this bot may still begin today.
    pub left: u64,
    /// Shards that Discord asks for.
    pub shards: u64,
}

/// The client.
pub struct Portal {
    caller: Caller,
    told: RefCell<mpsc::Receiver<HttpFeedback>>,
}

impl Portal {
    /// Makes the client; opens nothing.
    pub fn new(base: ApiBase, token: &BotToken) -> Result<Self, SetupError> {
        let (feedback, told) = mpsc::channel(64);
        Ok(Self {
            caller: Caller::new(base, token, TIMEOUT, feedback)?,
            told: RefCell::new(told),
        })
    }

    async fn get(&self, route: Route, path: &str) -> Result<Value, BotError> {
        self.caller.json(Call::as_bot(Method::GET, route, path)).await
    }

    /// `GET /applications/@me`.
    pub async fn application(&self) -> Result<Application, BotError> {
        let record = self.get(Route("application", 0), "/applications/@me").await?;
        let id = id_of(record.get("id")).ok_or_else(|| odd("the application's record has no id"))?;
        let bot = id_of(record.pointer("/bot/id"));
        Ok(Application {
            id: ApplicationId(id),
            name: text(&record, "name"),
            // Of applications made since 2016 the two ids are the same.
            bot: UserId(bot.unwrap_or(id)),
            flags: record["flags"].as_u64().unwrap_or(0),
            redirect_uris: texts(&record, "redirect_uris"),
            interactions_endpoint: record["interactions_endpoint_url"].as_str().map(str::to_owned),
            eligible_scopes: texts(&record, "eligible_oauth2_scopes"),
        })
    }

    /// `GET /channels/{id}`.
    pub async fn channel(&self, channel: ChannelId) -> Result<GuildChannel, BotError> {
        let record = self
            .get(Route("channel", channel.0), &format!("/channels/{channel}"))
            .await?;
        let overwrites = record["permission_overwrites"].as_array().into_iter().flatten();
        let overwrites = overwrites.filter_map(|over| {
            Some(Overwrite {
                id: id_of(over.get("id"))?,
                deny: bits(over, "deny"),
                allow: bits(over, "allow"),
            })
        });
        Ok(GuildChannel {
            guild: id_of(record.get("guild_id")).map(GuildId),
            name: text(&record, "name"),
            kind: record["type"].as_u64().unwrap_or(TEXT_CHANNEL),
            overwrites: overwrites.collect(),
        })
    }

    /// `GET /guilds/{id}/roles`.
    pub async fn roles(&self, guild: GuildId) -> Result<Vec<Role>, BotError> {
        let record = self
            .get(Route("guild", guild.0), &format!("/guilds/{guild}/roles"))
            .await?;
        let roles = record.as_array().ok_or_else(|| odd("the roles are no list"))?;
        let read = |role: &Value| {
            Some(Role {
                id: id_of(role.get("id"))?,
                name: text(role, "name"),
                permissions: bits(role, "permissions"),
            })
        };
        Ok(roles.iter().filter_map(read).collect())
    }

    /// The ids of a member's roles: `GET /guilds/{id}/members/{user}`.
    pub async fn roles_of(&self, guild: GuildId, user: UserId) -> Result<Vec<u64>, BotError> {
        let path = format!("/guilds/{guild}/members/{user}");
        let record = self.get(Route("guild", guild.0), &path).await?;
        let roles = record["roles"].as_array().into_iter().flatten();
        Ok(roles.filter_map(|id| id_of(Some(id))).collect())
    }

    /// A webhook, by its token where that is given.
    pub async fn webhook(&self, webhook: WebhookId, token: Option<&WebhookToken>) -> Result<Webhook, BotError> {
        let call = Call::webhook_or_as_bot(webhook, token);
        let record = self.caller.json(call).await?;
        let channel = id_of(record.get("channel_id")).ok_or_else(|| odd("the webhook's record names no channel"))?;
        Ok(Webhook {
            channel: ChannelId(channel),
            application: id_of(record.get("application_id")).map(ApplicationId),
        })
    }

    /// Posts through a webhook.
    pub async fn post(&self, webhook: WebhookId, token: &WebhookToken, body: &Value) -> Result<MessageId, BotError> {
        let posted = self.caller.json(Call::webhook_post(webhook, token, body)).await?;
        let id = id_of(posted.get("id")).ok_or_else(|| odd("the posted message has no id"))?;
        Ok(MessageId(id))
    }

    /// Whether a channel's history shows a message.
    pub async fn shows(&self, channel: ChannelId, message: MessageId) -> Result<bool, BotError> {
        let path = format!("/channels/{channel}/messages");
        let mut call = Call::as_bot(Method::GET, Route("messages", channel.0), &path);
        call.query = Some(format!("limit=1&after={}", message.0 - 1));
        let shown = self.caller.json(call).await?;
        Ok(id_of(shown.pointer("/0/id")) == Some(message.0))
    }

    /// Removes a webhook's own message.
    pub async fn remove(&self, webhook: WebhookId, token: &WebhookToken, message: MessageId) -> Result<(), BotError> {
        let call = Call::webhook_message(Method::DELETE, webhook, token, message);
        self.caller.call(call).await.map(|_| ())
    }

    /// `GET /guilds/{id}`: whether the bot is in it.
    pub async fn guild(&self, guild: GuildId) -> Result<String, BotError> {
        let record = self.get(Route("guild", guild.0), &format!("/guilds/{guild}")).await?;
        Ok(text(&record, "name"))
    }

    /// `GET /gateway/bot`. It begins no session.
    pub async fn sessions(&self) -> Result<Sessions, BotError> {
        let record = self.get(Route("gateway", 0), "/gateway/bot").await?;
        let left = record.pointer("/session_start_limit/remaining").and_then(Value::as_u64);
        Ok(Sessions {
            left: left.ok_or_else(|| odd("the answer names no session limit"))?,
            shards: record["shards"].as_u64().unwrap_or(1),
        })
    }

    /// Discord's clock minus ours in milliseconds, by the answers so far; it is told in whole seconds.
    pub fn skew_ms(&self, now: Timestamp) -> Option<i64> {
        let mut told = self.told.borrow_mut();
        let skews = std::iter::from_fn(|| told.try_recv().ok()).filter_map(|answer| answer.skew_ms(now));
        skews.last()
    }
}

fn text(record: &Value, name: &str) -> String {
    record[name].as_str().unwrap_or_default().to_owned()
}

fn texts(record: &Value, name: &str) -> Vec<String> {
    let list = record[name].as_array().into_iter().flatten();
    list.filter_map(|item| Some(item.as_str()?.to_owned())).collect()
}

/// Permissions come as a number in a text.
fn bits(record: &Value, name: &str) -> Permissions {
    let text = record[name].as_str().and_then(|text| text.parse().ok());
    Permissions(text.unwrap_or(0))
}
