//! The one record that every transaction rewrites: commit number, content digest and counts.

use crate::grant::Outcome;
use crate::store::port::ClosedTotals;

/// What the store says about its own content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Meta {
    /// The number of the last commit.
    pub commit: u64,
    /// The sum of the tags of all live pieces, modulo 2^128.
    pub digest: u128,
    /// How many live pieces there are.
    pub pieces: u64,
    /// Closed grants that are kept.
    pub closed: ClosedTotals,
}

impl Meta {
    /// Counts a piece in.
    pub fn add(&mut self, tag: u128) {
        self.digest = self.digest.wrapping_add(tag);
        self.pieces += 1;
    }

    /// Counts a piece out.
    pub fn remove(&mut self, tag: u128) {
        self.digest = self.digest.wrapping_sub(tag);
        self.pieces = self.pieces.saturating_sub(1);
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(33 + 8 * Outcome::ALL.len());
        out.extend_from_slice(&self.commit.to_be_bytes());
        out.extend_from_slice(&self.digest.to_be_bytes());
        out.extend_from_slice(&self.pieces.to_be_bytes());
        encode_totals(&self.closed, &mut out);
        out
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (commit, rest) = bytes.split_first_chunk::<8>()?;
        let (digest, rest) = rest.split_first_chunk::<16>()?;
        let (pieces, rest) = rest.split_first_chunk::<8>()?;
        let closed = decode_totals(rest)?;
        Some(Self {
            commit: u64::from_be_bytes(*commit),
            digest: u128::from_be_bytes(*digest),
            pieces: u64::from_be_bytes(*pieces),
            closed,
        })
    }
}

/// Counts by outcome, in the order of `Outcome::ALL`, which only ever grows at its end.
pub(super) fn encode_totals(totals: &ClosedTotals, out: &mut Vec<u8>) {
    for (_, n) in totals.iter() {
        out.extend_from_slice(&n.to_be_bytes());
    }
}

pub(super) fn decode_totals(bytes: &[u8]) -> Option<ClosedTotals> {
    let (counts, odd) = bytes.as_chunks::<8>();
    if !odd.is_empty() || counts.len() > Outcome::ALL.len() {
        return None;
    }
    let mut totals = ClosedTotals::default();
    for (to, from) in totals.0.iter_mut().zip(counts) {
        *to = u64::from_be_bytes(*from);
    }
    Some(totals)
}
