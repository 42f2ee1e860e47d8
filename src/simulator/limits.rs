//! Rate limits as Discord shows and hides them: per-route buckets with headers, the hidden channel limit, the global
//! limit and the ban for invalid requests. It counts requests and does not know what they do.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::Answer;

/// A number of requests in a window that begins with the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// How many requests.
    pub limit: u32,
    /// The window, in milliseconds.
    pub per_ms: u64,
}

const fn rule(limit: u32, per_ms: u64) -> Rule {
    Rule { limit, per_ms }
}

/// The limits that tests change; `None` switches one off. The others are [`Bucket::rule_and_name`]'s.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// False switches all of them off.
    pub enabled: bool,
    /// Executions per webhook, shown in headers.
    pub webhook: Option<Rule>,
    /// Requests per address without an Authorization header (documented: 50 a second).
    pub unauthenticated: Option<Rule>,
    /// Answers 401, 403 and 429 (scope `shared` excluded) per address before it is banned.
    pub invalid_requests: Option<Rule>,
    /// What a ban looks like.
    pub ban_form: EdgeForm,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            webhook: Some(rule(5, 2_000)),
            unauthenticated: Some(rule(50, 1_000)),
            invalid_requests: Some(rule(10_000, 600_000)),
            ban_form: EdgeForm::Json,
        }
    }
}

/// Shortest and longest wait after the channel limit was exceeded, in milliseconds.
pub const CHANNEL_PENALTY_MS: [u64; 2] = [40_000, 45_000];
/// How long a ban lasts.
const BAN_US: u64 = 24 * 3_600_000_000;

impl LimitSettings {
    /// No limits at all.
    pub fn off() -> Self {
        Self {
            enabled: false,
            ..Self::default()
        }
    }
}

/// How Cloudflare's edge refuses a request, before Discord's API sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeForm {
    /// The static JSON of a ban, without `Retry-After`.
    Json,
    /// `error code: 1015`.
    Text,
    /// An HTML page.
    Html,
}

impl EdgeForm {
    /// The answer: 429, without `Via` and without rate-limit headers.
    pub fn answer(self) -> Answer {
        let answer = match self {
            Self::Json => Answer::json(
                429,
                &json!({"code": 0, "message": "You are being blocked from accessing our API temporarily due to \
                    exceeding our rate limits frequently. Please read our docs at https://discord.com/developers/docs/topics/rate-limits \
                    to prevent this moving forward."}),
            ),
            Self::Text => Answer::bytes(429, "text/plain; charset=UTF-8", b"error code: 1015".to_vec()),
            Self::Html => Answer::html(
                429,
                "<!DOCTYPE html><html><head><title>Access denied | discord.com used Cloudflare to restrict access</title></head>\
                 <body><h1>Error 1015</h1><p>You are being rate limited</p></body></html>",
            ),
        };
        answer.by_the_edge()
    }
}

/// Whose limit a 429 reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The caller's bucket.
    User,
    /// The caller's global limit.
    Global,
    /// A resource shared with others; such a 429 does not count towards a ban.
    Shared,
}

/// A 429 of Discord's API. The deprecated default version (an unversioned path) gives waits in `milliseconds`.
pub fn refusal(scope: Scope, retry_after_us: u64, milliseconds: bool) -> Answer {
    let ms = retry_after_us.div_ceil(1_000);
    let message = if scope == Scope::Shared {
        "The resource is being rate limited."
    } else {
        "You are being rate limited."
    };
    let (body_wait, header_wait) = if milliseconds {
        (json!(ms), ms)
    } else {
        (json!(ms as f64 / 1_000.0), ms.div_ceil(1_000))
    };
    let answer = Answer::json(
        429,
        &json!({"message": message, "retry_after": body_wait, "global": scope == Scope::Global}),
    )
    .with_header("Retry-After", header_wait.to_string());
    match scope {
        Scope::User => answer.with_header("X-RateLimit-Scope", "user".into()),
        Scope::Shared => answer.with_header("X-RateLimit-Scope", "shared".into()),
        Scope::Global => answer
            .with_header("X-RateLimit-Global", "true".into())
            .with_header("X-RateLimit-Scope", "global".into()),
    }
}

/// What requests are counted by, with the id by which Discord separates them (the major parameter). Every client is on
/// loopback, so there is one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// The bot's requests.
    Global,
    /// Requests of an address without an Authorization header.
    Unauthenticated,
    /// Answers to an address that count towards its ban.
    Invalid,
    /// Webhook messages of a channel.
    Channel(u64),
    /// Executing a webhook.
    Webhook(u64),
    /// Posting as the bot.
    CreateMessage(u64),
    /// Deleting a message that is younger than 10 s or does not exist.
    DeleteYoung(u64),
    /// Deleting an older message.
    DeleteOld(u64),
    /// Deleting a message older than two weeks.
    DeleteAncient(u64),
    /// Deleting many messages.
    BulkDelete(u64),
    /// Adding a reaction.
    Reaction(u64),
}

impl Bucket {
    /// The limit, and the opaque name in `X-RateLimit-Bucket`, which is the same for every id; hidden limits have none.
    /// The numbers were observed at Discord; none but that of `Global` is documented.
    fn rule_and_name(self, settings: &LimitSettings) -> (Option<Rule>, &'static str) {
        match self {
            Self::Global => (Some(rule(50, 1_000)), ""),
            Self::Unauthenticated => (settings.unauthenticated, ""),
            Self::Invalid => (settings.invalid_requests, ""),
            Self::Channel(_) => (Some(rule(30, 60_000)), ""),
            Self::Webhook(_) => (settings.webhook, "3f7a0c5e91b24d6d8b1f04a6c2e95d70"),
            Self::CreateMessage(_) => (Some(rule(5, 5_000)), "80c17d2f203122d936070c88c8d10f33"),
            Self::DeleteYoung(_) => (Some(rule(5, 1_000)), "b743a0d8c8dab4b5c40b8ad9a5d3e1c9"),
            Self::DeleteOld(_) => (Some(rule(3, 333)), "e8d0c24bdb4f5a2f6d31f6e3c6f0ab11"),
            Self::DeleteAncient(_) => (Some(rule(30, 4_000)), "52d1c5e0a7b94b0f9a6e2c81d7f3b640"),
            Self::BulkDelete(_) => (Some(rule(1, 1_000)), "b05c0d8c2ab83895085006a8eae073a3"),
            Self::Reaction(_) => (Some(rule(1, 250)), "1d9f4b7730f94f1c97a53c3f2c6f7e1a"),
        }
    }
}

#[derive(Default)]
struct Window {
    started_us: u64,
    used: u32,
}

/// A request that was counted.
struct Counted {
    rule: Rule,
    name: &'static str,
    /// How many more are allowed; `None` if this one was not.
    left: Option<u32>,
    /// Microseconds until the window ends.
    reset_us: u64,
}

/// Headers of an answer.
pub type Headers = Vec<(&'static str, String)>;

/// The counters.
pub struct Limits {
    /// The limits in force; may be changed while running.
    pub settings: LimitSettings,
    windows: HashMap<Bucket, Window>,
    /// Until when a penalty or a ban lasts.
    closed: HashMap<Bucket, u64>,
}

impl Limits {
    /// Fresh counters.
    pub fn new(settings: LimitSettings) -> Self {
        Self {
            settings,
            windows: HashMap::new(),
            closed: HashMap::new(),
        }
    }

    /// Forgets every count, penalty and ban.
    pub fn reset(&mut self) {
        *self = Self::new(self.settings.clone());
    }

    /// Counts a request; `None` without a limit.
    fn count(&mut self, bucket: Bucket, now_us: u64) -> Option<Counted> {
        let (rule, name) = bucket.rule_and_name(&self.settings);
        let rule = rule.filter(|_| self.settings.enabled)?;
        let window = self.windows.entry(bucket).or_default();
        let per_us = rule.per_ms * 1_000;
        if window.used == 0 || now_us >= window.started_us + per_us {
            window.started_us = now_us;
            window.used = 0;
        }
        let left = rule.limit.checked_sub(window.used + 1);
        window.used += u32::from(left.is_some());
        Some(Counted {
            rule,
            name,
            left,
            reset_us: (window.started_us + per_us).saturating_sub(now_us),
        })
    }

    /// Counts a request towards its caller's limit, if it has one.
    pub fn enter(&mut self, caller: Option<Bucket>, in_ms: bool, now_us: u64) -> Result<(), Answer> {
        let banned_until = self.closed.get(&Bucket::Invalid);
        if self.settings.enabled && banned_until.is_some_and(|until| now_us < *until) {
            return Err(self.settings.ban_form.answer());
        }
        let Some(bucket) = caller else { return Ok(()) };
        match self.count(bucket, now_us) {
            Some(counted) if counted.left.is_none() => Err(refusal(Scope::Global, counted.reset_us, in_ms)),
            _ => Ok(()),
        }
    }

    /// Counts a request in its bucket: the headers for the answer, or the refusal.
    pub fn enter_bucket(&mut self, bucket: Bucket, in_ms: bool, now_us: u64) -> Result<Headers, Answer> {
        let Some(counted) = self.count(bucket, now_us) else {
            return Ok(Vec::new());
        };
        let seconds = |us: u64| format!("{:.3}", us as f64 / 1_000_000.0);
        let headers = vec![
            ("X-RateLimit-Limit", counted.rule.limit.to_string()),
            ("X-RateLimit-Remaining", counted.left.unwrap_or(0).to_string()),
            ("X-RateLimit-Reset", seconds(now_us + counted.reset_us)),
            ("X-RateLimit-Reset-After", seconds(counted.reset_us)),
            ("X-RateLimit-Bucket", counted.name.to_owned()),
        ];
        if counted.left.is_some() {
            return Ok(headers);
        }
        let mut answer = refusal(Scope::User, counted.reset_us, in_ms);
        answer.headers.extend(headers);
        Err(answer)
    }

    /// Counts a webhook message towards its channel's hidden limit. A refusal carries the headers of the webhook's own
    /// bucket, which do not explain it; Discord's do the same.
    pub fn enter_channel(
        &mut self,
        channel_id: u64,
        in_ms: bool,
        penalty_ms: u64,
        visible: &Headers,
        now_us: u64,
    ) -> Result<(), Answer> {
        let channel = Bucket::Channel(channel_id);
        if self.closed.get(&channel).is_some_and(|until| now_us >= *until) {
            self.closed.remove(&channel);
            self.windows.remove(&channel);
        }
        if !self.closed.contains_key(&channel) {
            if self.count(channel, now_us).is_none_or(|counted| counted.left.is_some()) {
                return Ok(());
            }
            self.closed.insert(channel, now_us + penalty_ms * 1_000);
        }
        let mut answer = refusal(Scope::Shared, self.closed[&channel] - now_us, in_ms);
        answer.headers.extend_from_slice(visible);
        Err(answer)
    }

    /// Counts an answer towards the ban.
    pub fn leave(&mut self, answer: &Answer, now_us: u64) {
        let mut headers = answer.headers.iter();
        let shared = headers.any(|(k, v)| *k == "X-RateLimit-Scope" && v == "shared");
        if !matches!(answer.status, 401 | 403 | 429) || answer.edge || shared {
            return;
        }
        let counted = self.count(Bucket::Invalid, now_us);
        if counted.is_some_and(|counted| counted.left.unwrap_or(0) == 0) {
            self.closed.insert(Bucket::Invalid, now_us + BAN_US);
            self.windows.remove(&Bucket::Invalid);
        }
    }
}

#[cfg(test)]
mod tests;
