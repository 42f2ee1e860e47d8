//! The governor: permits for every outbound call that is not made with the bot's token.
//!
//! It owns the queue of those who wait, the one timer that wakes them, and the order in which spending becomes durable. The
//! books themselves are [`Budgets`], which knows no actors. It waits for nothing but time and the ledger, and never for a caller.

mod reply;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, SpawnHandle, WrapFuture};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use self::reply::{Reply, Slot};
use crate::ids::{ChannelId, Lane};
use crate::metrics;
use crate::port::discord_time;
use crate::port::permit::{Ending, Permit, PermitAnswer, Permits, Return, SpendingLedger};
use crate::rate::budgets::{BudgetView, Budgets, Reservation, Target, Verdict};
use crate::rate::feedback::HttpFeedback;
use crate::rate::limits::{Budget, Limits, Need};
use crate::rate::moment::Moment;
use crate::time::{SharedClock, Timestamp};

/// A waiter rises one step of urgency for each of these.
const AGEING: Duration = Duration::from_secs(10);

/// What a governor is made of.
pub struct GovernorSettings {
    /// The limits in force at first.
    pub limits: Limits,
    /// The lanes' channels.
    pub lanes: BTreeMap<ChannelId, Lane>,
    /// What an earlier process spent: each channel's send times as they were last persisted.
    pub spending: BTreeMap<ChannelId, Vec<Timestamp>>,
    /// Where spending becomes durable.
    pub ledger: Box<dyn SpendingLedger>,
    /// The wall clock, for what is persisted and shown.
    pub clock: SharedClock,
}

/// The actor.
pub struct Governor {
    budgets: Budgets,
    lanes: BTreeMap<ChannelId, Lane>,
    ledger: Box<dyn SpendingLedger>,
    clock: SharedClock,
    /// When it was made, by tokio's clock: [`Moment::START`].
    began: Instant,
    waiting: Vec<Waiter>,
    next_seq: u64,
    /// Set exactly while a waiter waits for a moment.
    alarm: Option<(Moment, SpawnHandle)>,
    back: UnboundedSender<Return>,
    returns: UnboundedReceiver<Return>,
    /// Whether the breaker was open when last looked at, to log its changes once.
    breaker_open: bool,
}

struct Waiter {
    seq: u64,
    since: Moment,
    need: Need,
    slot: Slot,
}

impl Waiter {
    /// Its place in the queue, least first. Ageing ends at the highest urgency: from there the older goes first.
    fn rank(&self, now: Moment) -> (u64, u64) {
        let steps = now.since(self.since).as_secs() / AGEING.as_secs();
        ((self.need.urgency as u64).saturating_sub(steps), self.seq)
    }
}

impl Governor {
    /// A governor with an earlier process's spending replayed. Make it in the runtime whose time it shall follow.
    pub fn new(settings: GovernorSettings) -> Self {
        let (back, returns) = unbounded_channel();
        Self {
            budgets: Budgets::new(settings.limits, &settings.spending, Moment::START),
            lanes: settings.lanes,
            ledger: settings.ledger,
            clock: settings.clock,
            began: Instant::now(),
            waiting: Vec::new(),
            next_seq: 0,
            alarm: None,
            back,
            returns,
            breaker_open: false,
        }
    }
}

impl Actor for Governor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(TakeBack);
    }
}

/// Asks for permission to make one call and waits for it. In the order of urgency, then of asking.
impl Message for Need {
    type Result = PermitAnswer;
}

impl Handler<Need> for Governor {
    type Result = Reply;

    fn handle(&mut self, need: Need, ctx: &mut Self::Context) -> Reply {
        let now = self.now();
        match self.take(need, now, ctx) {
            Verdict::Granted(taken) => Reply::Now(Ok(self.permit(taken))),
            Verdict::StoreFirst(channel, taken) => {
                let slot = Slot::default();
                self.store(channel, taken, slot.clone(), ctx);
                Reply::Later(slot)
            }
            Verdict::NotBefore(until) => {
                let slot = Slot::default();
                self.waiting.push(Waiter {
                    seq: self.next_seq,
                    since: now,
                    need,
                    slot: slot.clone(),
                });
                self.next_seq += 1;
                if let Some(at) = until {
                    self.wake_at(at, ctx);
                }
                Reply::Later(slot)
            }
        }
    }
}

/// Asks for permission to make one call, and does not wait for it. `None` for a webhook post too: its slot must become durable.
#[derive(Debug, Clone, Copy)]
pub struct AtOnce(pub Need);

impl Message for AtOnce {
    type Result = Option<Permit>;
}

impl Handler<AtOnce> for Governor {
    type Result = Option<Permit>;

    fn handle(&mut self, AtOnce(need): AtOnce, ctx: &mut Self::Context) -> Option<Permit> {
        if matches!(need.budget, Budget::Webhook(_)) {
            return None;
        }
        match self.take(need, self.now(), ctx) {
            Verdict::Granted(taken) => Some(self.permit(taken)),
            Verdict::StoreFirst(..) | Verdict::NotBefore(_) => None,
        }
    }
}

impl Permits for Addr<Governor> {
    fn acquire(&self, need: Need) -> LocalBoxFuture<'_, Option<Permit>> {
        self.send(need).map(|answer| answer.ok()?.ok()).boxed_local()
    }
}

/// Reports an answer to a call that needed no permit: one made with the bot's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observe(pub HttpFeedback);

impl Message for Observe {
    type Result = ();
}

impl Handler<Observe> for Governor {
    type Result = ();

    fn handle(&mut self, Observe(answer): Observe, _: &mut Self::Context) {
        discord_time::correct(&*self.clock, &answer);
        self.learn(&answer, None);
    }
}

/// Puts other limits in force without forgetting what is spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retune(pub Limits);

impl Message for Retune {
    type Result = ();
}

impl Handler<Retune> for Governor {
    type Result = ();

    fn handle(&mut self, Retune(limits): Retune, ctx: &mut Self::Context) {
        self.take_back();
        self.budgets.retune(limits, self.now());
        self.serve(ctx);
    }
}

/// Asks for every budget as an operator sees it, and brings the metrics of the budgets up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspect;

impl Message for Inspect {
    type Result = Vec<BudgetView>;
}

impl Handler<Inspect> for Governor {
    type Result = Vec<BudgetView>;

    fn handle(&mut self, _: Inspect, _: &mut Self::Context) -> Vec<BudgetView> {
        self.take_back();
        let views = self.budgets.views(&self.lanes, self.now(), self.clock.now());
        for view in views
            .iter()
            .filter(|view| view.channel.is_none() || view.lane.is_some())
        {
            metrics::budget_spent(view.budget, view.lane, view.spent);
        }
        views
    }
}

/// Takes ended permits back as they come. A handler that decides something takes them back first, so that what a caller
/// handed in before it asked is always known.
struct TakeBack;

impl actix::fut::ActorFuture<Governor> for TakeBack {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        governor: &mut Governor,
        ctx: &mut Context<Governor>,
        task: &mut std::task::Context<'_>,
    ) -> Poll<()> {
        // An endless future would keep an unreachable actor alive. Its context is polled when the last address goes.
        if !ctx.connected() {
            return Poll::Ready(());
        }
        let mut any = false;
        while let Poll::Ready(Some(ended)) = governor.returns.poll_recv(task) {
            governor.end(&ended);
            any = true;
        }
        if any {
            governor.serve(ctx);
        }
        Poll::Pending
    }
}

impl Governor {
    fn now(&self) -> Moment {
        Moment::START + self.began.elapsed()
    }

    fn told(&self, at: Moment) -> Timestamp {
        self.clock.now() + at.since(self.now())
    }

    fn take(&mut self, need: Need, now: Moment, ctx: &mut Context<Self>) -> Verdict {
        // No waiter could go before the alarm unless a permit came back, so only then are they served first.
        if self.take_back() || self.alarm.as_ref().is_some_and(|(at, _)| *at <= now) {
            self.serve(ctx);
        }
        self.budgets.take(need, now)
    }

    /// Grants whatever can be granted, most urgent first, and sets the alarm for the rest.
    fn serve(&mut self, ctx: &mut Context<Self>) {
        if let Some((_, alarm)) = self.alarm.take() {
            ctx.cancel_future(alarm);
        }
        if self.waiting.is_empty() {
            return;
        }
        let now = self.now();
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|waiter| !waiter.slot.is_abandoned());
        waiting.sort_unstable_by_key(|waiter| waiter.rank(now));
        let mut next: Option<Moment> = None;
        for waiter in waiting {
            match self.budgets.take(waiter.need, now) {
                Verdict::Granted(taken) => waiter.slot.answer(Ok(self.permit(taken))),
                Verdict::StoreFirst(channel, taken) => self.store(channel, taken, waiter.slot, ctx),
                Verdict::NotBefore(until) => {
                    next = next.into_iter().chain(until).min();
                    self.waiting.push(waiter);
                }
            }
        }
        if let Some(at) = next {
            self.wake_at(at, ctx);
        }
    }

    /// Answers with a permit once the spending is on disk.
    fn store(&mut self, channel: ChannelId, taken: Reservation, slot: Slot, ctx: &mut Context<Self>) {
        let sent_at = self.budgets.to_persist(channel, self.now(), self.clock.now());
        let stored = self.ledger.persist(channel, sent_at).into_actor(self);
        ctx.spawn(stored.map(move |stored, this, ctx| {
            this.budgets.stored(channel);
            match stored {
                // If the asker has gone by now the permit comes back unused, and the slot stays spent.
                Ok(()) => slot.answer(Ok(this.permit(taken))),
                Err(error) => {
                    this.budgets.give_back(&taken);
                    slot.answer(Err(error));
                }
            }
            this.serve(ctx);
        }));
    }

    fn wake_at(&mut self, at: Moment, ctx: &mut Context<Self>) {
        if let Some((set, alarm)) = self.alarm.take() {
            if set <= at {
                self.alarm = Some((set, alarm));
                return;
            }
            ctx.cancel_future(alarm);
        }
        let alarm = ctx.run_later(at.since(self.now()), |this, ctx| {
            this.take_back();
            this.serve(ctx);
        });
        self.alarm = Some((at, alarm));
    }

    fn permit(&self, taken: Reservation) -> Permit {
        Permit::new(taken, self.back.clone(), self.clock.clone())
    }

    /// Takes back what has ended; says whether anything had.
    fn take_back(&mut self) -> bool {
        let mut any = false;
        while let Ok(ended) = self.returns.try_recv() {
            self.end(&ended);
            any = true;
        }
        any
    }

    fn end(&mut self, ended: &Return) {
        match &ended.ending {
            Ending::Answered(answer) => {
                self.budgets.settle(&ended.taken, self.now());
                self.learn(answer, Some(ended.taken.need));
            }
            Ending::Unanswered => self.budgets.settle(&ended.taken, self.now()),
            // A durable slot may be on disk: after a crash it would count, so it counts now.
            Ending::Unused if ended.taken.is_on_its_way() => self.budgets.settle(&ended.taken, self.now()),
            Ending::Unused => self.budgets.give_back(&ended.taken),
        }
    }

    fn learn(&mut self, answer: &HttpFeedback, charged: Option<Need>) {
        let now = self.now();
        if let Some((target, until)) = self.budgets.observe(answer, charged, now) {
            let until = self.told(until);
            match target {
                Target::Everything => tracing::warn!(%until, "Discord's edge blocks this address: calls pause"),
                Target::Global => tracing::warn!(%until, "the global rate limit was hit"),
                _ if answer.status == 429 => tracing::warn!(budget = ?target, %until, "a rate limit was hit"),
                _ => tracing::debug!(budget = ?target, %until, "a rate limit is spent"),
            }
        }
        let open_until = self.budgets.breaker_open_until(now).map(|at| self.told(at));
        match open_until {
            Some(until) if !self.breaker_open => {
                tracing::error!(%until, "too many invalid requests in ten minutes: calls pause before Discord bans this address");
            }
            None if self.breaker_open => tracing::info!("invalid requests are below the limit again: calls resume"),
            _ => {}
        }
        self.breaker_open = open_until.is_some();
    }
}

#[cfg(test)]
mod tests;
