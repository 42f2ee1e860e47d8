//! The `Journal`: owns the open grants and their leases, and is the only caller of `Grant::apply`.
//!
//! It waits for nobody but its store. Every message changes memory through [`OpenGrants`], hands the changes to the store,
//! and answers once they are durable where an outside effect depends on it.

mod channel;
mod commits;
mod drain;
pub mod events;
pub mod message;
mod mint;
pub mod open_grants;
pub mod recent;
mod room;
pub mod view;

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use actix::ActorFutureExt;
use actix::{Actor, AsyncContext, Context, Handler, Recipient, ResponseFuture, SpawnHandle, StreamHandler, WrapFuture};
use futures_util::StreamExt;

use self::commits::{Commits, Committed};
use self::message::{
    Append, Begin, Claim, JournalError, Lease, Operate, Release, ReleaseStage, Report, Reported, Watch, WorkAvailable,
};
use self::open_grants::{Begun, Changed, OpenGrants};
use super::every::every;
use crate::grant::{ClosedGrant, Event, Grant, Outcome, State, Task};
use crate::ids::GrantId;
use crate::intake::mint::Minter;
use crate::metrics;
use crate::steps::Step;
use crate::store::{CommitterHandle, StoreError};
use crate::time::{SharedClock, Timestamp};

/// Ended commits that are looked at together, at most.
const COMMITS: usize = 256;

/// Called when a grant closes.
pub type OnClosed = dyn Fn(&ClosedGrant);

/// What the journal is made of.
pub struct JournalSettings {
    /// Where changes become durable.
    pub store: CommitterHandle,
    /// Discord's time as far as it is known: codes age by it.
    pub clock: SharedClock,
    /// No more open grants than this: beyond it codes stay in the channel.
    pub max_open: usize,
    /// How long closed grants are kept.
    pub closed_retention: Duration,
    /// Called when a grant closes.
    pub on_closed: Option<Rc<OnClosed>>,
    /// Makes links.
    pub minter: Minter,
}

/// The only truth about open grants.
pub struct Journal {
    open_grants: OpenGrants,
    settings: JournalSettings,
    /// The stages that are told of work, by task; ordered, so that a run can be repeated.
    watchers: BTreeMap<Task, Recipient<WorkAvailable>>,
    /// The first store error: from then on nothing is claimed and nothing begins.
    failed: Option<StoreError>,
    /// The disk is nearly full: nothing is taken in until it has room again.
    room_is_low: bool,
    looks_left_out: u8,
    /// Set while draining: no code is claimed any more. Nothing clears it.
    draining: bool,
    /// Our credentials were refused: no code is claimed until a probe is answered.
    exchange_paused: bool,
    /// When the one timer rings.
    timer: Option<(Timestamp, SpawnHandle)>,
    /// Changes of the start that are not durable yet.
    at_start: Option<Changed>,
    /// Outcomes since the start.
    outcomes: HashMap<Outcome, u64>,
    /// Changes that are not durable yet.
    commits: Commits,
    /// What has happened, for those who wait for it.
    events: events::Events,
    recent: recent::Recent,
}

impl Journal {
    /// A journal over what the store held.
    pub fn new(settings: JournalSettings, (open_grants, at_start): (OpenGrants, Changed)) -> Self {
        let events = events::Events::beginning(settings.clock.now());
        Self {
            open_grants,
            settings,
            watchers: BTreeMap::new(),
            failed: None,
            room_is_low: false,
            looks_left_out: 0,
            draining: false,
            exchange_paused: false,
            timer: None,
            at_start: Some(at_start),
            outcomes: HashMap::new(),
            commits: Commits::default(),
            events,
            recent: recent::Recent::default(),
        }
    }

    fn now(&self) -> Timestamp {
        self.settings.clock.now()
    }

    /// How old a grant's source message is.
    fn age_of(&self, id: GrantId) -> Option<Duration> {
        let grant = self.open_grants.get(id)?;
        Some(self.now().since(grant.origin.message.created_at()))
    }

    /// The commit that failed may have been the governor's or the listener's. A journal that did not know would hand out
    /// grants that cannot begin, and take them back, as fast as the machine allows.
    fn working(&self) -> Result<(), JournalError> {
        let failed = self.failed.clone().or_else(|| self.settings.store.health().error());
        failed.map_or(Ok(()), |e| Err(JournalError::Store(e)))
    }

    fn fail(&mut self, error: &StoreError) {
        if self.failed.is_none() {
            tracing::error!(%error, "the store failed: no new work is started");
            self.failed = Some(error.clone());
        }
    }

    /// Tells stages that they have work, and sets the timer for what is due later.
    fn offer_work(&mut self, ctx: &mut Context<Self>) {
        let now = self.now();
        let tasks: Vec<Task> = self.watchers.keys().copied().collect();
        for task in tasks {
            if self.may_claim(task) && self.open_grants.ready(task, now) > 0 {
                // A stage with a full mailbox looks for work anyway.
                let _ = self.watchers[&task].try_send(WorkAvailable);
            }
        }
        self.set_timer(ctx);
    }

    fn set_timer(&mut self, ctx: &mut Context<Self>) {
        let Some(at) = self.open_grants.next_wake() else { return };
        if let Some((set, handle)) = self.timer {
            if set <= at {
                return;
            }
            ctx.cancel_future(handle);
        }
        let wait = at.since(self.now()).max(Duration::from_millis(1));
        let handle = ctx.run_later(wait, |journal, ctx| {
            journal.timer = None;
            journal.pass_time(ctx);
        });
        self.timer = Some((at, handle));
    }

    fn pass_time(&mut self, ctx: &mut Context<Self>) {
        let expired = self.open_grants.expire(self.now());
        drop(self.commit(expired, ctx));
        self.offer_work(ctx);
    }

    fn may_claim(&self, task: Task) -> bool {
        self.working().is_ok() && !(task == Task::Exchange && (self.draining || self.exchange_paused))
    }

    fn maintain(&mut self, ctx: &mut Context<Self>) {
        let aged = self.open_grants.age(self.now());
        drop(self.commit(aged, ctx));
        let store = self.settings.store.clone();
        let (now, retention) = (self.settings.clock.now(), self.settings.closed_retention);
        let upkeep = async move {
            store.sweep(now - retention).await?;
            store.destroy_idle_keys(now).await
        };
        ctx.spawn(upkeep.into_actor(self).map(|outcome, journal, _| {
            if let Err(error) = outcome {
                journal.fail(&error);
            }
        }));
    }
}

impl Actor for Journal {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(4096);
        // The store makes many commits durable at once.
        ctx.add_stream(self.commits.under_way.stream().ready_chunks(COMMITS));
        if let Some(changed) = self.at_start.take() {
            drop(self.commit(changed, ctx));
        }
        every(Duration::from_mins(1), ctx, Self::maintain);
        self.look_for_room(ctx);
        every(room::LOOK_EVERY, ctx, Self::look_for_room_in_time);
        self.offer_work(ctx);
    }
}

impl StreamHandler<Vec<Committed>> for Journal {
    fn handle(&mut self, together: Vec<Committed>, ctx: &mut Self::Context) {
        let now = self.now();
        for committed in together {
            let answer = match committed.outcome {
                Ok(()) => {
                    self.open_grants
                        .durable(&committed.grants, &committed.source_messages, now);
                    committed.events.iter().for_each(|event| self.recent.happened(event));
                    self.events.tell(committed.events);
                    Ok(())
                }
                Err(error) => {
                    self.fail(&error);
                    Err(JournalError::Store(error))
                }
            };
            for waiting in committed.waiting {
                // A caller that stopped waiting needs no answer.
                let _ = waiting.send(answer.clone());
            }
        }
        self.offer_work(ctx);
    }
}

impl Handler<Append> for Journal {
    type Result = ResponseFuture<Result<open_grants::Appended, JournalError>>;

    fn handle(&mut self, Append(mut carried): Append, ctx: &mut Self::Context) -> Self::Result {
        let fitting = self.open_grants.fitting(&carried, self.settings.max_open);
        let full = fitting == 0 && !carried.is_empty();
        let no_room = self.room_is_low.then_some(JournalError::NoRoom);
        let refusal = self.working().err().or(no_room).or(full.then_some(JournalError::Full));
        if let Some(refusal) = refusal {
            return Box::pin(async move { Err(refusal) });
        }
        let left_out = carried.split_off(fitting).len();
        let (appended, changed) = self.open_grants.append(carried, self.now());
        let appended = open_grants::Appended { left_out, ..appended };
        metrics::grants_received(appended.received as u64);
        let durable = self.commit_receipt(changed, ctx);
        self.offer_work(ctx);
        Box::pin(async move { durable.wait().await.map(|()| appended) })
    }
}

impl<S: Step> Handler<Claim<S>> for Journal {
    type Result = ResponseFuture<Result<Vec<Lease<S::Work>>, JournalError>>;

    fn handle(&mut self, claim: Claim<S>, ctx: &mut Self::Context) -> Self::Result {
        if let Err(error) = self.working() {
            return Box::pin(async move { Err(error) });
        }
        if !self.may_claim(claim.task) {
            return Box::pin(async { Ok(Vec::new()) });
        }
        let grants = self.open_grants.claim(claim.task, claim.slots, self.now());
        self.set_timer(ctx);
        let task = claim.task;
        let lease = move |grant: &Grant, data| {
            let work = S::work(grant, data);
            if work.is_none() {
                tracing::error!(grant.id = %grant.id, step = task.name(), "bug: a grant is due for a step, but lacks what the step needs");
            }
            let (grant, at_once) = (grant.id, false);
            work.map(|work| Lease {
                grant,
                task,
                work,
                at_once,
            })
        };
        let mut leases = Vec::with_capacity(grants.len());
        let mut unread = Vec::new();
        for grant in grants {
            let stored = matches!(&grant.state, State::Settling(s) if s.has_data) && S::NEEDS_DATA;
            match stored.then(|| self.open_grants.data(grant.id)) {
                Some(None) => unread.push(grant),
                data => leases.extend(lease(&grant, data.flatten())),
            }
        }
        if task == Task::Exchange && self.commits.claimed(claim.slots, leases.len()) {
            for lease in &mut leases {
                lease.at_once = true;
            }
        }
        if unread.is_empty() {
            return Box::pin(async move { Ok(leases) });
        }
        let store = self.settings.store.clone();
        Box::pin(async move {
            for grant in unread {
                let data = store.data(grant.id).await.map_err(JournalError::Store)?;
                leases.extend(lease(&grant, data));
            }
            Ok(leases)
        })
    }
}

impl Handler<Begin> for Journal {
    type Result = ResponseFuture<Result<Begun, JournalError>>;

    fn handle(&mut self, Begin { grant, task }: Begin, ctx: &mut Self::Context) -> Self::Result {
        let stopped = task == Task::Exchange && self.draining;
        if let Err(error) = self.working() {
            return Box::pin(async move { Err(error) });
        }
        if stopped {
            self.open_grants.release(grant, task, self.now());
            self.begins_no_more();
            return Box::pin(async { Ok(Begun::Stale) });
        }
        let age = self.age_of(grant).filter(|_| task == Task::Exchange);
        let (begun, changed) = self.open_grants.begin(grant, task, self.now());
        if let (Begun::Go, Some(age)) = (begun, age) {
            metrics::posted_to_presented(age);
            self.recent.presented(age);
        }
        self.set_timer(ctx);
        let durable = if task == Task::Exchange {
            self.commit_beginning(changed, ctx)
        } else {
            self.commit(changed, ctx)
        };
        Box::pin(async move { durable.wait().await.map(|()| begun) })
    }
}

impl Handler<Report> for Journal {
    type Result = ResponseFuture<Result<Reported, JournalError>>;

    fn handle(&mut self, report: Report, ctx: &mut Self::Context) -> Self::Result {
        if let Err(error) = self.working() {
            return Box::pin(async move { Err(error) });
        }
        let Report {
            grant,
            task,
            event,
            data,
            failed,
        } = report;
        if matches!(event, Event::CredentialsRefused) && !self.exchange_paused {
            tracing::error!(
                "Discord refused the application's credentials (invalid_client): no code is presented until Discord accepts them; \
                 check discord.application_id and CODEFERRY_CLIENT_SECRET"
            );
            self.exchange_paused = true;
        }
        metrics::attempt(task.name(), event.name());
        self.remember_failure(grant, task, &event, failed.as_deref());
        if matches!(event, Event::Revoked)
            && let Some(age) = self.age_of(grant)
        {
            metrics::posted_to_revoked(age);
        }
        match self.open_grants.report(grant, task, (event, failed), data, self.now()) {
            Ok(changed) => {
                let durable = self.commit(changed, ctx);
                self.offer_work(ctx);
                Box::pin(async move { durable.wait().await.map(|()| Reported::Kept) })
            }
            Err(illegal) => {
                tracing::warn!(grant.id = %grant, %illegal, "a step's result arrived too late");
                Box::pin(async { Ok(Reported::TooLate) })
            }
        }
    }
}

impl Handler<Release> for Journal {
    type Result = ();

    fn handle(&mut self, Release { grant, task }: Release, ctx: &mut Self::Context) {
        self.open_grants.release(grant, task, self.now());
        if task == Task::Exchange {
            self.begins_no_more();
        }
        self.offer_work(ctx);
    }
}

impl Handler<ReleaseStage> for Journal {
    type Result = ResponseFuture<Result<(), JournalError>>;

    fn handle(&mut self, ReleaseStage(task): ReleaseStage, ctx: &mut Self::Context) -> Self::Result {
        if task == Task::Exchange {
            self.commits.expect_no_claim();
        }
        let changed = self.open_grants.release_stage(task, self.now());
        let durable = self.commit(changed, ctx);
        Box::pin(durable.wait())
    }
}

impl Handler<Watch> for Journal {
    type Result = ();

    fn handle(&mut self, Watch { task, who }: Watch, ctx: &mut Self::Context) {
        self.watchers.insert(task, who);
        self.offer_work(ctx);
    }
}

impl Handler<Operate> for Journal {
    type Result = ResponseFuture<Result<(), JournalError>>;

    fn handle(&mut self, Operate { grant, event }: Operate, ctx: &mut Self::Context) -> Self::Result {
        let operated = self.working().and_then(|()| {
            self.open_grants
                .operate(grant, event, self.now())
                .map_err(|illegal| JournalError::Refused(illegal.to_string()))
        });
        match operated {
            Ok(changed) => {
                let durable = self.commit(changed, ctx);
                self.offer_work(ctx);
                Box::pin(durable.wait())
            }
            Err(error) => Box::pin(async move { Err(error) }),
        }
    }
}

#[cfg(test)]
mod tests;
