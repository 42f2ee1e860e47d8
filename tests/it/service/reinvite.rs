//! A code that expires: its user gets a direct message with a fresh link, once, and the result says so.

use std::time::Duration;

use codeferry::simulator::limits::Scope;
use codeferry::simulator::person::Person;
use codeferry::simulator::{Endpoint, Fault, FaultBody, FaultRule, SimulatorOptions};
use serde_json::{Value, json};

use super::commands::{asked, open};
use super::links::{ask, state_of};
use super::live::metrics;
use super::test_support::{PERSON, Site, redirect};
use crate::patience::until;

const SOON: Duration = Duration::from_secs(20);
const ON: &str = "[intake]\ncode_lifetime = \"2s\"\n[reinvite]\nenabled = true\n";
const NO_LIMITS: &str = "[limits]\nwebhook = \"off\"\nglobal = \"off\"\noauth = \"off\"\n";

/// The next code is not looked at before it is dead.
fn let_one_die(site: &Site) {
    let busy = Fault::RateLimited {
        scope: Scope::User,
        retry_after_ms: 3_000,
    };
    site.simulator
        .faults()
        .add(FaultRule::on(Endpoint::Token, busy).times(1));
}

/// The results of dead codes, once there are so many.
#[track_caller]
fn dead(site: &Site, count: usize) -> Vec<Value> {
    until(SOON, "the results of dead codes", || {
        site.results_of("expired") == count
    });
    let results = site.results().into_iter();
    results.filter(|r| r["type"] == "authorization.expired").collect()
}

#[test]
fn a_dead_codes_person_is_sent_one_link_that_works_and_no_second_one() {
    let site = Site::new(SimulatorOptions::without_limits(), &format!("{NO_LIMITS}{ON}"));
    let service = site.run_ready();
    let_one_die(&site);
    site.sign_in(0, 1);
    assert_eq!(dead(&site, 1)[0]["reinvited"], true);
    let messages = site.simulator.direct_messages(PERSON);
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(
        messages[0]["content"]
            .as_str()
            .is_some_and(|t| t.contains("within 5 min")),
        "{messages:?}"
    );
    let link = messages[0]["components"][0]["components"][0]["url"].clone();
    open(&site, &link, PERSON);
    until(SOON, "the person is in", || site.results_of("completed") == 1);
    let done = site
        .results()
        .into_iter()
        .find(|r| r["type"] == "authorization.completed");
    assert_eq!(done.expect("it is there").get("reinvited"), None);

    // The code from another user's fresh link expires as well.
    let_one_die(&site);
    site.sign_in(1, 1);
    dead(&site, 2);
    let messages = site.simulator.direct_messages(PERSON + 1);
    let_one_die(&site);
    open(&site, &messages[0]["components"][0]["components"][0]["url"], PERSON + 1);
    assert_eq!(dead(&site, 3)[2]["reinvited"], false);
    assert_eq!(site.simulator.direct_messages(PERSON + 1).len(), 1);
    service.drain();
    assert_eq!(site.json(&["debug", "queue", "list"])["total"], 0);
}

/// What a relay says of a code that died in it.
fn died_in_the_relay(site: &Site, state: &str) {
    site.post(0, site.sign(&[redirect(Err("relay_expired".to_owned()), state)]));
}

#[test]
fn a_code_that_died_in_the_relay_brings_a_link_that_works_and_no_second_one() {
    let site = Site::new(
        SimulatorOptions::without_limits(),
        &format!("{NO_LIMITS}[reinvite]\nenabled = true\n"),
    );
    let service = site.run_ready();
    let state = site.state(PERSON);
    died_in_the_relay(&site, &state);
    let told = &dead(&site, 1)[0];
    assert_eq!(
        (&told["reason"], &told["reinvited"]),
        (&json!("relay_expired"), &json!(true))
    );
    assert_eq!(told["state"]["user_id"], PERSON.to_string());
    let messages = site.simulator.direct_messages(PERSON);
    assert_eq!(messages.len(), 1, "{messages:?}");
    // A relay whose post had no clear answer says it once more.
    died_in_the_relay(&site, &state);
    let duplicates = || site.json(&["debug", "queue", "stats"])["closed"]["duplicate"].as_u64();
    until(SOON, "the second word is known", || duplicates() == Some(1));
    open(&site, &messages[0]["components"][0]["components"][0]["url"], PERSON);
    until(SOON, "the person is in", || site.results_of("completed") == 1);
    assert_eq!(site.simulator.direct_messages(PERSON).len(), 1);

    // Another one's fresh link comes to nothing in the relay as well.
    died_in_the_relay(&site, &site.state(PERSON + 1));
    dead(&site, 2);
    let messages = site.simulator.direct_messages(PERSON + 1);
    let fresh = messages[0]["components"][0]["components"][0]["url"]
        .as_str()
        .expect("a link");
    died_in_the_relay(&site, &state_of(fresh));
    assert_eq!(dead(&site, 3)[2]["reinvited"], false);
    assert_eq!(site.simulator.direct_messages(PERSON + 1).len(), 1);
    assert_eq!(asked(&site, "create_message"), 2);
    service.drain();
    assert_eq!(site.json(&["debug", "queue", "list"])["total"], 0);
}

#[test]
fn two_dead_codes_of_one_consent_bring_one_message_and_a_lost_one_brings_one_too() {
    let site = Site::new(
        SimulatorOptions::without_limits(),
        &format!("{NO_LIMITS}{ON}text = \"Once more: {{{{ link }}}}\"\n"),
    );
    let service = site.run_ready();
    let_one_die(&site);
    let state = site.state(PERSON);
    let codes = [0, 1].map(|_| (site.code(PERSON, &state), state.clone()));
    site.post(0, site.message(&codes));
    for result in dead(&site, 2) {
        assert_eq!(result["reinvited"], true);
    }
    let messages = site.simulator.direct_messages(PERSON);
    assert_eq!(messages.len(), 1, "{messages:?}");
    let content = messages[0]["content"].as_str().expect("a text");
    let link = content.strip_prefix("Once more: ").expect("the text as configured");
    assert_eq!((state_of(link).len(), &messages[0]["components"]), (57, &json!([])));

    let unclear = Fault::Status {
        status: 500,
        body: FaultBody::Json,
        retry_after: None,
        after_work: false,
    };
    site.simulator.faults().clear();
    site.simulator.faults().add(FaultRule::on(Endpoint::Token, unclear));
    site.sign_in(1, 1);
    until(SOON, "a lost code", || site.results_of("lost") == 1);
    let lost = site.results().into_iter().find(|r| r["type"] == "authorization.lost");
    assert_eq!(lost.expect("it is there")["reinvited"], true);
    assert_eq!(site.simulator.direct_messages(PERSON + 1).len(), 1);
    service.drain();
}

#[test]
fn who_takes_no_direct_messages_is_not_asked_twice() {
    let site = Site::new(SimulatorOptions::without_limits(), &format!("{NO_LIMITS}{ON}"));
    let mut person = Person::synthetic(PERSON);
    person.direct_messages_closed = true;
    site.simulator.set_person(person);
    let service = site.run_ready();
    let_one_die(&site);
    site.sign_in(0, 1);
    assert_eq!(dead(&site, 1)[0]["reinvited"], false);
    assert_eq!(asked(&site, "create_message"), 1);
    service.logs("does not accept direct messages");
    service.drain();
}

#[test]
fn a_message_that_cannot_be_sent_at_once_is_sent_a_little_later() {
    let site = Site::new(SimulatorOptions::without_limits(), &format!("{NO_LIMITS}{ON}"));
    let service = site.run_ready();
    let failed = Fault::Status {
        status: 503,
        body: FaultBody::Html,
        retry_after: None,
        after_work: true,
    };
    site.simulator
        .faults()
        .add(FaultRule::on(Endpoint::CreateMessage, failed).times(2));
    let_one_die(&site);
    site.sign_in(0, 1);
    assert_eq!(dead(&site, 1)[0]["reinvited"], true);
    assert_eq!(asked(&site, "create_message"), 3);
    assert_eq!(
        site.simulator.direct_messages(PERSON).len(),
        1,
        "each was the same message"
    );
    service.drain();
}

#[test]
fn where_the_gate_is_full_the_invitation_and_the_result_wait_for_a_place() {
    // One place: what is left of a code's life after its way is nothing, so only the burst counts.
    let site = Site::new(
        SimulatorOptions::without_limits(),
        &format!("[gate]\nshare = 0.2\n[state]\nlifetime = \"4s\"\n{ON}"),
    );
    let service = site.run_ready();
    assert_eq!(ask(&site, PERSON + 1).status, 200);
    let_one_die(&site);
    site.sign_in(0, 1);
    assert_eq!(dead(&site, 1)[0]["reinvited"], true);
    assert_eq!(site.simulator.direct_messages(PERSON).len(), 1);
    let metrics = metrics(&site);
    let waited = "codeferry_attempts_total{step=\"invite\",answer=\"invitation_deferred\"}";
    assert!(metrics.contains(waited), "{metrics}");
    service.drain();
}

#[test]
fn where_the_gate_has_no_room_in_time_nobody_is_written_to_and_the_result_says_so() {
    // One place, and a channel that frees another one after a minute: later than an invitation is tried.
    let mut site = Site::new(
        SimulatorOptions::without_limits(),
        "[limits]\nwebhook = { per_minute = 2, burst = 1 }\n[gate]\nshare = 0.2\n[reinvite]\nenabled = true\n\
         [[delivery]]\nname = \"deaf\"\nkind = \"http\"\nurl = \"http://127.0.0.1:1/\"\n",
    );
    let secret = "whsec_Q0FOQVJZLWNhbGxiYWNrLXNlY3JldC0wMTIz".to_owned();
    site.variables.insert("CODEFERRY_CALLBACK_SECRET".to_owned(), secret);
    let service = site.run_ready();
    assert_eq!(
        (ask(&site, PERSON + 1).status, ask(&site, PERSON + 2).status),
        (200, 429)
    );
    died_in_the_relay(&site, &site.state(PERSON));
    let told = &dead(&site, 1)[0];
    assert_eq!(
        (&told["reason"], &told["reinvited"]),
        (&json!("relay_expired"), &json!(false))
    );
    // It stays open for the sink that cannot be reached.
    let shown = site.json(&["debug", "queue", "show", told["id"].as_str().expect("an id")]);
    assert_eq!(shown["invitation"], "no_room", "{shown}");
    assert_eq!(site.simulator.direct_messages(PERSON), Vec::<Value>::new());
    assert_eq!(asked(&site, "create_message"), 0);
    let metrics = metrics(&site);
    let tried = "codeferry_attempts_total{step=\"invite\",answer=\"invitation_deferred\"} 1";
    assert!(metrics.contains(tried), "{metrics}");
    assert_eq!(
        site.json(&["debug", "queue", "stats"])["links"],
        1,
        "the other one's place is still theirs"
    );
    service.drain();
}

#[test]
fn nothing_is_said_of_invitations_where_there_are_none() {
    let site = Site::new(
        SimulatorOptions::without_limits(),
        &format!("{NO_LIMITS}[intake]\ncode_lifetime = \"2s\"\n"),
    );
    let service = site.run_ready();
    let_one_die(&site);
    site.sign_in(0, 1);
    assert_eq!(dead(&site, 1)[0].get("reinvited"), None);
    assert_eq!(asked(&site, "direct_message"), 0);
    service.drain();
}
