//! What happens in the demo, and when: people of every kind, spoofs, and everything that goes wrong with Discord.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::account;
use super::child::Child;
use crate::config::{Config, Secrets};
use crate::control::client::ControlClient;
use crate::control::{Ask, LinkRequest};
use crate::ids::UserId;
use crate::intake::callback::RELAY_EXPIRED;
use crate::intake::v1::{self, Redirect};
use crate::secret::Key;
use crate::simulator::gateway::GatewayFault;
use crate::simulator::limits::Scope;
use crate::simulator::people::{Behaviour, browser, walk};
use crate::simulator::{CodeRequest, Description, Endpoint, Fault, FaultRule, PostAuthor, PostRequest, Simulator};
use crate::time::{Clock, SystemClock};

/// The demo's surroundings.
pub struct Scene<'a> {
    pub simulator: &'a Simulator,
    pub relay: Edge,
    pub config: &'a Config,
    pub secrets: &'a Secrets,
    pub people: u32,
    pub quiet: bool,
}

/// What was played.
#[derive(Debug, Default)]
pub struct Played {
    /// Codes that came back through the relay.
    pub codes: BTreeSet<String>,
    /// Denials that came back through the relay.
    pub denials: usize,
    /// Codes that were posted by somebody who may not.
    pub spoofs: Vec<String>,
    /// Messages that say nothing.
    pub rubbish: usize,
    /// People who were told to wait before they got a link.
    pub told_to_wait: usize,
    /// Codes whose request was on its way when the service was killed: each may be lost.
    pub on_the_way: usize,
    /// Codes of which the relay told that they had died there.
    pub dead: usize,
    /// Whoever's code that was got a fresh link, and came in by it.
    pub invited_anew: bool,
    /// People who got stuck.
    pub stuck: usize,
    /// The service ended although nobody asked it to.
    pub died: bool,
}

/// The second in which the service is killed.
const RESTART: u64 = 16;
/// People arrive over this long.
const ARRIVALS: Duration = Duration::from_secs(24);
/// The direct message comes within this: an invitation is tried for 45 s.
const MESSAGE_WITHIN: Duration = Duration::from_mins(1);
/// How long somebody goes on asking for a link. On a machine that has nothing else to do nobody waits half a minute.
const LINK_PATIENCE: Duration = Duration::from_mins(4);
/// Whoever has not come to an end by then is stuck. A visit's four requests take 15 s each at most.
const LAST_SECOND: u64 = LINK_PATIENCE.as_secs() + 90;

impl Scene<'_> {
    /// Plays everything; people walk at their own pace beside it.
    pub async fn play(&self, service: &mut Child, about: &Description) -> anyhow::Result<Played> {
        let played = Rc::new(RefCell::new(Played::default()));
        let http = browser();
        let start = Instant::now();
        let bar = self.bar();
        let mut walks = Vec::new();
        for n in 0..self.people {
            let user: UserId = about.people[n as usize].parse()?;
            let socket = self.config.control.socket.clone();
            // A third of them come at once, in the middle: a burst.
            let at = if n % 3 == 0 {
                ARRIVALS / 3
            } else {
                ARRIVALS * n / self.people
            };
            let behaviour = behaviour(n);
            // One link is approved by somebody else.
            let who = if n == 4 {
                UserId(about.people[0].parse::<UserId>()?.0)
            } else {
                user
            };
            let (http, played) = (http.clone(), Rc::clone(&played));
            walks.push(tokio::task::spawn_local(async move {
                tokio::time::sleep_until(start + at).await;
                let visit = match link(socket.as_deref(), user, &played).await {
                    Some(link) => walk(&http, &link, who.0, behaviour).await.ok(),
                    None => None,
                };
                let mut played = played.borrow_mut();
                match visit {
                    Some(visit) => {
                        played.codes.extend(visit.codes);
                        played.denials += usize::from(visit.denied);
                    }
                    None => played.stuck += 1,
                }
            }));
        }
        let mut restarted = false;
        let mut counted = Counted::default();
        for second in 0_u64..=LAST_SECOND {
            tokio::time::sleep_until(start + Duration::from_secs(second)).await;
            if let Some(what) = self.incident(second, about, &played) {
                self.say(&bar, start, what);
            }
            if second == RESTART {
                self.say(&bar, start, "the service is killed");
                service.kill().await?;
                tokio::time::sleep(Duration::from_secs(2)).await;
                // Looked at last: Discord may still have been writing the answer to somebody who was gone.
                let on_the_way = account::on_the_way(self.config)?;
                played.borrow_mut().on_the_way = on_the_way.len();
                self.simulator.unrecorded(on_the_way);
                self.say(&bar, start, "the service is started again");
                service.start_again()?;
                restarted = true;
            }
            if service.has_ended() {
                played.borrow_mut().died = true;
            }
            // A relay that is too busy to tell has not come to an end.
            let told = self.relay.counts(&http).await;
            let waiting = told.as_ref().is_none_or(|told| told.waiting > 0);
            counted = told.unwrap_or(counted);
            let Counted {
                taken,
                posted,
                messages,
                ..
            } = counted;
            bar.set_position(posted);
            let progress = format!("{taken} redirects, {posted} posted in {messages} messages");
            if bar.is_hidden() && second % 5 == 0 {
                self.say(&bar, start, &progress);
            }
            bar.set_message(progress);
            if restarted && walks.iter().all(tokio::task::JoinHandle::is_finished) && !waiting {
                break;
            }
        }
        let unfinished = walks.iter().filter(|walk| !walk.is_finished());
        played.borrow_mut().stuck += unfinished.inspect(|walk| walk.abort()).count();
        bar.finish_and_clear();
        Ok(played.take())
    }

    /// The relay tells of a code that died there; its person follows the direct message that comes of it.
    pub async fn invite_anew(&self, about: &Description, played: &mut Played, start: Instant) -> anyhow::Result<()> {
        let bar = self.bar();
        self.say(&bar, start, "a code dies at the relay: its person is sent a fresh link");
        let user: UserId = about.people[self.people as usize].parse()?;
        let asked = RefCell::default();
        let Some(url) = link(self.config.control.socket.as_deref(), user, &asked).await else {
            return Ok(());
        };
        let url = url::Url::parse(&url)?;
        let state = url.query_pairs().find(|(name, _)| name == "state");
        let word = Redirect {
            time: SystemClock.now().as_secs(),
            result: Err(RELAY_EXPIRED.to_owned()),
            state: state.map(|(_, state)| state.into_owned()),
        };
        let key = self.secrets.relay_key.clone().context("a relay key")?;
        let bot: UserId = about.bot_id.parse()?;
        let webhook = about.lanes[0].webhook.id.parse()?;
        self.simulator
            .post(PostRequest::webhook(webhook, v1::encode(bot, &[word], &key)));
        played.dead += 1;
        let until = Instant::now() + MESSAGE_WITHIN;
        while Instant::now() < until {
            let messages = self.simulator.direct_messages(user.0);
            let button = messages.first().map(|m| &m["components"][0]["components"][0]["url"]);
            if let Some(fresh) = button.and_then(serde_json::Value::as_str) {
                let visit = walk(&browser(), fresh, user.0, Behaviour::Approve).await?;
                played.invited_anew = !visit.codes.is_empty();
                played.codes.extend(visit.codes);
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Makes happen what belongs to a second; says what.
    fn incident(&self, second: u64, about: &Description, played: &RefCell<Played>) -> Option<&'static str> {
        let faults = self.simulator.faults();
        let gateway = self.simulator.gateway();
        match second {
            2 => {
                let limited = Fault::RateLimited {
                    scope: Scope::User,
                    retry_after_ms: 1_500,
                };
                faults.add(FaultRule::on(Endpoint::Token, limited).times(1));
                Some("the token endpoint answers 429 once")
            }
            4 => {
                let bad_gateway = Fault::Status {
                    status: 502,
                    body: crate::simulator::FaultBody::Html,
                    retry_after: None,
                    after_work: false,
                };
                faults.add(FaultRule::on(Endpoint::Token, bad_gateway).times(1));
                Some("the token endpoint answers 502 once, with a page of HTML")
            }
            5 => {
                self.spoof(about, played);
                Some("codes are posted by a person, another bot, two other webhooks and with a forged MAC; and rubbish")
            }
            7 => {
                gateway.fault(GatewayFault::DropConnections);
                Some("the gateway connection drops")
            }
            8 => Some("a third of the people come at once"),
            10 => {
                gateway.fault(GatewayFault::Duplicate { count: 3 });
                Some("the gateway brings the next three events twice")
            }
            11 => {
                // The session is invalid and the gateway away: what is posted meanwhile is never replayed.
                gateway.fault(GatewayFault::Refuse { for_ms: 3_000 });
                gateway.fault(GatewayFault::Invalidate { resumable: false });
                gateway.fault(GatewayFault::DropConnections);
                Some("the session is invalid and the gateway away for 3 s: what is posted meanwhile is never replayed")
            }
            _ => None,
        }
    }

    /// Codes posted by a person, by another bot, through another webhook, with a wrong MAC; and rubbish.
    fn spoof(&self, about: &Description, played: &RefCell<Played>) {
        let id = |text: &str| text.parse::<u64>().unwrap_or_default();
        let lane = &about.lanes[0];
        let channel = id(&lane.channel_id);
        let bot = UserId(id(&about.bot_id));
        let key = self.secrets.relay_key.clone().unwrap_or_else(|| Key::new(*b""));
        let codes = self
            .simulator
            .mint_codes(&CodeRequest::of(id(&about.people[1])).times(5));
        let signed = |code: &String, key: &Key| {
            let time = SystemClock.now().as_secs();
            v1::encode(
                bot,
                &[Redirect {
                    time,
                    result: Ok(code.clone()),
                    state: None,
                }],
                key,
            )
        };
        let wrong_key = Key::new(*b"not the relay's key, not the relay's key");
        let strange = about.strange_webhook.as_ref().map_or(0, |w| id(&w.id));
        let posts = [
            PostRequest::new(
                channel,
                PostAuthor::Person(id(&about.people[2])),
                signed(&codes[0], &key),
            ),
            PostRequest::new(channel, PostAuthor::OtherBot, signed(&codes[1], &key)),
            PostRequest::webhook(strange, signed(&codes[2], &key)),
            PostRequest::webhook(id(&about.results.webhook.id), signed(&codes[3], &key)),
            PostRequest::webhook(id(&lane.webhook.id), signed(&codes[4], &wrong_key)),
            PostRequest::webhook(id(&lane.webhook.id), format!("<@{bot}>{{\"nonsense\":true}}")),
        ];
        for post in posts {
            self.simulator.post(post);
        }
        let mut played = played.borrow_mut();
        played.spoofs = codes;
        played.rubbish += 1;
    }

    /// Waits until the service has closed every code and denial that came back, and no token is alive.
    pub async fn wait_for_the_last(&self, patience: Duration, played: &Played) {
        let until = Instant::now() + patience;
        let expected = (played.codes.len() + played.denials + played.dead) as u64;
        let bar = self.bar();
        while Instant::now() < until {
            let closed = self.closed().await;
            let summary = self.simulator.summary();
            bar.set_position(closed);
            bar.set_message(format!(
                "{closed} of {expected} ended, {} tokens alive",
                summary.tokens_left
            ));
            if closed >= expected && summary.tokens_left == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        bar.finish_and_clear();
    }

    /// How many grants the service has closed, over its restart; results do not tell, for a second code of one consent
    /// that lost sends none.
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

    /// A line of the story, above the bar on a terminal, on stderr elsewhere.
    fn say(&self, bar: &ProgressBar, start: Instant, what: &str) {
        let line = format!("{:>3} s  {what}", start.elapsed().as_secs());
        match (self.quiet, bar.is_hidden()) {
            (true, _) => {}
            (false, true) => eprintln!("{line}"),
            (false, false) => bar.println(line),
        }
    }

    fn bar(&self) -> ProgressBar {
        if self.quiet {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{spinner} [{elapsed}] {wide_bar} {pos}/{len}  {msg}");
        let bar = ProgressBar::new(u64::from(self.people));
        match style {
            Ok(style) => bar.with_style(style),
            Err(_) => ProgressBar::hidden(),
        }
    }
}

/// The relay, as it tells of itself.
pub struct Edge {
    health: String,
}

/// What the relay has done.
#[derive(Default)]
struct Counted {
    taken: u64,
    posted: u64,
    messages: u64,
    waiting: u64,
}

impl Edge {
    /// The relay at an address.
    pub fn at(address: SocketAddr) -> Self {
        Self {
            health: format!("http://{address}/healthz"),
        }
    }

    async fn counts(&self, http: &reqwest::Client) -> Option<Counted> {
        let asked = async { http.get(&self.health).send().await?.json::<serde_json::Value>().await };
        let told = asked.await.ok()?;
        let number = |name: &str| told["counts"][name].as_u64().unwrap_or(0);
        Some(Counted {
            taken: number("accepted"),
            posted: number("posted"),
            messages: number("messages"),
            waiting: number("waiting"),
        })
    }
}

/// A link from the service, as any bot would ask for it: told to wait, it waits; not answered, it asks again.
async fn link(socket: Option<&Path>, user: UserId, played: &RefCell<Played>) -> Option<String> {
    let ask = Ask::Link(LinkRequest {
        user_id: user,
        purpose: None,
    });
    let until = Instant::now() + LINK_PATIENCE;
    let mut told = false;
    while Instant::now() < until {
        let answer = match ControlClient::new(socket?) {
            Ok(client) => client.ask(&ask).await,
            Err(nobody) => Err(nobody),
        };
        let wait = match answer {
            Ok(Ok(link)) => return link["url"].as_str().map(ToOwned::to_owned),
            Ok(Err(refusal)) => {
                if !std::mem::replace(&mut told, true) {
                    played.borrow_mut().told_to_wait += 1;
                }
                Duration::from_secs(refusal.retry_after.unwrap_or(1))
            }
            // It is being started again.
            Err(_) => Duration::from_millis(250),
        };
        tokio::time::sleep(wait).await;
    }
    None
}

/// What the n-th person does.
fn behaviour(n: u32) -> Behaviour {
    match n % 10 {
        3 => Behaviour::Deny,
        5 => Behaviour::Slow,
        7 => Behaviour::DoubleClick,
        9 => Behaviour::Reload,
        _ => Behaviour::Approve,
    }
}
