//! A signed HTTP callback, as the Standard Webhooks specification has it. Only 2xx is success: a receiver that answers
//! 4xx may be misdeployed, so everything else is tried again for a day, then parked.

use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use standardwebhooks::Webhook;

use crate::crash;
use crate::port::permit::Permit;
use crate::port::sink::{Delivery, DeliveryAnswer, Sink};
use crate::secret::CallbackSecret;
use crate::time::SharedClock;

/// A POST to the application.
pub trait HttpPost {
    /// Posts a JSON body with these headers.
    fn post<'a>(
        &'a self,
        url: &'a str,
        headers: &'a [(&'static str, String)],
        body: &'a str,
    ) -> LocalBoxFuture<'a, Result<HttpReply, HttpFailure>>;
}

/// What the application answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpReply {
    /// The status.
    pub status: u16,
    /// `Retry-After`, where given in seconds.
    pub retry_after: Option<Duration>,
}

/// Why no answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpFailure {
    /// The connection was never opened.
    NotSent,
    /// The application may have it.
    Unknown,
}

/// A callback URL.
pub struct Callback {
    url: String,
    signer: Webhook,
    http: Rc<dyn HttpPost>,
    clock: SharedClock,
}

/// The signing secret is not `whsec_` with base64.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("CODEFERRY_CALLBACK_SECRET is not `whsec_` followed by base64")]
pub struct BadSecret;

impl Callback {
    /// A callback to this URL.
    pub fn new(
        url: String,
        secret: &CallbackSecret,
        http: Rc<dyn HttpPost>,
        clock: SharedClock,
    ) -> Result<Self, BadSecret> {
        let signer = Webhook::new(secret.expose()).map_err(|_| BadSecret)?;
        Ok(Self {
            url,
            signer,
            http,
            clock,
        })
    }
}

impl Sink for Callback {
    fn deliver<'a>(&'a self, delivery: &'a Delivery, permit: Permit) -> LocalBoxFuture<'a, DeliveryAnswer> {
        drop(permit);
        async move {
            let id = delivery.id.to_string();
            let timestamp = self.clock.now().as_secs();
            let body = delivery.body.expose();
            let Ok(signature) = self.signer.sign(&id, timestamp, body.as_bytes()) else {
                return DeliveryAnswer::Refused {
                    reason: "the result could not be signed",
                };
            };
            let headers = [
                ("webhook-id", id),
                ("webhook-timestamp", timestamp.to_string()),
                ("webhook-signature", signature),
            ];
            crash::point("deliver.http.before");
            let answer = self.http.post(&self.url, &headers, body).await;
            crash::point("deliver.http.after");
            match answer {
                Ok(HttpReply { status: 200..=299, .. }) => DeliveryAnswer::Delivered,
                Ok(HttpReply { retry_after, .. }) => DeliveryAnswer::Retry {
                    after: retry_after,
                    uncertain: false,
                    reason: "the application did not answer 2xx",
                },
                Err(HttpFailure::NotSent) => DeliveryAnswer::Retry {
                    after: None,
                    uncertain: false,
                    reason: "the application cannot be reached",
                },
                Err(HttpFailure::Unknown) => DeliveryAnswer::Retry {
                    after: None,
                    uncertain: true,
                    reason: "the application's answer did not come",
                },
            }
        }
        .boxed_local()
    }
}
