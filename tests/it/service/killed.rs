//! `kill -9` while 300 codes are in flight, started again 2 s later: every code ends in one outcome.

use std::collections::BTreeSet;
use std::time::Duration;

use super::judge::{everything_ended, on_the_way, slow_down};
use super::test_support::{Service, Site};
use crate::patience::until;
use crate::tally::tell;

const CODES: u64 = 300;
/// How many codes the exchanger has in hand at once, by default: no more can be on their way at one kill.
const SLOTS: usize = 32;
const KIND: &str = "service: kill -9 with 300 codes in flight";

fn site() -> Site {
    let site = Site::without_limits("");
    slow_down(&site, 120);
    site
}

/// Kills the service, notes what was on its way, and lets 2 s pass, as a supervisor does.
fn kill(site: &Site, service: Service, on_their_way: &mut BTreeSet<u64>) {
    service.kill();
    let now = on_the_way(site);
    assert!(now.len() <= SLOTS, "{} requests at once", now.len());
    on_their_way.extend(now);
    std::thread::sleep(Duration::from_secs(2));
}

/// Kills at the moment in which something first holds.
fn killed_when(what: &str, holds: impl Fn(&Site) -> bool) {
    let site = site();
    let service = site.run_ready();
    site.sign_in(0, CODES);
    until(Duration::from_secs(30), what, || holds(&site));
    let mut on_their_way = BTreeSet::new();
    kill(&site, service, &mut on_their_way);
    let service = site.run_ready();
    tell(KIND, everything_ended(&site, CODES, &on_their_way));
    service.drain();
}

#[test]
fn killed_as_the_first_codes_are_presented_every_code_ends_in_one_outcome() {
    killed_when("a presentation", |site| site.simulator.summary().presented >= 1);
}

#[test]
fn killed_with_a_third_presented_every_code_ends_in_one_outcome() {
    killed_when("100 presentations", |site| site.simulator.summary().presented >= 100);
}

#[test]
fn killed_with_half_of_the_results_out_every_code_ends_in_one_outcome() {
    killed_when("150 results", |site| site.results().len() >= 150);
}

#[test]
fn killed_twice_and_during_a_start_every_code_ends_in_one_outcome() {
    let site = site();
    // What is in the channel before the first start is read from the history.
    site.sign_in(0, CODES);
    let mut on_their_way = BTreeSet::new();
    let service = site.run();
    service.logs("journal opened");
    kill(&site, service, &mut on_their_way);
    for presented in [40, 200] {
        let service = site.run();
        until(Duration::from_secs(30), "presentations", || {
            site.simulator.summary().presented >= presented
        });
        kill(&site, service, &mut on_their_way);
    }
    let service = site.run_ready();
    tell(KIND, everything_ended(&site, CODES, &on_their_way));
    service.drain();
}

#[test]
fn killed_at_any_moment_every_code_ends_in_one_outcome() {
    // One moment in the normal run; with CODEFERRY_SLOW=1 one every 60 ms over the whole of the 300 codes' way.
    let moments = if std::env::var_os("CODEFERRY_SLOW").is_some() {
        40
    } else {
        1
    };
    for moment in 0..moments {
        let site = site();
        let service = site.run_ready();
        site.sign_in(0, CODES);
        std::thread::sleep(Duration::from_millis(700 + (moment * 1_620) % 2_400));
        let mut on_their_way = BTreeSet::new();
        kill(&site, service, &mut on_their_way);
        let service = site.run_ready();
        tell(KIND, everything_ended(&site, CODES, &on_their_way));
        service.drain();
    }
}
