//! Plays one run: processes come and go on one virtual clock, over one store, in one world.

mod gateway;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::System;
use codeferry::actors::journal::message::{Operate, OutstandingWork};
use codeferry::actors::journal::view::{CountAll, Filter, List};
use codeferry::actors::pipeline::{Ended, Shutdown};
use codeferry::config::{Config, Environment, Secrets};
use codeferry::delivery::discord_webhook::DiscordWebhook;
use codeferry::grant::{Event, Outcome};
use codeferry::port::discord::GatewayNote;
use codeferry::secret::{AccessToken, ClientSecret, Key, Keys};
use codeferry::service::wiring::{self, Actors, Journalled};
use codeferry::store::{self, Committer, CommitterHandle, Store, StoreOptions, Sync};
use codeferry::time::{SharedClock, SteadyClock, Timestamp};
use futures_util::FutureExt;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use self::gateway::Gateway;
use super::discord::{Discord, KEY};
use super::faults::{Kind, Weather};
use super::invariants::{self, Sums};
use super::outside::Outside;
use super::places::{APPLICATION, App, BOT, Posts, RESULTS};
use super::script::{Act, LANES};
use super::watched::{AtCommit, View, Watched};

/// A little before a full hour: sealing keys change while it runs.
const START: Timestamp = Timestamp::from_secs(1_786_363_200 - 240);
/// Once people have stopped clicking and nothing fails any more, everything is done within this. What waits for a moment
/// waits longer by as much as the wall clock is stepped back.
const QUIET_WITHIN: Duration = Duration::from_hours(4);

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    pub trace: u64,
    pub tried: BTreeMap<Kind, u64>,
    pub broken: Vec<String>,
    pub outcomes: BTreeMap<Outcome, u64>,
    pub sums: Sums,
    /// From a code's message to its first presentation.
    pub longest_wait: Duration,
}

/// Why a process ended.
enum End {
    Died(Duration),
    Quiet,
}

/// One run in the making.
pub struct World {
    config: Config,
    secrets: Secrets,
    folder: tempfile::TempDir,
    outside: Outside,
    acts: Vec<(Duration, Act)>,
    next: usize,
    now: Timestamp,
    /// The wall clock minus Discord's, in milliseconds.
    offset_ms: i64,
    random: StdRng,
}

fn config(folder: &Path) -> Config {
    let results = RESULTS.1;
    let mut text = format!(
        "[discord]\napplication_id = {APPLICATION}\nredirect_uri = \"https://relay.example/callback\"\n\
         [[delivery]]\nname = \"app\"\nkind = \"jsonl\"\npath = \"unused\"\n\
         [[delivery]]\nname = \"people\"\nkind = \"discord_webhook\"\nwebhook_id = {results}\n\
         [reinvite]\nenabled = true\n"
    );
    for (channel, webhook) in LANES {
        text += "[[intake.lanes]]\n";
        text += &[("channel_id", channel.0), ("webhook_id", webhook.0)]
            .map(|(key, id)| format!("{key} = {id}\n"))
            .concat();
    }
    let nothing: Environment = [("", ""); 0].into();
    Config::from_text(&text, &folder.join("codeferry.toml"), &nothing).expect("a good configuration")
}

/// Every key is one key, and nothing here is secret.
pub fn secrets() -> Secrets {
    let keys = || Keys::from(&Key::new(KEY));
    Secrets {
        bot_token: None,
        client_secret: ClientSecret::new("unused"),
        relay_keys: Some(keys()),
        state_keys: keys(),
        pkce_keys: keys(),
        callback_secret: None,
        webhook_tokens: BTreeMap::new(),
        control_token: None,
        metrics_token: None,
    }
}

impl World {
    /// A world in which these things will happen, and chance comes from this seed.
    pub fn new(seed: u64, acts: Vec<(Duration, Act)>) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let folder = tempfile::tempdir().expect("a folder");
        Self {
            config: config(folder.path()),
            secrets: secrets(),
            folder,
            outside: Outside(Rc::new(RefCell::new(Discord::new(
                StdRng::from_rng(&mut random),
                START,
            )))),
            acts,
            next: 0,
            now: START,
            offset_ms: 0,
            random,
        }
    }

    /// Plays it to its end.
    pub fn play(mut self) -> Report {
        loop {
            let system = System::with_tokio_rt(|| {
                let mut builder = tokio::runtime::Builder::new_current_thread();
                builder.enable_time().start_paused(true).build().expect("a runtime")
            });
            let end = system.block_on(async {
                let end = self.process().await;
                // Calls under way end when their process does, at this moment; outside of the runtime no clock runs.
                self.outside.with(|d| {
                    self.now = d.now();
                    d.stand_still_at(self.now);
                    d.bury();
                });
                end
            });
            drop(system);
            match end {
                End::Died(down) => self.pass(down),
                End::Quiet => break,
            }
        }
        let outside = self.outside.clone();
        outside.with(|d| {
            let sums = invariants::judge(d);
            Report {
                trace: d.trace(),
                tried: d.tried.clone(),
                broken: d.broken.clone(),
                outcomes: invariants::outcomes(d),
                sums,
                longest_wait: d.longest_wait,
            }
        })
    }

    /// Time passes while no process runs.
    fn pass(&mut self, down: Duration) {
        let until = self.now + down;
        while let Some((at, act)) = self.acts.get(self.next).filter(|(at, _)| START + *at <= until).cloned() {
            self.next += 1;
            self.outside.with(|d| d.stand_still_at(START + at));
            match act {
                Act::Post(post) => drop(self.outside.with(|d| post.happen(d, START + at))),
                Act::Weather(weather) => self.outside.with(|d| d.weather = weather),
                Act::Step(seconds) => self.step(seconds),
                Act::Kill { .. } | Act::AtCommit { .. } | Act::Drain { .. } => {}
            }
        }
        self.now = until;
        self.outside.with(|d| d.stand_still_at(until));
    }

    fn step(&mut self, seconds: i64) {
        self.offset_ms += seconds * 1_000;
        self.outside.with(|d| {
            d.tally(Kind::ClockStep);
            d.note(format!("the wall clock is stepped by {seconds} s"));
        });
    }

    /// One process, from its start to its end.
    async fn process(&mut self) -> End {
        let wall = SteadyClock::starting_at(Timestamp::from_millis(self.now.as_millis() + self.offset_ms));
        let outside = self.outside.clone();
        outside.with(|d| {
            d.follow(SteadyClock::starting_at(self.now));
            d.view.with(|view| {
                (view.dead, view.failed) = (false, false);
                view.died = Arc::default();
            });
            d.note("a process starts");
        });
        let (store, actors, notes) = self.start(&wall);
        let gateway = Gateway {
            outside: outside.clone(),
            notes,
        };
        gateway.connect();
        // As a service does: the answer also tells how far the wall clock is off.
        let endpoint = Rc::clone(&actors.endpoint);
        tokio::task::spawn_local(async move {
            let nobodys = AccessToken::new("nobody's");
            drop(AssertUnwindSafe(endpoint.revoke(&nobodys)).catch_unwind().await);
        });
        let died = outside.with(|d| d.view.with(|view| Arc::clone(&view.died)));
        let mut ended = actors.ended.clone();
        let mut planned = Duration::from_secs(1);
        while let Some((at, act)) = self.acts.get(self.next).cloned() {
            let wait = (START + at).since(outside.with(|d| d.now()));
            tokio::select! {
                biased;
                () = died.notified() => return End::Died(planned),
                () = by_itself(&mut ended) => {
                    sleep(Duration::from_secs(4)).await;
                    return End::Died(planned);
                }
                () = sleep(wait) => {}
            }
            self.next += 1;
            outside.with(Discord::look_around);
            match act {
                Act::Post(post) => {
                    let messages = outside.with(|d| post.happen(d, d.now()));
                    for message in messages {
                        gateway.tell(message);
                    }
                }
                Act::Weather(weather) => outside.with(|d| d.weather = weather),
                Act::Step(seconds) => {
                    self.step(seconds);
                    wall.step(seconds * 1_000);
                }
                Act::Kill { down } => {
                    outside.with(|d| {
                        d.tally(Kind::Kill);
                        d.note("a kill");
                        d.view.with(|view| view.dead = true);
                    });
                    return End::Died(down);
                }
                Act::AtCommit { commits, what, down } => {
                    planned = down;
                    let kind = match what {
                        AtCommit::KillBefore => Kind::KillBeforeCommit,
                        AtCommit::KillAfter => Kind::KillAfterCommit,
                        AtCommit::Full => Kind::DiskFull,
                    };
                    outside.with(|d| {
                        d.tally(kind);
                        d.note(kind.name());
                        d.view.with(|view| view.plan(commits, what));
                    });
                }
                Act::Drain { down } => {
                    outside.with(|d| {
                        d.tally(Kind::Drain);
                        d.note("a drain");
                    });
                    let drained = timeout(self.config.shutdown.grace, actors.pipeline.send(Shutdown)).await;
                    outside.with(|d| d.note(format!("drained: {}", matches!(drained, Ok(Ok(Ok(())))))));
                    return End::Died(down);
                }
            }
        }
        tokio::select! {
            biased;
            () = died.notified() => End::Died(planned),
            () = by_itself(&mut ended) => End::Died(planned),
            () = self.settle(&store, &actors, &wall) => End::Quiet,
        }
    }

    fn start(&mut self, wall: &Arc<SteadyClock>) -> (CommitterHandle, Actors, mpsc::Sender<GatewayNote>) {
        let random = StdRng::from_rng(&mut self.random);
        service(
            &self.config,
            &self.secrets,
            self.folder.path(),
            &self.outside,
            wall,
            random,
        )
    }

    /// Nothing fails any more: waits until nothing is left to do, and looks at what is left.
    async fn settle(&mut self, store: &CommitterHandle, actors: &Actors, wall: &Arc<SteadyClock>) {
        let outside = self.outside.clone();
        outside.with(|d| {
            d.weather = Weather::default();
            d.view.with(View::plan_nothing);
        });
        if self.offset_ms != 0 {
            wall.step(-self.offset_ms);
            self.step(-self.offset_ms / 1_000);
        }
        let journal = &actors.journal;
        let began = outside.with(|d| d.now());
        loop {
            // What a sink refused waits for an operator.
            let parked = Filter {
                parked: true,
                ..Filter::default()
            };
            for grant in journal.send(List(parked)).await.expect("it lives").grants {
                let event = Event::Requeued { sink: None };
                let _ = journal.send(Operate { grant: grant.id, event }).await;
            }
            sleep(Duration::from_secs(5)).await;
            outside.with(Discord::look_around);
            // A store that failed a moment ago ends the process, not this loop.
            let Ok(stats) = journal.send(CountAll).await.expect("it lives") else {
                continue;
            };
            let passed = outside.with(|d| d.now()).since(began);
            // A message that cannot be read stays until its code is dead.
            let quiet = stats.open.is_empty() && stats.source_messages == 0 && passed > Duration::from_secs(130);
            if quiet || passed > QUIET_WITHIN {
                break;
            }
        }
        let left = journal.send(OutstandingWork).await.expect("it lives");
        if (left.tokens, left.steps, left.indexed) != (0, 0, 0) {
            outside.with(|d| d.breaks(format!("in memory are left: {left:?}")));
        }
        let problems = store.verify().await.expect("it answers");
        if !problems.is_empty() {
            outside.with(|d| d.breaks(format!("the store does not verify: {problems:?}")));
        }
        let drained = timeout(self.config.shutdown.grace, actors.pipeline.send(Shutdown)).await;
        if !matches!(drained, Ok(Ok(Ok(())))) {
            outside.with(|d| d.breaks(format!("a quiet service does not drain: {drained:?}")));
        }
    }
}

/// A service with all its real actors, over the store in a folder and with this outside.
pub fn service(
    config: &Config,
    secrets: &Secrets,
    folder: &Path,
    outside: &Outside,
    wall: &Arc<SteadyClock>,
    random: StdRng,
) -> (CommitterHandle, Actors, mpsc::Sender<GatewayNote>) {
    let options = StoreOptions {
        cache_mb: 1,
        sync: Sync::Counted,
        reserve_bytes: 4_096,
        log_bytes: crate::store::test_support::LOG_BYTES,
        closed_group: 4,
        ..StoreOptions::new(folder.join("journal"), wall.clone())
    };
    let opened = store::open(&options).expect("it opens");
    let view = outside.with(|d| d.view.clone());
    let mut loaded: Vec<_> = opened.loaded.grants.iter().map(|g| g.id).collect();
    loaded.sort_unstable();
    let known: Vec<_> = view.with(|view| view.open.keys().copied().collect());
    if loaded != known {
        outside.with(|d| d.breaks(format!("{} grants were open, {} are there", known.len(), loaded.len())));
    }
    let store: Box<dyn Store> = Box::new(Watched {
        inner: opened.store,
        view,
    });
    let (store, driver) = Committer::driven(store);
    let disk = outside.clone();
    tokio::task::spawn_local(driver.serve(move || disk.with(Discord::commit_takes)));
    let (notes, noted) = mpsc::channel(4_096);
    let people = DiscordWebhook::new(Rc::new(Posts(outside.clone())), RESULTS.0, RESULTS.1);
    let journalled = Journalled {
        store: store.clone(),
        loaded: opened.loaded,
        code_hash_key: Key::new(KEY),
    };
    let wall: SharedClock = wall.clone();
    let mut core = wiring::Core::new(config, secrets, journalled, &wall, random, None);
    let actors = wiring::wire(
        config,
        secrets,
        &mut core,
        wiring::Outside {
            endpoint: Rc::new(outside.clone()),
            server: Rc::new(outside.clone()),
            bot: Rc::new(outside.clone()),
            contact: Rc::new(outside.clone()),
            uses: None,
            bot_id: BOT,
            sinks: vec![
                ("app".to_owned(), Rc::new(App(outside.clone()))),
                ("people".to_owned(), Rc::new(people)),
            ],
            notes: noted,
        },
        Rc::new(|| {}),
    );
    (store, actors, notes)
}

/// Waits until the service ends by itself. The value is dropped at once, because it holds a lock.
async fn by_itself(ended: &mut watch::Receiver<Option<Ended>>) {
    drop(ended.wait_for(Option::is_some).await);
}
