//! Source messages, whose removal is owed once their codes are spent and that is durable; and the channels' cursors.

use super::{Changed, OpenGrants};
use crate::ids::{ChannelId, MessageId};
use crate::store::{Change, SourceMessage};
use crate::time::Timestamp;

impl OpenGrants {
    pub(super) fn spend_source_message(&mut self, message: MessageId, changed: &mut Changed) {
        if let Some(source_message) = self.source_messages.get_mut(&message) {
            source_message.unspent = source_message.unspent.saturating_sub(1);
            let source_message = source_message.clone();
            self.put_source_message(source_message, changed);
        }
    }

    pub(super) fn put_source_message(&mut self, source_message: SourceMessage, changed: &mut Changed) {
        *self.source_messages_pending.entry(source_message.message).or_default() += 1;
        changed.source_messages.push(source_message.message);
        changed.changes.push(Change::PutSourceMessage(source_message));
    }

    pub(super) fn offer_removal(&mut self, message: MessageId) {
        if let Some(source_message) = self.source_messages.get(&message)
            && source_message.unspent == 0
            && !self.removing.contains(&message)
        {
            self.removals.insert((source_message.not_before, message));
        }
    }

    /// Source messages whose removal is owed now, and whose codes are spent on the disk too.
    pub fn claim_removals(&mut self, most: usize, now: Timestamp) -> Vec<SourceMessage> {
        let mut claimed = Vec::new();
        while claimed.len() < most
            && let Some(&(not_before, message)) = self.removals.first()
            && not_before <= now
        {
            self.removals.pop_first();
            self.removing.insert(message);
            claimed.extend(self.source_messages.get(&message).cloned());
        }
        claimed
    }

    /// What became of a removal: settled, or to be tried again at a moment.
    pub fn removed(&mut self, message: MessageId, again_at: Option<Timestamp>) -> Changed {
        let mut changed = Changed {
            may_wait: true,
            ..Changed::default()
        };
        self.removing.remove(&message);
        match again_at {
            None => {
                if self.source_messages.remove(&message).is_some() {
                    changed.changes.push(Change::RemoveSourceMessage(message));
                }
            }
            Some(at) => {
                if let Some(source_message) = self.source_messages.get_mut(&message) {
                    source_message.attempts += 1;
                    source_message.not_before = at;
                    let source_message = source_message.clone();
                    self.put_source_message(source_message, &mut changed);
                }
            }
        }
        changed
    }

    /// Moves a channel's cursor forward.
    pub fn move_cursor(&mut self, channel: ChannelId, read_to: MessageId) -> Changed {
        let mut changed = Changed {
            may_wait: true,
            ..Changed::default()
        };
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

    /// Source messages whose removal is not settled.
    pub fn source_messages(&self) -> usize {
        self.source_messages.len()
    }
}
