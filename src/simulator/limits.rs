//! Rate limits as Discord shows and hides them: per-route buckets with headers, the hidden channel limit, the global
//! limit and the ban for invalid requests. It counts requests and does not know what they do.

use std::collections::HashMap;
use std::net::IpAddr;

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

/// The limits; `None` switches one off. The defaults were observed at Discord; none of the per-route numbers is documented.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// False switches all of them off.
    pub enabled: bool,
    /// Executions per webhook, shown in headers.
    pub webhook: Option<Rule>,
    /// Webhook messages per channel, not shown in headers.
    pub channel: Option<Rule>,
    /// Shortest and longest wait after the channel limit was exceeded, in milliseconds.
    pub channel_penalty_ms: [u64; 2],
    /// Requests per bot token (documented: 50 a second).
    pub global: Option<Rule>,
    /// Requests per address without an Authorization header (documented: 50 a second).
    pub unauthenticated: Option<Rule>,
    /// Messages posted by the bot, per channel.
    pub create_message: Option<Rule>,
    /// Deleting a message younger than 10 s or unknown, per channel.
    pub delete_young: Option<Rule>,
    /// Deleting an older message, per channel.
    pub delete_old: Option<Rule>,
    /// Deleting a message older than two weeks, per channel.
    pub delete_ancient: Option<Rule>,
    /// Bulk deletion, per channel.
    pub bulk_delete: Option<Rule>,
    /// Reactions, per channel.
    pub reaction: Option<Rule>,
    /// Lists of messages, per channel.
    pub history: Option<Rule>,
    /// Requests to the token endpoint, per address; no number is known.
    pub token: Option<Rule>,
    /// Answers 401, 403 and 429 (scope `shared` excluded) per address before it is banned.
    pub invalid_requests: Option<Rule>,
    /// How long a ban lasts, in milliseconds.
    pub ban_ms: u64,
    /// What a ban looks like.
    pub ban_form: EdgeForm,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            webhook: Some(rule(5, 2_000)),
            channel: Some(rule(30, 60_000)),
            channel_penalty_ms: [40_000, 45_000],
            global: Some(rule(50, 1_000)),
            unauthenticated: Some(rule(50, 1_000)),
            create_message: Some(rule(5, 5_000)),
            delete_young: Some(rule(5, 1_000)),
            delete_old: Some(rule(3, 333)),
            delete_ancient: Some(rule(30, 4_000)),
            bulk_delete: Some(rule(1, 1_000)),
            reaction: Some(rule(1, 250)),
            history: None,
            token: None,
            invalid_requests: Some(rule(10_000, 600_000)),
            ban_ms: 24 * 3_600_000,
            ban_form: EdgeForm::Json,
        }
    }
}

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

/// The bucket that a request counts in, with the id by which Discord separates buckets (the major parameter).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bucket {
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
    /// Listing messages.
    History(u64),
}

impl Bucket {
    /// The limit, and the opaque name in `X-RateLimit-Bucket`, which is the same for every id.
    fn rule_and_name(self, settings: &LimitSettings) -> (Option<Rule>, &'static str) {
        match self {
            Self::Webhook(_) => (settings.webhook, "3f7a0c5e91b24d6d8b1f04a6c2e95d70"),
            Self::CreateMessage(_) => (settings.create_message, "80c17d2f203122d936070c88c8d10f33"),
            Self::DeleteYoung(_) => (settings.delete_young, "b743a0d8c8dab4b5c40b8ad9a5d3e1c9"),
            Self::DeleteOld(_) => (settings.delete_old, "e8d0c24bdb4f5a2f6d31f6e3c6f0ab11"),
            Self::DeleteAncient(_) => (settings.delete_ancient, "52d1c5e0a7b94b0f9a6e2c81d7f3b640"),
            Self::BulkDelete(_) => (settings.bulk_delete, "b05c0d8c2ab83895085006a8eae073a3"),
            Self::Reaction(_) => (settings.reaction, "1d9f4b7730f94f1c97a53c3f2c6f7e1a"),
            Self::History(_) => (settings.history, "a4f92cd1e3a74b7c8d0e5f6a7b8c9d0e"),
        }
    }
}

#[derive(Default)]
struct Window {
    started_us: u64,
    used: u32,
}

impl Window {
    /// Counts a request: how many more are allowed, or how many microseconds until the next one is.
    fn take(&mut self, rule: Rule, now_us: u64) -> Result<u32, u64> {
        let per_us = rule.per_ms * 1_000;
        if self.used == 0 || now_us >= self.started_us + per_us {
            self.started_us = now_us;
            self.used = 0;
        }
        if self.used >= rule.limit {
            return Err(self.started_us + per_us - now_us);
        }
        self.used += 1;
        Ok(rule.limit - self.used)
    }
}

/// How limits tell callers apart.
pub struct Caller {
    /// Its IP address.
    pub address: IpAddr,
    /// It sent the bot's token.
    pub bot: bool,
    /// It sent an Authorization header.
    pub authenticated: bool,
    /// It is answered with waits in milliseconds (unversioned path).
    pub milliseconds: bool,
}

/// The counters, by bucket, channel and address.
pub struct Limits {
    /// The limits in force; may be changed while running.
    pub settings: LimitSettings,
    buckets: HashMap<Bucket, Window>,
    channels: HashMap<u64, (Window, u64)>,
    bot: Window,
    addresses: HashMap<IpAddr, Window>,
    token: HashMap<IpAddr, Window>,
    invalid: HashMap<IpAddr, (Window, u64)>,
}

impl Limits {
    /// Fresh counters.
    pub fn new(settings: LimitSettings) -> Self {
        Self {
            settings,
            buckets: HashMap::new(),
            channels: HashMap::new(),
            bot: Window::default(),
            addresses: HashMap::new(),
            token: HashMap::new(),
            invalid: HashMap::new(),
        }
    }

    /// Forgets every count, penalty and ban.
    pub fn reset(&mut self) {
        *self = Self::new(self.settings.clone());
    }

    /// Counts a request towards its caller's limits.
    pub fn enter(&mut self, caller: &Caller, now_us: u64) -> Result<(), Answer> {
        if !self.settings.enabled {
            return Ok(());
        }
        if self
            .invalid
            .get(&caller.address)
            .is_some_and(|(_, banned_until)| now_us < *banned_until)
        {
            return Err(self.settings.ban_form.answer());
        }
        let (window, rule) = if caller.bot {
            (&mut self.bot, self.settings.global)
        } else if caller.authenticated {
            return Ok(());
        } else {
            let window = self.addresses.entry(caller.address).or_default();
            (window, self.settings.unauthenticated)
        };
        let Some(rule) = rule else { return Ok(()) };
        window
            .take(rule, now_us)
            .map(drop)
            .map_err(|wait| refusal(Scope::Global, wait, caller.milliseconds))
    }

    /// Counts a presentation to the token endpoint, which shows no headers.
    pub fn enter_token(&mut self, caller: &Caller, now_us: u64) -> Result<(), Answer> {
        match self.settings.token {
            Some(rule) if self.settings.enabled => self
                .token
                .entry(caller.address)
                .or_default()
                .take(rule, now_us)
                .map(drop)
                .map_err(|wait| refusal(Scope::User, wait, caller.milliseconds)),
            _ => Ok(()),
        }
    }

    /// Counts a request in its bucket: the headers for the answer, or the refusal.
    pub fn enter_bucket(
        &mut self,
        bucket: Bucket,
        caller: &Caller,
        now_us: u64,
    ) -> Result<Vec<(&'static str, String)>, Answer> {
        if !self.settings.enabled {
            return Ok(Vec::new());
        }
        let (Some(rule), name) = bucket.rule_and_name(&self.settings) else {
            return Ok(Vec::new());
        };
        let window = self.buckets.entry(bucket).or_default();
        let taken = window.take(rule, now_us);
        let reset_us = window.started_us + rule.per_ms * 1_000;
        let seconds = |us: u64| format!("{:.3}", us as f64 / 1_000_000.0);
        let headers = vec![
            ("X-RateLimit-Limit", rule.limit.to_string()),
            ("X-RateLimit-Remaining", taken.unwrap_or(0).to_string()),
            ("X-RateLimit-Reset", seconds(reset_us)),
            ("X-RateLimit-Reset-After", seconds(reset_us.saturating_sub(now_us))),
            ("X-RateLimit-Bucket", name.to_owned()),
        ];
        match taken {
            Ok(_) => Ok(headers),
            Err(wait) => {
                let mut answer = refusal(Scope::User, wait, caller.milliseconds);
                answer.headers.extend(headers);
                Err(answer)
            }
        }
    }

    /// Counts a webhook message towards its channel's hidden limit. A refusal carries the headers of the webhook's own
    /// bucket, which do not explain it; Discord's do the same.
    pub fn enter_channel(
        &mut self,
        channel_id: u64,
        caller: &Caller,
        penalty_ms: u64,
        visible: &[(&'static str, String)],
        now_us: u64,
    ) -> Result<(), Answer> {
        let (true, Some(rule)) = (self.settings.enabled, self.settings.channel) else {
            return Ok(());
        };
        let (window, closed_until) = self.channels.entry(channel_id).or_default();
        let wait = if now_us < *closed_until {
            *closed_until - now_us
        } else {
            if *closed_until != 0 {
                *closed_until = 0;
                *window = Window::default();
            }
            if window.take(rule, now_us).is_ok() {
                return Ok(());
            }
            *closed_until = now_us + penalty_ms * 1_000;
            penalty_ms * 1_000
        };
        let mut answer = refusal(Scope::Shared, wait, caller.milliseconds);
        answer.headers.extend_from_slice(visible);
        Err(answer)
    }

    /// Counts an answer towards the ban.
    pub fn leave(&mut self, caller: &Caller, answer: &Answer, now_us: u64) {
        let (true, Some(rule)) = (self.settings.enabled, self.settings.invalid_requests) else {
            return;
        };
        let mut headers = answer.headers.iter();
        let shared = headers.any(|(k, v)| *k == "X-RateLimit-Scope" && v == "shared");
        if !matches!(answer.status, 401 | 403 | 429) || answer.edge || shared {
            return;
        }
        let (window, banned_until) = self.invalid.entry(caller.address).or_default();
        if !matches!(window.take(rule, now_us), Ok(left) if left > 0) {
            *banned_until = now_us + self.settings.ban_ms * 1_000;
            *window = Window::default();
        }
    }
}

#[cfg(test)]
mod tests;
