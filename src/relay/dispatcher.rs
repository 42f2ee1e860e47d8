//! Drives the plan: journals what comes in and posts what may be posted. One task owns everything.
//!
//! The wall clock, the posts and the journal are behind ports, so tests run it in virtual time. A callback is answered
//! only when it is on the disk, and a message is posted only when its send time is.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{FutureExt as _, LocalBoxFuture};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::journal::RelayJournal;
use super::known::Known;
use super::post_plan::{CallbackAdmission, Now, PostPlan, Posting};
use super::queue::{Content, Line};
use crate::front::counts::Counts;
use crate::ids::CodeHash;
use crate::intake::callback::Callback;
use crate::port::callback_intake::CallbackAnswer;
use crate::port::discord::Answered;
use crate::port::discord_time;
use crate::port::later::Later;
use crate::port::webhook::{PostAnswer, RelayPost, WebhookState};
use crate::rate::feedback::HttpFeedback;
use crate::rate::moment::Moment;
use crate::secret::Key;
use crate::store::StoreError;
use crate::time::{JumpWatch, OnceAMinute, Pulse, SharedClock};

/// Callbacks that no longer matter are forgotten, and keys that nothing needs destroyed.
const MAINTAIN_EVERY: Duration = Duration::from_mins(1);

/// A callback that the front offers.
#[derive(Debug)]
pub struct Offer {
    /// The callback.
    pub callback: Callback,
    /// Takes the answer.
    pub answer: oneshot::Sender<CallbackAnswer>,
}

/// What the dispatcher needs.
pub struct Parts {
    /// The plan.
    pub plan: PostPlan,
    /// The journal.
    pub journal: RelayJournal,
    /// The way to Discord.
    pub post: Rc<dyn RelayPost>,
    /// Discord's time as far as it is known.
    pub clock: SharedClock,
    /// This machine's clock, to notice its jumps.
    pub wall: SharedClock,
    /// The counters.
    pub counts: Arc<Counts>,
    /// The key under which callbacks are hashed.
    pub hash_key: Key,
}

/// What has finished.
enum Happened {
    Journalled(Box<Line>, Result<(), StoreError>),
    Answered(Box<Posting>, Result<Answered<PostAnswer>, StoreError>),
    Looked(usize, Answered<WebhookState>),
    AskedTheTime(Answered<WebhookState>),
    Stored(Result<(), StoreError>),
}

/// The relay's one worker.
pub struct Dispatcher {
    parts: Parts,
    started: Instant,
    /// Callbacks that are being journalled, and the answers that wait for it.
    pending: HashMap<CodeHash, Vec<oneshot::Sender<CallbackAnswer>>>,
    work: FuturesUnordered<LocalBoxFuture<'static, Happened>>,
    /// Names refused callbacks.
    busy: OnceAMinute,
    /// Since the last upkeep an answer of Discord's has told the time.
    knows_the_time: bool,
}

impl Dispatcher {
    /// A dispatcher; its monotonic clock starts now.
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            started: Instant::now(),
            pending: HashMap::new(),
            work: FuturesUnordered::new(),
            busy: OnceAMinute::default(),
            knows_the_time: true,
        }
    }

    fn now(&self) -> Now {
        Now {
            moment: Moment::START + self.started.elapsed(),
            wall: self.parts.clock.now(),
        }
    }

    /// Runs until `end` names a moment, and then until nothing waits or that moment has come; returns how many codes
    /// are left. A failed store ends it at once.
    pub async fn run(
        mut self,
        mut offers: mpsc::Receiver<Offer>,
        mut end: watch::Receiver<Option<Instant>>,
    ) -> Result<usize, StoreError> {
        let mut upkeep = tokio::time::interval(MAINTAIN_EVERY);
        upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watch = JumpWatch::new(self.parts.wall.clone());
        let first_look = Pulse::of_this_thread().by(Instant::now() + JumpWatch::LOOK_EVERY);
        let mut look_at_clock = tokio::time::interval_at(first_look, JumpWatch::LOOK_EVERY);
        look_at_clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut open = true;
        loop {
            self.act()?;
            let until = *end.borrow_and_update();
            if let Some(until) = until
                && (Instant::now() >= until || (!open && self.parts.plan.waiting() == 0 && self.work.is_empty()))
            {
                return Ok(self.parts.plan.codes());
            }
            let now = self.now();
            let idle = self.parts.plan.idle_for(now);
            // Never zero: a loop without a pause would starve the answer that it waits for.
            let idle = idle.map(|wait| wait.max(Duration::from_millis(1)));
            tokio::select! {
                offer = offers.recv(), if open => match offer {
                    Some(offer) => self.take(offer),
                    None => open = false,
                },
                Some(happened) = self.work.next(), if !self.work.is_empty() => self.happened(happened)?,
                () = sleep(idle), if idle.is_some() => {}
                () = until_moment(until), if until.is_some() => {}
                told = end.changed(), if until.is_none() => {
                    // The sender is gone, so the process is ending.
                    if told.is_err() {
                        return Ok(self.parts.plan.codes());
                    }
                }
                _ = upkeep.tick() => self.maintain(),
                _ = look_at_clock.tick() => if let Some(by_ms) = watch.jumped() {
                    tracing::warn!(by_ms, "this machine was suspended, or its clock was set: Discord is asked for the time");
                    self.ask_the_time();
                },
            }
            if let Some(error) = self.parts.journal.failed() {
                return Err(error);
            }
        }
    }

    /// Does everything that may be done now.
    fn act(&mut self) -> Result<(), StoreError> {
        let now = self.now();
        let due = self.parts.plan.pass_time(now.wall);
        if !due.died.is_empty() {
            tracing::warn!(
                codes = due.died.len(),
                "codes expired before they could be posted: reporting them to the service"
            );
            self.parts.counts.expired.add_many(due.died.len());
            for line in &due.died {
                self.stored(self.parts.journal.rewrite(line));
            }
        }
        if !due.dropped.is_empty() {
            tracing::warn!(
                lines = due.dropped.len(),
                "lines that were too old to be posted were dropped"
            );
            self.parts.counts.untold.add_many(due.dropped.len());
            self.stored(self.parts.journal.settle(&due.dropped));
        }
        while let Some(posting) = self.parts.plan.next_post(now) {
            let stored = self.parts.journal.spend(posting.budget, posting.sent_at.clone());
            let post = Rc::clone(&self.parts.post);
            self.work.push(
                async move {
                    let answer = match stored.await {
                        Ok(()) => Ok(post.post(posting.webhook, posting.content.clone()).await),
                        Err(error) => Err(error),
                    };
                    Happened::Answered(Box::new(posting), answer)
                }
                .boxed_local(),
            );
        }
        while let Some((lane, webhook)) = self.parts.plan.next_look(now) {
            let look = self.parts.post.look(webhook);
            self.work
                .push(look.map(move |look| Happened::Looked(lane, look)).boxed_local());
        }
        let plan = &self.parts.plan;
        self.parts.counts.waiting.set(plan.waiting());
        self.parts.counts.lanes_out.set(plan.lanes_out());
        self.parts.journal.failed().map_or(Ok(()), Err)
    }

    fn stored(&self, stored: impl Future<Output = Result<(), StoreError>> + 'static) {
        self.work.push(stored.map(Happened::Stored).boxed_local());
    }

    fn take(&mut self, Offer { callback, answer }: Offer) {
        let now = self.now();
        let hash = callback.hash(&self.parts.hash_key);
        let counts = &self.parts.counts;
        let taken = match self.parts.plan.admit(callback, hash, now) {
            CallbackAdmission::New(waiting, known) => {
                self.journal(waiting, known, answer);
                return;
            }
            CallbackAdmission::Known => {
                counts.repeated.add();
                if let Some(waiting) = self.pending.get_mut(&hash) {
                    waiting.push(answer);
                    return;
                }
                CallbackAnswer::Safe
            }
            CallbackAdmission::Busy => {
                counts.busy.add();
                if let Some(callbacks) = self.busy.tell() {
                    tracing::warn!(
                        callbacks,
                        "callbacks were refused (busy): more codes wait than can be posted before they expire"
                    );
                }
                CallbackAnswer::Busy
            }
            CallbackAdmission::TooMany => {
                counts.refused.add();
                CallbackAnswer::TooMany
            }
        };
        // A browser that has disconnected misses only its page.
        let _ = answer.send(taken);
    }

    fn journal(&mut self, waiting: Line, known: Known, answer: oneshot::Sender<CallbackAnswer>) {
        self.pending.insert(waiting.hash, vec![answer]);
        let stored = self.parts.journal.accept(&waiting, known);
        let waiting = Box::new(waiting);
        self.work
            .push(stored.map(|result| Happened::Journalled(waiting, result)).boxed_local());
    }

    fn happened(&mut self, happened: Happened) -> Result<(), StoreError> {
        match happened {
            Happened::Journalled(waiting, result) => {
                let taken = if result.is_ok() {
                    CallbackAnswer::Safe
                } else {
                    CallbackAnswer::Failed
                };
                for answer in self.pending.remove(&waiting.hash).into_iter().flatten() {
                    let _ = answer.send(taken);
                }
                result?;
                let counts = &self.parts.counts;
                counts.accepted.add();
                if matches!(waiting.content, Content::Denied(_)) {
                    counts.denied.add();
                }
                tracing::info!(
                    lane = waiting.lane.0,
                    code = waiting.hash.short(),
                    denied = matches!(waiting.content, Content::Denied(_)),
                    "callback journalled"
                );
                self.parts.plan.journalled(*waiting);
            }
            Happened::Answered(posting, answered) => self.answered(*posting, &answered?),
            Happened::AskedTheTime(look) => self.hear(look.feedback.as_ref()),
            Happened::Looked(lane, look) => {
                self.hear(look.feedback.as_ref());
                let now = self.now();
                if self.parts.plan.looked(lane, look.outcome, now) {
                    tracing::info!(lane, "this lane's webhook works again");
                }
            }
            Happened::Stored(result) => result?,
        }
        Ok(())
    }

    /// Sets the clock: one that is wrong would refuse every good link.
    fn hear(&mut self, answer: Option<&HttpFeedback>) {
        if let Some(answer) = answer {
            discord_time::correct(&*self.parts.clock, answer);
            self.knows_the_time |= answer.server_time().is_some();
        }
    }

    fn ask_the_time(&self) {
        let look = self.parts.post.look(self.parts.plan.first_webhook());
        self.work.push(look.map(Happened::AskedTheTime).boxed_local());
    }

    fn answered(&mut self, posting: Posting, answered: &Answered<PostAnswer>) {
        self.hear(answered.feedback.as_ref());
        let now = self.now();
        let (lane, webhook, lines) = (posting.lane, posting.webhook, posting.lines.len());
        let settled = self.parts.plan.answered(posting, answered, now);
        let counts = &self.parts.counts;
        match &answered.outcome {
            PostAnswer::Posted(message) => {
                counts.messages.add();
                counts.posted.add_many(lines);
                tracing::info!(lane, lines, message.id = %message, "posted");
            }
            PostAnswer::Later(Later { after, .. }) => {
                counts.rate_limited.add();
                let wait_s = after.map(|wait| wait.as_secs_f32());
                tracing::warn!(lane, wait_s, "rate limited by Discord (429)");
            }
            PostAnswer::NotSent(reason) => {
                counts.posts_failed.add();
                tracing::warn!(lane, %reason, "Discord cannot be reached; the post is retried");
            }
            PostAnswer::Unknown(reason) => {
                counts.posts_failed.add();
                tracing::warn!(lane, %reason, "a post got no clear answer; it is posted again");
            }
            PostAnswer::Refused { reason, code } => {
                counts.posts_failed.add();
                if settled.went_out {
                    tracing::error!(
                        lane, %webhook, %reason, code,
                        "this lane's webhook does not work (deleted, or another token?); other lanes post its codes. Restore it, \
                         or correct relay.lanes and CODEFERRY_WEBHOOK_TOKENS"
                    );
                } else {
                    tracing::error!(lane, %reason, code, lines, "Discord refuses the text of a message");
                }
            }
        }
        counts.given_up.add_many(settled.given_up.len());
        let over = [settled.posted, settled.given_up].concat();
        if !over.is_empty() {
            self.stored(self.parts.journal.settle(&over));
        }
    }

    fn maintain(&mut self) {
        let now = self.parts.clock.now();
        let over = self.parts.plan.forget(now);
        if !over.is_empty() {
            self.stored(self.parts.journal.forget(over));
        }
        let journal = self.parts.journal.clone();
        self.stored(async move { journal.maintain(now).await });
        if !std::mem::take(&mut self.knows_the_time) {
            self.ask_the_time();
        }
    }
}

async fn sleep(wait: Option<Duration>) {
    tokio::time::sleep(wait.unwrap_or(MAINTAIN_EVERY)).await;
}

async fn until_moment(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}

#[cfg(test)]
mod tests;
