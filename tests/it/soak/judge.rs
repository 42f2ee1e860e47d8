//! The judgement: Discord's ledger and what was delivered, against what people brought.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use codeferry::ids::MessageId;
use codeferry::simulator::Summary;
use serde_json::Value;

use super::people::{Owed, People};
use crate::service::test_support::Site;

/// What came of everything.
pub struct Account {
    ledger: Summary,
    /// Results by outcome.
    outcomes: BTreeMap<String, u64>,
    /// Closed grants by outcome, as the journal counts those that it still keeps.
    closed: BTreeMap<String, u64>,
    /// Different results by person.
    results: BTreeMap<u64, usize>,
    /// Results that were delivered more than once, with the same id.
    repeated: usize,
    /// From posted to first presented, in milliseconds, in order.
    waits: Vec<i64>,
    /// Outcomes recorded, results and duplicates.
    pub ended: u64,
    /// Codes and denials without an outcome.
    pub lost: u64,
    /// Codes presented again after their token had been received.
    pub twice: u64,
    /// Received tokens that are alive.
    pub left_behind: u64,
}

impl Account {
    /// Of a stopped service.
    pub fn of(site: &Site, people: &People) -> Self {
        let ledger = site.simulator.ledger();
        let waits = people.codes.iter().filter_map(|(code, message)| {
            let presented = ledger.code(code)?.presented.first()?;
            Some(presented.at_us / 1_000 - MessageId(*message).created_at().as_millis())
        });
        let mut waits: Vec<i64> = waits.collect();
        waits.sort_unstable();
        let (mut ids, mut results) = (BTreeSet::new(), BTreeMap::new());
        let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
        let delivered = site.results();
        for result in &delivered {
            if ids.insert(text(&result["id"])) {
                let person = text(&result["state"]["user_id"])
                    .parse()
                    .expect("whom the link was for");
                *results.entry(person).or_default() += 1;
                *outcomes
                    .entry(text(&result["type"]).replace("authorization.", ""))
                    .or_default() += 1;
            }
        }
        // A second code of one consent that came too late ends as a duplicate, which sends no result.
        let missing = |owed: &Owed, came: usize| owed.outcomes.saturating_sub(came);
        let came = |person: &u64| results.get(person).copied().unwrap_or(0);
        let missed = people
            .owed
            .iter()
            .map(|(person, owed)| (owed, missing(owed, came(person))));
        let lost: usize = missed.clone().map(|(owed, n)| n.saturating_sub(owed.doubles)).sum();
        let duplicates: usize = missed.map(|(owed, n)| n.min(owed.doubles)).sum();
        outcomes.insert("duplicate".to_owned(), duplicates as u64);
        let closed = site.json(&["debug", "queue", "stats"])["closed"].take();
        let summary = ledger.summary();
        Self {
            ended: outcomes.values().sum(),
            outcomes,
            closed: serde_json::from_value(closed).expect("counts"),
            results,
            repeated: delivered.len() - ids.len(),
            waits,
            lost: lost as u64,
            twice: summary.presented_twice as u64,
            left_behind: summary.tokens_left as u64,
            ledger: summary,
        }
    }

    fn outcome(&self, name: &str) -> u64 {
        self.outcomes.get(name).copied().unwrap_or(0)
    }

    /// Every promise. Where the journal has kept everything, its own counts must say the same.
    pub fn check(&self, people: &People, all_kept: bool) {
        assert_eq!((self.lost, self.twice, self.left_behind), (0, 0, 0), "{self}");
        assert_eq!(self.ended, people.expected() as u64, "one outcome for each: {self}");
        for (person, Owed { outcomes, .. }) in &people.owed {
            let came = self.results.get(person).copied().unwrap_or(0);
            assert!(
                came <= *outcomes,
                "{came} results for {outcomes} codes and denials: {self}"
            );
        }
        let closed: BTreeMap<_, _> = self.closed.iter().filter(|(_, n)| **n > 0).collect();
        let ended: BTreeMap<_, _> = self.outcomes.iter().filter(|(_, n)| **n > 0).collect();
        assert!(!all_kept || closed == ended, "the journal counts {closed:?}: {self}");
        // Every code came in time and was good, and every restart is quicker than a code's life.
        let never = ["expired", "refused", "wrong_person", "failed", "dropped"];
        assert!(never.iter().all(|name| self.outcome(name) == 0), "{self}");
        // Only an answer that was cut off or made useless loses a code.
        assert!(self.outcome("lost") * 20 <= self.ended, "{self}");
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcomes = self.outcomes.iter().filter(|(_, n)| **n > 0);
        let outcomes: Vec<String> = outcomes.map(|(name, n)| format!("{n} {name}")).collect();
        writeln!(
            f,
            "outcomes: {}; {} results repeated",
            outcomes.join(", "),
            self.repeated
        )?;
        let at = |share: f64| {
            self.waits
                .get(((self.waits.len() as f64 * share) as usize).min(self.waits.len().max(1) - 1))
        };
        let [half, most, worst] = [0.5, 0.99, 1.0].map(|share| at(share).copied().unwrap_or(0));
        writeln!(
            f,
            "posted to presented: p50 {half} ms, p99 {most} ms, longest {worst} ms"
        )?;
        write!(f, "ledger: {:?}", self.ledger)
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}
