//! One closed grant as one line of text. It does no I/O. A stored format: it must load for ever.
//!
//! ```text
//! codeferry closed grants 1 hour 496212 7c1e9a40
//! 01K2B3M1A0000000000000002N 0 1523 0 completed - 5f0c1d2e
//! ```
//!
//! A file begins with the first line. Each other line has the grant's id, the milliseconds from the id's time to the receipt
//! and from the receipt to the end, the lane, the outcome, and the reason or `-`. Every line ends with the CRC-32 of its text
//! and all texts before it, so a line that is missing, moved or changed is found there.

use crate::grant::{ClosedGrant, Outcome, Reason};
use crate::ids::{GrantId, Lane};
use crate::time::Timestamp;

/// The most bytes that a line may have: an id, two times, a lane, an outcome, a reason of 64 bytes and a sum.
pub const LONGEST: u64 = 192;

/// The first line of an hour's file.
pub fn header(hour: i64) -> String {
    format!("codeferry closed grants 1 hour {hour}")
}

/// The text of a grant.
pub fn encode(closed: &ClosedGrant) -> String {
    let since = |at: Timestamp, from: Timestamp| at.as_millis().wrapping_sub(from.as_millis());
    format!(
        "{} {} {} {} {} {}",
        closed.id,
        since(closed.received_at, closed.id.created_at()),
        since(closed.closed_at, closed.received_at),
        closed.lane,
        closed.outcome.name(),
        closed.reason.as_ref().map_or("-", Reason::as_str),
    )
}

/// The grant of a text; `None` where this program has not written it.
pub fn decode(text: &str) -> Option<ClosedGrant> {
    let mut words = text.split(' ');
    let mut next = || words.next();
    let id: GrantId = next()?.parse().ok()?;
    let after = |from: Timestamp, ms: &str| {
        let ms: i64 = ms.parse().ok()?;
        Some(Timestamp::from_millis(from.as_millis().wrapping_add(ms)))
    };
    let received_at = after(id.created_at(), next()?)?;
    let closed_at = after(received_at, next()?)?;
    let lane = Lane(next()?.parse().ok()?);
    let outcome = next()?;
    let outcome = Outcome::ALL.into_iter().find(|o| o.name() == outcome)?;
    let reason = next()?;
    let closed = ClosedGrant {
        id,
        received_at,
        closed_at,
        lane,
        outcome,
        reason: (reason != "-").then(|| Reason::new(reason)),
    };
    words.next().is_none().then_some(closed)
}

/// Appends a line with its sum, and returns that.
pub fn append(to: &mut Vec<u8>, before: u32, text: &str) -> u32 {
    let here = sum(before, text);
    to.extend_from_slice(format!("{text} {here:08x}\n").as_bytes());
    here
}

/// Takes a line apart into text and sum; `None` where the sum is not right.
pub fn check(line: &[u8], before: u32) -> Option<(&str, u32)> {
    let (text, written) = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?.rsplit_once(' ')?;
    let here = sum(before, text);
    (written == format!("{here:08x}")).then_some((text, here))
}

fn sum(before: u32, text: &str) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(before);
    hasher.update(text.as_bytes());
    hasher.finalize()
}
