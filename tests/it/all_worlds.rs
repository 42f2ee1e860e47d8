//! The world from many seeds, and what is printed when one breaks a promise.
//!
//! It takes minutes of processor while most other tests wait for something. So its name comes first of all, which starts it
//! first, and it takes what the others leave.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::tally::{Tally, tell};
use crate::world::faults::Kind;
use crate::world::run::{Report, World};
use crate::world::script::script;

fn play(seed: u64) -> Report {
    let acts = script(&mut StdRng::seed_from_u64(seed ^ 0x5eed));
    World::new(seed, acts).play()
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[track_caller]
fn must_hold(seed: u64, report: &Report) {
    assert!(
        report.broken.is_empty(),
        "seed {seed} breaks {} promises; virtual time and promise:\n  {}\nagain, with the log: \
         CODEFERRY_SEED={seed} cargo test --locked --test it all_worlds -- --nocapture",
        report.broken.len(),
        report.broken.join("\n  ")
    );
}

#[test]
fn every_promise_holds_in_every_world() {
    if let Some(seed) = number("CODEFERRY_SEED") {
        let wanted: Targets = "world=info,codeferry=debug".parse().expect("directives");
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .without_time()
            .with_writer(std::io::stderr);
        let _ = tracing_subscriber::registry().with(wanted).with(lines).try_init();
        let report = play(seed);
        eprintln!("seed {seed}: {report:#?}");
        must_hold(seed, &report);
        return;
    }
    let slow = std::env::var_os("CODEFERRY_SLOW").is_some();
    let seeds = number("CODEFERRY_SEEDS").unwrap_or(if slow { 10_000 } else { 200 });
    let next = AtomicU64::new(0);
    let worker = || {
        // Of this thread alone, on Linux.
        rustix::process::nice(10).expect("less is always granted");
        let mut played = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return played;
            }
            let report = play(seed);
            if !report.broken.is_empty() {
                eprintln!("seed {seed} breaks a promise: {}", report.broken[0]);
            }
            played.push((seed, report));
        }
    };
    let played: Vec<(u64, Report)> = std::thread::scope(|scope| {
        let workers = [scope.spawn(worker), scope.spawn(worker)];
        workers
            .into_iter()
            .flat_map(|w| w.join().expect("a world ends"))
            .collect()
    });
    let mut table: BTreeMap<Kind, Tally> = BTreeMap::new();
    for (_, report) in &played {
        for (kind, tried) in &report.tried {
            let line = table.entry(*kind).or_default();
            line.tried += tried;
            line.survived += if report.broken.is_empty() { *tried } else { 0 };
            line.lost += report.sums.lost;
            line.twice += report.sums.twice;
            line.left_behind += report.sums.left_behind;
        }
    }
    for (kind, tally) in table {
        tell(kind.name(), tally);
    }
    let bad: Vec<u64> = played
        .iter()
        .filter(|(_, r)| !r.broken.is_empty())
        .map(|(s, _)| *s)
        .collect();
    eprintln!("{} of {} seeds break a promise: {bad:?}", bad.len(), played.len());
    for (seed, report) in &played {
        must_hold(*seed, report);
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [7, 8] {
        assert_eq!(play(seed).trace, play(seed).trace, "seed {seed}");
    }
}
