//! The rules of each section but the sinks. Each reader goes through its whole section, so that every fault is named.

use std::time::Duration;

use super::check::{Checker, Named};
use super::checked::{
    AfterReceipt, ControlConfig, DiscordConfig, FetchConfig, GateConfig, IntakeConfig, JournalConfig, LaneConfig,
    LimitsConfig, LogConfig, LogFormat, LogLevel, RateLimit, ShutdownConfig, StageConfig, StagesConfig, StateConfig,
    StateMode, WebhookLimit, WireVersion,
};
use super::error::shown;
use super::raw::{
    RawControl, RawDiscord, RawFetch, RawGate, RawIntake, RawJournal, RawLane, RawLimit, RawLimits, RawLog,
    RawPerSecond, RawShutdown, RawStage, RawStages, RawState,
};
use super::walk::for_example;
use crate::ids::Lane;
use crate::port::discord::Resource;

/// A century: more than anybody means, and far from overflowing a timestamp.
const LONGEST: Duration = Duration::from_hours(24 * 36_500);
/// The resources, with the scope that each needs ([Discord Docs/OAuth2 Scopes](https://docs.discord.com/developers/topics/oauth2#shared-resources-oauth2-scopes)).
const RESOURCES: [(Resource, &str); 4] = [
    (Resource::User, "identify"),
    (Resource::Connections, "connections"),
    (Resource::Guilds, "guilds"),
    (Resource::Member, "guilds.members.read"),
];

impl Checker<'_> {
    pub(super) fn discord(&mut self, raw: &RawDiscord) -> Option<DiscordConfig> {
        let api_base = self.given("discord.api_base", raw.api_base.as_ref());
        let api_base = api_base.and_then(|text| self.base_url("discord.api_base", text));
        let authorize_url = self.given("discord.authorize_url", raw.authorize_url.as_ref());
        let authorize_url = authorize_url.and_then(|text| self.base_url("discord.authorize_url", text));
        let application_id = match &raw.application_id {
            Some(id) => self.id("discord.application_id", id),
            None => {
                let cure = "set it to the \"Application ID\" of the developer portal, page General Information";
                self.missing("discord.application_id", cure);
                None
            }
        };
        let redirect_uri = match &raw.redirect_uri {
            // Checked as a URL, kept as written: Discord compares it letter by letter.
            Some(text) => self.url("discord.redirect_uri", text).map(|_| text.clone()),
            None => {
                let cure = "set it to the redirect of the developer portal, page OAuth2: your relay's URL";
                self.missing("discord.redirect_uri", cure);
                None
            }
        };
        let guild_id = match &raw.guild_id {
            Some(id) => self.id("discord.guild_id", id).map(Some).ok_or(Named),
            None => Ok(None),
        };
        let scopes = self.scopes(raw);
        Some(DiscordConfig {
            api_base: api_base?,
            authorize_url: authorize_url?,
            application_id: application_id?,
            redirect_uri: redirect_uri?,
            scopes: scopes?,
            guild_id: guild_id.ok()?,
        })
    }

    fn scopes(&mut self, raw: &RawDiscord) -> Option<Vec<String>> {
        let scopes = self.given("discord.scopes", raw.scopes.as_ref())?;
        if scopes.is_empty() {
            self.bad(
                "discord.scopes",
                "is empty",
                "write for example `scopes = [\"identify\"]`",
            );
        }
        for (i, scope) in scopes.iter().enumerate() {
            // RFC 6749 section 3.3: visible ASCII without quote and backslash.
            let fits = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
            if scope.is_empty() || !scope.bytes().all(fits) {
                self.bad(
                    &format!("discord.scopes[{i}]"),
                    format!("is {}, which is no scope", shown(scope)),
                    "write one scope an element, as in `[\"identify\", \"guilds\"]`",
                );
            }
        }
        self.once(scopes, |i| format!("discord.scopes[{i}]"), "scope");
        Some(scopes.clone())
    }

    pub(super) fn intake(&mut self, raw: &RawIntake) -> Option<IntakeConfig> {
        let code_lifetime = self.span("intake.code_lifetime", raw.code_lifetime.as_ref(), secs(1), secs(600));
        let poll_every = self.span(
            "intake.poll_every",
            raw.poll_every.as_ref(),
            Duration::from_millis(100),
            secs(60),
        );
        let accept = self.accept(raw);
        let after_receipt = self.given("intake.after_receipt", raw.after_receipt.as_ref());
        let after_receipt = after_receipt
            .and_then(|w| self.word("intake.after_receipt", w, AfterReceipt::WORDS, AfterReceipt::from_word));
        let listen = self.given("intake.http.listen", raw.http.listen.as_ref());
        let http_listen = listen
            .ok_or(Named)
            .and_then(|text| self.listen("intake.http.listen", text));
        let http_front = self.front(
            "intake.http",
            raw.http.trusted_proxies.as_ref(),
            raw.http.pages.as_ref(),
        );
        let lanes = self.lanes(&raw.lanes);
        if raw.lanes.is_empty() && matches!(http_listen, Ok(None)) {
            self.missing(
                "intake.lanes",
                "codes must come from somewhere: add `[[intake.lanes]]` with `channel_id` and `webhook_id`, or set `intake.http.listen`",
            );
        }
        Some(IntakeConfig {
            code_lifetime: code_lifetime?,
            accept: accept?,
            after_receipt: after_receipt?,
            poll_every: poll_every?,
            lanes: lanes?,
            http_listen: http_listen.ok()?,
            http_front: http_front?,
        })
    }

    fn accept(&mut self, raw: &RawIntake) -> Option<Vec<WireVersion>> {
        let words = self.given("intake.accept", raw.accept.as_ref())?;
        if words.is_empty() {
            self.bad(
                "intake.accept",
                "is empty, so that no message would be taken",
                "use [\"v1\"]",
            );
        }
        self.once(words, |i| format!("intake.accept[{i}]"), "version");
        let read: Vec<_> = words
            .iter()
            .enumerate()
            .map(|(i, w)| {
                self.word(
                    &format!("intake.accept[{i}]"),
                    w,
                    WireVersion::WORDS,
                    WireVersion::from_word,
                )
            })
            .collect();
        read.into_iter().collect()
    }

    /// The lanes that could be read. One that could not has been named.
    pub(super) fn lanes(&mut self, raw: &[RawLane]) -> Option<Vec<LaneConfig>> {
        if raw.len() > 256 {
            self.bad(
                "intake.lanes",
                format!("has {} lanes, more than 256", raw.len()),
                "a state carries the lane in one byte",
            );
            return None;
        }
        let lanes: Vec<_> = raw
            .iter()
            .zip(0..=u8::MAX)
            .map(|(lane, i)| self.lane(i, lane))
            .collect();
        let ids = |pick: fn(&RawLane) -> Option<&str>| -> Vec<_> {
            raw.iter()
                .enumerate()
                .map(|(i, lane)| pick(lane).map(str::to_owned).ok_or(i))
                .collect()
        };
        let channels = ids(|l| l.channel_id.as_ref().map(|id| id.0.as_str()));
        self.once(&channels, |i| format!("intake.lanes[{i}].channel_id"), "channel");
        let webhooks = ids(|l| l.webhook_id.as_ref().map(|id| id.0.as_str()));
        self.once(&webhooks, |i| format!("intake.lanes[{i}].webhook_id"), "webhook");
        lanes.into_iter().collect()
    }

    fn lane(&mut self, index: u8, raw: &RawLane) -> Option<LaneConfig> {
        let key = |name: &str| format!("intake.lanes[{index}].{name}");
        let channel_id = self.given(&key("channel_id"), raw.channel_id.as_ref());
        let channel_id = channel_id.and_then(|id| self.id(&key("channel_id"), id));
        let webhook_id = self.given(&key("webhook_id"), raw.webhook_id.as_ref());
        let webhook_id = webhook_id.and_then(|id| self.id(&key("webhook_id"), id));
        // 18 codes fit into Discord's 2,000 characters.
        let pack = self.number(&key("pack"), raw.pack.unwrap_or(1), 1..=18);
        Some(LaneConfig {
            lane: Lane(index),
            channel_id: channel_id?,
            webhook_id: webhook_id?,
            pack: pack?,
        })
    }

    pub(super) fn state(&mut self, raw: &RawState) -> Option<StateConfig> {
        let mode = self.given("state.mode", raw.mode.as_ref());
        let mode = mode.and_then(|w| self.word("state.mode", w, StateMode::WORDS, StateMode::from_word));
        let lifetime = self.span("state.lifetime", raw.lifetime.as_ref(), secs(1), secs(86_400));
        let purposes = self.given("state.purposes", raw.purposes.as_ref())?;
        if !(1..=256).contains(&purposes.len()) {
            self.bad(
                "state.purposes",
                format!("has {} names, not 1 to 256", purposes.len()),
                "write for example `purposes = [\"default\"]`; a link carries the index in one byte",
            );
        }
        for (i, name) in purposes.iter().enumerate() {
            self.name(&format!("state.purposes[{i}]"), name);
        }
        self.once(purposes, |i| format!("state.purposes[{i}]"), "name");
        Some(StateConfig {
            mode: mode?,
            lifetime: lifetime?,
            purposes: purposes.clone(),
        })
    }

    pub(super) fn gate(&mut self, raw: &RawGate) -> Option<GateConfig> {
        let share = self.given("gate.share", raw.share)?;
        if !(0.001..=1.0).contains(&share) {
            self.bad(
                "gate.share",
                format!("is {share}, not above 0 and at most 1"),
                for_example("gate.share"),
            );
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 1,000")]
        Some(GateConfig {
            share_permille: (share * 1000.0).round() as u16,
        })
    }

    pub(super) fn fetch(&mut self, raw: &RawFetch, discord: &RawDiscord) -> Option<FetchConfig> {
        let words = self.given("fetch.resources", raw.resources.as_ref())?;
        let names = RESOURCES.map(|(r, _)| r.name());
        let mut resources = Vec::new();
        for (i, word) in words.iter().enumerate() {
            let key = format!("fetch.resources[{i}]");
            let read = |word: &str| RESOURCES.into_iter().find(|(r, _)| r.name() == word);
            let Some((resource, scope)) = self.word(&key, word, &names, read) else {
                continue;
            };
            resources.push(resource);
            // Scopes that could not be read have been named; nothing is said about what they may lack.
            if discord
                .scopes
                .as_ref()
                .is_some_and(|s| !s.is_empty() && !s.iter().any(|s| s == scope))
            {
                if resource == Resource::User {
                    let problem = format!("lacks \"{scope}\", without which nobody knows who approved");
                    self.bad("discord.scopes", problem, format!("add \"{scope}\""));
                } else {
                    self.bad(
                        &key,
                        format!("is \"{word}\", which needs the scope \"{scope}\""),
                        format!("add \"{scope}\" to `discord.scopes`, or take \"{word}\" away"),
                    );
                }
            }
            if resource == Resource::Member && discord.guild_id.is_none() && !self.faults.touch("discord.guild_id") {
                self.bad(
                    &key,
                    "is \"member\", which needs a guild",
                    "set `discord.guild_id`, or take \"member\" away",
                );
            }
        }
        self.once(words, |i| format!("fetch.resources[{i}]"), "resource");
        if !resources.contains(&Resource::User) && resources.len() == words.len() {
            self.bad(
                "fetch.resources",
                "lacks \"user\", without which nobody knows who approved",
                "add \"user\"",
            );
        }
        Some(FetchConfig { resources })
    }

    pub(super) fn limits(&mut self, raw: &RawLimits) -> Option<LimitsConfig> {
        let webhook = match self.given("limits.webhook", raw.webhook.as_ref()) {
            Some(RawLimit::Word(word)) => self.off("limits.webhook", word).then_some(None),
            Some(RawLimit::On(limit)) => {
                let per_minute = self.given("limits.webhook.per_minute", limit.per_minute);
                let per_minute = per_minute.and_then(|n| self.number("limits.webhook.per_minute", n, 2..=1_000_000));
                let burst = self.given("limits.webhook.burst", limit.burst);
                let burst = burst.and_then(|n| self.number("limits.webhook.burst", n, 1..=1_000_000));
                per_minute.zip(burst).and_then(|(per_minute, burst): (u32, u32)| {
                    if burst < per_minute {
                        return Some(Some(WebhookLimit { per_minute, burst }));
                    }
                    self.bad(
                        "limits.webhook",
                        format!("has a burst of {burst}, which is not less than per_minute ({per_minute})"),
                        format!(
                            "write for example `webhook = {{ per_minute = {per_minute}, burst = {} }}`: what is left of the minute is the refill",
                            (per_minute / 6).max(1)
                        ),
                    );
                    None
                })
            }
            None => None,
        };
        let global = self.rate("limits.global", raw.global.as_ref());
        let oauth = self.rate("limits.oauth", raw.oauth.as_ref());
        let invalid_requests = self.given("limits.invalid_requests", raw.invalid_requests);
        // Discord bans at 10,000; stopping there would be too late.
        let invalid_requests = invalid_requests.and_then(|n| self.number("limits.invalid_requests", n, 0..=9_999));
        Some(LimitsConfig {
            webhook: webhook?,
            global: global.ok()?,
            oauth: oauth.ok()?,
            invalid_requests: invalid_requests?,
        })
    }

    fn rate(&mut self, key: &str, raw: Option<&RawLimit<RawPerSecond>>) -> Result<Option<RateLimit>, Named> {
        match self.given(key, raw).ok_or(Named)? {
            RawLimit::Word(word) => self.off(key, word).then_some(None).ok_or(Named),
            RawLimit::On(limit) => {
                let mut count = |name: &str, n: Option<u64>| {
                    let key = format!("{key}.{name}");
                    self.given(&key, n).and_then(|n| self.number(&key, n, 1..=1_000_000))
                };
                let per_second = count("per_second", limit.per_second);
                let burst = count("burst", limit.burst);
                Ok(Some(RateLimit {
                    per_second: per_second.ok_or(Named)?,
                    burst: burst.ok_or(Named)?,
                }))
            }
        }
    }

    fn off(&mut self, key: &str, word: &str) -> bool {
        if word != "off" {
            let cure = format!("{}, or use \"off\"", for_example(key));
            self.bad(key, format!("is {}, neither a limit nor \"off\"", shown(word)), cure);
        }
        word == "off"
    }

    pub(super) fn stages(&mut self, raw: &RawStages) -> Option<StagesConfig> {
        let exchange = self.stage("exchange", &raw.exchange);
        let fetch = self.stage("fetch", &raw.fetch);
        let deliver = self.stage("deliver", &raw.deliver);
        let revoke = self.stage("revoke", &raw.revoke);
        Some(StagesConfig {
            exchange: exchange?,
            fetch: fetch?,
            deliver: deliver?,
            revoke: revoke?,
        })
    }

    fn stage(&mut self, name: &str, raw: &RawStage) -> Option<StageConfig> {
        let key = format!("stages.{name}.slots");
        let slots = self.given(&key, raw.slots).and_then(|n| self.number(&key, n, 1..=1024));
        let key = format!("stages.{name}.timeout");
        let timeout = self.span(&key, raw.timeout.as_ref(), Duration::from_millis(100), secs(120));
        Some(StageConfig {
            slots: slots?,
            timeout: timeout?,
        })
    }

    pub(super) fn journal(&mut self, raw: &RawJournal) -> Option<JournalConfig> {
        let path = self.given("journal.path", raw.path.as_ref());
        let path = path.and_then(|text| self.path("journal.path", text));
        let cache_mb = self.given("journal.cache_mb", raw.cache_mb);
        let cache_mb = cache_mb.and_then(|n| self.number("journal.cache_mb", n, 1..=4096));
        let max_open = self.given("journal.max_open", raw.max_open);
        let max_open = max_open.and_then(|n| self.number("journal.max_open", n, 1..=100_000_000));
        let retention = raw.closed_retention.as_ref();
        let closed_retention = self.span("journal.closed_retention", retention, Duration::ZERO, LONGEST);
        let keep_parked = self.span("journal.keep_parked", raw.keep_parked.as_ref(), Duration::ZERO, LONGEST);
        Some(JournalConfig {
            path: path?,
            cache_mb: cache_mb?,
            max_open: max_open?,
            closed_retention: closed_retention?,
            keep_parked: keep_parked?,
        })
    }

    pub(super) fn control(&mut self, raw: &RawControl) -> Option<ControlConfig> {
        let socket = self.given("control.socket", raw.socket.as_ref()).and_then(|text| {
            if text.is_empty() {
                Some(None)
            } else {
                self.path("control.socket", text).map(Some)
            }
        });
        let listen = self.given("control.listen", raw.listen.as_ref());
        let listen = listen.ok_or(Named).and_then(|text| self.listen("control.listen", text));
        Some(ControlConfig {
            socket: socket?,
            listen: listen.ok()?,
        })
    }

    pub(super) fn shutdown(&mut self, raw: &RawShutdown) -> Option<ShutdownConfig> {
        let grace = self.span("shutdown.grace", raw.grace.as_ref(), Duration::ZERO, secs(600))?;
        Some(ShutdownConfig { grace })
    }

    pub(super) fn log(&mut self, raw: &RawLog) -> Option<LogConfig> {
        let level = self.given("log.level", raw.level.as_ref());
        let level = level.and_then(|w| self.word("log.level", w, LogLevel::WORDS, LogLevel::from_word));
        let format = self.given("log.format", raw.format.as_ref());
        let format = format.and_then(|w| self.word("log.format", w, LogFormat::WORDS, LogFormat::from_word));
        Some(LogConfig {
            level: level?,
            format: format?,
        })
    }

    pub(super) fn span(
        &mut self,
        key: &str,
        text: Option<&String>,
        least: Duration,
        most: Duration,
    ) -> Option<Duration> {
        let text = self.given(key, text)?;
        self.duration(key, text, least..=most)
    }
}

pub(super) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
