//! The client of Hookdeck's API (version 2025-07-01): asks, waits where it is told to wait, and never shows a secret.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::time::sleep;
use url::Url;

use crate::http;
use crate::secret::HookdeckKey;

/// How often one request is sent in all. One command sends a few requests, one after another: it needs no budget, only
/// to wait where it is told to.
const TRIES: u32 = 5;
/// The longest single wait for a limit; Hookdeck allows 240 requests a minute.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// What of Hookdeck's own words is shown.
const LONGEST_MESSAGE: usize = 300;

/// Why Hookdeck did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// 401: the key is none of Hookdeck's.
    #[error("Hookdeck refuses the key (401)")]
    KeyRefused,
    /// 403: the key may not do this.
    #[error("Hookdeck's key may not do this (403): {message}")]
    Forbidden {
        /// Hookdeck's words.
        message: String,
    },
    /// 400, 404, 409, 422: the request is at fault.
    #[error("Hookdeck refuses {what} ({status}): {message}")]
    Refused {
        /// Method and path.
        what: String,
        /// The status.
        status: u16,
        /// Hookdeck's words.
        message: String,
    },
    /// 429 to the last.
    #[error("Hookdeck limits the rate of requests; gave up after {TRIES} attempts")]
    Limited,
    /// 5xx to the last, or an answer that is no JSON.
    #[error("Hookdeck gave an unexpected answer ({status})")]
    Broken {
        /// The status.
        status: u16,
    },
    /// No answer.
    #[error("Hookdeck cannot be reached")]
    Unreachable(#[source] reqwest::Error),
}

/// A project of Hookdeck's, seen through its key.
pub struct Hookdeck {
    http: reqwest::Client,
    base: Url,
    key: HookdeckKey,
    /// Texts that must not be shown if Hookdeck repeats them.
    hidden: Vec<String>,
}

impl Hookdeck {
    /// A client; nothing is opened yet. `hidden` are secrets that requests will hold.
    pub fn new(base: Url, key: HookdeckKey, hidden: Vec<String>) -> Result<Self, ApiError> {
        let http = http::trust::with_authorities(reqwest::Client::builder())
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(30))
            .user_agent(concat!("codeferry/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ApiError::Unreachable(error.without_url()))?;
        Ok(Self {
            http,
            base,
            key,
            hidden,
        })
    }

    /// The models of this kind whose name is exactly this.
    pub async fn named(&self, kind: &str, name: &str) -> Result<Vec<Value>, ApiError> {
        let found = self.list(kind, &[("name", name)]).await?;
        Ok(found.into_iter().filter(|model| model["name"] == name).collect())
    }

    /// Up to 250 models of this kind.
    pub async fn list(&self, kind: &str, filter: &[(&str, &str)]) -> Result<Vec<Value>, ApiError> {
        let query = [filter, &[("limit", "250")]].concat();
        let mut answer = self.ask(&Method::GET, kind, &query, None).await?;
        match answer["models"].take() {
            Value::Array(models) => Ok(models),
            _ => Err(ApiError::Broken { status: 200 }),
        }
    }

    /// Creates or updates.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        self.ask(&Method::PUT, path, &[], Some(body)).await
    }

    /// Every request here may be repeated: reading changes nothing, and `PUT` creates or updates by name.
    async fn ask(
        &self,
        method: &Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, ApiError> {
        let url = format!("{}/{path}", self.base.as_str().trim_end_matches('/'));
        for attempt in 1.. {
            let mut request = self
                .http
                .request(method.clone(), &url)
                .query(query)
                .bearer_auth(self.key.expose());
            if let Some(body) = body {
                request = request.json(body);
            }
            let last = attempt == TRIES;
            let backoff = Duration::from_millis(250) * 2_u32.pow(attempt);
            let answer = match request.send().await {
                Ok(answer) => answer,
                Err(_) if !last => {
                    sleep(backoff).await;
                    continue;
                }
                Err(error) => return Err(ApiError::Unreachable(error.without_url())),
            };
            let status = answer.status();
            if status == StatusCode::TOO_MANY_REQUESTS {
                if last {
                    return Err(ApiError::Limited);
                }
                let named = http::feedback(&answer).retry_after();
                sleep(named.map_or(backoff, |wait| wait.min(LONGEST_WAIT))).await;
                continue;
            }
            if status.is_server_error() && !last {
                sleep(backoff).await;
                continue;
            }
            let said: Option<Value> = answer.json().await.ok();
            return self.judge(&format!("{method} /{path}"), status, said);
        }
        Err(ApiError::Limited)
    }

    fn judge(&self, what: &str, status: StatusCode, said: Option<Value>) -> Result<Value, ApiError> {
        let message = || self.shown(said.as_ref());
        match status.as_u16() {
            200..=299 => said.ok_or(ApiError::Broken {
                status: status.as_u16(),
            }),
            401 => Err(ApiError::KeyRefused),
            403 => Err(ApiError::Forbidden { message: message() }),
            400..=499 => Err(ApiError::Refused {
                what: what.to_owned(),
                status: status.as_u16(),
                message: message(),
            }),
            other => Err(ApiError::Broken { status: other }),
        }
    }

    /// Hookdeck's words, which may repeat what it was sent: without secrets, on one line, not too long.
    fn shown(&self, said: Option<&Value>) -> String {
        let mut text = said
            .and_then(|s| s["message"].as_str())
            .unwrap_or("without a reason")
            .to_owned();
        // The list of what is wrong stands beside the message.
        if let Some(data) = said.map(|s| &s["data"]).filter(|d| !d.is_null()) {
            text = format!("{text}: {data}");
        }
        for secret in self.hidden.iter().map(String::as_str).chain([self.key.expose()]) {
            text = text.replace(secret, "[redacted]");
        }
        text.chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(LONGEST_MESSAGE)
            .collect()
    }
}
