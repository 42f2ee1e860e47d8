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
use super::webhook_post::execute;
use crate::grant::Reason;
use crate::http::{self, Connections, SetupError};
use crate::ids::{UserId, WebhookId};
use crate::port::discord::Answered;
use crate::port::webhook::{PostAnswer, RelayPost, WebhookState};
use crate::secret::WebhookToken;

/// A code lives 100 s: a post that takes longer is better made again.
const TIMEOUT: Duration = Duration::from_secs(8);

/// Posts through webhooks whose tokens are known.
#[derive(Clone)]
pub struct HttpRelayPost(Rc<Inner>);

struct Inner {
    base: ApiBase,
    http: reqwest::Client,
    tokens: BTreeMap<WebhookId, WebhookToken>,
    bot: UserId,
}

impl HttpRelayPost {
    /// Makes the client; opens nothing.
    pub fn new(base: ApiBase, tokens: BTreeMap<WebhookId, WebhookToken>, bot: UserId) -> Result<Self, SetupError> {
        let http = http::client(base.is_loopback(), Connections::Pooled, TIMEOUT)?;
        Ok(Self(Rc::new(Inner {
            base,
            http,
            tokens,
            bot,
        })))
    }
}

impl RelayPost for HttpRelayPost {
    fn post(&self, webhook: WebhookId, content: String) -> LocalBoxFuture<'static, Answered<PostAnswer>> {
        let inner = Rc::clone(&self.0);
        async move {
            let Some(token) = inner.tokens.get(&webhook) else {
                return Answered::unsent(PostAnswer::Refused {
                    reason: Reason::new("no_webhook_token"),
                    code: 0,
                });
            };
            let content = Zeroizing::new(content);
            // Only the bot is pinged, and no preview is made of what stands in the text (1 << 2, SUPPRESS_EMBEDS).
            let body = json!({
                "content": content.as_str(),
                "allowed_mentions": { "users": [inner.bot.to_string()] },
                "flags": 4,
            });
            execute(&inner.http, &inner.base, webhook, token, &body).await
        }
        .boxed_local()
    }

    fn look(&self, webhook: WebhookId) -> LocalBoxFuture<'static, WebhookState> {
        let inner = Rc::clone(&self.0);
        async move {
            let Some(token) = inner.tokens.get(&webhook) else {
                return WebhookState::Gone;
            };
            let path = Zeroizing::new(format!("/webhooks/{webhook}/{}", token.expose()));
            let answer = inner.http.get(inner.base.endpoint(&path)).send().await;
            match answer.map(|answer| answer.status().as_u16()) {
                Ok(200) => WebhookState::There,
                Ok(401 | 403 | 404) => WebhookState::Gone,
                _ => WebhookState::Unclear,
            }
        }
        .boxed_local()
    }
}
