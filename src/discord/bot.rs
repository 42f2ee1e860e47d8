//! The routes called with the bot's token, or with a webhook's: history, source messages, what the portal says.
//!
//! Answers are read field by field: one odd field of one message must not hide a page of codes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{FutureExt, LocalBoxFuture};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::api_base::ApiBase;
use super::bot_call::{Answer, Call, Caller, Route, odd};
use crate::http::SetupError;
use crate::ids::{ApplicationId, ChannelId, MessageId, UserId, WebhookId};
use crate::port::discord::{ApplicationFacts, BotApi, BotError, ChannelMessage, HistoryPage};
use crate::rate::feedback::HttpFeedback;
use crate::secret::{BotToken, WebhookToken};

/// `Unknown Message`.
const UNKNOWN_MESSAGE: u32 = 10008;
/// Bits 18 and 19 of an application's flags: message content, and the same for small applications.
const MESSAGE_CONTENT_FLAGS: u64 = 1 << 18 | 1 << 19;

/// What the adapter is made from.
#[derive(Debug, Clone)]
pub struct BotSettings {
    /// Where the API is.
    pub api_base: ApiBase,
    /// The bot's token.
    pub token: BotToken,
    /// The tokens of webhooks that are known: their messages can be removed without a permission.
    pub webhook_tokens: BTreeMap<WebhookId, WebhookToken>,
    /// For one call.
    pub timeout: Duration,
}

/// The bot's routes over HTTP.
pub struct HttpBotApi {
    caller: Arc<Caller>,
    webhook_tokens: BTreeMap<WebhookId, WebhookToken>,
}

impl HttpBotApi {
    /// Makes the client; opens nothing. What each answer says about limits goes to `feedback`, and is dropped where
    /// that is full: a later answer says it again.
    pub fn new(settings: BotSettings, feedback: mpsc::Sender<HttpFeedback>) -> Result<Self, SetupError> {
        Ok(Self {
            caller: Arc::new(Caller::new(
                settings.api_base,
                &settings.token,
                settings.timeout,
                feedback,
            )?),
            webhook_tokens: settings.webhook_tokens,
        })
    }

    pub(super) fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// A page of a channel's history as it came.
    pub(super) async fn page(&self, channel: ChannelId, page: HistoryPage) -> Result<Answer, BotError> {
        let path = format!("/channels/{channel}/messages");
        let mut call = Call::as_bot(Method::GET, Route("messages", channel.0), &path);
        call.query = Some(match page {
            HistoryPage::After(id) => format!("limit=100&after={id}"),
            HistoryPage::Before(id) => format!("limit=100&before={id}"),
        });
        self.caller.call(call).await
    }

    /// A message as its webhook sees it: complete, whatever the application's intents. `None` without its token.
    pub(super) async fn as_its_webhook(
        &self,
        webhook: WebhookId,
        message: MessageId,
    ) -> Result<Option<Value>, BotError> {
        let Some(token) = self.webhook_tokens.get(&webhook) else {
            return Ok(None);
        };
        let call = Call::webhook_message(Method::GET, webhook, token, message);
        self.caller.json(call).await.map(Some)
    }

    /// Whether the bot holds READ_MESSAGE_HISTORY in a channel: without it a list of messages is empty, but one message,
    /// which need not exist, is refused.
    pub async fn may_read_history(&self, channel: ChannelId) -> Result<bool, BotError> {
        // No message has its channel's own id, but the first of a thread or a forum's post.
        let path = format!("/channels/{channel}/messages/{channel}");
        let call = Call::as_bot(Method::GET, Route("message", channel.0), &path);
        match self.caller.call(call).await {
            Ok(_) | Err(BotError::NotFound { code: UNKNOWN_MESSAGE }) => Ok(true),
            Err(BotError::Forbidden { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn delete_as_bot(&self, channel: ChannelId, message: MessageId) -> Result<(), BotError> {
        let path = format!("/channels/{channel}/messages/{message}");
        let call = Call::as_bot(Method::DELETE, Route("message", channel.0), &path);
        match self.caller.call(call).await {
            Ok(_) | Err(BotError::NotFound { .. }) => Ok(()),
            Err(e) => Err(e),
        }
    }
}

impl BotApi for HttpBotApi {
    fn application(&self) -> LocalBoxFuture<'_, Result<ApplicationFacts, BotError>> {
        async move {
            let call = Call::as_bot(Method::GET, Route("application", 0), "/applications/@me");
            let record = self.caller.json(call).await?;
            let id = id_of(record.get("id")).ok_or_else(|| odd("the application's record has no id"))?;
            let bot = match id_of(record.get("bot").and_then(|bot| bot.get("id"))) {
                Some(bot) => bot,
                None => {
                    let call = Call::as_bot(Method::GET, Route("user", 0), "/users/@me");
                    let user = self.caller.json(call).await?;
                    id_of(user.get("id")).ok_or_else(|| odd("the bot's record has no id"))?
                }
            };
            let flags = record.get("flags").and_then(Value::as_u64).unwrap_or(0);
            let uris = record.get("redirect_uris").and_then(Value::as_array);
            Ok(ApplicationFacts {
                id: ApplicationId(id),
                name: record["name"].as_str().unwrap_or_default().to_owned(),
                icon: record["icon"].as_str().map(str::to_owned),
                bot: UserId(bot),
                message_content: flags & MESSAGE_CONTENT_FLAGS != 0,
                redirect_uris: uris
                    .into_iter()
                    .flatten()
                    .filter_map(|uri| Some(uri.as_str()?.to_owned()))
                    .collect(),
            })
        }
        .boxed_local()
    }

    fn channel(&self, channel: ChannelId) -> LocalBoxFuture<'_, Result<(), BotError>> {
        async move {
            let call = Call::as_bot(
                Method::GET,
                Route("channel", channel.0),
                &format!("/channels/{channel}"),
            );
            let record = self.caller.json(call).await?;
            match id_of(record.get("id")) {
                Some(_) => Ok(()),
                None => Err(odd("the channel's record has no id")),
            }
        }
        .boxed_local()
    }

    fn webhook_channel(&self, webhook: WebhookId) -> LocalBoxFuture<'_, Result<ChannelId, BotError>> {
        async move {
            let call = Call::webhook_or_as_bot(webhook, self.webhook_tokens.get(&webhook));
            let record = self.caller.json(call).await?;
            id_of(record.get("channel_id"))
                .map(ChannelId)
                .ok_or_else(|| odd("the webhook's record names no channel"))
        }
        .boxed_local()
    }

    fn history(
        &self,
        channel: ChannelId,
        page: HistoryPage,
    ) -> LocalBoxFuture<'_, Result<Vec<ChannelMessage>, BotError>> {
        async move {
            let answer = self.page(channel, page).await?;
            // Of a message with all its embeds four fields are read, and nothing else is built.
            let items: Vec<&RawValue> = answer.read()?;
            let read = |item: &&RawValue| message(item, Some(channel));
            let messages: Vec<_> = items.iter().filter_map(read).collect();
            if messages.len() < items.len() {
                let skipped = items.len() - messages.len();
                tracing::warn!(%channel, skipped, "messages without an id in the channel's history");
            }
            Ok(messages)
        }
        .boxed_local()
    }

    fn delete_message(
        &self,
        channel: ChannelId,
        webhook: WebhookId,
        message: MessageId,
    ) -> LocalBoxFuture<'_, Result<(), BotError>> {
        async move {
            let Some(token) = self.webhook_tokens.get(&webhook) else {
                return self.delete_as_bot(channel, message).await;
            };
            let call = Call::webhook_message(Method::DELETE, webhook, token, message);
            match self.caller.call(call).await {
                Ok(_) | Err(BotError::NotFound { code: UNKNOWN_MESSAGE }) => Ok(()),
                Err(e @ BotError::Transient(_)) => Err(e),
                // The webhook is gone or its token was changed: the bot may still be allowed to.
                Err(_) => self.delete_as_bot(channel, message).await,
            }
        }
        .boxed_local()
    }

    fn react(&self, channel: ChannelId, message: MessageId) -> LocalBoxFuture<'_, Result<(), BotError>> {
        async move {
            // The white heavy check mark, U+2705, percent-encoded.
            let path = format!("/channels/{channel}/messages/{message}/reactions/%E2%9C%85/@me");
            self.caller
                .call(Call::as_bot(Method::PUT, Route("reaction", channel.0), &path))
                .await
                .map(|_| ())
        }
        .boxed_local()
    }
}

/// What a message holds that matters, each field as it came: an odd one hides no other.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    id: Value,
    channel_id: Value,
    webhook_id: Value,
    content: Value,
}

impl Fields {
    fn read(item: &RawValue) -> Option<Self> {
        // serde would read a list as the fields in their order.
        let object = item.get().starts_with('{');
        object.then(|| serde_json::from_str(item.get()).ok()).flatten()
    }

    /// The message, where it has an id. Its channel may be known beforehand.
    fn message(self, channel: Option<ChannelId>) -> Option<ChannelMessage> {
        Some(ChannelMessage {
            id: MessageId(id_of(Some(&self.id))?),
            channel: match channel {
                Some(channel) => channel,
                None => ChannelId(id_of(Some(&self.channel_id))?),
            },
            webhook: id_of(Some(&self.webhook_id)).map(WebhookId),
            content: match self.content {
                Value::String(content) => content,
                _ => String::new(),
            },
        })
    }
}

/// A message as it came.
pub(super) fn message(item: &RawValue, channel: Option<ChannelId>) -> Option<ChannelMessage> {
    Fields::read(item)?.message(channel)
}

/// An id as Discord writes it: a string of digits, or a number.
pub(super) fn id_of(value: Option<&Value>) -> Option<u64> {
    let id = match value? {
        Value::String(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok()?,
        Value::Number(number) => number.as_u64()?,
        _ => return None,
    };
    (id != 0).then_some(id)
}
