//! `relay`: the edge relay.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::System;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::Global;
use crate::config::{self, Environment, PagesConfig, RelayConfig, RelaySecrets};
use crate::discord::api_base::ApiBase;
use crate::discord::relay_post::HttpRelayPost;
use crate::front::counts::Counts;
use crate::front::face::{Face, IconError};
use crate::front::pages::Pages;
use crate::front::server::{Front, FrontSettings};
use crate::http;
use crate::intake::callback::{CLOCK_TOLERANCE, Callback, CallbackRules};
use crate::intake::state::StateKey;
use crate::lifecycle::{self, Exit, Failure, Request, Signals};
use crate::port::callback_intake::{CallbackAnswer, CallbackIntake};
use crate::port::discord::Answered;
use crate::port::discord_time;
use crate::port::webhook::{RelayPost as _, WebhookState};
use crate::rate::moment::Moment;
use crate::relay::dispatcher::{Dispatcher, Offer, Parts};
use crate::relay::journal::{self, RelayJournalError};
use crate::relay::post_plan::{LaneSettings, Now, PostPlan, RelaySettings};
use crate::store::StoreError;
use crate::time::{Clock, Pulse, SharedClock, SteadyClock, SystemClock};

/// A commit that takes longer means that the disk hangs.
const HUNG_AFTER: Duration = Duration::from_secs(4);
/// Callbacks that may wait for the dispatcher, which handles thousands a second.
const OFFERS: usize = 256;
/// How long the start waits for the checks of the webhooks.
const CHECK_WITHIN: Duration = Duration::from_secs(2);
/// How often the counts are logged.
const LOG_COUNTS_EVERY: Duration = Duration::from_mins(10);

/// `relay` has no arguments: everything is in the configuration.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the relay until a signal stops it.
pub fn run(_args: &Args, global: &Global) -> anyhow::Result<Exit> {
    crate::crash::arm();
    lifecycle::keep_memory_private();
    let locator = global.locator()?;
    let (config, secrets) = config::load_relay(&locator)?;
    global.telemetry.apply(&config.log);
    http::trust::prepare(config.extra_ca.as_deref(), [&config.api_base])?;
    warn_of_unused_secrets(&locator.environment);
    let pages = pages(config.relay.pages.as_deref(), "relay.pages", &config.pages)?;
    let _pulse = Pulse::of_this_thread();
    System::new()
        .block_on(serve(config, secrets, pages, global))
        .map_err(Into::into)
}

/// The pages in a folder, or the built-in ones, with what `[pages]` says.
pub fn pages(folder: Option<&Path>, key: &str, config: &PagesConfig) -> Result<Pages, Failure> {
    let face = face(config).map_err(|error| {
        Failure::new(Exit::Usage, "the icon of `pages.icon` cannot be used")
            .source(error)
            .way_out("name a PNG, JPEG, GIF or WebP file of at most 64 KiB")
    })?;
    Pages::load(folder, face).map_err(|error| {
        Failure::new(Exit::Usage, format!("the pages in `{key}` cannot be used"))
            .source(error)
            .way_out("docs/relays.md lists the pages and the variables that each may use")
    })
}

/// What `[pages]` says.
pub fn face(config: &PagesConfig) -> Result<Face, IconError> {
    Face::of(config.name.clone(), &config.accent, &config.back_url).with_icon(config.icon.as_deref())
}

/// The relay is reachable from the internet: secrets that it does not need should not be in its environment.
fn warn_of_unused_secrets(environment: &Environment) {
    let own = [
        "CODEFERRY_RELAY_KEY",
        "CODEFERRY_RELAY_KEY_2",
        "CODEFERRY_STATE_KEY",
        "CODEFERRY_STATE_KEY_2",
        "CODEFERRY_WEBHOOK_TOKENS",
    ];
    let given = config::secrets_given(environment).into_iter();
    let unused: Vec<_> = given
        .filter(|(name, given)| *given && !own.contains(name))
        .map(|(name, _)| name)
        .collect();
    if !unused.is_empty() {
        tracing::warn!(variables = ?unused, "a relay does not read these secrets: remove them from its environment");
    }
}

/// Hands callbacks to the dispatcher.
struct DispatcherIntake(mpsc::Sender<Offer>);

impl CallbackIntake for DispatcherIntake {
    fn take(&self, callback: Callback) -> Pin<Box<dyn Future<Output = CallbackAnswer>>> {
        let (answer, answered) = oneshot::channel();
        let offered = self.0.try_send(Offer { callback, answer });
        Box::pin(async move {
            match offered {
                Ok(()) => answered.await.unwrap_or(CallbackAnswer::Failed),
                Err(_) => CallbackAnswer::Busy,
            }
        })
    }
}

async fn serve(config: RelayConfig, secrets: RelaySecrets, pages: Pages, global: &Global) -> Result<Exit, Failure> {
    let mut signals =
        Signals::listen().map_err(|e| Failure::new(Exit::Bug, "cannot install signal handlers").source(e))?;
    // A step of the wall clock must neither expire a code nor age a link: Discord's answers set this one.
    let clock: SharedClock = SteadyClock::starting_at(SystemClock.now());
    let (journal, mut found, hash_key) = journal::open(&config.relay.journal, clock.clone(), HUNG_AFTER)
        .map_err(|e| of_journal(e, &config.relay.journal))?;
    for notice in std::mem::take(&mut found.notices) {
        tracing::warn!("{notice}");
    }
    tracing::info!(path = %config.relay.journal.display(), waiting = found.waiting.len(), "the relay's journal is open");
    let post = client(&config, &secrets)?;
    let counts = Arc::new(Counts::default());
    let now = Now {
        moment: Moment::START,
        wall: clock.now(),
    };
    let mut plan = PostPlan::new(settings(&config, &secrets), found, now);
    check_webhooks(&config, &post, &mut plan, now, &*clock).await;
    let dispatcher = Dispatcher::new(Parts {
        plan,
        journal: journal.clone(),
        post: Rc::new(post),
        clock: clock.clone(),
        wall: SystemClock::shared(),
        counts: Arc::clone(&counts),
        hash_key,
    });
    let (offers, offered) = mpsc::channel(OFFERS);
    let (end, ends) = watch::channel(None);
    let intake = Arc::new(DispatcherIntake(offers));
    let front = front(&config, &secrets, pages, clock, intake, &counts)?;
    tracing::info!(address = %front.address, lanes = config.relay.lanes.len(), "READY: callbacks are taken");
    let running = dispatcher.run(offered, ends);
    let renew = || renew(&secrets, global);
    let Some(left) = until_ended(running, front, &mut signals, config.grace, &end, &counts, renew).await else {
        return Ok(Exit::Forced);
    };
    let left = left.map_err(of_store)?;
    journal.close().await.map_err(of_store)?;
    tracing::info!(counts = %counts.json(), left, "closed");
    if left > 0 {
        tracing::warn!(
            codes = left,
            "the grace period is over: the remaining codes are in the journal and will be posted after the next start"
        );
        return Ok(Exit::Forced);
    }
    Ok(Exit::Fine)
}

fn client(config: &RelayConfig, secrets: &RelaySecrets) -> Result<HttpRelayPost, Failure> {
    let base = ApiBase::parse(config.api_base.as_str())
        .map_err(|e| Failure::new(Exit::Usage, "discord.api_base cannot be used").source(e))?;
    HttpRelayPost::new(base, secrets.webhook_tokens.clone(), config.bot)
        .map_err(|e| Failure::new(Exit::Usage, "cannot make an HTTP client").source(e))
}

fn front(
    config: &RelayConfig,
    secrets: &RelaySecrets,
    pages: Pages,
    clock: SharedClock,
    intake: Arc<DispatcherIntake>,
    counts: &Arc<Counts>,
) -> Result<Front, Failure> {
    let settings = FrontSettings {
        listen: config.relay.listen,
        rules: CallbackRules {
            key: StateKey::new(&secrets.state_keys),
            code_lifetime: config.code_lifetime,
            tolerance: CLOCK_TOLERANCE,
            lanes: Some(config.relay.lanes.len()),
        },
        clock,
        pages,
        trusted_proxies: config.relay.trusted_proxies.clone(),
        intake,
        counts: Arc::clone(counts),
    };
    Front::start(settings).map_err(|e| {
        Failure::new(Exit::Failed, format!("cannot listen on {}", config.relay.listen))
            .source(e)
            .way_out("stop the program that uses this port, or set relay.listen to another one")
    })
}

/// Waits for the dispatcher's end, which a signal brings about: how many codes are left, or `None` if forced to stop.
async fn until_ended(
    running: impl Future<Output = Result<usize, StoreError>>,
    front: Front,
    signals: &mut Signals,
    grace: Duration,
    end: &watch::Sender<Option<Instant>>,
    counts: &Counts,
    renew: impl Fn(),
) -> Option<Result<usize, StoreError>> {
    tokio::pin!(running);
    let mut front = Some(front);
    let mut log_counts = tokio::time::interval(LOG_COUNTS_EVERY);
    log_counts.tick().await;
    loop {
        tokio::select! {
            left = &mut running => return Some(left),
            request = signals.next() => match request {
                Request::Reload => renew(),
                Request::Force => return None,
                Request::Drain => {
                    let grace_s = grace.as_secs();
                    tracing::info!(grace_s, "stopping: no more callbacks are accepted, and waiting codes are posted");
                    let _ = end.send(Some(Instant::now() + grace));
                    // Callbacks under way still reach the dispatcher; the front's end closes the channel.
                    if let Some(front) = front.take() {
                        tokio::task::spawn_local(front.stop());
                    }
                }
            },
            _ = log_counts.tick() => tracing::info!(counts = %counts.json(), "counts so far"),
        }
    }
}

/// Reads the secrets again and applies the keys. The configuration waits for a restart.
fn renew(secrets: &RelaySecrets, global: &Global) {
    let read = global.locator().and_then(|locator| Ok(config::load_relay(&locator)?));
    match read {
        Ok((_, new)) => {
            let mut changes = config::Changes::default();
            secrets.renew(&new, &mut changes);
            tracing::info!(
                applied = ?changes.applied, needs_restart = ?changes.needs_restart,
                "secrets read again; the relay reads its configuration only when it starts"
            );
        }
        Err(error) => tracing::error!("the secrets were not read again; the previous ones stay in force: {error:#}"),
    }
}

fn settings(config: &RelayConfig, secrets: &RelaySecrets) -> RelaySettings {
    let lanes = config.relay.lanes.iter().map(|lane| LaneSettings {
        webhook: lane.webhook_id,
        channel: lane.channel_id,
        pack: usize::from(lane.pack),
    });
    RelaySettings {
        lanes: lanes.collect(),
        limit: config.limit,
        code_lifetime: config.code_lifetime,
        bot: config.bot,
        relay_keys: secrets.relay_keys.clone(),
    }
}

/// Checks the webhooks before the first callback, and learns Discord's time from the answers. A lane that does not work is checked again later.
async fn check_webhooks(config: &RelayConfig, post: &HttpRelayPost, plan: &mut PostPlan, now: Now, clock: &dyn Clock) {
    let checks = config.relay.lanes.iter().map(async |lane| {
        let check = tokio::time::timeout(CHECK_WITHIN, post.look(lane.webhook_id)).await;
        check.unwrap_or_else(|_| Answered::unsent(WebhookState::Unclear))
    });
    for (lane, look) in futures_util::future::join_all(checks).await.into_iter().enumerate() {
        if let Some(answer) = &look.feedback {
            discord_time::correct(clock, answer);
        }
        let webhook = config.relay.lanes[lane].webhook_id;
        match look.outcome {
            WebhookState::There => tracing::info!(lane, %webhook, "lane"),
            WebhookState::Unclear => {
                tracing::warn!(lane, %webhook, "lane; Discord did not answer the check of its webhook");
            }
            WebhookState::Gone => {
                tracing::error!(
                    lane, %webhook,
                    "this lane's webhook does not work: correct relay.lanes or CODEFERRY_WEBHOOK_TOKENS, or create a new webhook"
                );
                plan.take_out(lane, now);
            }
        }
    }
}

fn of_journal(error: RelayJournalError, folder: &Path) -> Failure {
    let locked = matches!(&error, RelayJournalError::Open(open) if open.is_locked());
    let exit = if locked { Exit::Failed } else { Exit::Store };
    let folder = folder.display();
    Failure::new(
        exit,
        format!("cannot open the relay's journal `{folder}` (relay.journal)"),
    )
    .source(error)
    .way_out(if locked {
        "stop the other relay that uses it, or give this one a journal of its own"
    } else {
        "check the folder and the disk; docs/durability.md describes every error"
    })
}

fn of_store(error: StoreError) -> Failure {
    let advice = if error.is_disk_full() {
        "free some space on the disk"
    } else {
        "check the disk"
    };
    Failure::new(Exit::Store, "cannot write the relay's journal")
        .source(error)
        .way_out(format!(
            "{advice} and start again; every callback answered with success is in the journal"
        ))
}
