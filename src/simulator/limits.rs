//! Rate limits as Discord shows and hides them: per-route buckets with headers, the hidden channel limit, the global
//! limit and the ban for invalid requests. Counts requests; knows nothing of what they do.

use std::collections::HashMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::answer::Answer;
use serde_json::json;

/// So many requests in so many milliseconds, counted from the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Requests.
    pub limit: u32,
    /// Milliseconds.
    pub per_ms: u64,
}

const fn rule(limit: u32, per_ms: u64) -> Rule {
    Rule { limit, per_ms }
}

/// Which limits hold. The defaults are what has been observed of Discord; none of the per-route numbers is documented.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// False switches all of them off.
    pub enabled: bool,
    /// Executions per webhook, shown in headers.
    pub webhook: Option<Rule>,
    /// Webhook messages per channel, shown nowhere.
    pub channel: Option<Rule>,
    /// Bounds of the wait imposed when the channel limit is hit, in milliseconds.
    pub channel_penalty_ms: [u64; 2],
    /// Requests per bot token (documented: 50 a second).
    pub global: Option<Rule>,
    /// Requests per address without an Authorization header (documented: 50 a second).
    pub unauthenticated: Option<Rule>,
    /// Messages made by the bot, per channel.
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
    /// Presentations to the token endpoint, per address; no number is known.
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

/// What a refusal by the edge, not by Discord's API, looks like.
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
    /// The answer: 429, without `Via` and without any rate header.
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

/// Whose fault a 429 is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The caller's bucket.
    User,
    /// The caller's global limit.
    Global,
    /// A resource that others use too; does not count towards a ban.
    Shared,
}

/// A 429 as Discord's API gives it. `milliseconds` is how the deprecated default version (an unversioned path) tells waits.
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
        Scope::Global => answer
            .with_header("X-RateLimit-Global", "true".into())
            .with_header("X-RateLimit-Scope", "global".into()),
        Scope::User => answer.with_header("X-RateLimit-Scope", "user".into()),
        Scope::Shared => answer.with_header("X-RateLimit-Scope", "shared".into()),
    }
}

/// Which bucket a request falls into. The second part is the major parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// Executing a webhook.
    Webhook(u64),
    /// Making a message as the bot.
    CreateMessage(u64),
    /// Deleting a message younger than 10 s, or one that does not exist.
    DeleteYoung(u64),
    /// Deleting an older one.
    DeleteOld(u64),
    /// Deleting one older than two weeks.
    DeleteAncient(u64),
    /// Deleting many.
    BulkDelete(u64),
    /// Adding or removing a reaction.
    Reaction(u64),
    /// Listing messages.
    History(u64),
}

impl Bucket {
    fn rule(self, settings: &LimitSettings) -> Option<Rule> {
        match self {
            Self::Webhook(_) => settings.webhook,
            Self::CreateMessage(_) => settings.create_message,
            Self::DeleteYoung(_) => settings.delete_young,
            Self::DeleteOld(_) => settings.delete_old,
            Self::DeleteAncient(_) => settings.delete_ancient,
            Self::BulkDelete(_) => settings.bulk_delete,
            Self::Reaction(_) => settings.reaction,
            Self::History(_) => settings.history,
        }
    }

    /// The opaque name in `X-RateLimit-Bucket`: the same for every major parameter.
    fn hash(self) -> &'static str {
        match self {
            Self::Webhook(_) => "3f7a0c5e91b24d6d8b1f04a6c2e95d70",
            Self::CreateMessage(_) => "80c17d2f203122d936070c88c8d10f33",
            Self::DeleteYoung(_) => "b743a0d8c8dab4b5c40b8ad9a5d3e1c9",
            Self::DeleteOld(_) => "e8d0c24bdb4f5a2f6d31f6e3c6f0ab11",
            Self::DeleteAncient(_) => "52d1c5e0a7b94b0f9a6e2c81d7f3b640",
            Self::BulkDelete(_) => "b05c0d8c2ab83895085006a8eae073a3",
            Self::Reaction(_) => "1d9f4b7730f94f1c97a53c3f2c6f7e1a",
            Self::History(_) => "a4f92cd1e3a74b7c8d0e5f6a7b8c9d0e",
        }
    }
}

#[derive(Default)]
struct Window {
    started_us: u64,
    used: u32,
}

impl Window {
    /// Takes one place and returns the places left, or the microseconds until there are some.
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

/// What a request's caller is known by.
pub struct Caller {
    /// The address.
    pub address: IpAddr,
    /// The bot, if it is the bot's token.
    pub bot: bool,
    /// Whether there was an Authorization header.
    pub authenticated: bool,
    /// Whether waits are told in milliseconds (unversioned path).
    pub milliseconds: bool,
}

/// The counters.
pub struct Limits {
    /// What holds; may be changed while running.
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

    /// Lets a request in, or refuses it for who sends it.
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

    /// Takes a place in a bucket: the headers for the answer, or the refusal.
    pub fn enter_bucket(
        &mut self,
        bucket: Bucket,
        caller: &Caller,
        now_us: u64,
    ) -> Result<Vec<(&'static str, String)>, Answer> {
        if !self.settings.enabled {
            return Ok(Vec::new());
        }
        let Some(rule) = bucket.rule(&self.settings) else {
            return Ok(Vec::new());
        };
        let window = self.buckets.entry(bucket).or_default();
        let taken = window.take(rule, now_us);
        let reset_us = window.started_us + rule.per_ms * 1_000;
        let headers = bucket_headers(bucket, rule, taken.unwrap_or(0), reset_us, now_us);
        match taken {
            Ok(_) => Ok(headers),
            Err(wait) => {
                let mut answer = refusal(Scope::User, wait, caller.milliseconds);
                answer.headers.extend(headers);
                Err(answer)
            }
        }
    }

    /// Counts a webhook message towards its channel's hidden limit. The refusal carries the misleading headers of the visible bucket.
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
        let shared = || {
            answer
                .headers
                .iter()
                .any(|(k, v)| *k == "X-RateLimit-Scope" && v == "shared")
        };
        if !matches!(answer.status, 401 | 403 | 429) || answer.edge || shared() {
            return;
        }
        let (window, banned_until) = self.invalid.entry(caller.address).or_default();
        if !matches!(window.take(rule, now_us), Ok(left) if left > 0) {
            *banned_until = now_us + self.settings.ban_ms * 1_000;
            *window = Window::default();
        }
    }
}

fn bucket_headers(bucket: Bucket, rule: Rule, left: u32, reset_us: u64, now_us: u64) -> Vec<(&'static str, String)> {
    let seconds = |us: u64| format!("{:.3}", us as f64 / 1_000_000.0);
    vec![
        ("X-RateLimit-Limit", rule.limit.to_string()),
        ("X-RateLimit-Remaining", left.to_string()),
        ("X-RateLimit-Reset", seconds(reset_us)),
        ("X-RateLimit-Reset-After", seconds(reset_us.saturating_sub(now_us))),
        ("X-RateLimit-Bucket", bucket.hash().to_owned()),
    ]
}

#[cfg(test)]
mod tests;
