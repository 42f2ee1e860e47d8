//! What was measured, as a table for people and as one object for machines, with every target met or missed by how much.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::thread::available_parallelism;

use comfy_table::{CellAlignment, Table};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::statistics::median;

/// All rows, and the machine they were measured on.
pub struct Report {
    /// A little of everything, to see that it works.
    pub quick: bool,
    cores: usize,
    sync_ms: f64,
    rows: Vec<Row>,
}

/// One figure.
pub struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    beside: Option<(String, f64)>,
    ratio: Option<f64>,
    note: String,
    target: Option<Target>,
    /// Why there is no figure.
    absent: Option<String>,
}

/// What is to be reached.
struct Target {
    what: String,
    reached: f64,
    bound: f64,
    at_least: bool,
}

impl Target {
    fn met(&self) -> bool {
        if self.at_least {
            self.reached >= self.bound
        } else {
            self.reached <= self.bound
        }
    }

    /// How far the bound was missed or kept, in parts of it.
    fn distance(&self) -> f64 {
        (self.reached - self.bound).abs() / self.bound
    }
}

impl Row {
    pub fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            what: what.into(),
            value,
            unit,
            beside: None,
            ratio: None,
            note: String::new(),
            target: None,
            absent: None,
        }
    }

    /// A figure that could not be measured here, with the reason.
    pub fn absent(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            absent: Some(why.into()),
            ..Self::new(what, 0.0, "")
        }
    }

    /// Beside another figure, of the same unit.
    pub fn beside(mut self, label: &str, value: f64) -> Self {
        self.beside = Some((label.to_owned(), value));
        self.ratio = Some(self.value / value);
        self
    }

    /// The median of ratios that were taken pair by pair, with the least and the greatest.
    pub fn with_ratio(mut self, ratio: f64, (least, most): (f64, f64)) -> Self {
        self.ratio = Some(ratio);
        self.noting(format!("{least:.2} to {most:.2}"))
    }

    pub fn noting(mut self, note: String) -> Self {
        self.note = note;
        self
    }

    pub fn ratio_at_least(self, bound: f64) -> Self {
        let reached = self.ratio.unwrap_or(0.0);
        self.target(format!("ratio at least {bound}"), reached, bound, true)
    }

    pub fn ratio_at_most(self, bound: f64) -> Self {
        let reached = self.ratio.unwrap_or(f64::INFINITY);
        self.target(format!("ratio at most {bound}"), reached, bound, false)
    }

    pub fn at_most(self, bound: f64) -> Self {
        let (what, reached) = (format!("at most {bound} {}", self.unit), self.value);
        self.target(what, reached, bound, false)
    }

    pub fn above_the_other_at_most(self, bound: f64) -> Self {
        let reached = self.value - self.beside.as_ref().map_or(0.0, |(_, v)| *v);
        let what = format!("at most {bound} {} above", self.unit);
        self.target(what, reached, bound, false)
    }

    fn target(mut self, what: String, reached: f64, bound: f64, at_least: bool) -> Self {
        self.target = Some(Target {
            what,
            reached,
            bound,
            at_least,
        });
        self
    }

    fn object(&self) -> Value {
        if let Some(why) = &self.absent {
            return json!({"what": self.what.trim(), "absent": why});
        }
        let beside = self
            .beside
            .as_ref()
            .map(|(what, value)| json!({"what": what, "value": value}));
        let target = self.target.as_ref().map(|t| {
            json!({"what": t.what, "reached": t.reached, "bound": t.bound, "met": t.met(), "distance": t.distance()})
        });
        json!({"what": self.what.trim(), "value": self.value, "unit": self.unit, "beside": beside, "ratio": self.ratio,
            "note": self.note, "target": target})
    }

    fn cells(&self) -> [String; 5] {
        if let Some(why) = &self.absent {
            let none = String::new;
            return [
                self.what.clone(),
                "-".to_owned(),
                none(),
                none(),
                format!("not measured: {why}"),
            ];
        }
        let beside = self
            .beside
            .as_ref()
            .map_or(String::new(), |(what, v)| format!("{what}: {}", figure(*v, self.unit)));
        let mut ratio = self.ratio.map_or(String::new(), |r| format!("{r:.2}"));
        if !self.note.is_empty() {
            let _ = write!(ratio, " ({})", self.note);
        }
        let verdict = self.target.as_ref().map_or(String::new(), |t| {
            let by = t.distance() * 100.0;
            let met = if t.met() {
                "met".to_owned()
            } else {
                format!("MISSED by {by:.0} %")
            };
            format!("{}: {met}", t.what)
        });
        [self.what.clone(), figure(self.value, self.unit), beside, ratio, verdict]
    }
}

fn figure(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        large if large >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$} {unit}")
}

impl Report {
    pub fn begin(quick: bool) -> anyhow::Result<Self> {
        Ok(Self {
            quick,
            cores: available_parallelism()?.get(),
            sync_ms: sync_ms()?,
            rows: Vec::new(),
        })
    }

    pub fn add(&mut self, row: Row) {
        eprintln!("  {}", row.cells().join(" | "));
        self.rows.push(row);
    }

    /// The same as the table, for machines.
    pub fn object(&self) -> Value {
        json!({
            "quick": self.quick,
            "cores": self.cores,
            "sync_ms": self.sync_ms,
            "measured": self.rows.iter().map(Row::object).collect::<Vec<_>>(),
        })
    }

    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::ASCII_MARKDOWN);
        table.set_header(["measured", "codeferry", "beside it", "ratio", "target"]);
        for row in &self.rows {
            table.add_row(row.cells());
        }
        for column in [1, 3] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let missed = self
            .rows
            .iter()
            .filter_map(|r| r.target.as_ref())
            .filter(|t| !t.met())
            .count();
        let (cores, sync) = (self.cores, self.sync_ms);
        let quick = if self.quick {
            " A quick run: too short to judge by."
        } else {
            ""
        };
        format!(
            "{table}\n\n{cores} cores, one fdatasync of an appended line {sync:.2} ms; {missed} targets missed.{quick}"
        )
    }
}

/// What one sync of an appended line costs here (median): each code waits for several of them.
fn sync_ms() -> anyhow::Result<f64> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let path = folder.path().join("sync");
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    let mut took = Vec::new();
    for _ in 0..50 {
        let began = Instant::now();
        file.write_all(&[b'x'; 512])?;
        file.sync_data()?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(&took))
}
