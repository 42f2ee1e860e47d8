//! The whole way of a code.

use std::fs;
use std::time::Duration;

use codeferry::simulator::{Endpoint, Fault, FaultRule};

use serde_json::json;

use super::test_support::Site;
use crate::patience::until;

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
    until(Duration::from_secs(20), "no source message left", || {
        site.simulator.message_count(channel) == 0
    });
    service.drain();
    assert_eq!((summary().presented, summary().presented_twice), (20, 0));
    assert_eq!(site.json(&["debug", "verify"])["ok"], true);
    assert_eq!(site.json(&["debug", "queue", "list"])["total"], 0);
}

#[test]
fn a_gateway_that_is_not_found_at_once_does_not_end_the_start() {
    let site = Site::without_limits("");
    let cut = FaultRule::on(Endpoint::GatewayUrl, Fault::LostAnswer).times(2);
    site.simulator.faults().add(cut);
    let service = site.run_ready();
    let struck = site.simulator.faults().list()[0].struck;
    assert_eq!(struck, 2, "{}", service.log());
    site.sign_in(0, 1);
    until(Duration::from_secs(20), "a result", || {
        site.results_of("completed") == 1
    });
    service.drain();
}

#[test]
fn a_person_who_did_not_grant_a_scope_completes_without_it_and_costs_no_refusal() {
    let site = Site::without_limits("[fetch]\nresources = [\"user\", \"guilds\", \"connections\"]\n");
    let text = fs::read_to_string(site.file()).expect("a configuration");
    let scopes = "[discord]\nscopes = [\"identify\", \"guilds\", \"connections\"]\n";
    fs::write(site.file(), text.replace("[discord]\n", scopes)).expect("written");
    let service = site.run_ready();
    site.sign_in(0, 3);
    until(Duration::from_secs(20), "they complete", || {
        site.results_of("completed") == 3
    });
    for result in site.results() {
        assert_eq!(result["missing"], json!(["guilds", "connections"]), "{result}");
        assert!(result["guilds"].is_null() && result["user"].is_object(), "{result}");
        assert!(result.as_object().expect("an object").contains_key("guilds"));
    }
    assert_eq!(site.simulator.ledger().answer_count("guilds", 401), 0);
    service.drain();
}
