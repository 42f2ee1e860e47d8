//! The benchmark: how fast and how large the service is, beside a bare loop that makes the same calls without a journal.
//!
//! `cargo bench --locked --bench pipeline` measures everything, which takes about half an hour: `long` runs for 20
//! minutes and `build` builds the release from cold. `-- quick` measures a little of everything, `-- burst` one part
//! (see [`PARTS`]), and `--json` prints one object. The embedded Discord and the service run as processes of their
//! own, without rate limits. The benchmark asserts only that every code was accounted for: figures depend on the
//! machine, so read the ratios.

mod bare;
mod build;
mod burst;
mod closed;
mod discord;
mod long;
mod pace;
mod people;
mod process;
mod report;
mod restart;
mod service;
mod start;
mod statistics;
mod steady;
mod stored;
mod trace;

use anyhow::bail;
use clap::Parser;
use tokio::time::Instant;

use report::Report;

/// What is measured, in this order.
const PARTS: [&str; 7] = ["burst", "steady", "start", "restart", "closed", "long", "build"];

#[derive(Parser)]
struct Arguments {
    /// `quick`, and names of parts: burst, steady, start, restart, closed, long, build
    words: Vec<String>,
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Cargo's own way to say that this is a benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let Arguments { words, json, bench: _ } = Arguments::parse();
    let quick = words.iter().any(|w| w == "quick");
    if let Some(odd) = words.iter().find(|w| *w != "quick" && !PARTS.contains(&w.as_str())) {
        bail!("`{odd}` is no part; there are {}, and `quick`", PARTS.join(", "));
    }
    let all = words.iter().all(|w| w == "quick");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        let mut report = Report::begin(quick)?;
        for part in PARTS {
            if !all && !words.iter().any(|w| w == part) {
                continue;
            }
            let began = Instant::now();
            eprintln!("{part} …");
            match part {
                "burst" => burst::measure(&mut report).await?,
                "steady" => steady::measure(&mut report).await?,
                "start" => start::measure(&mut report).await?,
                "restart" => restart::measure(&mut report).await?,
                "closed" => closed::measure(&mut report).await?,
                "long" => long::measure(&mut report).await?,
                _ => build::measure(&mut report)?,
            }
            eprintln!("{part} took {:.0} s", began.elapsed().as_secs_f64());
        }
        anyhow::Ok(report)
    })?;
    if json {
        codeferry::cli::out::json(&report.object())
    } else {
        codeferry::cli::out::line(report.table())
    }
}
