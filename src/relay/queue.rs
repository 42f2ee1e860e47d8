//! What waits to be posted, by lane, the earliest deadline first. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::grant::Reason;
use crate::ids::{CodeHash, GrantId, Lane};
use crate::intake::callback::RELAY_EXPIRED;
use crate::intake::v1::Redirect;
use crate::secret::{AuthorizationCode, RawState};
use crate::time::Timestamp;

/// How long after a code's death its end may still be told; later nobody waits for the word.
pub const TELL_WITHIN: Duration = Duration::from_mins(10);

/// The word that tells the service that a code died here.
pub const EXPIRED: &str = RELAY_EXPIRED;

/// One line to be posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its record.
    pub id: GrantId,
    /// The lane that its state names.
    pub lane: Lane,
    /// When the browser came.
    pub came_at: Timestamp,
    /// When the code dies.
    pub deadline: Timestamp,
    /// What is to be said.
    pub word: Word,
    /// The state.
    pub state: RawState,
    /// By what a repetition is recognised.
    pub hash: CodeHash,
    /// The state's nonce.
    pub nonce: [u8; 8],
    /// Discord refused a message that it shared with others: it goes alone.
    pub alone: bool,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// A code.
    Code(AuthorizationCode),
    /// Discord's error instead of a code.
    Denied(Reason),
    /// The code died here.
    Expired,
}

/// The order of posting: codes first, then denials, then what is only told; among equals by deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(u8, Timestamp, GrantId);

impl Waiting {
    /// Its place in the order.
    pub fn rank(&self) -> Rank {
        let class = match self.word {
            Word::Code(_) => 0,
            Word::Denied(_) => 1,
            Word::Expired => 2,
        };
        Rank(class, self.deadline, self.id)
    }

    /// The line as it is written.
    pub fn redirect(&self) -> Redirect {
        let result = match &self.word {
            Word::Code(code) => Ok(code.expose().to_owned()),
            Word::Denied(reason) => Err(reason.as_str().to_owned()),
            Word::Expired => Err(EXPIRED.to_owned()),
        };
        Redirect {
            time: self.came_at.as_secs(),
            result,
            state: Some(self.state.expose().to_owned()),
        }
    }

    /// When something is to be done about it if it has not been posted: a code dies, anything else is dropped.
    pub fn acts_at(&self) -> Timestamp {
        match self.word {
            Word::Code(_) => self.deadline,
            Word::Denied(_) | Word::Expired => self.deadline + TELL_WITHIN,
        }
    }
}

/// Everything that waits.
#[derive(Debug)]
pub struct Queue {
    lanes: Vec<BTreeMap<Rank, Waiting>>,
}

impl Queue {
    /// An empty queue for so many lanes, at least one.
    pub fn new(lanes: usize) -> Self {
        Self {
            lanes: vec![BTreeMap::new(); lanes.max(1)],
        }
    }

    /// Puts a line in. One of a lane that is gone from the configuration goes to the first: any lane may carry it.
    pub fn put(&mut self, waiting: Waiting) {
        let lane = usize::from(waiting.lane.0);
        let lane = if lane < self.lanes.len() { lane } else { 0 };
        self.lanes[lane].insert(waiting.rank(), waiting);
    }

    /// How many lines wait.
    pub fn len(&self) -> usize {
        self.lanes.iter().map(BTreeMap::len).sum()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(BTreeMap::is_empty)
    }

    /// How many codes wait.
    pub fn codes(&self) -> usize {
        let is_code = |w: &&Waiting| matches!(w.word, Word::Code(_));
        self.lanes.iter().map(|l| l.values().take_while(is_code).count()).sum()
    }

    /// The first `most` lines of some lanes together, in order, without those that go alone unless one of them is the
    /// first.
    pub fn first(&self, lanes: impl Iterator<Item = usize>, most: usize) -> Vec<&Waiting> {
        let mut found: Vec<&Waiting> = lanes
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

    /// Takes lines out.
    pub fn take(&mut self, ranks: &[Rank]) -> Vec<Waiting> {
        let mut taken = Vec::with_capacity(ranks.len());
        for rank in ranks {
            taken.extend(self.lanes.iter_mut().find_map(|lane| lane.remove(rank)));
        }
        taken
    }

    /// Takes out every line about which something is to be done by now.
    pub fn due(&mut self, now: Timestamp) -> Vec<Waiting> {
        let due = |w: &Waiting| w.acts_at() <= now;
        let ranks: Vec<Rank> = self
            .lanes
            .iter()
            .flat_map(|lane| lane.iter())
            .filter(|(_, w)| due(w))
            .map(|(rank, _)| *rank)
            .collect();
        self.take(&ranks)
    }

    /// When something is to be done about a line.
    pub fn next_due(&self) -> Option<Timestamp> {
        let all = self.lanes.iter().flat_map(|lane| lane.values());
        all.map(Waiting::acts_at).min()
    }
}
