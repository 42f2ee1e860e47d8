//! One person at a time: revoking one token of a person kills every token this application has for that person
//! ([Discord Docs/OAuth2](https://docs.discord.com/developers/topics/oauth2)), so one sign-in must not end
//! another of the same person that is still under way.
//!
//! Tested when a step is about to begin, not when it is claimed: between the two, other grants move.

use std::time::Duration;

use super::state::{Grant, Outcome, Revocation, State};
use crate::time::Timestamp;

/// A revocation waits this long for the person's other codes, and from then on it goes first.
///
/// Waiting lets one revocation serve them all. Without the bound a person who clicks every 2 s would leave a token alive
/// for ever. It is well inside a code's life, so a code that has to wait for the revocation has not expired.
pub const REVOCATION_YIELDS_FOR: Duration = Duration::from_secs(20);

/// A revocation waits this long for codes in flight whose person is not known.
pub const UNKNOWN_PERSON_WAIT: Duration = Duration::from_secs(15);

/// Since when a grant's token has been owed its revocation.
pub fn revocation_owed_since(grant: &Grant) -> Option<Timestamp> {
    match &grant.state {
        State::Settling(s) => match &s.revocation {
            Revocation::Owed { attempts, .. } => Some(attempts.since),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a grant's person was fetched with its token. Until then it is the one the link was made for, and the token may be
/// somebody else's: no other revocation is known to kill it, nor its own to kill any other.
pub fn owner_is_known(grant: &Grant) -> bool {
    matches!(&grant.state, State::Settling(s) if matches!(s.outcome, Outcome::Completed | Outcome::WrongPerson))
}

/// Whether an exchange may begin, given the same person's other grants and whether a revocation of theirs is on the wire.
pub fn exchange_may_begin<'a>(
    others: impl IntoIterator<Item = &'a Grant>,
    revocation_on_the_wire: bool,
    now: Timestamp,
) -> bool {
    !revocation_on_the_wire
        && others
            .into_iter()
            .filter_map(revocation_owed_since)
            .all(|since| now.since(since) <= REVOCATION_YIELDS_FOR)
}

/// Whether a revocation may begin, given all grants of that person (its own included) and those in flight whose
/// person is not known yet.
pub fn revocation_may_begin<'a>(
    theirs: impl IntoIterator<Item = &'a Grant>,
    unknown_in_flight: impl IntoIterator<Item = &'a Grant>,
    now: Timestamp,
) -> bool {
    let mut oldest_owed: Option<Timestamp> = None;
    let mut waiting = false;
    for grant in theirs {
        match &grant.state {
            State::Exchanging { .. } | State::Exchanged { .. } => return false,
            State::Received { .. } => waiting = true,
            State::Settling(_) | State::Closed(_) => {
                if let Some(since) = revocation_owed_since(grant) {
                    oldest_owed = Some(oldest_owed.map_or(since, |oldest| oldest.min(since)));
                }
            }
        }
    }
    let Some(owed_since) = oldest_owed else { return true };
    let owed_for = now.since(owed_since);
    if waiting && owed_for <= REVOCATION_YIELDS_FOR {
        return false;
    }
    owed_for > UNKNOWN_PERSON_WAIT
        || !unknown_in_flight.into_iter().any(|g| {
            matches!(g.state, State::Exchanging { .. } | State::Exchanged { .. }) && g.received_at <= owed_since
        })
}

#[cfg(test)]
mod tests;
