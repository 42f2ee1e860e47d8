//! Decides what may enter: only a configured channel *and* that lane's webhook count. The author is never trusted.

use std::collections::HashMap;

use super::super::journal::book::{Carried, Redirected};
use super::WatchedLane;
use crate::ids::{ChannelId, UserId};
use crate::intake::hash::code_hash;
use crate::intake::message::{Accept, parse};
use crate::intake::state::StateRules;
use crate::metrics::{self, MessageResult};
use crate::secret::Key;
use crate::steps::port::ChannelMessage;
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
    /// From a lane's webhook; without redirects where it is malformed.
    Carried(Carried),
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

    /// Looks at one message.
    pub fn admit(&self, message: &ChannelMessage, now: Timestamp) -> Admission {
        let Some(lane) = self.lanes.get(&message.channel) else {
            return Admission::Foreign;
        };
        if message.webhook != Some(lane.webhook) {
            return Admission::Foreign;
        }
        if message.content.is_empty() {
            return Admission::Blank;
        }
        let redirects = match parse(&message.content, self.bot, &self.accept) {
            Ok(parsed) => {
                if parsed.malformed_lines > 0 {
                    tracing::warn!(message = %message.id, lines = parsed.malformed_lines, "lines of a message could not be read");
                    metrics::messages(MessageResult::Malformed, parsed.malformed_lines as u64);
                }
                parsed
                    .entries
                    .into_iter()
                    .map(|entry| Redirected {
                        redirected_at: entry.redirected_at,
                        requested: self.states.interpret(entry.state.as_ref(), now),
                        result: entry.result.map(|code| {
                            let hash = code_hash(&self.code_hash_key, &code);
                            (code, hash)
                        }),
                    })
                    .collect()
            }
            Err(malformed) => {
                tracing::warn!(message = %message.id, lane = %lane.lane, reason = %malformed, "a message of the lane's webhook was not understood");
                metrics::message(MessageResult::Malformed);
                Vec::new()
            }
        };
        Admission::Carried(Carried {
            message: message.id,
            channel: message.channel,
            lane: lane.lane,
            redirects,
        })
    }
}
