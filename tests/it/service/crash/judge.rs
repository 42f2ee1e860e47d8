//! What came of the codes of one trial, by the embedded Discord's own ledger and by the results that were delivered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use codeferry::grant::State;
use codeferry::simulator::ledger::CodeRecord;
use codeferry::store::{StoreOptions, open};
use codeferry::time::SystemClock;
use serde_json::Value;

use super::super::test_support::{PERSON, Site};
use crate::files::copy_folder;
use crate::patience::until;
use crate::tally::Tally;

/// What was posted in one trial. People are fresh in each, so results can be told apart by them.
#[derive(Debug, Default)]
pub struct Posted {
    /// A sync failed while tokens were on their way to the disk.
    pub sync_failed: bool,
    /// Codes, with the number of the person.
    pub codes: Vec<(u64, String)>,
    /// Denials: the numbers of the people.
    pub denials: Vec<u64>,
    /// Users whose codes expire and who get a fresh link: their numbers.
    pub died: Vec<u64>,
    /// Codes whose request was on its way when the process died, by what lay on the disk: these alone may be lost.
    pub on_the_way: BTreeSet<String>,
}

impl Posted {
    /// Outcomes that are owed, by person.
    fn owed(&self) -> BTreeMap<u64, usize> {
        let mut owed = BTreeMap::new();
        let codes = self.codes.iter().map(|(person, _)| person);
        for person in codes.chain(&self.denials).chain(&self.died) {
            *owed.entry(PERSON + person).or_default() += 1;
        }
        owed
    }

    /// Whether every outcome is recorded.
    pub fn have_ended(&self, site: &Site) -> bool {
        let results = by_person(site);
        self.owed()
            .iter()
            .all(|(person, owed)| results.get(person).is_some_and(|r| r.len() >= *owed))
    }
}

/// Codes in an exchange that is under way, by the journal as it lies on the disk. A copy is opened: the next start must
/// meet what the end has left.
pub fn on_the_way(site: &Site) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    for part in ["journal", "keys"] {
        copy_folder(&site.path("data").join(part), &folder.path().join(part));
    }
    let opened = open(&StoreOptions::new(folder.path().join("journal"), SystemClock::shared()));
    let loaded = opened.unwrap_or_else(|e| panic!("after a crash: {e}")).loaded;
    let exchanging = loaded.grants.into_iter().filter_map(|grant| match grant.state {
        State::Exchanging { code, .. } => Some(code.expose().to_owned()),
        _ => None,
    });
    exchanging.collect()
}

fn by_person(site: &Site) -> BTreeMap<u64, Vec<Value>> {
    let mut results: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for result in site.results() {
        let person = result["state"]["user_id"].as_str().and_then(|id| id.parse().ok());
        results
            .entry(person.expect("every state names its person"))
            .or_default()
            .push(result);
    }
    results
}

fn is_lost(result: &Value) -> bool {
    result["type"] == "authorization.lost"
}

/// Judges a trial whose codes have ended; the service runs. Every fault has its line in the second part.
///
/// A `lost` outcome is the one window that cannot be closed: Discord had given a token when the process ended, and
/// nothing had been written down. Its user signs in again here, which must end the orphan.
pub fn judge(site: &Site, posted: &Posted) -> (Tally, Vec<String>) {
    let (mut tally, mut faults) = (Tally::default(), Vec::new());
    let results = by_person(site);
    for (person, owed) in posted.owed() {
        let theirs = results.get(&person).map_or(&[][..], Vec::as_slice);
        let mut ids: Vec<&Value> = theirs.iter().map(|r| &r["id"]).collect();
        ids.dedup();
        if theirs.len() < owed {
            tally.lost += 1;
        }
        if theirs.len() != owed || ids.len() != owed {
            faults.push(format!("person {person}: {owed} outcomes are owed: {theirs:?}"));
        }
    }
    for person in &posted.died {
        let theirs = results.get(&(PERSON + person)).map_or(&[][..], Vec::as_slice);
        if theirs
            .iter()
            .any(|r| r["type"] != "authorization.expired" || r["reinvited"] != true)
        {
            faults.push(format!("person {person} was to be invited anew: {theirs:?}"));
        }
        let messages = site.simulator.direct_messages(PERSON + person);
        if messages.len() != 1 {
            faults.push(format!("person {person} was sent {} messages", messages.len()));
        }
    }
    let ledger = site.simulator.ledger();
    let mut lost = Vec::new();
    for (person, code) in &posted.codes {
        let record: &CodeRecord = ledger.codes.iter().find(|c| c.code == *code).expect("it was issued");
        let theirs = results.get(&(PERSON + person)).map_or(&[][..], Vec::as_slice);
        // Its token may have been fetched with while it was on its way to the disk.
        let excused = posted.on_the_way.contains(code);
        let again = record.presented.iter().filter(|p| p.after_full_answer).count();
        if again > usize::from(excused) {
            tally.twice += 1;
            faults.push(format!("presented again after its token: {record:?} {theirs:?}"));
        }
        if theirs.iter().any(is_lost) {
            // Of a person with several codes, one that was on its way is enough.
            if !excused && theirs.len() == 1 {
                faults.push(format!("nothing was on its way, and yet: {theirs:?}"));
            }
            lost.push(*person);
        }
        // What could not be synced was revoked at once. Where it reached the disk all the same, the next start finds it dead.
        let dead = |r: &Value| posted.sync_failed && r["reason"] == "token_dead";
        let usual = |r: &&Value| is_lost(r) || dead(r) || r["type"] == "authorization.completed";
        if let Some(odd) = theirs.iter().find(|r| !usual(r)) {
            faults.push(format!("an outcome that nothing here asks for: {odd}"));
        }
    }
    lost.dedup();
    for person in &lost {
        site.sign_in(*person, 1);
    }
    let clean = || {
        let summary = site.simulator.summary();
        summary.tokens_left == 0 && summary.orphans == 0
    };
    if !crate::patience::wait(Duration::from_secs(30), clean) {
        let summary = site.simulator.summary();
        tally.left_behind += (summary.tokens_left + summary.orphans) as u64;
        faults.push(format!("tokens are left: {summary:?}"));
    }
    tally.tried = 1;
    tally.survived = u64::from(faults.is_empty());
    (tally, faults)
}

/// Waits until nothing is open, in the journal or in the channel.
#[track_caller]
pub fn nothing_is_open(site: &Site, channel_holds: usize) {
    until(Duration::from_secs(30), "no grant is open", || {
        site.json(&["debug", "queue", "list"])["total"] == 0
    });
    let channel = site.lane(0).0;
    until(Duration::from_secs(30), "no source message is left", || {
        site.simulator.message_count(channel) <= channel_holds
    });
}
