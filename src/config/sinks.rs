//! `[[delivery]]`: which keys each kind of sink has.

use std::path::PathBuf;

use serde::Deserialize;
use url::Url;

use super::check::At;
use super::rules::{Rule, from_word, id, name, optional, path, url, whole, word};
use super::section::{Changes, Section, keys};
use super::shape::{Key, Shape, below};
use super::tree::text;
use crate::ids::WebhookId;

/// One `[[delivery]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkConfig {
    /// Its name: 1 to 32 of `[a-z0-9_-]`; stored with each delivery, so a renamed sink is a new one.
    pub name: String,
    /// Where it delivers to.
    pub kind: SinkKind,
}

/// Where a sink delivers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkKind {
    /// A file of JSON lines.
    Jsonl {
        /// The file.
        path: PathBuf,
        /// Megabytes (10^6 bytes) at which a new file is begun; `None` never.
        rotate_mb: Option<u64>,
    },
    /// A signed HTTP callback (Standard Webhooks).
    Http {
        /// Where to post; https, or http on loopback.
        url: Url,
    },
    /// A message in a Discord channel.
    DiscordWebhook {
        /// The webhook; never one of the lanes'.
        webhook_id: WebhookId,
    },
}

impl SinkKind {
    /// Its name in the configuration.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Jsonl { .. } => "jsonl",
            Self::Http { .. } => "http",
            Self::DiscordWebhook { .. } => "discord_webhook",
        }
    }
}

keys! {
    /// The keys of every kind together.
    struct AnySink {
        /// Name of the sink, unique. Deliveries are remembered by it.
        name: String, name().or_say("write for example `name = \"results\"`: deliveries are remembered by it");
        /// A file, a signed callback, or a message in a channel.
        kind: Kind, word();
        /// Only jsonl: the file that results are appended to. Required.
        path: Option<PathBuf>, optional(path());
        /// Only jsonl: megabytes (10^6 bytes) at which a new file is begun; never unless given.
        rotate_mb: Option<u64>, optional(whole(1, 1_000_000));
        /// Only http: where results are posted, signed with CODEFERRY_CALLBACK_SECRET as Standard Webhooks says. Required.
        url: Option<Url>, optional(url());
        /// Only discord_webhook: id of the webhook; its token stands in CODEFERRY_WEBHOOK_TOKENS as id:token. Required.
        webhook_id: Option<WebhookId>, optional(id());
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Jsonl,
    Http,
    DiscordWebhook,
}

/// The sinks, at least one.
pub(super) fn sinks() -> Rule<Vec<SinkConfig>> {
    let cure = "results must go somewhere: add `[[delivery]]` with `name = \"results\"`, `kind = \"jsonl\"` and \
                `path = \"data/results.jsonl\"`";
    let rule = Rule::new(Shape::List(Box::new(Shape::Table(AnySink::keys()))), move |at| {
        let items = at.items();
        if items.is_empty() {
            return at.missing(cure);
        }
        let names: Vec<_> = items.iter().map(|item| text(item.get("name"))).collect();
        at.once(&names, ".name", "name");
        let sinks = at.each(sink);
        let file = |sink: &Option<SinkConfig>| match &sink.as_ref()?.kind {
            SinkKind::Jsonl { path, .. } => Some(path.clone()),
            _ => None,
        };
        at.once(&sinks.iter().map(file).collect::<Vec<_>>(), ".path", "file");
        sinks.into_iter().collect()
    });
    rule.or_say(cure)
}

fn sink(at: &mut At<'_, '_>) -> Option<SinkConfig> {
    let any = AnySink::read(at);
    let word = at.key("kind").text().unwrap_or_default();
    // Of an unknown kind it cannot be said which keys it has.
    let kind = from_word(&word)?;
    let keys: &[&str] = match kind {
        Kind::Jsonl => &["path", "rotate_mb"],
        Kind::Http => &["url"],
        Kind::DiscordWebhook => &["webhook_id"],
    };
    for name in ["path", "rotate_mb", "url", "webhook_id"] {
        let mut at = at.key(name);
        if at.node.is_none() && keys.first() == Some(&name) {
            let cure = at.example();
            at.missing::<()>(cure);
        } else if at.node.is_some() && !keys.contains(&name) {
            let known: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
            let cure = format!("remove it; this kind has {}", known.join(" and "));
            at.bad::<()>(format!("does not belong to kind `{word}`"), cure);
        }
    }
    let any = any?;
    let kind = match kind {
        Kind::Jsonl => SinkKind::Jsonl {
            path: any.path?,
            rotate_mb: any.rotate_mb,
        },
        Kind::Http => SinkKind::Http { url: any.url? },
        Kind::DiscordWebhook => SinkKind::DiscordWebhook {
            webhook_id: any.webhook_id?,
        },
    };
    Some(SinkConfig { name: any.name, kind })
}
