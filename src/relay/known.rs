//! The callbacks that were taken, and how many came from each link. Pure.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::ids::CodeHash;
use crate::time::Timestamp;

/// A callback that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// From then on a repetition would be refused, so it may be forgotten.
    pub until: Timestamp,
    /// Its state's nonce: which link it came from.
    pub nonce: [u8; 8],
}

/// All of them, until their links expire.
#[derive(Debug, Default)]
pub struct KnownCallbacks {
    by_hash: HashMap<CodeHash, Known>,
    per_link: HashMap<[u8; 8], usize>,
}

impl KnownCallbacks {
    /// Remembers a callback.
    pub fn add(&mut self, hash: CodeHash, known: Known) {
        if self.by_hash.insert(hash, known).is_none() {
            *self.per_link.entry(known.nonce).or_default() += 1;
        }
    }

    /// Whether this callback was taken before.
    pub fn contains(&self, hash: CodeHash) -> bool {
        self.by_hash.contains_key(&hash)
    }

    /// How many different callbacks came from a link.
    pub fn of_link(&self, nonce: [u8; 8]) -> usize {
        self.per_link.get(&nonce).copied().unwrap_or(0)
    }

    /// Forgets the callbacks that would be refused by now if they came again, and returns them.
    pub fn forget(&mut self, now: Timestamp) -> Vec<CodeHash> {
        let over: Vec<CodeHash> = self
            .by_hash
            .extract_if(|_, known| known.until <= now)
            .map(|(hash, known)| {
                if let Some(count) = self.per_link.get_mut(&known.nonce) {
                    *count -= 1;
                }
                hash
            })
            .collect();
        self.per_link.retain(|_, count| *count > 0);
        over
    }
}
