//! A signed HTTP callback, as the Standard Webhooks specification has it. Only 2xx is success: a receiver that answers
//! 4xx may be misdeployed, so everything else is tried again for a day, then parked.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use reqwest::header::CONTENT_TYPE;
use standardwebhooks::Webhook;
use url::Url;

use crate::crash;
use crate::http::{self, CallFailure, Connections, SetupError};
use crate::port::later::Later;
use crate::port::permit::Permit;
use crate::port::sink::{Delivery, DeliveryAnswer, Sink};
use crate::secret::CallbackSecret;
use crate::time::SharedClock;

/// Of the answer to a test so much is read.
const LONGEST_ANSWER: usize = 1024 * 1024;
/// And so much is shown.
const SHOWN_OF_ANSWER: usize = 200;

/// What the application answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpReply {
    /// The status.
    pub status: u16,
    /// `Retry-After`, where given in seconds.
    pub retry_after: Option<Duration>,
}

/// Posts results to the application's own address: `https`, or `http` on this machine and to a neighbour. It follows no
/// redirect and reads no body.
pub struct HttpSink {
    url: Url,
    signer: Webhook,
    client: reqwest::Client,
    clock: SharedClock,
}

/// Why there is no such sink.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub enum HttpSinkError {
    /// The signing secret is not what Standard Webhooks asks for.
    #[error("CODEFERRY_CALLBACK_SECRET is not `whsec_` followed by base64")]
    Secret,
    /// The HTTP client could not be made.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

impl HttpSink {
    /// A sink at this URL; opens nothing. `timeout` is for one post, from the connection to the answer's head.
    pub fn new(
        url: Url,
        secret: &CallbackSecret,
        timeout: Duration,
        clock: SharedClock,
    ) -> Result<Self, HttpSinkError> {
        Ok(Self {
            signer: Webhook::new(secret.expose()).map_err(|_| HttpSinkError::Secret)?,
            // Plain http goes no further than to a neighbour, so not through a proxy.
            client: http::client(
                http::is_loopback(&url) || url.scheme() == "http",
                Connections::Pooled,
                timeout,
            )?,
            url,
            clock,
        })
    }

    /// The headers of the specification; `None` where the body cannot be signed.
    fn signed(&self, id: String, body: &str) -> Option<[(&'static str, String); 3]> {
        let timestamp = self.clock.now().as_secs();
        let signature = self.signer.sign(&id, timestamp, body.as_bytes()).ok()?;
        Some([
            ("webhook-id", id),
            ("webhook-timestamp", timestamp.to_string()),
            ("webhook-signature", signature),
        ])
    }

    /// Posts a signed body once: the status, and how the answer begins.
    pub async fn try_out(&self, id: &str, body: &str) -> Result<(u16, String), CallFailure> {
        let headers = self.signed(id.to_owned(), body).unwrap_or_default();
        let response = self.send(&headers, body).await?;
        let status = response.status().as_u16();
        let mut answer = http::read_capped(response, LONGEST_ANSWER).await?;
        answer.truncate(SHOWN_OF_ANSWER);
        let text = String::from_utf8_lossy(&answer).replace(char::is_control, " ");
        Ok((status, text.trim().to_owned()))
    }

    /// Posts a JSON body with these headers.
    pub async fn post(&self, headers: &[(&'static str, String)], body: &str) -> Result<HttpReply, CallFailure> {
        let response = self.send(headers, body).await?;
        Ok(HttpReply {
            status: response.status().as_u16(),
            retry_after: http::feedback(&response).retry_after(),
        })
    }

    async fn send(&self, headers: &[(&'static str, String)], body: &str) -> Result<reqwest::Response, CallFailure> {
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        Ok(request.body(body.to_owned()).send().await?)
    }
}

impl Sink for HttpSink {
    fn deliver<'a>(&'a self, delivery: &'a Delivery, permit: Permit) -> LocalBoxFuture<'a, DeliveryAnswer> {
        drop(permit);
        async move {
            let body = delivery.body.expose();
            let Some(headers) = self.signed(delivery.id.to_string(), body) else {
                return DeliveryAnswer::Refused {
                    reason: "the result could not be signed".to_owned(),
                };
            };
            crash::point("deliver.http.before");
            let answer = self.post(&headers, body).await;
            crash::point("deliver.http.after");
            let (later, uncertain) = match answer {
                Ok(HttpReply { status: 200..=299, .. }) => return DeliveryAnswer::Delivered,
                Ok(HttpReply { status, retry_after }) => {
                    let reason = http::status_reason(status).to_string();
                    let after = retry_after;
                    (Later { after, reason }, false)
                }
                Err(failure) => {
                    let unsent = matches!(failure, CallFailure::NotSent(_));
                    (Later::because(failure.name()), !unsent)
                }
            };
            DeliveryAnswer::Later { later, uncertain }
        }
        .boxed_local()
    }
}
