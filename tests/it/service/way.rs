//! The whole way of a code.

use std::time::Duration;

use super::kit::{Site, until};

#[test]
fn a_code_that_is_posted_ends_completed_and_leaves_nothing_behind() {
    let site = Site::without_limits("");
    let service = site.run_ready();
    site.sign_in(0, 20);
    until(Duration::from_secs(20), "20 results", || {
        site.results_of("completed") == 20
    });
    let summary = || site.simulator.summary();
    until(Duration::from_secs(20), "no token left", || summary().tokens_left == 0);
    let channel = site.lane(0).0;
    until(Duration::from_secs(20), "no carrier left", || {
        site.simulator.message_count(channel) == 0
    });
    service.drain();
    assert_eq!((summary().presented, summary().presented_twice), (20, 0));
    assert_eq!(site.json(&["debug", "verify"])["ok"], true);
    assert_eq!(site.json(&["debug", "queue", "list"])["total"], 0);
}
