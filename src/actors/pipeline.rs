//! The `Pipeline`: builds the actors, watches them, rebuilds a dead stage, and drains in two phases.
//!
//! A dead journal, governor, listener or command responder, or a failed store, ends everything: a service that seems to
//! run while codes die is worse than a restart.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, Recipient, ResponseFuture, WrapFuture, fut,
};
use futures_util::FutureExt;
use rand::distr::{Alphanumeric, SampleString};
use rand::rngs::StdRng;
use tokio::sync::watch;

use super::command_responder::CommandResponder;
use super::every::every;
use super::governor::Governor;
use super::journal::Journal;
use super::journal::message::{Close, Drain, OutstandingWork, ReleaseStage, ResumeExchange, Stalled};
use super::listener::{DrainIntake, Fatal, Listener};
use super::stage::{DrainStage, Stage};
use crate::grant::Task;
use crate::port::discord::{RevokeAnswer, TokenEndpoint};
use crate::secret::AccessToken;
use crate::steps::Step;
use crate::store::{CommitterHandle, StoreError};
use crate::time::Pulse;

/// How often the actors are looked at.
const WATCH_EVERY: Duration = Pulse::BEAT;
/// How often refused credentials are tried again, by revoking a token that nobody has.
const PROBE_EVERY: Duration = Duration::from_mins(1);
/// How long the process stays after a store failure, so that tokens that could not be stored are revoked.
pub const AFTER_STORE_FAILURE: Duration = Duration::from_secs(4);
/// Deliveries under way get this long once nothing else is left to wait for: they are journalled and repeatable.
const LAST_DELIVERIES: Duration = Duration::from_secs(5);

/// Why the pipeline ended by itself.
#[derive(Debug, Clone)]
pub enum Ended {
    /// The store failed, or a commit hung.
    Store(StoreError),
    /// Something that only an operator can put right.
    Operator(Fatal),
    /// This actor died, without which nothing goes on: a bug.
    Died(&'static str),
}

/// A stage, of whatever step.
struct Kept {
    task: Task,
    make: Box<dyn Fn() -> Recipient<DrainStage>>,
    running: Recipient<DrainStage>,
}

impl Kept {
    fn drain(&self) -> impl Future<Output = ()> + use<> {
        let stage = self.running.clone();
        // `send` puts the message into the mailbox when it is called, not when it is awaited: the second phase of a
        // drain would begin with the first, and nobody would fetch or revoke any more.
        async move { stage.send(DrainStage).await.unwrap_or_default() }
    }
}

/// The actors that stand around the journal.
pub struct Pipeline {
    journal: Addr<Journal>,
    governor: Addr<Governor>,
    listener: Option<Addr<Listener>>,
    responder: Option<Addr<CommandResponder>>,
    stages: Vec<Kept>,
    store: CommitterHandle,
    endpoint: Rc<dyn TokenEndpoint>,
    ended: watch::Sender<Option<Ended>>,
    random: StdRng,
}

impl Pipeline {
    /// A pipeline without stages.
    pub fn new(
        journal: Addr<Journal>,
        governor: Addr<Governor>,
        store: CommitterHandle,
        endpoint: Rc<dyn TokenEndpoint>,
        ended: watch::Sender<Option<Ended>>,
        random: StdRng,
    ) -> Self {
        Self {
            journal,
            governor,
            listener: None,
            responder: None,
            stages: Vec::new(),
            store,
            endpoint,
            ended,
            random,
        }
    }

    /// Adds a stage; it starts at once, and again should it die.
    pub fn add_stage<S: Step>(&mut self, step: &Rc<S>, task: Task, slots: usize) {
        let (step, journal, governor) = (Rc::clone(step), self.journal.clone(), self.governor.clone());
        let make = move || {
            let stage = Stage::new(Rc::clone(&step), task, slots, journal.clone(), governor.clone());
            stage.start().recipient()
        };
        let running = make();
        self.stages.push(Kept {
            task,
            make: Box::new(make),
            running,
        });
    }

    /// Gives it the listener to drain.
    pub fn add_listener(&mut self, listener: Addr<Listener>) {
        self.listener = Some(listener);
    }

    /// Gives it the command responder to watch.
    pub fn add_command_responder(&mut self, responder: Addr<CommandResponder>) {
        self.responder = Some(responder);
    }

    fn end(&self, why: Ended) {
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            if first {
                *ended = Some(why);
            }
            first
        });
    }

    fn look_after(&mut self, ctx: &mut Context<Self>) {
        let responders = self.responder.as_ref().is_none_or(Addr::connected);
        // A dead stage loses what its slots held; these hold what cannot be made again.
        let listens = self.listener.as_ref().is_none_or(Addr::connected);
        for (lives, who) in [
            (self.journal.connected(), "journal"),
            (self.governor.connected(), "governor"),
            (listens, "listener"),
            (responders, "command responder"),
        ] {
            if !lives {
                self.end(Ended::Died(who));
            }
        }
        if let Some(error) = self.store.health().error() {
            if error == StoreError::Hung {
                tracing::error!("a commit hangs: the process ends before it starts more work");
            }
            self.end(Ended::Store(error));
        }
        for kept in &mut self.stages {
            if kept.running.connected() {
                continue;
            }
            tracing::error!(
                step = kept.task.name(),
                "a stage died: its leases are released and it is restarted"
            );
            let release = self.journal.send(ReleaseStage(kept.task));
            kept.running = (kept.make)();
            ctx.spawn(fut::wrap_future::<_, Self>(release).map(|_, _, _| ()));
        }
    }

    fn probe(&mut self, ctx: &mut Context<Self>) {
        let token = AccessToken::new(Alphanumeric.sample_string(&mut self.random, 30));
        let (journal, endpoint) = (self.journal.clone(), Rc::clone(&self.endpoint));
        let probe = async move {
            if !journal.send(Stalled).await.unwrap_or(false) {
                return;
            }
            // Nobody watches the one that watches: a panic in here must not end it.
            let probed = AssertUnwindSafe(endpoint.revoke(&token)).catch_unwind().await;
            match probed.map(|answer| answer.outcome) {
                Ok(RevokeAnswer::CredentialsRefused) => {}
                Ok(RevokeAnswer::Revoked | RevokeAnswer::Later(_)) => drop(journal.send(ResumeExchange).await),
                Err(_) => tracing::error!("the probe of the application's credentials panicked: retrying"),
            }
        };
        ctx.spawn(probe.into_actor(self).map(|(), _, _| ()));
    }
}

impl Actor for Pipeline {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        every(WATCH_EVERY, ctx, Self::look_after);
        every(PROBE_EVERY, ctx, Self::probe);
    }
}

/// Drains in two phases: no further code is presented, and the exchanges under way end and every token held is revoked;
/// then the last deliveries.
/// Answered once the store is closed. The caller bounds the wait by the grace period.
#[derive(Message)]
#[rtype(result = "Result<(), StoreError>")]
pub struct Shutdown;

impl Handler<Shutdown> for Pipeline {
    type Result = ResponseFuture<Result<(), StoreError>>;

    fn handle(&mut self, _: Shutdown, _: &mut Self::Context) -> Self::Result {
        let (journal, listener) = (self.journal.clone(), self.listener.clone());
        let first: Vec<_> = self
            .stages
            .iter()
            .filter(|k| k.task == Task::Exchange)
            .map(Kept::drain)
            .collect();
        let last: Vec<_> = self
            .stages
            .iter()
            .filter(|k| k.task != Task::Exchange)
            .map(Kept::drain)
            .collect();
        Box::pin(async move {
            if let Some(listener) = listener {
                let _ = listener.send(DrainIntake).await;
            }
            futures_util::future::join_all(first).await;
            let _ = journal.send(Drain).await;
            until(&journal, |tokens, _| tokens == 0).await?;
            futures_util::future::join_all(last).await;
            let _ = tokio::time::timeout(LAST_DELIVERIES, until(&journal, |_, steps| steps == 0)).await;
            journal.send(Close).await.unwrap_or(Err(StoreError::Closed))
        })
    }
}

/// Waits until what is outstanding satisfies a condition.
async fn until(journal: &Addr<Journal>, enough: impl Fn(usize, usize) -> bool) -> Result<(), StoreError> {
    loop {
        let Ok(outstanding) = journal.send(OutstandingWork).await else {
            return Err(StoreError::Closed);
        };
        if let Some(error) = outstanding.failed {
            return Err(error);
        }
        if enough(outstanding.tokens, outstanding.steps) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[cfg(test)]
mod tests;
