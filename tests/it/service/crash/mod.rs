//! Crash points: the service kills itself before or after a commit or an outside call, is started again, and the embedded
//! Discord's ledger judges. Every point in the normal run; with `CODEFERRY_SLOW=1` every point in everything that can
//! be going on, and at its first three arrivals.

pub mod judge;
mod trial;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use self::trial::{Happens, Trials};
use crate::mutations::texts_below;
use crate::tally::{Tally, tell};

/// Commits, by the kind of change that is in them. (`forget` takes ten minutes to come about; nothing depends on it.)
const COMMITS: [&str; 11] = [
    "cursor",
    "receive",
    "intent",
    "token",
    "data",
    "nonce",
    "settle",
    "close",
    "source_message",
    "code",
    "spending",
];
/// Outside calls.
const CALLS: [&str; 10] = [
    "exchange",
    "fetch",
    "revoke",
    "deliver.jsonl",
    "deliver.http",
    "deliver.discord_webhook",
    "lookup",
    "history",
    "removal",
    "invite",
];
#[test]
fn every_outside_call_that_has_points_is_tried() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for folder in ["actors", "delivery", "discord", "steps"] {
        let text = texts_below(&src.join(folder));
        let points = text.split("crash::point(\"").skip(1);
        for point in points.filter_map(|rest| rest.split('"').next()) {
            let call = point.trim_end_matches(".before").trim_end_matches(".after");
            assert!(CALLS.contains(&call), "`CALLS` lacks the point {point} of src/{folder}");
        }
    }
}

/// Trials at once: they mostly wait.
const AT_ONCE: usize = 3;

/// One trial to make.
struct Case {
    /// The points of the runs that die, in turn.
    points: Vec<String>,
    happens: Happens,
    /// At which arrival the first run is killed.
    nth: u32,
    /// Whether the points are surely met.
    sure: bool,
}

/// A place met with something going on in which it is met for sure.
fn sure(place: &str, when: &str) -> Case {
    let happens = match place {
        "code" => Happens::LimitedFirst,
        "spending" | "deliver.discord_webhook" | "lookup" => Happens::WithAChannel,
        "invite" => Happens::Dies,
        _ => Happens::SeveralAtOnce,
    };
    let name = if COMMITS.contains(&place) {
        format!("commit.{place}.{when}")
    } else {
        format!("{place}.{when}")
    };
    // Only a restart looks for an earlier post.
    let points = match place {
        "lookup" => vec!["deliver.discord_webhook.after".to_owned(), name],
        _ => vec![name],
    };
    Case {
        points,
        happens,
        nth: 1,
        sure: true,
    }
}

fn cases(places: &[&str]) -> Vec<Case> {
    let mut cases = Vec::new();
    for place in places {
        for when in ["before", "after"] {
            let first = sure(place, when);
            if std::env::var_os("CODEFERRY_SLOW").is_some() {
                let others = Happens::ALL.into_iter().flat_map(|h| (1..=3).map(move |nth| (h, nth)));
                cases.extend(others.map(|(happens, nth)| Case {
                    points: first.points.clone(),
                    happens,
                    nth,
                    sure: false,
                }));
            }
            cases.push(first);
        }
    }
    cases
}

/// Makes every trial and reports one line for each point, or one for all of them, named `kind`.
fn try_all(cases: &[Case], kind: Option<&str>) {
    let next = AtomicUsize::new(0);
    let (results, came) = channel();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            let (next, results) = (&next, results.clone());
            scope.spawn(move || {
                let mut trials = Trials::new();
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let _ = results.send((case, trials.run(&case.points, case.happens, case.nth, case.sure)));
                }
            });
        }
    });
    drop(results);
    let mut table: BTreeMap<String, Tally> = BTreeMap::new();
    let mut faults = Vec::new();
    for (case, outcome) in came {
        let about = format!("{}, {:?}, {}", case.points.join(" then "), case.happens, case.nth);
        let row = kind.unwrap_or(case.points.last().expect("a point"));
        let tally = table.entry(format!("crash point: {row}")).or_default();
        if outcome.crashed {
            tally.tried += 1;
            tally.survived += u64::from(outcome.faults.is_empty());
        } else if case.sure {
            faults.push(format!("{about}: never reached"));
        }
        tally.lost += outcome.tally.lost;
        tally.twice += outcome.tally.twice;
        tally.left_behind += outcome.tally.left_behind;
        faults.extend(outcome.faults.into_iter().map(|fault| format!("{about}: {fault}")));
    }
    for (kind, tally) in table {
        tell(&kind, tally);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_crash_around_any_commit_loses_nothing_and_repeats_nothing() {
    try_all(&cases(&COMMITS), None);
}

#[test]
fn a_crash_around_any_outside_call_loses_nothing_and_repeats_nothing() {
    try_all(&cases(&CALLS), None);
}

#[test]
fn crashes_in_other_states_and_crashes_after_crashes_lose_nothing_and_repeat_nothing() {
    use Happens::{OneCode, OnePersonThrice, Parked};
    let list: [(&[&str], Happens); 9] = [
        (&["exchange.after"], OneCode),
        (&["commit.token.before"], OnePersonThrice),
        (&["revoke.after"], OnePersonThrice),
        (&["commit.settle.after"], Parked),
        (&["deliver.discord_webhook.after"], Parked),
        // What a start makes of an exchange that was under way.
        (&["exchange.after", "commit.code.before"], OneCode),
        (&["exchange.before", "commit.code.after", "exchange.before"], OneCode),
        (
            &["commit.data.after", "commit.settle.before", "deliver.jsonl.after"],
            OneCode,
        ),
        (&["revoke.after", "revoke.before"], OneCode),
    ];
    let cases: Vec<Case> = list
        .into_iter()
        .map(|(points, happens)| Case {
            points: points.iter().map(|&p| p.to_owned()).collect(),
            happens,
            nth: 1,
            sure: true,
        })
        .collect();
    try_all(&cases, Some("several crashes, other states"));
}
