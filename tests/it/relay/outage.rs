//! Discord refuses, limits, or is gone: what was answered with success completes all the same.

use std::time::Duration;

use codeferry::simulator::faults::FaultBody;
use codeferry::simulator::limits::{EdgeForm, Scope};
use codeferry::simulator::{Endpoint, Fault, FaultRule};
use tokio::time::Instant;

use super::test_support::{Edge, SOON};
use crate::patience::until;
use crate::service::test_support::PERSON;

/// So many people come through the relay while something is wrong; all complete, once.
#[track_caller]
fn all_complete(edge: &Edge, people: u64, within: Duration) {
    let told = edge.crowd(0, people, 2).told();
    assert_eq!(told.len() as u64, people, "everybody was told");
    until(within, "everybody completes", || {
        edge.completed().len() as u64 >= people
    });
    let mut completed = edge.completed();
    completed.sort_unstable();
    assert_eq!(completed, told, "each once");
}

#[test]
fn a_deleted_webhook_is_told_once_and_its_codes_go_through_another_lane() {
    let edge = Edge::with_limits(2, "");
    let relay = edge.relay();
    let service = edge.site.run_ready();
    // The lane that every state of this site names.
    let (channel, webhook) = edge.site.lane(0);
    assert!(edge.site.simulator.change_webhook(webhook, None));
    all_complete(&edge, 30, Duration::from_mins(1));
    let log = relay.log();
    assert_eq!(log.matches("this lane's webhook does not work").count(), 1, "{log}");
    assert_eq!(edge.counts()["lanes_out"], 1);
    let ledger = edge.site.simulator.ledger();
    assert!(!ledger.posts.iter().any(|p| p.channel_id == channel && p.status == 200));
    service.drain();
    relay.drain();
}

#[test]
fn a_relay_whose_only_webhook_is_gone_sends_people_away_and_says_so() {
    let edge = Edge::with_limits(1, "");
    assert!(edge.site.simulator.change_webhook(edge.site.lane(0).1, None));
    let relay = edge.relay();
    let page = edge.get(&edge.callback(PERSON));
    assert_eq!(page.status, 503);
    assert!(page.body.contains("id=\"busy\""), "{}", page.body);
    assert_eq!(page.headers["retry-after"], "60");
    assert!(relay.log().contains("this lane's webhook does not work"));
    assert_eq!(edge.counts()["waiting"], 0, "nothing is kept of it");
    relay.drain();
}

#[test]
fn answers_of_429_in_every_shape_pause_the_lane_and_lose_nothing() {
    let limited = |scope| Fault::RateLimited {
        scope,
        retry_after_ms: 2_500,
    };
    let edge_says = |form| Fault::Edge {
        form,
        retry_after: Some(2),
    };
    for fault in [
        limited(Scope::Shared),
        limited(Scope::Global),
        edge_says(EdgeForm::Text),
        edge_says(EdgeForm::Html),
    ] {
        let edge = Edge::without_limits("");
        let relay = edge.relay();
        let service = edge.site.run_ready();
        edge.site
            .simulator
            .faults()
            .add(FaultRule::on(Endpoint::Webhook, fault.clone()).times(1));
        all_complete(&edge, 10, SOON);
        let posts = edge.site.simulator.ledger().posts;
        assert_eq!(edge.counts()["rate_limited"], 1, "{fault:?}");
        let after = posts[1].at_us - posts[0].at_us;
        assert!(after >= 1_950_000, "{fault:?}: again after {after} us");
        service.drain();
        relay.drain();
    }
}

#[test]
fn discord_may_be_down_for_twenty_seconds_or_lose_its_answers() {
    let down = Fault::Status {
        status: 503,
        body: FaultBody::Html,
        retry_after: None,
        after_work: false,
    };
    let edge = Edge::without_limits("");
    let relay = edge.relay();
    let service = edge.site.run_ready();
    let mut rule = FaultRule::on(Endpoint::Webhook, down);
    rule.for_ms = Some(20_000);
    edge.site.simulator.faults().add(rule);
    edge.site
        .simulator
        .faults()
        .add(FaultRule::on(Endpoint::Webhook, Fault::LostAnswer).times(3));
    all_complete(&edge, 40, Duration::from_mins(1));
    assert_eq!(edge.site.simulator.summary().presented_twice, 0);
    assert_eq!(edge.counts()["expired"], 0);
    service.drain();
    relay.drain();
}

#[test]
fn codes_that_die_in_the_relay_end_as_expired_in_the_service() {
    let edge = Edge::without_limits("[intake]\ncode_lifetime = \"3s\"\n");
    let relay = edge.relay();
    let service = edge.site.run_ready();
    let down = Fault::Status {
        status: 503,
        body: FaultBody::Empty,
        retry_after: None,
        after_work: false,
    };
    edge.site.simulator.faults().add(FaultRule::on(Endpoint::Webhook, down));
    let told = edge.crowd(0, 5, 1).told();
    assert_eq!(told.len(), 5);
    until(SOON, "all are dead", || edge.counts()["expired"] == 5);
    edge.site.simulator.faults().clear();
    until(SOON, "five results", || edge.site.results_of("expired") == 5);
    for result in edge.site.results() {
        assert_eq!(result["reason"], "relay_expired", "{result}");
    }
    assert_eq!(edge.site.simulator.summary().presented, 0);
    service.drain();
    relay.drain();
}

#[test]
fn a_restart_with_a_full_queue_goes_on_with_it() {
    let edge = Edge::without_limits("[shutdown]\ngrace = \"1s\"\n");
    let mut relay = edge.relay();
    let service = edge.site.run_ready();
    let down = Fault::Status {
        status: 500,
        body: FaultBody::Empty,
        retry_after: None,
        after_work: false,
    };
    edge.site.simulator.faults().add(FaultRule::on(Endpoint::Webhook, down));
    let told = edge.crowd(0, 200, 4).told();
    assert_eq!(told.len(), 200);
    assert_eq!(edge.counts()["waiting"], 200);
    relay.signal(rustix::process::Signal::TERM);
    assert_eq!(relay.ends(SOON), 3, "the grace is over: {}", relay.log());
    assert!(relay.log().contains("posted after the next start"), "{}", relay.log());
    edge.site.simulator.faults().clear();
    let relay = edge.relay();
    assert!(relay.log().contains("waiting=200"), "{}", relay.log());
    until(SOON, "everybody completes", || edge.completed().len() == 200);
    service.drain();
    relay.drain();
    let codes_of_a_stopped_relay = std::fs::read_dir(edge.site.path("edge/journal/keys/seal")).expect("a folder");
    assert_eq!(
        codes_of_a_stopped_relay.count(),
        0,
        "nothing that it held can be opened any more"
    );
}

#[test]
fn whoever_comes_too_late_in_a_crowd_is_told_so_and_not_kept() {
    let edge = Edge::without_limits("");
    edge.configure("[limits]\nwebhook = { per_minute = 3, burst = 1 }\n");
    let text = std::fs::read_to_string(edge.site.path("edge/codeferry.toml")).expect("there");
    let text = text.replace("[[relay.lanes]]", "[[relay.lanes]]\npack = 1");
    std::fs::write(edge.site.path("edge/codeferry.toml"), text).expect("written");
    let relay = edge.relay();
    let began = Instant::now();
    let pages: Vec<u16> = (0..8).map(|n| edge.get(&edge.callback(PERSON + n)).status).collect();
    // One at once, and one every 30 s within the 90 s that a code may wait. While these came, time passed too: on a busy
    // machine a later one may find the room that an earlier one did not.
    let taken = pages.iter().filter(|status| **status == 200).count();
    let since = 1 + began.elapsed().as_secs() as usize / 20;
    assert!((3..=4 + since).contains(&taken), "{pages:?}");
    assert!(pages.iter().all(|status| matches!(status, 200 | 503)), "{pages:?}");
    assert_eq!(pages[..3], [200; 3], "whoever comes first is taken");
    let counts = edge.counts();
    assert_eq!(
        (&counts["accepted"], &counts["busy"]),
        (&taken.into(), &(8 - taken).into())
    );
    drop(relay);
}
