//! What happens in the demo, and when: users of every kind, forged messages, and everything that goes wrong at Discord.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::in_flight;
use crate::cli::child::Child;
use crate::cli::out;
use crate::config::{Config, Secrets};
use crate::control::client::ControlClient;
use crate::control::{Ask, LinkRequest};
use crate::ids::UserId;
use crate::intake::callback::RELAY_EXPIRED;
use crate::intake::v1::{self, Redirect};
use crate::secret::{Key, Keys};
use crate::simulator::gateway::GatewayFault;
use crate::simulator::limits::Scope;
use crate::simulator::people::{Behaviour, browser, walk};
use crate::simulator::{
    CodeRequest, Description, Endpoint, Fault, FaultBody, FaultRule, PostAuthor, PostRequest, Simulator,
};
use crate::time::{Clock, SystemClock};

/// The demo's parts, which the script acts on.
pub struct Script<'a> {
    pub simulator: &'a Simulator,
    pub about: &'a Description,
    /// The relay's address.
    pub relay: SocketAddr,
    pub config: &'a Config,
    pub secrets: &'a Secrets,
    pub people: u32,
    pub quiet: bool,
    pub start: Instant,
}

/// What happened apart from what the service recorded.
#[derive(Debug, Default)]
pub struct Events {
    /// Codes that came back through the relay.
    pub codes: BTreeSet<String>,
    /// Denials that came back through the relay.
    pub denials: usize,
    /// Codes in messages that the service has to ignore.
    pub forged: Vec<String>,
    /// Messages without a code.
    pub malformed: usize,
    /// Users who were asked to wait before they got a link.
    pub asked_to_wait: usize,
    /// Exchanges under way when the service was killed; each code may be lost.
    pub in_flight: usize,
    /// Codes that the relay reported as expired.
    pub expired: usize,
    /// The user of the expired code got a new link and used it.
    pub invited_again: bool,
    /// Users who could not finish.
    pub stuck: usize,
    /// The service ended unexpectedly.
    pub died: bool,
}

impl Events {
    /// Codes, denials and reports of expired codes: each is a grant of its own.
    pub fn callbacks(&self) -> usize {
        self.codes.len() + self.denials + self.expired
    }
}

/// The second in which the service is killed.
const RESTART: u64 = 16;
/// The time over which users arrive.
const ARRIVALS: Duration = Duration::from_secs(24);
/// The direct message is sent within this: the service retries an invitation for 45 s.
const MESSAGE_WITHIN: Duration = Duration::from_mins(1);
/// How long a user retries for a link. On an idle machine none waits half a minute.
const LINK_PATIENCE: Duration = Duration::from_mins(4);
/// Users who have not finished by then never will: the four requests of a visit take at most 15 s each.
const LAST_SECOND: u64 = LINK_PATIENCE.as_secs() + 90;

impl Script<'_> {
    /// Runs the script while the users act at their own pace.
    pub async fn run(&self, service: &mut Child) -> anyhow::Result<Events> {
        let events = Rc::new(RefCell::new(Events::default()));
        let http = browser();
        let start = Instant::now();
        let bar = self.bar();
        let visits: anyhow::Result<Vec<_>> = (0..self.people).map(|n| self.visit(n, start, &http, &events)).collect();
        let visits = visits?;
        let mut counts = RelayCounts::default();
        for second in 0_u64..=LAST_SECOND {
            tokio::time::sleep_until(start + Duration::from_secs(second)).await;
            if let Some(what) = self.incident(second, &events) {
                self.say(&bar, what);
            }
            if second == RESTART {
                self.restart(service, &bar, &events).await?;
            }
            events.borrow_mut().died |= service.has_ended();
            // A relay that is too busy to answer may still have codes to post.
            let read = self.relay_counts(&http).await;
            let waiting = read.as_ref().is_none_or(|counts| counts.waiting > 0);
            counts = read.unwrap_or(counts);
            // A user may bring two codes, and one of another link: the bar ends where all have come.
            bar.set_length(bar.length().unwrap_or(0).max(counts.accepted));
            bar.set_position(counts.posted);
            let RelayCounts {
                accepted,
                posted,
                messages,
                ..
            } = counts;
            let progress = format!("{accepted} redirects, {posted} posted in {messages} messages");
            if bar.is_hidden() && second % 5 == 0 {
                self.say(&bar, &progress);
            }
            bar.set_message(progress);
            if second >= RESTART && visits.iter().all(JoinHandle::is_finished) && !waiting {
                break;
            }
        }
        let unfinished = visits.iter().filter(|visit| !visit.is_finished());
        events.borrow_mut().stuck += unfinished.inspect(|visit| visit.abort()).count();
        bar.finish_and_clear();
        Ok(events.take())
    }

    /// Starts the n-th user's visit.
    fn visit(
        &self,
        n: u32,
        start: Instant,
        http: &reqwest::Client,
        events: &Rc<RefCell<Events>>,
    ) -> anyhow::Result<JoinHandle<()>> {
        let user: UserId = self.about.people[n as usize].parse()?;
        // One link is approved by another user.
        let approver = if n == 4 { self.about.people[0].parse()? } else { user };
        // A third of the users arrive in one burst.
        let burst = n.is_multiple_of(3);
        let at = start
            + if burst {
                ARRIVALS / 3
            } else {
                ARRIVALS * n / self.people
            };
        let socket = self.config.control.socket.clone();
        let (http, events) = (http.clone(), Rc::clone(events));
        Ok(tokio::task::spawn_local(async move {
            tokio::time::sleep_until(at).await;
            let visit = match link(socket.as_deref(), user, &events).await {
                Some(link) => walk(&http, &link, approver.0, behaviour(n)).await.ok(),
                None => None,
            };
            let mut events = events.borrow_mut();
            match visit {
                Some(visit) => {
                    events.codes.extend(visit.codes);
                    events.denials += usize::from(visit.denied);
                }
                None => events.stuck += 1,
            }
        }))
    }

    /// Kills the service and starts it again.
    async fn restart(&self, service: &mut Child, bar: &ProgressBar, events: &RefCell<Events>) -> anyhow::Result<()> {
        self.say(bar, "the service is killed");
        service.kill().await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        // Only now: Discord may have gone on writing answers to the killed service.
        let in_flight = in_flight::exchanges(self.config)?;
        events.borrow_mut().in_flight = in_flight.len();
        self.simulator.unrecorded(in_flight);
        self.say(bar, "the service is started again");
        service.start_again()
    }

    /// The relay reports an expired code; its user follows the link in the direct message that the service sends.
    pub async fn invite_again(&self, events: &mut Events) -> anyhow::Result<()> {
        let bar = self.bar();
        self.say(
            &bar,
            "a code expires in the relay: the service sends its user a new link",
        );
        let user: UserId = self.about.people[self.people as usize].parse()?;
        let Some(url) = link(self.config.control.socket.as_deref(), user, &RefCell::default()).await else {
            return Ok(());
        };
        let url = url::Url::parse(&url)?;
        let state = url.query_pairs().find(|(name, _)| name == "state");
        let expired = Redirect {
            time: SystemClock.now().as_secs(),
            result: Err(RELAY_EXPIRED.to_owned()),
            state: state.map(|(_, state)| state.into_owned()),
        };
        let keys = self.secrets.relay_keys.as_ref().context("the demo has no relay key")?;
        let content = v1::encode(self.about.bot_id.parse()?, &[expired], &keys.first());
        let webhook = self.about.lanes[0].webhook.id.parse()?;
        self.simulator.post(PostRequest::webhook(webhook, content));
        events.expired += 1;
        let until = Instant::now() + MESSAGE_WITHIN;
        while Instant::now() < until {
            let messages = self.simulator.direct_messages(user.0);
            let button = messages.first().map(|m| &m["components"][0]["components"][0]["url"]);
            if let Some(fresh) = button.and_then(serde_json::Value::as_str) {
                let visit = walk(&browser(), fresh, user.0, Behaviour::Approve).await?;
                events.invited_again = !visit.codes.is_empty();
                events.codes.extend(visit.codes);
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        bar.finish_and_clear();
        Ok(())
    }

    async fn relay_counts(&self, http: &reqwest::Client) -> Option<RelayCounts> {
        let request = http.get(format!("http://{}/healthz", self.relay));
        let mut status: serde_json::Value = request.send().await.ok()?.json().await.ok()?;
        serde_json::from_value(status["counts"].take()).ok()
    }

    /// Causes the incident of a second; returns what it was.
    fn incident(&self, second: u64, events: &RefCell<Events>) -> Option<&'static str> {
        let gateway = |fault| self.simulator.gateway_fault(fault);
        let token_fault = |fault| {
            let faults = self.simulator.faults();
            faults.add(FaultRule::on(Endpoint::Token, fault).times(1));
        };
        match second {
            2 => {
                token_fault(Fault::RateLimited {
                    scope: Scope::User,
                    retry_after_ms: 1_500,
                });
                Some("the token endpoint answers 429 once")
            }
            4 => {
                token_fault(Fault::Status {
                    status: 502,
                    body: FaultBody::Html,
                    retry_after: None,
                    after_work: false,
                });
                Some("the token endpoint answers 502 once, with an HTML page")
            }
            5 => {
                self.forge(&mut events.borrow_mut());
                Some(
                    "forged codes are posted: by a user, another bot and two other webhooks, and with a wrong signature; \
                     also a malformed message",
                )
            }
            7 => {
                gateway(GatewayFault::DropConnections);
                Some("the gateway connection drops")
            }
            8 => Some("a third of the users arrive at once"),
            10 => {
                gateway(GatewayFault::Duplicate { count: 3 });
                Some("the gateway sends the next three events twice")
            }
            11 => {
                gateway(GatewayFault::Refuse { for_ms: 3_000 });
                gateway(GatewayFault::Invalidate { resumable: false });
                gateway(GatewayFault::DropConnections);
                Some(
                    "the gateway session is invalidated, and no connection is accepted for 3 s: missed events are not replayed",
                )
            }
            _ => None,
        }
    }

    /// Posts codes as a user, as another bot, through other webhooks and with a wrong signature, and a malformed message.
    fn forge(&self, events: &mut Events) {
        let id = |text: &str| text.parse::<u64>().unwrap_or_default();
        let (about, lane) = (self.about, &self.about.lanes[0]);
        let (channel, webhook) = (id(&lane.channel_id), id(&lane.webhook.id));
        let bot = UserId(id(&about.bot_id));
        let key = self
            .secrets
            .relay_keys
            .as_ref()
            .map_or_else(|| Key::new(*b""), Keys::first);
        let wrong_key = Key::new(*b"not the relay's key, not the relay's key");
        let request = CodeRequest::of(id(&about.people[1])).times(5);
        let codes = self.simulator.mint_codes(&request);
        let signed = |n: usize, key: &Key| {
            let redirect = Redirect {
                time: SystemClock.now().as_secs(),
                result: Ok(codes[n].clone()),
                state: None,
            };
            v1::encode(bot, &[redirect], key)
        };
        let user = PostAuthor::Person(id(&about.people[2]));
        let strange = about.strange_webhook.as_ref().map_or(0, |w| id(&w.id));
        let posts = [
            PostRequest::new(channel, user, signed(0, &key)),
            PostRequest::new(channel, PostAuthor::OtherBot, signed(1, &key)),
            PostRequest::webhook(strange, signed(2, &key)),
            PostRequest::webhook(id(&about.results.webhook.id), signed(3, &key)),
            PostRequest::webhook(webhook, signed(4, &wrong_key)),
            PostRequest::webhook(webhook, format!("<@{bot}>{{\"nonsense\":true}}")),
        ];
        for post in posts {
            self.simulator.post(post);
        }
        events.forged = codes;
        events.malformed += 1;
    }

    /// Waits until the service has closed everything that came back, and no token is alive.
    pub async fn wait_until_closed(&self, patience: Duration, events: &Events) {
        let until = Instant::now() + patience;
        let expected = events.callbacks() as u64;
        let bar = self.bar();
        bar.set_length(expected);
        while Instant::now() < until {
            let closed = self.closed().await;
            let live = self.simulator.summary().tokens_left;
            bar.set_position(closed);
            bar.set_message(format!("{closed} of {expected} closed, {live} tokens alive"));
            if closed >= expected && live == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        bar.finish_and_clear();
    }

    /// How many grants the service has closed, across its restart. Results cannot be counted instead: a lost second code
    /// of one consent has none.
    async fn closed(&self) -> u64 {
        let Some(Ok(client)) = self.config.control.socket.as_deref().map(ControlClient::new) else {
            return 0;
        };
        let Ok(Ok(stats)) = client.ask(&Ask::Stats).await else {
            return 0;
        };
        let closed = stats["closed"].as_object();
        closed.into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum()
    }

    /// Prints a line of the story: above the bar on a terminal, else to stderr.
    fn say(&self, bar: &ProgressBar, what: &str) {
        let line = format!("{:>3} s  {what}", self.start.elapsed().as_secs());
        match (self.quiet, bar.is_hidden()) {
            (true, _) => {}
            (false, true) => out::say(line),
            (false, false) => bar.println(line),
        }
    }

    fn bar(&self) -> ProgressBar {
        let style = ProgressStyle::with_template("{spinner} [{elapsed}] {wide_bar} {pos}/{len}  {msg}");
        match style {
            Ok(style) if !self.quiet => ProgressBar::new(u64::from(self.people)).with_style(style),
            _ => ProgressBar::hidden(),
        }
    }
}

/// What the relay has done, as its status page says.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct RelayCounts {
    accepted: u64,
    posted: u64,
    messages: u64,
    waiting: u64,
}

/// Requests a link from the service as any bot would: if asked to wait, it asks again soon; if not answered,
/// it retries.
async fn link(socket: Option<&Path>, user: UserId, events: &RefCell<Events>) -> Option<String> {
    let ask = Ask::Link(LinkRequest {
        user_id: user,
        purpose: None,
    });
    let until = Instant::now() + LINK_PATIENCE;
    let mut waited = false;
    while Instant::now() < until {
        let answer = match ControlClient::new(socket?) {
            Ok(client) => client.ask(&ask).await,
            Err(error) => Err(error),
        };
        let wait = match answer {
            Ok(Ok(link)) => return link["url"].as_str().map(ToOwned::to_owned),
            Ok(Err(refusal)) => {
                if !std::mem::replace(&mut waited, true) {
                    events.borrow_mut().asked_to_wait += 1;
                }
                // The time told is when a place is kept at the latest. Whoever asks sooner gets a link if there is room.
                Duration::from_secs(refusal.retry_after.unwrap_or(1).min(2))
            }
            // The service is being restarted.
            Err(_) => Duration::from_millis(250),
        };
        tokio::time::sleep(wait).await;
    }
    None
}

/// What the n-th user does.
fn behaviour(n: u32) -> Behaviour {
    match n % 10 {
        3 => Behaviour::Deny,
        5 => Behaviour::Slow,
        7 => Behaviour::DoubleClick,
        9 => Behaviour::Reload,
        _ => Behaviour::Approve,
    }
}
