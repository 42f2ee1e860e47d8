//! The signed callback's way out: a POST to the application's own address. It stands here because this is where HTTP
//! clients are made; it knows nothing of Discord, follows no redirect and reads no body.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use reqwest::header::CONTENT_TYPE;
use url::Url;

use super::http::{self, CallFailure, Connections, SetupError};
use crate::delivery::http::{HttpFailure, HttpPost, HttpReply};

/// Posts to `https` addresses, and to `http` ones on this machine.
pub struct HttpCallbackPost {
    /// For addresses beyond this machine; heeds a proxy from the environment.
    outside: reqwest::Client,
    /// For loopback addresses.
    inside: reqwest::Client,
}

impl HttpCallbackPost {
    /// Makes the clients; opens nothing. `timeout` is for one post, from the connection to the answer's head.
    pub fn new(timeout: Duration) -> Result<Self, SetupError> {
        Ok(Self {
            outside: http::client_for(false, Connections::Pooled, timeout)?,
            inside: http::client_for(true, Connections::Pooled, timeout)?,
        })
    }

    async fn send(&self, url: &str, headers: &[(&'static str, String)], body: &str) -> Result<HttpReply, HttpFailure> {
        let url = Url::parse(url).map_err(|_| HttpFailure::NotSent)?;
        let client = if http::is_loopback(&url) {
            &self.inside
        } else {
            &self.outside
        };
        let mut request = client.post(url).header(CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let response = request.body(body.to_owned()).send().await;
        let response = response.map_err(|e| match CallFailure::from(e) {
            CallFailure::NotSent => HttpFailure::NotSent,
            _ => HttpFailure::Unknown,
        })?;
        Ok(HttpReply {
            status: response.status().as_u16(),
            retry_after: http::retry_after(&http::feedback(&response)),
        })
    }
}

impl HttpPost for HttpCallbackPost {
    fn post<'a>(
        &'a self,
        url: &'a str,
        headers: &'a [(&'static str, String)],
        body: &'a str,
    ) -> LocalBoxFuture<'a, Result<HttpReply, HttpFailure>> {
        self.send(url, headers, body).boxed_local()
    }
}
