//! A running service seen from outside, and changed while it runs.

use std::fs;
use std::time::Duration;

use super::kit::{Site, until};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn saving_the_file_applies_limits_and_log_and_names_what_waits_for_a_restart() {
    let site = Site::without_limits("");
    let service = site.run_ready();
    let limit = || site.json(&["debug", "budget"]).to_string();
    assert!(!limit().contains("\"limit\":7"), "{}", limit());
    let text = fs::read_to_string(site.file()).expect("readable");
    let changed = text.replace("oauth = \"off\"", "oauth = { per_second = 7, burst = 7 }");
    assert_ne!(text, changed);
    let changed = format!("{changed}\n[shutdown]\ngrace = \"31s\"\n[log]\nlevel = \"debug\"\n");
    fs::write(site.file(), &changed).expect("written");
    service.logs("configuration reloaded");
    service.logs("limits.oauth");
    service.logs("shutdown.grace");
    until(SOON, "the new limit", || limit().contains("\"limit\":7"));
    // Other work of the same process is told at the new level.
    site.sign_in(0, 1);
    service.logs("step done");
    fs::write(site.file(), "[limits]\noauth = 5\n").expect("written");
    service.logs("the configuration was not reloaded");
    fs::write(site.file(), changed).expect("written");
    let told = || service.log().matches("need a restart").count();
    until(SOON, "what waits is told again", || told() == 2);
    assert!(limit().contains("\"limit\":7"));
    service.drain();
}
