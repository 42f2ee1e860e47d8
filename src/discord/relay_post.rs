//! The relay's way out: posts source messages, and looks whether a webhook is there. Only webhooks' own tokens are
//! used.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use serde_json::json;
use zeroize::Zeroizing;

use super::api_base::ApiBase;
use super::webhook_post::Webhooks;
use crate::http::{self, SetupError};
use crate::ids::{UserId, WebhookId};
use crate::port::discord::Answered;
use crate::port::webhook::{PostAnswer, RelayPost, WebhookState};
use crate::secret::WebhookToken;

/// A code lives 100 s: a post that takes longer is better made again.
const TIMEOUT: Duration = Duration::from_secs(8);

/// Posts through webhooks whose tokens are known.
#[derive(Clone)]
pub struct HttpRelayPost {
    webhooks: Rc<Webhooks>,
    bot: UserId,
}

impl HttpRelayPost {
    /// Makes the client; opens nothing.
    pub fn new(base: ApiBase, tokens: BTreeMap<WebhookId, WebhookToken>, bot: UserId) -> Result<Self, SetupError> {
        let webhooks = Rc::new(Webhooks::new(base, tokens, TIMEOUT)?);
        Ok(Self { webhooks, bot })
    }
}

impl RelayPost for HttpRelayPost {
    fn post(&self, webhook: WebhookId, content: String) -> LocalBoxFuture<'static, Answered<PostAnswer>> {
        let (webhooks, bot) = (Rc::clone(&self.webhooks), self.bot);
        async move {
            let content = Zeroizing::new(content);
            // Only the bot is pinged, and no preview is made of what stands in the text (1 << 2, SUPPRESS_EMBEDS).
            let body = json!({
                "content": content.as_str(),
                "allowed_mentions": { "users": [bot.to_string()] },
                "flags": 4,
            });
            webhooks.post(webhook, &body).await
        }
        .boxed_local()
    }

    fn look(&self, webhook: WebhookId) -> LocalBoxFuture<'static, Answered<WebhookState>> {
        let webhooks = Rc::clone(&self.webhooks);
        async move {
            let Some(token) = webhooks.tokens.get(&webhook) else {
                return Answered::unsent(WebhookState::Gone);
            };
            let path = Zeroizing::new(format!("/webhooks/{webhook}/{}", token.expose()));
            let Ok(answer) = webhooks.http.get(webhooks.base.endpoint(&path)).send().await else {
                return Answered::unsent(WebhookState::Unclear);
            };
            Answered {
                outcome: match answer.status().as_u16() {
                    200 => WebhookState::There,
                    401 | 403 | 404 => WebhookState::Gone,
                    _ => WebhookState::Unclear,
                },
                feedback: Some(http::feedback(&answer)),
            }
        }
        .boxed_local()
    }
}
