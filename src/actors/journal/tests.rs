//! The journal alone: its tests are the stages.

use std::cell::Cell;
use std::marker::PhantomData;

use actix::Addr;
use tokio::time::sleep;

use super::message::Lease;
use super::*;
use crate::actors::test_support::{Fake, PERSON, Site, exchanged};
use crate::grant::Reason;
use crate::ids::UserId;
use crate::intake::state::{StateKey, StateToken};
use crate::secret::{Key, RawState};
use crate::store::{Fault, Health};
use crate::testing::paused;
use crate::time::Clock;

mod person;
mod stopped;

const SECOND: Duration = Duration::from_secs(1);

async fn claim(site: &Site, task: Task, slots: usize) -> Vec<GrantId> {
    let step = PhantomData;
    let claim = Claim::<Fake> { task, slots, step };
    let leases: Vec<Lease<GrantId>> = site.journal.send(claim).await.expect("it lives").expect("it works");
    leases.into_iter().map(|lease| lease.grant).collect()
}

async fn begin(site: &Site, grant: GrantId, task: Task) -> Begun {
    let begun = site.journal.send(Begin { grant, task }).await.expect("it lives");
    begun.expect("it works")
}

async fn report(site: &Site, grant: GrantId, task: Task, event: Event) -> Reported {
    let data = None;
    let report = Report {
        grant,
        task,
        failed: event.is_failure().then(|| event.name().to_owned()),
        event,
        data,
    };
    let reported = site.journal.send(report).await.expect("it lives");
    reported.expect("it works")
}

/// Claims and begins the one grant that wants this.
async fn begun(site: &Site, task: Task) -> GrantId {
    let claimed = claim(site, task, 10).await;
    assert_eq!(claimed.len(), 1, "{task:?}: {:?}", site.open().await);
    assert_eq!(begin(site, claimed[0], task).await, Begun::Go);
    claimed[0]
}

/// Takes the one waiting code to its token.
async fn exchange(site: &Site) -> GrantId {
    let grant = begun(site, Task::Exchange).await;
    assert_eq!(
        report(site, grant, Task::Exchange, exchanged(grant)).await,
        Reported::Kept
    );
    grant
}

/// Takes the one waiting code of the n-th person to an owed revocation.
async fn complete(site: &Site, person: u64) -> GrantId {
    let grant = exchange(site).await;
    assert_eq!(begun(site, Task::Fetch).await, grant);
    let fetched = Event::Fetched {
        person: UserId(PERSON + person),
        missing: Vec::new(),
    };
    assert_eq!(report(site, grant, Task::Fetch, fetched).await, Reported::Kept);
    grant
}

#[test]
fn a_grant_is_leased_once_until_it_is_given_back() {
    paused(async || {
        let site = Site::new(None);
        site.post([1, 2, 3]).await;
        let first = claim(&site, Task::Exchange, 2).await;
        assert_eq!(first.len(), 2);
        let rest = claim(&site, Task::Exchange, 2).await;
        assert!(rest.len() == 1 && !first.contains(&rest[0]));
        assert_eq!(claim(&site, Task::Exchange, 2).await, []);
        let (grant, task) = (first[0], Task::Exchange);
        site.journal.send(Release { grant, task }).await.expect("it lives");
        assert_eq!(claim(&site, Task::Exchange, 2).await, [grant]);
    });
}

#[test]
fn a_code_past_its_life_does_not_begin_although_it_was_claimed_in_time() {
    paused(async || {
        let site = Site::new(None);
        site.post([1]).await;
        let claimed = claim(&site, Task::Exchange, 1).await;
        // Waiting for a permit, while the wall clock goes on and no timer has rung.
        site.clock.step(100_000);
        assert_eq!(begin(&site, claimed[0], Task::Exchange).await, Begun::Stale);
        assert_eq!(site.outcomes(), [Outcome::Expired]);
    });
}

#[test]
fn a_code_that_nobody_claims_expires_by_itself_when_its_life_ends() {
    paused(async || {
        let site = Site::new(None);
        site.post([1]).await;
        sleep(SECOND * 30).await;
        site.post([2]).await;
        sleep(SECOND * 69).await;
        assert_eq!(site.outcomes(), []);
        sleep(SECOND * 2).await;
        assert_eq!(site.outcomes(), [Outcome::Expired]);
        sleep(SECOND * 30).await;
        assert_eq!(site.outcomes(), [Outcome::Expired; 2]);
    });
}

#[test]
fn a_message_and_a_code_are_taken_in_once() {
    paused(async || {
        let site = Site::new(None);
        let mut twice = [site.carried(1), site.carried(1)];
        let (message, second) = (twice[0].message, twice[1].message);
        let counts = |appended: open_grants::Appended| (appended.received, appended.known);
        let (code, hash) = twice[0].redirects[0].result.clone().expect("a code");
        let [first, other] = &mut twice;
        // The same code in another message, as from a page that was loaded again.
        other.redirects[0].result = Ok((code.clone(), hash));
        let again = open_grants::Carried {
            redirects: vec![open_grants::Redirected {
                redirected_at: None,
                result: Ok((code, hash)),
                requested: first.redirects[0].requested.clone(),
            }],
            ..*first
        };
        let [first, other] = twice;
        assert_eq!(counts(site.append(vec![first]).await.expect("taken")), (1, 0));
        assert_eq!((again.message, other.message), (message, second));
        assert_eq!(counts(site.append(vec![again]).await.expect("taken")), (0, 1));
        assert_eq!(counts(site.append(vec![other]).await.expect("taken")), (0, 1));
        assert_eq!(site.open().await.len(), 1);
    });
}

#[test]
fn no_more_is_taken_than_there_is_room_for() {
    paused(async || {
        let site = Site::with(None, 2, None);
        let three = [1, 2, 3].map(|n| site.carried(n));
        let taken = site.append(three.into()).await.expect("two fit");
        assert_eq!((taken.received, taken.left_out), (2, 1));
        let full = site.append(vec![site.carried(4)]).await;
        assert!(matches!(full, Err(JournalError::Full)), "{full:?}");
        let grant = claim(&site, Task::Exchange, 1).await[0];
        assert_eq!(begin(&site, grant, Task::Exchange).await, Begun::Go);
        report(
            &site,
            grant,
            Task::Exchange,
            Event::Refused(Reason::new("invalid_grant")),
        )
        .await;
        site.post([5]).await;
        assert_eq!(site.open().await.len(), 2);
    });
}

struct Watcher(Rc<Cell<u32>>);

impl Actor for Watcher {
    type Context = Context<Self>;
}

impl Handler<WorkAvailable> for Watcher {
    type Result = ();

    fn handle(&mut self, _: WorkAvailable, _: &mut Self::Context) {
        self.0.set(self.0.get() + 1);
    }
}

async fn watched(journal: &Addr<Journal>, task: Task) -> Rc<Cell<u32>> {
    let hints = Rc::new(Cell::new(0));
    let who = Watcher(Rc::clone(&hints)).start().recipient();
    journal.send(Watch { task, who }).await.expect("it lives");
    hints
}

#[test]
fn a_watcher_is_told_of_work_when_it_comes_and_when_it_is_due_again() {
    paused(async || {
        let site = Site::new(None);
        let hints = watched(&site.journal, Task::Exchange).await;
        let others = watched(&site.journal, Task::Revoke).await;
        site.post([1]).await;
        let grant = begun(&site, Task::Exchange).await;
        assert!(hints.replace(0) > 0);
        let after = Some(SECOND * 7);
        report(&site, grant, Task::Exchange, Event::Deferred { after }).await;
        sleep(SECOND * 6).await;
        assert_eq!((hints.get(), claim(&site, Task::Exchange, 1).await), (0, vec![]));
        sleep(SECOND + SECOND / 10).await;
        assert!(hints.get() > 0);
        assert_eq!(claim(&site, Task::Exchange, 1).await, [grant]);
        assert_eq!(others.get(), 0);
    });
}

#[test]
fn a_stage_that_died_has_its_leases_released_and_its_exchanges_counted_as_cut_off() {
    paused(async || {
        let site = Site::new(None);
        site.post([1, 2]).await;
        let claimed = claim(&site, Task::Exchange, 2).await;
        assert_eq!(begin(&site, claimed[0], Task::Exchange).await, Begun::Go);
        let released = site.journal.send(ReleaseStage(Task::Exchange)).await;
        released.expect("it lives").expect("it works");
        // What was only claimed is free at once; what was on the wire waits as after a timeout.
        assert_eq!(claim(&site, Task::Exchange, 2).await, [claimed[1]]);
        sleep(SECOND * 3).await;
        assert_eq!(claim(&site, Task::Exchange, 2).await, [claimed[0]]);
        assert_eq!(begin(&site, claimed[0], Task::Exchange).await, Begun::Go);
        report(
            &site,
            claimed[0],
            Task::Exchange,
            Event::Refused(Reason::new("invalid_grant")),
        )
        .await;
        assert_eq!(site.outcomes(), [Outcome::Lost]);
    });
}

/// A code of the first person that came by a link with an expiry of its own.
fn by_link(site: &Site, expires_in: Duration, nonce: [u8; 8]) -> open_grants::Carried {
    let mut carried = site.carried(1);
    let state = StateKey::new(&Key::new([7; 32])).mint(&StateToken {
        user: UserId(PERSON + 1),
        expires_at: site.clock.now() + expires_in,
        lane: crate::ids::Lane(0),
        purpose: 0,
        pkce: false,
        again: false,
        nonce,
    });
    let requested = carried.redirects[0].requested.as_mut().expect("a good state");
    (requested.nonce, requested.raw) = (Some(nonce), Some(RawState::new(state)));
    carried
}

#[test]
fn a_link_that_lives_for_a_day_completes_once_in_that_day() {
    paused(async || {
        let site = Site::new(None);
        let day = Duration::from_hours(24);
        site.append(vec![by_link(&site, day, [9; 8])]).await.expect("taken");
        complete(&site, 1).await;
        let grant = begun(&site, Task::Revoke).await;
        report(&site, grant, Task::Revoke, Event::Revoked).await;
        assert_eq!(site.outcomes(), [Outcome::Completed]);
        sleep(Duration::from_hours(23)).await;
        site.append(vec![by_link(&site, SECOND * 3_600, [9; 8])])
            .await
            .expect("taken");
        let claimed = claim(&site, Task::Exchange, 1).await;
        assert_eq!(begin(&site, claimed[0], Task::Exchange).await, Begun::Stale);
        assert_eq!(site.outcomes(), [Outcome::Completed, Outcome::Duplicate]);
    });
}

/// A crash repeats a revocation, which is harmless: it takes a commit of its own only where no other follows.
#[test]
fn what_was_revoked_leaves_after_50_ms_at_the_latest() {
    paused(async || {
        // The receipt, the intent, the token, the data; then this one.
        let site = Site::with(None, 10, Some(Fault::FullAtCommit(5)));
        site.post([1]).await;
        complete(&site, 1).await;
        let grant = begun(&site, Task::Revoke).await;
        assert_eq!(report(&site, grant, Task::Revoke, Event::Revoked).await, Reported::Kept);
        assert_eq!(site.outcomes(), [Outcome::Completed]);
        sleep(Duration::from_millis(45)).await;
        assert_eq!(site.store.health(), Health::Fine);
        sleep(Duration::from_millis(10)).await;
        assert_eq!(site.store.health(), Health::Failed(StoreError::Full));
    });
}
