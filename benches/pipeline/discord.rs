//! The embedded Discord in its own process, without rate limits, and what a benchmark asks of it over HTTP.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use codeferry::simulator::{Ledger, Summary};
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::redirect::Policy;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::people::{Approved, Person};
use crate::process::Process;

/// Connections at once, for preparing as for the bare loop.
pub const CONNECTIONS: usize = 32;

/// What `codeferry simulate --json` says of itself, as far as it matters here.
#[derive(Deserialize)]
pub struct About {
    pub base_url: String,
    pub api_base: String,
    pub application_id: String,
    pub client_secret: String,
    pub bot_id: String,
    pub bot_token: String,
    pub redirect_uri: String,
    pub lanes: Vec<Lane>,
    /// A configuration with one `jsonl` sink.
    pub config: String,
    pub environment: BTreeMap<String, String>,
}

#[derive(Deserialize)]
pub struct Lane {
    pub channel_id: String,
    pub webhook: Webhook,
}

#[derive(Deserialize)]
pub struct Webhook {
    pub id: String,
    pub url: String,
}

/// A running embedded Discord.
pub struct Discord {
    pub process: Process,
    pub about: About,
    pub http: reqwest::Client,
}

impl Discord {
    #[expect(clippy::disallowed_methods, reason = "`Process` kills it")]
    pub fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_codeferry"))
            .args(["simulate", "--json", "--no-limits", "--port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("the embedded Discord does not start")?;
        let out = child.stdout.take().context("stdout is piped")?;
        let process = Process(child);
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        Ok(Self {
            process,
            about: serde_json::from_str(&line).context("the embedded Discord did not describe itself")?,
            http: client()?,
        })
    }

    /// People who have approved, each with a code of their own, in the order of their numbers.
    pub async fn approve(&self, people: impl Iterator<Item = u64>) -> anyhow::Result<Vec<Approved>> {
        let approve = |n| async move {
            let person = Person::of(n);
            let asked = json!({"user_id": person.user.to_string(), "code_challenge": person.challenge()});
            let answer: Codes = self.ask("codes", &asked).await?;
            let code = answer.codes.into_iter().next().context("a code")?;
            anyhow::Ok(Approved { person, code })
        };
        stream::iter(people)
            .map(approve)
            .buffered(CONNECTIONS)
            .try_collect()
            .await
    }

    /// Executes the lane's webhook as a relay does, which the record keeps to the microsecond; answers the message's id.
    pub async fn post_as_relay(&self, approved: &Approved) -> anyhow::Result<u64> {
        let About { lanes, bot_id, .. } = &self.about;
        let message =
            json!({"content": approved.message(bot_id)?, "flags": 4, "allowed_mentions": {"users": [bot_id]}});
        let request = self
            .http
            .post(format!("{}?wait=true", lanes[0].webhook.url))
            .json(&message);
        let posted: Posted = request.send().await?.error_for_status()?.json().await?;
        Ok(posted.id.parse()?)
    }

    /// Puts each code into the lane's channel in a message of its own, as if the webhook had been executed.
    pub async fn post(&self, approved: &[Approved]) -> anyhow::Result<()> {
        let post = |approved: &Approved| {
            let content = approved.message(&self.about.bot_id);
            async move {
                let asked = json!({"as": {"webhook": self.about.lanes[0].webhook.id}, "content": content?});
                self.ask::<Posted>("post", &asked).await.map(drop)
            }
        };
        stream::iter(approved)
            .map(post)
            .buffered(CONNECTIONS)
            .try_collect()
            .await
    }

    pub async fn ledger(&self) -> anyhow::Result<Ledger> {
        self.look("ledger").await
    }

    pub async fn summary(&self) -> anyhow::Result<Summary> {
        self.look("summary").await
    }

    /// Whether no message stands in the lane's channel.
    pub async fn channel_is_empty(&self) -> anyhow::Result<bool> {
        let About {
            api_base,
            lanes,
            bot_token,
            ..
        } = &self.about;
        let url = format!("{api_base}/channels/{}/messages?limit=1", lanes[0].channel_id);
        let request = self.http.get(url).header("authorization", format!("Bot {bot_token}"));
        let messages: Vec<Value> = request.send().await?.error_for_status()?.json().await?;
        Ok(messages.is_empty())
    }

    async fn look<T: DeserializeOwned>(&self, what: &str) -> anyhow::Result<T> {
        let url = format!("{}/_sim/{what}", self.about.base_url);
        Ok(self.http.get(url).send().await?.error_for_status()?.json().await?)
    }

    async fn ask<T: DeserializeOwned>(&self, what: &str, asked: &Value) -> anyhow::Result<T> {
        let url = format!("{}/_sim/{what}", self.about.base_url);
        let answer = self.http.post(url).json(asked).send().await?;
        ensure!(
            answer.status().is_success(),
            "/_sim/{what} answered {}",
            answer.status()
        );
        Ok(answer.json().await?)
    }
}

/// A client as anybody would make one for this: idle connections are kept.
pub fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .http1_only()
        .timeout(Duration::from_secs(30))
        .build()
}

#[derive(Deserialize)]
struct Codes {
    codes: Vec<String>,
}

#[derive(Deserialize)]
struct Posted {
    id: String,
}
