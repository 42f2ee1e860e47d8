//! Who goes first: an in-memory index over the open grants, by what each wants done next.
//!
//! Earliest deadline first for exchanges, with codes that the relay's clock calls dead last; oldest obligation first
//! for everything else. It holds no truth: it is rebuilt from the grants at start.

use std::collections::{BTreeSet, HashMap};

use super::retry::{At, INVITATION_WITHIN, Policy};
use super::state::{Attempts, DeliveryState, Grant, Invitation, Revocation, Settling, State};
use crate::ids::GrantId;
use crate::time::Timestamp;

/// One call that a grant wants made; each kind has its own stage, each sink its own [`Task::Deliver`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    /// Present the code.
    Exchange,
    /// Fetch the person's data.
    Fetch,
    /// Deliver to the sink of this number, in the order of the configuration.
    Deliver(u8),
    /// Revoke the token.
    Revoke,
    /// Send the person a fresh link.
    Invite,
}

impl Task {
    /// The name used in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exchange => "exchange",
            Self::Fetch => "fetch",
            Self::Deliver(_) => "deliver",
            Self::Revoke => "revoke",
            Self::Invite => "invite",
        }
    }
}

/// A place in the queue: likely dead ones last, then the earlier moment first.
pub type Priority = (bool, Timestamp);

/// A task of a grant, when it may begin, and its place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// What.
    pub task: Task,
    /// Not before this moment.
    pub not_before: Timestamp,
    /// Its place.
    pub place: Priority,
}

impl Due {
    fn after(task: Task, attempts: Attempts) -> Self {
        Self {
            task,
            not_before: attempts.not_before,
            place: (false, attempts.since),
        }
    }
}

impl Grant {
    /// What this grant wants done.
    pub fn due<'a>(&'a self, at: At<'a>) -> impl Iterator<Item = Due> + 'a {
        let (one, settling) = match &self.state {
            State::Received { presentations, .. } => {
                let exchange = Due {
                    task: Task::Exchange,
                    not_before: presentations.not_before,
                    place: (self.is_suspect(at), self.deadline),
                };
                (Some(exchange), None)
            }
            State::Exchanged { attempts, .. } => (Some(Due::after(Task::Fetch, *attempts)), None),
            State::Settling(settling) => (None, Some(settling.due(at.policy))),
            State::Exchanging { .. } | State::Closed(_) => (None, None),
        };
        one.into_iter().chain(settling.into_iter().flatten())
    }
}

impl Settling {
    fn due<'a>(&'a self, policy: &'a Policy) -> impl Iterator<Item = Due> + 'a {
        let invitation = match self.invitation {
            Invitation::Owed(attempts) => Some(attempts),
            _ => None,
        };
        let revocation = match &self.revocation {
            Revocation::Owed { attempts, .. } => Some(*attempts),
            _ => None,
        };
        // A result says whether its person was sent a fresh link, so it waits for that.
        let not_before = invitation.map(|attempts| attempts.since + INVITATION_WITHIN);
        let owed = self.deliveries.iter().filter(|(_, d)| d.state == DeliveryState::Owed);
        let deliveries = owed.filter_map(move |(name, delivery)| {
            let due = Due::after(Task::Deliver(policy.sink_index(name)?), delivery.attempts);
            Some(Due {
                not_before: not_before.map_or(due.not_before, |at| at.max(due.not_before)),
                ..due
            })
        });
        let invite = invitation.map(|attempts| Due::after(Task::Invite, attempts));
        let revoke = revocation.map(|attempts| Due::after(Task::Revoke, attempts));
        deliveries.chain(invite).chain(revoke)
    }
}

/// The index. A grant's task is in it at most once: ready, waiting for its time, or (claimed) not at all.
#[derive(Debug, Default)]
pub struct Schedule {
    ready: HashMap<Task, BTreeSet<(Priority, GrantId)>>,
    waiting: BTreeSet<(Timestamp, GrantId, Task)>,
    entries: HashMap<(GrantId, Task), Due>,
}

impl Schedule {
    /// Puts a task in, or moves it; a task that is due later waits for its time.
    pub fn put(&mut self, grant: GrantId, due: Due, now: Timestamp) {
        self.remove(grant, due.task);
        if due.not_before > now {
            self.waiting.insert((due.not_before, grant, due.task));
        } else {
            self.ready.entry(due.task).or_default().insert((due.place, grant));
        }
        self.entries.insert((grant, due.task), due);
    }

    /// Takes a task out.
    pub fn remove(&mut self, grant: GrantId, task: Task) {
        if let Some(due) = self.entries.remove(&(grant, task))
            && !self.waiting.remove(&(due.not_before, grant, task))
            && let Some(ready) = self.ready.get_mut(&task)
        {
            ready.remove(&(due.place, grant));
        }
    }

    /// Takes out the first task of a kind that is ready.
    pub fn take(&mut self, task: Task, now: Timestamp) -> Option<GrantId> {
        self.wake(now);
        let (_, grant) = self.ready.get_mut(&task)?.pop_first()?;
        self.entries.remove(&(grant, task));
        Some(grant)
    }

    /// Moves tasks whose time has come to the ready ones.
    pub fn wake(&mut self, now: Timestamp) {
        while let Some(&(until, grant, task)) = self.waiting.first()
            && until <= now
        {
            self.waiting.pop_first();
            let place = self.entries[&(grant, task)].place;
            self.ready.entry(task).or_default().insert((place, grant));
        }
    }

    /// When the next waiting task's time comes.
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.waiting.first().map(|(until, ..)| *until)
    }

    /// Tasks that are ready or wait for their time.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Tasks of a kind that are ready now.
    pub fn ready(&self, task: Task) -> usize {
        self.ready.get(&task).map_or(0, BTreeSet::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn due(task: Task, not_before: i64, suspect: bool, at: i64) -> Due {
        Due {
            task,
            not_before: Timestamp::from_secs(not_before),
            place: (suspect, Timestamp::from_secs(at)),
        }
    }

    fn id(n: u128) -> GrantId {
        GrantId::new(Timestamp::from_secs(1_700_000_000), n)
    }

    #[test]
    fn the_earliest_deadline_goes_first_and_likely_dead_codes_last() {
        let now = Timestamp::from_secs(100);
        let mut schedule = Schedule::default();
        schedule.put(id(1), due(Task::Exchange, 0, false, 190), now);
        schedule.put(id(2), due(Task::Exchange, 0, true, 110), now);
        schedule.put(id(3), due(Task::Exchange, 0, false, 150), now);
        let order: Vec<_> = std::iter::from_fn(|| schedule.take(Task::Exchange, now)).collect();
        assert_eq!(order, [id(3), id(1), id(2)]);
    }

    #[test]
    fn a_task_waits_for_its_time_and_moving_it_leaves_no_copy() {
        let mut now = Timestamp::from_secs(100);
        let mut schedule = Schedule::default();
        schedule.put(id(1), due(Task::Revoke, 105, false, 1), now);
        assert_eq!(schedule.take(Task::Revoke, now), None);
        assert_eq!(schedule.next_wake(), Some(Timestamp::from_secs(105)));
        schedule.put(id(1), due(Task::Revoke, 110, false, 1), now);
        now = now + Duration::from_secs(10);
        schedule.wake(now);
        assert_eq!(schedule.ready(Task::Revoke), 1);
        assert_eq!(schedule.take(Task::Revoke, now), Some(id(1)));
        assert_eq!(schedule.take(Task::Revoke, now), None);
        schedule.put(id(2), due(Task::Fetch, 0, false, 1), now);
        schedule.remove(id(2), Task::Fetch);
        assert_eq!(
            (schedule.take(Task::Fetch, now), schedule.ready(Task::Fetch)),
            (None, 0)
        );
    }
}
