//! What a link's owner makes up does not stand in the way of others.

use super::*;
use crate::secret::AuthorizationCode;

/// Another code of the same link.
fn another(callback: &Callback, n: u64) -> Callback {
    Callback {
        result: Ok(AuthorizationCode::new(format!("MADE{n:026}"))),
        ..callback.clone()
    }
}

fn texts(entries: &[Entry]) -> Vec<String> {
    let text = |entry: &Entry| match &entry.result {
        Ok(code) => code
            .expose()
            .trim_start_matches(|c: char| !c.is_ascii_digit())
            .to_owned(),
        Err(reason) => reason.to_string(),
    };
    entries.iter().map(text).collect()
}

/// Offers what is ready to be posted, so that only the order decides from then on; the numbers of what came after that.
async fn order(pack: usize, callbacks: impl FnOnce(&Bench) -> Vec<Callback>) -> Vec<String> {
    let bench = Bench::new(1, pack, |_, _| fine());
    let callbacks = callbacks(&bench);
    let left = bench
        .run(GRACE, async |offers| {
            // Posted at once: the line that everything else waits for.
            assert_eq!(offer(&offers, bench.callback(0, false).0).await, CallbackAnswer::Safe);
            for callback in callbacks {
                tokio::time::sleep(Duration::from_millis(1)).await;
                assert_eq!(offer(&offers, callback).await, CallbackAnswer::Safe);
            }
        })
        .await;
    assert_eq!(left, 0);
    let told = texts(&bench.told()[1..]);
    told.iter()
        .map(|text| text.trim_start_matches('0').to_owned())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn of_a_links_callbacks_one_is_posted_and_later_ones_after_everybody_elses_first() {
    let told = order(1, |bench| {
        let first = bench.callback(0, false).0;
        let made_up = [101, 102].map(|n| another(&first, n));
        let denied = bench.callback(0, true).0;
        let approved_after_all = another(&denied, 103);
        let other = bench.callback(0, false).0;
        [vec![first], made_up.into(), vec![denied, approved_after_all, other]].concat()
    });
    assert_eq!(told.await, ["1", "3", "access_denied", "101", "102", "103"]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_its_links_end_waits_behind() {
    let told = order(1, |bench| {
        let mut late = [bench.callback(0, false).0, bench.callback(0, false).0];
        late[0].token.expires_at = bench.clock.now() - Duration::from_secs(15);
        late[1].token.expires_at = bench.clock.now() - Duration::from_secs(14);
        let [late, in_time] = late;
        vec![late, in_time, bench.callback(0, false).0]
    });
    assert_eq!(told.await, ["2", "3", "1"]);
}

#[tokio::test(start_paused = true)]
async fn a_line_that_takes_the_room_of_others_waits_behind_them() {
    let long = |bench: &Bench| {
        let mut long = bench.callback(0, false).0;
        long.result = Ok(AuthorizationCode::new(format!("{:0512}", 7)));
        vec![long, bench.callback(0, false).0]
    };
    assert_eq!(order(18, long).await, ["2", "7"]);
    assert_eq!(order(1, long).await, ["7", "2"], "alone, it takes nobody's room");
}

/// Four made-up codes for each link once filled the relay, and people who had approved were turned away.
#[tokio::test(start_paused = true)]
async fn made_up_codes_take_nobodys_room() {
    let bench = Bench::new(1, 1, |_, _| fine());
    let mut honest = Vec::new();
    let left = bench
        .run(GRACE, async |offers| {
            for n in 0..10 {
                let first = bench.callback(0, false).0;
                for nth in 0..3 {
                    offer(&offers, another(&first, 10 * n + nth)).await;
                }
                offer(&offers, first).await;
            }
            for _ in 0..25 {
                let callback = bench.callback(0, false).0;
                honest.push((callback.result.clone().expect("a code"), Instant::now()));
                assert_eq!(offer(&offers, callback).await, CallbackAnswer::Safe);
            }
        })
        .await;
    assert_eq!(left, 0);
    let arrived = bench.fake.arrived.borrow();
    for (code, came) in honest {
        let of = |arrived: &&Arrived| arrived.entries.iter().any(|entry| entry.result.as_ref() == Ok(&code));
        let posted = arrived.iter().find(of).expect("it was posted");
        assert!(posted.at - came < Duration::from_secs(85), "{:?}", posted.at - came);
    }
}
