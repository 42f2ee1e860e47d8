//! Faults that tests and demonstrations inject, and the rules that say when each strikes. Those that need no knowledge of
//! the world are applied here; an endpoint asks for the others itself.

mod rule;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::{Answer, Body, Transport};
use super::limits::{EdgeForm, Scope, refusal};

pub use rule::{FaultList, FaultRule};

/// What a request is for, by the names of faults and the ledger; the router's table has the path of each.
#[expect(missing_docs, reason = "the router's table says what each is")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// All of them.
    Any,
    Authorize,
    Token,
    Revoke,
    OauthMe,
    Me,
    Guilds,
    Connections,
    Member,
    /// Executing a webhook.
    Webhook,
    /// Reading or deleting a webhook.
    WebhookItself,
    Message,
    Messages,
    CreateMessage,
    Delete,
    BulkDelete,
    Reaction,
    Channel,
    ChannelWebhooks,
    DirectMessage,
    GatewayUrl,
    Icon,
    Application,
    Guild,
    Commands,
    BulkCommands,
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

/// What goes wrong. `ms` are milliseconds, `retry_after` seconds.
#[expect(missing_docs, reason = "a variant says what its fields are")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Answers with any status. With `after_work` the request is carried out all the same.
    Status {
        status: u16,
        #[serde(default)]
        body: FaultBody,
        #[serde(default)]
        retry_after: Option<u64>,
        #[serde(default)]
        after_work: bool,
    },
    /// 429 from Discord's API.
    RateLimited { scope: Scope, retry_after_ms: u64 },
    /// 429 from the edge: no `Via`, no rate-limit headers; a ban has no `retry_after`.
    Edge {
        form: EdgeForm,
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// Waits before the request is handled.
    Delay { ms: u64 },
    /// Carries the request out, then waits before it answers.
    DelayAnswer { ms: u64 },
    /// Carries the request out; the connection is cut before any byte of the answer.
    LostAnswer,
    /// Carries the request out; the connection is cut in the middle of the body.
    CutAnswer,
    /// Carries the request out; the body comes one byte at a time, with a pause between two.
    Drip {
        #[serde(default = "one_second")]
        ms: u64,
    },
    /// Carries the request out; answers 200 with an HTML page.
    HtmlAnswer,
    /// Carries the request out; the JSON is truncated, though the HTTP answer is complete.
    TruncatedJson,
    /// Carries the request out; the body is a JSON object of this size.
    HugeAnswer { megabytes: usize },
    /// Redirects the client with 302 or 307, without carrying the request out.
    Redirect { status: u16, location: String },
    /// Adds unknown fields to every object.
    UnknownFields,
    /// Sets the named fields to null; without names every field but `id`, `access_token` and `user`.
    NullFields {
        #[serde(default)]
        fields: Vec<String>,
    },
    /// Answers with an empty list.
    EmptyList,
    /// 403 `50013`.
    Forbidden,
    /// Answers 401 to a token that is younger than this.
    TransientUnauthorized { ms: u64 },
    /// Refuses valid client credentials with 400 or 401.
    InvalidClient { status: u16 },
    /// An exchange that fails for another reason spends the code.
    FailedExchangeBurns,
    /// Presenting a spent code revokes the tokens issued from it (RFC 6749 section 4.1.2).
    ReuseRevokes,
    /// An exchange returns the user's live token instead of a new one.
    SameToken,
    /// The Gateway brings the message twice.
    DeliverTwice,
    /// The Gateway brings the message late.
    DeliverLate { ms: u64 },
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

/// Where in the course of a request a fault acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Before the request is handled.
    Before,
    /// Instead of handling it: [`Fault::answer`].
    Instead,
    /// In the endpoint's own code, or in the delivery of a message to the Gateway: that code asks for the fault.
    Within,
    /// On the answer's content: [`Fault::change`].
    Answer,
    /// On how the answer's bytes are sent: [`Fault::transport`].
    Transport,
    /// Before the answer is sent.
    After,
}

impl Fault {
    /// Where it acts.
    pub fn phase(&self) -> Phase {
        match self {
            Self::Delay { .. } => Phase::Before,
            Self::Status { after_work: false, .. }
            | Self::RateLimited { .. }
            | Self::Edge { .. }
            | Self::Redirect { .. }
            | Self::Forbidden => Phase::Instead,
            Self::TransientUnauthorized { .. }
            | Self::InvalidClient { .. }
            | Self::FailedExchangeBurns
            | Self::ReuseRevokes
            | Self::SameToken
            | Self::DeliverTwice
            | Self::DeliverLate { .. }
            | Self::DeliverNever => Phase::Within,
            Self::Status { after_work: true, .. }
            | Self::HtmlAnswer
            | Self::TruncatedJson
            | Self::HugeAnswer { .. }
            | Self::UnknownFields
            | Self::NullFields { .. }
            | Self::EmptyList => Phase::Answer,
            Self::LostAnswer | Self::CutAnswer | Self::Drip { .. } => Phase::Transport,
            Self::DelayAnswer { .. } => Phase::After,
        }
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

    /// How the answer's bytes are sent.
    pub fn transport(&self) -> Transport {
        match self {
            Self::LostAnswer => Transport::CutBeforeAnyByte,
            Self::CutAnswer => Transport::CutInBody,
            Self::Drip { ms } => Transport::Drip(Duration::from_millis(*ms)),
            _ => Transport::Whole,
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
