//! Builds the actors over whatever stands outside: the real adapters in a running service, fakes in virtual time. It opens
//! nothing and connects to nothing, so both have the same wiring.

use std::rc::Rc;
use std::sync::Arc;

use actix::{Actor, Addr};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, watch};

use super::limits;
use super::link_issuer::JournalLinkIssuer;
use crate::actors::command_responder::{self, CommandResponder};
use crate::actors::governor::{self, Governor};
use crate::actors::journal::open_grants::{OpenGrants, OpenGrantsRules};
use crate::actors::journal::{self, Journal, OnClosed};
use crate::actors::listener::gatekeeper::Gatekeeper;
use crate::actors::listener::{self, Listener, WatchedLane};
use crate::actors::pipeline::{Ended, Pipeline};
use crate::config::{AfterReceipt, Config, Secrets, StateMode, WireVersion};
use crate::delivery::result::ResultFormat;
use crate::grant::{Policy, Task};
use crate::ids::{ChannelId, UserId};
use crate::intake::gate::GateRules;
use crate::intake::link::LinkSettings;
use crate::intake::message::Accept;
use crate::intake::mint::Minter;
use crate::intake::state::{StateKey, StateRules};
use crate::port::contact::{CommandUse, Contact, LinkIssuer};
use crate::port::discord::{BotApi, GatewayNote, ResourceServer, TokenEndpoint};
use crate::port::permit::{LedgerError, SpendingLedger};
use crate::port::sink::Sink;
use crate::secret::Key;
use crate::steps::invite;
use crate::steps::skew::SkewWatch;
use crate::steps::{Deliver, Exchange, Fetch, Invite, Revoke};
use crate::store::{Change, CommitterHandle, Loaded};
use crate::time::{SharedClock, SteadyClock, Timestamp};

/// IDENTIFYs a day before we stop: at 1,000 Discord resets the bot's token.
pub(super) const IDENTIFIES_A_DAY: usize = 950;

/// Direct messages under way at once; Discord slows down who opens many of them.
const INVITING_AT_ONCE: usize = 4;

/// Everything beyond the actors that they call, hear from, or take time and chance from.
pub struct Outside {
    /// Presents codes and revokes tokens.
    pub endpoint: Rc<dyn TokenEndpoint>,
    /// Gives what a person approved.
    pub server: Rc<dyn ResourceServer>,
    /// The bot's routes.
    pub bot: Rc<dyn BotApi>,
    /// Reaches people.
    pub contact: Rc<dyn Contact>,
    /// Uses of slash commands, where there is one of ours.
    pub uses: Option<mpsc::Receiver<CommandUse>>,
    /// The bot's own user id.
    pub bot_id: UserId,
    /// Where results go, by name, in the order of the configuration.
    pub sinks: Vec<(String, Rc<dyn Sink>)>,
    /// What the gateway session tells.
    pub notes: mpsc::Receiver<GatewayNote>,
    /// The wall clock; the actors' own is set by it once.
    pub clock: SharedClock,
    /// Every part's chance comes from here.
    pub random: StdRng,
}

/// The store that is driven already, and what it held.
pub struct Journalled {
    /// Where changes become durable.
    pub store: CommitterHandle,
    /// What an earlier process left.
    pub loaded: Loaded,
    /// The key under which codes are remembered.
    pub code_hash_key: Key,
}

/// Who is callbacks what.
pub struct Callbacks {
    /// A gateway session began.
    pub on_ready: Rc<dyn Fn()>,
    /// A grant closed.
    pub on_closed: Option<Rc<OnClosed>>,
}

/// The actors at work.
pub struct Actors {
    /// The journal.
    pub journal: Addr<Journal>,
    /// The governor.
    pub governor: Addr<Governor>,
    /// The actors' keeper: `Shutdown` drains.
    pub pipeline: Addr<Pipeline>,
    /// The token endpoint with its eye on the clock.
    pub endpoint: Rc<dyn TokenEndpoint>,
    /// Why it ended by itself, once it has.
    pub ended: watch::Receiver<Option<Ended>>,
    /// Discord's time as far as it is known: everything ages by it.
    pub clock: SharedClock,
}

/// Persists webhook spending through the store.
struct Ledger(CommitterHandle);

impl SpendingLedger for Ledger {
    fn persist(&self, channel: ChannelId, sent_at: Vec<Timestamp>) -> LocalBoxFuture<'static, Result<(), LedgerError>> {
        let durable = self.0.commit(vec![Change::PutSpending { channel, sent_at }]);
        async move { durable.await.map_err(|e| LedgerError(Box::new(e))) }.boxed_local()
    }
}

/// The configured lanes as the listener watches them.
pub fn watched(config: &Config) -> Vec<WatchedLane> {
    let lanes = config.intake.lanes.iter().map(|l| WatchedLane {
        lane: l.lane,
        channel: l.channel_id,
        webhook: l.webhook_id,
    });
    lanes.collect()
}

/// Starts every actor. What the journal held goes on at once, and so does the reading of history.
pub fn wire(
    config: &Config,
    secrets: &Secrets,
    journalled: Journalled,
    outside: Outside,
    callbacks: Callbacks,
) -> Actors {
    let Journalled {
        store,
        loaded,
        code_hash_key,
    } = journalled;
    let Outside { mut random, uses, .. } = outside;
    // Between two answers nobody can tell a step of the wall clock from time that passed: codes would die of it.
    let steady = SteadyClock::set_by(&*outside.clock);
    let clock: SharedClock = steady.clone();
    let kept = clock.clone();
    let lanes = watched(config);
    let governor = Governor::new(governor::GovernorSettings {
        limits: limits(&config.limits),
        lanes: lanes.iter().map(|l| (l.channel, l.lane)).collect(),
        spending: loaded.spending.clone(),
        ledger: Box::new(Ledger(store.clone())),
        clock: clock.clone(),
    })
    .start();

    let identifies = loaded.identifies.clone();
    let policy = Policy {
        code_lifetime: config.intake.code_lifetime,
        sinks: config.sinks.iter().map(|s| s.name.clone()).collect(),
        keep_parked: config.journal.keep_parked,
        reinvite: config.reinvite.enabled,
    };
    let rules = OpenGrantsRules {
        policy,
        keep_messages: config.intake.after_receipt == AfterReceipt::Keep,
        gate: gate(config),
    };
    let open_grants = OpenGrants::new(loaded, rules, StdRng::from_rng(&mut random), clock.now());
    let journal = Journal::new(
        journal::JournalSettings {
            store: store.clone(),
            clock: clock.clone(),
            max_open: usize::try_from(config.journal.max_open).unwrap_or(usize::MAX),
            closed_retention: config.journal.closed_retention,
            on_closed: callbacks.on_closed,
            minter: minter(config, &secrets.state_key, &secrets.pkce_key),
        },
        open_grants,
    )
    .start();

    let endpoint = watch_clock(outside.endpoint, steady);
    let (end, ended) = watch::channel(None);
    let mut pipeline = Pipeline::new(
        journal.clone(),
        governor.clone(),
        store.clone(),
        Rc::clone(&endpoint),
        end.clone(),
        StdRng::from_rng(&mut random),
    );
    let stages = &config.stages;
    let exchange = Rc::new(Exchange::new(Rc::clone(&endpoint), secrets.pkce_key.clone()));
    pipeline.add_stage(&exchange, Task::Exchange, stages.exchange.slots);
    let resources = config.fetch.resources.clone();
    let fetch = Rc::new(Fetch::new(
        outside.server,
        resources,
        Rc::new(governor.clone()),
        clock.clone(),
    ));
    pipeline.add_stage(&fetch, Task::Fetch, stages.fetch.slots);
    let revoke = Rc::new(Revoke::new(Rc::clone(&endpoint)));
    pipeline.add_stage(&revoke, Task::Revoke, stages.revoke.slots);
    let format = ResultFormat {
        purposes: config.state.purposes.clone().into(),
        with_raw_state: config.state.mode != StateMode::Signed,
        with_invitation: config.reinvite.enabled,
    };
    for (index, (name, sink)) in outside.sinks.into_iter().enumerate() {
        let deliver = Rc::new(Deliver::new(name, sink, format.clone()));
        let task = Task::Deliver(u8::try_from(index).unwrap_or(u8::MAX));
        pipeline.add_stage(&deliver, task, stages.deliver.slots);
    }

    let link_issuer: Rc<dyn LinkIssuer> = Rc::new(JournalLinkIssuer(journal.clone()));
    if config.reinvite.enabled {
        let invite = Rc::new(Invite::new(invite::InviteSettings {
            link_issuer: Rc::clone(&link_issuer),
            contact: Rc::clone(&outside.contact),
            clock: clock.clone(),
            text: config.reinvite.text.clone(),
            button: config.reinvite.button.clone(),
        }));
        pipeline.add_stage(&invite, Task::Invite, INVITING_AT_ONCE);
    }
    if let (Some(command), Some(uses)) = (config.commands.connect.clone(), uses) {
        let responder = CommandResponder::new(command_responder::ResponderSettings {
            command,
            phrases: config.commands.texts.clone(),
            purposes: config.state.purposes.clone(),
            uses,
            link_issuer: Rc::clone(&link_issuer),
            contact: Rc::clone(&outside.contact),
            clock: clock.clone(),
        });
        pipeline.add_command_responder(responder.start());
    }

    let gatekeeper = Gatekeeper::new(
        &lanes,
        outside.bot_id,
        accept(config, secrets),
        states(config, secrets),
        code_hash_key,
    );
    let listener = Listener::new(
        listener::ListenerSettings {
            lanes,
            gatekeeper,
            bot: outside.bot,
            notes: outside.notes,
            clock,
            code_lifetime: config.intake.code_lifetime,
            poll_every: config.intake.poll_every,
            after_receipt: match config.intake.after_receipt {
                AfterReceipt::Delete => listener::AfterReceipt::Delete,
                AfterReceipt::React => listener::AfterReceipt::React,
                AfterReceipt::Keep => listener::AfterReceipt::Keep,
            },
            on_fatal: Rc::new(move |why| {
                end.send_if_modified(|ended| {
                    let first = ended.is_none();
                    if first {
                        *ended = Some(Ended::Operator(why.clone()));
                    }
                    first
                });
            }),
            on_ready: callbacks.on_ready,
            identifies: listener::Identifies::new(identifies, IDENTIFIES_A_DAY, store),
        },
        journal.clone(),
    )
    .start();
    pipeline.add_listener(listener);
    Actors {
        journal,
        governor,
        pipeline: pipeline.start(),
        endpoint,
        ended,
        clock: kept,
    }
}

/// How many links may be outstanding.
pub fn gate(config: &Config) -> GateRules {
    GateRules {
        packs: config.intake.lanes.iter().map(|lane| lane.pack).collect(),
        webhook: config.limits.webhook.map(|w| (w.per_minute, w.burst)),
        oauth_per_second: config.limits.oauth.map(|oauth| oauth.per_second),
        code_lifetime: config.intake.code_lifetime,
        share_permille: config.gate.share_permille,
    }
}

/// What this configuration's links are made with.
pub fn minter(config: &Config, state_key: &Key, pkce_key: &Key) -> Minter {
    Minter {
        settings: LinkSettings {
            authorize_url: config.discord.authorize_url.clone(),
            client_id: config.discord.application_id.0,
            redirect_uri: config.discord.redirect_uri.clone(),
            scopes: config.discord.scopes.clone(),
        },
        mode: config.state.mode.into(),
        state_key: StateKey::new(state_key),
        pkce_key: pkce_key.clone(),
        lifetime: config.state.lifetime,
    }
}

fn accept(config: &Config, secrets: &Secrets) -> Accept {
    let accepts = |version| config.intake.accept.contains(&version);
    Accept {
        v0: accepts(WireVersion::V0),
        v1: secrets.relay_key.clone().filter(|_| accepts(WireVersion::V1)),
    }
}

/// How states are read.
pub(super) fn states(config: &Config, secrets: &Secrets) -> StateRules {
    StateRules {
        mode: config.state.mode.into(),
        key: StateKey::new(&secrets.state_key),
        code_lifetime: config.intake.code_lifetime,
        purposes: config.state.purposes.len(),
    }
}

/// Every answer's `Date` corrects the clock.
fn watch_clock(endpoint: Rc<dyn TokenEndpoint>, clock: Arc<SteadyClock>) -> Rc<dyn TokenEndpoint> {
    let corrected = Arc::clone(&clock);
    let tell = move |skew_ms: i64| {
        if skew_ms != 0 {
            tracing::warn!(
                skew_ms,
                "this machine's clock is not Discord's: codes are aged by Discord's"
            );
            corrected.correct(skew_ms);
        }
    };
    Rc::new(SkewWatch::new(endpoint, clock, Box::new(tell)))
}
