//! Posts results to the application: https, or http on loopback; no redirects; the answer's body is not read.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use reqwest::redirect::Policy;

use super::http::{SetupError, USER_AGENT};
use crate::delivery::http::{HttpFailure, HttpPost, HttpReply};

/// The HTTP client of `http` sinks.
pub struct Poster {
    http: reqwest::Client,
}

impl Poster {
    /// Makes the client; opens nothing.
    pub fn new(timeout: Duration) -> Result<Self, SetupError> {
        let http = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .connect_timeout(Duration::from_secs(3))
            .timeout(timeout)
            .no_proxy()
            .build()
            .map_err(|_| SetupError::Client)?;
        Ok(Self { http })
    }
}

impl HttpPost for Poster {
    fn post<'a>(
        &'a self,
        url: &'a str,
        headers: &'a [(&'static str, String)],
        body: &'a str,
    ) -> LocalBoxFuture<'a, Result<HttpReply, HttpFailure>> {
        async move {
            let mut request = self.http.post(url).header("content-type", "application/json");
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            match request.body(body.to_owned()).send().await {
                Ok(answer) => {
                    let after = answer
                        .headers()
                        .get("retry-after")
                        .and_then(|v| v.to_str().ok()?.parse().ok());
                    Ok(HttpReply {
                        status: answer.status().as_u16(),
                        retry_after: after.map(Duration::from_secs),
                    })
                }
                Err(error) if error.is_connect() || error.is_builder() => Err(HttpFailure::NotSent),
                Err(_) => Err(HttpFailure::Unknown),
            }
        }
        .boxed_local()
    }
}
