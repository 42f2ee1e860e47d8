//! The rules of `[[delivery]]`.

use super::check::{Checker, Named};
use super::checked::{LaneConfig, SinkConfig, SinkKind};
use super::error::shown;
use super::raw::RawDelivery;
use super::walk::for_example;

/// The kinds there are.
const KINDS: [&str; 3] = ["jsonl", "http", "discord_webhook"];

impl Checker<'_> {
    /// Every sink; none at all is a fault.
    pub(super) fn sinks(&mut self, raw: &[RawDelivery], lanes: &[LaneConfig]) -> Option<Vec<SinkConfig>> {
        if raw.is_empty() {
            self.missing(
                "delivery",
                "results must go somewhere: add `[[delivery]]` with `name = \"results\"`, `kind = \"jsonl\"` and `path = \"data/results.jsonl\"`",
            );
            return None;
        }
        let sinks: Vec<_> = raw
            .iter()
            .enumerate()
            .map(|(i, sink)| self.sink(&format!("delivery[{i}]"), sink, lanes))
            .collect();
        let names: Vec<_> = raw.iter().enumerate().map(|(i, s)| s.name.clone().ok_or(i)).collect();
        self.once(&names, |i| format!("delivery[{i}].name"), "name");
        let files: Vec<_> = sinks
            .iter()
            .enumerate()
            .map(|(i, s)| match s {
                Some(SinkConfig {
                    kind: SinkKind::Jsonl { path, .. },
                    ..
                }) => Ok(path.clone()),
                _ => Err(i),
            })
            .collect();
        self.once(&files, |i| format!("delivery[{i}].path"), "file");
        sinks.into_iter().collect()
    }

    fn sink(&mut self, at: &str, raw: &RawDelivery, lanes: &[LaneConfig]) -> Option<SinkConfig> {
        let key = |name: &str| format!("{at}.{name}");
        let name = match &raw.name {
            Some(name) => self.name(&key("name"), name).then(|| name.clone()),
            None => {
                self.missing(
                    &key("name"),
                    "write for example `name = \"results\"`: deliveries are remembered by it",
                );
                None
            }
        };
        let Some(kind) = raw.kind.as_deref() else {
            self.missing(&key("kind"), "use \"jsonl\", \"http\" or \"discord_webhook\"");
            return None;
        };
        let allowed: &[&str] = match kind {
            "jsonl" => &["path", "rotate_mb"],
            "http" => &["url"],
            "discord_webhook" => &["webhook_id"],
            _ => {
                self.word(&key("kind"), kind, &KINDS, |_| None::<()>);
                return None;
            }
        };
        let given = [
            ("path", raw.path.is_some()),
            ("rotate_mb", raw.rotate_mb.is_some()),
            ("url", raw.url.is_some()),
            ("webhook_id", raw.webhook_id.is_some()),
        ];
        for (other, _) in given.iter().filter(|(name, given)| *given && !allowed.contains(name)) {
            let known: Vec<_> = allowed.iter().map(|k| format!("`{k}`")).collect();
            self.bad(
                &key(other),
                format!("does not belong to kind {}", shown(kind)),
                format!("take it away; this kind has {}", known.join(" and ")),
            );
        }
        let kind = match kind {
            "jsonl" => {
                let rotate_mb = match raw.rotate_mb {
                    Some(mb) => self.number(&key("rotate_mb"), mb, 1..=1_000_000).map(Some).ok_or(Named),
                    None => Ok(None),
                };
                let path = self.required(&key("path"), raw.path.as_ref())?;
                SinkKind::Jsonl {
                    path: self.path(&key("path"), path)?,
                    rotate_mb: rotate_mb.ok()?,
                }
            }
            "http" => {
                let url = self.required(&key("url"), raw.url.as_ref())?;
                SinkKind::Http {
                    url: self.url(&key("url"), url)?,
                }
            }
            _ => {
                let id = self.required(&key("webhook_id"), raw.webhook_id.as_ref())?;
                let webhook_id = self.id(&key("webhook_id"), id)?;
                if lanes.iter().any(|l| l.webhook_id == webhook_id) {
                    self.bad(
                        &key("webhook_id"),
                        "is the webhook of a lane: results would be taken for codes and removed",
                        "make another webhook for results",
                    );
                    return None;
                }
                SinkKind::DiscordWebhook { webhook_id }
            }
        };
        Some(SinkConfig { name: name?, kind })
    }

    fn required<'r, T>(&mut self, key: &str, value: Option<&'r T>) -> Option<&'r T> {
        if value.is_none() {
            self.missing(key, for_example(key));
        }
        value
    }
}
