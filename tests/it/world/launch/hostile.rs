//! Hostile accounts beside honest people, in virtual time. They ask for as many links as they can get, hold them, hoard
//! them, come early, late or never, deny, and send made-up codes, long ones too. Every honest person must get a link when
//! they were told to come back, and complete.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use codeferry::actors::journal::message::Mint;
use codeferry::ids::UserId;
use codeferry::intake::mint::{Link, Wanted};
use codeferry::port::callback_intake::CallbackAnswer;
use codeferry::port::contact::NoLink;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep};
use url::Url;

use super::people::Crowd;
use super::play::play;
use super::{Relay, Way};
use crate::tally::{Tally, tell};
use crate::world::script::person;

const HOSTILE: u64 = 50;
/// Honest people come within this; the attack goes on until the last of them is done.
const OVER: Duration = Duration::from_mins(10);

/// What came of the honest people.
#[derive(Default)]
struct Met {
    left: Cell<u64>,
    approved: RefCell<BTreeSet<String>>,
    broken: RefCell<Vec<String>>,
    told: Cell<u32>,
    longest_wait: Cell<Duration>,
}

fn state_of(link: &Link) -> String {
    let url = Url::parse(&link.url).expect("a URL");
    let state = url.query_pairs().find(|(name, _)| name == "state");
    state.expect("a state").1.into_owned()
}

async fn ask(crowd: &Crowd, user: UserId, purpose: u8) -> Result<Link, Duration> {
    let wanted = Wanted {
        user,
        purpose,
        again: false,
    };
    match crowd.journal.send(Mint(wanted)).await.expect("it lives") {
        Ok(link) => Ok(link),
        Err(NoLink::Later(after)) => Err(after),
        Err(refused) => panic!("{refused}"),
    }
}

/// Asks, comes back when told to, approves within seconds.
async fn honest(crowd: Rc<Crowd>, met: Rc<Met>, n: u64, mut random: StdRng) {
    let user = person(n);
    sleep(OVER.mul_f64(random.random())).await;
    let asked = Instant::now();
    let link = match ask(&crowd, user, 0).await {
        Ok(link) => Ok(link),
        Err(after) => {
            met.told.set(met.told.get() + 1);
            sleep(after + Duration::from_millis(random.random_range(0..20_000))).await;
            ask(&crowd, user, 0).await
        }
    };
    met.longest_wait.set(met.longest_wait.get().max(asked.elapsed()));
    match link {
        Ok(link) => {
            let state = state_of(&link);
            sleep(Duration::from_millis(random.random_range(2_000..15_000))).await;
            let code = crowd.outside.with(|d| {
                let now = d.now();
                d.approve(user, state.clone(), true, now)
            });
            let answer = crowd.relay.redirect(format!("code={code}&state={state}")).await;
            if answer != CallbackAnswer::Safe {
                met.broken.borrow_mut().push(format!("{user} was answered {answer:?}"));
            }
            met.approved.borrow_mut().insert(code);
        }
        Err(after) => {
            let broken = format!("{user} came back when told to, and was told {after:?}");
            met.broken.borrow_mut().push(broken);
        }
    }
    met.left.set(met.left.get() - 1);
}

/// What hostile accounts do with their links: all of it, floods of made-up codes, or codes hoarded until links end.
const ABUSES: [Range<u32>; 3] = [0..6, 1..2, 2..4];

/// What a hostile account does with a link.
async fn abuse(crowd: &Crowd, user: UserId, link: &Link, does: u32) {
    let state = state_of(link);
    let ends = link.expires_at.expect("it expires");
    let left = ends.since(crowd.outside.with(|d| d.now()));
    let made_up = |letters| crowd.outside.with(|d| d.make_up(user, state.clone(), letters));
    let send = async |result: String| {
        crowd.relay.redirect(format!("{result}&state={state}")).await;
    };
    match does {
        // Held, for nothing.
        0 => {}
        1 => {
            for letters in [17, 17, 512, 30] {
                send(format!("code={}", made_up(letters))).await;
            }
        }
        // Hoarded, so that what many have comes at once, as late as it counts, or later.
        2 => {
            sleep(left + Duration::from_secs(14)).await;
            send(format!("code={}", made_up(30))).await;
        }
        3 => {
            sleep(left + Duration::from_secs(90)).await;
            for _ in 0..4 {
                send(format!("code={}", made_up(512))).await;
            }
        }
        4 => {
            send("error=access_denied".to_owned()).await;
            for letters in [30, 512] {
                send(format!("code={}", made_up(letters))).await;
            }
        }
        // Approved, and the state used for more.
        _ => {
            let code = crowd.outside.with(|d| {
                let now = d.now();
                d.approve(user, state.clone(), true, now)
            });
            send(format!("code={code}")).await;
            for error in ["access_denied", "server_error", "other"] {
                send(format!("error={error}")).await;
            }
        }
    }
}

/// Asks for whatever it can get until the last honest person is done.
async fn hostile(crowd: Rc<Crowd>, met: Rc<Met>, n: u64, abuses: Range<u32>, mut random: StdRng) {
    let user = person(1_000 + n);
    let mut links = BTreeSet::new();
    let mut under_way = Vec::new();
    let mut first = if abuses.contains(&0) { 3 } else { 0 };
    while met.left.get() > 0 {
        let wait = match ask(&crowd, user, random.random_range(0..2)).await {
            Ok(link) => {
                if links.insert(link.url.clone()) {
                    // The first ones are held, so that nothing is free when the first honest people come.
                    if first > 0 {
                        first -= 1;
                        continue;
                    }
                    let (crowd, does) = (Rc::clone(&crowd), random.random_range(abuses.clone()));
                    under_way.push(spawn_local(async move { abuse(&crowd, user, &link, does).await }));
                }
                Duration::from_secs(2)
            }
            // Early, in time, in the last moment, or when it has lapsed.
            Err(after) => match random.random_range(0..4) {
                0 => Duration::from_secs(2),
                1 => after.min(OVER),
                2 => (after + Duration::from_secs(29)).min(OVER),
                _ => (after + Duration::from_secs(31)).min(OVER),
            },
        };
        let until = Instant::now() + wait;
        while Instant::now() < until && met.left.get() > 0 {
            sleep(Duration::from_secs(1)).await;
        }
    }
    for abuse in under_way {
        abuse.await.expect("it does not stumble");
    }
}

fn beside_hostile_accounts(people: u64, pack: u8, abuses: &Range<u32>) {
    let way = Way {
        name: "own relay, one lane",
        relay: Relay::Own,
        lanes: 1,
        pack,
    };
    let met = Rc::new(Met::default());
    met.left.set(people);
    let consumed = Rc::new(Cell::new(0));
    let came = play(way, |crowd, random| {
        let mut all: Vec<JoinHandle<()>> = Vec::new();
        for n in 0..HOSTILE {
            let (crowd, met, random) = (Rc::clone(crowd), Rc::clone(&met), StdRng::from_rng(random));
            all.push(spawn_local(hostile(crowd, met, n, abuses.clone(), random)));
        }
        for n in 0..people {
            all.push(spawn_local(honest(
                Rc::clone(crowd),
                Rc::clone(&met),
                n,
                StdRng::from_rng(random),
            )));
        }
        let (outside, met, consumed) = (crowd.outside.clone(), Rc::clone(&met), Rc::clone(&consumed));
        all.push(spawn_local(async move {
            while met.left.get() > 0 {
                sleep(Duration::from_secs(1)).await;
            }
            // Whatever was approved is exchanged, or dead, by now.
            sleep(Duration::from_secs(100)).await;
            let exchanged = |code: &String| outside.with(|d| d.codes[code].consumed);
            let exchanged = met.approved.borrow().iter().filter(|code| exchanged(code)).count();
            consumed.set(u64::try_from(exchanged).expect("few"));
        }));
        all
    });
    let (told, waited) = (met.told.get(), met.longest_wait.get());
    println!(
        "{people} honest, {HOSTILE} hostile ({abuses:?}), pack {pack}: {told} told to wait, {} s at most; {} completed",
        waited.as_secs(),
        consumed.get()
    );
    let completed = consumed.get();
    tell(
        "hostile accounts",
        Tally {
            tried: people,
            survived: completed,
            lost: people - completed,
            ..Tally::default()
        },
    );
    assert_eq!(*met.broken.borrow(), Vec::<String>::new());
    assert_eq!((completed, came.broken), (people, Vec::new()), "of {people}");
    assert!(
        came.worst_minute <= 30,
        "{} messages within a minute",
        came.worst_minute
    );
}

#[test]
fn three_hundred_honest_people_complete_beside_fifty_hostile_accounts() {
    for abuses in &ABUSES {
        beside_hostile_accounts(300, 18, abuses);
    }
}

#[test]
fn sixty_honest_people_complete_beside_fifty_hostile_accounts_in_a_lane_of_one_code_a_message() {
    for abuses in &ABUSES {
        beside_hostile_accounts(60, 1, abuses);
    }
}
