//! Decides what may enter: only a configured channel *and* that lane's webhook count. The author is never trusted.

use std::collections::HashMap;

use super::super::journal::open_grants::{Carried, Redirected};
use super::WatchedLane;
use crate::ids::{ChannelId, UserId};
use crate::intake::entry::{Entry, Malformed};
use crate::intake::hash::code_hash;
use crate::intake::message::{Accept, parse};
use crate::intake::state::StateRules;
use crate::port::discord::ChannelMessage;
use crate::secret::Key;
use crate::time::Timestamp;

/// What may enter.
pub struct Gatekeeper {
    lanes: HashMap<ChannelId, WatchedLane>,
    bot: UserId,
    accept: Accept,
    states: StateRules,
    code_hash_key: Key,
}

/// What a message is.
#[derive(Debug)]
pub enum Admission {
    /// Not from a lane's own webhook: never presented, never touched.
    Foreign,
    /// From a lane's webhook, but its content did not come along.
    Blank,
    /// A message of `doctor --probe`, without redirects. `doctor` removes it; if it does not, it is removed once it is old.
    Probe(Carried),
    /// From a lane's webhook.
    Carried {
        /// What it brings; without redirects where it was not understood: then it is only removed, once it is old.
        carried: Carried,
        /// What of it was not understood.
        faults: Faults,
    },
}

/// What of a message was not understood. The caller says so once, however often the message is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Faults {
    /// Nothing.
    None,
    /// So many of its lines.
    Lines(usize),
    /// All of it.
    Whole(Malformed),
}

impl Gatekeeper {
    /// A gatekeeper for these lanes.
    pub fn new(lanes: &[WatchedLane], bot: UserId, accept: Accept, states: StateRules, code_hash_key: Key) -> Self {
        let lanes = lanes.iter().map(|lane| (lane.channel, *lane)).collect();
        Self {
            lanes,
            bot,
            accept,
            states,
            code_hash_key,
        }
    }

    /// Looks at one message; says and counts nothing.
    pub fn admit(&self, message: &ChannelMessage, now: Timestamp) -> Admission {
        let lane = self.lanes.get(&message.channel);
        let Some(lane) = lane.filter(|lane| message.webhook == Some(lane.webhook)) else {
            return Admission::Foreign;
        };
        if message.content.is_empty() {
            return Admission::Blank;
        }
        let mut is_probe = false;
        let (redirects, faults) = match parse(&message.content, self.bot, &self.accept) {
            Ok(parsed) => {
                let faults = match parsed.malformed_lines {
                    0 => Faults::None,
                    lines => Faults::Lines(lines),
                };
                is_probe = parsed.entries.iter().all(Entry::is_probe);
                let entries = parsed.entries.into_iter().filter(|entry| !entry.is_probe());
                let redirects = entries.map(|entry| Redirected {
                    redirected_at: entry.redirected_at,
                    requested: self.states.interpret(entry.state.as_ref(), now),
                    result: entry.result.map(|code| {
                        let hash = code_hash(&self.code_hash_key, &code);
                        (code, hash)
                    }),
                });
                (redirects.collect(), faults)
            }
            Err(malformed) => (Vec::new(), Faults::Whole(malformed)),
        };
        let carried = Carried {
            message: message.id,
            channel: message.channel,
            lane: lane.lane,
            redirects,
            unread_lines: matches!(faults, Faults::Lines(_)),
        };
        if is_probe {
            Admission::Probe(carried)
        } else {
            Admission::Carried { carried, faults }
        }
    }
}
