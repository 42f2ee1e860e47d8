//! The whole way through a real relay and a real service.

use std::cell::Cell;
use std::time::Duration;

use codeferry::simulator::people::{Behaviour, browser, walk};

use super::test_support::{Edge, SOON, in_seconds, runtime};
use crate::patience::until;
use crate::service::test_support::PERSON;

#[test]
fn people_come_from_their_link_through_the_relay_to_a_result() {
    let edge = Edge::without_limits("");
    let relay = edge.relay();
    let service = edge.site.run_ready();
    let link = |person: u64| {
        let link = edge.site.json(&["link", &person.to_string()]);
        link["url"].as_str().expect("a URL").to_owned()
    };
    let people = [
        Behaviour::Approve,
        Behaviour::DoubleClick,
        Behaviour::Reload,
        Behaviour::Deny,
    ];
    for (n, behaviour) in people.into_iter().enumerate() {
        let person = PERSON + n as u64;
        let link = link(person);
        let visit = edge.runtime.block_on(walk(&edge.http, &link, person, behaviour));
        visit.expect("the person gets to the end");
    }
    until(SOON, "every result", || {
        (edge.site.results_of("completed"), edge.site.results_of("denied")) == (3, 1)
    });
    let counts = edge.counts();
    assert_eq!(
        (&counts["accepted"], &counts["repeated"], &counts["denied"]),
        (&5.into(), &1.into(), &1.into()),
        "{counts}"
    );
    until(SOON, "nothing waits", || edge.counts()["waiting"] == 0);
    until(SOON, "no token left", || edge.site.simulator.summary().tokens_left == 0);
    service.drain();
    relay.drain();
    let log = std::fs::read_to_string(edge.site.path("relay.log")).expect("a log");
    for secret in ["s1.", crate::service::test_support::KEY] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
    let codes: Vec<String> = edge.site.simulator.ledger().codes.into_iter().map(|c| c.code).collect();
    assert!(codes.len() >= 4 && !codes.iter().any(|code| log.contains(code.as_str())));
}

#[test]
fn a_reload_says_the_same_and_spends_nothing_and_a_head_has_not_come() {
    let edge = Edge::without_limits("");
    let relay = edge.relay();
    let channel = edge.site.lane(0).0;
    let callback = edge.callback(PERSON);
    let head = edge.send(edge.http.head(edge.url(&callback)));
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(edge.counts()["accepted"], 0);
    for n in 0..5 {
        let page = edge.get(&callback);
        assert_eq!(page.status, 200);
        assert!(page.body.contains("<main id=\"success\">"), "{n}: {}", page.body);
    }
    until(SOON, "one message", || edge.site.simulator.message_count(channel) == 1);
    assert_eq!(
        (edge.counts()["accepted"].clone(), edge.counts()["repeated"].clone()),
        (1.into(), 4.into())
    );
    // Not even over a restart.
    relay.drain();
    let relay = edge.relay();
    assert_eq!(edge.get(&callback).status, 200);
    assert_eq!(edge.counts()["repeated"], 1);
    relay.drain();
    assert_eq!(edge.site.simulator.message_count(channel), 1);
}

#[test]
fn every_page_says_that_it_is_alone_and_not_to_be_kept() {
    let edge = Edge::without_limits("");
    let relay = edge.relay();
    let (good, state) = (edge.callback(PERSON), edge.site.state(PERSON + 1));
    let denied = format!("/callback?error=access_denied&state={state}");
    for (path, status, page) in [
        (good.as_str(), 200, "success"),
        (&denied, 200, "denied"),
        ("/callback", 400, "invalid"),
    ] {
        for (language, text) in [("en-GB,en;q=0.9", "lang=\"en\""), ("de-CH", "lang=\"de\"")] {
            let answer = edge.send(edge.http.get(edge.url(path)).header("accept-language", language));
            assert_eq!(answer.status, status);
            assert!(
                answer.body.contains(&format!("id=\"{page}\"")) && answer.body.contains(text),
                "{}",
                answer.body
            );
            assert!(!answer.body.contains(&state));
            let header = |name: &str| answer.headers[name].to_str().expect("text").to_owned();
            assert!(header("content-security-policy").starts_with("default-src 'none'; style-src 'nonce-"));
            assert!(header("content-security-policy").ends_with("frame-ancestors 'none'"));
            assert_eq!(header("referrer-policy"), "no-referrer");
            assert_eq!(header("cache-control"), "no-store");
            assert_eq!(header("x-content-type-options"), "nosniff");
            assert_eq!(header("x-frame-options"), "DENY");
            assert_eq!(header("content-type"), "text/html; charset=utf-8");
        }
    }
    relay.drain();
}

#[test]
fn ten_thousand_junk_requests_of_a_minute_keep_nobody_out() {
    const PEOPLE: u64 = 60;
    const JUNK: u32 = 10_000;
    let edge = Edge::with_limits(2, "");
    edge.site.configure("[limits]\noauth = \"off\"\nglobal = \"off\"\n");
    let relay = edge.relay();
    let service = edge.site.run_ready();
    // The junk and the people come from one address, at the same time.
    let url = edge.url("/callback");
    let state = Edge::state(PERSON, 0, in_seconds(300), 1);
    let junk = std::thread::spawn(move || {
        let (http, next) = (browser(), Cell::new(0_u32));
        let one = async || {
            let mut statuses = Vec::new();
            while next.get() < JUNK {
                let n = next.replace(next.get() + 1);
                // One character of the MAC is changed: it looks right and is not.
                let other = if state.as_bytes()[50] == b'A' { 'B' } else { 'A' };
                let forged = format!("{}{other}{}", &state[..50], &state[51..]);
                let query = match n % 3 {
                    0 => String::new(),
                    1 => format!("?code=ABCDEFGHIJKLMNOPQRSTUVWXYZ{n:04}&state={forged}"),
                    _ => format!("?code={n}&state=s1.rubbish"),
                };
                let answer = http.get(format!("{url}{query}")).send().await.expect("an answer");
                statuses.push(answer.status().as_u16());
            }
            statuses
        };
        let all = futures_util::future::join_all((0..4).map(|_| one()));
        runtime().block_on(all).concat()
    });
    let told = edge.crowd(0, PEOPLE, 2).told();
    assert_eq!(told.len() as u64, PEOPLE, "everybody saw the success page");
    let statuses = junk.join().expect("no panic");
    let of = |status: u16| statuses.iter().filter(|s| **s == status).count();
    assert_eq!((of(400) + of(429), statuses.len()), (JUNK as usize, JUNK as usize));
    assert!(of(429) >= 9_000, "{} were told to slow down", of(429));
    until(Duration::from_secs(90), "everybody completes", || {
        edge.completed().len() as u64 == PEOPLE
    });
    let ledger = edge.site.simulator.ledger();
    assert!(ledger.posts.iter().all(|p| p.status == 200), "no post was refused");
    let counts = edge.counts();
    assert_eq!(
        (&counts["accepted"], &counts["unsigned"]),
        (&PEOPLE.into(), &JUNK.into()),
        "{counts}"
    );
    service.drain();
    relay.drain();
}
