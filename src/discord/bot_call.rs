//! One call with the bot's token, or with a webhook's: its limits, its tries, its errors.
//!
//! Routes and their limits are serenity's (`Route`, `Ratelimit`), the call itself is ours: serenity's own
//! `Ratelimiter` forgets the proxy setting and would send the token to `discord.com` whatever the configured base,
//! it sleeps as long as any header says, and its errors hold URLs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use serenity::http::{LightMethod, Ratelimit, RatelimitingBucket, Request, Route};
use serenity::model::id as model;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep, timeout};
use zeroize::Zeroizing;

use super::api_base::ApiBase;
use crate::http::{self, CallFailure, Connections, SetupError};
use crate::ids::{InteractionId, MessageId, WebhookId};
use crate::port::discord::BotError;
use crate::port::later::Later;
use crate::rate::feedback::HttpFeedback;
use crate::secret::{BotToken, InteractionToken, WebhookToken};

/// A full page of 100 messages with embeds stays below 1 MB.
const ANSWER_CAP: usize = 4 * 1024 * 1024;
/// Longer waits are the caller's to plan: a listener that hangs here reads no other channel.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);
/// Tries of one call whose 429s are short.
const TRIES: u32 = 3;

/// The client of the bot's routes.
pub struct Caller {
    base: ApiBase,
    authorization: HeaderValue,
    http: reqwest::Client,
    /// One entry per route and channel or webhook that was ever called: a handful.
    limits: Mutex<HashMap<RatelimitingBucket, Arc<Mutex<Limit>>>>,
    /// The end of a wait that closes every route.
    closed_until: Mutex<Option<Instant>>,
    feedback: mpsc::Sender<HttpFeedback>,
}

/// A bucket's state: what serenity counts from the headers, and the end of a 429.
#[derive(Default)]
struct Limit {
    counted: Ratelimit,
    closed_until: Option<Instant>,
}

/// One call. The route decides path and limits; a webhook's token stands in `path` alone, because serenity's
/// limiter writes its requests into tracing spans.
pub struct Call<'a> {
    method: LightMethod,
    route: Option<Route<'a>>,
    path: Zeroizing<String>,
    /// Without the question mark.
    pub query: Option<String>,
    /// JSON; it may hold somebody's link.
    body: Option<Zeroizing<String>>,
    as_bot: bool,
}

/// A successful answer.
pub struct Answer {
    status: StatusCode,
    json: bool,
    body: Zeroizing<Vec<u8>>,
}

impl Caller {
    /// Makes the client; opens nothing.
    pub fn new(
        base: ApiBase,
        token: &BotToken,
        total: Duration,
        feedback: mpsc::Sender<HttpFeedback>,
    ) -> Result<Self, SetupError> {
        let credentials = Zeroizing::new(format!("Bot {}", token.expose().trim()));
        let mut authorization = HeaderValue::from_str(&credentials).map_err(|_| SetupError::Client)?;
        authorization.set_sensitive(true);
        Ok(Self {
            http: http::client(base.is_loopback(), Connections::Pooled, total)?,
            base,
            authorization,
            limits: Mutex::default(),
            closed_until: Mutex::default(),
            feedback,
        })
    }

    /// serenity's own client, which its shards want to be handed and which we never call.
    pub fn for_shards(&self, token: &BotToken) -> serenity::http::Http {
        serenity::http::HttpBuilder::new(token.expose())
            .client(self.http.clone())
            .proxy(self.base.endpoint("").origin().ascii_serialization())
            .ratelimiter_disabled(true)
            .build()
    }

    /// Makes a call, through its limits, and maps every answer but 2xx to an error.
    pub async fn call(&self, call: Call<'_>) -> Result<Answer, BotError> {
        let limit = match &call.route {
            Some(route) => {
                let mut limits = self.limits.lock().await;
                Arc::clone(limits.entry(route.ratelimiting_bucket()).or_default())
            }
            None => Arc::default(),
        };
        let mut tried = 0;
        loop {
            tried += 1;
            self.wait_until_open(&limit, &call).await?;
            let sent = self.send(&call).await;
            let response = sent.map_err(|failure| transient(failure.to_string(), None))?;
            let mut feedback = http::feedback(&response);
            if response.status() == StatusCode::TOO_MANY_REQUESTS {
                http::read_rate_limit(&mut feedback, response, ANSWER_CAP).await;
                let wait = feedback.wait_after_limit();
                self.close(&limit, &feedback, wait).await;
                self.tell(feedback);
                if tried >= TRIES || wait > LONGEST_SLEEP {
                    return Err(transient("Discord answered 429".to_owned(), Some(wait)));
                }
                continue;
            }
            count(&limit, &call, &response).await;
            let wait = feedback.named_wait();
            self.tell(feedback);
            let (status, json) = (response.status(), http::may_be_json(&response));
            let body = http::read_capped(response, ANSWER_CAP).await;
            let body = body.map_err(|failure| transient(failure.to_string(), None))?;
            let answer = Answer { status, json, body };
            return if status.is_success() {
                Ok(answer)
            } else {
                Err(answer.error(wait, call.body.is_some()))
            };
        }
    }

    /// The same, and its answer as JSON.
    pub async fn json(&self, call: Call<'_>) -> Result<Value, BotError> {
        self.call(call).await?.read()
    }

    async fn send(&self, call: &Call<'_>) -> Result<reqwest::Response, CallFailure> {
        let mut url = self.base.endpoint(&call.path);
        url.set_query(call.query.as_deref());
        let mut request = self.http.request(call.method(), url);
        if call.as_bot {
            request = request.header(AUTHORIZATION, self.authorization.clone());
        }
        if let Some(body) = &call.body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.as_str().to_owned());
        } else if call.method() != Method::GET {
            // Discord's edge answers 411 to a PUT without it.
            request = request.header(CONTENT_LENGTH, 0);
        }
        Ok(request.send().await?)
    }

    async fn wait_until_open(&self, limit: &Mutex<Limit>, call: &Call<'_>) -> Result<(), BotError> {
        let everywhere = *self.closed_until.lock().await;
        let mut limit = limit.lock().await;
        if let Some(until) = everywhere.max(limit.closed_until) {
            let wait = until.saturating_duration_since(Instant::now());
            if wait > LONGEST_SLEEP {
                return Err(transient("the route is closed after a 429".to_owned(), Some(wait)));
            }
            sleep(wait).await;
        }
        let Some(request) = call.for_limiter() else {
            return Ok(());
        };
        // The wall clock stands in serenity's count: one that is set back would make it sleep for hours.
        let ticket = limit.counted.pre_hook(&request, &|_| {});
        if timeout(LONGEST_SLEEP, ticket).await.is_err() {
            limit.counted = Ratelimit::default();
        }
        Ok(())
    }

    async fn close(&self, limit: &Mutex<Limit>, feedback: &HttpFeedback, wait: Duration) {
        let until = Instant::now() + wait;
        let everywhere = feedback.is_from_edge() || feedback.is_global();
        if everywhere {
            *self.closed_until.lock().await = Some(until);
        } else {
            limit.lock().await.closed_until = Some(until);
        }
    }

    fn tell(&self, feedback: HttpFeedback) {
        if self.feedback.try_send(feedback).is_err() {
            tracing::debug!("feedback of a bot call dropped: its reader is behind or gone");
        }
    }
}

impl<'a> Call<'a> {
    fn new(method: LightMethod, route: Option<Route<'a>>, path: impl Into<String>) -> Self {
        Self {
            method,
            path: Zeroizing::new(path.into()),
            route,
            query: None,
            body: None,
            as_bot: false,
        }
    }

    /// A call with the bot's token.
    pub fn as_bot(method: LightMethod, route: Route<'a>) -> Self {
        let full = route.path();
        // Every path of serenity's starts with `https://discord.com/api/v10`; ours is relative to the base.
        let path = full
            .find("/api/v10")
            .map_or(&*full, |at| &full[at + "/api/v10".len()..]);
        Self {
            as_bot: true,
            ..Self::new(method, Some(route), path)
        }
    }

    /// `GET /webhooks/{id}/{token}`.
    pub fn webhook(webhook: WebhookId, token: &WebhookToken) -> Self {
        let webhook_id = model::WebhookId::new(webhook.0);
        let route = Route::WebhookWithToken { webhook_id, token: "" };
        let path = format!("/webhooks/{webhook}/{}", token.expose());
        Self::new(LightMethod::Get, Some(route), path)
    }

    /// A call about one of a webhook's own messages; it needs no permission.
    pub fn webhook_message(method: LightMethod, webhook: WebhookId, token: &WebhookToken, message: MessageId) -> Self {
        let route = Route::WebhookMessage {
            webhook_id: model::WebhookId::new(webhook.0),
            token: "",
            message_id: model::MessageId::new(message.0),
        };
        let path = format!("/webhooks/{webhook}/{}/messages/{message}", token.expose());
        Self::new(method, Some(route), path)
    }

    /// The answer to an interaction; no limit is for it (Discord Docs/Interactions/Receiving and Responding).
    pub fn interaction(interaction: InteractionId, token: &InteractionToken) -> Self {
        let path = format!("/interactions/{interaction}/{}/callback", token.expose());
        Self::new(LightMethod::Post, None, path)
    }

    /// The same call with a body.
    pub fn with_json(self, body: &Value) -> Self {
        Self {
            body: Some(Zeroizing::new(body.to_string())),
            ..self
        }
    }

    /// A call with the bot's token to a route that serenity does not know; nothing paces it.
    pub fn unlimited(path: &str) -> Self {
        Self {
            as_bot: true,
            ..Self::new(LightMethod::Get, None, path)
        }
    }

    fn method(&self) -> Method {
        match self.method {
            LightMethod::Post => Method::POST,
            LightMethod::Put => Method::PUT,
            LightMethod::Delete => Method::DELETE,
            _ => Method::GET,
        }
    }

    fn for_limiter(&self) -> Option<Request<'a>> {
        Some(Request::new(self.route?, self.method))
    }
}

impl Answer {
    /// The body as JSON of this shape.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, BotError> {
        if !self.json {
            return Err(odd("the answer is not JSON"));
        }
        serde_json::from_slice(&self.body).map_err(|_| odd("the answer is not the JSON that was expected"))
    }

    fn error(&self, wait: Option<Duration>, had_body: bool) -> BotError {
        let body: Option<Value> = self.json.then(|| serde_json::from_slice(&self.body).ok()).flatten();
        let code = body
            .as_ref()
            .and_then(|b| b.get("code"))
            .and_then(Value::as_u64)
            .and_then(|code| u32::try_from(code).ok())
            .unwrap_or(0);
        // Without JSON it comes from something in front of the API, and decides nothing.
        match (body.is_some(), self.status) {
            (true, StatusCode::UNAUTHORIZED) => BotError::Unauthorized,
            // 40333: the edge blocked the call.
            (true, StatusCode::FORBIDDEN) if code != 40333 => BotError::Forbidden { code },
            (true, StatusCode::NOT_FOUND) => BotError::NotFound { code },
            // Where nothing was sent that could be wrong, it is not about what was sent.
            (true, StatusCode::BAD_REQUEST) if had_body => BotError::Refused { code },
            (true, status) => transient(format!("Discord answered {} (code {code})", status.as_u16()), wait),
            (false, status) => transient(format!("Discord answered {} without JSON", status.as_u16()), wait),
        }
    }
}

/// Lets serenity count from an answer's headers, if they are sane: it panics on a time that is negative or not finite.
async fn count(limit: &Mutex<Limit>, call: &Call<'_>, response: &reqwest::Response) {
    let sane = |name: &str| match response.headers().get(name) {
        None => true,
        Some(value) => value
            .to_str()
            .ok()
            .and_then(|text| text.parse::<f64>().ok())
            .is_some_and(|seconds| (0.0..=3600.0).contains(&seconds)),
    };
    if !sane("x-ratelimit-reset-after") {
        return;
    }
    if let Some(request) = call.for_limiter() {
        let mut limit = limit.lock().await;
        limit.closed_until = None;
        let counted = limit.counted.post_hook(response, &request, &|_| {}, false).await;
        if counted.is_err() {
            limit.counted = Ratelimit::default();
        }
    }
}

fn transient(reason: String, after: Option<Duration>) -> BotError {
    BotError::Transient(Later { after, reason })
}

/// An answer that is not what it should be.
pub fn odd(reason: &str) -> BotError {
    transient(reason.to_owned(), None)
}
