//! Decides what is posted when, and through which webhook. Pure: no I/O and no timer; the caller passes both clocks in.
//!
//! A lane posts one message at a time, as soon as its budget allows, with as many lines as wait and fit: one while the
//! budget is free, many when it is tight. Any lane may post what another one cannot: the service accepts a code from
//! each.

mod admission;

use std::time::Duration;

pub use self::admission::CallbackAdmission;
use super::journal::{BudgetKey, Recovered};
use super::known::KnownCallbacks;
use super::queue::{Content, Line, Queue, Rank};
use crate::ids::{ChannelId, CodeHash, UserId, WebhookId};
use crate::intake::v1::{self, Redirect};
use crate::port::discord::Answered;
use crate::port::webhook::{PostAnswer, WebhookState};
use crate::rate::feedback::{Closure, closure};
use crate::rate::lane_budget::LaneBudget;
use crate::rate::limits::WebhookLimit;
use crate::rate::moment::Moment;
use crate::rate::window::Ticket;
use crate::secret::Keys;
use crate::time::Timestamp;

/// Waits after consecutive posts without a clear answer.
const BACKOFF: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// How long nothing is posted after Discord's edge has refused this address without naming a time.
const EDGE_WAIT: Duration = Duration::from_mins(1);
/// How often a webhook that was refused is checked.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// One moment by both clocks: the monotonic one for waiting, the wall clock for what is stored and shown.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Monotonic.
    pub moment: Moment,
    /// The wall clock.
    pub wall: Timestamp,
}

/// What the plan needs of the configuration.
#[derive(Debug, Clone)]
pub struct RelaySettings {
    /// The lanes, numbered from 0 as the service numbers them.
    pub lanes: Vec<LaneSettings>,
    /// The limit of each channel.
    pub limit: Option<WebhookLimit>,
    /// How long a code lives.
    pub code_lifetime: Duration,
    /// The bot to mention.
    pub bot: UserId,
    /// Signs messages.
    pub relay_keys: Keys,
}

/// One lane.
#[derive(Debug, Clone)]
pub struct LaneSettings {
    /// Its webhook.
    pub webhook: WebhookId,
    /// Its channel, where it is given: lanes of one channel share its budget.
    pub channel: Option<ChannelId>,
    /// The most lines of a message.
    pub pack: usize,
}

struct Lane {
    settings: LaneSettings,
    budget: usize,
    /// A post or a check is in flight.
    busy: bool,
    /// Not before this moment, after posts without a clear answer.
    held_until: Option<Moment>,
    failures: usize,
    /// The webhook was refused; it is checked again at this moment.
    out: Option<Moment>,
}

/// A message to post once its send time is stored.
#[derive(Debug)]
pub struct Posting {
    /// The lane.
    pub lane: usize,
    /// Its webhook.
    pub webhook: WebhookId,
    /// Its lines.
    pub lines: Vec<Line>,
    /// Its text.
    pub content: String,
    /// Its budget in the journal.
    pub budget: BudgetKey,
    /// The send times to store first.
    pub sent_at: Vec<Timestamp>,
    ticket: Ticket,
}

/// What an answer settled.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Lines that are posted.
    pub posted: Vec<Line>,
    /// Lines that Discord refuses even alone.
    pub given_up: Vec<Line>,
    /// The answer shows that the webhook does not work.
    pub went_out: bool,
}

/// What has expired.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Codes that expired; their lines now say so.
    pub died: Vec<Line>,
    /// Lines that are too old to be posted.
    pub dropped: Vec<Line>,
}

/// The whole plan.
pub struct PostPlan {
    settings: RelaySettings,
    lanes: Vec<Lane>,
    budgets: Vec<LaneBudget>,
    /// Where the journal keeps each budget's send times.
    budget_keys: Vec<BudgetKey>,
    /// Discord refused this address, or every post: nothing is posted before this moment.
    closed_until: Option<Moment>,
    queue: Queue,
    known: KnownCallbacks,
    /// Codes that are being journalled or posted, and not in the queue: those that are not behind, and those that are.
    in_hand: [usize; 2],
}

impl PostPlan {
    /// Continues where an earlier process ended.
    pub fn new(settings: RelaySettings, found: Recovered, now: Now) -> Self {
        let (mut budgets, mut budget_keys) = (Vec::new(), Vec::new());
        let mut lanes = Vec::new();
        for lane in &settings.lanes {
            let key = BudgetKey::new(lane.webhook, lane.channel);
            let budget = budget_keys.iter().position(|known| *known == key).unwrap_or_else(|| {
                let sent_at = found.spending.get(&key).map_or(&[][..], Vec::as_slice);
                budgets.push(LaneBudget::new(sent_at, settings.limit, now.moment));
                budget_keys.push(key);
                budgets.len() - 1
            });
            lanes.push(Lane {
                settings: lane.clone(),
                budget,
                busy: false,
                held_until: None,
                failures: 0,
                out: None,
            });
        }
        let mut plan = Self {
            queue: Queue::new(lanes.len()),
            settings,
            lanes,
            budgets,
            budget_keys,
            closed_until: None,
            known: KnownCallbacks::default(),
            in_hand: [0; 2],
        };
        for (hash, known) in found.known {
            plan.known.add(hash, known);
        }
        for waiting in found.waiting {
            plan.queue.put(waiting);
        }
        plan
    }

    /// Takes a line that is on the disk: it may be posted now.
    pub fn journalled(&mut self, waiting: Line) {
        self.put_down([&waiting]);
        self.queue.put(waiting);
    }

    /// The next message that may be posted now.
    pub fn next_post(&mut self, now: Now) -> Option<Posting> {
        if self.queue.is_empty() || self.closed_until.is_some_and(|at| at > now.moment) {
            return None;
        }
        let free: Vec<bool> = (0..self.lanes.len())
            .map(|lane| self.free_at(lane, now.moment) == Some(now.moment))
            .collect();
        for (index, _) in free.iter().enumerate().filter(|(_, free)| **free) {
            // Its own lines, and those of the lanes that cannot post now.
            let from = (0..self.lanes.len()).filter(|l| *l == index || !free[*l]);
            let lines = self.queue.first(from, self.lanes[index].settings.pack);
            let redirects: Vec<Redirect> = lines.iter().map(|w| w.redirect()).collect();
            let fitting = v1::fitting(self.settings.bot, &redirects).max(1).min(lines.len());
            if fitting == 0 {
                continue;
            }
            let ranks: Vec<Rank> = lines[..fitting].iter().map(|w| w.rank()).collect();
            let lines = self.queue.take(&ranks);
            self.take_in_hand(&lines);
            let lane = &mut self.lanes[index];
            lane.busy = true;
            let budget = self.budget_keys[lane.budget];
            let (ticket, sent_at) = self.budgets[lane.budget].reserve(now.moment, now.wall);
            return Some(Posting {
                lane: index,
                webhook: lane.settings.webhook,
                content: v1::encode(
                    self.settings.bot,
                    &redirects[..fitting],
                    &self.settings.relay_keys.first(),
                ),
                lines,
                budget,
                sent_at,
                ticket,
            });
        }
        None
    }

    /// When a lane may post; `None` while that depends on an answer.
    fn free_at(&mut self, lane: usize, now: Moment) -> Option<Moment> {
        let lane = self.lanes.get(lane).filter(|lane| !lane.busy && lane.out.is_none())?;
        let budget = self.budgets[lane.budget].free(now).err();
        let at = latest([budget, lane.held_until, self.closed_until]);
        Some(at.map_or(now, |at| at.max(now)))
    }

    /// Takes Discord's answer to a message.
    pub fn answered(&mut self, posting: Posting, answered: &Answered<PostAnswer>, now: Now) -> Settled {
        let Posting {
            lane: index,
            mut lines,
            ticket,
            ..
        } = posting;
        self.put_down(&lines);
        let lane = &mut self.lanes[index];
        lane.busy = false;
        let budget = &mut self.budgets[lane.budget];
        if matches!(answered.outcome, PostAnswer::NotSent(_)) {
            budget.give_back(ticket);
        } else {
            budget.settle(ticket, now.moment);
        }
        match answered.feedback.as_ref().and_then(closure) {
            Some(Closure::Own(wait)) => budget.close(now.moment + wait),
            Some(Closure::Global(wait)) => self.closed_until = latest([self.closed_until, Some(now.moment + wait)]),
            Some(Closure::Everything(wait)) => {
                let until = now.moment + wait.unwrap_or(EDGE_WAIT);
                self.closed_until = latest([self.closed_until, Some(until)]);
            }
            None => {}
        }
        let mut settled = Settled::default();
        match &answered.outcome {
            PostAnswer::Posted(_) => {
                (lane.failures, lane.held_until) = (0, None);
                settled.posted = std::mem::take(&mut lines);
            }
            // A limit's feedback has closed the budget above; the lines wait.
            PostAnswer::Later(_) => {}
            // It may have arrived; the service recognises a code that comes twice.
            PostAnswer::NotSent(_) | PostAnswer::Unknown(_) => {
                lane.held_until = Some(now.moment + BACKOFF[lane.failures.min(BACKOFF.len() - 1)]);
                lane.failures += 1;
            }
            PostAnswer::Refused { reason, .. } if matches!(reason.as_str(), "http_401" | "http_403" | "http_404") => {
                lane.out = Some(now.moment + LOOK_EVERY);
                settled.went_out = true;
            }
            // Discord refuses the text. Posting each line alone shows which one it is.
            PostAnswer::Refused { .. } if lines.len() > 1 => lines.iter_mut().for_each(|line| line.alone = true),
            PostAnswer::Refused { .. } => settled.given_up = std::mem::take(&mut lines),
        }
        for line in lines {
            self.queue.put(line);
        }
        settled
    }

    /// A webhook to check now.
    pub fn next_look(&mut self, now: Now) -> Option<(usize, WebhookId)> {
        let closed = self.closed_until.is_some_and(|at| at > now.moment);
        let due = |lane: &Lane| !closed && !lane.busy && lane.out.is_some_and(|at| at <= now.moment);
        let index = self.lanes.iter().position(due)?;
        self.lanes[index].busy = true;
        Some((index, self.lanes[index].settings.webhook))
    }

    /// Takes the result of a check; whether the lane is back.
    pub fn looked(&mut self, lane: usize, look: WebhookState, now: Now) -> bool {
        let lane = &mut self.lanes[lane];
        lane.busy = false;
        let back = look == WebhookState::There;
        lane.out = (!back).then(|| now.moment + LOOK_EVERY);
        back
    }

    /// Takes a lane out: the check at the start has found its webhook missing.
    pub fn take_out(&mut self, lane: usize, now: Now) {
        self.lanes[lane].out = Some(now.moment + LOOK_EVERY);
    }

    /// Turns expired codes into notices, and removes lines that are too old.
    pub fn pass_time(&mut self, now: Timestamp) -> Due {
        let mut due = Due::default();
        for mut line in self.queue.due(now) {
            if line.is_code() {
                line.content = Content::Expired;
                line.alone = false;
                if line.acts_at() > now {
                    due.died.push(line.clone());
                    self.queue.put(line);
                    continue;
                }
            }
            due.dropped.push(line);
        }
        due
    }

    /// Callbacks that would be refused by now if they came again.
    pub fn forget(&mut self, now: Timestamp) -> Vec<CodeHash> {
        self.known.forget(now)
    }

    /// How long until there is something to do, unless something comes in.
    pub fn idle_for(&mut self, now: Now) -> Option<Duration> {
        let waits = !self.queue.is_empty();
        let posts: Vec<Moment> = (0..self.lanes.len())
            .filter_map(|lane| self.free_at(lane, now.moment).filter(|_| waits))
            .collect();
        let looks = self.lanes.iter().filter(|lane| !lane.busy).filter_map(|lane| lane.out);
        let looks = looks.map(|at| latest([Some(at), self.closed_until]).unwrap_or(at));
        let wake = posts.into_iter().chain(looks).map(|at| at.since(now.moment));
        let due = self.queue.next_due().map(|at| at.since(now.wall));
        wake.chain(due).min()
    }

    /// Lines that wait or are in flight.
    pub fn waiting(&self) -> usize {
        self.queue.len() + self.in_hand.iter().sum::<usize>()
    }

    /// Codes that wait or are in flight.
    pub fn codes(&self) -> usize {
        let all = self.queue.codes().into_iter().chain(self.in_hand);
        all.sum()
    }

    /// The first lane's webhook; there is one always.
    pub fn first_webhook(&self) -> WebhookId {
        self.settings.lanes[0].webhook
    }

    /// Lanes whose webhook does not work.
    pub fn lanes_out(&self) -> usize {
        self.lanes.iter().filter(|lane| lane.out.is_some()).count()
    }
}

fn latest<const N: usize>(moments: [Option<Moment>; N]) -> Option<Moment> {
    moments.into_iter().flatten().max()
}
