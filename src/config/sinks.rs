//! `[[delivery]]`: which keys each kind of sink has.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Value;
use url::{Host, Url};

use super::check::At;
use super::rules::{Rule, any_url, from_word, id, name, optional, path, switch, whole, word};
use super::section::{Changes, Section, keys};
use super::shape::{Key, Shape, below};
use super::tree::text;
use crate::http::is_loopback;
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
        /// Where to post; https, or http on loopback or where `allow_http` let it be.
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
        url: Option<Url>, optional(any_url());
        /// Only http: whether url may be plain http to a neighbour: a name without a dot, one that ends in .internal or
        /// .local, or a private address. Whoever can read that network reads the results.
        allow_http: Option<bool>, optional(switch());
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
        Kind::Http => &["url", "allow_http"],
        Kind::DiscordWebhook => &["webhook_id"],
    };
    for name in ["path", "rotate_mb", "url", "allow_http", "webhook_id"] {
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
    if kind == Kind::Http {
        let allowed = at.key("allow_http").node.and_then(Value::as_bool) == Some(true);
        let mut at = at.key("url");
        let url = at.text().and_then(|text| Url::parse(&text).ok());
        if let Some((problem, cure)) = url.and_then(|url| plain_http(&url, allowed)) {
            return at.bad(problem, cure);
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

/// What is wrong with plain http, and what helps.
fn plain_http(url: &Url, allowed: bool) -> Option<(String, &'static str)> {
    let near = is_nearby(url);
    if url.scheme() != "http" || is_loopback(url) || (allowed && near) {
        return None;
    }
    let host = url.host_str().unwrap_or_default();
    let (what, cure) = match (near, allowed) {
        (true, _) => (
            "which is not a loopback address",
            "use https: what is sent there is secret; or set `allow_http = true` where nobody else reads that network",
        ),
        (false, true) => (
            "to which `allow_http` does not apply: it is no name without a dot, in .internal or .local, nor a private address",
            "use https: what is sent there is secret",
        ),
        (false, false) => (
            "which is not a loopback address",
            "use https: what is sent there is secret",
        ),
    };
    Some((format!("is plain http to `{host}`, {what}"), cure))
}

/// Whether a URL's host is a neighbour on a private network, as far as its name tells.
fn is_nearby(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name
            .rsplit_once('.')
            .is_none_or(|(_, top)| matches!(top, "internal" | "local")),
        Some(Host::Ipv4(ip)) => ip.is_private(),
        Some(Host::Ipv6(ip)) => ip.is_unique_local() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_private()),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_neighbours_and_only_where_it_is_allowed() {
        let fine = |url: &str, allowed| plain_http(&Url::parse(url).expect("a URL"), allowed).is_none();
        for near in [
            "http://app:3000/x",
            "http://10.0.0.5",
            "http://172.31.0.1",
            "http://192.168.1.2:80",
            "http://app.internal/",
            "http://nas.local",
            "http://[fd00::1]:3000",
        ] {
            assert_eq!((fine(near, true), fine(near, false)), (true, false), "{near}");
        }
        for far in [
            "http://app.example",
            "http://8.8.8.8",
            "http://0x8080808",
            "http://172.32.0.1",
            "http://169.254.169.254",
            "http://app.internal.example",
            "http://internal.",
            "http://[2001:db8::1]",
            "http://[::ffff:8.8.8.8]",
        ] {
            assert!(!fine(far, true) && !fine(far, false), "{far}");
        }
        assert!(fine("https://app.example", false) && fine("http://127.0.0.1:1", false));
    }
}
