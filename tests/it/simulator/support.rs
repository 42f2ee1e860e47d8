//! A simulator with a client that follows no redirects.

use std::time::Duration;

use codeferry::simulator::{CodeRequest, Description, Simulator, SimulatorOptions};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;

pub const PERSON: u64 = 80_000_000_000_000_001;

pub struct Discord {
    pub simulator: Simulator,
    pub about: Description,
    pub http: Client,
}

impl Discord {
    pub fn start() -> Self {
        Self::with(SimulatorOptions::without_limits())
    }

    pub fn with(options: SimulatorOptions) -> Self {
        let simulator = Simulator::start(options).expect("the simulator starts");
        let http = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(20))
            .no_proxy()
            .build()
            .expect("a client");
        Self {
            about: simulator.describe(),
            simulator,
            http,
        }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.about.api_base))
    }

    pub fn as_bot(&self, method: Method, path: &str) -> RequestBuilder {
        self.request(method, path)
            .header("Authorization", format!("Bot {}", self.about.bot_token))
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.as_bot(Method::GET, path)).await
    }

    pub async fn get_as(&self, token: &str, path: &str) -> (u16, Value) {
        answer(self.request(Method::GET, path).bearer_auth(token)).await
    }

    pub fn exchange_request(&self, code: &str) -> RequestBuilder {
        self.request(Method::POST, "/oauth2/token")
            .basic_auth(&self.about.application_id, Some(&self.about.client_secret))
            .form(&[
                ("grant_type", "authorization_code"),
                ("code", code),
                ("redirect_uri", &self.about.redirect_uri),
            ])
    }

    pub async fn exchange(&self, code: &str) -> (u16, Value) {
        answer(self.exchange_request(code)).await
    }

    pub async fn revoke(&self, token: &str) -> (u16, Value) {
        answer(
            self.request(Method::POST, "/oauth2/token/revoke")
                .basic_auth(&self.about.application_id, Some(&self.about.client_secret))
                .form(&[("token", token)]),
        )
        .await
    }

    pub fn code(&self, scopes: &[&str]) -> String {
        self.simulator
            .mint_codes(&CodeRequest::of(PERSON).with_scopes(scopes))
            .remove(0)
    }

    pub async fn token(&self, scopes: &[&str]) -> String {
        let (status, body) = self.exchange(&self.code(scopes)).await;
        assert_eq!(status, 200, "{body}");
        body["access_token"].as_str().expect("a token").to_owned()
    }

    pub fn lane_channel(&self) -> String {
        self.about.lanes[0].channel_id.clone()
    }

    pub async fn post(&self, content: &str) -> Response {
        self.http
            .post(&self.about.lanes[0].webhook.url)
            .json(&serde_json::json!({"content": content}))
            .send()
            .await
            .expect("an answer")
    }

    pub async fn control(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        answer(
            self.http
                .request(method, format!("{}/_sim{path}", self.about.base_url))
                .json(&body),
        )
        .await
    }
}

pub async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let text = response.text().await.expect("a whole answer");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

pub fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).and_then(|v| v.to_str().ok())
}
