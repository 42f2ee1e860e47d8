//! A `Stage`: claims grants that want one task, makes one outside call for each, and reports what happened.
//!
//! Nothing ever sends it work: it asks for as much as it has free slots. The drain latch is never cleared.

mod health;

use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, StreamHandler, WrapFuture};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use self::health::Health;
use super::calls::Calls;
use super::every::every;
use super::governor::{AtOnce, Governor};
use super::journal::Journal;
use super::journal::message::{Begin, BeginsLater, Claim, Lease, Release, Report, Reported, Watch, WorkAvailable};
use super::journal::open_grants::Begun;
use crate::grant::Task;
use crate::port::permit::{Permit, Permits as _};
use crate::rate::limits::Need;
use crate::steps::Step;
use crate::time::Pulse;

/// A hint may be lost, so a stage with free slots looks for work this often.
const POLL: Duration = Pulse::BEAT;

/// One stage on a code's way.
pub struct Stage<S: Step> {
    /// The call it makes; shared with the calls under way.
    step: Rc<S>,
    task: Task,
    journal: Addr<Journal>,
    governor: Addr<Governor>,
    /// Calls at once: the only bound, for a mailbox does not bound asynchronous work.
    slots: usize,
    busy: usize,
    /// Calls that were made and whose report is not durable yet.
    settling: usize,
    calls: Calls<Ended>,
    /// Whether its calls work, for the log.
    health: Health,
    /// A claim is under way: a second would ask for the same slots again.
    claiming: bool,
    /// A hint came while claiming.
    look_again: bool,
    draining: bool,
}

/// Stops claiming, for good. Work under way goes on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DrainStage;

/// How far a lease has come.
enum Ended {
    /// The call was made, or not.
    Call(Option<Made>),
    /// The report is durable, and nothing is left.
    Report,
}

/// A call that was made.
struct Made {
    /// Why it failed, where it did.
    failed: Option<String>,
    /// Left to wait for.
    report: LocalBoxFuture<'static, ()>,
}

/// Asks how many calls are under way, or not reported durably.
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
            settling: 0,
            calls: Calls::default(),
            health: Health::default(),
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
                stage.start(lease);
            }
            if std::mem::take(&mut stage.look_again) {
                stage.look_for_work(ctx);
            }
        }));
    }

    fn start(&mut self, lease: Lease<S::Work>) {
        self.busy += 1;
        let run = run(
            Rc::clone(&self.step),
            lease,
            self.journal.clone(),
            self.governor.clone(),
        );
        self.calls.start(run.map(Ended::Call));
    }
}

/// A permit for one call. Where a receipt is held back for the call's beginning, it is told when there is no permit at once.
async fn permit(need: Need, at_once: bool, journal: &Addr<Journal>, governor: &Addr<Governor>) -> Option<Permit> {
    if at_once {
        if let Ok(Some(permit)) = governor.send(AtOnce(need)).await {
            return Some(permit);
        }
        let _ = journal.send(BeginsLater).await;
    }
    governor.acquire(need).await
}

/// Takes one lease through its call. What it answers waits for the report: a slot bounds calls, not the disk.
async fn run<S: Step>(
    step: Rc<S>,
    lease: Lease<S::Work>,
    journal: Addr<Journal>,
    governor: Addr<Governor>,
) -> Option<Made> {
    let Lease {
        grant,
        task,
        work,
        at_once,
    } = lease;
    let permit = match step.needs(&work) {
        None => Some(Permit::unlimited()),
        Some(need) => permit(need, at_once, &journal, &governor).await,
    };
    let Some(mut permit) = permit else {
        // Given back at once, it would be claimed again at once, and the stage would never rest.
        tokio::time::sleep(POLL).await;
        let _ = journal.send(Release { grant, task }).await;
        return None;
    };
    match journal.send(Begin { grant, task }).await {
        Ok(Ok(Begun::Go)) => {}
        Ok(Ok(Begun::Stale) | Err(_)) | Err(_) => return None,
    }
    permit.spend();
    let performed = AssertUnwindSafe(step.perform(&work, permit)).catch_unwind().await;
    let performed = performed.unwrap_or_else(|_| {
        tracing::error!(grant.id = %grant, step = task.name(), "a step panicked: this counts as a failed attempt");
        step.after_panic(&work)
    });
    let held = S::token_of(&performed.event);
    let failed = performed.failed.clone();
    tracing::debug!(grant.id = %grant, step = task.name(), answer = performed.event.name(), failed, "step done");
    let report = Report {
        grant,
        task,
        event: performed.event,
        data: performed.data,
        failed: performed.failed,
    };
    let told = journal.send(report);
    let report = Box::pin(async move {
        let kept = matches!(told.await, Ok(Ok(Reported::Kept)));
        if let Some(token) = held.filter(|_| !kept) {
            tracing::warn!(grant.id = %grant, "a token could not be stored: revoking it now");
            // A panic here would end the calls of all the others as well.
            if AssertUnwindSafe(step.abandon(token)).catch_unwind().await.is_err() {
                tracing::error!(grant.id = %grant, "the revocation of a token that could not be stored panicked");
            }
        }
    });
    Some(Made { failed, report })
}

impl<S: Step> Actor for Stage<S> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.add_stream(self.calls.stream());
        let watch = self
            .journal
            .send(Watch {
                task: self.task,
                who: ctx.address().recipient(),
            })
            .into_actor(self);
        ctx.spawn(watch.map(|_, stage, ctx| stage.look_for_work(ctx)));
        every(POLL, ctx, |stage, ctx| {
            stage.health.look(stage.task, stage.step.sink());
            stage.look_for_work(ctx);
        });
    }
}

impl<S: Step> StreamHandler<Ended> for Stage<S> {
    fn handle(&mut self, ended: Ended, ctx: &mut Self::Context) {
        match ended {
            Ended::Call(made) => {
                self.busy -= 1;
                if let Some(Made { failed, report }) = made {
                    self.health.note(self.task, self.step.sink(), failed.as_deref());
                    self.settling += 1;
                    self.calls.start(report.map(|()| Ended::Report));
                }
                self.look_for_work(ctx);
            }
            Ended::Report => self.settling -= 1,
        }
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
        self.busy + self.settling
    }
}

#[cfg(test)]
mod tests;
