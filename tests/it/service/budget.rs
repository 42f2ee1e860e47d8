//! A greedy sender of results, with the service restarted every few seconds: Discord's own log is the judge.

use std::time::Duration;

use codeferry::simulator::SimulatorOptions;
use tokio::time::Instant;

use super::test_support::Site;
use crate::patience::until;

const SINK: &str =
    "[[delivery]]\nname = \"channel\"\nkind = \"discord_webhook\"\nwebhook_id = \"1536343300000000020\"\n";
/// `limits.webhook`: so many at once, and 30 - 5 more within a minute.
const BURST: u64 = 5;
const REFILL: u64 = 25;

#[test]
fn restarts_do_not_give_a_greedy_sender_more_than_the_budget() {
    // A budget that a restart forgets shows within seconds: each start would spend another burst. The whole minute is
    // watched with CODEFERRY_SLOW=1.
    let slow = std::env::var_os("CODEFERRY_SLOW").is_some();
    let watched = Duration::from_secs(if slow { 130 } else { 24 });
    let site = Site::new(SimulatorOptions::default(), SINK);
    let channel: u64 = site.about.results.channel_id.parse().expect("an id");
    let posts = || {
        let ledger = site.simulator.ledger();
        ledger.posts.iter().filter(|p| p.channel_id == channel).count() as u64
    };
    site.deny(120);
    let start = Instant::now();
    let mut restarts = 0;
    while start.elapsed() < watched {
        let service = site.run_ready();
        let lives = Instant::now();
        until(Duration::from_secs(10), "its time", || {
            lives.elapsed() > Duration::from_secs(3)
        });
        // A kill and a drain by turns: what was spent is remembered either way.
        if restarts % 2 == 0 {
            service.kill();
        } else {
            service.drain();
        }
        restarts += 1;
    }
    assert!(restarts >= 4, "{restarts} restarts");
    let ledger = site.simulator.ledger();
    for (seconds, window) in [(1, 1_000_000), (10, 10_000_000), (20, 20_000_000), (60, 60_000_000)] {
        let worst = ledger.worst_windows(window, false)[&channel] as u64;
        let most = (BURST + REFILL * seconds / 60 + 1).min(30);
        assert!(worst <= most, "{worst} posts within {seconds} s, at most {most} may be");
    }
    let refused = ledger
        .posts
        .iter()
        .filter(|p| p.channel_id == channel && p.status != 200);
    assert_eq!(refused.count(), 0);
    // The budget is used, not only kept: half of what may be, though the service is down for part of the time.
    let least = u64::midpoint(BURST, REFILL * watched.as_secs() / 60);
    assert!(posts() >= least, "{} posts, at least {least} were expected", posts());
}
