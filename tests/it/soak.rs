//! The soak: people of every kind sign in without a pause, one call in a hundred fails, and the service is killed again
//! and again. Whatever is promised must hold, and memory, disk and open files must stay flat.
//!
//! `CODEFERRY_SOAK_MINUTES=30 cargo test --locked --test it soak -- --nocapture` soaks for half an hour. Without the
//! variable it is ten seconds with one kill, so that a normal run does all of it. `CODEFERRY_SOAK_SEED` changes what
//! people and kills do.

mod gauges;
mod judge;
mod people;

use std::time::Duration;

use codeferry::simulator::{Endpoint, Fault, FaultBody, FaultRule, Simulator, limits};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use self::gauges::Gauges;
use self::judge::Account;
use self::people::People;
use crate::patience::until;
use crate::service::test_support::{Site, exits};
use crate::tally::{self, Tally};

/// Codes a second.
const CODES_A_SECOND: u32 = 5;
/// Seconds between two kills, in a soak of minutes.
const KILLS: std::ops::RangeInclusive<u64> = 30..=120;
/// Every kind of fault that an endpoint can have, together one call in a hundred.
const CHANCE: f64 = 0.01;
/// What is owed is done this long after the last code: deliveries and revocations are spaced out where they fail.
const SETTLED_WITHIN: Duration = Duration::from_mins(2);
/// How long the journal keeps closed grants here.
const RETENTION: Duration = Duration::from_mins(2);

#[test]
fn soaking_breaks_no_promise_and_nothing_grows() {
    let minutes = variable("CODEFERRY_SOAK_MINUTES");
    let length = minutes.map_or(Duration::from_secs(10), |m| Duration::from_secs_f64(m * 60.0));
    let seed = variable("CODEFERRY_SOAK_SEED").map_or(7, |seed| seed as u64);
    let mut random = StdRng::seed_from_u64(seed);
    // Kept for less than the soak lasts: what is kept for a day grows for a day.
    let site = Site::without_limits(&format!("[journal]\nclosed_retention = \"{}s\"\n", RETENTION.as_secs()));
    faults(&site.simulator);
    let mut people = People::new(StdRng::seed_from_u64(seed + 1));
    let mut gauges = Gauges::default();
    let mut next_kill = || {
        if minutes.is_some() {
            Duration::from_secs(random.random_range(KILLS))
        } else {
            length / 2
        }
    };

    let mut service = site.run_ready();
    let start = Instant::now();
    let mut kill_at = start + next_kill();
    let mut kills: u64 = 0;
    for second in 1.. {
        let end_of_second = start + Duration::from_secs(second);
        people.come(&site, CODES_A_SECOND);
        while Instant::now() < end_of_second {
            std::thread::sleep(Duration::from_millis(10));
            if Instant::now() >= kill_at && start.elapsed() < length {
                service.kill();
                service = site.run();
                kills += 1;
                kill_at += next_kill();
            }
        }
        let measured = gauges.measure(start.elapsed(), service.pid(), &site.path("data"));
        assert!(measured, "the service ended by itself:\n{}", service.log());
        if second % 60 == 0 {
            println!(
                "{:>3} min: {} codes, {kills} kills, {gauges}",
                second / 60,
                people.codes.len()
            );
        }
        if start.elapsed() >= length {
            break;
        }
    }
    let channel = site.lane(0).0;
    until(SETTLED_WITHIN, "everything settled", || {
        site.simulator.summary().tokens_left == 0
            && site.simulator.message_count(channel) == 0
            && site.json(&["debug", "queue", "list"])["total"] == 0
    });
    let panicked = service.log().contains("panicked");
    service.drain();

    let account = Account::of(&site, &people);
    println!(
        "soaked for {:.1} min with {kills} kills, seed {seed}",
        length.as_secs_f64() / 60.0
    );
    println!("{account}\n{gauges}");
    tally::tell(
        "soak: kills and 1 % faults",
        Tally {
            tried: people.expected() as u64,
            survived: account.ended - account.twice,
            lost: account.lost,
            twice: account.twice,
            left_behind: account.left_behind,
        },
    );
    assert!(kills > 0 && !panicked, "{kills} kills, panicked: {panicked}");
    account.check(&people, length < RETENTION);
    gauges.check(length);
    exits(&site.codeferry(&["debug", "verify"]), 0);
}

/// One call in a hundred to each endpoint fails, and as many messages come twice, late, or never by the gateway.
fn faults(simulator: &Simulator) {
    let status = |status, body, after_work| Fault::Status {
        status,
        body,
        retry_after: None,
        after_work,
    };
    let calls = [
        status(503, FaultBody::Json, false),
        status(502, FaultBody::Html, true),
        Fault::RateLimited {
            scope: limits::Scope::User,
            retry_after_ms: 500,
        },
        Fault::LostAnswer,
        Fault::CutAnswer,
    ];
    let chance = CHANCE / calls.len() as f64;
    for fault in calls {
        simulator
            .faults()
            .add(FaultRule::on(Endpoint::Any, fault).with_chance(chance));
    }
    for fault in [
        Fault::DeliverTwice,
        Fault::DeliverLate { ms: 2_000 },
        Fault::DeliverNever,
    ] {
        simulator
            .faults()
            .add(FaultRule::on(Endpoint::Webhook, fault).with_chance(CHANCE));
    }
}

fn variable(name: &str) -> Option<f64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: `{text}`")))
}
