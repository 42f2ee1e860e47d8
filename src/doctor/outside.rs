//! What is neither this machine nor Discord: the way in by which browsers come, and the receivers of results.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use url::Url;

use super::{Check, Patient};
use crate::config::{SinkConfig, SinkKind};
use crate::http::{self, CallFailure, Connections, Unsent, is_loopback};
use crate::known_fault::{self as known, KnownFault};
use crate::port::discord::BotError;

const TIMEOUT: Duration = Duration::from_secs(10);
/// A page of ours has some 2 kB.
const LARGEST_PAGE: usize = 256 * 1024;
/// The page for a callback that says nothing, in every language: the id of its `main`.
const OUR_PAGE: &str = "id=\"invalid\"";

pub(super) async fn look(patient: &Patient<'_>) -> Vec<Check> {
    let mut checks = vec![way_in(&patient.config.discord.redirect_uri).await];
    for sink in &patient.config.delivery {
        checks.push(receiver(patient, sink).await);
    }
    checks
}

/// Opens the redirect URI as a browser does, without a code: nothing is taken in by that.
async fn way_in(redirect_uri: &str) -> Check {
    let name = "way in";
    let Ok(url) = Url::parse(redirect_uri) else {
        return Check::skipped(name, "discord.redirect_uri is no URL");
    };
    let host = url.host_str().unwrap_or_default().to_owned();
    let (status, page) = match page_of(&url).await {
        Ok(answer) => answer,
        Err(failure) => {
            let fault = match failure {
                CallFailure::NotSent(Unsent::Dns) => &known::REDIRECT_DNS,
                CallFailure::NotSent(Unsent::Tls | Unsent::UnknownCa) => &known::REDIRECT_TLS,
                _ => &known::REDIRECT_CLOSED,
            };
            return Check::fail(fault, name, format!("{redirect_uri}: {failure}"));
        }
    };
    if page.contains(OUR_PAGE) {
        return Check::ok(name, format!("{redirect_uri} shows codeferry's own page"));
    }
    // Event gateways answer as they like.
    let gateway = ["hkdk.events", "hookdeck.com", "workers.dev"];
    if gateway.iter().any(|known| host.ends_with(known)) && status < 500 {
        return Check::ok(name, format!("{redirect_uri} answers {status}"));
    }
    let mut health = url.clone();
    health.set_path("/healthz");
    health.set_query(None);
    if let Ok((200, text)) = page_of(&health).await
        && text.contains("uptime_s")
    {
        let detail = format!("{redirect_uri} answers {status}; codeferry is there, but serves {host}/callback");
        return Check::fail(&known::REDIRECT_PATH, name, detail);
    }
    let detail = format!("{redirect_uri} answers {status}, and not with codeferry's page");
    Check::fail(&known::REDIRECT_FOREIGN, name, detail)
}

async fn page_of(url: &Url) -> Result<(u16, String), CallFailure> {
    let response = client(url)?.get(url.clone()).send().await?;
    let status = response.status().as_u16();
    let is_text = response.headers().get(CONTENT_TYPE).is_none_or(|kind| {
        kind.to_str()
            .is_ok_and(|kind| kind.starts_with("text/") || kind.contains("json"))
    });
    let body = http::read_capped(response, LARGEST_PAGE).await?;
    let text = if is_text {
        String::from_utf8_lossy(&body).into_owned()
    } else {
        String::new()
    };
    Ok((status, text))
}

/// Nothing secret is sent, so plain http will do where the operator says so.
fn client(url: &Url) -> Result<reqwest::Client, CallFailure> {
    let near = is_loopback(url) || url.scheme() == "http";
    http::client(near, Connections::OnePerCall, TIMEOUT).map_err(|_| CallFailure::NotSent(Unsent::Other))
}

async fn receiver(patient: &Patient<'_>, sink: &SinkConfig) -> Check {
    let name = format!("sink {}", sink.name);
    match &sink.kind {
        SinkKind::Jsonl { path, .. } => Check::ok(name, format!("`{}`", path.display())),
        SinkKind::Http { url } => {
            let host = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
            match answers(url).await {
                Ok(status) => Check::ok(name, format!("{host} answers (HEAD: {status})")),
                // A small receiver may know POST alone; it was reached.
                Err(CallFailure::Cut | CallFailure::TooLarge) => Check::ok(name, format!("{host} takes connections")),
                Err(failure) => Check::fail(&known::SINK_UNREACHABLE, name, format!("{host}: {failure}")),
            }
        }
        SinkKind::DiscordWebhook { webhook_id } => {
            let token = patient.secrets.webhook_tokens.get(webhook_id);
            let refused = |fault: &'static KnownFault, detail: String| Check::fail(fault, name.clone(), detail);
            match patient.portal.webhook(*webhook_id, token).await {
                Ok(webhook) => {
                    let lanes = &patient.config.intake.lanes;
                    match lanes.iter().find(|lane| lane.channel_id == webhook.channel) {
                        None => Check::ok(name, format!("webhook {webhook_id}")),
                        Some(lane) => {
                            let detail = format!("webhook {webhook_id} posts into the channel of lane {}", lane.lane);
                            Check::warn(&known::SINK_IN_LANE, name, detail)
                        }
                    }
                }
                Err(BotError::NotFound { .. }) => {
                    refused(&known::SINK_WEBHOOK, format!("there is no webhook {webhook_id}"))
                }
                Err(BotError::Unauthorized) => refused(
                    &known::SINK_WEBHOOK,
                    format!("the token of webhook {webhook_id} is wrong"),
                ),
                Err(error) => Check::of_error(name, &format!("webhook {webhook_id}"), &error),
            }
        }
    }
}

/// Whatever it answers to a HEAD: it is there.
async fn answers(url: &Url) -> Result<u16, CallFailure> {
    Ok(client(url)?.head(url.clone()).send().await?.status().as_u16())
}
