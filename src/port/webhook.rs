//! Posting through webhooks: results for people, and the relay's source messages.

use futures_util::future::LocalBoxFuture;
use serde_json::Value;

use super::discord::{Answered, BotError};
use super::later::Later;
use crate::grant::Reason;
use crate::ids::{ChannelId, MessageId, WebhookId};

/// Posts through webhooks and reads back what was posted.
pub trait WebhookPost {
    /// Posts with `wait=true`.
    fn execute<'a>(&'a self, webhook: WebhookId, body: &'a Value) -> LocalBoxFuture<'a, Answered<PostAnswer>>;
    /// The webhook's posts in that channel newer than a snowflake.
    fn recent(
        &self,
        channel: ChannelId,
        webhook: WebhookId,
        after: u64,
    ) -> LocalBoxFuture<'_, Result<Vec<RecentPost>, BotError>>;
}

/// What a post led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostAnswer {
    /// Discord saved it under this id.
    Posted(MessageId),
    /// The connection was never opened: surely not posted.
    NotSent(Reason),
    /// 429: not posted.
    Later(Later),
    /// No clear answer: it may be posted.
    Unknown(Reason),
    /// It will never work as it is: 400, 401, 403, 404.
    Refused {
        /// The status, such as `http_404`.
        reason: Reason,
        /// Discord's own error code, such as 10015 (unknown webhook) or 50027 (wrong token); 0 where there was none.
        code: u32,
    },
}

/// One post of a webhook, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentPost {
    /// Its id.
    pub id: MessageId,
    /// The footer texts of its embeds.
    pub footers: Vec<String>,
}

/// Posts the relay's messages.
pub trait RelayPost {
    /// Posts a message's text through a webhook.
    fn post(&self, webhook: WebhookId, content: String) -> LocalBoxFuture<'static, Answered<PostAnswer>>;

    /// Looks whether a webhook is there.
    fn look(&self, webhook: WebhookId) -> LocalBoxFuture<'static, Answered<WebhookState>>;
}

/// Whether a webhook works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookState {
    /// It is there.
    There,
    /// It is not, or refuses its token.
    Gone,
    /// No clear answer.
    Unclear,
}
