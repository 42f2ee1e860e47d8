//! The worst of the network against the whole service: who is held up, what is lost, and that it all ends.

use std::time::Duration;

use codeferry::simulator::faults::{Endpoint, Fault, FaultBody, FaultRule};
use codeferry::simulator::limits::{EdgeForm, Scope};
use codeferry::simulator::{Simulator, SimulatorOptions};

use super::test_support::Site;
use crate::patience::until;
use crate::tally::{Tally, tell};

/// Calls give up after a second here, so that a test need not wait for ten.
const IMPATIENT: &str = "[stages.exchange]\ntimeout = \"1s\"\n[stages.fetch]\ntimeout = \"1s\"\n\
    [stages.deliver]\ntimeout = \"1s\"\n[stages.revoke]\ntimeout = \"1s\"\n";
/// What the service calls for a sign-in from beginning to end.
pub const CALLED: [Endpoint; 6] = [
    Endpoint::Token,
    Endpoint::Me,
    Endpoint::Revoke,
    Endpoint::Webhook,
    Endpoint::Messages,
    Endpoint::Delete,
];
const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until every token is dead and no code was presented after its token came; reports what became of the codes.
#[track_caller]
fn settles(site: &Site, kind: &str, completed: usize, lost: usize) {
    let done = || (site.results_of("completed"), site.results_of("lost")) == (completed, lost);
    until(
        PATIENCE,
        &format!("{completed} completed, {lost} lost: {:?}", site.results()),
        done,
    );
    let left = || site.simulator.summary().tokens_left;
    until(PATIENCE, "no token left", || left() == 0);
    let summary = site.simulator.summary();
    assert_eq!(summary.presented_twice, 0);
    assert_eq!(site.results().len(), completed + lost, "every code has one result");
    // A token in a lost answer cannot be revoked: its code ends as `lost`.
    let tally = Tally {
        tried: summary.codes as u64,
        survived: (completed + lost) as u64,
        ..Tally::default()
    };
    tell(&format!("network: {kind}"), tally);
}

fn add(simulator: &Simulator, endpoint: Endpoint, fault: Fault, change: impl FnOnce(FaultRule) -> FaultRule) {
    simulator.faults().add(change(FaultRule::on(endpoint, fault)));
}

#[test]
fn a_token_endpoint_that_drips_costs_one_code_and_holds_up_no_other() {
    let site = Site::without_limits(IMPATIENT);
    let service = site.run_ready();
    add(&site.simulator, Endpoint::Token, Fault::Drip { ms: 1_000 }, |r| {
        r.times(1)
    });
    site.sign_in(0, 1);
    until(PATIENCE, "the drip began", || site.simulator.summary().presented == 1);
    site.sign_in(1, 10);
    until(PATIENCE, "the others complete", || site.results_of("completed") == 10);
    settles(&site, "the token endpoint drips", 10, 1);
    assert_eq!(
        site.simulator.summary().orphans,
        1,
        "the token that dripped is nobody's"
    );
    site.sign_in(0, 1);
    until(PATIENCE, "a new link helps", || site.results_of("completed") == 11);
    until(PATIENCE, "and the orphan dies with its revocation", || {
        site.simulator.summary().orphans == 0
    });
    service.drain();
}

#[test]
fn revocations_that_fail_for_a_while_are_made_again_and_hold_up_no_result() {
    let site = Site::without_limits(IMPATIENT);
    let service = site.run_ready();
    let failing = Fault::Status {
        status: 500,
        body: FaultBody::Html,
        retry_after: None,
        after_work: false,
    };
    add(&site.simulator, Endpoint::Revoke, failing, |r| {
        r.lasting(Duration::from_secs(3))
    });
    site.sign_in(0, 10);
    until(PATIENCE, "results do not wait for revocations", || {
        site.results_of("completed") == 10
    });
    settles(&site, "revocations fail for a while", 10, 0);
    let failed = site.simulator.ledger().answer_count("revoke", 500);
    assert!((10..=60).contains(&failed), "tried again, and not in a loop: {failed}");
    service.drain();
}

#[test]
fn a_storm_of_429s_loses_nothing_and_is_not_answered_with_a_storm_of_calls() {
    let sink = |webhook: &str| {
        format!("{IMPATIENT}[[delivery]]\nname = \"channel\"\nkind = \"discord_webhook\"\nwebhook_id = \"{webhook}\"\n")
    };
    // Our own limits are on: they are part of what is tried.
    let site = Site::new(SimulatorOptions::without_limits(), "");
    site.configure(&sink(&site.about.results.webhook.id));
    let service = site.run_ready();
    let storm = |r: FaultRule| r.with_chance(0.5).lasting(Duration::from_secs(4));
    for endpoint in CALLED {
        for (scope, retry_after_ms) in [(Scope::User, 400), (Scope::Shared, 700), (Scope::Global, 300)] {
            let limited = Fault::RateLimited { scope, retry_after_ms };
            add(&site.simulator, endpoint, limited, storm);
        }
    }
    for form in [EdgeForm::Text, EdgeForm::Html, EdgeForm::Json] {
        let refused = Fault::Edge {
            form,
            retry_after: Some(1),
        };
        add(&site.simulator, Endpoint::Any, refused, |r| r.times(1).after(5));
    }
    site.sign_in(0, 6);
    settles(&site, "a storm of 429s", 6, 0);
    until(PATIENCE, "the other sink has them too", || {
        site.simulator
            .ledger()
            .posts
            .iter()
            .filter(|p| posted_result(&site, p.channel_id) && p.status < 300)
            .count()
            == 6
    });
    let refused: u64 = site
        .simulator
        .ledger()
        .answers
        .values()
        .filter_map(|a| a.get(&429))
        .sum();
    assert!((1..=150).contains(&refused), "{refused} refusals");
    assert!(site.simulator.summary().worst_minute <= 30);
    service.drain();
}

fn posted_result(site: &Site, channel: u64) -> bool {
    site.about.results.channel_id == channel.to_string()
}

#[test]
fn answers_that_come_after_fifteen_seconds_are_not_waited_for() {
    let site = Site::without_limits(IMPATIENT);
    let service = site.run_ready();
    // The code of the first is spent although its answer never came; the second is only fetched, revoked again.
    let late = || Fault::DelayAnswer { ms: 15_000 };
    add(&site.simulator, Endpoint::Token, late(), |r| r.times(1));
    add(&site.simulator, Endpoint::Me, late(), |r| r.times(2));
    add(&site.simulator, Endpoint::Revoke, late(), |r| r.times(2));
    site.sign_in(0, 1);
    until(PATIENCE, "the first was presented", || {
        site.simulator.summary().presented == 1
    });
    site.sign_in(1, 4);
    settles(&site, "answers after 15 s", 4, 1);
    service.drain();
}
