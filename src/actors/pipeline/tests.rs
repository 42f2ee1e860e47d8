use std::cell::{Cell, RefCell};

use futures_util::future::LocalBoxFuture;
use rand::SeedableRng;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::actors::test_support::{Fake, PERSON, Site, exchanged, until as comes_true};
use crate::grant::{Event, Outcome, Reason};
use crate::ids::UserId;
use crate::port::discord::{Answered, ExchangeAnswer};
use crate::secret::{AuthorizationCode, CodeVerifier};
use crate::store::Fault;
use crate::testing::paused;

const SECOND: Duration = Duration::from_secs(1);

/// A token endpoint that only the probe asks.
#[derive(Default)]
struct Probed {
    /// Whether our credentials are accepted.
    accepts: Cell<bool>,
    probes: RefCell<Vec<Instant>>,
}

impl TokenEndpoint for Probed {
    fn exchange<'a>(
        &'a self,
        _: &'a AuthorizationCode,
        _: Option<&'a CodeVerifier>,
    ) -> LocalBoxFuture<'a, Answered<ExchangeAnswer>> {
        unreachable!("a probe costs no code")
    }

    fn revoke<'a>(&'a self, _: &'a AccessToken) -> LocalBoxFuture<'a, Answered<RevokeAnswer>> {
        self.probes.borrow_mut().push(Instant::now());
        let outcome = if self.accepts.get() {
            RevokeAnswer::Revoked
        } else {
            RevokeAnswer::CredentialsRefused
        };
        let feedback = None;
        async { Answered { outcome, feedback } }.boxed_local()
    }
}

/// A pipeline of fakes: exchange, fetch, deliver, revoke.
struct Running {
    site: Site,
    pipeline: Addr<Pipeline>,
    ended: watch::Receiver<Option<Ended>>,
    steps: [Rc<Fake>; 4],
    endpoint: Rc<Probed>,
}

impl Running {
    fn start(site: Site, exchange: Rc<Fake>, slots: usize) -> Self {
        let delivered = |_| Event::Delivered {
            sink: "sink".to_owned(),
        };
        Self::delivering(site, exchange, Fake::new(SECOND * 3, delivered), slots)
    }

    fn delivering(site: Site, exchange: Rc<Fake>, deliver: Rc<Fake>, slots: usize) -> Self {
        let fetched = |_| Event::Fetched {
            person: UserId(PERSON + 1),
            missing: Vec::new(),
        };
        let steps = [
            exchange,
            Fake::new(SECOND, fetched),
            deliver,
            Fake::new(SECOND, |_| Event::Revoked),
        ];
        let endpoint = Rc::new(Probed::default());
        let (end, ended) = watch::channel(None);
        let (journal, governor) = (site.journal.clone(), site.governor.clone());
        let random = StdRng::seed_from_u64(1);
        let asked = Rc::clone(&endpoint) as Rc<dyn TokenEndpoint>;
        let mut pipeline = Pipeline::new(journal, governor, site.store.clone(), asked, end, random);
        let tasks = [Task::Exchange, Task::Fetch, Task::Deliver(0), Task::Revoke];
        for (step, task) in steps.iter().zip(tasks) {
            pipeline.add_stage(step, task, slots);
        }
        Self {
            pipeline: pipeline.start(),
            site,
            ended,
            steps,
            endpoint,
        }
    }

    fn usual(takes: Duration) -> Self {
        Self::start(Site::new(Some("sink")), Fake::new(takes, exchanged), 4)
    }

    fn why(&self) -> Option<Ended> {
        self.ended.borrow().clone()
    }

    /// How often each step came to its end.
    fn done(&self) -> [usize; 4] {
        [0, 1, 2, 3].map(|n: usize| self.steps[n].ended.get())
    }
}

#[test]
fn a_code_goes_through_every_stage_and_closes() {
    paused(async || {
        let running = Running::usual(SECOND);
        running.site.post([1]).await;
        comes_true(SECOND * 6, "it closes", || {
            running.site.outcomes() == [Outcome::Completed]
        })
        .await;
        assert_eq!(running.done(), [1; 4]);
        assert!(running.why().is_none());
    });
}

#[test]
fn a_dead_stage_is_built_anew_and_what_it_held_goes_on() {
    paused(async || {
        let refused = |_| Event::Refused(Reason::new("invalid_grant"));
        let running = Running::start(Site::new(None), Fake::new(SECOND * 5, refused), 2);
        running.site.post([1]).await;
        let exchange = &running.steps[0];
        comes_true(SECOND, "one on the wire", || exchange.running.get() == 1).await;
        exchange.kills.set(1);
        running.site.post([2]).await;
        comes_true(SECOND, "the stage died", || exchange.running.get() == 0).await;
        comes_true(SECOND * 12, "both end", || running.site.outcomes().len() == 2).await;
        // The first may have been presented when the stage died; the second surely was not.
        let mut outcomes = running.site.outcomes();
        outcomes.sort();
        assert_eq!(outcomes, [Outcome::Refused, Outcome::Lost]);
        assert_eq!(exchange.calls().len(), 3);
        assert!(running.why().is_none(), "that ends nothing");
    });
}

#[test]
fn a_shutdown_ends_the_calls_in_hand_and_revokes_every_token() {
    paused(async || {
        // A call takes as long as it may: longer than the last deliveries are waited for.
        let running = Running::usual(SECOND * 9);
        running.site.post([1]).await;
        sleep(SECOND).await;
        let shutdown = running.pipeline.send(Shutdown);
        sleep(SECOND).await;
        running.site.post([2]).await;
        let shutdown = timeout(SECOND * 60, shutdown)
            .await
            .expect("no token is waited for in vain");
        shutdown.expect("it lives").expect("a clean end");
        let [exchanges, fetches, deliveries, revocations] = running.done();
        assert_eq!(
            (exchanges, fetches, revocations),
            (1, 1, 1),
            "the token that came is used and revoked"
        );
        assert_eq!((deliveries, running.site.outcomes()), (1, vec![Outcome::Completed]));
        assert_eq!(running.steps[0].calls().len(), 1, "no code is presented any more");
        let more = running.site.store.commit(Vec::new()).await;
        assert_eq!(more, Err(StoreError::Closed));
    });
}

#[test]
fn a_shutdown_waits_five_seconds_for_a_delivery_and_no_longer() {
    paused(async || {
        let hanging = Fake::new(Duration::from_hours(1), |_| Event::Aged);
        let exchange = Fake::new(SECOND, exchanged);
        let running = Running::delivering(Site::new(Some("sink")), exchange, hanging, 4);
        running.site.post([1]).await;
        comes_true(SECOND * 4, "it hangs", || running.steps[2].running.get() == 1).await;
        comes_true(SECOND * 4, "revoked", || running.done()[3] == 1).await;
        let start = Instant::now();
        running
            .pipeline
            .send(Shutdown)
            .await
            .expect("it lives")
            .expect("a clean end");
        assert!(
            (SECOND * 4..SECOND * 6).contains(&start.elapsed()),
            "{:?}",
            start.elapsed()
        );
    });
}

#[test]
fn a_shutdown_of_a_store_that_failed_says_so() {
    paused(async || {
        let site = Site::with(Some("sink"), 10, Some(Fault::FullAtCommit(3)));
        let running = Running::start(site, Fake::new(SECOND, exchanged), 4);
        running.site.post([1]).await;
        comes_true(SECOND * 3, "it ends", || running.why().is_some()).await;
        let full = |error: &StoreError| error.is_disk_full();
        assert!(matches!(running.why(), Some(Ended::Store(error)) if full(&error)));
        assert_eq!(running.steps[0].abandoned.borrow().len(), 1);
        let outcome = running.pipeline.send(Shutdown).await.expect("it lives");
        assert!(outcome.as_ref().is_err_and(full), "{outcome:?}");
    });
}

#[test]
fn a_dead_journal_or_governor_ends_the_process() {
    paused(async || {
        let running = Running::usual(SECOND);
        running.site.kill_journal().await;
        comes_true(SECOND * 2, "it ends", || running.why().is_some()).await;
        assert!(
            matches!(running.why(), Some(Ended::Died("journal"))),
            "{:?}",
            running.why()
        );

        let running = Running::usual(SECOND);
        running.site.kill_governor().await;
        comes_true(SECOND * 2, "it ends", || running.why().is_some()).await;
        assert!(
            matches!(running.why(), Some(Ended::Died("governor"))),
            "{:?}",
            running.why()
        );
    });
}

#[test]
fn the_probe_lifts_the_pause_once_the_credentials_work_again() {
    paused(async || {
        let refused = |_| Event::CredentialsRefused;
        let running = Running::start(Site::new(None), Fake::new(SECOND, refused), 4);
        sleep(Duration::from_mins(2)).await;
        assert!(
            running.endpoint.probes.borrow().is_empty(),
            "nobody is asked without cause"
        );
        running.site.post([1]).await;
        comes_true(SECOND * 3, "refused", || running.done()[0] == 1).await;
        sleep(Duration::from_secs(62)).await;
        assert_eq!(running.endpoint.probes.borrow().len(), 1);
        assert!(running.site.journal.send(Stalled).await.expect("it lives"));
        running.endpoint.accepts.set(true);
        sleep(Duration::from_mins(1)).await;
        assert_eq!(running.endpoint.probes.borrow().len(), 2);
        assert!(!running.site.journal.send(Stalled).await.expect("it lives"));
    });
}
