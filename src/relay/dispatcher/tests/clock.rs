//! The relay's clock, which Discord's answers set.

use super::*;

/// 1,600,000,000 in Unix seconds.
const LONG_AGO: &str = "Sun, 13 Sep 2020 12:26:40 GMT";

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_is_set_by_every_answer_and_asked_about_after_a_jump_and_each_minute_without_any() {
    let dated = |_: usize, _: WebhookId| {
        let (outcome, _) = fine();
        status(200, outcome, &[("via", "1.1 google"), ("date", LONG_AGO)])
    };
    let bench = Bench::new(1, 18, dated);
    let looks = || *bench.fake.looks.borrow();
    // Discord's clock stands still here, so that the time to be set is always the same.
    let is_set = || bench.clock.now().since(Timestamp::from_secs(1_600_000_000)) < Duration::from_secs(5);
    bench
        .run(GRACE, async |offers| {
            assert_eq!(offer(&offers, bench.callback(0, false).0).await, CallbackAnswer::Safe);
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert!(is_set(), "by the post: {}", bench.clock.now());
            assert_eq!(looks(), 0);
            for jump_ms in [3_600_000, -3_600_000] {
                let before = looks();
                bench.wall.step(jump_ms);
                tokio::time::sleep(Duration::from_millis(1_100)).await;
                assert_eq!(looks(), before + 1, "after a jump of {jump_ms} ms");
            }
            tokio::time::sleep(Duration::from_mins(2)).await;
            assert!(looks() >= 3, "nobody else tells the time");
            *bench.fake.date.borrow_mut() = Some(LONG_AGO);
            bench.clock.step(3_600_000);
            tokio::time::sleep(Duration::from_mins(1)).await;
            let off = bench.clock.now().since(Timestamp::from_secs(1_600_000_000));
            assert!(off < Duration::from_secs(61), "by the look: {off:?}");
        })
        .await;
}
