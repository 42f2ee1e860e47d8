//! `doctor --probe`: posts through each lane and to each sink what no service takes for a sign-in.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Check, Patient, service};
use crate::config::{LaneConfig, SinkConfig, SinkKind};
use crate::delivery::http::HttpSink;
use crate::delivery::{jsonl, result};
use crate::discord::portal::Application;
use crate::ids::{GrantId, MessageId, UserId};
use crate::intake::v1;
use crate::known_fault as known;
use crate::secret::{Key, WebhookToken};

/// Discord shows a message in a channel's history within a second or so.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);
/// A probe that the gateway brings makes the service read the history at once; without it, this follows `poll_every`.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// For a test post to a receiver.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn lanes(patient: &Patient<'_>, application: Option<&Application>, service_runs: bool) -> Vec<Check> {
    let mut checks = Vec::new();
    for lane in &patient.config.intake.lanes {
        let name = format!("probe {}", lane.lane);
        let keys = patient.secrets.relay_keys.as_ref();
        let token = patient.secrets.webhook_tokens.get(&lane.webhook_id);
        let (Some(application), Some(keys), Some(token)) = (application, keys, token) else {
            let detail = "not posted: it takes a good bot token, CODEFERRY_RELAY_KEY and the webhook's token";
            checks.push(Check::skipped(name, detail));
            continue;
        };
        let probe = Probe {
            patient,
            lane,
            token,
            name,
        };
        checks.extend(probe.run(application.bot, &keys.first(), service_runs).await);
    }
    checks
}

struct Probe<'a> {
    patient: &'a Patient<'a>,
    lane: &'a LaneConfig,
    token: &'a WebhookToken,
    name: String,
}

impl Probe<'_> {
    async fn run(&self, bot: UserId, key: &Key, service_runs: bool) -> Vec<Check> {
        let webhook = self.lane.webhook_id;
        let before = if service_runs {
            service::probes_seen(self.patient.config).await
        } else {
            None
        };
        let body = json!({
            "content": v1::encode_probe(bot, self.patient.clock.now(), key),
            "allowed_mentions": { "users": [bot.to_string()] },
            "flags": 4,
        });
        let posted = match self.patient.portal.post(webhook, self.token, &body).await {
            Ok(posted) => posted,
            Err(error) => {
                let detail = format!("webhook {webhook}: {error}");
                return vec![Check::fail(&known::PROBE_REFUSED, &self.name, detail)];
            }
        };
        let mut checks = vec![self.seen(posted, before).await];
        if let Err(error) = self.patient.portal.remove(webhook, self.token, posted).await {
            let detail = format!("message {posted}: {error}");
            checks.push(Check::warn(&known::PROBE_LEFT, &self.name, detail));
        }
        checks
    }

    async fn seen(&self, posted: MessageId, before: Option<(u64, u64)>) -> Check {
        let (channel, began) = (self.lane.channel_id, Instant::now());
        let after = || format!("after {:.1} s", began.elapsed().as_secs_f32());
        loop {
            match self.patient.portal.shows(channel, posted).await {
                Ok(true) => break,
                Ok(false) if began.elapsed() < SHOWN_WITHIN => sleep(LOOK_EVERY).await,
                Ok(false) => {
                    let detail = format!("channel {channel} does not show the probe in its history {}", after());
                    return Check::fail(&known::PROBE_NOT_SHOWN, &self.name, detail);
                }
                Err(error) => return Check::of_error(&self.name, &format!("channel {channel}"), &error),
            }
        }
        let shown = format!("posted, shown by the history {}", after());
        let Some((by_gateway, by_history)) = before else {
            return Check::ok(
                &self.name,
                format!("{shown}, removed; no service runs that could take it"),
            );
        };
        let patience = TAKEN_WITHIN + self.patient.config.intake.poll_every;
        loop {
            let (gateway, history) = match service::probes_seen(self.patient.config).await {
                Some((gateway, history)) => (gateway > by_gateway, history > by_history),
                None => (false, false),
            };
            let late = began.elapsed() > patience;
            match (gateway, history) {
                (true, true) => {
                    let detail = format!("{shown}, taken by the service from gateway and history {}", after());
                    return Check::ok(&self.name, detail);
                }
                _ if !late => sleep(LOOK_EVERY).await,
                (false, true) => {
                    let detail = format!("{shown}, taken by the service from the history, not from the gateway");
                    return Check::warn(&known::PROBE_NO_GATEWAY, &self.name, detail);
                }
                (_, false) => {
                    let detail = format!("{shown}, but not taken by the running service {}", after());
                    return Check::fail(&known::PROBE_NOT_TAKEN, &self.name, detail);
                }
            }
        }
    }
}

pub(super) async fn sinks(patient: &Patient<'_>) -> Vec<Check> {
    let mut checks = Vec::new();
    for sink in &patient.config.delivery {
        checks.extend(try_out(patient, sink).await);
    }
    checks
}

/// Hands a test to a sink; `None` where people would read it.
async fn try_out(patient: &Patient<'_>, sink: &SinkConfig) -> Option<Check> {
    let name = format!("test {}", sink.name);
    let now = patient.clock.now();
    let id = GrantId::new(now, rand::random());
    let line = result::test(id, now);
    match &sink.kind {
        SinkKind::Jsonl { path, .. } => Some(match jsonl::append_test(path, &line) {
            Ok(()) => Check::ok(name, format!("a line was appended to `{}`", path.display())),
            Err(error) => Check::fail(&known::SINK_FILE, name, format!("`{}`: {error}", path.display())),
        }),
        SinkKind::Http { url } => {
            let secret = patient.secrets.callback_secret.as_ref()?;
            let sink = match HttpSink::new(url.clone(), secret, TIMEOUT, patient.clock.clone()) {
                Ok(sink) => sink,
                Err(error) => return Some(Check::fail(&known::SECRET_SHAPE, name, error.to_string())),
            };
            Some(match sink.try_out(&id.to_string(), &line).await {
                Ok((status @ 200..=299, _)) => Check::ok(name, format!("a signed test was answered with {status}")),
                Ok((status, answer)) => {
                    let detail = format!("a signed test was answered with {status}: {answer}");
                    Check::fail(&known::SINK_TEST, name, detail)
                }
                Err(failure) => Check::fail(&known::SINK_UNREACHABLE, name, failure.to_string()),
            })
        }
        SinkKind::DiscordWebhook { .. } => None,
    }
}
