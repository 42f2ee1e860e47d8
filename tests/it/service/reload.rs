//! SIGHUP: `[limits]` and `[log]` are applied while the service runs; the rest is named as in need of a restart.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use super::test_support::Site;
use crate::patience::until;

#[test]
fn sighup_applies_limits_and_log_and_names_what_needs_a_restart() {
    let site = Site::new(codeferry::simulator::SimulatorOptions::without_limits(), "");
    let service = site.run_ready();
    let webhook_limit = || site.json(&["debug", "budget"])[0]["limit"].clone();
    assert_eq!(webhook_limit(), 30);

    site.configure(
        "[limits]\nwebhook = { per_minute = 20, burst = 3 }\n[log]\nlevel = \"debug\"\n[stages.fetch]\nslots = 7\n",
    );
    service.signal(Signal::HUP);
    service.logs("configuration reloaded");
    service.logs("these keys have changed and need a restart");
    until(Duration::from_secs(10), "the new limit", || webhook_limit() == 20);
    let log = service.log();
    let line = |text: &str| log.lines().find(|l| l.contains(text)).expect("logged").to_owned();
    let applied = line("configuration reloaded");
    assert!(
        applied.contains("limits.webhook") && applied.contains("log.level"),
        "{applied}"
    );
    assert!(!applied.contains("stages"), "{applied}");
    let later = line("need a restart");
    assert!(later.contains("stages.fetch") && !later.contains("limits"), "{later}");
    site.sign_in(0, 1);
    service.logs("step done");

    // A file with errors changes nothing.
    fs::write(site.file(), "[limits]\nwebhook = 7 8\n").expect("written");
    service.signal(Signal::HUP);
    service.logs("the configuration was not reloaded");
    site.configure("[limits]\nwebhook = { per_minute = 20, burst = 3 }\n[log]\nlevel = \"debug\"\n");
    assert_eq!(webhook_limit(), 20);
    site.sign_in(1, 1);
    until(Duration::from_secs(20), "both complete", || {
        site.results_of("completed") == 2
    });
    service.drain();
}
