//! The ways from a browser's redirect to a channel.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use codeferry::config::Config;
use codeferry::front::counts::Counts;
use codeferry::ids::{ChannelId, WebhookId};
use codeferry::intake::callback::{CLOCK_TOLERANCE, CallbackRules};
use codeferry::intake::state::StateKey;
use codeferry::intake::v1::{self, Redirect};
use codeferry::port::callback_intake::CallbackAnswer;
use codeferry::port::discord::{Answered, GatewayNote};
use codeferry::port::webhook::{PostAnswer, RelayPost, WebhookState};
use codeferry::rate::feedback::HttpFeedback;
use codeferry::rate::limits::WebhookLimit;
use codeferry::rate::moment::Moment;
use codeferry::relay::dispatcher::{Dispatcher, Offer, Parts};
use codeferry::relay::journal;
use codeferry::relay::post_plan::{LaneSettings, Now, PostPlan, RelaySettings};
use codeferry::secret::Key;
use codeferry::store::{StoreOptions, Sync};
use codeferry::time::{Clock, SteadyClock, Timestamp};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};

use super::{Relay, Way as Settled};
use crate::world::discord::KEY;
use crate::world::outside::Outside;
use crate::world::places::BOT;

/// Discord's side of the webhooks.
pub struct Channel {
    outside: Outside,
    notes: mpsc::Sender<GatewayNote>,
    lanes: Vec<(ChannelId, WebhookId)>,
    posted: RefCell<BTreeMap<WebhookId, Vec<Instant>>>,
}

impl Channel {
    pub fn new(outside: Outside, notes: mpsc::Sender<GatewayNote>, lanes: Vec<(ChannelId, WebhookId)>) -> Self {
        Self {
            outside,
            notes,
            lanes,
            posted: RefCell::default(),
        }
    }

    /// A message arrives with these codes in it.
    fn put(&self, webhook: WebhookId, content: String, codes: &[String]) {
        let (channel, _) = *self.lanes.iter().find(|l| l.1 == webhook).expect("a lane's webhook");
        self.posted
            .borrow_mut()
            .entry(webhook)
            .or_default()
            .push(Instant::now());
        let message = self.outside.with(|d| {
            let now = d.now();
            for code in codes {
                if let Some(known) = d.codes.get_mut(code)
                    && !known.authentic
                {
                    (known.authentic, known.posted_at) = (true, now);
                }
            }
            d.post(channel, webhook, content, now)
        });
        let notes = self.notes.clone();
        tokio::task::spawn_local(async move {
            sleep(Duration::from_millis(150)).await;
            let _ = notes.send(GatewayNote::Message(message)).await;
        });
    }

    /// The most messages of any closed minute in one channel.
    pub fn worst_minute(&self) -> usize {
        let posted = self.posted.borrow();
        let worst = |times: &Vec<Instant>| {
            let within = |at: &Instant| {
                times
                    .iter()
                    .filter(|t| *t >= at && **t - *at <= Duration::from_mins(1))
                    .count()
            };
            times.iter().map(within).max().unwrap_or(0)
        };
        posted.values().map(worst).max().unwrap_or(0)
    }
}

/// A relay that takes redirects.
pub enum Way {
    /// One message after the other, as they came, at an even pace.
    Paced {
        lanes: Vec<mpsc::UnboundedSender<String>>,
        waiting: Rc<Cell<usize>>,
        /// Hookdeck's own de-duplication; the classic relay has none.
        seen: Option<RefCell<BTreeSet<String>>>,
    },
    /// codeferry's own.
    Own {
        rules: CallbackRules,
        clock: Arc<SteadyClock>,
        offers: mpsc::Sender<Offer>,
        counts: Arc<Counts>,
        /// Callbacks never: it ends with the runtime.
        _end: watch::Sender<Option<Instant>>,
    },
}

impl Way {
    pub fn open(way: Settled, config: &Config, folder: &Path, wall: &Arc<SteadyClock>, channel: &Rc<Channel>) -> Self {
        match way.relay {
            Relay::Classic => paced(channel, Duration::from_secs(2), false),
            Relay::Hookdeck => paced(channel, Duration::from_mins(1) / 28, true),
            Relay::Own => own(config, folder, wall, channel),
        }
    }

    /// A browser comes back from Discord.
    pub async fn redirect(&self, query: String) -> CallbackAnswer {
        match self {
            Self::Paced { lanes, waiting, seen } => {
                let code = value(&query, "code");
                if let (Some(seen), Some(code)) = (seen, code)
                    && !seen.borrow_mut().insert(code)
                {
                    return CallbackAnswer::Safe;
                }
                let state = value(&query, "state").expect("people come from a link");
                let token = StateKey::new(&Key::new(KEY)).open(&state);
                let lane = token.map_or(0, |token| usize::from(token.lane.0));
                waiting.set(waiting.get() + 1);
                lanes[lane].send(query).expect("it runs");
                CallbackAnswer::Safe
            }
            Self::Own {
                rules, clock, offers, ..
            } => {
                let callback = rules.read(&query, clock.now()).expect("a good callback");
                let (answer, taken) = oneshot::channel();
                offers.send(Offer { callback, answer }).await.expect("it runs");
                taken.await.expect("it answers")
            }
        }
    }

    /// Redirects that are not posted yet.
    pub fn waiting(&self) -> usize {
        match self {
            Self::Paced { waiting, .. } => waiting.get(),
            Self::Own { counts, .. } => usize::try_from(counts.waiting.get()).expect("few"),
        }
    }
}

fn value(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(n, _)| *n == name).map(|(_, v)| v.to_owned())
}

fn paced(channel: &Rc<Channel>, every: Duration, hookdeck: bool) -> Way {
    let waiting = Rc::new(Cell::new(0));
    let lanes = channel.lanes.iter().map(|(_, webhook)| {
        let (sender, mut queue) = mpsc::unbounded_channel::<String>();
        let (channel, waiting, webhook) = (Rc::clone(channel), Rc::clone(&waiting), *webhook);
        tokio::task::spawn_local(async move {
            while let Some(query) = queue.recv().await {
                let now = channel.outside.with(|d| d.now());
                let codes: Vec<String> = value(&query, "code").into_iter().collect();
                let content = if hookdeck {
                    signed(&query, now)
                } else {
                    classic(&query, now)
                };
                channel.put(webhook, content, &codes);
                waiting.set(waiting.get() - 1);
                sleep(every).await;
            }
        });
        sender
    });
    Way::Paced {
        lanes: lanes.collect(),
        waiting,
        seen: hookdeck.then(RefCell::default),
    }
}

/// What our script makes of a redirect, which a table of cases holds it to.
fn signed(query: &str, now: Timestamp) -> String {
    let result = value(query, "code").ok_or_else(|| value(query, "error").expect("one of both"));
    let redirect = Redirect {
        time: now.as_secs(),
        result,
        state: value(query, "state"),
    };
    v1::encode(BOT, &[redirect], &Key::new(KEY))
}

/// What the classic script makes of it.
fn classic(query: &str, now: Timestamp) -> String {
    let state = value(query, "state").expect("a state");
    let said = match value(query, "code") {
        Some(code) => ("code", code),
        None => ("error", value(query, "error").expect("one of both")),
    };
    let body = serde_json::json!({ said.0: said.1, "state": state, "time": now.as_secs() });
    format!("<@{BOT}>{body}")
}

struct ToChannel(Rc<Channel>);

impl RelayPost for ToChannel {
    fn post(&self, webhook: WebhookId, content: String) -> LocalBoxFuture<'static, Answered<PostAnswer>> {
        let channel = Rc::clone(&self.0);
        async move {
            sleep(Duration::from_millis(80)).await;
            let words = content.lines().filter_map(|line| line.split(' ').nth(2));
            let codes: Vec<String> = words.map(ToOwned::to_owned).collect();
            channel.put(webhook, content, &codes);
            sleep(Duration::from_millis(80)).await;
            let outcome = PostAnswer::Posted(codeferry::ids::MessageId(1_536_000_000_000_000_777));
            let feedback = HttpFeedback {
                status: 200,
                ..HttpFeedback::default()
            };
            Answered {
                outcome,
                feedback: Some(feedback),
            }
        }
        .boxed_local()
    }

    fn look(&self, _: WebhookId) -> LocalBoxFuture<'static, Answered<WebhookState>> {
        async { Answered::unsent(WebhookState::There) }.boxed_local()
    }
}

fn own(config: &Config, folder: &Path, wall: &Arc<SteadyClock>, channel: &Rc<Channel>) -> Way {
    let options = StoreOptions {
        cache_mb: 1,
        sync: Sync::Counted,
        reserve_bytes: 4_096,
        ..StoreOptions::new(folder.join("relay/store"), wall.clone())
    };
    std::fs::create_dir_all(folder.join("relay")).expect("a folder");
    let (journal, found) = journal::open_inline(&options).expect("it opens");
    let limit = config.limits.webhook.expect("a limit");
    let settings = RelaySettings {
        lanes: config
            .intake
            .lanes
            .iter()
            .map(|lane| LaneSettings {
                webhook: lane.webhook_id,
                channel: Some(lane.channel_id),
                pack: usize::from(lane.pack),
            })
            .collect(),
        limit: Some(WebhookLimit {
            per_minute: limit.per_minute,
            burst: limit.burst,
        }),
        code_lifetime: config.intake.code_lifetime,
        bot: BOT,
        relay_keys: (&Key::new(KEY)).into(),
    };
    let now = Now {
        moment: Moment::START,
        wall: wall.now(),
    };
    let counts: Arc<Counts> = Arc::default();
    let dispatcher = Dispatcher::new(Parts {
        plan: PostPlan::new(settings, found, now),
        journal,
        post: Rc::new(ToChannel(Rc::clone(channel))),
        clock: wall.clone(),
        wall: wall.clone(),
        counts: Arc::clone(&counts),
        hash_key: Key::new(KEY),
    });
    let (offers, offered) = mpsc::channel(64);
    let (end, ends) = watch::channel(None);
    tokio::task::spawn_local(async move {
        let _ = dispatcher.run(offered, ends).await;
    });
    Way::Own {
        rules: CallbackRules {
            key: StateKey::new(&Key::new(KEY)),
            code_lifetime: config.intake.code_lifetime,
            tolerance: CLOCK_TOLERANCE,
            lanes: Some(config.intake.lanes.len()),
        },
        clock: wall.clone(),
        offers,
        counts,
        _end: end,
    }
}
