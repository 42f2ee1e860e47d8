use std::cell::Cell;
use std::collections::BTreeSet;

use tokio::time::{Instant, sleep};

use super::*;
use crate::actors::governor::Retune;
use crate::actors::test_support::{Fake, Site, exchanged, until};
use crate::grant::{Event, Outcome, Reason};
use crate::rate::limits::{Budget, Limits, Need, RateLimit, Urgency};
use crate::store::Fault;
use crate::testing::paused;

const SECOND: Duration = Duration::from_secs(1);

fn refused(_: crate::ids::GrantId) -> Event {
    Event::Refused(Reason::new("invalid_grant"))
}

fn exchanger(site: &Site, fake: &Rc<Fake>, slots: usize) -> Addr<Stage<Fake>> {
    let (journal, governor) = (site.journal.clone(), site.governor.clone());
    Stage::new(Rc::clone(fake), Task::Exchange, slots, journal, governor).start()
}

/// Takes the hints meant for a stage and does nothing.
struct Deaf(Rc<Cell<u32>>);

impl Actor for Deaf {
    type Context = Context<Self>;
}

impl Handler<WorkAvailable> for Deaf {
    type Result = ();

    fn handle(&mut self, _: WorkAvailable, _: &mut Self::Context) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn slots_are_all_used_and_never_exceeded() {
    paused(async || {
        let site = Site::new(None);
        let fake = Fake::new(SECOND, refused);
        let _stage = exchanger(&site, &fake, 3);
        let start = Instant::now();
        // Some at once, some while calls are under way: a hint then asks for what is left.
        site.post(1..=10).await;
        sleep(SECOND / 2).await;
        site.post(11..=20).await;
        until(SECOND * 12, "all called", || fake.ended.get() == 20).await;
        assert_eq!(fake.most.get(), 3);
        // 20 calls of a second in 3 slots: no slot stood empty.
        assert!(start.elapsed() < SECOND * 8, "{:?}", start.elapsed());
        let different: BTreeSet<_> = fake.calls().into_iter().collect();
        assert_eq!((fake.calls().len(), different.len()), (20, 20));
        until(SECOND, "all closed", || site.outcomes() == [Outcome::Refused; 20]).await;
    });
}

#[test]
fn a_panic_in_a_call_counts_as_an_attempt_and_costs_no_slot() {
    paused(async || {
        let site = Site::new(None);
        let fake = Fake::new(SECOND, refused);
        fake.panics.set(1);
        let stage = exchanger(&site, &fake, 1);
        site.post([1]).await;
        until(SECOND * 10, "closed", || site.outcomes().len() == 1).await;
        // The first presentation may have used the code up, so the refusal of the second means that it is lost.
        assert_eq!(site.outcomes(), [Outcome::Lost]);
        let begun: Vec<Instant> = fake.begun.borrow().iter().map(|(_, at)| *at).collect();
        assert_eq!(begun.len(), 2);
        assert!(
            begun[1] - begun[0] >= SECOND * 3,
            "a second in the call, two of waiting"
        );
        assert_eq!(stage.send(Busy).await.expect("it lives"), 0);
        site.post([2]).await;
        until(SECOND * 3, "the slot is free", || site.outcomes().len() == 2).await;
    });
}

#[test]
fn a_lost_hint_is_covered_by_the_poll() {
    paused(async || {
        let site = Site::new(None);
        let fake = Fake::new(Duration::ZERO, refused);
        let _stage = exchanger(&site, &fake, 1);
        sleep(SECOND / 2).await;
        let lost = Rc::new(Cell::new(0));
        let who = Deaf(Rc::clone(&lost)).start().recipient();
        let task = Task::Exchange;
        site.journal.send(Watch { task, who }).await.expect("it lives");
        site.post([1]).await;
        sleep(SECOND / 4).await;
        assert!(
            lost.get() > 0 && fake.calls().is_empty(),
            "{} hints went astray",
            lost.get()
        );
        sleep(SECOND).await;
        assert_eq!(fake.calls().len(), 1);
    });
}

#[test]
fn a_draining_stage_ends_its_calls_and_claims_nothing_more() {
    paused(async || {
        let site = Site::new(None);
        let fake = Fake::new(SECOND * 3, refused);
        let stage = exchanger(&site, &fake, 2);
        site.post([1]).await;
        until(SECOND, "one under way", || fake.running.get() == 1).await;
        stage.send(DrainStage).await.expect("it lives");
        site.post([2, 3]).await;
        until(SECOND * 4, "the first ended", || site.outcomes().len() == 1).await;
        sleep(SECOND * 20).await;
        assert_eq!((fake.calls().len(), site.open().await.len()), (1, 2));
        assert_eq!(stage.send(Busy).await.expect("it lives"), 0);
    });
}

#[test]
fn a_token_that_cannot_be_stored_is_revoked_at_once() {
    paused(async || {
        // The receipt, the intent, the token: the third commit.
        let site = Site::with(None, 10, Some(Fault::FullAtCommit(3)));
        let fake = Fake::new(SECOND, exchanged);
        let _stage = exchanger(&site, &fake, 1);
        site.post([1]).await;
        until(SECOND * 2, "the token is ended", || !fake.abandoned.borrow().is_empty()).await;
        let token = format!("token-{}", fake.calls()[0]);
        let abandoned: Vec<String> = fake.abandoned.borrow().iter().map(|t| t.expose().to_owned()).collect();
        assert_eq!(abandoned, [token]);
    });
}

#[test]
fn a_receipt_and_its_intent_share_a_commit_where_a_slot_is_free() {
    paused(async || {
        // The receipt with the intent, then the token: the second commit.
        let site = Site::with(None, 10, Some(Fault::FullAtCommit(2)));
        let fake = Fake::new(SECOND, exchanged);
        let _stage = exchanger(&site, &fake, 1);
        sleep(SECOND / 10).await;
        site.post([1]).await;
        until(SECOND * 2, "the token is ended", || !fake.abandoned.borrow().is_empty()).await;
    });
}

/// A packed message brings more codes than there are slots or permits: it is acknowledged at once.
#[test]
fn a_receipt_waits_neither_for_a_slot_nor_for_a_permit() {
    paused(async || {
        let site = Site::new(None);
        let oauth = Some(RateLimit {
            per_second: 1,
            burst: 2,
        });
        let limits = Limits {
            webhook: None,
            global: None,
            oauth,
            invalid_requests: 0,
        };
        site.governor.send(Retune(limits)).await.expect("it lives");
        let need = Some(Need {
            budget: Budget::OAuth,
            urgency: Urgency::Exchange,
        });
        let fake = Fake::needing(need, SECOND * 2, refused);
        let _stage = exchanger(&site, &fake, 4);
        sleep(SECOND * 3).await;
        for people in [1..=1, 2..=4, 5..=7] {
            let posted = Instant::now();
            site.post(people).await;
            assert_eq!(posted.elapsed(), Duration::ZERO);
        }
        sleep(SECOND / 100).await;
        assert_eq!(fake.calls().len(), 2, "there were two permits");
        until(SECOND * 20, "all called", || fake.ended.get() == 7).await;
    });
}

#[test]
fn a_token_whose_journal_died_is_revoked_at_once() {
    paused(async || {
        let site = Site::new(None);
        let fake = Fake::new(SECOND * 2, exchanged);
        let _stage = exchanger(&site, &fake, 1);
        site.post([1, 2]).await;
        until(SECOND, "one under way", || fake.running.get() == 1).await;
        site.kill_journal().await;
        until(SECOND * 3, "the token is ended", || fake.abandoned.borrow().len() == 1).await;
        sleep(SECOND * 10).await;
        assert_eq!(fake.calls().len(), 1, "nothing is begun that cannot be written down");
    });
}

#[test]
fn a_token_that_was_stored_is_not_revoked_by_its_exchanger() {
    paused(async || {
        let site = Site::new(None);
        let fake = Fake::new(SECOND, exchanged);
        let _stage = exchanger(&site, &fake, 1);
        site.post([1]).await;
        until(SECOND * 2, "exchanged", || fake.ended.get() == 1).await;
        sleep(SECOND).await;
        assert!(fake.abandoned.borrow().is_empty());
        assert_eq!(site.open().await[0].state, "exchanged");
    });
}

#[test]
fn a_dead_governor_stops_calls_but_neither_spins_nor_keeps_a_lease() {
    paused(async || {
        let site = Site::new(None);
        let need = Some(Need {
            budget: Budget::OAuth,
            urgency: Urgency::Exchange,
        });
        let fake = Fake::needing(need, SECOND, refused);
        let _stage = exchanger(&site, &fake, 2);
        site.kill_governor().await;
        site.post([1]).await;
        sleep(SECOND * 10).await;
        assert!(fake.calls().is_empty(), "no call without a permit");
        assert!(
            (2..=20).contains(&fake.asked.get()),
            "{} attempts in 10 s",
            fake.asked.get()
        );
        until(Duration::from_secs(100), "its time ends it", || {
            site.outcomes() == [Outcome::Expired]
        })
        .await;
    });
}
