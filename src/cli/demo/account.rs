//! The account at the end: what came of every code, by the service's journal and Discord's own ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::script::Played;
use crate::cli::out;
use crate::config::Config;
use crate::grant::{Outcome, State};
use crate::simulator::{Simulator, Summary};
use crate::store::{self, StoreOptions};
use crate::time::SystemClock;

/// What came of everything.
#[derive(Debug)]
pub struct Account {
    codes: usize,
    outcomes: BTreeMap<Outcome, u64>,
    open: usize,
    rejected: usize,
    spoofs_presented: usize,
    delivered: usize,
    lines_malformed: usize,
    summary: Summary,
    died: bool,
    stuck: usize,
    told_to_wait: usize,
    on_the_way: usize,
    invited_anew: bool,
    /// The service drained and ended with 0.
    pub clean_end: bool,
    /// From the start to the end.
    pub seconds: f64,
}

/// Codes whose request was on its way when the service was killed, by the journal as it lay on the disk then: whether
/// Discord's answer had come makes no difference, for nobody had written it down.
pub fn on_the_way(config: &Config) -> anyhow::Result<Vec<String>> {
    let data = config.data_folder();
    // A copy is opened: the next start must meet what the kill left.
    let aside = data.with_extension("at-kill");
    for folder in ["journal", "keys"] {
        store::copy_tree(&data.join(folder), &aside.join(folder)).context("the journal cannot be copied")?;
    }
    let opened = store::open(&StoreOptions::new(aside.join("journal"), SystemClock::shared()))
        .context("the journal that the kill left cannot be opened")?;
    let codes = opened.loaded.grants.iter().filter_map(|grant| match &grant.state {
        State::Exchanging { code, .. } => Some(code.expose().to_owned()),
        _ => None,
    });
    let codes = codes.collect();
    opened.store.close().context("the copy cannot be closed")?;
    std::fs::remove_dir_all(&aside).context("the copy cannot be removed")?;
    Ok(codes)
}

impl Account {
    /// Reads the journal that the service left, its results, and the ledger.
    pub fn read(config: &Config, folder: &Path, simulator: &Simulator, played: &Played) -> anyhow::Result<Self> {
        let options = StoreOptions::new(&config.journal.path, SystemClock::shared());
        let mut opened = store::open(&options).context("the service's journal cannot be opened")?;
        let totals = opened
            .store
            .closed_totals()
            .context("the service's journal cannot be read")?;
        let open = opened.loaded.grants.len();
        opened.store.close().context("the service's journal cannot be closed")?;
        let text = std::fs::read_to_string(folder.join("results.jsonl")).unwrap_or_default();
        let ids: Vec<Option<String>> = text
            .lines()
            .map(|line| {
                serde_json::from_str::<Value>(line).ok()?["id"]
                    .as_str()
                    .map(ToOwned::to_owned)
            })
            .collect();
        let ledger = simulator.ledger();
        let presented = |code: &&String| ledger.code(code).is_some_and(|c| !c.presented.is_empty());
        let spoofs_presented = played.spoofs.iter().filter(presented).count();
        Ok(Self {
            codes: played.codes.len() + played.denials + played.dead,
            outcomes: totals.iter().collect(),
            open,
            rejected: played.spoofs.len() + played.rubbish - spoofs_presented,
            spoofs_presented,
            delivered: ids.iter().flatten().collect::<BTreeSet<_>>().len(),
            lines_malformed: ids.iter().filter(|id| id.is_none()).count(),
            summary: simulator.summary(),
            died: played.died,
            stuck: played.stuck,
            told_to_wait: played.told_to_wait,
            on_the_way: played.on_the_way,
            invited_anew: played.invited_anew,
            clean_end: false,
            seconds: 0.0,
        })
    }

    fn of(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or(0)
    }

    fn unaccounted(&self) -> i64 {
        let ended: u64 = self.outcomes.values().sum();
        self.codes as i64 - ended as i64
    }

    fn promises(&self) -> [(&'static str, bool); 8] {
        let results = self.outcomes.values().sum::<u64>() - self.of(Outcome::Duplicate);
        [
            (
                "every_code_accounted_for",
                self.unaccounted() == 0 && self.open == 0 && self.stuck == 0,
            ),
            ("no_code_presented_twice", self.summary.presented_twice == 0),
            ("no_token_left", self.summary.tokens_left == 0),
            ("no_spoof_presented", self.spoofs_presented == 0),
            (
                "every_result_delivered",
                self.delivered as u64 == results && self.lines_malformed == 0,
            ),
            ("webhook_budget_kept", self.summary.worst_minute <= 30),
            ("dead_code_invited_anew", self.invited_anew),
            ("service_ends_cleanly", self.clean_end && !self.died),
        ]
    }

    /// Whether every promise was kept.
    pub fn kept(&self) -> bool {
        self.promises().iter().all(|(_, kept)| *kept)
    }

    /// The object of `--json`.
    pub fn json(&self) -> Value {
        let mut object = serde_json::Map::new();
        object.insert("codes".to_owned(), json!(self.codes));
        for outcome in Outcome::ALL {
            object.insert(outcome.name().to_owned(), json!(self.of(outcome)));
        }
        object.insert("unaccounted".to_owned(), json!(self.unaccounted()));
        object.insert("rejected".to_owned(), json!(self.rejected));
        object.insert("presented_twice".to_owned(), json!(self.summary.presented_twice));
        object.insert("tokens_left".to_owned(), json!(self.summary.tokens_left));
        object.insert("orphans".to_owned(), json!(self.summary.orphans));
        object.insert("delivered".to_owned(), json!(self.delivered));
        object.insert("told_to_wait".to_owned(), json!(self.told_to_wait));
        object.insert("on_the_way".to_owned(), json!(self.on_the_way));
        object.insert("invited_anew".to_owned(), json!(u8::from(self.invited_anew)));
        object.insert("seconds".to_owned(), json!((self.seconds * 10.0).round() / 10.0));
        let promises: serde_json::Map<_, _> = self
            .promises()
            .iter()
            .map(|(n, kept)| ((*n).to_owned(), json!(kept)))
            .collect();
        object.insert("promises".to_owned(), Value::Object(promises));
        Value::Object(object)
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let mut table = out::table();
        table.set_header(["what came of it", "codes"]);
        for outcome in Outcome::ALL {
            table.add_row([outcome.name().replace('_', " "), self.of(outcome).to_string()]);
        }
        table.add_row(["unaccounted".to_owned(), self.unaccounted().to_string()]);
        table.add_row(["all, each redirect once".to_owned(), self.codes.to_string()]);
        let mut text = format!("{table}\n\n");
        let _ = writeln!(text, "spoofs and rubbish turned away   {}", self.rejected);
        let _ = writeln!(text, "told to wait before their link   {}", self.told_to_wait);
        let _ = writeln!(text, "on their way at the kill         {}", self.on_the_way);
        let _ = writeln!(text, "invited anew after a dead code   {}", u8::from(self.invited_anew));
        let _ = writeln!(text, "results delivered                {}", self.delivered);
        let _ = writeln!(text, "tokens alive at Discord          {}", self.summary.tokens_left);
        let _ = writeln!(text, "orphans (answer cut off)         {}", self.summary.orphans);
        let _ = writeln!(text, "seconds                          {:.1}\n", self.seconds);
        for (name, kept) in self.promises() {
            let _ = writeln!(
                text,
                "{}  {}",
                if kept { "kept  " } else { "BROKEN" },
                name.replace('_', " ")
            );
        }
        text
    }
}
