//! `kill -9` under load: every user who saw the success page completes.

use std::collections::BTreeSet;
use std::time::Duration;

use super::direct::without_lanes;
use super::test_support::Edge;
use crate::patience::until;
use crate::tally::{Tally, tell};

const KIND: &str = "relay: kill -9 under load";

#[test]
fn no_code_that_was_answered_with_the_success_page_is_lost_by_a_kill() {
    let slow = std::env::var_os("CODEFERRY_SLOW").is_some();
    let edge = Edge::without_limits("");
    let service = edge.site.run_ready();
    let mut told = BTreeSet::new();
    let kills: u64 = if slow { 30 } else { 5 };
    for kill in 0..kills {
        let relay = edge.relay();
        let crowd = edge.crowd(kill * 1_000, 150, 8);
        until(Duration::from_secs(20), "people on their way", || {
            crowd.set_out() as u64 >= 10 + kill * 97 % 120
        });
        relay.kill();
        told.extend(crowd.told());
    }
    assert!(
        told.len() as u64 >= kills * 5,
        "{} people were told that they are done",
        told.len()
    );
    // What was journalled and not posted is posted by the next one.
    let relay = edge.relay();
    until(Duration::from_mins(1), "everybody who was told completes", || {
        let completed: BTreeSet<u64> = edge.completed().into_iter().collect();
        told.is_subset(&completed)
    });
    until(Duration::from_secs(10), "nothing waits", || {
        edge.counts()["waiting"] == 0
    });
    relay.drain();
    service.drain();
    // The service recognises a code that was posted twice: no user has two results.
    let mut completed = edge.completed();
    completed.sort_unstable();
    let people = completed.len();
    completed.dedup();
    assert_eq!(completed.len(), people, "one result each");
    assert_eq!(edge.site.results().len(), people, "and no other");
    assert_eq!(edge.site.simulator.summary().presented_twice, 0);
    tell(
        KIND,
        Tally {
            tried: kills,
            survived: kills,
            ..Tally::default()
        },
    );
}

/// Where a relay's process kills itself, around each kind of commit.
const POINTS: [&str; 8] = [
    "commit.receive.before:1",
    "commit.receive.before:3",
    "commit.receive.after:1",
    "commit.receive.after:3",
    "commit.spending.before:1",
    "commit.spending.after:2",
    "commit.settle.before:1",
    "commit.settle.after:2",
];

#[test]
fn a_relay_that_dies_around_any_commit_keeps_what_it_has_answered() {
    let edge = Edge::without_limits("");
    let service = edge.site.run_ready();
    let mut told = BTreeSet::new();
    for (n, point) in POINTS.into_iter().enumerate() {
        let mut command = edge.command(&["relay"]);
        command.env("CRASH_AT", point);
        let mut relay = edge.site.start(command, "relay.log");
        relay.logs("READY: callbacks are taken");
        let first = n as u64 * 100;
        let now = edge.crowd(first, 8, 1).told();
        until(Duration::from_secs(20), "it kills itself", || relay.ended().is_some());
        assert!(relay.log().matches("closed").count() == 0, "{point}: {}", relay.log());
        if let Some(nth) = point.strip_prefix("commit.receive.before:") {
            // No user saw the success page before their code was on the disk.
            let nth: usize = nth.parse().expect("a number");
            assert_eq!(now.len(), nth - 1, "{point}");
        }
        told.extend(now);
    }
    let relay = edge.relay();
    until(Duration::from_mins(1), "everybody who was told completes", || {
        let completed: BTreeSet<u64> = edge.completed().into_iter().collect();
        told.is_subset(&completed)
    });
    relay.drain();
    service.drain();
    let tried = POINTS.len() as u64;
    tell(
        "relay: killed around each commit",
        Tally {
            tried,
            survived: tried,
            ..Tally::default()
        },
    );
}

#[test]
fn direct_intake_that_dies_around_the_receipt_keeps_what_it_has_answered() {
    let edge = without_lanes("");
    let mut told = BTreeSet::new();
    for (n, point) in POINTS[..4].iter().enumerate() {
        let mut command = edge.site.command(&["run"]);
        command.env("CRASH_AT", point);
        let mut service = edge.site.start(command, "service.log");
        service.ready();
        let now = edge.crowd(n as u64 * 100, 8, 1).told();
        until(Duration::from_secs(20), "it kills itself", || service.ended().is_some());
        if let Some(nth) = point.strip_prefix("commit.receive.before:") {
            let nth: usize = nth.parse().expect("a number");
            assert_eq!(now.len(), nth - 1, "{point}");
        }
        told.extend(now);
    }
    let service = edge.site.run_ready();
    until(Duration::from_mins(1), "a result for everybody who was told", || {
        let results = edge.site.results();
        let people: BTreeSet<u64> = results
            .iter()
            .filter_map(|r| r["state"]["user_id"].as_str()?.parse().ok())
            .collect();
        told.is_subset(&people)
    });
    service.drain();
}
