//! Faults that tests and demonstrations inject, and the rules that say when each strikes. Those that need no knowledge of
//! the world are applied here; an endpoint asks for the others itself.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::{Answer, Body, Transport};
use super::limits::{EdgeForm, Scope, refusal};

/// Where a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// Everywhere.
    Any,
    /// The consent page.
    Authorize,
    /// `POST /oauth2/token`.
    Token,
    /// `POST /oauth2/token/revoke`.
    Revoke,
    /// `GET /oauth2/@me`.
    OauthMe,
    /// `GET /users/@me`.
    Me,
    /// `GET /users/@me/guilds`.
    Guilds,
    /// `GET /users/@me/connections`.
    Connections,
    /// `GET /users/@me/guilds/{guild}/member`.
    Member,
    /// `POST /webhooks/{id}/{token}`.
    Webhook,
    /// Reading, changing or deleting a webhook itself.
    WebhookItself,
    /// Reading one message, as the bot or with a webhook's token.
    Message,
    /// `GET /channels/{id}/messages`.
    Messages,
    /// `POST /channels/{id}/messages`.
    CreateMessage,
    /// Deleting one message, as the bot or with a webhook's token.
    Delete,
    /// Deleting many messages.
    BulkDelete,
    /// Reactions.
    Reaction,
    /// `GET /channels/{id}`.
    Channel,
    /// A channel's webhooks.
    ChannelWebhooks,
    /// `POST /users/@me/channels`.
    DirectMessage,
    /// `GET /gateway` and `GET /gateway/bot`.
    GatewayUrl,
    /// `/applications/@me`.
    Application,
    /// The guild and its members.
    Guild,
    /// Reading the application's commands, and setting one.
    Commands,
    /// Setting all commands at once.
    BulkCommands,
    /// Answering an interaction.
    Interaction,
    /// A path that does not exist.
    Unknown,
}

impl Endpoint {
    /// Its name in JSON.
    pub fn name(self) -> String {
        match serde_json::to_value(self) {
            Ok(Value::String(name)) => name,
            _ => String::new(),
        }
    }
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Answers with any status. With `after_work` the request is carried out all the same.
    Status {
        /// The HTTP status.
        status: u16,
        /// The body.
        #[serde(default)]
        body: FaultBody,
        /// `Retry-After`, in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
        /// Whether the request is carried out first.
        #[serde(default)]
        after_work: bool,
    },
    /// 429 from Discord's API.
    RateLimited {
        /// Whose limit.
        scope: Scope,
        /// The wait, in milliseconds.
        retry_after_ms: u64,
    },
    /// 429 from the edge: no `Via`, no rate-limit headers.
    Edge {
        /// What it looks like.
        form: EdgeForm,
        /// `Retry-After`, in seconds; a ban has none.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// Waits before the request is handled.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// Carries the request out, then waits before it answers.
    DelayAnswer {
        /// Milliseconds.
        ms: u64,
    },
    /// Carries the request out; the connection is cut before any byte of the answer.
    LostAnswer,
    /// Carries the request out; the connection is cut in the middle of the body.
    CutAnswer,
    /// Carries the request out; the body comes one byte at a time.
    Drip {
        /// Milliseconds between two bytes.
        #[serde(default = "one_second")]
        ms: u64,
    },
    /// Carries the request out; answers 200 with an HTML page.
    HtmlAnswer,
    /// Carries the request out; the JSON is truncated, though the HTTP answer is complete.
    TruncatedJson,
    /// Carries the request out; the body is a JSON object of this size.
    HugeAnswer {
        /// Megabytes.
        megabytes: usize,
    },
    /// Redirects the client, without carrying the request out.
    Redirect {
        /// 302 or 307.
        status: u16,
        /// The target.
        location: String,
    },
    /// Adds unknown fields to every object.
    UnknownFields,
    /// Sets the named fields to null; without names every field but `id`, `access_token` and `user`.
    NullFields {
        /// The fields.
        #[serde(default)]
        fields: Vec<String>,
    },
    /// Answers with an empty list.
    EmptyList,
    /// 403 `50013`.
    Forbidden,
    /// Answers 401 to a token that is younger than this.
    TransientUnauthorized {
        /// Milliseconds.
        ms: u64,
    },
    /// Refuses valid client credentials with this status.
    InvalidClient {
        /// 400 or 401.
        status: u16,
    },
    /// An exchange that fails for another reason spends the code.
    FailedExchangeBurns,
    /// Presenting a spent code revokes the tokens issued from it (RFC 6749 section 4.1.2).
    ReuseRevokes,
    /// An exchange returns the user's live token instead of a new one.
    SameToken,
    /// The Gateway brings the message twice.
    DeliverTwice,
    /// The Gateway brings the message late.
    DeliverLate {
        /// Milliseconds.
        ms: u64,
    },
    /// The Gateway never brings the message; it is in the history.
    DeliverNever,
}

fn one_second() -> u64 {
    1_000
}

/// The body of [`Fault::Status`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultBody {
    /// Discord's `{"message", "code"}`.
    #[default]
    Json,
    /// An HTML page from the edge.
    Html,
    /// Nothing.
    Empty,
}

/// When and where a fault strikes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// Where.
    pub endpoint: Endpoint,
    /// What.
    pub fault: Fault,
    /// How often it strikes; always if `None`.
    #[serde(default)]
    pub times: Option<u32>,
    /// How many requests pass before it strikes.
    #[serde(default)]
    pub skip: u32,
    /// The probability, from 0 to 1.
    #[serde(default = "always")]
    pub chance: f64,
    /// How long the rule holds, in milliseconds.
    #[serde(default)]
    pub for_ms: Option<u64>,
    /// How often it has struck.
    #[serde(default)]
    pub struck: u64,
}

fn always() -> f64 {
    1.0
}

impl FaultRule {
    /// A fault at every request to an endpoint.
    pub fn on(endpoint: Endpoint, fault: Fault) -> Self {
        Self {
            endpoint,
            fault,
            times: None,
            skip: 0,
            chance: 1.0,
            for_ms: None,
            struck: 0,
        }
    }

    /// Strikes only this many times.
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Lets this many requests pass first.
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// Strikes with a probability.
    pub fn with_chance(mut self, chance: f64) -> Self {
        self.chance = chance;
        self
    }

    /// Holds for this long.
    pub fn lasting(mut self, duration: Duration) -> Self {
        self.for_ms = Some(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        self
    }
}

/// The rules, each with the time at which it ends.
#[derive(Default)]
pub struct FaultList {
    rules: Vec<(FaultRule, i64)>,
}

impl FaultList {
    /// Adds a rule.
    pub fn add(&mut self, rule: FaultRule, now_us: i64) {
        let until = rule.for_ms.map_or(i64::MAX, |ms| {
            now_us.saturating_add(i64::try_from(ms.saturating_mul(1_000)).unwrap_or(i64::MAX))
        });
        self.rules.push((rule, until));
    }

    /// Removes all rules.
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// The rules.
    pub fn rules(&self) -> Vec<FaultRule> {
        self.rules.iter().map(|(rule, _)| rule.clone()).collect()
    }

    /// The first fault that `kind` selects and that strikes now; counts it.
    pub fn take(
        &mut self,
        endpoint: Endpoint,
        now_us: i64,
        rng: &mut StdRng,
        kind: impl Fn(&Fault) -> bool,
    ) -> Option<Fault> {
        for (rule, until) in &mut self.rules {
            let here = rule.endpoint == endpoint || rule.endpoint == Endpoint::Any;
            if !here || now_us >= *until || rule.times == Some(0) || !kind(&rule.fault) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            if rule.chance < 1.0 && !rng.random_bool(rule.chance.clamp(0.0, 1.0)) {
                continue;
            }
            rule.times = rule.times.map(|t| t - 1);
            rule.struck += 1;
            return Some(rule.fault.clone());
        }
        None
    }
}

impl Fault {
    /// Whether it answers in place of the work.
    pub fn replaces_work(&self) -> bool {
        !matches!(self, Self::Status { after_work: true, .. }) && self.answer(false).is_some()
    }

    /// Whether it changes the answer's content.
    pub fn changes_answer(&self) -> bool {
        matches!(
            self,
            Self::Status { after_work: true, .. }
                | Self::HtmlAnswer
                | Self::TruncatedJson
                | Self::HugeAnswer { .. }
                | Self::UnknownFields
                | Self::NullFields { .. }
                | Self::EmptyList
        )
    }

    /// The answer that it gives itself.
    pub fn answer(&self, milliseconds: bool) -> Option<Answer> {
        Some(match self {
            Self::Status {
                status,
                body,
                retry_after,
                ..
            } => {
                let answer = match body {
                    FaultBody::Json => Answer::error(*status, 0, &format!("{status}: {}", reason(*status))),
                    FaultBody::Html => Answer::html(
                        *status,
                        &format!(
                            "<html><head><title>{status}</title></head><body><h1>{}</h1></body></html>",
                            reason(*status)
                        ),
                    )
                    .by_the_edge(),
                    FaultBody::Empty => Answer::empty(*status),
                };
                with_retry_after(answer, *retry_after)
            }
            Self::RateLimited { scope, retry_after_ms } => refusal(*scope, retry_after_ms * 1_000, milliseconds),
            Self::Edge { form, retry_after } => with_retry_after(form.answer(), *retry_after),
            Self::Redirect { status, location } => Answer::redirect(*status, location.clone()),
            Self::Forbidden => Answer::error(403, 50013, "Missing Permissions"),
            _ => return None,
        })
    }

    /// Changes the answer of the work.
    pub fn change(&self, mut answer: Answer) -> Answer {
        match self {
            Self::Status { .. } => return self.answer(false).unwrap_or(answer),
            Self::HtmlAnswer => {
                answer.content_type = "text/html; charset=utf-8";
                answer.body = Body::Bytes(b"<!DOCTYPE html><html><body>Just a moment...</body></html>".to_vec());
            }
            Self::TruncatedJson => {
                if let Body::Bytes(bytes) = &mut answer.body {
                    bytes.truncate(bytes.len() / 2);
                }
            }
            Self::HugeAnswer { megabytes } => answer.body = Body::Huge(*megabytes),
            Self::UnknownFields | Self::NullFields { .. } | Self::EmptyList => {
                if let Some(mut value) = answer.value().filter(|_| answer.is_success()) {
                    match self {
                        Self::UnknownFields => add_unknown_fields(&mut value),
                        Self::NullFields { fields } => null_fields(&mut value, fields),
                        _ => value = json!([]),
                    }
                    answer.body = Body::Bytes(value.to_string().into_bytes());
                }
            }
            _ => {}
        }
        answer
    }

    /// How the answer's bytes are sent, if it changes that.
    pub fn transport(&self) -> Option<Transport> {
        match self {
            Self::LostAnswer => Some(Transport::CutBeforeAnyByte),
            Self::CutAnswer => Some(Transport::CutInBody),
            Self::Drip { ms } => Some(Transport::Drip(Duration::from_millis(*ms))),
            _ => None,
        }
    }
}

fn with_retry_after(answer: Answer, seconds: Option<u64>) -> Answer {
    match seconds {
        Some(seconds) => answer.with_header("Retry-After", seconds.to_string()),
        None => answer,
    }
}

fn reason(status: u16) -> &'static str {
    actix_web::http::StatusCode::from_u16(status)
        .ok()
        .and_then(|s| s.canonical_reason())
        .unwrap_or("Unknown")
}

fn add_unknown_fields(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(add_unknown_fields);
            fields.insert(
                "x_unheard_of".into(),
                json!({"nested": [1, null, {"deep": "\u{1F980}"}], "big": 1e300}),
            );
            fields.insert("flags_new".into(), json!("18446744073709551616"));
        }
        Value::Array(items) => items.iter_mut().for_each(add_unknown_fields),
        _ => {}
    }
}

fn null_fields(value: &mut Value, names: &[String]) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                let named = names.iter().any(|n| n == name);
                let unnamed = names.is_empty() && !matches!(name.as_str(), "id" | "access_token" | "user");
                if named || unnamed {
                    *field = Value::Null;
                } else {
                    null_fields(field, names);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| null_fields(item, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
