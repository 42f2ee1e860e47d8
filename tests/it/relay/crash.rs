//! `kill -9` while people come: whoever saw the success page completes.

use std::collections::BTreeSet;
use std::time::Duration;

use super::kit::Edge;
use crate::service::kit::until;
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
    // A code that was posted twice is known to the service: nobody has two results.
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
