//! Decides what is posted when, through which webhook. Pure: no I/O, no timer; both clocks are told.
//!
//! A lane posts one message at a time, as soon as its budget allows, with as many lines as wait and fit: alone while the
//! budget is free, packed when it is tight. What a lane cannot post now, another lane may: the service takes a code
//! through any of its lanes.

use std::collections::HashMap;
use std::time::Duration;

use super::journal::{Known, Recovered};
use super::queue::{Queue, Rank, Waiting, Word};
use crate::ids::{ChannelId, CodeHash, GrantId, UserId, WebhookId};
use crate::intake::callback::{Callback, MOST_PER_LINK};
use crate::intake::v1::{self, Redirect};
use crate::port::discord::Answered;
use crate::port::webhook::{PostAnswer, WebhookState};
use crate::rate::feedback::{Closure, closure};
use crate::rate::lane_budget::LaneBudget;
use crate::rate::limits::WebhookLimit;
use crate::rate::moment::Moment;
use crate::rate::window::Ticket;
use crate::secret::Key;
use crate::time::Timestamp;

/// Lines that may wait where no limit says less; each takes about a kilobyte.
const MOST_WAITING: usize = 10_000;
/// What of a code's life is left to the service: it has to see the message and to present the code.
const LEFT_TO_SERVICE: Duration = Duration::from_secs(10);
/// Waits after posts without a clear answer: the next one is longer.
const BACKOFF: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// How long an address that Discord's edge has refused keeps quiet, where no time is named.
const EDGE_WAIT: Duration = Duration::from_mins(1);
/// How often a webhook that was refused is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// One moment by both clocks: the monotonic one for waiting, the wall's for what is stored and shown.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Monotonic.
    pub moment: Moment,
    /// The wall's.
    pub wall: Timestamp,
}

/// What a schedule is made for.
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
    pub relay_key: Key,
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
    /// A post or a look is on its way.
    busy: bool,
    /// Not before this moment, after posts without a clear answer.
    held_until: Option<Moment>,
    failures: usize,
    /// The webhook was refused; it is looked at then.
    out: Option<Moment>,
}

/// What becomes of a callback.
#[derive(Debug, PartialEq, Eq)]
pub enum CallbackAdmission {
    /// It is new, and counts as known from now on: to be journalled.
    New(Waiting, Known),
    /// It came before.
    Known,
    /// It could not be posted within its life.
    Busy,
    /// Too much comes from this link.
    TooMany,
}

/// A message that is to be posted, once its send time is stored.
#[derive(Debug)]
pub struct Posting {
    /// Which lane.
    pub lane: usize,
    /// Through which webhook.
    pub webhook: WebhookId,
    /// What it carries.
    pub lines: Vec<Waiting>,
    /// Its text.
    pub content: String,
    /// The budget's name in the store.
    pub budget: ChannelId,
    /// The send times to be stored first.
    pub sent_at: Vec<Timestamp>,
    ticket: Ticket,
}

/// What an answer settled.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Lines that are posted.
    pub posted: Vec<Waiting>,
    /// Lines that Discord takes in no message.
    pub given_up: Vec<Waiting>,
    /// The webhook was refused just now.
    pub went_out: bool,
}

/// What time has done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Codes that died: they are told from now on.
    pub died: Vec<Waiting>,
    /// Lines that nobody waits for any more.
    pub dropped: Vec<Waiting>,
}

/// The whole plan.
pub struct PostPlan {
    settings: RelaySettings,
    lanes: Vec<Lane>,
    budgets: Vec<LaneBudget>,
    /// Discord refused the machine, or everything: nothing goes before this moment.
    closed_until: Option<Moment>,
    queue: Queue,
    known: HashMap<CodeHash, Known>,
    links: HashMap<[u8; 8], usize>,
    /// Codes that are being journalled or posted.
    in_hand: usize,
}

impl PostPlan {
    /// Goes on where an earlier process ended.
    pub fn new(settings: RelaySettings, found: Recovered, now: Now) -> Self {
        let mut budgets: Vec<LaneBudget> = Vec::new();
        let mut lanes = Vec::new();
        for lane in &settings.lanes {
            let key = lane.channel.unwrap_or(ChannelId(lane.webhook.0));
            let budget = budgets.iter().position(|b| b.key == key).unwrap_or_else(|| {
                let sent_at = found.spending.get(&key).map_or(&[][..], Vec::as_slice);
                budgets.push(LaneBudget::new(key, sent_at, settings.limit, now.moment));
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
        let mut schedule = Self {
            queue: Queue::new(lanes.len()),
            settings,
            lanes,
            budgets,
            closed_until: None,
            known: HashMap::new(),
            links: HashMap::new(),
            in_hand: 0,
        };
        for (hash, known) in found.known {
            schedule.know(hash, known);
        }
        for waiting in found.waiting {
            schedule.queue.put(waiting);
        }
        schedule
    }

    fn know(&mut self, hash: CodeHash, known: Known) {
        if self.known.insert(hash, known).is_none() {
            *self.links.entry(known.nonce).or_default() += 1;
        }
    }

    /// Judges a callback by what is known and by what can still be carried.
    pub fn admit(&mut self, callback: Callback, hash: CodeHash, id: GrantId, now: Now) -> CallbackAdmission {
        if self.known.contains_key(&hash) {
            return CallbackAdmission::Known;
        }
        let nonce = callback.token.nonce;
        if self.links.get(&nonce).is_some_and(|count| *count >= MOST_PER_LINK) {
            return CallbackAdmission::TooMany;
        }
        let deadline = now.wall + self.settings.code_lifetime;
        if self.waiting() >= MOST_WAITING || (callback.result.is_ok() && !self.has_room(now)) {
            return CallbackAdmission::Busy;
        }
        let known = Known {
            until: callback.accepted_until,
            nonce,
        };
        self.know(hash, known);
        let word = match callback.result {
            Ok(code) => Word::Code(code),
            Err(reason) => Word::Denied(reason),
        };
        self.in_hand += usize::from(matches!(word, Word::Code(_)));
        let waiting = Waiting {
            id,
            lane: callback.token.lane,
            came_at: now.wall,
            deadline,
            word,
            state: callback.state,
            hash,
            nonce,
            alone: false,
        };
        CallbackAdmission::New(waiting, known)
    }

    /// Whether one more code that comes now can be posted while enough of its life is left.
    fn has_room(&mut self, now: Now) -> bool {
        let life = self.settings.code_lifetime;
        let until = now.moment + life.saturating_sub(LEFT_TO_SERVICE.min(life / 4));
        let mut room = 0;
        let mut counted = vec![false; self.budgets.len()];
        for lane in self.lanes.iter().filter(|lane| lane.out.is_none()) {
            if std::mem::replace(&mut counted[lane.budget], true) {
                continue;
            }
            let from = latest([self.closed_until, lane.held_until]).map_or(now.moment, |at| at.max(now.moment));
            let Some(slots) = self.budgets[lane.budget].slots(from, until) else {
                return from < until;
            };
            room += slots * lane.settings.pack;
        }
        self.queue.codes() + self.in_hand < room
    }

    /// A line is on the disk: it may be posted.
    pub fn journalled(&mut self, waiting: Waiting) {
        self.in_hand -= usize::from(matches!(waiting.word, Word::Code(_)));
        self.queue.put(waiting);
    }

    /// The next message that may go now.
    pub fn next_post(&mut self, now: Now) -> Option<Posting> {
        if self.queue.is_empty() || self.closed_until.is_some_and(|at| at > now.moment) {
            return None;
        }
        let free: Vec<bool> = (0..self.lanes.len())
            .map(|lane| self.free_at(lane, now.moment) == Some(now.moment))
            .collect();
        for (index, _) in free.iter().enumerate().filter(|(_, free)| **free) {
            // Its own lines, and those of lanes that cannot post now.
            let from = (0..self.lanes.len()).filter(|l| *l == index || !free[*l]);
            let lines = self.queue.first(from, self.lanes[index].settings.pack);
            let redirects: Vec<Redirect> = lines.iter().map(|w| w.redirect()).collect();
            let fitting = v1::fitting(self.settings.bot, &redirects).max(1).min(lines.len());
            if fitting == 0 {
                continue;
            }
            let ranks: Vec<Rank> = lines[..fitting].iter().map(|w| w.rank()).collect();
            let lines = self.queue.take(&ranks);
            self.in_hand += codes(&lines);
            let lane = &mut self.lanes[index];
            lane.busy = true;
            let budget = &mut self.budgets[lane.budget];
            let (ticket, sent_at) = budget.reserve(now.moment, now.wall);
            return Some(Posting {
                lane: index,
                webhook: lane.settings.webhook,
                content: v1::encode(self.settings.bot, &redirects[..fitting], &self.settings.relay_key),
                lines,
                budget: budget.key,
                sent_at,
                ticket,
            });
        }
        None
    }

    /// When a lane may post; `None` where only an answer can tell.
    fn free_at(&mut self, lane: usize, now: Moment) -> Option<Moment> {
        let lane = self.lanes.get(lane).filter(|lane| !lane.busy && lane.out.is_none())?;
        let budget = self.budgets[lane.budget].free(now).err();
        let at = latest([budget, lane.held_until, self.closed_until]);
        Some(at.map_or(now, |at| at.max(now)))
    }

    /// Takes in what Discord said to a message.
    pub fn answered(&mut self, posting: Posting, answered: &Answered<PostAnswer>, now: Now) -> Settled {
        let Posting {
            lane: index,
            mut lines,
            ticket,
            ..
        } = posting;
        self.in_hand -= codes(&lines);
        let lane = &mut self.lanes[index];
        lane.busy = false;
        let budget = &mut self.budgets[lane.budget];
        if matches!(answered.outcome, PostAnswer::NotSent) {
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
            None => {
                if let PostAnswer::Deferred(wait) = &answered.outcome {
                    budget.close(now.moment + *wait);
                }
            }
        }
        let mut settled = Settled::default();
        match &answered.outcome {
            PostAnswer::Posted(_) => {
                (lane.failures, lane.held_until) = (0, None);
                settled.posted = std::mem::take(&mut lines);
            }
            // What the answer closes is closed; the lines wait.
            PostAnswer::Deferred(_) => {}
            // It may have arrived: the service knows a code that it has seen.
            PostAnswer::NotSent | PostAnswer::Unknown(_) => {
                lane.held_until = Some(now.moment + BACKOFF[lane.failures.min(BACKOFF.len() - 1)]);
                lane.failures += 1;
            }
            PostAnswer::Refused { reason, .. } if matches!(reason.as_str(), "http_401" | "http_403" | "http_404") => {
                lane.out = Some(now.moment + LOOK_EVERY);
                settled.went_out = true;
            }
            // It is the text that Discord refuses: which line, shows when each goes alone.
            PostAnswer::Refused { .. } if lines.len() > 1 => lines.iter_mut().for_each(|line| line.alone = true),
            PostAnswer::Refused { .. } => settled.given_up = std::mem::take(&mut lines),
        }
        for line in lines {
            self.queue.put(line);
        }
        settled
    }

    /// A webhook that is to be looked at now.
    pub fn next_look(&mut self, now: Now) -> Option<(usize, WebhookId)> {
        let closed = self.closed_until.is_some_and(|at| at > now.moment);
        let due = |lane: &Lane| !closed && !lane.busy && lane.out.is_some_and(|at| at <= now.moment);
        let index = self.lanes.iter().position(due)?;
        self.lanes[index].busy = true;
        Some((index, self.lanes[index].settings.webhook))
    }

    /// Takes in what a look told; whether the lane is back.
    pub fn looked(&mut self, lane: usize, look: WebhookState, now: Now) -> bool {
        let lane = &mut self.lanes[lane];
        lane.busy = false;
        let back = look == WebhookState::There;
        lane.out = (!back).then(|| now.moment + LOOK_EVERY);
        back
    }

    /// Takes a lane out before anything was posted, as the start's look has found.
    pub fn take_out(&mut self, lane: usize, now: Now) {
        self.lanes[lane].out = Some(now.moment + LOOK_EVERY);
    }

    /// What the time has done to lines that wait: codes that died are told from now on.
    pub fn pass_time(&mut self, now: Timestamp) -> Due {
        let mut due = Due::default();
        for mut line in self.queue.due(now) {
            if matches!(line.word, Word::Code(_)) {
                line.word = Word::Expired;
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

    /// Callbacks that need not be known any more, as a repetition would be refused.
    pub fn forget(&mut self, now: Timestamp) -> Vec<CodeHash> {
        let over: Vec<CodeHash> = self
            .known
            .iter()
            .filter(|(_, k)| k.until <= now)
            .map(|(h, _)| *h)
            .collect();
        for hash in &over {
            let nonce = self.known.remove(hash).map(|known| known.nonce);
            if let Some(count) = nonce.and_then(|nonce| self.links.get_mut(&nonce)) {
                *count -= 1;
            }
        }
        self.links.retain(|_, count| *count > 0);
        over
    }

    /// How long nothing is to be done unless something comes in.
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

    /// Lines that wait or are on their way.
    pub fn waiting(&self) -> usize {
        self.queue.len() + self.in_hand
    }

    /// Codes that wait or are on their way.
    pub fn codes(&self) -> usize {
        self.queue.codes() + self.in_hand
    }

    /// Lanes whose webhook does not work.
    pub fn lanes_out(&self) -> usize {
        self.lanes.iter().filter(|lane| lane.out.is_some()).count()
    }
}

fn codes(lines: &[Waiting]) -> usize {
    lines.iter().filter(|w| matches!(w.word, Word::Code(_))).count()
}

fn latest<const N: usize>(moments: [Option<Moment>; N]) -> Option<Moment> {
    moments.into_iter().flatten().max()
}
