//! The Worker's budget beside the relay's: the same moments, whatever happens.

use std::time::Duration;

use codeferry::rate::lane_budget::LaneBudget;
use codeferry::rate::limits::WebhookLimit;
use codeferry::rate::moment::Moment;
use codeferry::time::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::conformance::engine::Engine;

/// The limits are counted in fractions of a millisecond in one place and in nanoseconds in the other.
const ROUNDING: u64 = 3;

struct Both {
    engine: Engine,
    theirs: LaneBudget,
}

impl Both {
    fn new(limit: WebhookLimit) -> Self {
        let engine = Engine::bare();
        let plan = include_str!("../../../src/relay/worker/plan.js");
        engine.run(&format!("{plan}\n''")).expect("it loads");
        let (all, burst) = (limit.per_minute, limit.burst);
        engine
            .run(&format!(
                "var budget = new Budget({{ perMinute: {all}, burst: {burst} }}, [], {FROM}); var open = {{}}; ''"
            ))
            .expect("a budget");
        let theirs = LaneBudget::new(&[], Some(limit), moment(FROM));
        Self { engine, theirs }
    }

    /// Whether both say at this moment whether a post may go; the one's word is enough where the other changes its own at once.
    #[track_caller]
    fn agree(&mut self, now: u64) -> bool {
        let said = |at: u64, engine: &Engine| {
            engine
                .run(&format!("String(budget.freeAt({at}) <= {at})"))
                .expect("a word")
                == "true"
        };
        let ours = said(now, &self.engine);
        let theirs = self.theirs.free(moment(now)).is_ok();
        if ours != theirs {
            let soon = now + ROUNDING;
            let later = if ours {
                self.theirs.free(moment(soon)).is_ok()
            } else {
                said(soon, &self.engine)
            };
            assert!(later, "at {now}: the Worker says {ours}, the relay {theirs}");
        }
        ours && theirs
    }
}

/// The first moment, in milliseconds: the relay's clock begins earlier than any time that is compared.
const FROM: u64 = 1_000_000;

fn moment(ms: u64) -> Moment {
    Moment::START + Duration::from_millis(ms)
}

#[test]
fn the_worker_and_the_relay_let_posts_go_at_the_same_moments() {
    for (seed, limit) in [(5, 30), (12, 30), (29, 30), (1, 6), (4, 28)].into_iter().enumerate() {
        let limit = WebhookLimit {
            burst: limit.0,
            per_minute: limit.1,
        };
        let mut random = StdRng::seed_from_u64(seed as u64);
        let mut both = Both::new(limit);
        let mut under_way = Vec::new();
        let mut now = FROM + 60_000;
        let mut posted = 0;
        for n in 0..1_500_u32 {
            // Mostly as fast as it goes, sometimes a pause; answers come at once, or up to 8 s later.
            now += match random.random_range(0..100) {
                0 => random.random_range(0..90_000),
                1..20 => random.random_range(0..3_000),
                _ => random.random_range(0..200),
            };
            under_way.retain(|(name, at, ticket)| {
                if *at > now {
                    return true;
                }
                both.engine
                    .run(&format!(
                        "Object.assign(open[{name}], {{ at: {now}, open: false }}); ''"
                    ))
                    .expect("settled");
                both.theirs.settle(*ticket, moment(now));
                false
            });
            if random.random_ratio(1, 100) {
                let until = now + random.random_range(0..10_000);
                both.engine.run(&format!("budget.close({until}); ''")).expect("closed");
                both.theirs.close(moment(until));
            }
            if both.agree(now) {
                both.engine
                    .run(&format!("open[{n}] = budget.reserve({now}); ''"))
                    .expect("reserved");
                let (ticket, _) = both.theirs.reserve(moment(now), Timestamp::from_secs(0));
                let slow = random.random_ratio(1, 8);
                under_way.push((n, now + random.random_range(1..if slow { 8_000 } else { 300 }), ticket));
                posted += 1;
            }
        }
        assert!(posted >= 40, "{posted} posts");
    }
}

/// What an instance leaves is counted by the next as late as it may have arrived, and no longer.
#[test]
fn a_budget_that_is_begun_again_counts_what_was_sent() {
    let engine = Engine::bare();
    let plan = include_str!("../../../src/relay/worker/plan.js");
    engine.run(&format!("{plan}\n''")).expect("it loads");
    let free = |sent: &str, now: u64| {
        let script = format!("String(new Budget({{ perMinute: 30, burst: 5 }}, {sent}, {now}).freeAt({now}) - {now})");
        engine.run(&script).expect("a wait").parse::<f64>().expect("a number")
    };
    let busy = "Array.from({ length: 26 }, (_, n) => 100000 + n * 2400)"; // the last at 160,000
    assert!((0.0..=0.0).contains(&free(busy, 160_001)));
    assert!((0.0..=0.0).contains(&free(busy, 4_000_000)));
    let burst = "[100000, 100000, 100000, 100000, 100000]";
    assert!((2_000.0..2_500.0).contains(&free(burst, 100_000)));
    let thirty = "Array.from({ length: 30 }, () => 100000)";
    assert!((60_000.0..60_100.0).contains(&free(thirty, 100_000)));
    // A post under way is stored as late as it may arrive.
    let script = "var b = new Budget({ perMinute: 30, burst: 5 }, [], 0); b.reserve(100000); String(b.sentAt(100001))";
    assert_eq!(engine.run(script).as_deref(), Ok("108001"));
}
