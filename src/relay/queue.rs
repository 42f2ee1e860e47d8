//! The lines that wait to be posted, by lane, the earliest deadline first. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::grant::Reason;
use crate::ids::{CodeHash, Lane};
use crate::intake::callback::RELAY_EXPIRED;
use crate::intake::v1::Redirect;
use crate::secret::{AuthorizationCode, RawState};
use crate::time::Timestamp;

/// How long after a code expired the service may still be told; later nobody waits for it.
pub const TELL_WITHIN: Duration = Duration::from_mins(10);

/// One line to be posted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The callback's hash: no other line has it.
    pub hash: CodeHash,
    /// The lane that its state names.
    pub lane: Lane,
    /// When the browser came.
    pub came_at: Timestamp,
    /// When the code expires.
    pub deadline: Timestamp,
    /// What it says.
    pub content: Content,
    /// The state.
    pub state: RawState,
    /// It is posted after all that are not.
    pub behind: bool,
    /// Discord refused a message in which it was with others: it is posted alone.
    #[serde(skip)]
    pub alone: bool,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// A code.
    Code(AuthorizationCode),
    /// Discord's error instead of a code.
    Denied(Reason),
    /// The code expired in the relay.
    Expired,
}

/// The order of posting: what waits behind goes last; codes first, then denials, then notices of expired codes; within
/// each by deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(bool, u8, Timestamp, CodeHash);

impl Line {
    /// Its place in the order.
    pub fn rank(&self) -> Rank {
        let class = match self.content {
            Content::Code(_) => 0,
            Content::Denied(_) => 1,
            Content::Expired => 2,
        };
        Rank(self.behind, class, self.deadline, self.hash)
    }

    /// Whether it carries a code.
    pub fn is_code(&self) -> bool {
        matches!(self.content, Content::Code(_))
    }

    /// The line as it is written.
    pub fn redirect(&self) -> Redirect {
        let result = match &self.content {
            Content::Code(code) => Ok(code.expose().to_owned()),
            Content::Denied(reason) => Err(reason.as_str().to_owned()),
            Content::Expired => Err(RELAY_EXPIRED.to_owned()),
        };
        Redirect {
            time: self.came_at.as_secs(),
            result,
            state: Some(self.state.expose().to_owned()),
        }
    }

    /// When it is due if it has not been posted: a code expires, anything else is dropped.
    pub fn acts_at(&self) -> Timestamp {
        match self.content {
            Content::Code(_) => self.deadline,
            Content::Denied(_) | Content::Expired => self.deadline + TELL_WITHIN,
        }
    }
}

/// How many of these lines are codes that are not behind, and how many codes that are.
pub fn count_codes<'a>(lines: impl IntoIterator<Item = &'a Line>) -> [usize; 2] {
    let mut counted = [0; 2];
    for line in lines.into_iter().filter(|line| line.is_code()) {
        counted[usize::from(line.behind)] += 1;
    }
    counted
}

/// All lines that wait.
#[derive(Debug)]
pub struct Queue {
    lanes: Vec<BTreeMap<Rank, Line>>,
}

impl Queue {
    /// An empty queue for so many lanes, at least one.
    pub fn new(lanes: usize) -> Self {
        Self {
            lanes: vec![BTreeMap::new(); lanes.max(1)],
        }
    }

    /// Adds a line. If its lane is no longer configured, the first lane takes it.
    pub fn put(&mut self, waiting: Line) {
        let lane = usize::from(waiting.lane.0);
        let lane = if lane < self.lanes.len() { lane } else { 0 };
        self.lanes[lane].insert(waiting.rank(), waiting);
    }

    /// How many lines wait.
    pub fn len(&self) -> usize {
        self.lanes.iter().map(BTreeMap::len).sum()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(BTreeMap::is_empty)
    }

    /// How many codes wait that are not behind, and how many that are.
    pub fn codes(&self) -> [usize; 2] {
        let all = self.lanes.iter().flat_map(BTreeMap::values);
        count_codes(all)
    }

    /// The first `most` lines of some lanes together, in order. A line that must be posted alone is left out, unless it
    /// is the first: then it is the only one.
    pub fn first(&self, lanes: impl Iterator<Item = usize>, most: usize) -> Vec<&Line> {
        let mut found: Vec<&Line> = lanes
            .filter_map(|lane| self.lanes.get(lane))
            .flat_map(|lane| lane.values().take(most))
            .collect();
        found.sort_unstable_by_key(|w| w.rank());
        if found.first().is_some_and(|first| first.alone) {
            found.truncate(1);
        } else {
            found.retain(|w| !w.alone);
            found.truncate(most);
        }
        found
    }

    /// Removes lines and returns them.
    pub fn take(&mut self, ranks: &[Rank]) -> Vec<Line> {
        let mut taken = Vec::with_capacity(ranks.len());
        for rank in ranks {
            taken.extend(self.lanes.iter_mut().find_map(|lane| lane.remove(rank)));
        }
        taken
    }

    /// Removes every line that is due, and returns them.
    pub fn due(&mut self, now: Timestamp) -> Vec<Line> {
        let due = |w: &Line| w.acts_at() <= now;
        let ranks: Vec<Rank> = self
            .lanes
            .iter()
            .flat_map(|lane| lane.iter())
            .filter(|(_, w)| due(w))
            .map(|(rank, _)| *rank)
            .collect();
        self.take(&ranks)
    }

    /// When the next line is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        let all = self.lanes.iter().flat_map(|lane| lane.values());
        all.map(Line::acts_at).min()
    }
}
