//! `relay`: the edge relay.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::System;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::Global;
use crate::config::{self, Environment, RelayConfig, RelaySecrets};
use crate::discord::api_base::ApiBase;
use crate::discord::relay_post::HttpRelayPost;
use crate::front::counts::Counts;
use crate::front::pages::Pages;
use crate::front::server::{Front, FrontSettings};
use crate::intake::callback::{CLOCK_TOLERANCE, Callback, CallbackRules};
use crate::intake::state::StateKey;
use crate::lifecycle::{self, Exit, Failure, Request, Signals};
use crate::port::callback_intake::{CallbackAnswer, CallbackIntake};
use crate::port::webhook::{RelayPost as _, WebhookState};
use crate::rate::limits::WebhookLimit;
use crate::rate::moment::Moment;
use crate::relay::dispatcher::{Dispatcher, Offer, Parts};
use crate::relay::journal::{self, RelayJournalError};
use crate::relay::post_plan::{LaneSettings, Now, PostPlan, RelaySettings};
use crate::store::StoreError;
use crate::time::{SharedClock, SteadyClock, SystemClock};

/// A commit that takes longer is taken for a hung disk.
const HUNG_AFTER: Duration = Duration::from_secs(4);
/// Callbacks that wait for the dispatcher; it takes thousands a second.
const OFFERS: usize = 256;
/// How long the start waits for a word about the webhooks.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// How often the numbers are told in the log.
const TELL_EVERY: Duration = Duration::from_mins(10);

/// Arguments of `relay`: everything it needs stands in the configuration.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the relay until it is told to end.
pub fn run(_args: &Args, global: &Global) -> anyhow::Result<Exit> {
    crate::crash::arm();
    lifecycle::keep_memory_private();
    let locator = global.locator()?;
    let (config, secrets) = config::load_relay(&locator)?;
    global.telemetry.apply(&config.log);
    name_strange_secrets(&locator.environment);
    let pages = pages(config.front.pages.as_deref(), "relay.pages")?;
    System::new()
        .block_on(serve(config, secrets, pages))
        .map_err(Into::into)
}

/// The pages of a folder; what is wrong with it is the operator's to correct.
pub fn pages(folder: Option<&Path>, key: &str) -> Result<Pages, Failure> {
    Pages::load(folder).map_err(|error| {
        Failure::new(Exit::Usage, format!("the pages of `{key}` cannot be used"))
            .source(error)
            .way_out("docs/relays.md lists the names and what a page may use")
    })
}

/// A relay stands where everybody can reach it: what it does not need should not lie beside it.
fn name_strange_secrets(environment: &Environment) {
    let strange = config::secrets_given(environment).into_iter().filter(|(name, given)| {
        let own = ["CODEFERRY_RELAY_KEY", "CODEFERRY_STATE_KEY", "CODEFERRY_WEBHOOK_TOKENS"];
        *given && !own.contains(name)
    });
    let strange: Vec<_> = strange.map(|(name, _)| name).collect();
    if !strange.is_empty() {
        tracing::warn!(variables = ?strange, "a relay does not read these secrets: take them out of its environment");
    }
}

/// Hands callbacks to the dispatcher.
struct DispatcherIntake(mpsc::Sender<Offer>);

impl CallbackIntake for DispatcherIntake {
    fn take(&self, callback: Callback) -> Pin<Box<dyn Future<Output = CallbackAnswer>>> {
        let (answer, word) = oneshot::channel();
        let offered = self.0.try_send(Offer { callback, answer });
        Box::pin(async move {
            match offered {
                Ok(()) => word.await.unwrap_or(CallbackAnswer::Failed),
                Err(_) => CallbackAnswer::Busy,
            }
        })
    }
}

async fn serve(config: RelayConfig, secrets: RelaySecrets, pages: Pages) -> Result<Exit, Failure> {
    let mut signals =
        Signals::listen().map_err(|e| Failure::new(Exit::Bug, "signals cannot be listened to").source(e))?;
    // A step of the wall clock must kill no code and age no link.
    let clock: SharedClock = SteadyClock::set_by(&SystemClock);
    let (journal, mut found, hash_key) =
        journal::open(&config.journal, clock.clone(), HUNG_AFTER).map_err(|e| of_journal(e, &config.journal))?;
    for notice in std::mem::take(&mut found.notices) {
        tracing::warn!("{notice}");
    }
    tracing::info!(path = %config.journal.display(), waiting = found.waiting.len(), "the relay's journal is open");
    let setup = |e| Failure::new(Exit::Usage, "an HTTP client cannot be made").source(e);
    let base = ApiBase::parse(config.api_base.as_str())
        .map_err(|e| Failure::new(Exit::Usage, "discord.api_base cannot be used").source(e))?;
    let post = HttpRelayPost::new(base, secrets.webhook_tokens.clone(), config.bot).map_err(setup)?;
    let counts = Arc::new(Counts::default());
    let now = Now {
        moment: Moment::START,
        wall: clock.now(),
    };
    let mut schedule = PostPlan::new(settings(&config, &secrets), found, now);
    look_at_webhooks(&config, &post, &mut schedule, now).await;
    let random: StdRng = rand::make_rng();
    let dispatcher = Dispatcher::new(Parts {
        schedule,
        journal: journal.clone(),
        post: Rc::new(post),
        clock: clock.clone(),
        counts: Arc::clone(&counts),
        hash_key,
        random,
    });
    let (offers, offered) = mpsc::channel(OFFERS);
    let (end, ends) = watch::channel(None);
    let front = Front::start(FrontSettings {
        listen: config.listen,
        rules: CallbackRules {
            key: StateKey::new(&secrets.state_key),
            code_lifetime: config.code_lifetime,
            tolerance: CLOCK_TOLERANCE,
            lanes: Some(config.lanes.len()),
        },
        clock,
        pages,
        trusted_proxies: config.front.trusted_proxies.clone(),
        intake: Arc::new(DispatcherIntake(offers)),
        counts: Arc::clone(&counts),
    })
    .map_err(|e| {
        Failure::new(Exit::Failed, format!("cannot listen on {}", config.listen))
            .source(e)
            .way_out("free the port, or set relay.listen to another one")
    })?;
    tracing::info!(address = %front.address, lanes = config.lanes.len(), "READY: callbacks are taken");
    let running = dispatcher.run(offered, ends);
    tokio::pin!(running);
    let mut front = Some(front);
    let mut tell = tokio::time::interval(TELL_EVERY);
    tell.tick().await;
    let left = loop {
        tokio::select! {
            left = &mut running => break left,
            request = signals.next() => match request {
                Request::Reload => tracing::info!("the relay reads its configuration at its start only"),
                Request::Force => return Ok(Exit::Forced),
                Request::Drain => {
                    tracing::info!(
                        grace_s = config.grace.as_secs(),
                        "ending: no more callbacks are taken, and what waits is posted"
                    );
                    let _ = end.send(Some(Instant::now() + config.grace));
                    // Its callbacks still reach the dispatcher, which runs meanwhile; its end closes the channel.
                    if let Some(front) = front.take() {
                        tokio::task::spawn_local(front.stop());
                    }
                }
            },
            _ = tell.tick() => tracing::info!(counts = %counts.json(), "so far"),
        }
    };
    let left = left.map_err(of_store)?;
    journal.close().await.map_err(of_store)?;
    tracing::info!(counts = %counts.json(), left, "closed");
    if left > 0 {
        tracing::warn!(
            codes = left,
            "the grace is over: what is left is in the journal and goes on at the next start"
        );
        return Ok(Exit::Forced);
    }
    Ok(Exit::Fine)
}

fn settings(config: &RelayConfig, secrets: &RelaySecrets) -> RelaySettings {
    let lanes = config.lanes.iter().map(|lane| LaneSettings {
        webhook: lane.webhook_id,
        channel: lane.channel_id,
        pack: usize::from(lane.pack),
    });
    RelaySettings {
        lanes: lanes.collect(),
        limit: config.limit.map(|limit| WebhookLimit {
            per_minute: limit.per_minute,
            burst: limit.burst,
        }),
        code_lifetime: config.code_lifetime,
        bot: config.bot,
        relay_key: secrets.relay_key.clone(),
    }
}

/// A webhook that does not work is named before the first person comes, and looked at again later.
async fn look_at_webhooks(config: &RelayConfig, post: &HttpRelayPost, schedule: &mut PostPlan, now: Now) {
    // People wait meanwhile: an answer that takes longer is none.
    let looks = config.lanes.iter().map(async |lane| {
        let look = tokio::time::timeout(LOOK_WITHIN, post.look(lane.webhook_id)).await;
        look.unwrap_or(WebhookState::Unclear)
    });
    for (lane, look) in futures_util::future::join_all(looks).await.into_iter().enumerate() {
        let webhook = config.lanes[lane].webhook_id;
        match look {
            WebhookState::There => tracing::info!(lane, %webhook, "lane"),
            WebhookState::Unclear => tracing::warn!(lane, %webhook, "lane; Discord could not be asked for its webhook"),
            WebhookState::Gone => {
                tracing::error!(
                    lane, %webhook,
                    "this lane's webhook does not work: correct relay.lanes or CODEFERRY_WEBHOOK_TOKENS, or make it anew"
                );
                schedule.take_out(lane, now);
            }
        }
    }
}

fn of_journal(error: RelayJournalError, folder: &Path) -> Failure {
    let locked = matches!(&error, RelayJournalError::Open(open) if open.is_locked());
    let exit = if locked { Exit::Failed } else { Exit::Store };
    Failure::new(exit, "the relay cannot start")
        .source(error)
        .way_out(format!("its folder is `{}` (relay.journal)", folder.display()))
}

fn of_store(error: StoreError) -> Failure {
    let advice = if error.is_disk_full() {
        "free some room on the disk and start again; what was answered with success is in the journal"
    } else {
        "look at the disk, then start again; what was answered with success is in the journal"
    };
    Failure::new(Exit::Store, "the relay's journal cannot be written")
        .source(error)
        .way_out(advice)
}
