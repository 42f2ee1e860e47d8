//! `demo` as a process: every promise kept, and exit 1 where one is broken on purpose.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::patience::{Finish as _, Process, until};

fn demo(arguments: &[&str]) -> (i32, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_codeferry"))
        .args(["demo", "--json"])
        .args(arguments)
        .finish();
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let account = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text} {errors}"));
    (output.status.code().expect("an exit code"), account)
}

#[test]
fn every_promise_of_the_demo_is_kept() {
    let (exit, account) = demo(&["--people", "30"]);
    assert_eq!(exit, 0, "{account}");
    let number = |name: &str| account[name].as_i64().expect("a number");
    let outcomes = [
        "completed",
        "denied",
        "expired",
        "refused",
        "wrong_person",
        "lost",
        "failed",
        "dropped",
        "duplicate",
    ];
    let sum: i64 = outcomes.iter().map(|name| number(name)).sum();
    assert_eq!(number("codes"), sum + number("unaccounted"), "{account}");
    assert_eq!(number("unaccounted"), 0, "{account}");
    assert_eq!((number("denied"), number("expired")), (3, 1), "{account}");
    assert_eq!(number("invited_anew"), 1, "{account}");
    assert_eq!(number("rejected"), 6, "{account}");
    // What can be lost was on its way at the kill; how much that is depends on the machine, what becomes of the rest does not.
    assert!(number("lost") <= number("on_the_way"), "{account}");
    assert_eq!(
        (number("refused"), number("failed"), number("dropped")),
        (0, 0, 0),
        "{account}"
    );
    // 30 people of whom 3 deny and one follows a stranger's link, and one more who gets a fresh link; of the 3 who click
    // twice the second codes are duplicates. Any of these may be among the lost.
    let most = [("completed", 27), ("duplicate", 3), ("wrong_person", 1)];
    assert!(most.iter().all(|(name, most)| number(name) <= *most), "{account}");
    let came: i64 = most.iter().map(|(name, _)| number(name)).sum();
    assert_eq!(came + number("lost"), 31, "{account}");
    assert_eq!((number("presented_twice"), number("tokens_left")), (0, 0), "{account}");
    let promises = account["promises"].as_object().expect("promises");
    assert!(
        promises.len() >= 6 && promises.values().all(|kept| *kept == Value::Bool(true)),
        "{account}"
    );
}

#[test]
fn a_token_that_cannot_be_revoked_breaks_a_promise_and_exits_1() {
    let fault = r#"{"endpoint":"revoke","fault":{"fault":"status","status":500}}"#;
    let (exit, account) = demo(&["--people", "6", "--patience", "2", "--fault", fault]);
    assert_eq!(exit, 1, "{account}");
    assert_eq!(account["promises"]["no_token_left"], false, "{account}");
    assert_eq!(account["promises"]["no_code_presented_twice"], true, "{account}");
}

#[test]
fn people_who_are_asked_to_wait_get_their_link_as_soon_as_there_is_room() {
    let (exit, account) = demo(&["--people", "60"]);
    assert_eq!(exit, 0, "{account}");
    assert!(account["told_to_wait"].as_u64() > Some(0), "{account}");
    // The places of links that are used are free within seconds; only those that are not are held for minutes.
    assert!(account["seconds"].as_f64() < Some(100.0), "{account}");
}

#[test]
fn a_demo_that_is_told_to_stop_leaves_no_process_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_codeferry"));
    command
        .args(["demo", "--data"])
        .arg(folder.path())
        .stderr(Stdio::null());
    let mut demo = Process::start(&mut command);
    let named = folder.path().to_str().expect("UTF-8").to_owned();
    let children = || {
        let processes = fs::read_dir("/proc").expect("Linux").flatten();
        let commands = processes.filter_map(|p| fs::read_to_string(p.path().join("cmdline")).ok());
        commands.filter(|c| c.contains(&named) && !c.contains("demo")).count()
    };
    until(Duration::from_secs(30), "service and relay run", || children() == 2);
    demo.signal(Signal::TERM);
    let ended = demo.ends(Duration::from_secs(30)).expect("it ends");
    assert_eq!(ended.code(), Some(3));
    until(Duration::from_secs(10), "no process is left", || children() == 0);
}
