//! `debug`: the same answers from a running service and from a stopped store, quickly, and only with the token.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use codeferry::simulator::{CodeRequest, Endpoint, Fault, FaultRule, PostRequest};
use serde_json::Value;
use tokio::time::Instant;

use super::test_support::{PERSON, Site, exits};
use crate::patience::until;

const LIMITS: &str = "[limits]\nglobal = \"off\"\noauth = \"off\"\n";

/// A site whose codes wait: Discord refuses the credentials, so none is presented.
fn waiting(more: &str) -> Site {
    let mut site = Site::without_limits("");
    site.configure(&format!("{LIMITS}{more}"));
    site.variables
        .insert("CODEFERRY_INTAKE__CODE_LIFETIME".to_owned(), "10m".to_owned());
    site.simulator
        .faults()
        .add(FaultRule::on(Endpoint::Token, Fault::InvalidClient { status: 401 }));
    site
}

fn total(site: &Site) -> Option<u64> {
    site.json(&["debug", "queue", "list", "--limit", "1"])["total"].as_u64()
}

#[test]
fn a_list_of_10_000_open_grants_comes_within_200_ms() {
    const GRANTS: u64 = 10_000;
    let site = waiting("");
    let service = site.run_ready();
    let people: Vec<u64> = (PERSON..PERSON + GRANTS).collect();
    for some in people.chunks(16) {
        let approved: Vec<_> = some.iter().map(|person| site.approved(*person)).collect();
        site.post(0, site.message(&approved));
    }
    until(Duration::from_mins(2), "10,000 open grants", || {
        total(&site) == Some(GRANTS)
    });
    let mut times = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        let output = site.codeferry(&["debug", "queue", "list", "--json"]);
        times.push(start.elapsed());
        let (list, _) = exits(&output, 0);
        let list: Value = serde_json::from_str(&list).expect("JSON");
        assert_eq!(list["total"], GRANTS);
        assert_eq!(list["grants"].as_array().expect("grants").len(), 50);
    }
    // The best of five: the machine may be busy with something else.
    let best = times.iter().min().expect("five");
    assert!(*best < Duration::from_millis(200), "{times:?}");
    drop(service);
}

/// The keys of a value, with those of what it holds; a list is as its first element.
fn shape(value: &Value, at: &str, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let at = format!("{at}.{name}");
                shape(field, &at, keys);
                keys.insert(at);
            }
        }
        Value::Array(items) => {
            for item in items {
                shape(item, &format!("{at}[]"), keys);
            }
        }
        _ => {}
    }
}

fn shapes(site: &Site, id: &str) -> Vec<(String, BTreeSet<String>)> {
    let asked: [&[&str]; 7] = [
        &["queue", "list"],
        &["queue", "list", "--state", "closed"],
        &["queue", "list", "--parked"],
        &["queue", "show", id],
        &["queue", "stats"],
        &["budget"],
        &["verify"],
    ];
    let shaped = asked.map(|words| {
        let answer = site.json(&[&["debug"], words].concat());
        let mut keys = BTreeSet::new();
        shape(&answer, "", &mut keys);
        // Only a service that runs knows what happened since its start.
        keys.retain(|k| {
            [".since_start.", ".messages.", ".recent."]
                .iter()
                .all(|part| !k.starts_with(part))
        });
        (words.join(" "), keys)
    });
    shaped.into()
}

#[test]
fn a_running_service_and_a_stopped_store_answer_every_question_alike() {
    let site =
        waiting("[[delivery]]\nname = \"channel\"\nkind = \"discord_webhook\"\nwebhook_id = \"1536343300000000020\"\n");
    let service = site.run_ready();
    // Two that are closed, with a spent slot of the budget each, and three that wait.
    site.deny(2);
    until(Duration::from_secs(20), "two closed", || {
        site.json(&["debug", "queue", "list", "--state", "closed"])["total"] == 2
    });
    site.sign_in(10, 3);
    until(Duration::from_secs(20), "three open", || total(&site) == Some(3));
    let ended = site.json(&["debug", "queue", "list", "--state", "closed"]);
    let closed = ended["grants"][0]["id"].as_str().expect("an id").to_owned();
    let list = site.json(&["debug", "queue", "list"]);
    let id = |n: usize| list["grants"][n]["id"].as_str().expect("an id").to_owned();
    let (first, second, third) = (id(0), id(1), id(2));

    let refused = |words: &[&str], code: i32, says: &str| {
        let (_, error) = exits(&site.codeferry(&[&["debug", "queue"], words].concat()), code);
        assert!(error.starts_with("codeferry: ") && error.contains(says), "{error}");
    };
    let both_refuse = || {
        refused(&["show", "01J00000000000000000000000"], 1, "there is no grant");
        refused(&["drop", &third], 2, "add --yes");
        refused(&["requeue", &third], 1, "has no result yet: it is `received`");
        refused(&["drop", "01J00000000000000000000000", "--yes"], 1, "there is no grant");
        let over = "is closed and cannot be changed any more";
        refused(&["drop", &closed, "--yes"], 1, over);
        refused(&["requeue", &closed], 1, over);
    };
    let exported = || {
        let (text, _) = exits(&site.codeferry(&["debug", "queue", "export"]), 0);
        let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        lines.len()
    };
    let running = shapes(&site, &third);
    both_refuse();
    assert_eq!(exported(), 5);
    // Never presented, so it may be dropped; its result is delivered.
    let dropped = site.json(&["debug", "queue", "drop", &first, "--yes"]);
    assert_eq!(dropped["outcome"], "dropped", "{dropped}");
    until(Duration::from_secs(20), "its result", || {
        site.results_of("dropped") == 1
    });
    service.drain();

    let stopped = shapes(&site, &third);
    for ((question, running), (_, stopped)) in running.iter().zip(&stopped) {
        assert_eq!(running, stopped, "debug {question}");
        assert!(!running.is_empty(), "debug {question}");
    }
    both_refuse();
    assert_eq!(exported(), 5);
    let dropped = site.json(&["debug", "queue", "drop", &second, "--yes"]);
    assert_eq!(dropped["outcome"], "dropped", "{dropped}");
    exits(
        &site.codeferry(&["debug", "queue", "export", "--output", "grants.jsonl"]),
        0,
    );
    let lines = std::fs::read_to_string(site.path("grants.jsonl")).expect("exported");
    assert_eq!(lines.lines().count(), 5);

    // The next start delivers the result of the grant that was dropped in the stopped store, and continues the others.
    site.simulator.faults().clear();
    let service = site.run_ready();
    until(Duration::from_secs(20), "the rest", || {
        site.results_of("dropped") == 2 && site.results_of("completed") == 1
    });
    service.drain();
}

/// What a request over TCP is answered.
fn ask(address: SocketAddr, line: &str, authorization: &str) -> String {
    let mut connection = TcpStream::connect(address).expect("it listens");
    connection
        .set_read_timeout(Some(Duration::from_secs(4)))
        .expect("a timeout");
    let request = format!("{line} HTTP/1.1\r\nHost: x\r\n{authorization}Connection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("an answer");
    answer
}

const TOKEN: &str = "a-long-random-text-0123456789-abcdef";
const METRICS_TOKEN: &str = "another-random-text-0123456789-abcdef";

/// A site whose service answers over TCP, at this address.
fn over_tcp() -> (Site, SocketAddr) {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("its address");
    let mut site = Site::without_limits(&format!("[control]\nlisten = \"{address}\"\n"));
    for (name, token) in [
        ("CODEFERRY_CONTROL_TOKEN", TOKEN),
        ("CODEFERRY_METRICS_TOKEN", METRICS_TOKEN),
    ] {
        site.variables.insert(name.to_owned(), token.to_owned());
    }
    (site, address)
}

#[test]
fn over_tcp_nobody_is_answered_without_the_token() {
    let (site, address) = over_tcp();
    let service = site.run_ready();
    for wrong in [
        "",
        "Authorization: Bearer wrong\r\n",
        "Authorization: Bearer \r\n",
        "Authorization: Basic eA==\r\n",
    ] {
        for line in ["GET /v1/stats", "GET /v1/metrics", "GET /v1/nothing", "POST /v1/links"] {
            let answer = ask(address, line, wrong);
            assert!(answer.starts_with("HTTP/1.1 401"), "{line} {wrong}: {answer}");
            assert!(!answer.contains("tokens_held"), "{answer}");
        }
    }
    let answer = ask(address, "GET /v1/stats", &format!("Authorization: Bearer {TOKEN}\r\n"));
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("tokens_held"),
        "{answer}"
    );
    assert!(!service.log().contains(TOKEN));
    service.drain();
}

#[test]
fn no_body_is_read_before_the_token_and_none_of_more_than_4_kib() {
    let (site, address) = over_tcp();
    let service = site.run_ready();
    // The bodies never come: an answer that waited for one would come too late.
    for length in [100, 2_500_000] {
        let answer = ask(address, "POST /v1/links", &format!("Content-Length: {length}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 401"), "{length}: {answer}");
    }
    let right = format!("Content-Length: 4097\r\nAuthorization: Bearer {TOKEN}\r\n");
    let answer = ask(address, "POST /v1/links", &right);
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    service.drain();
}

#[test]
fn the_metrics_token_opens_the_metrics_and_nothing_else() {
    let (site, address) = over_tcp();
    let service = site.run_ready();
    let shown = format!("Authorization: Bearer {METRICS_TOKEN}\r\n");
    for right in [&shown, &format!("Authorization: Bearer {TOKEN}\r\n")] {
        let answer = ask(address, "GET /v1/metrics", right);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("codeferry_open_grants"), "{answer}");
    }
    for line in ["GET /v1/stats", "GET /v1/queue", "POST /v1/links", "POST /v1/metrics"] {
        let answer = ask(address, line, &shown);
        assert!(answer.starts_with("HTTP/1.1 403"), "{line}: {answer}");
    }
    service.drain();
}

#[test]
fn a_stale_socket_of_a_killed_service_misleads_nobody() {
    let site = Site::without_limits("");
    let service = site.run_ready();
    let code = site.simulator.mint_codes(&CodeRequest::of(PERSON)).remove(0);
    site.simulator
        .post(PostRequest::webhook(
            site.lane(0).1,
            site.message(&[(code, "not-a-state".to_owned())]),
        ))
        .expect("posted");
    let refused = || site.json(&["debug", "queue", "stats"])["closed"]["refused"].as_u64();
    until(Duration::from_secs(20), "it is refused", || refused() == Some(1));
    service.kill();
    assert!(site.path("data/control.sock").exists());
    assert_eq!(refused(), Some(1));
    let service = site.run_ready();
    assert_eq!(refused(), Some(1));
    service.drain();
    assert!(!site.path("data/control.sock").exists());
}

#[test]
fn a_file_that_is_no_socket_is_not_removed_for_one() {
    let mut site = Site::without_limits("");
    site.variables
        .insert("CODEFERRY_CONTROL__SOCKET".to_owned(), "notes.txt".to_owned());
    std::fs::write(site.path("notes.txt"), "important").expect("written");
    let (_, error) = exits(&site.codeferry(&["run"]), 1);
    assert!(error.contains("is not a socket"), "{error}");
    assert_eq!(
        std::fs::read_to_string(site.path("notes.txt")).expect("there"),
        "important"
    );
}
