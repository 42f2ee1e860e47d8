//! What enters the journal's memory: source messages and their redirects, each once.

use rand::RngExt;

use super::{Changed, OpenGrants};
use crate::grant::state::{Origin, Presentations, Requested};
use crate::grant::{Event, Grant, Outcome, Reason, State};
use crate::ids::{ChannelId, CodeHash, GrantId, Lane, MessageId, snowflake_at};
use crate::intake::callback::RELAY_EXPIRED;
use crate::secret::AuthorizationCode;
use crate::store::{Change, SeenCode, SeenMessage, SourceMessage};
use crate::time::Timestamp;

/// What is read from one source message.
#[derive(Debug)]
pub struct Carried {
    /// The message.
    pub message: MessageId,
    /// Its channel; [`ChannelId::DIRECT`] where no message carried it.
    pub channel: ChannelId,
    /// Its lane.
    pub lane: Lane,
    /// Its redirects, in order; empty for an old message of the lane's own webhook that could not be read: it is removed.
    pub redirects: Vec<Redirected>,
    /// It also has lines that could not be read: it stays until a code in them would be dead.
    pub unread_lines: bool,
}

impl Carried {
    /// A redirect that came without a message, at a moment. `low` is random, so that two of one millisecond differ.
    pub fn direct(at: Timestamp, low: u32, lane: Lane, redirect: Redirected) -> Self {
        Self {
            message: MessageId(snowflake_at(at) | u64::from(low & 0x3f_ffff)),
            channel: ChannelId::DIRECT,
            lane,
            redirects: vec![redirect],
            unread_lines: false,
        }
    }
}

/// One redirect: a code, or a denial.
#[derive(Debug)]
pub struct Redirected {
    /// When the relay saw it.
    pub redirected_at: Option<Timestamp>,
    /// The code with its keyed hash, or the error that came instead.
    pub result: Result<(AuthorizationCode, CodeHash), Reason>,
    /// What the state asked for, or why it was refused.
    pub requested: Result<Requested, (Requested, Reason)>,
}

/// What an append came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Appended {
    /// Grants that are new.
    pub received: usize,
    /// Redirects that were known already.
    pub known: usize,
    /// Messages at the end that found no room.
    pub left_out: usize,
}

impl OpenGrants {
    /// How many of these messages, from the first on, fit while at most `max_open` grants are open. Known ones need no
    /// room, and one message always fits where nothing is open: else a full one would never enter a small journal.
    pub fn fitting(&self, carried: &[Carried], max_open: usize) -> usize {
        let mut open = self.len();
        carried
            .iter()
            .take_while(|c| {
                let fresh = if self.messages.contains_key(&c.message) {
                    0
                } else {
                    c.redirects.len()
                };
                let fits = open == 0 || fresh == 0 || open + fresh <= max_open;
                open += fresh;
                fits
            })
            .count()
    }

    /// Takes in what was read from source messages; what is known already changes nothing.
    pub fn append(&mut self, carried: Vec<Carried>, now: Timestamp) -> (Appended, Changed) {
        let mut appended = Appended::default();
        let mut changed = Changed::default();
        for carried in carried {
            let Carried {
                message,
                channel,
                lane,
                redirects,
                unread_lines,
            } = carried;
            let direct = channel == ChannelId::DIRECT;
            if !direct {
                if self.messages.insert(message, channel).is_some() {
                    appended.known += redirects.len();
                    continue;
                }
                changed
                    .changes
                    .push(Change::SeeMessage(SeenMessage { message, channel }));
            }
            let mut fresh = Vec::new();
            for (index, redirect) in redirects.into_iter().enumerate() {
                if let Ok((_, hash)) = &redirect.result {
                    let seen = SeenCode {
                        hash: *hash,
                        message,
                        channel,
                    };
                    if self.codes.contains_key(hash) {
                        appended.known += 1;
                        continue;
                    }
                    self.codes.insert(*hash, seen);
                    changed.changes.push(Change::SeeCode(seen));
                }
                let death = death_told_by(&redirect);
                fresh.push(self.receive(
                    Origin {
                        lane,
                        message,
                        index: index as u16,
                    },
                    redirect,
                    now,
                ));
                if let Some(hash) = death.filter(|hash| !self.codes.contains_key(hash)) {
                    let seen = SeenCode { hash, message, channel };
                    self.codes.insert(hash, seen);
                    changed.changes.push(Change::SeeCode(seen));
                }
            }
            appended.received += fresh.len();
            if !self.keep_messages && !direct {
                let unspent = fresh.iter().filter(|g| !g.is_spent()).count() as u16;
                let source_message = SourceMessage {
                    message,
                    lane,
                    channel,
                    unspent,
                    attempts: 0,
                    not_before: if unread_lines {
                        message.created_at() + self.policy.code_lifetime
                    } else {
                        now
                    },
                };
                self.source_messages.insert(message, source_message.clone());
                self.put_source_message(source_message, &mut changed);
            }
            for grant in fresh {
                self.replace(grant, now, &mut changed);
            }
        }
        (appended, changed)
    }

    fn receive(&mut self, origin: Origin, redirect: Redirected, now: Timestamp) -> Grant {
        let (requested, refused) = match redirect.requested {
            Ok(requested) => (requested, None),
            Err((requested, reason)) => (requested, Some(reason)),
        };
        let placeholder = State::Received {
            code: AuthorizationCode::new(""),
            presentations: Presentations::default(),
        };
        let mut grant = Grant {
            id: GrantId::new(now, self.rng.random()),
            origin,
            received_at: now,
            deadline: origin.message.created_at() + self.policy.code_lifetime,
            redirected_at: redirect.redirected_at,
            code_hash: redirect.result.as_ref().ok().map(|(_, hash)| *hash),
            person: requested.user,
            requested,
            state: placeholder,
            failed: Vec::new(),
        };
        grant.state = match (redirect.result, refused) {
            (Err(error), _) if error.as_str() == RELAY_EXPIRED => {
                let come = self.has_come(grant.requested.nonce);
                let superseded = come
                    .then(|| grant.apply(Event::Superseded, self.policy.at(now)).ok())
                    .flatten();
                superseded.map_or_else(
                    || grant.settle(Outcome::Expired, Some(RELAY_EXPIRED), None, self.policy.at(now)),
                    |grant| grant.state,
                )
            }
            (Err(error), _) => grant.settle(Outcome::Denied, Some(error.as_str()), None, self.policy.at(now)),
            (Ok(_), Some(reason)) => grant.settle(Outcome::Refused, Some(reason.as_str()), None, self.policy.at(now)),
            (Ok((code, _)), None) => State::Received {
                code,
                presentations: Presentations::default(),
            },
        };
        grant
    }

    /// Whether this link's code has arrived or is known to have expired: a relay whose last post had no clear answer reports
    /// a code as expired although it was posted, or reports it twice.
    fn has_come(&self, nonce: Option<[u8; 8]>) -> bool {
        nonce.is_some_and(|nonce| {
            self.nonces.contains_key(&nonce)
                || self.grants_of_consent(nonce).next().is_some()
                || self.codes.contains_key(&death_of(nonce))
        })
    }
}

/// The key under which a relay's report of an expired code is remembered, as long as codes are: it names only a link.
fn death_told_by(redirect: &Redirected) -> Option<CodeHash> {
    let (Err(error), Ok(requested)) = (&redirect.result, &redirect.requested) else {
        return None;
    };
    let nonce = requested.nonce.filter(|_| error.as_str() == RELAY_EXPIRED);
    nonce.map(death_of)
}

/// Tombstone key; a collision with a code's hash has odds of 2^-64.
fn death_of(nonce: [u8; 8]) -> CodeHash {
    let mut hash = *b"--------the dead";
    hash[..8].copy_from_slice(&nonce);
    CodeHash(hash)
}
