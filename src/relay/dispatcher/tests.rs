//! The dispatcher in virtual time: a fake Discord counts as Discord does, a real store commits inline.

mod behind;
mod bench;
mod clock;

use self::bench::*;
use super::*;
use crate::grant::Reason;
use crate::ids::{ChannelId, WebhookId};
use crate::intake::entry::Entry;
use crate::rate::feedback::HttpFeedback;
use crate::relay::journal;
use crate::relay::post_plan::RelaySettings;
use crate::store::{Fault, StoreOptions, Sync};
use crate::testing::{logged, paused};
use crate::time::{Clock as _, Timestamp};

const GRACE: Duration = Duration::from_mins(5);

#[tokio::test(start_paused = true)]
async fn a_code_that_comes_alone_leaves_at_once_and_alone() {
    let bench = Bench::new(1, 18, |_, _| fine());
    let left = bench
        .run(GRACE, async |offers| {
            for _ in 0..20 {
                let before = Instant::now();
                assert_eq!(offer(&offers, bench.callback(0, false).0).await, CallbackAnswer::Safe);
                tokio::time::sleep(Duration::from_secs(4)).await;
                let arrived = bench.fake.arrived.borrow();
                let last = arrived.last().expect("it has arrived");
                assert_eq!(last.entries.len(), 1);
                assert!(last.at - before < Duration::from_millis(150), "{:?}", last.at - before);
            }
        })
        .await;
    assert_eq!((left, bench.told().len()), (0, 20));
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_packed_and_never_above_thirty_a_minute_over_restarts_too() {
    let bench = Bench::new(1, 18, |_, _| fine());
    let mut sent = 0;
    for _ in 0..4 {
        // Each run ends with a kill's suddenness: what is left is left.
        bench
            .run(Duration::ZERO, async |offers| {
                for _ in 0..150 {
                    if offer(&offers, bench.callback(0, false).0).await == CallbackAnswer::Safe {
                        sent += 1;
                    }
                    tokio::time::sleep(Duration::from_millis(170)).await;
                }
            })
            .await;
    }
    assert_eq!(bench.run(GRACE, async |_| {}).await, 0);
    assert_eq!(sent, 600, "300 a minute is less than 25 messages of 18");
    assert!(
        bench.worst(Duration::from_mins(1)) <= 30,
        "{}",
        bench.worst(Duration::from_mins(1))
    );
    assert!(bench.worst(Duration::from_secs(2)) <= 5);
    let told = bench.told();
    let mut codes: Vec<_> = told
        .iter()
        .filter(|e| is_code(e))
        .map(|e| e.result.clone().expect("a code"))
        .collect();
    let all = codes.len();
    codes.sort_by(|a, b| a.expose().cmp(b.expose()));
    codes.dedup();
    assert_eq!(codes.len(), 600, "every code was posted");
    assert!(all < 600 + 4 * 18, "and none often");
    assert_eq!(bench.counts.expired.get(), 0);
    let arrived = bench.fake.arrived.borrow();
    assert!(arrived.iter().any(|a| a.entries.len() == 18), "packed to the brim");
    assert!(arrived.iter().all(|a| a.entries.len() <= 18));
}

/// In real time: a disk that takes its time has a thread of its own.
#[tokio::test]
async fn nobody_is_told_and_nothing_is_posted_before_the_disk_has_it() {
    let slow = Duration::from_millis(400);
    // The first commit holds the callback, the second the post's send time.
    for (commit, told, posted) in [(1, slow, slow), (2, Duration::ZERO, slow)] {
        let bench = Bench::new(1, 18, |_, _| fine());
        let options = StoreOptions {
            sync: Sync::Counted,
            fault: Some(Fault::HangAtCommit(commit, slow)),
            ..StoreOptions::new(bench.folder.path().join("store"), bench.clock.clone())
        };
        let (journal, found) = journal::open_on_its_thread(&options, Duration::from_mins(1)).expect("opens");
        let began = Instant::now();
        let left = bench
            .run_over(journal, found, Duration::from_secs(10), async |offers| {
                assert_eq!(offer(&offers, bench.callback(0, false).0).await, CallbackAnswer::Safe);
                assert!(began.elapsed() >= told, "commit {commit}: {:?}", began.elapsed());
            })
            .await;
        assert_eq!((left, bench.told().len()), (0, 1));
        let arrived = bench.fake.arrived.borrow()[0].at - began;
        assert!(arrived >= posted, "commit {commit}: {arrived:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_earliest_deadline_goes_first_whatever_lane_it_is_of() {
    // Both lanes are closed for a while, so that everything waits.
    let bench = Bench::new(2, 3, |nth, _| {
        if nth < 2 {
            return status(
                429,
                PostAnswer::Later(Later::limited(Duration::from_secs(20))),
                &[("via", "1.1 x"), ("retry-after", "20")],
            );
        }
        fine()
    });
    bench
        .run(GRACE, async |offers| {
            for n in 0..24 {
                let lane = u8::from(n % 3 == 0);
                assert_eq!(
                    offer(&offers, bench.callback(lane, n % 5 == 4).0).await,
                    CallbackAnswer::Safe
                );
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        })
        .await;
    let told = bench.told();
    assert_eq!(told.len(), 24);
    for webhook in [WEBHOOK, WEBHOOK + 1] {
        let arrived = bench.fake.arrived.borrow();
        let of_lane: Vec<&Entry> = arrived
            .iter()
            .filter(|a| a.accepted && a.webhook == WebhookId(webhook))
            .flat_map(|a| &a.entries)
            .collect();
        let codes: Vec<Timestamp> = of_lane
            .iter()
            .filter(|e| is_code(e))
            .filter_map(|e| e.redirected_at)
            .collect();
        assert!(codes.is_sorted(), "codes in the order of their deadlines: {codes:?}");
        let first_denied = of_lane.iter().position(|e| !is_code(e)).unwrap_or(of_lane.len());
        let last_code = of_lane.iter().rposition(|e| is_code(e)).unwrap_or(0);
        assert!(first_denied > last_code, "denials wait for codes");
    }
}

#[tokio::test(start_paused = true)]
async fn codes_that_die_are_told_after_the_living_and_dropped_after_ten_minutes() {
    // Discord cannot be reached for 150 s.
    let start = Instant::now();
    let down = move |_: usize, _| match start.elapsed() {
        gone if gone < Duration::from_secs(150) => (
            PostAnswer::NotSent(Reason::new("connection_refused")),
            HttpFeedback::default(),
        ),
        _ => fine(),
    };
    let bench = Bench::new(1, 18, down);
    bench
        .run(GRACE, async |offers| {
            for _ in 0..30 {
                assert_eq!(offer(&offers, bench.callback(0, false).0).await, CallbackAnswer::Safe);
            }
            tokio::time::sleep(Duration::from_secs(140)).await;
            for _ in 0..5 {
                assert_eq!(offer(&offers, bench.callback(0, false).0).await, CallbackAnswer::Safe);
            }
        })
        .await;
    let told = bench.told();
    assert_eq!(told.len(), 35);
    assert!(told[..5].iter().all(is_code), "the living first");
    let expired = Reason::new("relay_expired");
    assert!(
        told[5..].iter().all(|e| e.result.as_ref().err() == Some(&expired)),
        "{told:?}"
    );
    assert_eq!(bench.counts.expired.get(), 30);

    let never = Bench::new(1, 18, |_, _| {
        (
            PostAnswer::NotSent(Reason::new("connection_refused")),
            HttpFeedback::default(),
        )
    });
    never
        .run(Duration::from_secs(1), async |offers| {
            assert_eq!(offer(&offers, never.callback(0, false).0).await, CallbackAnswer::Safe);
            assert_eq!(offer(&offers, never.callback(0, true).0).await, CallbackAnswer::Safe);
            tokio::time::sleep(Duration::from_secs(690)).await;
            assert_eq!(never.counts.waiting.get(), 2);
            tokio::time::sleep(Duration::from_secs(20)).await;
            assert_eq!(never.counts.waiting.get(), 0, "nobody waits for it any more");
            assert_eq!(never.counts.untold.get(), 2);
        })
        .await;
    // Nothing of it comes back after a restart.
    assert_eq!(never.run(Duration::ZERO, async |_| {}).await, 0);
    assert_eq!(never.counts.waiting.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_refused_webhook_is_looked_at_until_it_works_again() {
    for refused in ["http_401", "http_403", "http_404"] {
        let answer = move |nth: usize, _| {
            let reason = Reason::new(refused);
            let code = 10015;
            if nth == 0 {
                status(404, PostAnswer::Refused { reason, code }, &[])
            } else {
                fine()
            }
        };
        let bench = Bench::new(2, 18, answer);
        *bench.fake.look.borrow_mut() = WebhookState::Gone;
        bench
            .run(GRACE, async |offers| {
                for _ in 0..3 {
                    assert_eq!(offer(&offers, bench.callback(0, false).0).await, CallbackAnswer::Safe);
                }
                tokio::time::sleep(Duration::from_secs(40)).await;
                assert_eq!(bench.told().len(), 3, "through the other lane");
                assert_eq!((*bench.fake.looks.borrow(), bench.counts.lanes_out.get()), (2, 1));
                *bench.fake.look.borrow_mut() = WebhookState::There;
                tokio::time::sleep(Duration::from_secs(15)).await;
                assert_eq!(bench.counts.lanes_out.get(), 0);
                assert_eq!(offer(&offers, bench.callback(0, false).0).await, CallbackAnswer::Safe);
                tokio::time::sleep(Duration::from_secs(2)).await;
                let arrived = bench.fake.arrived.borrow();
                assert_eq!(
                    arrived.last().map(|a| a.webhook),
                    Some(WebhookId(WEBHOOK)),
                    "it is back"
                );
            })
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn every_shape_of_429_closes_for_the_time_it_names() {
    let deferred = |secs| PostAnswer::Later(Later::limited(Duration::from_secs(secs)));
    type Shape = (PostAnswer, HttpFeedback);
    let mut body = status(429, deferred(41), &[("via", "1.1 google")]);
    body.1.body_retry_after = Some(Duration::from_millis(41_300));
    let header = status(429, deferred(43), &[("via", "1.1 google"), ("retry-after", "43")]);
    let edge = status(
        429,
        deferred(30),
        &[("content-type", "text/plain"), ("retry-after", "30")],
    );
    let nameless = status(429, deferred(60), &[("content-type", "text/plain; charset=UTF-8")]);
    let cases: [(Shape, f64, bool); 4] = [
        (body, 41.3, false),
        (header, 43.0, false),
        (edge, 30.0, true),
        (nameless, 60.0, true),
    ];
    for ((outcome, feedback), seconds, everything) in cases {
        let bench = Bench::new(2, 18, move |nth, _| {
            if nth == 0 {
                (outcome.clone(), feedback.clone())
            } else {
                fine()
            }
        });
        bench
            .run(GRACE, async |offers| {
                assert_eq!(offer(&offers, bench.callback(0, false).0).await, CallbackAnswer::Safe);
                tokio::time::sleep(Duration::from_secs(70)).await;
            })
            .await;
        let arrived = bench.fake.arrived.borrow();
        assert_eq!(arrived.len(), 2);
        let waited = (arrived[1].at - arrived[0].at).as_secs_f64();
        if everything {
            assert!((waited - seconds).abs() < 0.5, "{waited} for {seconds}");
        } else {
            assert!(waited < 0.5, "the other lane takes it: {waited}");
            assert_eq!(arrived[1].webhook, WebhookId(WEBHOOK + 1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_text_that_discord_refuses_costs_only_its_own_line() {
    let bench = Bench::new(1, 18, |_, _| fine());
    let poison = format!("CODE{:026}", 7);
    // It refuses by content.
    struct Picky(Handle, String);
    impl RelayPost for Picky {
        fn post(&self, webhook: WebhookId, content: String) -> LocalBoxFuture<'static, Answered<PostAnswer>> {
            if !content.contains(&self.1) {
                return self.0.post(webhook, content);
            }
            async {
                let reason = Reason::new("http_400");
                let (outcome, feedback) = status(400, PostAnswer::Refused { reason, code: 50_035 }, &[]);
                Answered {
                    outcome,
                    feedback: Some(feedback),
                }
            }
            .boxed_local()
        }
        fn look(&self, webhook: WebhookId) -> LocalBoxFuture<'static, Answered<WebhookState>> {
            self.0.look(webhook)
        }
    }
    let options = StoreOptions {
        sync: Sync::Counted,
        ..StoreOptions::new(bench.folder.path().join("store"), bench.clock.clone())
    };
    let (journal, found) = journal::open_inline(&options).expect("opens");
    let now = Now {
        moment: Moment::START,
        wall: bench.clock.now(),
    };
    let settings = RelaySettings {
        lanes: bench.lanes.clone(),
        limit: Some(LIMIT),
        code_lifetime: Duration::from_secs(100),
        bot: BOT,
        relay_keys: (&key()).into(),
    };
    let mut plan = PostPlan::new(settings, found, now);
    let mut hold = Vec::new();
    for _ in 0..10 {
        let (callback, _) = bench.callback(0, false);
        let hash = callback.hash(&key());
        match plan.admit(callback, hash, now) {
            CallbackAdmission::New(waiting, known) => {
                journal.accept(&waiting, known).await.expect("kept");
                hold.push(waiting);
            }
            other => panic!("{other:?}"),
        }
    }
    for waiting in hold {
        plan.journalled(waiting);
    }
    let dispatcher = Dispatcher::new(Parts {
        plan,
        journal,
        post: Rc::new(Picky(Handle(Rc::clone(&bench.fake)), poison.clone())),
        clock: bench.clock.clone(),
        wall: bench.wall.clone(),
        counts: Arc::clone(&bench.counts),
        hash_key: key(),
    });
    let (offers, offered) = mpsc::channel(1);
    drop(offers);
    let (_end, ends) = watch::channel(Some(Instant::now() + GRACE));
    assert_eq!(dispatcher.run(offered, ends).await, Ok(0));
    assert_eq!((bench.told().len(), bench.counts.given_up.get()), (9, 1));
}

#[tokio::test(start_paused = true)]
async fn whoever_cannot_be_carried_in_time_is_told_so_and_nobody_taken_dies() {
    // 1,500 people at once on one lane: about 40 messages of 18 fit into the 90 s.
    let bench = Bench::new(1, 18, |_, _| fine());
    let (mut safe, mut busy) = (0, 0);
    bench
        .run(GRACE, async |offers| {
            for _ in 0..1_500 {
                match offer(&offers, bench.callback(0, false).0).await {
                    CallbackAnswer::Safe => safe += 1,
                    CallbackAnswer::Busy => busy += 1,
                    other => panic!("{other:?}"),
                }
            }
        })
        .await;
    assert!((600..=780).contains(&safe), "{safe} taken, {busy} sent away");
    assert_eq!(bench.told().iter().filter(|e| is_code(e)).count(), safe);
    assert_eq!(bench.counts.expired.get(), 0, "nobody who was told that it is safe");
}

#[tokio::test(start_paused = true)]
async fn lanes_of_one_channel_share_its_budget() {
    let mut bench = Bench::new(3, 1, |_, _| fine());
    for lane in &mut bench.lanes {
        lane.channel = Some(ChannelId(1_536_000_000_000_000_003));
    }
    bench
        .run(GRACE, async |offers| {
            for n in 0..40 {
                offer(&offers, bench.callback(n % 3, false).0).await;
            }
        })
        .await;
    let mut all: Vec<Instant> = bench.fake.arrived.borrow().iter().map(|a| a.at).collect();
    all.sort_unstable();
    for (n, at) in all.iter().enumerate() {
        let within = all[n..]
            .iter()
            .take_while(|t| **t - *at <= Duration::from_mins(1))
            .count();
        assert!(within <= 30, "{within}");
    }
    assert!(all.len() >= 35);
}

#[test]
fn callbacks_that_are_refused_are_told_once_a_minute() {
    let log = logged(|| {
        paused(|| async {
            let bench = Bench::new(1, 1, |_, _| fine());
            bench
                .run(GRACE, async |offers| {
                    for wait in [0, 30, 31] {
                        tokio::time::sleep(Duration::from_secs(wait)).await;
                        let mut busy = 0;
                        while busy < 50 {
                            let answer = offer(&offers, bench.callback(0, false).0).await;
                            busy += u32::from(answer == CallbackAnswer::Busy);
                        }
                    }
                })
                .await;
        });
    });
    let told: Vec<_> = log.lines().filter(|line| line.contains("refused (busy)")).collect();
    assert!(
        matches!(told[..], [one, many] if one.contains("callbacks=1") && many.contains("callbacks=100")),
        "{log}"
    );
}
