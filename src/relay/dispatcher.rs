//! Drives the schedule: journals what comes in, posts what may go, and does nothing else. One task owns it all.
//!
//! What it waits on is behind ports: the wall clock, the post, and the journal, which commits inline in virtual time. Nothing
//! is answered before it is on the disk, and no post leaves before its send time is.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{FutureExt as _, LocalBoxFuture};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::journal::{Known, RelayJournal};
use super::post_plan::{CallbackAdmission, Now, PostPlan, Posting};
use super::queue::{Waiting, Word};
use crate::front::counts::Counts;
use crate::grant::Outcome;
use crate::ids::{CodeHash, GrantId};
use crate::intake::callback::Callback;
use crate::port::callback_intake::CallbackAnswer;
use crate::port::discord::Answered;
use crate::port::webhook::{PostAnswer, RelayPost, WebhookState};
use crate::rate::moment::Moment;
use crate::secret::Key;
use crate::store::StoreError;
use crate::time::SharedClock;

/// Traces are removed, and forgotten callbacks forgotten.
const MAINTAIN_EVERY: Duration = Duration::from_mins(1);

/// A callback that somebody wants to be taken.
#[derive(Debug)]
pub struct Offer {
    /// What came.
    pub callback: Callback,
    /// Who waits for the word.
    pub answer: oneshot::Sender<CallbackAnswer>,
}

/// What the dispatcher is made of.
pub struct Parts {
    /// The plan.
    pub schedule: PostPlan,
    /// The journal.
    pub journal: RelayJournal,
    /// The way out.
    pub post: Rc<dyn RelayPost>,
    /// The wall clock.
    pub clock: SharedClock,
    /// What is counted.
    pub counts: Arc<Counts>,
    /// Callbacks are known by their hash under it.
    pub hash_key: Key,
    /// Chance, for ids.
    pub random: StdRng,
}

/// What happened outside.
enum Happened {
    Journalled(Box<Waiting>, Result<(), StoreError>),
    Answered(Box<Posting>, Result<Answered<PostAnswer>, StoreError>),
    Looked(usize, WebhookState),
    Stored(Result<(), StoreError>),
}

/// The relay's one worker.
pub struct Dispatcher {
    parts: Parts,
    started: Instant,
    /// Callbacks that are on their way to the disk, and who waits for them.
    pending: HashMap<CodeHash, Vec<oneshot::Sender<CallbackAnswer>>>,
    work: FuturesUnordered<LocalBoxFuture<'static, Happened>>,
}

impl Dispatcher {
    /// A dispatcher at the moment from which its schedule counts.
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            started: Instant::now(),
            pending: HashMap::new(),
            work: FuturesUnordered::new(),
        }
    }

    fn now(&self) -> Now {
        Now {
            moment: Moment::START + self.started.elapsed(),
            wall: self.parts.clock.now(),
        }
    }

    /// Works until it is told when to end at the latest, and answers how many codes are left then. Once told, it takes
    /// nothing new and ends as soon as nothing waits. A failed store ends it at once.
    pub async fn run(
        mut self,
        mut offers: mpsc::Receiver<Offer>,
        mut end: watch::Receiver<Option<Instant>>,
    ) -> Result<usize, StoreError> {
        let mut house = tokio::time::interval(MAINTAIN_EVERY);
        house.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut open = true;
        loop {
            self.act()?;
            let until = *end.borrow_and_update();
            if let Some(until) = until
                && (Instant::now() >= until || (!open && self.parts.schedule.waiting() == 0 && self.work.is_empty()))
            {
                return Ok(self.parts.schedule.codes());
            }
            let now = self.now();
            let idle = self.parts.schedule.idle_for(now);
            // Never zero: an answer that is due now comes by itself, and a loop without a pause would starve it.
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
                    // Whoever would tell is gone: there is nobody to work for.
                    if told.is_err() {
                        return Ok(self.parts.schedule.codes());
                    }
                }
                _ = house.tick() => self.maintain(),
            }
            if let Some(error) = self.parts.journal.failed() {
                return Err(error);
            }
        }
    }

    /// Does all that may be done now.
    fn act(&mut self) -> Result<(), StoreError> {
        let now = self.now();
        let due = self.parts.schedule.pass_time(now.wall);
        if !due.died.is_empty() {
            tracing::warn!(
                codes = due.died.len(),
                "codes died before they could be posted: their people are told"
            );
            self.parts.counts.expired.add_many(due.died.len());
            for line in &due.died {
                self.stored(self.parts.journal.rewrite(line));
            }
        }
        if !due.dropped.is_empty() {
            tracing::warn!(
                lines = due.dropped.len(),
                "what nobody waits for any more was dropped untold"
            );
            self.parts.counts.untold.add_many(due.dropped.len());
            self.stored(self.parts.journal.settle(&due.dropped, Outcome::Dropped, now.wall));
        }
        while let Some(posting) = self.parts.schedule.next_post(now) {
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
        while let Some((lane, webhook)) = self.parts.schedule.next_look(now) {
            let look = self.parts.post.look(webhook);
            self.work
                .push(look.map(move |look| Happened::Looked(lane, look)).boxed_local());
        }
        let schedule = &self.parts.schedule;
        self.parts.counts.waiting.set(schedule.waiting());
        self.parts.counts.lanes_out.set(schedule.lanes_out());
        self.parts.journal.failed().map_or(Ok(()), Err)
    }

    fn stored(&self, stored: impl Future<Output = Result<(), StoreError>> + 'static) {
        self.work.push(stored.map(Happened::Stored).boxed_local());
    }

    fn take(&mut self, Offer { callback, answer }: Offer) {
        let now = self.now();
        let hash = callback.hash(&self.parts.hash_key);
        let id = GrantId::new(now.wall, self.parts.random.random());
        let counts = &self.parts.counts;
        let taken = match self.parts.schedule.admit(callback, hash, id, now) {
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
                tracing::warn!("a person was sent away: more codes wait than can be posted in their life");
                CallbackAnswer::Busy
            }
            CallbackAdmission::TooMany => {
                counts.refused.add();
                CallbackAnswer::TooMany
            }
        };
        // A browser that has gone misses only its page.
        let _ = answer.send(taken);
    }

    fn journal(&mut self, waiting: Waiting, known: Known, answer: oneshot::Sender<CallbackAnswer>) {
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
                if matches!(waiting.word, Word::Denied(_)) {
                    counts.denied.add();
                }
                tracing::info!(
                    lane = waiting.lane.0,
                    code = waiting.hash.short(),
                    denied = matches!(waiting.word, Word::Denied(_)),
                    "a callback is safe"
                );
                self.parts.schedule.journalled(*waiting);
            }
            Happened::Answered(posting, answered) => self.answered(*posting, &answered?),
            Happened::Looked(lane, look) => {
                let now = self.now();
                if self.parts.schedule.looked(lane, look, now) {
                    tracing::info!(lane, "the webhook of this lane works again");
                }
            }
            Happened::Stored(result) => result?,
        }
        Ok(())
    }

    fn answered(&mut self, posting: Posting, answered: &Answered<PostAnswer>) {
        let now = self.now();
        let (lane, webhook, lines) = (posting.lane, posting.webhook, posting.lines.len());
        let settled = self.parts.schedule.answered(posting, answered, now);
        let counts = &self.parts.counts;
        match &answered.outcome {
            PostAnswer::Posted(message) => {
                counts.messages.add();
                counts.posted.add_many(lines);
                tracing::info!(lane, lines, message.id = %message, "posted");
            }
            PostAnswer::Deferred(wait) => {
                counts.rate_limited.add();
                tracing::warn!(lane, wait_s = wait.as_secs_f32(), "Discord asks to wait (429)");
            }
            PostAnswer::NotSent => {
                counts.posts_failed.add();
                tracing::warn!(lane, "Discord cannot be reached: it is tried again");
            }
            PostAnswer::Unknown(reason) => {
                counts.posts_failed.add();
                tracing::warn!(lane, %reason, "a post has no clear answer: it is posted again");
            }
            PostAnswer::Refused { reason, code } => {
                counts.posts_failed.add();
                if settled.went_out {
                    tracing::error!(
                        lane, %webhook, %reason, code,
                        "this lane's webhook does not work (deleted, or another token?): its codes go through other lanes; \
                         make it work again, or correct relay.lanes and CODEFERRY_WEBHOOK_TOKENS"
                    );
                } else {
                    tracing::error!(lane, %reason, code, lines, "Discord refuses a message's text");
                }
            }
        }
        counts.given_up.add_many(settled.given_up.len());
        for (lines, outcome) in [
            (settled.posted, Outcome::Completed),
            (settled.given_up, Outcome::Refused),
        ] {
            if !lines.is_empty() {
                self.stored(self.parts.journal.settle(&lines, outcome, now.wall));
            }
        }
    }

    fn maintain(&mut self) {
        let now = self.parts.clock.now();
        let over = self.parts.schedule.forget(now);
        if !over.is_empty() {
            self.stored(self.parts.journal.forget(over));
        }
        let journal = self.parts.journal.clone();
        self.stored(async move { journal.maintain(now).await });
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
