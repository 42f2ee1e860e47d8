//! A storm: callers that go as fast as the governor lets them, in paused time, against a Discord that answers nothing
//! but one thing for longer than refusals are counted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use actix::{Actor, Addr, System};
use codeferry::actors::governor::{Governor, GovernorSettings, Observe};
use codeferry::ids::ChannelId;
use codeferry::port::permit::{LedgerError, Permit, SpendingLedger};
use codeferry::rate::feedback::HttpFeedback;
use codeferry::rate::limits::{Budget, Limits, Need, Urgency};
use codeferry::time::{SteadyClock, Timestamp};
use futures_util::future::{FutureExt, LocalBoxFuture, join_all};
use tokio::time::{Instant, sleep, timeout};

use super::Call;
use super::faults::Closes;

const CHANNEL: ChannelId = ChannelId(1_536_340_000_000_000_002);
/// How long Discord answers so.
const STORM: Duration = Duration::from_mins(11);
/// Callers at once: the slots of a stage.
const CALLERS: usize = 32;
/// The way there and back.
const TRIP: Duration = Duration::from_millis(20);
/// The longest an unnamed refusal of the edge, or an open breaker, keeps calls back.
const LONGEST: Duration = Duration::from_mins(10);

struct NoDisk;

impl SpendingLedger for NoDisk {
    fn persist(&self, _: ChannelId, _: Vec<Timestamp>) -> LocalBoxFuture<'static, Result<(), LedgerError>> {
        std::future::ready(Ok(())).boxed_local()
    }
}

/// What was seen from Discord's side.
#[derive(Default)]
struct Seen {
    /// When each call left, and when it was answered in the storm's way.
    calls: Vec<(Duration, Option<Duration>)>,
    /// When the first call left that was answered well.
    recovered: Option<Duration>,
}

/// Plays a storm and checks that no limit is overshot, waits are kept, the breaker opens in time, and calls go on after.
#[track_caller]
pub fn survive(call: Call, answer: &HttpFeedback, closes: Closes) {
    let Some(ask) = ask_of(call) else {
        return paused(observed(answer.clone(), closes));
    };
    let seen = paused(play(ask, answer.clone()));
    let shown = format!("{call:?} {answer:?}");

    let left: Vec<_> = seen.calls.iter().map(|(left, _)| *left).collect();
    let busiest_minute = busiest(&left, Duration::from_mins(1));
    let busiest_second = busiest(&left, Duration::from_secs(1));
    match ask.budget {
        Budget::Webhook(_) => assert!(busiest_minute <= 30, "{busiest_minute} posts in a minute: {shown}"),
        Budget::OAuth => assert!(busiest_second <= 20, "{busiest_second} calls in a second: {shown}"),
        Budget::Global => assert!(busiest_second <= 50, "{busiest_second} calls in a second: {shown}"),
    }

    let answered: Vec<_> = seen.calls.iter().filter_map(|(_, answered)| *answered).collect();
    if !matches!(closes, Closes::Shared(_)) {
        let refusals = busiest(&answered, Duration::from_mins(10));
        assert!(
            refusals <= 5_000 + CALLERS,
            "{refusals} refusals in ten minutes: {shown}"
        );
        if closes == Closes::Refused && ask.budget != Budget::Webhook(CHANNEL) {
            assert!(refusals >= 5_000, "the breaker is never tried: {refusals}: {shown}");
            let pause = left.windows(2).map(|w| w[1].saturating_sub(w[0])).max();
            assert!(
                pause > Some(Duration::from_secs(30)),
                "it never opened: {pause:?}: {shown}"
            );
        }
    }

    let wait = match closes {
        Closes::Own(wait) | Closes::Shared(wait) | Closes::Global(wait) | Closes::Everything(wait) => wait,
        Closes::Refused | Closes::Nothing => Duration::ZERO,
    };
    for leaves in &left {
        let unheeded = answered.iter().find(|&&at| at < *leaves && *leaves < at + wait);
        assert_eq!(unheeded, None, "a call left at {leaves:?}: {shown}");
    }

    let recovered = seen.recovered.expect("calls go on after the storm");
    let latest = STORM + wait.max(LONGEST) + Duration::from_secs(5);
    assert!(recovered <= latest, "only at {recovered:?}: {shown}");
}

/// What a call asks the governor for; `None` where it asks for nothing.
fn ask_of(call: Call) -> Option<Need> {
    match call {
        Call::Exchange => Some(within(Budget::OAuth, Urgency::Exchange)),
        Call::Revoke => Some(within(Budget::OAuth, Urgency::Revoke)),
        Call::Fetch => Some(within(Budget::Global, Urgency::Fetch)),
        Call::Post => Some(Need {
            budget: Budget::Webhook(CHANNEL),
            urgency: Urgency::Deliver,
        }),
        Call::History | Call::Callback => None,
    }
}

fn within(budget: Budget, urgency: Urgency) -> Need {
    Need { budget, urgency }
}

/// The most moments within any closed window. They are in order.
fn busiest(moments: &[Duration], window: Duration) -> usize {
    let mut from = 0;
    let within = moments.iter().enumerate().map(|(n, at)| {
        while at.saturating_sub(moments[from]) > window {
            from += 1;
        }
        n + 1 - from
    });
    within.max().unwrap_or(0)
}

fn paused<T>(test: impl Future<Output = T>) -> T {
    let system = System::with_tokio_rt(|| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().start_paused(true).build().expect("a runtime")
    });
    system.block_on(test)
}

fn governor() -> Addr<Governor> {
    Governor::new(GovernorSettings {
        limits: Limits::default(),
        lanes: BTreeMap::new(),
        spending: BTreeMap::new(),
        ledger: Box::new(NoDisk),
        clock: SteadyClock::starting_at(Timestamp::from_secs(1_700_000_000)),
    })
    .start()
}

async fn acquire(governor: &Addr<Governor>, ask: Need) -> Permit {
    let permit = governor.send(ask).await.expect("the governor lives");
    permit.expect("waiting brings a permit")
}

async fn play(ask: Need, answer: HttpFeedback) -> Seen {
    let (governor, began) = (governor(), Instant::now());
    let seen = RefCell::new(Seen::default());
    let callers = (0..CALLERS).map(|_| async {
        loop {
            let permit = acquire(&governor, ask).await;
            let left = began.elapsed();
            sleep(TRIP).await;
            if left >= STORM {
                permit.settle(Some(fine()));
                let first = &mut seen.borrow_mut().recovered;
                *first = first.map_or(Some(left), |earlier| Some(earlier.min(left)));
                return;
            }
            permit.settle(Some(answer.clone()));
            seen.borrow_mut().calls.push((left, Some(began.elapsed())));
        }
    });
    // Whoever is never served ends the wait, not the check.
    let _ = timeout(STORM + 4 * LONGEST, join_all(callers)).await;
    let mut seen = seen.into_inner();
    seen.calls.sort_unstable();
    seen
}

fn fine() -> HttpFeedback {
    HttpFeedback {
        status: 200,
        ..HttpFeedback::default()
    }
}

/// An answer to a call that needs no permit: what it says of more than its own route holds up everybody else.
async fn observed(answer: HttpFeedback, closes: Closes) {
    let governor = governor();
    sleep(Duration::from_secs(5)).await;
    governor
        .send(Observe(answer.clone()))
        .await
        .expect("the governor lives");
    let began = Instant::now();
    acquire(&governor, within(Budget::OAuth, Urgency::Exchange))
        .await
        .settle(Some(fine()));
    let expected = match closes {
        Closes::Global(wait) | Closes::Everything(wait) => wait,
        _ => Duration::ZERO,
    };
    let waited = began.elapsed();
    let close = waited.abs_diff(expected) < Duration::from_millis(100);
    assert!(close, "{waited:?} instead of {expected:?}: {answer:?}");
}
