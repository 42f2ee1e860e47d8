//! The invalid-request breaker: counts refusals over ten minutes and stops everything well short of Discord's ban.

use std::collections::VecDeque;
use std::time::Duration;

use super::moment::Moment;

/// The time over which Discord counts ([Discord Docs/Rate Limits](https://docs.discord.com/developers/topics/rate-limits#invalid-request-limit-aka-cloudflare-bans)).
pub const PERIOD: Duration = Duration::from_mins(10);

/// Discord bans an address at this number, so no more are remembered.
const REMEMBERED: usize = 10_000;

/// The invalid answers of the last ten minutes and the number at which calls stop.
#[derive(Debug)]
pub struct Breaker {
    answers: VecDeque<Moment>,
    limit: u32,
}

impl Breaker {
    /// Opens at so many; 0 never opens.
    pub fn new(limit: u32) -> Self {
        Self {
            answers: VecDeque::new(),
            limit,
        }
    }

    /// Changes the number, keeping the count.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// Counts an invalid answer.
    pub fn note(&mut self, now: Moment) {
        self.forget(now);
        if self.answers.len() >= REMEMBERED {
            self.answers.pop_front();
        }
        self.answers.push_back(now);
    }

    /// How many count now.
    pub fn count(&mut self, now: Moment) -> u32 {
        self.forget(now);
        u32::try_from(self.answers.len()).unwrap_or(u32::MAX)
    }

    /// When calls may go again; `None` while they may.
    pub fn open_until(&mut self, now: Moment) -> Option<Moment> {
        if self.limit == 0 || self.answers.is_empty() {
            return None;
        }
        self.forget(now);
        let too_many = self.answers.len().checked_sub(self.limit as usize)?;
        self.answers.get(too_many).map(|&at| at + PERIOD)
    }

    fn forget(&mut self, now: Moment) {
        while self.answers.front().is_some_and(|&at| now.since(at) >= PERIOD) {
            self.answers.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::START;

    #[test]
    fn it_opens_at_its_limit_and_closes_when_the_window_drains_below() {
        let mut breaker = Breaker::new(3);
        let minute = Duration::from_mins(1);
        for n in 0..3 {
            assert_eq!(breaker.open_until(NOW + minute * n), None);
            breaker.note(NOW + minute * n);
        }
        assert_eq!(breaker.open_until(NOW + minute * 2), Some(NOW + PERIOD));
        assert_eq!(breaker.open_until(NOW + PERIOD), None);
        assert_eq!(breaker.count(NOW + PERIOD), 2);
        breaker.set_limit(2);
        assert_eq!(breaker.open_until(NOW + PERIOD), Some(NOW + minute + PERIOD));
        breaker.set_limit(0);
        assert_eq!(breaker.open_until(NOW + PERIOD), None);
    }

    #[test]
    fn more_than_its_limit_drain_to_below_it() {
        let mut breaker = Breaker::new(2);
        for ms in 0..20_000 {
            breaker.note(NOW + Duration::from_millis(ms));
        }
        let last_but_one = NOW + Duration::from_millis(19_998);
        assert_eq!(
            breaker.open_until(NOW + Duration::from_secs(20)),
            Some(last_but_one + PERIOD)
        );
        assert_eq!(breaker.count(NOW + Duration::from_secs(20)), 10_000);
    }
}
