//! Close codes after which a client must not reconnect: exit 2, a message that says what to do, and no code lost.

use std::thread;
use std::time::Duration;

use codeferry::simulator::gateway::GatewayFault;
use codeferry::simulator::{Endpoint, Fault, FaultRule};

use super::case::site;
use crate::patience::until;
use crate::service::test_support::{Service, Site};
use crate::tally::{Tally, tell};

/// Tells the table once a check has passed.
fn ended(kind: &str) {
    let tally = Tally {
        tried: 1,
        survived: 1,
        ..Tally::default()
    };
    tell(kind, tally);
}

/// The service ends by itself with exit 2 and says these words. A code that comes afterwards is found at the next start.
#[track_caller]
fn check_ends(site: &Site, mut service: Service, words: &[&str], mend: impl FnOnce()) {
    assert_eq!(service.ends(Duration::from_secs(40)), 2, "{}", service.log());
    let log = service.log();
    for word in words {
        assert!(log.contains(word), "`{word}` is not in:\n{log}");
    }
    site.sign_in(2, 2);
    mend();
    let service = site.run_ready();
    until(Duration::from_secs(30), "four results", || {
        site.results_of("completed") == 4
    });
    let summary = site.simulator.summary();
    assert_eq!((summary.presented, summary.presented_twice), (4, 0));
    until(Duration::from_secs(20), "no token left", || {
        site.simulator.summary().tokens_left == 0
    });
    service.drain();
}

/// Closes every connection with a code until the service has ended.
fn closing(site: &Site, code: u16) -> Service {
    let service = site.run_ready();
    site.sign_in(0, 2);
    until(Duration::from_secs(30), "the end of the session", || {
        site.simulator.gateway_fault(GatewayFault::Close { code });
        service.log().contains("draining")
    });
    service
}

#[test]
fn a_session_or_channel_that_is_refused_for_good_ends_the_service_with_what_to_do() {
    thread::scope(|scope| {
        scope.spawn(|| {
            let site = site("10s");
            let service = closing(&site, 4004);
            check_ends(&site, service, &["close code 4004", "CODEFERRY_BOT_TOKEN"], || {});
            ended("gateway: close 4004");
        });
        scope.spawn(|| {
            let site = site("10s");
            let service = closing(&site, 4014);
            check_ends(&site, service, &["close code 4014", "MESSAGE CONTENT INTENT"], || {});
            ended("gateway: close 4014");
        });
        scope.spawn(|| {
            let site = site("1s");
            let service = site.run_ready();
            site.sign_in(0, 2);
            let faults = site.simulator.faults();
            faults.add(FaultRule::on(Endpoint::Messages, Fault::Forbidden));
            let mend = || site.simulator.faults().clear();
            check_ends(&site, service, &["Read Message History"], mend);
            ended("history: 403");
        });
    });
}
