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

use super::settings;
use crate::actors::command_responder::{CommandResponder, Desk};
use crate::actors::governor::{self, Governor};
use crate::actors::journal::message::Close;
use crate::actors::journal::open_grants::OpenGrants;
use crate::actors::journal::{Journal, JournalSettings, OnClosed};
use crate::actors::listener::gatekeeper::Gatekeeper;
use crate::actors::listener::{self, Fatal, Listener};
use crate::actors::pipeline::{Ended, Pipeline};
use crate::config::{Config, Secrets};
use crate::grant::Task;
use crate::ids::{ChannelId, UserId};
use crate::port::contact::{CommandUse, Contact, LinkIssuer};
use crate::port::discord::{BotApi, GatewayNote, ResourceServer, TokenEndpoint};
use crate::port::permit::{LedgerError, Permits, SpendingLedger};
use crate::port::sink::Sink;
use crate::secret::Key;
use crate::steps::invite;
use crate::steps::{Deliver, Exchange, Fetch, Invite, Revoke};
use crate::store::{Change, CommitterHandle, Loaded};
use crate::time::{SharedClock, SteadyClock, Timestamp};

/// Direct messages under way at once; Discord slows down who opens many of them.
const INVITING_AT_ONCE: usize = 4;

/// Everything beyond the actors that they call, hear from, or take time and chance from.
pub struct Outside {
    /// Presents codes and revokes tokens.
    pub endpoint: Rc<dyn TokenEndpoint>,
    /// Serves the resources that a user approved.
    pub server: Rc<dyn ResourceServer>,
    /// The bot's routes.
    pub bot: Rc<dyn BotApi>,
    /// Sends users messages.
    pub contact: Rc<dyn Contact>,
    /// Uses of slash commands, where there is one of ours.
    pub uses: Option<mpsc::Receiver<CommandUse>>,
    /// The bot's own user id.
    pub bot_id: UserId,
    /// Where results go, by name, in the order of the configuration.
    pub sinks: Vec<(String, Rc<dyn Sink>)>,
    /// What the gateway session tells.
    pub notes: mpsc::Receiver<GatewayNote>,
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

/// The actors that need nothing of Discord: while a start still waits for it, the journal answers, makes links and takes
/// callbacks.
pub struct Core {
    /// The journal.
    pub journal: Addr<Journal>,
    /// The governor.
    pub governor: Addr<Governor>,
    /// The store's handle.
    pub store: CommitterHandle,
    /// The key under which codes are remembered.
    pub code_hash_key: Key,
    /// Discord's time as far as it is known: everything ages by it.
    pub clock: SharedClock,
    wall: SharedClock,
    random: StdRng,
}

impl Core {
    /// Starts them. The actors' clock is set by the wall clock once, and from then on by Discord's answers. `on_closed` is called when a grant closes.
    pub fn new(
        config: &Config,
        secrets: &Secrets,
        journalled: Journalled,
        wall: &SharedClock,
        mut random: StdRng,
        on_closed: Option<Rc<OnClosed>>,
    ) -> Self {
        let Journalled {
            store,
            loaded,
            code_hash_key,
        } = journalled;
        // Between two answers a step of the wall clock looks like time that passed: codes would expire too early.
        let clock: SharedClock = SteadyClock::starting_at(wall.now());
        let governor = start_governor(config, &loaded, store.clone(), clock.clone());
        let rules = settings::open_grants_rules(config);
        let open_grants = OpenGrants::new(loaded, rules, StdRng::from_rng(&mut random), clock.now());
        let settings = JournalSettings {
            on_closed,
            ..journal_settings(config, secrets, store.clone(), clock.clone())
        };
        Self {
            journal: Journal::new(settings, open_grants).start(),
            governor,
            store,
            code_hash_key,
            clock,
            wall: Arc::clone(wall),
            random,
        }
    }

    /// Ends the store cleanly, where no more than these was started.
    pub async fn close(&self) {
        let _ = self.journal.send(Close).await;
    }
}

/// The actors at work.
pub struct Actors {
    /// The journal.
    pub journal: Addr<Journal>,
    /// The governor.
    pub governor: Addr<Governor>,
    /// Reads what comes.
    pub listener: Addr<Listener>,
    /// Supervises the actors; `Shutdown` drains.
    pub pipeline: Addr<Pipeline>,
    /// The token endpoint.
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

/// Starts every other actor. What the journal held goes on at once, and so does the reading of history. `on_ready` is
/// called when a gateway session began.
pub fn wire(config: &Config, secrets: &Secrets, core: &mut Core, outside: Outside, on_ready: Rc<dyn Fn()>) -> Actors {
    let (journal, governor, clock) = (core.journal.clone(), core.governor.clone(), core.clock.clone());
    let lanes = settings::watched(config);
    let endpoint = outside.endpoint;
    let (end, ended) = watch::channel(None);
    let mut pipeline = Pipeline::new(
        journal.clone(),
        governor.clone(),
        core.store.clone(),
        Rc::clone(&endpoint),
        end.clone(),
        StdRng::from_rng(&mut core.random),
    );
    let calls = Calls {
        endpoint: Rc::clone(&endpoint),
        server: outside.server,
        permits: Rc::new(governor.clone()),
        clock: clock.clone(),
    };
    add_stages(&mut pipeline, config, secrets, calls, outside.sinks);
    let people = People {
        link_issuer: Rc::new(journal.clone()),
        contact: outside.contact,
        clock: clock.clone(),
    };
    add_contacts(&mut pipeline, config, people, outside.uses);

    let (accept, states) = (settings::accept(config, secrets), settings::states(config, secrets));
    let code_hash_key = core.code_hash_key.clone();
    let gatekeeper = Gatekeeper::new(&lanes, outside.bot_id, accept, states, code_hash_key);
    let listener = Listener::new(
        listener::ListenerSettings {
            lanes,
            other_way_in: config.intake.http.listen.is_some(),
            gatekeeper,
            bot: outside.bot,
            clock: clock.clone(),
            wall: Arc::clone(&core.wall),
            code_lifetime: config.intake.code_lifetime,
            poll_every: config.intake.poll_every,
            after_receipt: config.intake.after_receipt,
            on_fatal: end_once(end),
            on_ready,
        },
        outside.notes,
        journal.clone(),
    )
    .start();
    pipeline.add_listener(listener.clone());
    Actors {
        journal,
        governor,
        listener,
        pipeline: pipeline.start(),
        endpoint,
        ended,
        clock,
    }
}

fn journal_settings(config: &Config, secrets: &Secrets, store: CommitterHandle, clock: SharedClock) -> JournalSettings {
    JournalSettings {
        store,
        clock,
        max_open: usize::try_from(config.journal.max_open).unwrap_or(usize::MAX),
        closed_retention: config.journal.closed_retention,
        on_closed: None,
        minter: settings::minter(config, &secrets.state_keys, &secrets.pkce_keys),
    }
}

fn start_governor(config: &Config, loaded: &Loaded, store: CommitterHandle, clock: SharedClock) -> Addr<Governor> {
    Governor::new(governor::GovernorSettings {
        limits: config.limits.clone(),
        lanes: config.intake.lanes.iter().map(|l| (l.channel_id, l.lane)).collect(),
        spending: loaded.spending.clone(),
        ledger: Box::new(Ledger(store)),
        clock,
    })
    .start()
}

/// What the stages' calls need.
struct Calls {
    endpoint: Rc<dyn TokenEndpoint>,
    server: Rc<dyn ResourceServer>,
    permits: Rc<dyn Permits>,
    clock: SharedClock,
}

/// Adds exchange, fetch, revocation, and a delivery for each sink.
fn add_stages(
    pipeline: &mut Pipeline,
    config: &Config,
    secrets: &Secrets,
    calls: Calls,
    sinks: Vec<(String, Rc<dyn Sink>)>,
) {
    let stages = &config.stages;
    let exchange = Rc::new(Exchange::new(Rc::clone(&calls.endpoint), secrets.pkce_keys.clone()));
    pipeline.add_stage(&exchange, Task::Exchange, stages.exchange.slots);
    let resources = config.fetch.resources.clone();
    let fetch = Rc::new(Fetch::new(calls.server, resources, calls.permits, calls.clock));
    pipeline.add_stage(&fetch, Task::Fetch, stages.fetch.slots);
    let revoke = Rc::new(Revoke::new(calls.endpoint));
    pipeline.add_stage(&revoke, Task::Revoke, stages.revoke.slots);
    let format = settings::result_format(config);
    for (index, (name, sink)) in sinks.into_iter().enumerate() {
        let deliver = Rc::new(Deliver::new(name, sink, format.clone()));
        let task = Task::Deliver(u8::try_from(index).unwrap_or(u8::MAX));
        pipeline.add_stage(&deliver, task, stages.deliver.slots);
    }
}

/// What the parts that send users messages need.
struct People {
    link_issuer: Rc<dyn LinkIssuer>,
    contact: Rc<dyn Contact>,
    clock: SharedClock,
}

/// Adds the invitations and the slash command, where they are configured.
fn add_contacts(pipeline: &mut Pipeline, config: &Config, people: People, uses: Option<mpsc::Receiver<CommandUse>>) {
    if config.reinvite.enabled {
        let invite = Rc::new(Invite::new(invite::InviteSettings {
            link_issuer: Rc::clone(&people.link_issuer),
            contact: Rc::clone(&people.contact),
            clock: people.clock.clone(),
            text: config.reinvite.text.clone(),
            button: config.reinvite.button.clone(),
        }));
        pipeline.add_stage(&invite, Task::Invite, INVITING_AT_ONCE);
    }
    if let (Some(command), Some(uses)) = (config.commands.connect.clone(), uses) {
        let desk = Desk {
            command,
            phrases: config.commands.texts.clone(),
            purposes: config.state.purposes.clone(),
            link_issuer: people.link_issuer,
            contact: people.contact,
            clock: people.clock,
        };
        pipeline.add_command_responder(CommandResponder::new(desk, uses).start());
    }
}

/// Tells the first reason to end and drops the others.
fn end_once(end: watch::Sender<Option<Ended>>) -> Rc<dyn Fn(Fatal)> {
    Rc::new(move |why| {
        end.send_if_modified(|ended| {
            let first = ended.is_none();
            if first {
                *ended = Some(Ended::Operator(why));
            }
            first
        });
    })
}
