//! The listener in paused time, with a channel that lives in memory and a store that keeps nothing.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep};

use self::nowhere::Nowhere;
use super::*;
use crate::actors::journal;
use crate::actors::journal::message::Cursor;
use crate::actors::journal::open_grants::{OpenGrants, OpenGrantsRules};
use crate::actors::journal::view::{CountAll, Filter, List, Stats};
use crate::grant::{ClosedGrant, Policy};
use crate::ids::{GrantId, UserId, snowflake_at};
use crate::intake::gate::GateRules;
use crate::intake::message::Accept;
use crate::intake::state::{StateKey, StateMode, StateRules};
use crate::intake::v1::{self, Redirect};
use crate::port::discord::{ApplicationFacts, HistoryPage};
use crate::port::later::Later;
use crate::secret::{Key, Keys, PersonalData};
use crate::store::{
    Change, ClosedTotals, Committer, CommitterHandle, Durable, Loaded, Problem, Room, Store, StoreError,
};
use crate::testing::minter;
use crate::testing::{logged, paused};
use crate::time::{Clock, SteadyClock, Timestamp};

mod intake;
mod lanes;
mod nowhere;
mod reading;
mod removal;

const CHANNEL: ChannelId = ChannelId(1_536_340_000_000_000_002);
const WEBHOOK: WebhookId = WebhookId(1_536_343_300_000_000_001);
/// A second lane's, where there is one.
const OTHER: (ChannelId, WebhookId) = (
    ChannelId(1_536_340_000_000_000_003),
    WebhookId(1_536_343_300_000_000_002),
);
const BOT: UserId = UserId(1_536_000_000_000_000_009);
const START: Timestamp = Timestamp::from_secs(1_786_363_204);
const LIFETIME: Duration = Duration::from_secs(100);
const POLL: Duration = Duration::from_secs(10);

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn key() -> Key {
    Key::new(b"0123456789abcdef0123456789abcdef")
}

/// A message that carries no code, and so is spent at once.
fn denied() -> String {
    let denied = Redirect {
        time: START.as_secs(),
        result: Err("access_denied".to_owned()),
        state: None,
    };
    v1::encode(BOT, &[denied], &key())
}

/// The channel as Discord has it.
#[derive(Default)]
struct Outside {
    /// With the moment from which each is visible.
    messages: RefCell<BTreeMap<MessageId, (ChannelMessage, Instant)>>,
    /// How long a page takes.
    page_takes: Cell<Duration>,
    /// What the next removals are answered with; then all are done.
    removal_errors: RefCell<Vec<BotError>>,
    /// Pages that are given before the next one fails, if one is to.
    pages_until_failure: Cell<Option<u32>>,
    /// Channels whose history is refused.
    refused: RefCell<BTreeMap<ChannelId, BotError>>,
    /// Webhooks that do not answer with their own channel.
    webhooks: RefCell<BTreeMap<WebhookId, Result<ChannelId, BotError>>>,
    /// The bot may not read the history: it is empty.
    unreadable: Cell<bool>,
    pages: RefCell<Vec<HistoryPage>>,
    removals: RefCell<Vec<(MessageId, Instant)>>,
    marks: RefCell<Vec<MessageId>>,
}

impl Outside {
    fn ids(&self) -> Vec<MessageId> {
        self.messages.borrow().keys().copied().collect()
    }

    fn page(&self, at: HistoryPage) -> Result<Vec<ChannelMessage>, BotError> {
        self.pages.borrow_mut().push(at);
        match self.pages_until_failure.get() {
            Some(0) => {
                self.pages_until_failure.set(None);
                return Err(passing());
            }
            left => self.pages_until_failure.set(left.map(|n| n - 1)),
        }
        if self.unreadable.get() {
            return Ok(Vec::new());
        }
        let messages = self.messages.borrow();
        let (after, before) = match at {
            HistoryPage::After(id) => (id + 1, u64::MAX),
            HistoryPage::Before(id) => (0, id),
        };
        let now = Instant::now();
        let in_range = messages.range(MessageId(after)..MessageId(before));
        let visible = in_range
            .map(|(_, (m, from))| (m, *from))
            .filter(|(_, from)| *from <= now);
        let mut page: Vec<_> = match at {
            HistoryPage::After(_) => visible.take(100).map(|(m, _)| m.clone()).collect(),
            HistoryPage::Before(_) => {
                let all: Vec<_> = visible.map(|(m, _)| m.clone()).collect();
                all[all.len().saturating_sub(100)..].to_vec()
            }
        };
        page.reverse();
        Ok(page)
    }
}

fn passing() -> BotError {
    BotError::Transient(Later::because("Discord answered 502"))
}

impl BotApi for Outside {
    fn history(
        &self,
        channel: ChannelId,
        at: HistoryPage,
    ) -> LocalBoxFuture<'_, Result<Vec<ChannelMessage>, BotError>> {
        async move {
            sleep(self.page_takes.get()).await;
            if let Some(error) = self.refused.borrow().get(&channel) {
                return Err(error.clone());
            }
            let page = self.page(at)?;
            Ok(page.into_iter().filter(|m| m.channel == channel).collect())
        }
        .boxed_local()
    }
    fn delete_message(
        &self,
        _: ChannelId,
        webhook: WebhookId,
        message: MessageId,
    ) -> LocalBoxFuture<'_, Result<(), BotError>> {
        assert_eq!(webhook, WEBHOOK);
        self.removals.borrow_mut().push((message, Instant::now()));
        let outcome = match self.removal_errors.borrow_mut().pop() {
            Some(error) => Err(error),
            None => {
                self.messages.borrow_mut().remove(&message);
                Ok(())
            }
        };
        std::future::ready(outcome).boxed_local()
    }
    fn react(&self, _: ChannelId, message: MessageId) -> LocalBoxFuture<'_, Result<(), BotError>> {
        self.marks.borrow_mut().push(message);
        std::future::ready(Ok(())).boxed_local()
    }
    fn application(&self) -> LocalBoxFuture<'_, Result<ApplicationFacts, BotError>> {
        unreachable!("the start asks, not the listener")
    }
    fn channel(&self, _: ChannelId) -> LocalBoxFuture<'_, Result<(), BotError>> {
        unreachable!("the start asks, not the listener")
    }
    fn webhook_channel(&self, webhook: WebhookId) -> LocalBoxFuture<'_, Result<ChannelId, BotError>> {
        let own = if webhook == OTHER.1 { OTHER.0 } else { CHANNEL };
        let told = self.webhooks.borrow().get(&webhook).cloned().unwrap_or(Ok(own));
        std::future::ready(told).boxed_local()
    }
}

/// What a site is made of.
struct Options {
    after_receipt: AfterReceipt,
    max_open: usize,
    cursor: Option<MessageId>,
    two_lanes: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            after_receipt: AfterReceipt::Keep,
            max_open: 100_000,
            cursor: None,
            two_lanes: false,
        }
    }
}

impl Options {
    fn lanes(&self) -> Vec<WatchedLane> {
        let all = [(CHANNEL, WEBHOOK), OTHER].into_iter().zip((0..=u8::MAX).map(Lane));
        let lanes = all.map(|((channel, webhook), lane)| WatchedLane { lane, channel, webhook });
        lanes.take(1 + usize::from(self.two_lanes)).collect()
    }

    fn journal(&self, store: CommitterHandle, clock: SharedClock) -> Addr<Journal> {
        let policy = Policy {
            code_lifetime: LIFETIME,
            sinks: Vec::new(),
            keep_parked: Duration::from_hours(1),
            reinvite: false,
        };
        let gate = GateRules {
            packs: vec![1; self.lanes().len()],
            ..GateRules::unlimited(LIFETIME)
        };
        let rules = OpenGrantsRules {
            policy,
            keep_messages: self.after_receipt == AfterReceipt::Keep,
            gate,
        };
        let loaded = Loaded {
            cursors: self.cursor.map(|c| (CHANNEL, c)).into_iter().collect(),
            ..Loaded::default()
        };
        let settings = journal::JournalSettings {
            store,
            clock,
            max_open: self.max_open,
            closed_retention: Duration::from_hours(1),
            on_closed: None,
            minter: minter(),
        };
        let open_grants = OpenGrants::new(loaded, rules, StdRng::seed_from_u64(1), START);
        Journal::new(settings, open_grants).start()
    }
}

/// A listener with its journal; no stage takes a code, so each stays open until it expires.
struct Site {
    outside: Rc<Outside>,
    /// Discord's clock. The service's may be stepped.
    clock: Arc<SteadyClock>,
    service_clock: Arc<SteadyClock>,
    wall: Arc<SteadyClock>,
    room: Arc<AtomicU64>,
    fatal: Rc<RefCell<Vec<Fatal>>>,
    notes: mpsc::Sender<GatewayNote>,
    journal: Addr<Journal>,
    listener: Option<Addr<Listener>>,
    /// Until `listen`.
    settings: Option<(ListenerSettings, mpsc::Receiver<GatewayNote>)>,
    posted: Cell<u64>,
    /// The relay's, as the listener has them.
    keys: Keys,
}

impl Site {
    /// Everything but the listener, so that messages can stand in the channel before it starts.
    fn new(options: &Options) -> Self {
        let [clock, service_clock, wall] = [(); 3].map(|()| SteadyClock::starting_at(START));
        let room = Arc::new(AtomicU64::new(u64::MAX));
        let store: Box<dyn Store> = Box::new(Nowhere(Arc::clone(&room)));
        let store = Committer::inline(store);
        let lanes = options.lanes();
        let journal = options.journal(store.clone(), service_clock.clone());
        let keys = Keys::from(&key());
        let accept = Accept {
            v0: true,
            v1: Some(keys.clone()),
        };
        let states = StateRules {
            mode: StateMode::Any,
            key: StateKey::new(&key()),
            code_lifetime: LIFETIME,
            purposes: 1,
            with_pkce: true,
        };
        let outside = Rc::new(Outside::default());
        let (notes, noted) = mpsc::channel(100);
        let fatal = Rc::new(RefCell::new(Vec::new()));
        let told = Rc::clone(&fatal);
        let settings = ListenerSettings {
            other_way_in: false,
            gatekeeper: Gatekeeper::new(&lanes, BOT, accept, states, key()),
            lanes,
            bot: outside.clone(),
            clock: service_clock.clone(),
            wall: wall.clone(),
            code_lifetime: LIFETIME,
            poll_every: POLL,
            after_receipt: options.after_receipt,
            on_fatal: Rc::new(move |why| told.borrow_mut().push(why)),
            on_ready: Rc::new(|| {}),
        };
        Self {
            outside,
            clock,
            service_clock,
            wall,
            room,
            fatal,
            notes,
            journal,
            listener: None,
            settings: Some((settings, noted)),
            posted: Cell::new(0),
            keys,
        }
    }

    /// A site that listens.
    fn listening(options: &Options) -> Self {
        let mut site = Self::new(options);
        site.listen();
        site
    }

    fn listen(&mut self) {
        let (settings, notes) = self.settings.take().expect("it does not listen yet");
        self.listener = Some(Listener::new(settings, notes, self.journal.clone()).start());
    }

    /// A new message's id at a moment by Discord's clock.
    fn id_at(&self, at: Timestamp) -> MessageId {
        self.posted.set(self.posted.get() + 1);
        MessageId(snowflake_at(at) + self.posted.get())
    }

    /// Puts a message into the channel.
    fn put(&self, at: Timestamp, webhook: Option<WebhookId>, content: String) -> MessageId {
        let id = self.id_at(at);
        let message = ChannelMessage {
            id,
            channel: CHANNEL,
            webhook,
            content,
        };
        self.outside.messages.borrow_mut().insert(id, (message, Instant::now()));
        id
    }

    /// Content with a code that no other message has.
    fn code(&self) -> String {
        format!(r#"{{"code":"code-number-{:08}","state":"x"}}"#, self.posted.get())
    }

    /// Posts a code at a moment.
    fn post_at(&self, at: Timestamp) -> MessageId {
        self.put(at, Some(WEBHOOK), self.code())
    }

    /// Posts a code now.
    fn post(&self) -> MessageId {
        self.post_at(self.clock.now())
    }

    /// Posts a code whose message is visible only after a while.
    fn post_hidden_for(&self, hidden: Duration) -> MessageId {
        let id = self.post();
        let mut messages = self.outside.messages.borrow_mut();
        messages.get_mut(&id).expect("just put").1 += hidden;
        id
    }

    /// The gateway brings a message, whether the channel shows it or not.
    async fn bring(&self, id: MessageId) {
        let known = self.outside.messages.borrow().get(&id).map(|(m, _)| m.clone());
        let message = known.unwrap_or_else(|| ChannelMessage {
            id,
            channel: CHANNEL,
            webhook: Some(WEBHOOK),
            content: self.code(),
        });
        self.notes
            .send(GatewayNote::Message(message))
            .await
            .expect("it listens");
    }

    async fn open(&self) -> usize {
        let listing = self.journal.send(List(Filter::default())).await.expect("it lives");
        listing.total
    }

    async fn stats(&self) -> Stats {
        let stats = self.journal.send(CountAll).await.expect("it lives");
        stats.expect("the store answers")
    }

    /// Open codes and those that have an outcome.
    async fn received(&self) -> usize {
        let closed: u64 = self.stats().await.since_start.expect("it runs").values().sum();
        self.open().await + closed as usize
    }

    async fn cursor(&self) -> Option<MessageId> {
        self.journal.send(Cursor(CHANNEL)).await.expect("it lives").read_to
    }
}
