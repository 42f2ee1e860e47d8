use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::rate::limits::{RateLimit, WebhookLimit};
use crate::rate::window::WINDOW;

const NOW: Moment = Moment::START;
const CHANNEL: ChannelId = ChannelId(1_536_343_300_000_000_001);

fn post() -> Need {
    Need {
        budget: Budget::Webhook(CHANNEL),
        urgency: Urgency::Deliver,
    }
}

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// The most arrivals in any closed minute, in milliseconds.
fn worst_minute(arrivals: &mut [u64]) -> usize {
    arrivals.sort_unstable();
    let mut first = 0;
    let mut worst = 0;
    for (last, at) in arrivals.iter().enumerate() {
        while at - arrivals[first] > 60_000 {
            first += 1;
        }
        worst = worst.max(last + 1 - first);
    }
    worst
}

/// A sender that posts whenever it may, over 30 minutes, as the receiver sees it: answers take up to seconds, the process
/// is killed and started again, and the wall clock jumps at random. Returns the arrivals.
fn greedy(seed: u64, limit: WebhookLimit, restarts: Option<(u64, u64)>, latency_ms: u64, steps: bool) -> Vec<u64> {
    const TICK: u64 = 50;
    let mut random = StdRng::seed_from_u64(seed);
    let limits = Limits {
        webhook: Some(limit),
        ..Limits::default()
    };
    let mut disk: BTreeMap<ChannelId, Vec<Timestamp>> = BTreeMap::new();
    let mut wall_offset = 1_700_000_000_000_i64;
    let (mut now_ms, mut arrivals) = (0_u64, Vec::new());
    while now_ms < 1_800_000 {
        let born = now_ms;
        let dies = restarts.map_or(u64::MAX, |(least, most)| {
            born + random.random_range(least * 1000..=most * 1000)
        });
        let mut budgets = Budgets::new(limits.clone(), &disk, NOW);
        let mut calls: Vec<(u64, u64, Reservation)> = Vec::new();
        while now_ms < dies.min(1_800_000) {
            let now = NOW + Duration::from_millis(now_ms - born);
            if steps && random.random_range(0..200) == 0 {
                let step: i64 = [-3_600_000, 3_600_000, -45_000, 45_000][random.random_range(0..4)];
                wall_offset += step;
            }
            let wall = Timestamp::from_millis(wall_offset + now_ms as i64);
            calls.retain(|(arrival, answer, taken)| {
                if *answer <= now_ms {
                    arrivals.push(*arrival);
                    budgets.settle(taken, now);
                }
                *answer > now_ms
            });
            while let Verdict::StoreFirst(channel, taken) = budgets.take(post(), now) {
                disk.insert(channel, budgets.to_persist(channel, now, wall));
                budgets.stored(channel);
                let arrival = now_ms + random.random_range(0..=latency_ms);
                calls.push((arrival, arrival + random.random_range(0..=latency_ms), taken));
            }
            now_ms += TICK;
        }
        // What was on its way when the process died still arrives, at the latest when the next one starts.
        now_ms += if restarts.is_some() {
            random.random_range(0..500)
        } else {
            0
        };
        arrivals.extend(calls.into_iter().map(|(arrival, ..)| arrival.min(now_ms)));
        if steps && random.random_range(0..4) == 0 {
            wall_offset += [-3_600_000, 3_600_000, -45_000, 45_000][random.random_range(0..4)];
        }
    }
    arrivals
}

#[test]
fn no_closed_minute_at_the_receiver_holds_more_than_the_limit() {
    let shipped = WebhookLimit {
        per_minute: 30,
        burst: 5,
    };
    let bursty = WebhookLimit {
        per_minute: 30,
        burst: 29,
    };
    let steady = WebhookLimit {
        per_minute: 30,
        burst: 0,
    };
    for limit in [shipped, bursty, steady] {
        for restarts in [None, Some((1, 20)), Some((3, 6)), Some((60, 120))] {
            for (seed, latency_ms) in [(1, 0), (2, 300), (3, 8_000)] {
                for steps in [false, true] {
                    let mut arrivals = greedy(seed, limit, restarts, latency_ms, steps);
                    let worst = worst_minute(&mut arrivals);
                    let run = format!("{limit:?}, restarts {restarts:?}, seed {seed}, steps {steps}");
                    assert!(worst <= 30, "{worst} in a minute: {run}");
                    // A burst of 29 leaves a refill of one a minute.
                    let least = if limit == bursty { 29 } else { 300 };
                    assert!(arrivals.len() >= least, "only {} in 30 minutes: {run}", arrivals.len());
                }
            }
        }
    }
}

#[test]
fn without_restarts_the_shipped_limit_carries_25_a_minute() {
    let shipped = WebhookLimit {
        per_minute: 30,
        burst: 5,
    };
    let mut arrivals = greedy(7, shipped, None, 0, false);
    assert_eq!(worst_minute(&mut arrivals), 30);
    assert!((745..=755).contains(&arrivals.len()), "{}", arrivals.len());
}

#[test]
fn a_restart_never_blocks_for_longer_than_the_window() {
    let wall = Timestamp::from_secs(1_700_000_000);
    for step in [-3600_i64, 0, 3600] {
        let at = Timestamp::from_secs(wall.as_secs() + step);
        let spending = BTreeMap::from([(CHANNEL, vec![at; 60])]);
        let mut budgets = Budgets::new(Limits::default(), &spending, NOW);
        let Verdict::NotBefore(Some(until)) = budgets.take(post(), NOW) else {
            panic!("a full ledger blocks");
        };
        assert_eq!(until, NOW + WINDOW);
        assert!(matches!(budgets.take(post(), until), Verdict::StoreFirst(..)));
    }
}

#[test]
fn an_oauth_call_takes_both_or_neither() {
    let limits = Limits {
        oauth: Some(RateLimit {
            per_second: 10,
            burst: 10,
        }),
        global: Some(RateLimit {
            per_second: 1,
            burst: 1,
        }),
        ..Limits::default()
    };
    let mut budgets = Budgets::new(limits, &BTreeMap::new(), NOW);
    let oauth = Need {
        budget: Budget::OAuth,
        urgency: Urgency::Exchange,
    };
    let later = NOW + secs(10);
    let Verdict::Granted(taken) = budgets.take(oauth, later) else {
        panic!("both are full by now");
    };
    for _ in 0..50 {
        assert!(matches!(budgets.take(oauth, later), Verdict::NotBefore(Some(at)) if at == later + secs(1)));
    }
    let spent = |budgets: &mut Budgets| {
        let views = budgets.views(&BTreeMap::new(), later, Timestamp::default());
        views.iter().map(|view| view.spent).collect::<Vec<_>>()
    };
    assert_eq!(spent(&mut budgets), [1, 1, 0], "global, oauth, invalid requests");
    budgets.give_back(&taken);
    assert_eq!(spent(&mut budgets), [0, 0, 0]);
    assert!(matches!(budgets.take(oauth, later), Verdict::Granted(_)));
}

#[test]
fn an_unnamed_edge_refusal_grows_to_ten_minutes_and_is_forgotten() {
    let refused = HttpFeedback {
        status: 429,
        ..HttpFeedback::default()
    };
    let mut budgets = Budgets::new(Limits::default(), &BTreeMap::new(), NOW);
    let mut now = NOW;
    for wait in [60, 120, 240, 480, 600, 600] {
        let expected = Some((Target::Everything, now + secs(wait)));
        assert_eq!(budgets.observe(&refused, None, now), expected);
        // One that was already on its way changes nothing.
        assert_eq!(budgets.observe(&refused, Some(post()), now + secs(1)), expected);
        assert!(matches!(
            budgets.take(post(), now + secs(wait - 1)),
            Verdict::NotBefore(_)
        ));
        now = now + secs(wait);
        assert!(matches!(budgets.take(post(), now), Verdict::StoreFirst(..)));
        budgets.stored(CHANNEL);
    }
    now = now + secs(601);
    assert_eq!(
        budgets.observe(&refused, None, now),
        Some((Target::Everything, now + secs(60)))
    );
}

#[test]
fn other_limits_forget_nothing_that_was_spent() {
    let mut budgets = Budgets::new(Limits::default(), &BTreeMap::new(), NOW);
    let spend = |budgets: &mut Budgets, now| {
        let mut spent = 0;
        while let Verdict::StoreFirst(channel, taken) = budgets.take(post(), now) {
            budgets.stored(channel);
            budgets.settle(&taken, now);
            spent += 1;
        }
        spent
    };
    assert_eq!(spend(&mut budgets, NOW), 5);
    let ten = |burst| Limits {
        webhook: Some(WebhookLimit { per_minute: 10, burst }),
        ..Limits::default()
    };
    budgets.retune(ten(2), NOW);
    assert_eq!(spend(&mut budgets, NOW), 0, "more than the new burst is spent already");
    budgets.retune(ten(9), NOW);
    assert_eq!(spend(&mut budgets, NOW), 4, "nine at once, of which five are gone");
    budgets.retune(
        Limits {
            webhook: None,
            ..Limits::default()
        },
        NOW,
    );
    for _ in 0..100 {
        assert!(matches!(budgets.take(post(), NOW), Verdict::Granted(_)));
    }
    budgets.retune(Limits::default(), NOW + secs(1));
    assert_eq!(spend(&mut budgets, NOW + secs(59)), 0, "109 went within this minute");
    assert!(spend(&mut budgets, NOW + secs(61)) > 0);

    let global = Need {
        budget: Budget::Global,
        urgency: Urgency::Fetch,
    };
    budgets.retune(
        Limits {
            global: Some(RateLimit {
                per_second: 1,
                burst: 50,
            }),
            ..Limits::default()
        },
        NOW,
    );
    assert!(
        matches!(budgets.take(global, NOW), Verdict::NotBefore(Some(at)) if at == NOW + secs(1)),
        "a deeper bucket brings no burst of its own"
    );
}
