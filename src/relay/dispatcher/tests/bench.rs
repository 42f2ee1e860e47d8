//! A fake Discord and a real store around a dispatcher.

use std::cell::RefCell;
use std::collections::BTreeMap;

use tempfile::TempDir;

use super::super::*;
use crate::grant::Reason;
use crate::ids::{Lane, MessageId, UserId, WebhookId};
use crate::intake::entry::Entry;
use crate::intake::message::{Accept, parse};
use crate::intake::state::{StateKey, StateToken};
use crate::rate::feedback::HttpFeedback;
use crate::rate::limits::WebhookLimit;
use crate::relay::journal;
use crate::relay::post_plan::{LaneSettings, RelaySettings};
use crate::secret::{AuthorizationCode, RawState};
use crate::store::{StoreOptions, Sync};
use crate::time::{Clock as _, SteadyClock, Timestamp};

pub(super) const BOT: UserId = UserId(1_536_000_000_000_000_009);
pub(super) const WEBHOOK: u64 = 1_536_000_000_000_000_100;
pub(super) const LIMIT: WebhookLimit = WebhookLimit {
    per_minute: 30,
    burst: 5,
};

pub(super) fn key() -> Key {
    Key::new(*b"0123456789abcdef0123456789abcdef")
}

/// What a webhook answers to the n-th post of all.
pub(super) type Script = Box<dyn FnMut(usize, WebhookId) -> (PostAnswer, HttpFeedback)>;

/// A message that arrived.
pub(super) struct Arrived {
    pub(super) at: Instant,
    pub(super) webhook: WebhookId,
    pub(super) entries: Vec<Entry>,
    pub(super) accepted: bool,
}

pub(super) struct Fake {
    pub(super) script: RefCell<Script>,
    pub(super) arrived: RefCell<Vec<Arrived>>,
    pub(super) look: RefCell<WebhookState>,
    pub(super) looks: RefCell<usize>,
    /// What a look says of the time.
    pub(super) date: RefCell<Option<&'static str>>,
    /// The way there, and the same back.
    pub(super) latency: Duration,
}

pub(super) fn fine() -> (PostAnswer, HttpFeedback) {
    let feedback = HttpFeedback {
        status: 200,
        ..HttpFeedback::default()
    };
    (PostAnswer::Posted(MessageId(1_536_000_000_000_000_777)), feedback)
}

pub(super) fn status(status: u16, outcome: PostAnswer, headers: &[(&str, &str)]) -> (PostAnswer, HttpFeedback) {
    let feedback = HttpFeedback {
        status,
        headers: headers
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect(),
        ..HttpFeedback::default()
    };
    (outcome, feedback)
}

pub(super) struct Handle(pub(super) Rc<Fake>);

impl RelayPost for Handle {
    fn post(&self, webhook: WebhookId, content: String) -> LocalBoxFuture<'static, Answered<PostAnswer>> {
        let fake = Rc::clone(&self.0);
        async move {
            tokio::time::sleep(fake.latency).await;
            let nth = fake.arrived.borrow().len();
            let (outcome, feedback) = (fake.script.borrow_mut())(nth, webhook);
            let accept = Accept {
                v0: false,
                v1: Some((&key()).into()),
            };
            assert!(content.len() <= v1_limit());
            let parsed = parse(&content, BOT, &accept).expect("a message that the service can read");
            assert_eq!(parsed.malformed_lines, 0);
            fake.arrived.borrow_mut().push(Arrived {
                at: Instant::now(),
                webhook,
                entries: parsed.entries,
                accepted: matches!(outcome, PostAnswer::Posted(_)),
            });
            tokio::time::sleep(fake.latency).await;
            Answered {
                outcome,
                feedback: Some(feedback),
            }
        }
        .boxed_local()
    }

    fn look(&self, _: WebhookId) -> LocalBoxFuture<'static, Answered<WebhookState>> {
        *self.0.looks.borrow_mut() += 1;
        let outcome = *self.0.look.borrow();
        let date = *self.0.date.borrow();
        let feedback = date.map(|date| status(200, fine().0, &[("via", "1.1 google"), ("date", date)]).1);
        async move { Answered { outcome, feedback } }.boxed_local()
    }
}

pub(super) fn v1_limit() -> usize {
    crate::intake::v1::MESSAGE_LIMIT
}

/// A relay without sockets.
pub(super) struct Bench {
    pub(super) folder: TempDir,
    pub(super) clock: Arc<SteadyClock>,
    pub(super) wall: Arc<SteadyClock>,
    pub(super) fake: Rc<Fake>,
    pub(super) lanes: Vec<LaneSettings>,
    pub(super) limit: Option<WebhookLimit>,
    pub(super) counts: Arc<Counts>,
    pub(super) next: RefCell<u64>,
}

impl Bench {
    pub(super) fn new(
        lanes: u64,
        pack: usize,
        script: impl FnMut(usize, WebhookId) -> (PostAnswer, HttpFeedback) + 'static,
    ) -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            clock: SteadyClock::starting_at(Timestamp::from_secs(1_700_000_000)),
            wall: SteadyClock::starting_at(Timestamp::from_secs(1_700_000_000)),
            fake: Rc::new(Fake {
                script: RefCell::new(Box::new(script)),
                arrived: RefCell::default(),
                look: RefCell::new(WebhookState::There),
                looks: RefCell::default(),
                date: RefCell::default(),
                latency: Duration::from_millis(70),
            }),
            lanes: (0..lanes)
                .map(|n| LaneSettings {
                    webhook: WebhookId(WEBHOOK + n),
                    channel: None,
                    pack,
                })
                .collect(),
            limit: Some(LIMIT),
            counts: Arc::default(),
            next: RefCell::new(0),
        }
    }

    pub(super) fn callback(&self, lane: u8, denied: bool) -> (Callback, String) {
        let mut next = self.next.borrow_mut();
        *next += 1;
        let token = StateToken {
            user: UserId(80_000_000_000_000_000 + *next),
            expires_at: self.clock.now() + Duration::from_mins(5),
            lane: Lane(lane),
            purpose: 0,
            pkce: true,
            again: false,
            nonce: next.to_be_bytes(),
        };
        let state = StateKey::new(&key()).mint(&token);
        let code = format!("CODE{next:026}");
        let result = if denied {
            Err(Reason::new("access_denied"))
        } else {
            Ok(AuthorizationCode::new(code))
        };
        let callback = Callback {
            token,
            state: RawState::new(state.clone()),
            result,
            accepted_until: token.expires_at + Duration::from_secs(400),
        };
        (callback, state)
    }

    /// Runs a dispatcher over the folder while `act` goes on, then for as long as `grace` says; answers what is left.
    pub(super) async fn run<F: Future>(&self, grace: Duration, act: impl FnOnce(mpsc::Sender<Offer>) -> F) -> usize {
        let options = StoreOptions {
            sync: Sync::Counted,
            ..StoreOptions::new(self.folder.path().join("store"), self.clock.clone())
        };
        let (journal, found) = journal::open_inline(&options).expect("opens");
        self.run_over(journal, found, grace, act).await
    }

    /// The same over a journal of one's own.
    pub(super) async fn run_over<F: Future>(
        &self,
        journal: RelayJournal,
        found: journal::Recovered,
        grace: Duration,
        act: impl FnOnce(mpsc::Sender<Offer>) -> F,
    ) -> usize {
        let now = Now {
            moment: Moment::START,
            wall: self.clock.now(),
        };
        let settings = RelaySettings {
            lanes: self.lanes.clone(),
            limit: self.limit,
            code_lifetime: Duration::from_secs(100),
            bot: BOT,
            relay_keys: (&key()).into(),
        };
        let dispatcher = Dispatcher::new(Parts {
            plan: PostPlan::new(settings, found, now),
            journal: journal.clone(),
            post: Rc::new(Handle(Rc::clone(&self.fake))),
            clock: self.clock.clone(),
            wall: self.wall.clone(),
            counts: Arc::clone(&self.counts),
            hash_key: key(),
        });
        let (offers, offered) = mpsc::channel(64);
        let (end, ends) = watch::channel(None);
        let acting = async {
            act(offers).await;
            end.send(Some(Instant::now() + grace)).expect("it listens");
        };
        let (left, ()) = tokio::join!(dispatcher.run(offered, ends), acting);
        journal.close().await.expect("closed");
        left.expect("the store works")
    }

    /// Entries in the order in which they arrived, of messages that were accepted.
    pub(super) fn told(&self) -> Vec<Entry> {
        let arrived = self.fake.arrived.borrow();
        arrived
            .iter()
            .filter(|a| a.accepted)
            .flat_map(|a| a.entries.clone())
            .collect()
    }

    pub(super) fn worst(&self, window: Duration) -> usize {
        let mut by_webhook: BTreeMap<WebhookId, Vec<Instant>> = BTreeMap::new();
        for one in self.fake.arrived.borrow().iter() {
            by_webhook.entry(one.webhook).or_default().push(one.at);
        }
        let worst = |times: &Vec<Instant>| {
            let within = |at: &Instant| times.iter().filter(|t| *t >= at && **t - *at <= window).count();
            times.iter().map(within).max().unwrap_or(0)
        };
        by_webhook.values().map(worst).max().unwrap_or(0)
    }
}

pub(super) async fn offer(offers: &mpsc::Sender<Offer>, callback: Callback) -> CallbackAnswer {
    let (answer, answered) = oneshot::channel();
    offers.send(Offer { callback, answer }).await.expect("it runs");
    answered.await.expect("it answers")
}

pub(super) fn is_code(entry: &Entry) -> bool {
    entry.result.is_ok()
}
