//! Opens the configured sinks.

use std::collections::BTreeMap;
use std::rc::Rc;

use futures_util::future::LocalBoxFuture;

use super::checks::reached;
use super::failure::of_bot;
use crate::config::{Config, Secrets, SinkKind};
use crate::delivery::discord_webhook::DiscordWebhook;
use crate::delivery::http::HttpSink;
use crate::delivery::jsonl::JsonLines;
use crate::discord::api_base::ApiBase;
use crate::discord::bot::HttpBotApi;
use crate::discord::webhook_post::HttpWebhookPost;
use crate::ids::WebhookId;
use crate::lifecycle::{Exit, Failure};
use crate::port::discord::BotApi as _;
use crate::port::permit::Permit;
use crate::port::sink::{Delivery, DeliveryAnswer, Sink};
use crate::time::SharedClock;

/// The sinks by name, in the order of the configuration.
pub(super) async fn open(
    config: &Config,
    secrets: &Secrets,
    base: &ApiBase,
    bot: &Rc<HttpBotApi>,
    clock: &SharedClock,
) -> Result<Vec<(String, Rc<dyn Sink>)>, Failure> {
    let setup = |e| Failure::new(Exit::Usage, "the HTTP client cannot be created").source(e);
    let timeout = config.stages.deliver.timeout;
    let tokens: &BTreeMap<WebhookId, _> = &secrets.webhook_tokens;
    let mut made: Vec<(String, Rc<dyn Sink>)> = Vec::new();
    for sink in &config.delivery {
        let made_one: Rc<dyn Sink> = match &sink.kind {
            SinkKind::Jsonl { path, rotate_mb } => {
                JsonLines::open(path, rotate_mb.map(|mb| mb * 1_000_000), clock.clone()).map_err(|e| {
                    Failure::new(Exit::Usage, format!("delivery `{}`", sink.name))
                        .source(e)
                        .way_out("correct the path, or let the user that runs codeferry write there")
                })?
            }
            SinkKind::Http { url } => {
                let secret = secrets.callback_secret.as_ref().ok_or_else(|| {
                    Failure::new(Exit::Usage, "no callback secret").way_out("set CODEFERRY_CALLBACK_SECRET")
                })?;
                let http = HttpSink::new(url.clone(), secret, timeout, clock.clone())
                    .map_err(|e| Failure::new(Exit::Usage, format!("delivery `{}`", sink.name)).source(e))?;
                Rc::new(http)
            }
            SinkKind::DiscordWebhook { webhook_id } => {
                let found = reached(|| bot.webhook_channel(*webhook_id)).await;
                match found.map_err(|e| of_bot(&format!("delivery `{}`: webhook {webhook_id}", sink.name), e)) {
                    Ok(channel) => {
                        let posts = HttpWebhookPost::new(base.clone(), tokens.clone(), timeout, Rc::clone(bot))
                            .map_err(setup)?;
                        Rc::new(DiscordWebhook::new(Rc::new(posts), channel, *webhook_id))
                    }
                    Err(failure) if config.delivery.len() == 1 => return Err(failure),
                    Err(failure) => {
                        tracing::error!(reason = %failure, "a sink does not work: its deliveries are parked");
                        Rc::new(Out)
                    }
                }
            }
        };
        made.push((sink.name.clone(), made_one));
    }
    Ok(made)
}

/// A sink that did not work at the start: as one whose webhook is deleted later, it refuses what it is given.
struct Out;

impl Sink for Out {
    fn deliver<'a>(&'a self, _: &'a Delivery, _: Permit) -> LocalBoxFuture<'a, DeliveryAnswer> {
        let reason = "its webhook did not work at the start: repair it and start again".to_owned();
        Box::pin(async move { DeliveryAnswer::Refused { reason } })
    }
}
