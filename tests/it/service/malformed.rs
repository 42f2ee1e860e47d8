//! Malformed input, from the channel and from Discord: it is named in the log without its content, nothing panics, nothing
//! that has a token is left unrevoked, and a good code afterwards completes.

use std::time::Duration;

use codeferry::simulator::{Endpoint, Fault, FaultRule, PostRequest};
use serde_json::json;

use super::test_support::{PERSON, Service, Site};
use crate::patience::until;

/// Stands in everything malformed, and must stand in no log.
const CANARY: &str = "CANARY0123456789CANARY";

/// A site that takes both message versions, reads history often and logs everything.
fn site() -> Site {
    let mut site = Site::without_limits("");
    for (name, value) in [
        ("CODEFERRY_INTAKE__ACCEPT", "[\"v0\", \"v1\"]"),
        ("CODEFERRY_INTAKE__POLL_EVERY", "200ms"),
        ("CODEFERRY_LOG", "trace"),
    ] {
        site.variables.insert(name.to_owned(), value.to_owned());
    }
    site
}

/// A good code is posted, completes, and leaves no token.
#[track_caller]
fn a_good_code_completes(site: &Site, service: &Service, person: u64) {
    let before = site.results_of("completed");
    site.sign_in(person, 1);
    until(Duration::from_secs(30), "a good code completes", || {
        site.results_of("completed") == before + 1
    });
    until(Duration::from_secs(30), "no token is left", || {
        site.simulator.summary().tokens_left == 0
    });
    assert!(!service.log().contains("panicked"), "{}", service.log());
}

#[track_caller]
fn says_nothing_of(service: &Service, secrets: &[&str]) {
    let log = service.log();
    for secret in secrets {
        assert!(!log.contains(secret), "`{secret}` is in the log:\n{log}");
    }
}

#[test]
fn malformed_messages_are_named_without_their_content_and_stop_nothing() {
    let site = site();
    let service = site.run_ready();
    let bot = site.bot();
    let (code, state) = site.approved(PERSON + 50);
    let v0 = |body: serde_json::Value| format!("<@{bot}>{body}");
    let v1 = |line: &str| format!("<@{bot}>\nv1 1700000000 {line}");
    let messages = [
        // Version 0.
        (format!("<@{bot}>{CANARY}"), "not JSON"),
        (format!("<@{bot}>{{\"code\":\"{CANARY}\""), "not JSON"),
        (v0(json!({"state": CANARY})), "no code"),
        (v0(json!({"code": "", "state": CANARY})), "no code"),
        (v0(json!({"code": 7, "state": CANARY})), "a field has the wrong type"),
        (
            v0(json!({"code": CANARY, "state": {"a": CANARY}})),
            "a field has the wrong type",
        ),
        (
            v0(json!({"code": format!("{CANARY}\r\nHost: evil.example\r\n\r\n")})),
            "not a code",
        ),
        (
            v0(json!({"code": format!("{CANARY}&grant_type=client_credentials&scope=x")})),
            "not a code",
        ),
        (v0(json!([CANARY])), "not JSON"),
        (
            format!("<@{bot}>{{\"code\":\"{}\"}}", CANARY.repeat(40_000 / CANARY.len())),
            "too long",
        ),
        (" \n\t ".to_owned(), "empty"),
        (CANARY.to_owned(), "neither version 0 nor version 1"),
        // Version 1.
        (v1(CANARY), "no MAC line"),
        (
            format!("{}\nm1 {}", v1(&format!("{CANARY} -")), "A".repeat(43)),
            "forged: the MAC matches no relay key",
        ),
    ];
    let webhook = site.lane(0).1;
    for (content, reason) in &messages {
        let mark = service.log().len();
        site.post(0, content.clone());
        let named = format!("reason={reason}");
        until(Duration::from_secs(20), &named, || {
            service.log()[mark..].contains(&named)
        });
    }
    // Content that came empty is looked up in the history, and stops nothing either.
    site.simulator.post(PostRequest::webhook(webhook, "")).expect("posted");
    // Unknown fields do no harm.
    site.post(
        0,
        v0(json!({"code": code, "state": state, "time": 1_700_000_000, "more": [CANARY], "code2": null})),
    );
    until(Duration::from_secs(20), "the code with extra fields completes", || {
        site.results_of("completed") == 1
    });
    a_good_code_completes(&site, &service, 0);
    assert_eq!(site.simulator.summary().presented, 2);
    says_nothing_of(&service, &[CANARY, "evil.example", &code, &state]);
    service.drain();
}

#[test]
fn a_code_with_line_breaks_or_form_fields_under_a_good_mac_is_never_sent() {
    let site = site();
    let service = site.run_ready();
    let state = site.approved(PERSON).1;
    let odd = [
        format!("{CANARY}%0D%0AX-Injected:%201"),
        format!("{CANARY}%26grant_type%3Dclient_credentials"),
        format!("{CANARY}&client_id=1"),
        "%00".repeat(20),
        "x".repeat(600),
    ];
    for code in odd {
        let mark = service.log().len();
        site.post(0, site.message(&[(code, state.clone())]));
        until(Duration::from_secs(20), "it is named", || {
            let log = &service.log()[mark..];
            log.contains("no readable line") || log.contains("lines of a message could not be read")
        });
    }
    a_good_code_completes(&site, &service, 1);
    assert_eq!(site.simulator.summary().presented, 1);
    assert_eq!(site.simulator.ledger().answer_count("token", 400), 0);
    says_nothing_of(&service, &[CANARY, "X-Injected"]);
    service.drain();
}

#[test]
fn unknown_fields_in_every_answer_and_null_in_optional_ones_change_nothing() {
    let site = site();
    let faults = site.simulator.faults();
    faults.add(FaultRule::on(Endpoint::Any, Fault::UnknownFields));
    let service = site.run_ready();
    for person in 0..3 {
        a_good_code_completes(&site, &service, person);
    }
    faults.clear();
    let fields = ["avatar", "global_name", "email", "banner", "accent_color"];
    let fields = fields.map(str::to_owned).to_vec();
    faults.add(FaultRule::on(Endpoint::Me, Fault::NullFields { fields }));
    a_good_code_completes(&site, &service, 3);
    let results = site.results();
    let result = results.last().expect("a result");
    assert!(
        result["user"]["avatar"].is_null() && result["user"]["id"].is_string(),
        "{result}"
    );
    // Unknown fields are handed on as they came.
    assert!(results[0]["user"]["x_unheard_of"].is_object(), "{}", results[0]);
    service.drain();
}

/// An answer that is not what it should be, once, at each place a code passes; and what becomes of that code.
fn odd_answer(fault: &Fault, endpoint: Endpoint, outcome: &str) {
    let site = site();
    let service = site.run_ready();
    site.simulator
        .faults()
        .add(FaultRule::on(endpoint, fault.clone()).times(1));
    let code = site.sign_in(0, 1).remove(0);
    let what = format!("{fault:?} on {endpoint:?}: {outcome}");
    until(Duration::from_secs(40), &what, || site.results_of(outcome) == 1);
    until(Duration::from_secs(40), "no token is left", || {
        site.simulator.summary().tokens_left == 0
    });
    a_good_code_completes(&site, &service, 1);
    let ledger = site.simulator.ledger();
    let token = ledger.tokens.first().expect("a token");
    says_nothing_of(&service, &[&code, &token.token, "padding", "Just a moment"]);
    // Neither the body nor a copy of it is held: a service of this kind is well below this in a debug build.
    assert!(service.peak_memory_kb() < 80_000, "{} kB", service.peak_memory_kb());
    service.drain();
}

const HUGE: Fault = Fault::HugeAnswer { megabytes: 40 };

#[test]
fn forty_megabytes_in_place_of_a_token_end_as_lost_and_of_a_person_are_asked_for_again() {
    // The token was in an unreadable answer: the code was spent, and the result says so.
    odd_answer(&HUGE, Endpoint::Token, "lost");
    odd_answer(&HUGE, Endpoint::Me, "completed");
    odd_answer(&HUGE, Endpoint::Revoke, "completed");
}

#[test]
fn html_in_place_of_json_is_seen_for_what_it_is() {
    odd_answer(&Fault::HtmlAnswer, Endpoint::Token, "lost");
    odd_answer(&Fault::HtmlAnswer, Endpoint::Me, "completed");
    odd_answer(&Fault::HtmlAnswer, Endpoint::Revoke, "completed");
}

#[test]
fn json_that_breaks_off_is_seen_for_what_it_is() {
    // The token is in the half that came.
    odd_answer(&Fault::TruncatedJson, Endpoint::Token, "completed");
    odd_answer(&Fault::TruncatedJson, Endpoint::Me, "completed");
}

#[test]
fn a_history_that_is_html_or_40_mb_is_read_again_and_nothing_in_it_is_lost() {
    let site = site();
    let service = site.run_ready();
    let faults = site.simulator.faults();
    // The gateway brings nothing: what completes came from the history.
    faults.add(FaultRule::on(Endpoint::Webhook, Fault::DeliverNever));
    for (person, fault) in [(0, Fault::HtmlAnswer), (1, HUGE), (2, Fault::TruncatedJson)] {
        let mark = service.log().len();
        faults.add(FaultRule::on(Endpoint::Messages, fault).times(3));
        a_good_code_completes(&site, &service, person);
        let log = &service.log()[mark..];
        assert!(log.contains("reading the history failed: retrying"), "{log}");
    }
    says_nothing_of(&service, &["padding", "Just a moment"]);
    assert!(service.peak_memory_kb() < 80_000, "{} kB", service.peak_memory_kb());
    service.drain();
}

#[test]
fn odd_answers_about_itself_at_the_start_are_asked_for_again() {
    let site = site();
    let faults = site.simulator.faults();
    for endpoint in [
        Endpoint::Application,
        Endpoint::Channel,
        Endpoint::WebhookItself,
        Endpoint::GatewayUrl,
    ] {
        for fault in [Fault::HtmlAnswer, HUGE, Fault::TruncatedJson] {
            faults.add(FaultRule::on(endpoint, fault).times(1));
        }
    }
    let service = site.run_ready();
    a_good_code_completes(&site, &service, 0);
    says_nothing_of(&service, &["padding", "Just a moment"]);
    service.drain();
}
