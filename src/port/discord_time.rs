//! Sets our clock by what Discord's answers say of theirs: codes and links age by Discord's clock.

use std::time::Duration;

use crate::rate::feedback::HttpFeedback;
use crate::time::Clock;

/// Sets the clock where an answer's `Date` differs from it.
pub fn correct(clock: &dyn Clock, answer: &HttpFeedback) {
    let since = answer.came.map_or(Duration::ZERO, |came| came.elapsed());
    if let Some(skew_ms) = answer.skew_ms(clock.now() - since).filter(|ms| *ms != 0) {
        tracing::warn!(
            skew_ms,
            "this machine's clock differs from Discord's: the age of codes is judged by Discord's"
        );
        clock.correct(skew_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{SteadyClock, Timestamp};

    #[tokio::test(start_paused = true)]
    async fn an_answer_sets_the_clock_as_it_was_when_its_head_came() {
        let check = async |ahead_ms: i64, waited: u64, expected_ms: i64| {
            let clock = SteadyClock::starting_at(Timestamp::from_millis(1_700_000_000_500 + ahead_ms));
            let headers = [("via", "1.1 google"), ("date", "Tue, 14 Nov 2023 22:13:20 GMT")];
            let answer = HttpFeedback {
                status: 200,
                headers: headers.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec(),
                came: Some(tokio::time::Instant::now()),
                ..HttpFeedback::default()
            };
            // The body takes its time.
            tokio::time::sleep(Duration::from_secs(waited)).await;
            correct(&*clock, &answer);
            assert_eq!(
                clock.now(),
                Timestamp::from_millis(expected_ms) + Duration::from_secs(waited)
            );
        };
        check(3_600_000, 0, 1_700_000_000_500).await;
        check(-3_600_000, 9, 1_700_000_000_500).await;
        check(0, 9, 1_700_000_000_500).await;
        check(1_500, 0, 1_700_000_002_000).await;
    }
}
