//! Ctrl-C: the first drains, the second stops at once; nothing is lost either way.

use std::collections::BTreeSet;
use std::time::Duration;

use codeferry::simulator::{Endpoint, Fault, FaultRule};
use rustix::process::Signal;

use super::judge::{everything_ended, on_the_way, slow_down};
use super::test_support::{Service, Site};
use crate::patience::until;

/// The grace that the configuration has by default.
pub const GRACE: Duration = Duration::from_secs(30);

/// Waits until so many codes were presented.
pub fn presented(site: &Site, count: usize) {
    until(Duration::from_secs(20), "presentations", || {
        site.simulator.summary().presented >= count
    });
}

/// Presses Ctrl-C and waits until the service has noticed.
pub fn interrupt(service: &Service) {
    service.signal(Signal::INT);
    service.logs("draining: press Ctrl-C again to stop at once");
}

#[test]
fn ctrl_c_lets_exchanges_in_flight_finish_and_revokes_what_is_held() {
    let site = Site::without_limits("");
    slow_down(&site, 1_000);
    let mut service = site.run_ready();
    site.sign_in(0, 100);
    presented(&site, 40);
    interrupt(&service);
    let code = service.ends(GRACE + Duration::from_secs(5));
    assert_eq!(code, 0, "{}", service.log());
    // Nothing was on its way any more, no token is left, and what was not presented waits.
    assert_eq!(on_the_way(&site), BTreeSet::new());
    let summary = site.simulator.summary();
    assert_eq!((summary.tokens_left, summary.orphans), (0, 0));
    assert!(summary.presented < 100, "the drain took new codes");
    assert_eq!(site.results_of("completed"), summary.presented);
    let listed = site.json(&["debug", "queue", "list", "--state", "received"]);
    assert_eq!(listed["total"], 100 - summary.presented);

    site.simulator.faults().clear();
    let service = site.run_ready();
    everything_ended(&site, 100, &BTreeSet::new());
    assert_eq!(site.results_of("lost"), 0);
    service.drain();
}

#[test]
fn a_drain_waits_for_the_only_exchange_however_slow_its_answer() {
    let site = Site::without_limits("");
    // Longer than the last deliveries get, shorter than the exchange may take.
    site.simulator
        .faults()
        .add(FaultRule::on(Endpoint::Token, Fault::DelayAnswer { ms: 7_000 }));
    let mut service = site.run_ready();
    site.sign_in(0, 1);
    presented(&site, 1);
    interrupt(&service);
    assert_eq!(service.ends(GRACE), 0, "{}", service.log());
    assert_eq!(on_the_way(&site), BTreeSet::new());
    assert_eq!(site.results_of("completed"), 1);
    assert_eq!(site.simulator.summary().tokens_left, 0);
}

#[test]
fn a_second_ctrl_c_stops_at_once_and_nothing_is_lost_after_the_next_start() {
    let site = Site::without_limits("");
    slow_down(&site, 6_000);
    let mut service = site.run_ready();
    site.sign_in(0, 60);
    presented(&site, 20);
    interrupt(&service);
    service.signal(Signal::INT);
    let code = service.ends(Duration::from_secs(3));
    assert_eq!(code, 3, "{}", service.log());
    let on_their_way = on_the_way(&site);
    assert!(!on_their_way.is_empty(), "it stopped while codes were on their way");

    site.simulator.faults().clear();
    let service = site.run_ready();
    everything_ended(&site, 60, &on_their_way);
    service.drain();
}

#[test]
fn a_drain_that_takes_longer_than_its_grace_ends_with_3_and_the_token_is_revoked_at_the_next_start() {
    let site = Site::without_limits("[shutdown]\ngrace = \"1s\"\n");
    let broken = Fault::Status {
        status: 500,
        body: codeferry::simulator::FaultBody::Json,
        retry_after: None,
        after_work: false,
    };
    site.simulator.faults().add(FaultRule::on(Endpoint::Revoke, broken));
    let mut service = site.run_ready();
    site.sign_in(0, 1);
    until(Duration::from_secs(20), "a result", || site.results().len() == 1);
    interrupt(&service);
    assert_eq!(service.ends(Duration::from_secs(10)), 3, "{}", service.log());
    assert!(service.log().contains("the grace period is over"), "{}", service.log());
    assert_eq!(site.simulator.summary().tokens_left, 1);
    site.simulator.faults().clear();
    let service = site.run_ready();
    everything_ended(&site, 1, &BTreeSet::new());
    service.drain();
}
