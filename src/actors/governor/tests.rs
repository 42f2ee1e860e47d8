use std::cell::{Cell, RefCell};
use std::rc::Rc;

use actix::Addr;
use futures_util::FutureExt;
use tokio::time::{sleep, timeout};

use super::*;
use crate::port::permit::LedgerError;
use crate::rate::limits::{Budget, RateLimit, Urgency};
use crate::testing::paused;
use crate::time::{Clock, SteadyClock};
use futures_util::future::LocalBoxFuture;

mod answers;

const CHANNEL: ChannelId = ChannelId(1_536_343_300_000_000_001);
const OTHER: ChannelId = ChannelId(1_536_343_300_000_000_002);

/// A disk that takes two milliseconds and can fail.
#[derive(Clone, Default)]
struct Disk {
    written: Rc<RefCell<BTreeMap<ChannelId, Vec<Timestamp>>>>,
    writes: Rc<Cell<u32>>,
    broken: Rc<Cell<bool>>,
}

impl SpendingLedger for Disk {
    fn persist(&self, channel: ChannelId, sent_at: Vec<Timestamp>) -> LocalBoxFuture<'static, Result<(), LedgerError>> {
        let disk = self.clone();
        async move {
            sleep(Duration::from_millis(2)).await;
            disk.writes.set(disk.writes.get() + 1);
            if disk.broken.get() {
                return Err(LedgerError("the disk is full".into()));
            }
            disk.written.borrow_mut().insert(channel, sent_at);
            Ok(())
        }
        .boxed_local()
    }
}

fn wall() -> std::sync::Arc<SteadyClock> {
    SteadyClock::starting_at(Timestamp::from_secs(1_700_000_000))
}

fn governor(limits: Limits, disk: &Disk, clock: SharedClock) -> Addr<Governor> {
    Governor::new(GovernorSettings {
        limits,
        lanes: BTreeMap::from([(CHANNEL, Lane(0))]),
        spending: disk.written.borrow().clone(),
        ledger: Box::new(disk.clone()),
        clock,
    })
    .start()
}

fn usual() -> Addr<Governor> {
    governor(Limits::default(), &Disk::default(), wall())
}

/// One OAuth2 call a second, all else off.
fn one_a_second() -> Limits {
    Limits {
        webhook: None,
        global: None,
        oauth: Some(RateLimit {
            per_second: 1,
            burst: 1,
        }),
        invalid_requests: 0,
    }
}

fn off() -> Limits {
    Limits {
        webhook: None,
        global: None,
        oauth: None,
        invalid_requests: 0,
    }
}

fn post_to(channel: ChannelId) -> Need {
    Need {
        budget: Budget::Webhook(channel),
        urgency: Urgency::Deliver,
    }
}

fn oauth(urgency: Urgency) -> Need {
    Need {
        budget: Budget::OAuth,
        urgency,
    }
}

fn global(urgency: Urgency) -> Need {
    Need {
        budget: Budget::Global,
        urgency,
    }
}

async fn acquire(governor: &Addr<Governor>, ask: Need) -> Permit {
    governor
        .send(ask)
        .await
        .expect("the governor lives")
        .expect("waiting brings a permit")
}

/// How long it takes to get a permit, which is then used.
async fn wait_for(governor: &Addr<Governor>, ask: Need) -> Duration {
    let began = Instant::now();
    acquire(governor, ask).await.settle(Some(answer(200, &[])));
    began.elapsed()
}

fn answer(status: u16, headers: &[(&str, &str)]) -> HttpFeedback {
    let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    HttpFeedback {
        status,
        headers: [("via".to_owned(), "1.1 google".to_owned())]
            .into_iter()
            .chain(headers)
            .collect(),
        ..HttpFeedback::default()
    }
}

#[track_caller]
fn about(waited: Duration, secs: u64) {
    let expected = Duration::from_secs(secs);
    assert!(
        waited.abs_diff(expected) <= Duration::from_millis(100),
        "{waited:?} instead of {expected:?}"
    );
}

/// What a test wants to know from inside.
struct Idle;

impl Message for Idle {
    type Result = bool;
}

impl Handler<Idle> for Governor {
    type Result = bool;

    fn handle(&mut self, _: Idle, _: &mut Self::Context) -> bool {
        self.alarm.is_none() && self.waiting.is_empty()
    }
}

#[test]
fn a_greedy_sender_that_restarts_and_whose_clock_jumps_keeps_the_limit() {
    paused(|| async {
        let (disk, clock, began) = (Disk::default(), wall(), Instant::now());
        let mut arrivals: Vec<Duration> = Vec::new();
        for round in 0_u64.. {
            if began.elapsed() > Duration::from_mins(30) {
                break;
            }
            let governor = governor(Limits::default(), &disk, clock.clone());
            let life = sleep(Duration::from_millis(1000 + (round * 7919) % 19_000));
            tokio::select! {
                () = life => {}
                () = async {
                    loop {
                        let permit = acquire(&governor, post_to(CHANNEL)).await;
                        let on_disk = disk.written.borrow().get(&CHANNEL).cloned().unwrap_or_default();
                        assert!(on_disk.iter().any(|&at| clock.now().since(at) < Duration::from_millis(10)), "not stored before it left");
                        sleep(Duration::from_millis(40)).await;
                        arrivals.push(began.elapsed());
                        sleep(Duration::from_millis(40)).await;
                        permit.settle(Some(answer(204, &[])));
                    }
                } => {}
            }
            clock.step([3_600_000, 0, -3_600_000, 0, 40_000][(round % 5) as usize]);
        }
        let worst = arrivals.iter().map(|&end| {
            arrivals
                .iter()
                .filter(|&&at| at <= end && end.saturating_sub(at) <= Duration::from_mins(1))
                .count()
        });
        let worst = worst.max().unwrap_or(0);
        assert!(worst <= 30, "{worst} in a minute");
        assert!(arrivals.len() > 450, "only {} in half an hour", arrivals.len());
    });
}

#[test]
fn the_most_urgent_goes_first_and_the_older_among_equals() {
    paused(|| async {
        let governor = governor(one_a_second(), &Disk::default(), wall());
        let order = RefCell::new(Vec::new());
        let asks = [
            (Urgency::Deliver, 1),
            (Urgency::Fetch, 2),
            (Urgency::Revoke, 3),
            (Urgency::Exchange, 4),
            (Urgency::Exchange, 5),
        ];
        let waits = asks.map(|(urgency, name)| {
            let (governor, order) = (&governor, &order);
            async move {
                let permit = acquire(governor, oauth(urgency)).await;
                order.borrow_mut().push(name);
                permit.settle(Some(answer(200, &[])));
            }
        });
        futures_util::future::join_all(waits).await;
        assert_eq!(*order.borrow(), [4, 5, 3, 2, 1]);
        assert!(
            governor.send(Idle).await.expect("alive"),
            "nothing runs when nobody waits"
        );
    });
}

#[test]
fn waiting_raises_the_least_urgent_within_half_a_minute() {
    paused(|| async {
        let governor = governor(one_a_second(), &Disk::default(), wall());
        let flood = async {
            loop {
                // Two ask for each one that can go, so that there is always one waiting.
                let ask = || acquire(&governor, oauth(Urgency::Exchange));
                let (a, b) = tokio::join!(ask(), ask());
                a.settle(Some(answer(200, &[])));
                b.settle(Some(answer(200, &[])));
            }
        };
        let waited = tokio::select! {
            () = flood => unreachable!(),
            () = sleep(Duration::from_mins(5)) => Duration::MAX,
            waited = wait_for(&governor, oauth(Urgency::Deliver)) => waited,
        };
        assert!((30..=33).contains(&waited.as_secs()), "{waited:?}");
    });
}

#[test]
fn limits_that_are_off_cost_nothing() {
    paused(|| async {
        let disk = Disk::default();
        let governor = governor(off(), &disk, wall());
        let began = Instant::now();
        for _ in 0..5_000 {
            for ask in [oauth(Urgency::Exchange), global(Urgency::Fetch), post_to(CHANNEL)] {
                acquire(&governor, ask).await.settle(Some(answer(200, &[])));
            }
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(disk.writes.get(), 0);
    });
}

#[test]
fn other_limits_reach_those_who_wait() {
    paused(|| async {
        let governor = governor(one_a_second(), &Disk::default(), wall());
        let waits = (0..20).map(|_| wait_for(&governor, oauth(Urgency::Fetch)));
        let retune = async {
            sleep(Duration::from_millis(2500)).await;
            governor.send(Retune(off())).await.expect("alive");
        };
        let (waited, ()) = tokio::join!(futures_util::future::join_all(waits), retune);
        let longest = waited.into_iter().max().unwrap_or_default();
        assert_eq!(longest.as_millis(), 2500);
    });
}

#[test]
fn a_permit_dropped_unused_is_given_back_unless_its_slot_is_durable() {
    paused(|| async {
        let disk = Disk::default();
        let governor = governor(
            Limits {
                webhook: Limits::default().webhook,
                ..one_a_second()
            },
            &disk,
            wall(),
        );
        sleep(Duration::from_secs(1)).await;
        for _ in 0..100 {
            drop(acquire(&governor, oauth(Urgency::Exchange)).await);
        }
        about(wait_for(&governor, oauth(Urgency::Exchange)).await, 0);
        about(wait_for(&governor, oauth(Urgency::Exchange)).await, 1);
        for _ in 0..5 {
            drop(acquire(&governor, post_to(CHANNEL)).await);
        }
        let sixth = timeout(Duration::from_millis(1), governor.send(post_to(CHANNEL))).await;
        assert!(sixth.is_err(), "{sixth:?}");
        let views = governor.send(Inspect).await.expect("alive");
        assert_eq!(views[0].spent, 5);
    });
}

#[test]
fn a_permit_of_a_call_that_panicked_stays_spent() {
    paused(|| async {
        let governor = governor(one_a_second(), &Disk::default(), wall());
        for _ in 0..3 {
            let mut permit = acquire(&governor, oauth(Urgency::Exchange)).await;
            permit.spend();
            drop(permit);
        }
        about(wait_for(&governor, oauth(Urgency::Exchange)).await, 1);
    });
}

#[test]
fn a_permit_dropped_by_another_frees_the_one_who_waits() {
    paused(|| async {
        let governor = governor(one_a_second(), &Disk::default(), wall());
        let held = acquire(&governor, oauth(Urgency::Exchange)).await;
        let drops = async {
            sleep(Duration::from_millis(300)).await;
            drop(held);
        };
        let (waited, ()) = tokio::join!(wait_for(&governor, oauth(Urgency::Exchange)), drops);
        assert_eq!(waited.as_millis(), 300);
    });
}

#[test]
fn an_asker_who_has_gone_takes_no_slot() {
    paused(|| async {
        let governor = usual();
        for _ in 0..5 {
            acquire(&governor, post_to(CHANNEL))
                .await
                .settle(Some(answer(204, &[])));
        }
        for _ in 0..50 {
            let gone = timeout(Duration::from_millis(1), governor.send(post_to(CHANNEL))).await;
            assert!(gone.is_err());
        }
        let waited = wait_for(&governor, post_to(CHANNEL)).await;
        assert!(waited < Duration::from_millis(2400), "a refill, not fifty: {waited:?}");
    });
}

#[test]
fn a_post_whose_slot_cannot_be_stored_is_refused() {
    paused(|| async {
        let disk = Disk::default();
        let governor = governor(Limits::default(), &disk, wall());
        disk.broken.set(true);
        for _ in 0..10 {
            let refused = governor.send(post_to(CHANNEL)).await.expect("alive");
            assert!(matches!(refused, Err(LedgerError(_))), "{refused:?}");
        }
        disk.broken.set(false);
        about(wait_for(&governor, post_to(CHANNEL)).await, 0);
    });
}

#[test]
fn a_governor_that_nobody_can_reach_ends() {
    paused(|| async {
        let disk = Disk::default();
        let governor = governor(Limits::default(), &disk, wall());
        let permit = acquire(&governor, post_to(CHANNEL)).await;
        assert!(Rc::strong_count(&disk.writes) > 1);
        drop(governor);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(Rc::strong_count(&disk.writes), 1, "its ledger is gone with it");
        permit.settle(Some(answer(204, &[])));
    });
}

#[test]
fn budgets_are_shown_in_the_promised_shape() {
    paused(|| async {
        let governor = usual();
        for _ in 0..5 {
            acquire(&governor, post_to(CHANNEL))
                .await
                .settle(Some(answer(204, &[])));
        }
        let views = governor.send(Inspect).await.expect("alive");
        let shown = serde_json::to_value(&views[0]).expect("it is plain data");
        assert_eq!(
            shown,
            serde_json::json!({
                "budget": "webhook", "lane": 0, "channel": "1536343300000000001", "spent": 5, "limit": 30,
                "free_at": "2023-11-14T22:13:22.400Z", "blocked_until": null,
            })
        );
        assert_eq!(views[1].limit, Some(45));
        assert_eq!(views[2].limit, Some(10));
        assert_eq!(views[3].limit, Some(5000));
    });
}
