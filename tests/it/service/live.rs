//! A running service seen from outside, and changed while it runs.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use codeferry::simulator::{PostAuthor, PostRequest};
use serde_json::Value;

use super::test_support::{PERSON, Site, exits};
use crate::patience::until;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn saving_the_file_applies_limits_and_log_and_names_what_waits_for_a_restart() {
    let site = Site::without_limits("");
    let service = site.run_ready();
    let limit = || site.json(&["debug", "budget"]).to_string();
    assert!(!limit().contains("\"limit\":7"), "{}", limit());
    let text = fs::read_to_string(site.file()).expect("readable");
    let changed = text.replace("oauth = \"off\"", "oauth = { per_second = 7, burst = 7 }");
    assert_ne!(text, changed);
    let changed = format!("{changed}\n[shutdown]\ngrace = \"31s\"\n[log]\nlevel = \"debug\"\n");
    fs::write(site.file(), &changed).expect("written");
    service.logs("configuration reloaded");
    service.logs("limits.oauth");
    service.logs("shutdown.grace");
    until(SOON, "the new limit", || limit().contains("\"limit\":7"));
    // Other work of the same process is logged at the new level.
    site.sign_in(0, 1);
    service.logs("step done");
    fs::write(site.file(), "[limits]\noauth = 5\n").expect("written");
    service.logs("the configuration was not reloaded");
    fs::write(site.file(), changed).expect("written");
    let told = || service.log().matches("need a restart").count();
    until(SOON, "what waits is told again", || told() == 2);
    assert!(limit().contains("\"limit\":7"));
    service.drain();
}

#[test]
fn foreign_and_malformed_messages_are_counted_once_each() {
    let site = Site::without_limits("[intake]\npoll_every = \"1s\"\nafter_receipt = \"keep\"\n");
    let service = site.run_ready();
    let (channel, webhook) = site.lane(0);
    let approved = site.approved(PERSON);
    let message = site.message(std::slice::from_ref(&approved));
    site.simulator
        .post(PostRequest::new(channel, PostAuthor::Person(PERSON), message.clone()));
    site.simulator
        .post(PostRequest::new(channel, PostAuthor::OtherBot, message));
    site.simulator.post(PostRequest::webhook(
        webhook,
        format!("<@{}>{{\"nonsense\":true}}", site.bot()),
    ));
    site.sign_in(1, 1);
    let read = |what: &str| site.json(&["debug", "queue", "stats"])["messages"][what].as_u64();
    until(SOON, "one accepted", || read("accepted") == Some(1));
    until(SOON, "two foreign", || read("foreign") >= Some(2));
    // Several readings of the history later they are still what they were.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(
        (read("accepted"), read("foreign"), read("malformed")),
        (Some(1), Some(2), Some(1))
    );
    let metrics = metrics(&site);
    for line in [
        "codeferry_messages_total{result=\"foreign\"} 2",
        "codeferry_open_grants{state=\"settling\"} 0",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line}:\n{metrics}");
    }
    service.drain();
}

/// `GET /v1/metrics` over the control socket.
pub fn metrics(site: &Site) -> String {
    let mut socket = UnixStream::connect(site.path("data/control.sock")).expect("the service listens");
    socket
        .write_all(b"GET /v1/metrics HTTP/1.1\r\nHost: codeferry\r\nConnection: close\r\n\r\n")
        .expect("written");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

#[test]
fn the_live_view_looks_into_a_running_service_and_a_stopped_store() {
    let site = Site::without_limits("");
    let nothing = site.codeferry(&["debug", "watch", "--looks", "1"]);
    let (_, err) = exits(&nothing, 1);
    assert!(err.contains("there is no journal at"), "{err}");
    assert!(!site.path("data/journal").exists());
    let service = site.run_ready();
    let look = |running: bool| {
        let output = site.codeferry(&["debug", "watch", "--looks", "2", "--json"]);
        let (out, _) = exits(&output, 0);
        let looks: Vec<Value> = out.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        assert_eq!(looks.len(), 2);
        assert!(
            looks
                .iter()
                .all(|l| l["running"] == running && l["stats"]["open"].is_object()),
            "{out}"
        );
    };
    look(true);
    service.drain();
    look(false);
    let (out, _) = exits(&site.codeferry(&["debug", "watch", "--looks", "1"]), 0);
    assert!(out.contains("service stopped"), "{out}");
}
