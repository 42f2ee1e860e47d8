//! The demo's report: the outcome of every code, by the service's journal and by Discord's ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::script::Events;
use crate::cli::out;
use crate::config::Config;
use crate::grant::Outcome;
use crate::simulator::{Simulator, Summary};
use crate::store::{self, StoreOptions};
use crate::time::SystemClock;

/// What the demo showed.
#[derive(Debug)]
pub struct Report {
    events: Events,
    outcomes: BTreeMap<Outcome, u64>,
    open: usize,
    forged_presented: usize,
    delivered: usize,
    lines_malformed: usize,
    summary: Summary,
    /// Service and relay drained and ended with exit code 0.
    pub clean_end: bool,
    /// The demo's duration.
    pub seconds: f64,
}

impl Report {
    /// Reads the journal that the service left, its results, and the ledger.
    pub fn read(config: &Config, folder: &Path, simulator: &Simulator, events: Events) -> anyhow::Result<Self> {
        let options = StoreOptions::new(&config.journal.path, SystemClock::shared());
        let mut opened = store::open(&options).context("the service's journal cannot be opened")?;
        let totals = opened.store.closed_totals();
        let totals = totals.context("the service's journal cannot be read")?;
        let open = opened.loaded.grants.len();
        opened.store.close().context("the service's journal cannot be closed")?;
        let text = std::fs::read_to_string(folder.join("results.jsonl")).unwrap_or_default();
        let id = |line: &str| Some(serde_json::from_str::<Value>(line).ok()?["id"].as_str()?.to_owned());
        let ids: Vec<Option<String>> = text.lines().map(id).collect();
        let ledger = simulator.ledger();
        let presented = |code: &&String| ledger.code(code).is_some_and(|c| !c.presented.is_empty());
        Ok(Self {
            outcomes: totals.iter().collect(),
            open,
            forged_presented: events.forged.iter().filter(presented).count(),
            delivered: ids.iter().flatten().collect::<BTreeSet<_>>().len(),
            lines_malformed: ids.iter().filter(|id| id.is_none()).count(),
            summary: ledger.summary(),
            clean_end: false,
            seconds: 0.0,
            events,
        })
    }

    fn of(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or(0)
    }

    fn unaccounted(&self) -> i64 {
        let ended: u64 = self.outcomes.values().sum();
        self.events.callbacks() as i64 - ended as i64
    }

    /// The promises: the name in JSON, the sentence for people, whether it was kept.
    fn promises(&self) -> [(&'static str, &'static str, bool); 8] {
        let (events, ledger) = (&self.events, &self.summary);
        let results = self.outcomes.values().sum::<u64>() - self.of(Outcome::Duplicate);
        let all_ended = self.unaccounted() == 0 && self.open == 0 && events.stuck == 0;
        let all_delivered = self.delivered as u64 == results && self.lines_malformed == 0;
        let (once, none_left) = (ledger.presented_twice == 0, ledger.tokens_left == 0);
        let (none_forged, within) = (self.forged_presented == 0, ledger.worst_minute <= 30);
        let clean = self.clean_end && !events.died;
        let invited = events.invited_again;
        [
            ("every_code_accounted_for", "every code is accounted for", all_ended),
            ("no_code_presented_twice", "no code was presented twice", once),
            ("no_token_left", "no token is left alive", none_left),
            ("no_spoof_presented", "no forged code was presented", none_forged),
            ("every_result_delivered", "every result was delivered", all_delivered),
            (
                "webhook_budget_kept",
                "no channel got more than 30 messages a minute",
                within,
            ),
            (
                "dead_code_invited_anew",
                "the user of an expired code got a new link",
                invited,
            ),
            ("service_ends_cleanly", "service and relay ended cleanly", clean),
        ]
    }

    /// Figures beside the outcomes: the name in JSON, the label in the table, the number.
    fn figures(&self) -> [(&'static str, &'static str, usize); 8] {
        let (events, ledger) = (&self.events, &self.summary);
        let ignored = events.forged.len() + events.malformed - self.forged_presented;
        let invited = usize::from(events.invited_again);
        [
            ("rejected", "forged or malformed messages ignored", ignored),
            ("presented_twice", "codes presented twice", ledger.presented_twice),
            ("tokens_left", "live tokens at Discord", ledger.tokens_left),
            ("orphans", "tokens whose answer was lost", ledger.orphans),
            ("delivered", "results delivered", self.delivered),
            (
                "told_to_wait",
                "users asked to wait for their link",
                events.asked_to_wait,
            ),
            ("on_the_way", "exchanges under way at the kill", events.in_flight),
            ("invited_anew", "new links sent for expired codes", invited),
        ]
    }

    /// Whether every promise was kept.
    pub fn kept(&self) -> bool {
        self.promises().iter().all(|(.., kept)| *kept)
    }

    /// The object of `--json`.
    pub fn json(&self) -> Value {
        let mut object = json!({
            "codes": self.events.callbacks(),
            "unaccounted": self.unaccounted(),
            "seconds": (self.seconds * 10.0).round() / 10.0,
            "promises": self.promises().map(|(name, _, kept)| (name, kept)).into_iter().collect::<BTreeMap<_, _>>(),
        });
        for outcome in Outcome::ALL {
            object[outcome.name()] = json!(self.of(outcome));
        }
        for (name, _, number) in self.figures() {
            object[name] = json!(number);
        }
        object
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let mut table = out::table();
        table.set_header(["outcome", "codes"]);
        for outcome in Outcome::ALL {
            table.add_row([outcome.name().replace('_', " "), self.of(outcome).to_string()]);
        }
        table.add_row(["unaccounted for".to_owned(), self.unaccounted().to_string()]);
        table.add_row(["total".to_owned(), self.events.callbacks().to_string()]);
        let mut text = format!("{table}\n\n");
        for (_, label, number) in self.figures() {
            let _ = writeln!(text, "{label:<38}{number}");
        }
        let _ = writeln!(text, "{:<38}{:.1}\n", "seconds", self.seconds);
        for (_, sentence, kept) in self.promises() {
            let verdict = if kept { "kept  " } else { "BROKEN" };
            let _ = writeln!(text, "{verdict}  {sentence}");
        }
        text
    }
}
