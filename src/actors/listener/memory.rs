//! Which messages of a channel were looked at, so that each is parsed, counted and warned of once.

use std::collections::BTreeMap;

use crate::ids::MessageId;

/// Remembered at most; of more, the oldest are looked at again. Only a journal that is full for hours gets there.
const MOST: usize = 50_000;

/// What is remembered of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sighting {
    /// It was counted; the journal has not taken it yet.
    Counted,
    /// It is in the journal, or none of ours: nothing is left to do with it.
    Done,
}

/// The messages above the cursor that were looked at.
#[derive(Debug, Default)]
pub struct Memory {
    looked: BTreeMap<MessageId, Sighting>,
}

impl Memory {
    /// Remembers that a message was looked at; whether that was for the first time.
    pub fn look(&mut self, message: MessageId) -> bool {
        let first = !self.looked.contains_key(&message);
        if first {
            self.looked.insert(message, Sighting::Counted);
            if self.looked.len() > MOST {
                self.looked.pop_first();
            }
        }
        first
    }

    /// Nothing is left to do with a message.
    pub fn done(&mut self, message: MessageId) {
        self.looked.insert(message, Sighting::Done);
    }

    /// Whether nothing is left to do with a message.
    pub fn is_done(&self, message: MessageId) -> bool {
        self.looked.get(&message) == Some(&Sighting::Done)
    }

    /// Forgets what no reading brings again.
    pub fn forget_up_to(&mut self, message: u64) {
        self.looked = self.looked.split_off(&MessageId(message.saturating_add(1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_new_once_and_done_only_when_told() {
        let mut memory = Memory::default();
        assert!(memory.look(MessageId(7)));
        assert!(!memory.look(MessageId(7)));
        assert!(!memory.is_done(MessageId(7)));
        memory.done(MessageId(7));
        assert!(memory.is_done(MessageId(7)) && !memory.look(MessageId(7)));
        memory.forget_up_to(7);
        assert!(memory.look(MessageId(7)));
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut memory = Memory::default();
        for id in 0..2 * MOST as u64 {
            memory.look(MessageId(id));
        }
        assert_eq!(memory.looked.len(), MOST);
        assert!(!memory.look(MessageId(2 * MOST as u64 - 1)));
    }
}
