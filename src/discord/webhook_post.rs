//! Posting through a webhook, and reading back what was posted. A post is not idempotent and Discord offers no key for
//! it: after an unknown outcome the caller looks for its own mark among the recent posts before it posts again.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::api_base::ApiBase;
use super::bot::{self, HttpBotApi};
use crate::grant::Reason;
use crate::http::{self, CallFailure, Connections, SetupError};
use crate::ids::{ChannelId, MessageId, WebhookId};
use crate::port::discord::{Answered, BotError, HistoryPage};
use crate::port::later::Later;
use crate::port::webhook::{PostAnswer, RecentPost, WebhookPost};
use crate::rate::feedback::HttpFeedback;
use crate::secret::WebhookToken;

/// A message with ten embeds stays below 64 KiB.
const ANSWER_CAP: usize = 256 * 1024;
/// Posts whose text must be asked for one by one; the rest are older and were looked at before.
const READ_BACK: usize = 10;

/// Webhooks whose tokens are known.
pub(super) struct Webhooks {
    pub base: ApiBase,
    pub http: reqwest::Client,
    pub tokens: BTreeMap<WebhookId, WebhookToken>,
}

impl Webhooks {
    /// Makes the client; opens nothing.
    pub fn new(
        base: ApiBase,
        tokens: BTreeMap<WebhookId, WebhookToken>,
        timeout: Duration,
    ) -> Result<Self, SetupError> {
        let http = http::client(base.is_loopback(), Connections::Pooled, timeout)?;
        Ok(Self { base, http, tokens })
    }

    /// `POST /webhooks/{id}/{token}?wait=true` with a JSON body: without `wait` Discord may drop a message and report
    /// nothing. A webhook without a token is refused unsent.
    pub async fn post(&self, webhook: WebhookId, body: &Value) -> Answered<PostAnswer> {
        let Some(token) = self.tokens.get(&webhook) else {
            return Answered::unsent(PostAnswer::Refused {
                reason: Reason::new("no_webhook_token"),
                code: 0,
            });
        };
        let path = Zeroizing::new(format!("/webhooks/{webhook}/{}", token.expose()));
        let mut url = self.base.endpoint(&path);
        url.set_query(Some("wait=true"));
        let request = self
            .http
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string());
        let response = match request.send().await.map_err(CallFailure::from) {
            Ok(response) => response,
            Err(failure @ CallFailure::NotSent(_)) => return Answered::unsent(PostAnswer::NotSent(failure.reason())),
            Err(failure) => return Answered::unsent(PostAnswer::Unknown(failure.reason())),
        };
        let mut feedback = http::feedback(&response);
        let outcome = judge(response, &mut feedback).await;
        Answered {
            outcome,
            feedback: Some(feedback),
        }
    }
}

/// Posts through webhooks.
pub struct HttpWebhookPost {
    webhooks: Webhooks,
    bot: Rc<HttpBotApi>,
}

impl HttpWebhookPost {
    /// Makes the client; opens nothing. Reading back is done as the bot.
    pub fn new(
        base: ApiBase,
        tokens: BTreeMap<WebhookId, WebhookToken>,
        timeout: Duration,
        bot: Rc<HttpBotApi>,
    ) -> Result<Self, SetupError> {
        let webhooks = Webhooks::new(base, tokens, timeout)?;
        Ok(Self { webhooks, bot })
    }

    /// The webhook's posts newer than `after`, newest last. Where the application may not read message content, the
    /// ten newest are read with the webhook's own token.
    async fn read_back(&self, channel: ChannelId, webhook: WebhookId, after: u64) -> Result<Vec<RecentPost>, BotError> {
        let answer = self.bot.page(channel, HistoryPage::After(after)).await?;
        let page: Vec<&RawValue> = answer.read()?;
        let mut own: Vec<(MessageId, Value)> = page
            .into_iter()
            .filter_map(|item| Some((bot::message(item, Some(channel))?, item)))
            .filter(|(message, _)| message.webhook == Some(webhook) && message.id.0 > after)
            .filter_map(|(message, item)| Some((message.id, serde_json::from_str(item.get()).ok()?)))
            .collect();
        own.sort_by_key(|(id, _)| *id);
        let newest = own.len().saturating_sub(READ_BACK);
        let mut posts = Vec::with_capacity(own.len());
        for (place, (id, item)) in own.into_iter().enumerate() {
            let mut footers = footers(&item);
            if footers.is_empty() && place >= newest {
                footers = match self.bot.as_its_webhook(webhook, id).await {
                    Ok(Some(whole)) => self::footers(&whole),
                    Ok(None) | Err(BotError::NotFound { .. }) => footers,
                    Err(e) => return Err(e),
                };
            }
            posts.push(RecentPost { id, footers });
        }
        Ok(posts)
    }
}

impl WebhookPost for HttpWebhookPost {
    fn execute<'a>(&'a self, webhook: WebhookId, body: &'a Value) -> LocalBoxFuture<'a, Answered<PostAnswer>> {
        self.webhooks.post(webhook, body).boxed_local()
    }

    fn recent(
        &self,
        channel: ChannelId,
        webhook: WebhookId,
        after: u64,
    ) -> LocalBoxFuture<'_, Result<Vec<RecentPost>, BotError>> {
        self.read_back(channel, webhook, after).boxed_local()
    }
}

async fn judge(response: reqwest::Response, feedback: &mut HttpFeedback) -> PostAnswer {
    let status = response.status();
    if status == StatusCode::TOO_MANY_REQUESTS {
        http::read_rate_limit(feedback, response, ANSWER_CAP).await;
        return PostAnswer::Later(Later::limited(feedback.wait_after_limit()));
    }
    let told = status.is_success() || status.is_client_error();
    if !told || status == StatusCode::REQUEST_TIMEOUT {
        return PostAnswer::Unknown(http::status_reason(status.as_u16()));
    }
    if !http::may_be_json(&response) {
        return PostAnswer::Unknown(Reason::new("not_json"));
    }
    let body = match http::read_capped(response, ANSWER_CAP).await {
        Ok(body) => body,
        Err(failure) => return PostAnswer::Unknown(failure.reason()),
    };
    let Ok(answer) = serde_json::from_slice::<Value>(&body) else {
        return PostAnswer::Unknown(Reason::new("not_json"));
    };
    if status.is_success() {
        return match bot::id_of(answer.get("id")) {
            Some(id) => PostAnswer::Posted(MessageId(id)),
            None => PostAnswer::Unknown(Reason::new("no_message_id")),
        };
    }
    let code = answer.get("code").and_then(Value::as_u64).unwrap_or(0);
    PostAnswer::Refused {
        reason: http::status_reason(status.as_u16()),
        code: u32::try_from(code).unwrap_or(0),
    }
}

fn footers(message: &Value) -> Vec<String> {
    let embeds = message.get("embeds").and_then(Value::as_array);
    embeds
        .into_iter()
        .flatten()
        .filter_map(|embed| Some(embed.get("footer")?.get("text")?.as_str()?.to_owned()))
        .collect()
}
