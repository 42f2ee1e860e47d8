//! The bytes of closed grants and of the blocks they lie in. It does no I/O. A stored format: it must load for ever.
//!
//! ```text
//! header   CF 5E | version | 43 | number of the segment (8)
//! block    payload's length (2) | tag (16) | payload
//! payload  records, one after the other
//! record   id (16) | received - id's time | closed - received | lane (1) | kind (1) | [since - closed] | [length (1), reason]
//! ```
//!
//! Differences are zigzag LEB128 of milliseconds. The kind's low four bits are the outcome; 10 says that a reason follows, 20
//! that a `since` does. A block's tag is SHA-256 over the tag before it (for the first: over the header) and the
//! payload, cut to 16 bytes: it speaks for the whole file up to there.

use sha2::{Digest, Sha256};

use super::super::record::{outcome_byte, outcome_of};
use crate::grant::{ClosedGrant, Outcome, Reason};
use crate::ids::{GrantId, Lane};
use crate::time::Timestamp;

/// The length of a segment's header.
pub(super) const HEADER: usize = 12;
/// What a block has before its payload.
pub(super) const BLOCK_HEAD: usize = 18;
/// The longest record: id, three differences, lane, kind, length, reason.
#[cfg(test)]
const LONGEST: usize = 16 + 3 * 10 + 2 + 1 + 64;

const VERSION: u8 = 1;
const OUTCOME: u8 = 0x0F;
const HAS_REASON: u8 = 0x10;
const HAS_SINCE: u8 = 0x20;

/// A tag of a block.
pub(super) type Tag = [u8; 16];

/// What stands at the beginning of a segment.
pub(super) fn header(number: u64) -> [u8; HEADER] {
    let mut bytes = [0xCF, 0x5E, VERSION, b'C', 0, 0, 0, 0, 0, 0, 0, 0];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// What the first block's tag begins with.
pub(super) fn first_tag(number: u64) -> Tag {
    cut(Sha256::new()
        .chain_update(b"codeferry closed segment")
        .chain_update(header(number)))
}

/// Appends a block, and gives its tag.
pub(super) fn append(to: &mut Vec<u8>, before: Tag, payload: &[u8]) -> Tag {
    let length = u16::try_from(payload.len()).expect("a block holds a few kilobytes");
    let tag = tag(before, payload);
    to.extend_from_slice(&length.to_be_bytes());
    to.extend_from_slice(&tag);
    to.extend_from_slice(payload);
    tag
}

/// Takes the next block off, checking its tag; `None` where the bytes are not what was written.
pub(super) fn take<'b>(bytes: &mut &'b [u8], before: Tag) -> Option<(Tag, &'b [u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (found, rest) = rest.split_first_chunk::<16>()?;
    let (payload, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    if tag(before, payload) != *found {
        return None;
    }
    *bytes = rest;
    Some((*found, payload))
}

fn tag(before: Tag, payload: &[u8]) -> Tag {
    cut(Sha256::new().chain_update(before).chain_update(payload))
}

fn cut(sum: Sha256) -> Tag {
    sum.finalize()[..16].try_into().expect("SHA-256 has 32 bytes")
}

/// A closed grant as it lies in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'b> {
    pub id: GrantId,
    pub received_at: Timestamp,
    pub closed_at: Timestamp,
    /// A sweep of everything before a later moment forgets it. The time of closing, or the newest sweep that had been made
    /// when it closed, if that is later: a clock that is stepped back must not hide what closes then.
    pub since: Timestamp,
    pub lane: Lane,
    pub outcome: Outcome,
    pub reason: Option<&'b str>,
}

impl Entry<'_> {
    /// The grant itself.
    pub fn closed(&self) -> ClosedGrant {
        ClosedGrant {
            id: self.id,
            received_at: self.received_at,
            closed_at: self.closed_at,
            lane: self.lane,
            outcome: self.outcome,
            reason: self.reason.map(Reason::new),
        }
    }
}

/// Writes a record.
pub(super) fn put(to: &mut Vec<u8>, closed: &ClosedGrant, since: Timestamp) {
    to.extend_from_slice(&closed.id.0.to_bytes());
    put_difference(to, closed.received_at, closed.id.created_at());
    put_difference(to, closed.closed_at, closed.received_at);
    let mut kind = outcome_byte(closed.outcome);
    if closed.reason.is_some() {
        kind |= HAS_REASON;
    }
    if since != closed.closed_at {
        kind |= HAS_SINCE;
    }
    to.extend_from_slice(&[closed.lane.0, kind]);
    if since != closed.closed_at {
        put_difference(to, since, closed.closed_at);
    }
    if let Some(reason) = &closed.reason {
        let text = reason.as_str().as_bytes();
        to.push(u8::try_from(text.len()).expect("a cause has at most 64 bytes"));
        to.extend_from_slice(text);
    }
}

/// Takes the next record off; `None` where there is none that this program can read.
pub(super) fn take_entry<'b>(bytes: &mut &'b [u8]) -> Option<Entry<'b>> {
    let (id, mut rest) = bytes.split_first_chunk::<16>()?;
    let id = GrantId(ulid::Ulid::from_bytes(*id));
    let received_at = take_difference(&mut rest, id.created_at())?;
    let closed_at = take_difference(&mut rest, received_at)?;
    let (&[lane, kind], mut rest) = rest.split_first_chunk::<2>()?;
    if kind & !(OUTCOME | HAS_REASON | HAS_SINCE) != 0 {
        return None;
    }
    let since = match kind & HAS_SINCE {
        0 => closed_at,
        _ => take_difference(&mut rest, closed_at)?,
    };
    let mut reason = None;
    if kind & HAS_REASON != 0 {
        let (length, after) = rest.split_first()?;
        let (text, after) = after.split_at_checked(usize::from(*length))?;
        reason = Some(std::str::from_utf8(text).ok()?);
        rest = after;
    }
    *bytes = rest;
    Some(Entry {
        id,
        received_at,
        closed_at,
        since,
        lane: Lane(lane),
        outcome: outcome_of(kind & OUTCOME)?,
        reason,
    })
}

/// All records of a payload; `None` where one cannot be read.
pub(super) fn entries(mut payload: &[u8]) -> Option<Vec<Entry<'_>>> {
    let mut found = Vec::new();
    while !payload.is_empty() {
        found.push(take_entry(&mut payload)?);
    }
    Some(found)
}

fn put_difference(to: &mut Vec<u8>, at: Timestamp, from: Timestamp) {
    let difference = at.as_millis().wrapping_sub(from.as_millis());
    let mut rest = (difference << 1 ^ (difference >> 63)).cast_unsigned();
    while rest >= 0x80 {
        to.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    to.push(rest as u8);
}

fn take_difference(bytes: &mut &[u8], from: Timestamp) -> Option<Timestamp> {
    let mut zigzag = 0_u64;
    for n in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        zigzag |= u64::from(byte & 0x7F) << (7 * n);
        if byte & 0x80 == 0 {
            let difference = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
            return Some(Timestamp::from_millis(from.as_millis().wrapping_add(difference)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_secs(1_786_363_204);

    fn closed(ms: [i64; 2], outcome: Outcome, reason: Option<&str>) -> ClosedGrant {
        ClosedGrant {
            id: GrantId::new(NOON, 77),
            received_at: Timestamp::from_millis(ms[0]),
            closed_at: Timestamp::from_millis(ms[1]),
            lane: Lane(3),
            outcome,
            reason: reason.map(Reason::new),
        }
    }

    #[test]
    fn every_record_reads_back_and_a_usual_one_is_small() {
        let noon = NOON.as_millis();
        let long = "x".repeat(64);
        for times in [
            [noon, noon + 1500],
            [noon - 9, noon - 7_200_000],
            [0, -5],
            [i64::MIN, i64::MAX],
            [i64::MAX, i64::MIN],
        ] {
            for outcome in Outcome::ALL {
                for reason in [None, Some("invalid_grant"), Some(long.as_str())] {
                    for since in [times[1], noon, i64::MAX, i64::MIN].map(Timestamp::from_millis) {
                        let closed = closed(times, outcome, reason);
                        let mut bytes = Vec::new();
                        put(&mut bytes, &closed, since);
                        assert!(bytes.len() <= LONGEST);
                        put(&mut bytes, &closed, since);
                        let read = entries(&bytes).expect("they read");
                        assert_eq!(read.len(), 2);
                        assert_eq!((read[1].closed(), read[0].since), (closed, since));
                        let half = &bytes[..bytes.len() - 1];
                        assert!(entries(half).is_none(), "a cut record is no record");
                    }
                }
            }
        }
        let mut usual = Vec::new();
        let completed = closed([noon, noon + 1500], Outcome::Completed, None);
        put(&mut usual, &completed, completed.closed_at);
        assert_eq!(usual.len(), 21);
    }

    #[test]
    fn no_changed_bit_and_no_other_place_goes_unnoticed() {
        let mut file = header(7).to_vec();
        let first = append(&mut file, first_tag(7), b"first payload");
        let last = append(&mut file, first, b"second payload");
        let read = |bytes: &[u8], number: u64| -> Option<Tag> {
            if bytes.get(..HEADER)? != header(number) {
                return None;
            }
            let (mut rest, mut tag) = (&bytes[HEADER..], first_tag(number));
            while !rest.is_empty() {
                (tag, _) = take(&mut rest, tag)?;
            }
            Some(tag)
        };
        assert_eq!(read(&file, 7), Some(last));
        for bit in 0..file.len() * 8 {
            let mut bad = file.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(read(&bad, 7), Some(last), "bit {bit}");
        }
        for cut in 0..file.len() {
            assert_ne!(read(&file[..cut], 7), Some(last), "cut at {cut}");
        }
        let mut other = header(8).to_vec();
        other.extend_from_slice(&file[HEADER..]);
        assert_eq!(read(&other, 8), None, "as the file of another number");
        let mut swapped = header(7).to_vec();
        let tag = append(&mut swapped, first_tag(7), b"second payload");
        append(&mut swapped, tag, b"first payload");
        assert_ne!(read(&swapped, 7), Some(last), "in another order");
    }
}
