//! A launch over real sockets: a running service, a running relay, the embedded Discord with Discord's limits, and people
//! who ask for links over the control interface. `tests/it/world/launch` plays the same in virtual time, longer and over
//! other relays; here nothing is played but Discord and the browsers.
//!
//! `just launch` plays the whole minute; the normal run plays ten seconds of it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use codeferry::control::client::ControlClient;
use codeferry::control::{Ask, LinkRequest};
use codeferry::ids::UserId;
use codeferry::time::{Clock as _, SystemClock, Timestamp};
use reqwest::header::{CONTENT_TYPE, LOCATION};
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use super::test_support::{Edge, client};
use crate::patience::wait;
use crate::service::test_support::PERSON;

/// How many come, evenly spread, within how long.
struct Load {
    people: u64,
    over: Duration,
}

const MINUTE: Load = Load {
    people: 300,
    over: Duration::from_mins(1),
};
/// The first ten seconds of it.
const SHARE: Load = Load {
    people: 50,
    over: Duration::from_secs(10),
};

/// How long a user keeps asking for a link.
const PATIENCE: Duration = Duration::from_mins(2);
/// A code lives so long; what has not ended a while after the last one came never will.
const LAST: Duration = Duration::from_secs(150);

/// What people met.
#[derive(Default)]
struct Met {
    links: usize,
    told: usize,
    /// When each who was shown the page of success had opened the callback.
    came: BTreeMap<u64, Timestamp>,
    /// Why a user did not get that far.
    stuck: Vec<String>,
}

impl Met {
    /// The 99th hundredth of the seconds from people's callbacks to something.
    fn p99(&self, until: impl Iterator<Item = (u64, Timestamp)>) -> f64 {
        let took = until.filter_map(|(person, at)| Some(at.since(*self.came.get(&person)?)));
        let mut took: Vec<Duration> = took.collect();
        took.sort_unstable();
        let nth = (took.len() * 99).div_ceil(100).saturating_sub(1);
        took.get(nth).map_or(f64::NAN, Duration::as_secs_f64)
    }
}

/// Plays a load over one lane and holds what is promised against it.
fn launch(load: &Load) {
    let edge = Edge::with_limits(1, "");
    let file = std::fs::read_to_string(edge.site.file()).expect("a configuration");
    // The relay packs 18 codes into a message by default; the gate must know.
    let packed = file.replacen("[[intake.lanes]]\n", "[[intake.lanes]]\npack = 18\n", 1);
    assert_ne!(packed, file);
    std::fs::write(edge.site.file(), packed).expect("written");
    let relay = edge.relay();
    let service = edge.site.run_ready();
    let met = edge.runtime.block_on(everybody(&edge, load));

    let came = met.came.len();
    let settled = wait(LAST, || {
        edge.site.results().len() >= came && edge.site.simulator.summary().tokens_left == 0
    });
    let completed = completed(&edge);
    let (summary, ledger) = (edge.site.simulator.summary(), edge.site.simulator.ledger());
    let presented = ledger.codes.iter().filter_map(|code| {
        let first = code.presented.first()?.at_us;
        Some((code.user_id, Timestamp::from_millis(first / 1_000)))
    });
    let title = format!("{} people within {} s, over sockets", load.people, load.over.as_secs());
    println!(
        "\n{title}\n{:>6} {:>6} {:>13} {:>10} {:>5} {:>9} {:>16} {:>16}\n{:>6} {:>6} {:>13} {:>10} {:>5} {:>9} {:>14.1} s {:>14.1} s",
        "people",
        "links",
        "told to wait",
        "completed",
        "lost",
        "messages",
        "p99 to presented",
        "p99 to completed",
        load.people,
        met.links,
        met.told,
        completed.len(),
        came.saturating_sub(completed.len()),
        ledger.posts.len(),
        met.p99(presented),
        met.p99(completed.iter().map(|(person, at)| (*person, *at))),
    );

    let about = format!("{:?}, {summary:?}, {:?}", edge.counts(), ledger.answers);
    assert_eq!(met.stuck, Vec::<String>::new(), "{about}");
    assert!(settled, "not everything ended: {about}\n{}", service.log());
    let everybody: Vec<u64> = (PERSON..PERSON + load.people).collect();
    assert_eq!(met.links, everybody.len(), "{about}");
    assert_eq!(completed.keys().copied().collect::<Vec<_>>(), everybody, "{about}");
    assert_eq!(edge.site.results().len(), everybody.len(), "{about}");
    assert_eq!((summary.presented_twice, summary.tokens_left), (0, 0), "{about}");
    // Discord's limits are on: a client that overshoots one gets a 429.
    let refused: Vec<_> = ledger
        .answers
        .iter()
        .filter(|(_, by_status)| by_status.contains_key(&429))
        .collect();
    assert!(refused.is_empty() && summary.worst_minute <= 30, "{about}");
    service.drain();
    relay.drain();
}

/// Lets everybody come in their turn, and waits for the last.
async fn everybody(edge: &Edge, load: &Load) -> Met {
    let met = Rc::new(RefCell::new(Met::default()));
    let socket = ControlClient::new(&edge.site.path("data/control.sock")).expect("the service listens");
    let http = client();
    let start = Instant::now();
    let people = (0..load.people).map(|n| {
        let at = start + load.over.mul_f64(n as f64 / load.people as f64);
        // 1 to 6 s: so the callbacks come in another order than the people.
        let thinks = Duration::from_millis(1_000 + n * 7_919 % 5_000);
        let (met, socket, http) = (Rc::clone(&met), &socket, &http);
        async move {
            sleep_until(at).await;
            if let Err(why) = visit(socket, http, PERSON + n, thinks, &met).await {
                met.borrow_mut().stuck.push(format!("person {n}: {why}"));
            }
        }
    });
    futures_util::future::join_all(people).await;
    met.take()
}

/// One person from the wish for a link to the relay's page.
async fn visit(
    socket: &ControlClient,
    http: &reqwest::Client,
    person: u64,
    thinks: Duration,
    met: &RefCell<Met>,
) -> Result<(), String> {
    let link = link(socket, person, met).await?;
    met.borrow_mut().links += 1;
    let broken = |what: &'static str| move |error: reqwest::Error| format!("{what}: {error}");
    let page = http.get(&link).send().await.map_err(broken("the consent page"))?;
    if page.status() != 200 {
        return Err(format!("the consent page answers {}", page.status()));
    }
    sleep(thinks).await;
    let approval = http
        .post(&link)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(format!("user_id={person}&action=approve"));
    let approved = approval.send().await.map_err(broken("the approval"))?;
    let back = approved.headers().get(LOCATION).and_then(|l| l.to_str().ok());
    let back = back.ok_or("Discord sends nobody back")?;
    let at = SystemClock.now();
    let answer = http.get(back).send().await.map_err(broken("the relay"))?;
    if answer.status() != 200 {
        return Err(format!("the relay answers {}", answer.status()));
    }
    met.borrow_mut().came.insert(person, at);
    Ok(())
}

/// A link from `POST /v1/links`, when there is room for it.
async fn link(socket: &ControlClient, person: u64, met: &RefCell<Met>) -> Result<String, String> {
    let ask = Ask::Link(LinkRequest {
        user_id: UserId(person),
        purpose: None,
    });
    let until = Instant::now() + PATIENCE;
    let mut told = false;
    while Instant::now() < until {
        match socket.ask(&ask).await.map_err(|nobody| nobody.to_string())? {
            Ok(link) => return link["url"].as_str().map(ToOwned::to_owned).ok_or("no URL".to_owned()),
            Err(refusal) => {
                let after = refusal.retry_after.ok_or_else(|| refusal.to_string())?;
                met.borrow_mut().told += usize::from(!std::mem::replace(&mut told, true));
                sleep(Duration::from_secs(after)).await;
            }
        }
    }
    Err("no link within two minutes".to_owned())
}

/// Who completed, and when.
fn completed(edge: &Edge) -> BTreeMap<u64, Timestamp> {
    let results = edge.site.results().into_iter();
    let completed = results.filter(|r| r["type"] == "authorization.completed");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    completed
        .map(|r| {
            let settled = humantime::parse_rfc3339(&text(&r["settled_at"])).expect("a time");
            (text(&r["state"]["user_id"]).parse().expect("an id"), settled.into())
        })
        .collect()
}

#[test]
fn whoever_is_handed_a_link_over_sockets_and_approves_completes() {
    let slow = std::env::var_os("CODEFERRY_SLOW").is_some();
    launch(if slow { &MINUTE } else { &SHARE });
}
