//! Sends a person whose code died a direct message with a fresh link. Doing it again within minutes is harmless: the
//! message carries a mark that comes from the consent, by which Discord knows a repeat.

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use super::step::{Performed, Step};
use crate::crash;
use crate::grant::event::Uninvited;
use crate::grant::{Event, Grant};
use crate::ids::{GrantId, UserId};
use crate::intake::mint::{Link, Wanted};
use crate::port::contact::{Button, Contact, LinkIssuer, NoLink, Note, minutes_left};
use crate::port::discord::BotError;
use crate::port::later::Later;
use crate::port::permit::Permit;
use crate::rate::limits::Need;
use crate::secret::PersonalData;
use crate::text::{Template, TextError};
use crate::time::SharedClock;

/// Longest for one attempt: the last one must have ended before the results go.
const ATTEMPT: Duration = Duration::from_secs(12);
/// `Cannot send messages to this user`, and the same for want of a common server.
const CLOSED: [u32; 2] = [50007, 50278];
/// `You are opening direct messages too fast`.
const TOO_FAST: u32 = 40003;

/// What the step is made of.
pub struct InviteSettings {
    /// Where links come from.
    pub link_issuer: Rc<dyn LinkIssuer>,
    /// Sends users messages.
    pub contact: Rc<dyn Contact>,
    /// Discord's time as far as it is known.
    pub clock: SharedClock,
    /// The message; knows `link` and `minutes`.
    pub text: Template,
    /// What stands on the button.
    pub button: Template,
}

/// The invitation.
pub struct Invite {
    settings: InviteSettings,
    /// The text has no link in it, so a button has.
    with_button: bool,
}

/// Whom to invite, for what.
pub struct InviteWork {
    grant: GrantId,
    person: Option<UserId>,
    nonce: Option<[u8; 8]>,
    purpose: u8,
}

impl Invite {
    /// An invitation with this text.
    pub fn new(settings: InviteSettings) -> Self {
        let with_button = !settings.text.uses("link");
        Self { settings, with_button }
    }

    async fn invite(&self, work: &InviteWork) -> Performed {
        // Only a signed state has both; without one there is no user to invite.
        let (Some(person), Some(nonce)) = (work.person, work.nonce) else {
            return Event::InvitationRefused(Uninvited::Failed).into();
        };
        let InviteSettings {
            link_issuer, contact, ..
        } = &self.settings;
        // The channel first: a link takes a place in the gate that another user could have.
        let channel = match contact.open_direct(person).await {
            Ok(channel) => channel,
            Err(error) => return refused(work, error),
        };
        let wanted = Wanted {
            user: person,
            purpose: work.purpose,
            again: true,
        };
        let link = match link_issuer.mint(wanted).await {
            Ok(link) => link,
            Err(NoLink::Later(after)) => {
                let event = Event::InvitationDeferred {
                    after: Some(after),
                    or: Uninvited::NoRoom,
                };
                return Performed::failed(event, "no_room");
            }
            Err(failed) => return deferred(None, failed.to_string()),
        };
        let note = match self.note(link) {
            Ok(note) => note,
            // The text was tried out when the configuration was checked.
            Err(error) => {
                tracing::error!(%error, "the text of a new invitation could not be rendered");
                return Event::InvitationRefused(Uninvited::Failed).into();
            }
        };
        crash::point("invite.before");
        let sent = contact.send_direct(channel, &note, &mark(nonce)).await;
        crash::point("invite.after");
        match sent {
            Ok(()) => Event::Invited.into(),
            Err(error) => refused(work, error),
        }
    }

    fn note(&self, link: Link) -> Result<Note, TextError> {
        let minutes = minutes_left(&link, self.settings.clock.now());
        let values = [("link", link.url.as_str().into()), ("minutes", minutes.into())];
        let text = self.settings.text.fill(&values)?;
        let label = self.settings.button.fill(&[])?;
        let button = self.with_button.then_some(Button { label, url: link.url });
        Ok(Note { text, button })
    }
}

fn deferred(after: Option<Duration>, reason: impl Into<String>) -> Performed {
    let or = Uninvited::Failed;
    Performed::failed(Event::InvitationDeferred { after, or }, reason)
}

fn refused(work: &InviteWork, error: BotError) -> Performed {
    match error {
        BotError::Forbidden { code } if CLOSED.contains(&code) => {
            tracing::info!(grant.id = %work.grant, "a user does not accept direct messages: no new invitation was sent");
            Event::InvitationRefused(Uninvited::Closed).into()
        }
        BotError::Transient(Later { after, reason }) => deferred(after, reason),
        BotError::Unauthorized | BotError::Forbidden { code: TOO_FAST } | BotError::Refused { code: TOO_FAST } => {
            deferred(None, error.to_string())
        }
        BotError::Forbidden { .. } | BotError::NotFound { .. } | BotError::Refused { .. } => {
            tracing::warn!(grant.id = %work.grant, %error, "a new invitation was refused");
            Event::InvitationRefused(Uninvited::Failed).into()
        }
    }
}

/// The mark that a repeat has too, at most 25 characters: after a crash Discord then shows no second message, nor for the
/// second of two codes that one consent brought.
fn mark(nonce: [u8; 8]) -> String {
    format!("again-{:016x}", u64::from_be_bytes(nonce))
}

impl Step for Invite {
    type Work = InviteWork;

    fn work(grant: &Grant, _: Option<PersonalData>) -> Option<InviteWork> {
        Some(InviteWork {
            grant: grant.id,
            person: grant.requested.user,
            nonce: grant.requested.nonce,
            purpose: grant.requested.purpose.unwrap_or_default(),
        })
    }

    fn needs(&self, _: &InviteWork) -> Option<Need> {
        // The routes of the bot are paced by their own limits.
        None
    }

    fn perform<'a>(&'a self, work: &'a InviteWork, _: Permit) -> LocalBoxFuture<'a, Performed> {
        Box::pin(async move {
            let invited = tokio::time::timeout(ATTEMPT, self.invite(work)).await;
            invited.unwrap_or_else(|_| deferred(None, "timeout"))
        })
    }

    fn after_panic(&self, _: &InviteWork) -> Performed {
        deferred(None, "panic")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_short_enough_and_every_consents_own() {
        let marks = [[0; 8], [255; 8], [0, 1, 2, 3, 4, 5, 6, 7]].map(mark);
        assert_eq!(marks[2], "again-0001020304050607");
        assert!(marks.iter().all(|m| m.len() <= 25) && marks[0] != marks[1]);
    }
}
