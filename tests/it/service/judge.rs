//! What came of every code, judged by three witnesses: Discord's ledger, the results, and the journal as it lay on the disk
//! when the service was stopped. Only a code whose request was on its way then may be presented again or end as `lost`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use codeferry::simulator::{Endpoint, Fault, FaultRule};
use serde_json::Value;

use super::test_support::{PERSON, Site, exits};
use crate::files::copy_folder;
use crate::patience::{Finish as _, until};
use crate::tally::Tally;

/// People whose code was on its way to Discord when the service was stopped, by what the journal on the disk says.
pub fn on_the_way(site: &Site) -> BTreeSet<u64> {
    let copy = tempfile::tempdir().expect("a folder");
    fs::copy(site.file(), copy.path().join("codeferry.toml")).expect("copied");
    copy_folder(&site.path("data"), &copy.path().join("data"));
    // A copy is looked at, since looking ends cleanly: the next start must meet what the kill left.
    let output = site
        .command_at(copy.path(), &["debug", "queue", "list", "--limit", "0", "--json"])
        .finish();
    let (list, _) = exits(&output, 0);
    let list: Value = serde_json::from_str(&list).expect("JSON");
    let grants = list["grants"].as_array().expect("grants");
    let exchanging = grants.iter().filter(|g| g["state"] == "exchanging");
    exchanging.map(|g| number(&g["person"])).collect()
}

/// Makes Discord slow enough that codes are on their way at every moment.
pub fn slow_down(site: &Site, exchange_ms: u64) {
    let slow = [
        (Endpoint::Token, exchange_ms),
        (Endpoint::Me, exchange_ms / 2),
        (Endpoint::Revoke, exchange_ms / 2),
    ];
    for (endpoint, ms) in slow {
        site.simulator
            .faults()
            .add(FaultRule::on(endpoint, Fault::DelayAnswer { ms }));
    }
}

/// Waits until the first `people` have one result each and nothing is open; then judges everything.
#[track_caller]
pub fn everything_ended(site: &Site, people: u64, on_the_way: &BTreeSet<u64>) -> Tally {
    until(Duration::from_mins(1), "a result for every code", || {
        site.results().len() as u64 >= people
    });
    let open = || site.json(&["debug", "queue", "list"])["total"].as_u64();
    until(Duration::from_secs(30), "nothing open", || open() == Some(0));

    let mut outcomes: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for result in site.results() {
        let kind = result["type"].as_str().expect("a type").to_owned();
        outcomes
            .entry(number(&result["state"]["user_id"]))
            .or_default()
            .push(kind);
        ids.insert(result["id"].as_str().expect("an id").to_owned());
    }
    let asked: BTreeSet<u64> = (PERSON..PERSON + people).collect();
    let told: BTreeSet<u64> = outcomes.keys().copied().collect();
    assert_eq!(told, asked, "everybody has a result, and nobody else");
    assert!(
        outcomes.values().all(|o| o.len() == 1),
        "one outcome each: {outcomes:?}"
    );
    assert_eq!(ids.len() as u64, people);

    let mut lost = BTreeSet::new();
    for (person, kinds) in &outcomes {
        match kinds[0].as_str() {
            "authorization.completed" => {}
            "authorization.lost" => drop(lost.insert(*person)),
            other => panic!("{other} for {person}"),
        }
    }
    let unexplained: Vec<_> = lost.difference(on_the_way).collect();
    assert!(unexplained.is_empty(), "lost without a cut answer: {unexplained:?}");

    let ledger = site.simulator.ledger();
    let twice = ledger
        .codes
        .iter()
        .filter(|c| c.presented.iter().any(|p| p.after_full_answer));
    let twice: BTreeSet<u64> = twice.map(|c| c.user_id).collect();
    let unexplained: Vec<_> = twice.difference(on_the_way).collect();
    assert!(
        unexplained.is_empty(),
        "presented again with a token on disk: {unexplained:?}"
    );
    // A token that the service does not have came in an answer that was cut; the user's result says so.
    let alive: BTreeSet<u64> = ledger.tokens.iter().filter(|t| t.alive).map(|t| t.user_id).collect();
    let unexplained: Vec<_> = alive.difference(&lost).collect();
    assert!(unexplained.is_empty(), "tokens left alive: {unexplained:?}");

    let closed = site.json(&["debug", "queue", "stats"])["closed"].clone();
    let sum: u64 = closed
        .as_object()
        .expect("counts")
        .values()
        .filter_map(Value::as_u64)
        .sum();
    assert_eq!(sum, people, "{closed}");
    assert_eq!(site.json(&["debug", "verify"])["ok"], true);
    Tally {
        tried: 1,
        survived: 1,
        ..Tally::default()
    }
}

fn number(value: &Value) -> u64 {
    let text = value.as_str().expect("an id is a text");
    text.parse().expect("an id")
}
