//! What can go wrong, what is said of it, and that nothing half done is left unexplained.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::test_support::Account;

#[test]
fn a_wrong_key_is_the_operators_to_correct() {
    let mut place = Account::new();
    place.set("CODEFERRY_HOOKDECK_KEY", "another-CANARY");
    let (code, said) = place.fails(&["plan"]);
    assert_eq!(code, 2);
    assert!(
        said.contains("refuses the key (401)") && said.contains("set CODEFERRY_HOOKDECK_KEY"),
        "{said}"
    );
}

#[test]
fn every_secret_that_is_missing_is_named_at_once() {
    let mut place = Account::new();
    place.variables.retain(|(name, _)| name == "CODEFERRY_STATE_KEY");
    let (code, said) = place.fails(&["apply"]);
    assert_eq!(code, 2);
    for name in [
        "CODEFERRY_HOOKDECK_KEY",
        "CODEFERRY_RELAY_KEY",
        "CODEFERRY_WEBHOOK_TOKENS",
    ] {
        assert!(said.contains(name), "{said}");
    }
}

#[test]
fn a_limit_is_waited_for_and_not_for_ever() {
    let place = Account::new();
    place.api.project(|p| {
        p.faults = [
            ("sources", 429, Some("0.05"), json!({})),
            ("sources", 503, None, json!({})),
        ]
        .into();
    });
    assert!(place.fine(&["plan"]).contains("create connection"));
    place
        .api
        .project(|p| p.faults = (0..5).map(|_| ("", 429, Some("0.01"), json!({}))).collect());
    let before = place.api.project(|p| p.requests);
    let (code, said) = place.fails(&["plan"]);
    assert_eq!(code, 1);
    assert!(
        said.contains("limits the rate of requests") && said.contains("wait a minute"),
        "{said}"
    );
    assert_eq!(place.api.project(|p| p.requests) - before, 5);
}

#[test]
fn a_limit_that_is_reached_on_the_way_is_waited_for_and_nothing_is_done_twice() {
    let place = Account::new();
    let minute = Duration::from_secs(2);
    // The two lists and the trial; what comes then has to wait.
    place.api.project(|p| p.leave(3, minute));
    let began = Instant::now();
    place.fine(&["apply"]);
    assert!(began.elapsed() >= minute, "{:?}", began.elapsed());
    assert_eq!(place.api.project(|p| p.limited), 1, "told how long, it asks once more");
    let puts = place.api.puts();
    assert_eq!(puts, ["transformations codeferry", "connections codeferry-0"]);
    place.fine(&["plan"]);
    assert_eq!(place.api.puts(), Vec::<String>::new());
}

#[test]
fn what_was_done_before_a_refusal_is_said_and_the_next_apply_goes_on() {
    let place = Account::new();
    place.api.project(|p| {
        let message = json!({ "code": "x", "status": 422, "message": "Unprocessable Entity", "data": ["\"url\" token-CANARY-0 is bad"] });
        // The list, which has no source yet, asks for no connections.
        p.faults = [("connections", 422, None, message)].into();
    });
    let (code, said) = place.fails(&["apply"]);
    assert_eq!(code, 2);
    for part in [
        "cannot create or update `connection codeferry-0`; already done: transformation codeferry",
        "(422): Unprocessable Entity: [\"\\\"url\\\" [redacted] is bad\"]",
        "then run the same command again",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    place.api.puts();
    place.fine(&["apply"]);
    assert_eq!(place.api.puts(), ["connections codeferry-0"]);
    assert!(place.fine(&["plan"]).starts_with("nothing would change"));
}

#[test]
fn another_projects_key_makes_no_second_source() {
    let place = Account::new();
    place.configure(1, "https://hkdk.events/elsewhere");
    let (code, said) = place.fails(&["apply"]);
    assert_eq!(code, 2);
    assert!(
        said.contains("project has no source `codeferry`") && said.contains("--new-source"),
        "{said}"
    );
    assert_eq!(place.api.puts(), [""; 0]);
    place.fine(&["apply", "--new-source"]);
}

#[test]
fn a_script_that_hookdeck_does_not_run_changes_nothing() {
    let place = Account::new();
    let marked = json!({ "x-codeferry-lane": "0" });
    for (trial, said_of_it) in [
        (
            json!({ "log_level": "fatal", "request": null }),
            "does not run the script (its log level is `fatal`)",
        ),
        (
            json!({ "log_level": "debug", "request": { "headers": {}, "body": {} } }),
            "not marked with its lane",
        ),
        (
            json!({ "log_level": "debug", "request": { "headers": marked, "body": { "content": "x" } } }),
            "cannot be read",
        ),
    ] {
        place.api.project(|p| p.trial = Some(trial));
        let (code, said) = place.fails(&["apply"]);
        assert_eq!(code, 1);
        assert!(
            said.contains(said_of_it) && said.contains("nothing was changed"),
            "{said}"
        );
    }
    assert_eq!(place.api.puts(), [""; 0]);
}

#[test]
fn a_hookdeck_that_is_not_there_is_said() {
    let place = Account::new();
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a port");
    let mut place = place;
    place.set("CODEFERRY_HOOKDECK__API_BASE", &format!("http://{gone}/2025-07-01"));
    let (code, said) = place.fails(&["plan"]);
    assert_eq!(code, 1);
    assert!(
        said.contains("cannot be reached") && said.contains("hookdeck.api_base"),
        "{said}"
    );
}
