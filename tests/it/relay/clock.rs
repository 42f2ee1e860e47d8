//! Discord's clock against the relay's and the service's: links work whatever the difference.

use codeferry::simulator::people::{Behaviour, walk};

use super::test_support::{Edge, SOON};
use crate::patience::until;
use crate::service::test_support::PERSON;
use crate::tally::{Tally, tell};

const HOUR_MS: i64 = 3_600_000;

#[test]
fn a_link_works_after_every_jump_of_a_clock_and_a_relay_may_start_with_a_wrong_one() {
    let rounds = if std::env::var_os("CODEFERRY_SLOW").is_some() {
        40
    } else {
        1
    };
    let edge = Edge::without_limits("");
    edge.site
        .configure("[intake]\npoll_every = \"1s\"\n[limits]\nwebhook = \"off\"\nglobal = \"off\"\noauth = \"off\"\n");
    let service = edge.site.run_ready();
    let jumps: Vec<i64> = [HOUR_MS, -2 * HOUR_MS, 90_000, 24 * HOUR_MS, -23 * HOUR_MS].repeat(rounds);
    for (n, jump_ms) in jumps.iter().enumerate() {
        edge.site.simulator.step_clock(*jump_ms);
        let corrections = || {
            service
                .log()
                .matches("this machine's clock differs from Discord's")
                .count()
        };
        until(SOON, "the service's clock is set by the history's answers", || {
            corrections() > n
        });
        // No callback has ever come when the relay learns the time.
        let relay = edge.relay();
        let person = PERSON + n as u64;
        let link = edge.site.json(&["link", &person.to_string()]);
        let link = link["url"].as_str().expect("a URL");
        let visit = edge
            .runtime
            .block_on(walk(&edge.http, link, person, Behaviour::Approve));
        visit.expect("the person gets to the end");
        until(SOON, "the person completes", || edge.completed().contains(&person));
        relay.drain();
    }
    until(SOON, "no token left", || edge.site.simulator.summary().tokens_left == 0);
    service.drain();
    let (tried, survived) = (jumps.len() as u64, edge.completed().len() as u64);
    tell(
        "clock jumps",
        Tally {
            tried,
            survived,
            lost: tried - survived,
            ..Tally::default()
        },
    );
    assert_eq!(survived, tried);
}
