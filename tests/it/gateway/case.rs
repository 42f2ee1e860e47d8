//! One fault: a service beside an embedded Discord, codes before it, while it lasts and after it, and the judgement.

use std::thread;
use std::time::Duration;

use codeferry::simulator::SimulatorOptions;
use codeferry::simulator::gateway::{GatewayFault, GatewaySettings, GatewayStatus};

use crate::patience::{until, wait};
use crate::service::test_support::{Service, Site};
use crate::tally::{Tally, tell};

/// What a loaded machine may add to any bound.
const SLACK: Duration = Duration::from_secs(6);
/// Between two codes that are posted while a fault lasts.
const BETWEEN: Duration = Duration::from_millis(150);

/// One kind of fault.
pub struct Case {
    /// For the table.
    pub kind: &'static str,
    /// `intake.poll_every`: short where something else is tested, long where the poll must not be what helps.
    pub poll_every: &'static str,
    /// A code is presented within this after it was posted, on an idle machine.
    pub within: Duration,
    /// Makes the fault happen, posts codes while it lasts, and answers them.
    pub strike: fn(&Beset) -> Vec<String>,
}

/// A service that a fault is about to meet.
pub struct Beset {
    pub site: Site,
    pub service: Service,
}

/// Whether the long variants run.
pub fn slow() -> bool {
    std::env::var_os("CODEFERRY_SLOW").is_some_and(|value| value == "1")
}

/// A site whose gateway wants a heartbeat every 200 ms, so that a missing one is noticed at once.
pub fn site(poll_every: &str) -> Site {
    let options = SimulatorOptions {
        gateway: GatewaySettings {
            heartbeat_interval_ms: 200,
            frames_per_minute: 100_000,
            ..GatewaySettings::default()
        },
        ..SimulatorOptions::without_limits()
    };
    let more = format!(
        "[intake]\npoll_every = \"{poll_every}\"\n[limits]\nwebhook = \"off\"\nglobal = \"off\"\noauth = \"off\"\n"
    );
    Site::new(options, &more)
}

impl Beset {
    /// Makes a fault of the gateway happen.
    pub fn gateway(&self, fault: GatewayFault) {
        self.site.simulator.gateway_fault(fault);
    }

    /// What the gateway has done so far.
    pub fn status(&self) -> GatewayStatus {
        self.site.simulator.gateway_status()
    }

    /// Posts this many codes one after another, for people who have not signed in yet.
    pub fn post(&self, count: u64) -> Vec<String> {
        let first = self.site.simulator.summary().codes as u64;
        let posted = (first..first + count).flat_map(|n| {
            thread::sleep(BETWEEN);
            self.site.sign_in(n, 1)
        });
        posted.collect()
    }

    /// Posts codes until something holds.
    pub fn post_until(&self, within: Duration, what: &str, mut holds: impl FnMut() -> bool) -> Vec<String> {
        let mut codes = Vec::new();
        until(within, what, || {
            codes.extend(self.post(1));
            holds()
        });
        codes
    }

    /// Posts codes until a session was begun or resumed after this.
    pub fn post_until_back(&self, before: GatewayStatus) -> Vec<String> {
        let sessions = |status: GatewayStatus| status.identifies + status.resumes;
        self.post_until(Duration::from_mins(2), "a new session", || {
            sessions(self.status()) > sessions(before)
        })
    }
}

/// Runs cases at the same time, each with its own service, and reports to the tally.
#[track_caller]
pub fn survive(cases: &[Case]) {
    let failures: Vec<String> = thread::scope(|scope| {
        let run = |case| {
            thread::Builder::new()
                .spawn_scoped(scope, move || run(case))
                .expect("a thread")
        };
        let running: Vec<_> = cases.iter().map(|case| (case.kind, run(case))).collect();
        running
            .into_iter()
            .filter_map(|(kind, thread)| match thread.join() {
                Ok(told) => told.err().map(|why| format!("{kind}: {why}")),
                Err(panic) => {
                    let text = panic.downcast_ref::<String>().map_or("panicked", String::as_str);
                    Some(format!("{kind}: {text}"))
                }
            })
            .collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn run(case: &Case) -> Result<(), String> {
    let site = site(case.poll_every);
    let service = site.run_ready();
    let beset = Beset { site, service };
    let mut codes = beset.post(2);
    codes.extend((case.strike)(&beset));
    codes.extend(beset.post(1));
    let (tally, why) = judge(&beset.site, &codes, case.within + SLACK);
    tell(case.kind, tally);
    if tally.survived == 0 {
        return Err(format!("{why}; {tally:?}\n{}", beset.service.log()));
    }
    beset.service.drain();
    Ok(())
}

/// Waits for every code's end, and judges by Discord's own record.
fn judge(site: &Site, codes: &[String], within: Duration) -> (Tally, String) {
    let simulator = &site.simulator;
    let settled = || {
        let summary = simulator.summary();
        site.results_of("completed") >= codes.len() && summary.tokens_left == 0
    };
    wait(within + Duration::from_secs(20), settled);
    let ledger = simulator.ledger();
    let waited = |code: &String| {
        let record = ledger.code(code).expect("it was issued");
        let first = record.presented.first()?;
        Duration::from_micros((first.at_us - record.issued_at_us).cast_unsigned()).into()
    };
    let waits: Vec<Option<Duration>> = codes.iter().map(waited).collect();
    let summary = ledger.summary();
    let never = waits.iter().filter(|wait| wait.is_none()).count();
    let slowest = waits.iter().flatten().max().copied().unwrap_or_default();
    let completed = site.results_of("completed");
    let mut tally = Tally {
        tried: 1,
        survived: 0,
        lost: (codes.len() - completed.min(codes.len())) as u64,
        twice: summary.presented_twice as u64,
        left_behind: summary.tokens_left as u64,
    };
    let fine = slowest <= within && completed == codes.len() && summary.orphans == 0;
    tally.survived = u64::from(fine && tally.lost + tally.twice + tally.left_behind == 0);
    let why = format!(
        "of {} codes {never} were never presented, {completed} completed; the slowest took {slowest:?} of {within:?}",
        codes.len()
    );
    (tally, why)
}
