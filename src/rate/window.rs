//! The ledger of one channel's webhook posts: never more than a total in any closed minute, as the *receiver* sees them.
//!
//! A post reaches Discord at some moment between its permit and its answer. So a post on its way counts as being sent
//! now, and an answered one counts from its answer: whatever the latencies, no minute at the receiver holds more.

use std::collections::VecDeque;
use std::time::Duration;

use super::moment::Moment;
use crate::time::Timestamp;

/// How long a post counts: a closed minute, and a little for two machines' clocks running at different speeds.
pub const WINDOW: Duration = Duration::from_millis(60_050);

/// How many posts are remembered while the limit is off.
const REMEMBERED: usize = 1024;

/// A reserved slot's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// The posts of the last minute, and those on their way.
#[derive(Debug, Default)]
pub struct Window {
    posts: VecDeque<Post>,
    next: u64,
}

#[derive(Debug)]
struct Post {
    ticket: Ticket,
    /// When it was answered; while it is on its way, when it was reserved.
    at: Moment,
    on_its_way: bool,
}

impl Post {
    /// The latest moment at which the receiver may have counted it.
    fn counted(&self, now: Moment) -> Moment {
        if self.on_its_way { now } else { self.at }
    }
}

impl Window {
    /// The ledger of an earlier process. Only the distances between its posts are believed, since those were measured by a
    /// monotonic clock; how long ago the last one was is not, since the wall clock may have been stepped meanwhile. The
    /// last counts as sent now, which costs at most one refill after a restart; so do times in the future.
    pub fn replay(sent_at: &[Timestamp], now: Moment) -> Self {
        let mut window = Self::default();
        let mut sent_at = sent_at.to_vec();
        sent_at.sort_unstable();
        if let Some(&last) = sent_at.last() {
            for at in sent_at {
                let age = last.since(at);
                if age < WINDOW {
                    window.push(now - age, false);
                }
            }
        }
        window
    }

    /// How many posts count now.
    pub fn count(&mut self, now: Moment) -> u32 {
        self.forget(now);
        u32::try_from(self.posts.len()).unwrap_or(u32::MAX)
    }

    /// When one more may go within a total; `Ok` where it may now.
    pub fn room(&mut self, total: u32, now: Moment) -> Result<(), Moment> {
        let Some(too_many) = self.count(now).checked_sub(total) else {
            return Ok(());
        };
        // The post whose end makes room: all but `total - 1` must have gone.
        let deciding = self.moments(now).get(too_many as usize).copied().unwrap_or(now);
        Err(deciding + WINDOW)
    }

    /// Reserves a slot for a post that is about to leave.
    pub fn reserve(&mut self, now: Moment) -> Ticket {
        self.push(now, true)
    }

    /// Notes a post while the limit is off, so that switching it on forgets nothing.
    pub fn note(&mut self, now: Moment) {
        if self.posts.len() >= REMEMBERED {
            self.posts.pop_front();
        }
        self.push(now, false);
    }

    /// A post was answered, or can no longer leave.
    pub fn settle(&mut self, ticket: Ticket, now: Moment) {
        if let Some(post) = self.posts.iter_mut().find(|post| post.ticket == ticket) {
            post.on_its_way = false;
            post.at = now;
        }
    }

    /// Gives back a slot whose post will never leave.
    pub fn give_back(&mut self, ticket: Ticket) {
        self.posts.retain(|post| post.ticket != ticket);
    }

    /// The moments that count now, oldest first.
    pub fn moments(&mut self, now: Moment) -> Vec<Moment> {
        self.forget(now);
        let mut moments: Vec<Moment> = self.posts.iter().map(|post| post.counted(now)).collect();
        moments.sort_unstable();
        moments
    }

    /// What must be on disk before the next post leaves: the moments that count, by the wall clock, oldest first.
    pub fn to_persist(&mut self, now: Moment, wall: Timestamp) -> Vec<Timestamp> {
        self.moments(now).into_iter().map(|at| wall - now.since(at)).collect()
    }

    fn push(&mut self, at: Moment, on_its_way: bool) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.posts.push_back(Post { ticket, at, on_its_way });
        ticket
    }

    fn forget(&mut self, now: Moment) {
        self.posts.retain(|post| post.on_its_way || now.since(post.at) < WINDOW);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::START;

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn a_post_counts_from_its_answer_for_a_closed_minute() {
        let mut window = Window::default();
        let ticket = window.reserve(NOW);
        assert_eq!(window.count(NOW + seconds(600)), 1, "it is still on its way");
        let wall = Timestamp::from_secs(1_700_000_000);
        assert_eq!(
            window.to_persist(NOW + seconds(600), wall),
            [wall],
            "it may arrive only now"
        );
        window.settle(ticket, NOW + seconds(600));
        assert_eq!(
            window.room(1, NOW + seconds(660)),
            Err(NOW + seconds(600) + WINDOW),
            "the minute is closed at both ends"
        );
        assert_eq!(window.room(1, NOW + seconds(600) + WINDOW), Ok(()));
    }

    #[test]
    fn room_comes_when_enough_posts_have_gone() {
        let mut window = Window::default();
        for s in 0..5 {
            let ticket = window.reserve(NOW + seconds(s));
            window.settle(ticket, NOW + seconds(s));
        }
        let now = NOW + seconds(5);
        assert_eq!(window.room(6, now), Ok(()));
        assert_eq!(window.room(5, now), Err(NOW + WINDOW));
        assert_eq!(window.room(2, now), Err(NOW + seconds(3) + WINDOW));
    }

    #[test]
    fn a_replayed_ledger_keeps_its_distances_and_ends_now() {
        let wall = Timestamp::from_secs(1_700_000_000);
        for step in [-3600_i64, -30, 0, 30, 3600] {
            let sent: Vec<Timestamp> = [20, 0, 50]
                .map(|s| Timestamp::from_secs(wall.as_secs() + s + step))
                .into();
            let mut window = Window::replay(&sent, NOW);
            assert_eq!(window.moments(NOW), [NOW - seconds(50), NOW - seconds(30), NOW]);
            assert_eq!(
                window.to_persist(NOW, wall),
                [wall - seconds(50), wall - seconds(30), wall]
            );
        }
        let far_apart = [wall, wall + seconds(3600)];
        assert_eq!(Window::replay(&far_apart, NOW).count(NOW), 1);
    }

    #[test]
    fn posts_are_remembered_up_to_a_bound_while_the_limit_is_off() {
        let mut window = Window::default();
        for _ in 0..5_000 {
            window.note(NOW);
        }
        assert_eq!(window.count(NOW), 1024);
        assert_eq!(window.room(30, NOW), Err(NOW + WINDOW));
    }
}
