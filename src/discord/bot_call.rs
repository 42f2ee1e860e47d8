//! One call with the bot's token, or with a webhook's: its limits, its tries, its errors.
//!
//! Discord limits each route by itself, and by the channel or webhook that its path names, and tells the limit with
//! every answer ([Discord Docs/Rate Limits](https://docs.discord.com/developers/topics/rate-limits)).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep};
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
/// From so many limits on, those whose period is over are forgotten.
const KNOWN_LIMITS: usize = 100;
/// Tries of one call whose 429s are short.
const TRIES: u32 = 3;

/// The client of the bot's routes.
pub struct Caller {
    base: ApiBase,
    authorization: HeaderValue,
    http: reqwest::Client,
    /// What is known of the limits of routes.
    limits: Mutex<HashMap<(Method, Route), SharedLimit>>,
    /// The end of a wait that closes every route.
    closed_until: Mutex<Option<Instant>>,
    feedback: mpsc::Sender<HttpFeedback>,
}

/// What one limit of Discord's counts together: the calls of one kind in one channel, or of one webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route(pub &'static str, pub u64);

/// What the last answer told of a route's limit.
#[derive(Default)]
struct Limit {
    /// Calls in a period.
    total: u32,
    /// Calls that are left before `renewed`.
    left: u32,
    /// `None` while no limit is known.
    renewed: Option<Instant>,
}

type SharedLimit = Arc<Mutex<Limit>>;

impl Limit {
    fn is_over(&self, now: Instant) -> bool {
        self.renewed.is_none_or(|at| at <= now)
    }

    /// How long a call has to wait.
    fn wait(&self, now: Instant) -> Duration {
        let renewed = self.renewed.filter(|_| self.left == 0).unwrap_or(now);
        renewed.saturating_duration_since(now)
    }

    fn take(&mut self, now: Instant) {
        if self.renewed.is_some() && self.is_over(now) {
            // The next answer tells the new period's end; until then the calls of one period may leave.
            (self.left, self.renewed) = (self.total, None);
        }
        self.left = self.left.saturating_sub(1);
    }
}

/// One call. The path may hold a webhook's token.
pub struct Call {
    method: Method,
    route: Option<Route>,
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

    /// The client by which the calls are made.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Makes a call, through its limits, and maps every answer but 2xx to an error.
    pub async fn call(&self, call: Call) -> Result<Answer, BotError> {
        let limit = match &call.route {
            Some(route) => {
                let mut limits = self.limits.lock().await;
                if limits.len() >= KNOWN_LIMITS {
                    // Each person's direct channel has one.
                    let now = Instant::now();
                    limits.retain(|_, limit| !limit.try_lock().is_ok_and(|limit| limit.is_over(now)));
                }
                Arc::clone(limits.entry((call.method.clone(), *route)).or_default())
            }
            None => Arc::default(),
        };
        let mut tried = 0;
        loop {
            tried += 1;
            self.wait_until_open(&limit).await?;
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
            count(&limit, &feedback).await;
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
    pub async fn json(&self, call: Call) -> Result<Value, BotError> {
        self.call(call).await?.read()
    }

    async fn send(&self, call: &Call) -> Result<reqwest::Response, CallFailure> {
        let mut url = self.base.endpoint(&call.path);
        url.set_query(call.query.as_deref());
        let mut request = self.http.request(call.method.clone(), url);
        if call.as_bot {
            request = request.header(AUTHORIZATION, self.authorization.clone());
        }
        if let Some(body) = &call.body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.as_str().to_owned());
        } else if call.method != Method::GET {
            // Discord's edge answers 411 to a PUT without it.
            request = request.header(CONTENT_LENGTH, 0);
        }
        Ok(request.send().await?)
    }

    async fn wait_until_open(&self, limit: &Mutex<Limit>) -> Result<(), BotError> {
        let everywhere = *self.closed_until.lock().await;
        // Held while it waits: calls of one route follow each other.
        let mut limit = limit.lock().await;
        let now = Instant::now();
        let wait = everywhere.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let wait = wait.max(limit.wait(now));
        if wait > LONGEST_SLEEP {
            return Err(transient("the route is closed after a 429".to_owned(), Some(wait)));
        }
        if !wait.is_zero() {
            sleep(wait).await;
        }
        limit.take(Instant::now());
        Ok(())
    }

    async fn close(&self, limit: &Mutex<Limit>, feedback: &HttpFeedback, wait: Duration) {
        let until = Instant::now() + wait;
        let everywhere = feedback.is_from_edge() || feedback.is_global();
        if everywhere {
            *self.closed_until.lock().await = Some(until);
        } else {
            let mut limit = limit.lock().await;
            (limit.left, limit.renewed) = (0, Some(until));
        }
    }

    fn tell(&self, feedback: HttpFeedback) {
        if self.feedback.try_send(feedback).is_err() {
            tracing::debug!("feedback of a bot call dropped: its reader is behind or gone");
        }
    }
}

impl Call {
    /// A call with the bot's token, to a path relative to the API's base.
    pub fn as_bot(method: Method, route: Route, path: &str) -> Self {
        Self::new(method, Some(route), path, true)
    }

    /// `GET /webhooks/{id}/{token}`.
    pub fn webhook(webhook: WebhookId, token: &WebhookToken) -> Self {
        let path = Zeroizing::new(format!("/webhooks/{webhook}/{}", token.expose()));
        Self::new(Method::GET, Some(Route("webhook", webhook.0)), &path, false)
    }

    /// `POST /webhooks/{id}/{token}?wait=true`.
    pub fn webhook_post(webhook: WebhookId, token: &WebhookToken, body: &Value) -> Self {
        let path = Zeroizing::new(format!("/webhooks/{webhook}/{}", token.expose()));
        let mut call = Self::new(Method::POST, Some(Route("webhook post", webhook.0)), &path, false);
        call.query = Some("wait=true".to_owned());
        call.with_json(body)
    }

    /// The same where the token is known, else as the bot, which then needs Manage Webhooks.
    pub fn webhook_or_as_bot(webhook: WebhookId, token: Option<&WebhookToken>) -> Self {
        match token {
            Some(token) => Self::webhook(webhook, token),
            None => Self::as_bot(
                Method::GET,
                Route("webhook", webhook.0),
                &format!("/webhooks/{webhook}"),
            ),
        }
    }

    /// A call about one of a webhook's own messages; it needs no permission.
    pub fn webhook_message(method: Method, webhook: WebhookId, token: &WebhookToken, message: MessageId) -> Self {
        let path = Zeroizing::new(format!("/webhooks/{webhook}/{}/messages/{message}", token.expose()));
        Self::new(method, Some(Route("webhook message", webhook.0)), &path, false)
    }

    /// The answer to an interaction; no limit is for it (Discord Docs/Interactions/Receiving and Responding).
    pub fn interaction(interaction: InteractionId, token: &InteractionToken) -> Self {
        let path = Zeroizing::new(format!("/interactions/{interaction}/{}/callback", token.expose()));
        Self::new(Method::POST, None, &path, false)
    }

    fn new(method: Method, route: Option<Route>, path: &str, as_bot: bool) -> Self {
        Self {
            method,
            route,
            path: Zeroizing::new(path.to_owned()),
            query: None,
            body: None,
            as_bot,
        }
    }

    /// The same call with a body.
    pub fn with_json(self, body: &Value) -> Self {
        Self {
            body: Some(Zeroizing::new(body.to_string())),
            ..self
        }
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

/// Reads a route's limit from an answer's headers. What is not there, or makes no sense, leaves it unknown.
async fn count(limit: &Mutex<Limit>, feedback: &HttpFeedback) {
    fn number<T: std::str::FromStr>(feedback: &HttpFeedback, name: &str) -> Option<T> {
        feedback.header(name)?.trim().parse().ok()
    }
    let told = || {
        let after: f64 = number(feedback, "x-ratelimit-reset-after")?;
        let renewed = (0.0..=3600.0)
            .contains(&after)
            .then(|| Instant::now() + Duration::from_secs_f64(after))?;
        Some(Limit {
            total: number(feedback, "x-ratelimit-limit")?,
            left: number(feedback, "x-ratelimit-remaining")?,
            renewed: Some(renewed),
        })
    };
    *limit.lock().await = told().unwrap_or_default();
}

fn transient(reason: String, after: Option<Duration>) -> BotError {
    BotError::Transient(Later { after, reason })
}

/// An answer that is not what it should be.
pub fn odd(reason: &str) -> BotError {
    transient(reason.to_owned(), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn limits_of_direct_channels_are_forgotten_once_they_are_over() {
        let nowhere = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let base = ApiBase::parse(&format!("http://{}/api/v10", nowhere.expect("an address"))).expect("a base");
        let (feedback, _told) = mpsc::channel(1);
        let caller = Caller::new(base, &BotToken::new("token"), Duration::from_secs(5), feedback).expect("made");
        let limited = Limit {
            total: 5,
            left: 0,
            renewed: Some(Instant::now() + Duration::from_mins(1)),
        };
        let waits = (Method::POST, Route("messages", 0));
        caller
            .limits
            .lock()
            .await
            .insert(waits.clone(), Arc::new(Mutex::new(limited)));
        for person in 1..300 {
            let call = Call::as_bot(Method::POST, Route("messages", person), "/");
            assert!(caller.call(call).await.is_err(), "nobody listens");
        }
        let limits = caller.limits.lock().await;
        assert!(limits.len() <= KNOWN_LIMITS, "{}", limits.len());
        assert!(limits.contains_key(&waits), "it is not over");
    }
}
