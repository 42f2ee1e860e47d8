//! No test of this binary runs for ever: a thread beside the tests looks at theirs. Where one is older than [`WITHIN`] it
//! prints the test's name and what it waits for, and ends the whole binary with exit code 101, since no thread can be ended
//! alone. What the tests have started ends with it (`patience::process`).
//!
//! libtest runs each test on a thread that bears the test's name; Linux keeps the first 15 bytes of it. The unit tests have
//! this file too. Its name makes its own test the first that runs, so that the watch begins with any whole run.

#![expect(
    clippy::disallowed_types,
    reason = "it measures real time, also where a test's own is virtual"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::sync::{Once, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// All tests together take less than five minutes on two idle cores.
const WITHIN: Duration = Duration::from_mins(15);

/// Seconds in place of [`WITHIN`].
const SECONDS: &str = "CODEFERRY_TEST_LIMIT";

/// Each of these makes some tests last longer, by an operator's choice; then nothing is limited.
const LONGER: [&str; 5] = [
    "CODEFERRY_FUZZ_SECONDS",
    "CODEFERRY_MUTATE",
    "CODEFERRY_SEEDS",
    "CODEFERRY_SLOW",
    "CODEFERRY_SOAK_MINUTES",
];

/// What a binary's tests know of themselves.
pub struct Known {
    /// Of the test on this thread: its whole name, and what it waits for.
    pub waits: fn(u32) -> Option<(String, String)>,
    /// Called ten times a second.
    pub tick: fn(),
}

pub static KNOWN: OnceLock<Known> = OnceLock::new();

/// How long one test may take; `None` where nothing is limited.
pub fn limit() -> Option<Duration> {
    if let Ok(seconds) = std::env::var(SECONDS) {
        return Some(Duration::from_secs(seconds.parse().expect("whole seconds")));
    }
    let longer = LONGER.iter().any(|name| std::env::var_os(name).is_some());
    (!longer).then_some(WITHIN)
}

/// Starts the watch, once.
pub fn watch() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        if let Some(within) = limit() {
            let watch = thread::Builder::new().name("limit".to_owned());
            watch.spawn(move || look(within)).expect("a thread");
        }
    });
}

fn look(within: Duration) {
    let mut seen: BTreeMap<u32, Instant> = BTreeMap::new();
    loop {
        let running = running();
        seen.retain(|task, _| running.contains_key(task));
        for (task, start_of_name) in running {
            if seen.entry(task).or_insert_with(Instant::now).elapsed() > within {
                give_up(task, &start_of_name, within);
            }
        }
        for _ in 0..10 {
            if let Some(known) = KNOWN.get() {
                (known.tick)();
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// The threads of tests, with the first bytes of their names. A thread without a name of its own has its maker's.
fn running() -> BTreeMap<u32, String> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let named = tasks.filter_map(|task| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let id = task.file_name().to_str()?.parse().ok()?;
        name.contains("::").then(|| (id, name.trim_end().to_owned()))
    });
    named.collect()
}

#[expect(clippy::disallowed_methods, reason = "nothing else ends a test that hangs")]
fn give_up(task: u32, start_of_name: &str, within: Duration) {
    let known = KNOWN.get().and_then(|known| (known.waits)(task));
    let (name, what) = known.unwrap_or_else(|| (format!("{start_of_name}…"), "something it does not name".to_owned()));
    complain(&format!(
        "test {name} has not ended within {within:?}: it waits for {what}. All tests end here; {SECONDS} sets another limit."
    ));
    std::process::exit(101);
}

/// Prints a line that no test's captured output swallows.
pub fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "\n{line}");
}

#[test]
fn every_test_has_a_limit() {
    watch();
    let here = fs::read_link("/proc/thread-self").expect("Linux tells");
    let here = here.file_name().and_then(|id| id.to_str()?.parse().ok());
    let name = running()
        .remove(&here.expect("a number"))
        .expect("it is a test's thread");
    assert!("a_limit::every_test_has_a_limit".starts_with(&name), "{name}");
}
