//! A `Stage`: claims grants that want one task, makes one outside call for each, and reports what happened.
//!
//! Nothing ever sends it work: it asks for as much as it has free slots. The drain latch is set once and never
//! cleared, and looked at again after every wait that may have been long.

use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, WrapFuture};
use futures_util::FutureExt;

use super::governor::{Acquire, Governor, Permit};
use super::journal::Journal;
use super::journal::message::{Begin, Begun, Claim, Lease, Release, Report, Reported, Watch, WorkAvailable};
use crate::grant::Task;
use crate::steps::Step;

/// The exchanging stage.
pub type Exchanger = Stage<crate::steps::Exchange>;
/// The fetching stage.
pub type Fetcher = Stage<crate::steps::Fetch>;
/// A delivering stage; one for each sink, so that none waits for another.
pub type Deliverer = Stage<crate::steps::Deliver>;
/// The revoking stage.
pub type Revoker = Stage<crate::steps::Revoke>;

/// A hint may be lost, so a stage with free slots looks for work this often.
const POLL: Duration = Duration::from_secs(1);

/// One stage of the way of a code.
pub struct Stage<S: Step> {
    /// The call it makes; shared with the calls under way.
    step: Rc<S>,
    task: Task,
    journal: Addr<Journal>,
    governor: Addr<Governor>,
    /// Calls at once: the only bound, for a mailbox does not bound asynchronous work.
    slots: usize,
    busy: usize,
    /// A claim is under way: another would ask for the same slots twice.
    claiming: bool,
    /// A hint came while claiming.
    look_again: bool,
    draining: bool,
}

/// Stops claiming, for good. Work under way goes on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DrainStage;

/// Asks how many calls are under way.
#[derive(Message)]
#[rtype(result = "usize")]
pub struct Busy;

impl<S: Step> Stage<S> {
    /// A stage that claims as soon as it is started.
    pub fn new(step: Rc<S>, task: Task, slots: usize, journal: Addr<Journal>, governor: Addr<Governor>) -> Self {
        Self {
            step,
            task,
            journal,
            governor,
            slots,
            busy: 0,
            claiming: false,
            look_again: false,
            draining: false,
        }
    }

    fn look_for_work(&mut self, ctx: &mut Context<Self>) {
        if self.draining || self.busy >= self.slots {
            return;
        }
        if self.claiming {
            self.look_again = true;
            return;
        }
        self.claiming = true;
        let claim = Claim::<S> {
            task: self.task,
            slots: self.slots - self.busy,
            step: PhantomData,
        };
        let asked = self.journal.send(claim).into_actor(self);
        ctx.spawn(asked.map(|answer, stage, ctx| {
            stage.claiming = false;
            // A dead journal or a failed store ends the process elsewhere.
            let leases = answer.ok().and_then(Result::ok).unwrap_or_default();
            for lease in leases {
                stage.start(lease, ctx);
            }
            if std::mem::take(&mut stage.look_again) {
                stage.look_for_work(ctx);
            }
        }));
    }

    fn start(&mut self, lease: Lease<S::Work>, ctx: &mut Context<Self>) {
        self.busy += 1;
        let run = run(
            Rc::clone(&self.step),
            lease,
            self.journal.clone(),
            self.governor.clone(),
        );
        ctx.spawn(run.into_actor(self).map(|(), stage, ctx| {
            stage.busy -= 1;
            stage.look_for_work(ctx);
        }));
    }
}

/// Takes one lease through its call.
async fn run<S: Step>(step: Rc<S>, lease: Lease<S::Work>, journal: Addr<Journal>, governor: Addr<Governor>) {
    let Lease { grant, task, work } = lease;
    let mut permit = match step.needs(&work) {
        None => Permit::unlimited(),
        Some(need) => {
            let acquire = Acquire {
                budget: need.budget,
                channel: need.channel,
                urgency: need.urgency,
            };
            match governor.send(acquire).await {
                Ok(Ok(permit)) => permit,
                Ok(Err(_)) | Err(_) => {
                    let _ = journal.send(Release { grant, task }).await;
                    return;
                }
            }
        }
    };
    match journal.send(Begin { grant, task }).await {
        Ok(Ok(Begun::Go)) => {}
        Ok(Ok(Begun::Stale) | Err(_)) | Err(_) => return,
    }
    permit.spend();
    let performed = AssertUnwindSafe(step.perform(&work, permit)).catch_unwind().await;
    let performed = performed.unwrap_or_else(|_| {
        tracing::error!(grant.id = %grant, step = task.name(), "a step panicked: it counts as an attempt");
        step.after_panic(&work)
    });
    let held = S::token_of(&performed.event);
    tracing::debug!(grant.id = %grant, step = task.name(), answer = performed.event.name(), "step done");
    let report = Report {
        grant,
        task,
        event: performed.event,
        data: performed.data,
    };
    let kept = matches!(journal.send(report).await, Ok(Ok(Reported::Kept)));
    if let Some(token) = held.filter(|_| !kept) {
        tracing::warn!(grant.id = %grant, "a token could not be stored: it is revoked at once");
        step.abandon(token).await;
    }
}

impl<S: Step> Actor for Stage<S> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let watch = self
            .journal
            .send(Watch {
                task: self.task,
                who: ctx.address().recipient(),
            })
            .into_actor(self);
        ctx.spawn(watch.map(|_, stage, ctx| stage.look_for_work(ctx)));
        ctx.run_interval(POLL, Self::look_for_work);
    }
}

impl<S: Step> Handler<WorkAvailable> for Stage<S> {
    type Result = ();

    fn handle(&mut self, _: WorkAvailable, ctx: &mut Self::Context) {
        self.look_for_work(ctx);
    }
}

impl<S: Step> Handler<DrainStage> for Stage<S> {
    type Result = ();

    fn handle(&mut self, _: DrainStage, _: &mut Self::Context) {
        self.draining = true;
    }
}

impl<S: Step> Handler<Busy> for Stage<S> {
    type Result = usize;

    fn handle(&mut self, _: Busy, _: &mut Self::Context) -> usize {
        self.busy
    }
}
