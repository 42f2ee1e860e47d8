//! Carrier messages, whose removal is owed once their codes are spent and that is durable; and the channels' cursors.

use super::{Book, Changed};
use crate::ids::{ChannelId, MessageId};
use crate::store::{Carrier, Change};
use crate::time::Timestamp;

impl Book {
    pub(super) fn spend_carrier(&mut self, message: MessageId, changed: &mut Changed) {
        if let Some(carrier) = self.carriers.get_mut(&message) {
            carrier.unspent = carrier.unspent.saturating_sub(1);
            let carrier = carrier.clone();
            self.put_carrier(carrier, changed);
        }
    }

    pub(super) fn put_carrier(&mut self, carrier: Carrier, changed: &mut Changed) {
        *self.carriers_pending.entry(carrier.message).or_default() += 1;
        changed.carriers.push(carrier.message);
        changed.changes.push(Change::PutCarrier(carrier));
    }

    pub(super) fn offer_removal(&mut self, message: MessageId) {
        if let Some(carrier) = self.carriers.get(&message)
            && carrier.unspent == 0
            && !self.removing.contains(&message)
        {
            self.removals.insert((carrier.not_before, message));
        }
    }

    /// Carrier messages whose removal is owed now, and whose codes are spent on the disk too.
    pub fn claim_removals(&mut self, most: usize, now: Timestamp) -> Vec<Carrier> {
        let mut claimed = Vec::new();
        while claimed.len() < most
            && let Some(&(not_before, message)) = self.removals.first()
            && not_before <= now
        {
            self.removals.pop_first();
            self.removing.insert(message);
            claimed.extend(self.carriers.get(&message).cloned());
        }
        claimed
    }

    /// What became of a removal: settled, or to be tried again at a moment.
    pub fn removed(&mut self, message: MessageId, again_at: Option<Timestamp>) -> Changed {
        let mut changed = Changed::default();
        self.removing.remove(&message);
        match again_at {
            None => {
                if self.carriers.remove(&message).is_some() {
                    changed.changes.push(Change::RemoveCarrier(message));
                }
            }
            Some(at) => {
                if let Some(carrier) = self.carriers.get_mut(&message) {
                    carrier.attempts += 1;
                    carrier.not_before = at;
                    let carrier = carrier.clone();
                    self.put_carrier(carrier, &mut changed);
                }
            }
        }
        changed
    }

    /// Moves a channel's cursor forward.
    pub fn move_cursor(&mut self, channel: ChannelId, read_to: MessageId) -> Changed {
        let mut changed = Changed::default();
        if self.cursors.get(&channel).is_none_or(|at| *at < read_to) {
            self.cursors.insert(channel, read_to);
            changed.changes.push(Change::MoveCursor { channel, read_to });
        }
        changed
    }

    /// A channel's cursor.
    pub fn cursor(&self, channel: ChannelId) -> Option<MessageId> {
        self.cursors.get(&channel).copied()
    }

    /// Carrier messages whose removal is not settled.
    pub fn carriers(&self) -> usize {
        self.carriers.len()
    }
}
