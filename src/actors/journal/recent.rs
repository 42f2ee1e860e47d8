//! What has happened since the start, for an operator who looks: small, in memory, and gone with the process.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Journal;
use super::events::{GrantEvent, Happened};
use super::open_grants::{OpenGrants, call_of};
use crate::grant::{Event, Outcome, Task};
use crate::ids::{GrantId, Lane};
use crate::time::{Timestamp, rfc3339};

/// Hours whose outcomes are kept.
const HOURS: usize = 24;
/// Failed calls that are kept.
const FAILURES: usize = 20;
/// Bounds of the ages at which codes are presented, in seconds; the last count is that of older ones.
const AGES: [f64; 11] = [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 120.0];

/// The collected numbers.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Hours since 1970, and how the grants ended that closed in each.
    hours: VecDeque<(i64, HashMap<Outcome, u64>)>,
    ages: [u64; AGES.len() + 1],
    failures: VecDeque<FailedRecently>,
    /// Links that were made, and events by name.
    flow: BTreeMap<&'static str, u64>,
    /// What is wrong with lanes that are out.
    troubles: BTreeMap<Lane, String>,
}

/// What has happened since the start.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct RecentView {
    /// How often each step of a sign-in was taken: `links` that were made, then by the names of the events.
    pub flow: BTreeMap<String, u64>,
    /// Outcomes of the last 24 hours, by the hour in which their grants closed; an hour without any is left out.
    pub hours: Vec<HourView>,
    /// How old codes were when they were presented. A code lives for `intake.code_lifetime`, usually 100 s.
    pub presented: Vec<AgeView>,
    /// The last calls that failed, the newest last.
    pub failed_calls: Vec<FailedRecently>,
    /// The lanes.
    pub lanes: Vec<LaneView>,
}

/// One hour.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HourView {
    /// Its beginning.
    #[serde(with = "rfc3339")]
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// By outcome.
    pub outcomes: BTreeMap<String, u64>,
}

/// Codes of an age.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AgeView {
    /// At most so many seconds, and more than in the bound before; null for the oldest.
    pub up_to_s: Option<f64>,
    /// How many.
    pub count: u64,
}

/// A call that failed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct FailedRecently {
    /// When.
    #[serde(with = "rfc3339")]
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// For which grant.
    #[schemars(with = "String")]
    pub grant: GrantId,
    /// Which: a step, and for a delivery its sink.
    pub call: String,
    /// The kind of failure, such as `connection_refused` or `http_401`.
    pub reason: String,
}

/// A lane.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LaneView {
    /// Its number.
    #[schemars(with = "u8")]
    pub lane: Lane,
    /// What is wrong with it; null where it works.
    pub trouble: Option<String>,
    /// Links that hold a place.
    pub held: usize,
    /// Places; null where there is no limit.
    pub places: Option<usize>,
}

impl Recent {
    pub(super) fn link_made(&mut self) {
        *self.flow.entry("links").or_default() += 1;
    }

    pub(super) fn happened(&mut self, event: &GrantEvent) {
        if event.happened != Happened::Parked {
            *self.flow.entry(event.happened.name()).or_default() += 1;
        }
    }

    pub(super) fn closed(&mut self, outcome: Outcome, now: Timestamp) {
        let hour = now.as_secs().div_euclid(3600);
        if self.hours.back().is_none_or(|(last, _)| *last != hour) {
            self.hours.push_back((hour, HashMap::new()));
        }
        if self.hours.len() > HOURS {
            self.hours.pop_front();
        }
        if let Some((_, outcomes)) = self.hours.back_mut() {
            *outcomes.entry(outcome).or_default() += 1;
        }
    }

    pub(super) fn presented(&mut self, age: Duration) {
        let bound = AGES.iter().position(|bound| age.as_secs_f64() <= *bound);
        self.ages[bound.unwrap_or(AGES.len())] += 1;
    }

    pub(super) fn failed(&mut self, failed: FailedRecently) {
        if self.failures.len() == FAILURES {
            self.failures.pop_front();
        }
        self.failures.push_back(failed);
    }

    pub(super) fn lane(&mut self, lane: Lane, trouble: Option<String>) {
        match trouble {
            Some(trouble) => self.troubles.insert(lane, trouble),
            None => self.troubles.remove(&lane),
        };
    }

    pub(super) fn view(&self, open_grants: &OpenGrants, now: Timestamp) -> RecentView {
        let this_hour = now.as_secs().div_euclid(3600);
        let hours = self.hours.iter().filter(|(hour, _)| this_hour - hour < HOURS as i64);
        let bounds = AGES.iter().copied().map(Some).chain([None]);
        let lanes = open_grants.lanes().map(|(lane, held, places)| LaneView {
            lane,
            trouble: self.troubles.get(&lane).cloned(),
            held,
            places,
        });
        RecentView {
            flow: self.flow.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect(),
            hours: hours
                .map(|(hour, outcomes)| HourView {
                    at: Timestamp::from_secs(hour * 3600),
                    outcomes: outcomes.iter().map(|(o, n)| (o.name().to_owned(), *n)).collect(),
                })
                .collect(),
            presented: bounds
                .zip(self.ages)
                .map(|(up_to_s, count)| AgeView { up_to_s, count })
                .collect(),
            failed_calls: self.failures.iter().cloned().collect(),
            lanes: lanes.collect(),
        }
    }
}

impl Journal {
    /// Keeps why a call failed, where it did.
    pub(super) fn remember_failure(&mut self, grant: GrantId, task: Task, event: &Event, failed: Option<&str>) {
        let Some(reason) = failed else { return };
        let failed = FailedRecently {
            at: self.now(),
            grant,
            call: call_of(task, event),
            reason: reason.to_owned(),
        };
        self.recent.failed(failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_hours_and_twenty_failures_are_kept_and_ages_have_a_line_at_100_s() {
        let mut recent = Recent::default();
        for hour in 0..30 {
            recent.closed(Outcome::Completed, Timestamp::from_secs(hour * 3600 + 5));
            recent.closed(Outcome::Denied, Timestamp::from_secs(hour * 3600 + 6));
            recent.failed(FailedRecently {
                at: Timestamp::from_secs(hour),
                grant: GrantId::new(Timestamp::from_secs(hour), 0),
                call: "fetch".to_owned(),
                reason: "http_500".to_owned(),
            });
        }
        assert_eq!((recent.hours.len(), recent.hours[0].0), (HOURS, 6));
        assert_eq!(recent.hours[0].1[&Outcome::Completed], 1);
        assert_eq!(
            (recent.failures.len(), recent.failures[0].at),
            (FAILURES, Timestamp::from_secs(10))
        );
        recent.presented(Duration::from_secs(100));
        recent.presented(Duration::from_millis(100_001));
        recent.presented(Duration::from_hours(1));
        assert_eq!(recent.ages[9..], [1, 1, 1]);
    }
}
