//! One launch: a service, a relay, people.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use actix::System;
use codeferry::actors::journal::view::CountAll;
use codeferry::config::{Config, Environment};
use codeferry::time::{SteadyClock, Timestamp};
use futures_util::future::join_all;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::people::{Crowd, Person};
use super::relays::{Channel, Way as In};
use super::{Relay, Way};
use crate::world::discord::Discord;
use crate::world::outside::Outside;
use crate::world::places::{APPLICATION, THIRD};
use crate::world::run::{secrets, service};
use crate::world::script::LANES;

const START: Timestamp = Timestamp::from_secs(1_786_363_200);
/// What is under way when the last person is done ends within this.
const ENDS_WITHIN: Duration = Duration::from_mins(10);

/// What came of a launch.
#[derive(Debug, Default)]
pub struct Came {
    /// Links that were handed out.
    pub links: u32,
    /// Of these, approved.
    pub approved: u32,
    /// Of these, exchanged for a token that the service recorded.
    pub completed: u32,
    /// Approved, and dead.
    pub lost: u32,
    /// People who were told to wait at least once.
    pub told: u32,
    /// People who did not want to wait any longer.
    pub gave_up: u32,
    /// From the first click to the link.
    pub longest_wait: Duration,
    /// Messages that one channel got in any minute.
    pub worst_minute: usize,
    /// Promises of the world that were broken.
    pub broken: Vec<String>,
}

impl Came {
    pub fn row(&self, people: u32) -> String {
        let share = |n: u32, of: u32| match of {
            0 => "-".to_owned(),
            of => format!("{:.1} %", f64::from(n) * 100.0 / f64::from(of)),
        };
        format!(
            "{:>7} {:>9} {:>10} {:>6} {:>13} {:>10} s {:>10}",
            self.links,
            self.approved,
            share(self.completed, self.approved),
            self.lost,
            share(self.told, people),
            self.longest_wait.as_secs(),
            share(self.gave_up, people),
        )
    }
}

fn config(way: Way, folder: &Path) -> Config {
    let (accept, mode) = match way.relay {
        Relay::Classic => ("v0", "user_id"),
        Relay::Hookdeck | Relay::Own => ("v1", "signed"),
    };
    let mut text = format!(
        "[discord]\napplication_id = {APPLICATION}\nredirect_uri = \"https://relay.example/callback\"\n\
         [state]\nmode = \"{mode}\"\npurposes = [\"default\", \"other\"]\n[intake]\naccept = [\"{accept}\"]\n\
         [[delivery]]\nname = \"app\"\nkind = \"jsonl\"\npath = \"unused\"\n"
    );
    if mode == "signed" {
        text.push_str("[reinvite]\nenabled = true\n");
    }
    for (channel, webhook) in lanes(way) {
        writeln!(
            text,
            "[[intake.lanes]]\nchannel_id = {channel}\nwebhook_id = {webhook}\npack = {}",
            way.pack
        )
        .expect("text");
    }
    let nothing: Environment = [("", ""); 0].into();
    Config::from_text(&text, &folder.join("codeferry.toml"), &nothing).expect("a good configuration")
}

fn lanes(way: Way) -> impl Iterator<Item = (codeferry::ids::ChannelId, codeferry::ids::WebhookId)> {
    LANES.into_iter().chain([THIRD]).take(way.lanes)
}

/// Ordinary people, who come evenly.
pub fn people(crowd: &Rc<Crowd>, random: &mut StdRng, people: u32, over: Duration) -> Vec<JoinHandle<()>> {
    let walk = |n: u32| {
        let person = Person::new(u64::from(n), over * n / people, random);
        tokio::task::spawn_local(Rc::clone(crowd).walk(person))
    };
    (0..people).map(walk).collect()
}

/// Plays it to its end.
pub fn play(way: Way, walks: impl FnOnce(&Rc<Crowd>, &mut StdRng) -> Vec<JoinHandle<()>>) -> Came {
    let system = System::with_tokio_rt(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().expect("a runtime")
    });
    system.block_on(run(way, walks))
}

async fn run(way: Way, walks: impl FnOnce(&Rc<Crowd>, &mut StdRng) -> Vec<JoinHandle<()>>) -> Came {
    let mut random = StdRng::seed_from_u64(7);
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(way, folder.path());
    let wall = SteadyClock::starting_at(START);
    let outside = Outside(Rc::new(RefCell::new(Discord::new(
        StdRng::from_rng(&mut random),
        START,
    ))));
    outside.with(|d| d.follow(SteadyClock::starting_at(START)));
    let service_random = StdRng::from_rng(&mut random);
    let (store, actors, notes) = service(&config, &secrets(), folder.path(), &outside, &wall, service_random);
    let channel = Rc::new(Channel::new(outside.clone(), notes, lanes(way).collect()));
    let relay = In::open(way, &config, folder.path(), &wall, &channel);
    let came = Rc::new(RefCell::new(Came::default()));
    let crowd = Rc::new(Crowd {
        gated: way.relay != Relay::Classic,
        journal: actors.journal.clone(),
        outside: outside.clone(),
        relay,
        came: Rc::clone(&came),
    });
    // Listener and gateway are there before anybody comes.
    sleep(Duration::from_secs(20)).await;
    for walk in join_all(walks(&crowd, &mut random)).await {
        walk.expect("nobody stumbles");
    }
    let began = wall_now(&outside);
    loop {
        sleep(Duration::from_secs(5)).await;
        let stats = actors
            .journal
            .send(CountAll)
            .await
            .expect("it lives")
            .expect("it works");
        let passed = wall_now(&outside).since(began);
        if (stats.open.is_empty() && crowd.relay.waiting() == 0 && passed > Duration::from_mins(2))
            || passed > ENDS_WITHIN
        {
            break;
        }
    }
    let problems = store.verify().await.expect("it answers");
    assert!(problems.is_empty(), "{problems:?}");
    let outcomes = actors
        .journal
        .send(CountAll)
        .await
        .expect("it lives")
        .expect("it works");
    let outcomes: BTreeMap<String, u64> = outcomes.since_start.unwrap_or_default();
    let mut came = came.take();
    came.completed = u32::try_from(outcomes.get("completed").copied().unwrap_or(0)).expect("few");
    came.lost = came.approved.saturating_sub(came.completed);
    came.worst_minute = channel.worst_minute();
    came.broken = outside.with(|d| {
        d.look_around();
        std::mem::take(&mut d.broken)
    });
    came
}

fn wall_now(outside: &Outside) -> Timestamp {
    outside.with(|d| d.now())
}
