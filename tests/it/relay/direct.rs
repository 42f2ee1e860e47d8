//! Direct intake: the service takes the redirects itself. No lane, no bot, no relay key.

use std::collections::BTreeSet;
use std::time::Duration;

use codeferry::simulator::people::{Behaviour, walk};
use codeferry::simulator::{Endpoint, Fault, FaultRule};
use serde_json::json;

use super::test_support::{Edge, SOON, in_seconds};
use crate::patience::until;
use crate::service::live::metrics;
use crate::service::test_support::{PERSON, exits};
use crate::tally::{Tally, tell};

/// A site whose service listens on the port of the registered redirect, and has nothing that lanes need.
pub fn without_lanes(more: &str) -> Edge {
    let mut edge = Edge::without_limits("");
    edge.site.about.lanes.clear();
    let limits = "[limits]\nwebhook = \"off\"\nglobal = \"off\"\noauth = \"off\"\n";
    edge.site.configure(&format!(
        "{limits}[intake.http]\nlisten = \"127.0.0.1:{}\"\n{more}",
        edge.port
    ));
    for name in ["CODEFERRY_BOT_TOKEN", "CODEFERRY_RELAY_KEY", "CODEFERRY_WEBHOOK_TOKENS"] {
        edge.site.variables.remove(name);
    }
    edge
}

#[test]
fn people_come_from_their_link_to_a_result_without_any_channel() {
    let edge = without_lanes("");
    let service = edge.site.run_ready();
    let people = [
        Behaviour::Approve,
        Behaviour::DoubleClick,
        Behaviour::Reload,
        Behaviour::Deny,
    ];
    for (n, behaviour) in people.into_iter().enumerate() {
        let person = PERSON + n as u64;
        let link = edge.site.json(&["link", &person.to_string()]);
        let link = link["url"].as_str().expect("a URL");
        let visit = edge.runtime.block_on(walk(&edge.http, link, person, behaviour));
        visit.expect("the person gets to the end");
    }
    until(SOON, "every result", || {
        (edge.site.results_of("completed"), edge.site.results_of("denied")) == (3, 1)
    });
    let summary = || edge.site.simulator.summary();
    until(SOON, "no token left", || summary().tokens_left == 0);
    assert_eq!(
        (summary().presented_twice, edge.site.simulator.ledger().posts.len()),
        (0, 0)
    );
    service.drain();
    assert_eq!(edge.site.json(&["debug", "verify"])["ok"], true);
    let log = std::fs::read_to_string(edge.site.path("service.log")).expect("a log");
    assert!(!log.contains("s1."), "{log}");
}

#[test]
fn the_page_says_how_it_ended_where_that_is_known_in_time() {
    let edge = without_lanes("");
    let service = edge.site.run_ready();
    let page = |path: &str| {
        let answer = edge.get(path);
        let id = answer
            .body
            .split("<main id=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        (answer.status, id.expect("a page").to_owned())
    };
    assert_eq!(page(&edge.callback(PERSON)), (200, "completed".to_owned()));
    // Somebody else approves a link that was made for another.
    let state = edge.site.state(PERSON + 1);
    let code = edge.site.code(PERSON + 2, &state);
    let theirs = format!("/callback?code={code}&state={state}");
    assert_eq!(page(&theirs), (200, "wrong_person".to_owned()));
    // A code that Discord does not know.
    let state = edge.site.state(PERSON + 3);
    let made_up = format!("/callback?code=ABCDEFGHIJKLMNOPQRSTUVWXYZ0123&state={state}");
    assert_eq!(page(&made_up), (200, "failed".to_owned()));
    // While Discord is slow the page does not wait for it, and a drain waits for the page.
    let slow = Fault::DelayAnswer { ms: 6_000 };
    edge.site.simulator.faults().add(FaultRule::on(Endpoint::Token, slow));
    let callback = edge.callback(PERSON + 4);
    let waits = tokio::time::Instant::now();
    assert_eq!(page(&callback), (200, "success".to_owned()));
    assert!(waits.elapsed() >= Duration::from_secs(3), "it did not wait");
    service.drain();
}

#[test]
fn the_page_waits_for_the_end_of_its_own_link() {
    let edge = without_lanes("");
    let service = edge.site.run_ready();
    let slow = Fault::DelayAnswer { ms: 1_500 };
    edge.site
        .simulator
        .faults()
        .add(FaultRule::on(Endpoint::Token, slow).times(1));
    let state = edge.site.state(PERSON + 2);
    let code = edge.site.code(PERSON + 3, &state);
    let first = edge.url(&edge.callback(PERSON));
    let wrong = edge.url(&format!("/callback?code={code}&state={state}"));
    let (shown, other) = edge.runtime.block_on(async {
        let get = async |url: &str| {
            edge.http
                .get(url)
                .send()
                .await
                .expect("answered")
                .text()
                .await
                .expect("a page")
        };
        // Another ends while the first one waits.
        let later = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            get(&wrong).await
        };
        tokio::join!(get(&first), later)
    });
    assert!(other.contains("id=\"wrong_person\""), "{other}");
    let slow = shown;
    assert!(slow.contains("id=\"completed\""), "{slow}");
    service.drain();
}

/// The link's earlier code was told: the right user read "Wrong account" although the sign-in completed.
#[test]
fn a_page_says_how_its_own_code_ended_although_a_stranger_used_the_link_before() {
    let edge = without_lanes("");
    let service = edge.site.run_ready();
    let state = edge.site.state(PERSON);
    let page = |user: u64| {
        let code = edge.site.code(user, &state);
        let path = format!("/callback?code={code}&state={state}");
        (edge.get(&path).body, edge.get(&path).body)
    };
    for (user, id) in [(PERSON + 1, "id=\"wrong_person\""), (PERSON, "id=\"completed\"")] {
        let (first, again) = page(user);
        assert!(first.contains(id) && again.contains(id), "{id}: {first} {again}");
    }
    service.drain();
}

#[test]
fn a_repeated_callback_says_the_same_and_is_taken_once_over_restarts_too() {
    let edge = without_lanes("");
    let service = edge.site.run_ready();
    let (good, state) = (edge.callback(PERSON), edge.site.state(PERSON + 1));
    let denied = format!("/callback?error=access_denied&state={state}");
    assert_eq!(edge.send(edge.http.head(edge.url(&good))).status, 200);
    assert_eq!(edge.counts()["accepted"], 0, "a HEAD has not come");
    for _ in 0..3 {
        for (path, page) in [(&good, "completed"), (&denied, "denied")] {
            let answer = edge.get(path);
            assert_eq!(answer.status, 200);
            assert!(answer.body.contains(&format!("id=\"{page}\"")), "{}", answer.body);
        }
    }
    until(SOON, "two results", || edge.site.results().len() == 2);
    let counts = edge.counts();
    assert_eq!(
        (&counts["accepted"], &counts["repeated"]),
        (&2.into(), &4.into()),
        "{counts}"
    );
    assert_eq!(edge.get("/callback?code=x").status, 400);
    // The same numbers among the service's own metrics.
    let stats = edge.site.json(&["debug", "queue", "stats"]);
    let want = json!({"accepted": 2, "repeated": 4, "denied": 1, "busy": 0, "expired_links": 0, "refused": 0,
        "unsigned": 1, "limited": 0});
    assert_eq!(stats["callbacks"], want, "{stats}");
    let (shown, _) = exits(&edge.site.codeferry(&["debug", "queue", "stats"]), 0);
    assert!(shown.contains("callbacks since start, repeated"), "{shown}");
    let text = metrics(&edge.site);
    for (name, n) in want.as_object().expect("numbers") {
        let line = format!("codeferry_callbacks_total{{result=\"{name}\"}} {n}\n");
        assert!(text.contains(&line), "`{line}` is missing in:\n{text}");
    }
    service.drain();
    let service = edge.site.run_ready();
    assert_eq!(edge.get(&good).status, 200);
    assert_eq!(edge.counts()["repeated"], 1);
    service.drain();
    assert_eq!(edge.site.results().len(), 2);
}

#[test]
fn what_is_no_good_callback_gets_a_clear_answer_and_no_grant() {
    let edge = without_lanes("");
    let service = edge.site.run_ready();
    let state = edge.site.state(PERSON);
    let code = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123";
    // The same clock made the link: nothing is borne beyond the life of a code.
    let old = Edge::state(PERSON, 0, in_seconds(-101), 1);
    let long = "A".repeat(60_000);
    let other = if state.ends_with('A') { 'Q' } else { 'A' };
    for (query, status) in [
        (String::new(), 400),
        (format!("code={code}"), 400),
        (format!("state={state}"), 400),
        (format!("code={code}&code={code}&state={state}"), 400),
        (format!("code={code}&state={}{other}", &state[..56]), 400),
        (format!("code={code}&state={old}"), 410),
        (format!("code=%FF%FE&state={state}"), 400),
        (format!("code={long}&state={state}"), 414),
    ] {
        assert_eq!(edge.get(&format!("/callback?{query}")).status, status, "{query:.200}");
    }
    assert_eq!(
        edge.send(
            edge.http
                .post(edge.url(&format!("/callback?code={code}&state={state}")))
        )
        .status,
        405
    );
    let home = edge.get("/");
    assert!(home.status == 200 && home.body.contains("id=\"home\""), "{home:?}");
    assert_eq!(edge.site.json(&["debug", "queue", "list"])["total"], 0);
    assert_eq!(edge.get(&edge.callback(PERSON + 1)).status, 200);
    until(SOON, "a result", || edge.site.results_of("completed") == 1);
    service.drain();
    assert_eq!(edge.site.results().len(), 1);
}

#[test]
fn a_kill_after_the_page_loses_nobody() {
    let edge = without_lanes("");
    let mut told = BTreeSet::new();
    let kills: u64 = if std::env::var_os("CODEFERRY_SLOW").is_some() {
        30
    } else {
        4
    };
    for kill in 0..kills {
        let service = edge.site.run_ready();
        let crowd = edge.crowd(kill * 1_000, 150, 8);
        until(Duration::from_secs(20), "people on their way", || {
            crowd.set_out() as u64 >= 10 + kill * 97 % 120
        });
        service.kill();
        told.extend(crowd.told());
    }
    assert!(
        told.len() as u64 >= kills * 5,
        "{} people were told that they are done",
        told.len()
    );
    let service = edge.site.run_ready();
    let ended = || -> BTreeSet<u64> {
        let results = edge.site.results();
        let people = results
            .iter()
            .filter_map(|r| r["state"]["user_id"].as_str()?.parse().ok());
        people.collect()
    };
    until(Duration::from_mins(1), "a result for everybody who was told", || {
        told.is_subset(&ended())
    });
    // A code whose answer was cut off may be lost, which cannot be prevented; the rest completes.
    let completed: BTreeSet<u64> = edge.completed().into_iter().collect();
    let lost = told.difference(&completed).count();
    assert!(
        lost <= 32 * kills as usize && edge.site.results_of("lost") >= lost,
        "{lost} of {}",
        told.len()
    );
    assert_eq!(edge.site.results_of("expired"), 0);
    service.drain();
    tell(
        "direct intake: kill -9 under load",
        Tally {
            tried: kills,
            survived: kills,
            ..Tally::default()
        },
    );
}

#[test]
fn a_port_in_use_and_a_state_without_a_signature_are_told() {
    let edge = without_lanes("");
    let listener = std::net::TcpListener::bind(("127.0.0.1", edge.port)).expect("free");
    let (_, error) = exits(&edge.site.codeferry(&["run"]), 1);
    assert!(
        error.contains(&format!("cannot listen on 127.0.0.1:{}", edge.port)),
        "{error}"
    );
    assert!(error.contains("set intake.http.listen to another one"), "{error}");
    drop(listener);
    let edge = without_lanes("[state]\nmode = \"user_id\"\n");
    let (_, error) = exits(&edge.site.codeferry(&["config", "check"]), 2);
    assert!(
        error.contains("`state.mode` is \"user_id\", whose states cannot be verified"),
        "{error}"
    );
}
