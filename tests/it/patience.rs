//! How long tests wait, and for what. Whatever waits says so here; `a_limit` prints it where a test hangs.

pub mod process;

use std::collections::BTreeMap;
use std::fs;
use std::panic::Location;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use crate::a_limit::{KNOWN, Known, watch};

pub use process::{Finish, Process, installed};

#[expect(
    clippy::disallowed_types,
    reason = "tests of one binary share it; each holds it for a moment"
)]
type Lock<T> = std::sync::Mutex<T>;

/// What the tests wait for now, by their threads: the test's name, and the waits, the innermost last.
static WAITS: Lock<BTreeMap<u32, (String, Vec<String>)>> = Lock::new(BTreeMap::new());

/// While it lives, this thread's test waits for something.
pub struct Waiting(u32);

/// Says what this thread's test waits for.
pub fn waiting(what: impl Into<String>) -> Waiting {
    KNOWN.get_or_init(|| Known {
        waits,
        tick: process::end_the_late,
    });
    watch();
    let here = fs::read_link("/proc/thread-self").expect("Linux tells");
    let task = here.file_name().and_then(|id| id.to_str()?.parse().ok());
    let task = task.expect("a thread's number");
    let mut waits = WAITS.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, stack) = waits.entry(task).or_insert_with(|| (test_name(), Vec::new()));
    stack.push(what.into());
    Waiting(task)
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waits = WAITS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, stack)) = waits.get_mut(&self.0) {
            stack.pop();
            if stack.is_empty() {
                waits.remove(&self.0);
            }
        }
    }
}

fn waits(task: u32) -> Option<(String, String)> {
    let waits = WAITS.lock().unwrap_or_else(PoisonError::into_inner);
    let (name, stack) = waits.get(&task)?;
    Some((name.clone(), stack.join(", within it for ")))
}

/// The name of the test that runs here.
pub fn test_name() -> String {
    std::thread::current()
        .name()
        .unwrap_or("a test's own thread")
        .to_owned()
}

/// Polls until something holds, at most for so long; whether it came to hold.
#[track_caller]
pub fn wait(within: Duration, holds: impl FnMut() -> bool) -> bool {
    poll(within, &Location::caller().to_string(), holds)
}

/// Polls until something holds; fails with a text after so long.
#[track_caller]
pub fn until(within: Duration, what: &str, holds: impl FnMut() -> bool) {
    assert!(poll(within, what, holds), "not within {within:?}: {what}");
}

fn poll(within: Duration, what: &str, mut holds: impl FnMut() -> bool) -> bool {
    let _waiting = waiting(what);
    let end = Instant::now() + within;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A test that hangs on purpose, in a process of its own, with a child that does too.
mod hangs {
    use std::fs;
    use std::process::Command;
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::{Finish as _, Process, test_name, until};

    const HANG: &str = "CODEFERRY_TEST_HANGS";

    /// Not a test by itself: what the tests below start.
    #[test]
    fn on_purpose() {
        let Ok(how) = std::env::var(HANG) else { return };
        let child = Process::start(Command::new("sh").args(["-c", "sleep 300 & sleep 300"]));
        println!("\nCHILD {}", child.id());
        match how.as_str() {
            "for ever" => until(Duration::from_mins(5), "what never comes", || false),
            "panic" => panic!("on purpose"),
            "killed" => kill_process(getpid(), Signal::KILL).expect("it is there"),
            _ => panic!("{how}"),
        }
    }

    /// Runs the test above; answers what it printed, once nothing of what it had started is left.
    fn hang(how: &str, limit: &str, code: Option<i32>) -> String {
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "patience::hangs::on_purpose", "--nocapture"])
            .envs([(HANG, how), ("CODEFERRY_TEST_LIMIT", limit)])
            .finish();
        assert_eq!(output.status.code(), code);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        let group = said.split("CHILD ").nth(1).and_then(|rest| rest.lines().next());
        let group = group.expect("the child's number").to_owned();
        until(Duration::from_secs(20), "no process of the group is left", || {
            !lives(&group)
        });
        said
    }

    /// Whether a process of a group is there that is not only waiting to be looked at (`proc(5)`: state, parent and group
    /// follow the name in brackets).
    fn lives(group: &str) -> bool {
        let processes = fs::read_dir("/proc").expect("Linux").flatten();
        let mut stats = processes.filter_map(|process| fs::read_to_string(process.path().join("stat")).ok());
        stats.any(|stat| {
            let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
            let mut fields = after.split(' ');
            fields.next() != Some("Z") && fields.nth(1) == Some(group)
        })
    }

    #[test]
    fn a_test_that_hangs_is_named_with_what_it_waits_for_and_leaves_no_process() {
        let said = hang("for ever", "2", Some(101));
        assert!(
            said.contains("test patience::hangs::on_purpose has not ended within 2s: it waits for what never comes."),
            "{said}"
        );
    }

    #[test]
    fn a_test_that_fails_leaves_no_process() {
        let said = hang("panic", "60", Some(101));
        assert!(said.contains("on purpose"), "{said}");
    }

    #[test]
    fn a_test_binary_that_is_killed_leaves_no_process() {
        hang("killed", "60", None);
    }

    #[test]
    fn a_command_that_does_not_end_is_killed_and_named_with_what_it_had_said() {
        let run = || {
            Command::new("sh")
                .args(["-c", "echo so far; sleep 300"])
                .finish_within(Duration::from_millis(300))
        };
        let panicked = std::panic::catch_unwind(run).expect_err("it cannot end");
        let said = panicked.downcast_ref::<String>().expect("a text");
        let expected = format!(
            "{}: `sh -c echo so far; sleep 300` has not ended within 300ms",
            test_name()
        );
        assert!(said.starts_with(&expected) && said.contains("so far\n"), "{said}");
    }
}
