//! `doctor --probe`: what it posts is seen, ignored by the service, and removed.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use codeferry::simulator::options::SimulatorOptions;
use serde_json::Value;

use super::SetUp;
use crate::patience::until;
use crate::service::test_support::{RELAY_KEY, exits};

const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const FAST: &str = "[intake]\npoll_every = \"1s\"\n[[intake.lanes]]";

fn set_up(options: SimulatorOptions) -> SetUp {
    let mut set_up = SetUp::new(options);
    set_up.edit("[[intake.lanes]]", FAST);
    set_up
}

#[track_caller]
fn found<'a>(checks: &'a [Value], name: &str) -> &'a Value {
    let mut checks = checks.iter();
    checks
        .find(|check| check["name"] == name)
        .unwrap_or_else(|| panic!("nothing is said of {name}"))
}

#[track_caller]
fn named(checks: &[Value], id: &str, name: &str, says: &str) {
    let check = found(checks, name);
    assert_eq!(check["id"], id, "{checks:#?}");
    assert!(check["detail"].as_str().expect("a text").contains(says), "{check}");
}

#[test]
fn a_probe_is_taken_by_gateway_and_history_becomes_no_grant_and_leaves_the_channel_empty() {
    let set_up = set_up(SimulatorOptions::without_limits());
    let (code, checks) = set_up.probed();
    assert_eq!(code, 0, "{checks:#?}");
    let alone = found(&checks, "probe 0")["detail"].as_str().expect("a text");
    assert!(
        alone.contains("shown by the history") && alone.contains("no service runs"),
        "{alone}"
    );

    let service = set_up.site.run_ready();
    let begun = || set_up.site.simulator.gateway_status().identifies;
    until(super::SOON, "a session", || begun() == 1);
    let (code, checks) = set_up.probed();
    assert_eq!(code, 0, "{checks:#?}");
    let told = found(&checks, "probe 0")["detail"].as_str().expect("a text");
    assert!(told.contains("from gateway and history"), "{told}");
    assert_eq!(begun(), 1, "the service's own");
    let (channel, _) = set_up.site.lane(0);
    assert_eq!(set_up.site.simulator.message_count(channel), 0, "both probes are gone");
    let stats = set_up.site.json(&["debug", "queue", "stats"]);
    assert_eq!(stats["messages"]["probe_by_gateway"], 1, "{stats}");
    assert_eq!(stats["messages"]["accepted"], 0, "{stats}");
    let results = set_up.site.results();
    assert!(
        results.len() == 2 && results.iter().all(|result| result["type"] == "authorization.test"),
        "{results:?}"
    );
    service.drain();
}

#[test]
fn a_probe_that_the_service_cannot_verify_or_that_comes_without_the_gateway_is_named() {
    let mut set_up = set_up(SimulatorOptions::without_limits());
    set_up.write();
    let service = set_up.site.run_ready();
    set_up.set("CODEFERRY_RELAY_KEY", "another-relay-key-0123456789abcdef");
    let (code, checks) = set_up.probed();
    assert_eq!(code, 2);
    named(&checks, "CF222", "probe 0", "but not taken by the running service");
    set_up.set("CODEFERRY_RELAY_KEY", RELAY_KEY);
    service.drain();

    let mut options = SimulatorOptions::without_limits();
    options.gateway.session_starts = 40;
    let set_up = self::set_up(options);
    set_up.write();
    let service = set_up.site.run_ready();
    let (code, checks) = set_up.probed();
    assert_eq!(code, 0, "{checks:#?}");
    named(&checks, "CF223", "probe 0", "not from the gateway");
    service.drain();
}

#[test]
fn a_probe_that_is_refused_or_not_shown_is_named() {
    let set_up = self::set_up(SimulatorOptions::without_limits());
    set_up.permit(|held| held.read_history = false);
    let (code, checks) = set_up.probed();
    assert_eq!(code, 2);
    named(&checks, "CF221", "probe 0", "does not show the probe");
    let (channel, _) = set_up.site.lane(0);
    assert_eq!(
        set_up.site.simulator.message_count(channel),
        0,
        "it is removed all the same"
    );

    set_up.move_webhook(None);
    let (code, checks) = set_up.probed();
    assert_eq!(code, 2);
    named(&checks, "CF220", "probe 0", "webhook");
}

/// Answers every request alike, and hands on the bodies of posts with their heads.
fn receiver(status: &'static str, body: &'static str) -> (String, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/hook", listener.local_addr().expect("its address"));
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(connection);
            let mut head = String::new();
            while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.parse().ok())?
            });
            let mut posted = vec![0; length.unwrap_or(0)];
            if reader.read_exact(&mut posted).is_ok() && !posted.is_empty() {
                let _ = tell.send((head, posted));
            }
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            let _ = reader.into_inner().write_all(answer.as_bytes());
        }
    });
    (url, told)
}

#[test]
fn a_receiver_is_sent_a_signed_test_and_what_it_answers_is_shown() {
    for (status, body, id) in [
        ("204 No Content", "", Value::Null),
        ("401 Unauthorized", "no such\nsignature", "CF403".into()),
    ] {
        let (url, told) = receiver(status, body);
        let mut set_up = SetUp::new(SimulatorOptions::without_limits());
        set_up.set("CODEFERRY_CALLBACK_SECRET", SECRET);
        set_up.add(&format!(
            "[[delivery]]\nname = \"callback\"\nkind = \"http\"\nurl = \"{url}\""
        ));
        let (code, checks) = set_up.probed();
        let check = found(&checks, "test callback");
        assert_eq!(
            (check["id"].clone(), code),
            (id.clone(), if id.is_null() { 0 } else { 2 }),
            "{checks:#?}"
        );
        assert!(
            check["detail"].as_str().expect("a text").contains(&status[..3]),
            "{check}"
        );
        assert!(
            id.is_null() || check["detail"].as_str().expect("a text").ends_with("no such signature"),
            "{check}"
        );
        let (head, posted) = told.recv_timeout(Duration::from_secs(5)).expect("a post");
        let mut headers = http_headers(&head);
        let signer = standardwebhooks::Webhook::new(SECRET).expect("a secret");
        signer.verify(&posted, &headers).expect("signed");
        headers.remove("webhook-signature");
        assert!(signer.verify(&posted, &headers).is_err());
        let test: Value = serde_json::from_slice(&posted).expect("JSON");
        assert_eq!(test["type"], "authorization.test");
    }
}

fn http_headers(head: &str) -> reqwest::header::HeaderMap {
    let mut headers = reqwest::header::HeaderMap::new();
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        let name = reqwest::header::HeaderName::from_bytes(name.as_bytes()).expect("a name");
        headers.insert(name, value.parse().expect("a value"));
    }
    headers
}

#[test]
fn nothing_is_posted_without_being_asked() {
    let set_up = set_up(SimulatorOptions::without_limits());
    let (code, wrong) = set_up.examined();
    assert_eq!((code, wrong.len()), (0, 0), "{wrong:?}");
    assert!(set_up.site.results().is_empty());
    exits(&set_up.site.codeferry(&["doctor", "--probe", "--quick"]), 2);
}
