//! The client side, over the unix socket.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::ask::{Ask, Refusal};

/// Asks a running service.
pub struct ControlClient {
    http: reqwest::Client,
}

/// No service answers at the socket.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("no service answers at the control socket")]
pub struct NobodyThere;

impl ControlClient {
    /// A client for this socket; nothing is opened yet.
    pub fn new(socket: &Path) -> Result<Self, NobodyThere> {
        if !socket.exists() {
            return Err(NobodyThere);
        }
        let http = reqwest::Client::builder()
            .unix_socket(socket)
            .timeout(Duration::from_mins(1))
            .no_proxy()
            .build();
        http.map(|http| Self { http }).map_err(|_| NobodyThere)
    }

    /// Asks; the outer error means that no service answered.
    pub async fn ask(&self, ask: &Ask) -> Result<Result<Value, Refusal>, NobodyThere> {
        let (method, path, body) = ask.request();
        let url = format!("http://codeferry{path}");
        let mut request = if method == "POST" {
            self.http.post(url)
        } else {
            self.http.get(url)
        };
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.map_err(|_| NobodyThere)?;
        let status = answer.status();
        let value: Value = answer.json().await.map_err(|_| NobodyThere)?;
        if status.is_success() {
            return Ok(Ok(value));
        }
        let message = value["error"].as_str().unwrap_or("the service refused").to_owned();
        Ok(Err(Refusal {
            retry_after: value["retry_after"].as_u64(),
            ..Refusal::new(status.as_u16(), message)
        }))
    }
}
