//! Events of grants, for subscribers. An event is sent once the change behind it is durable. It holds no code, no token and
//! no fetched data: results go to the sinks alone, which acknowledge them and are retried.

use std::collections::VecDeque;
use std::sync::Arc;

use actix::{Handler, Message};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::broadcast;

use super::Journal;
use crate::grant::{Grant, State};
use crate::ids::{CodeHash, GrantId, LinkId, UserId};
use crate::time::{Timestamp, rfc3339};

/// Subscribers of the control interface at the same time.
const SUBSCRIBERS: usize = 16;
/// Pages that wait for the end of their sign-in at the same time; further ones are shown at once.
const PAGES: usize = 128;
/// The last events, kept for subscribers that arrive late or return.
const KEPT: usize = 1024;
/// Events that may wait for one subscriber.
const WAITING: usize = 256;

/// What happened to a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Happened {
    /// A code or a denial was journalled.
    Opened,
    /// The code was exchanged.
    Exchanged,
    /// The outcome is known.
    Settled,
    /// A sink has the result.
    Delivered,
    /// A delivery has failed for good, unless an operator requeues it.
    Parked,
    /// The token was revoked.
    Revoked,
    /// Nothing is owed any more.
    Closed,
}

impl Happened {
    /// The name of the server-sent event.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Exchanged => "exchanged",
            Self::Settled => "settled",
            Self::Delivered => "delivered",
            Self::Parked => "parked",
            Self::Revoked => "revoked",
            Self::Closed => "closed",
        }
    }
}

/// One event of one grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GrantEvent {
    /// What happened.
    #[serde(rename = "type")]
    pub happened: Happened,
    /// When, by Discord's clock.
    #[serde(with = "rfc3339")]
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The grant.
    #[schemars(with = "String")]
    pub grant: GrantId,
    /// The link it came by, where the state is signed: the `id` that `POST /v1/links` answered.
    #[schemars(with = "Option<String>")]
    pub link: Option<LinkId>,
    /// The keyed hash of its code; never sent.
    #[serde(skip)]
    pub code: Option<CodeHash>,
    /// The user for whom the link was made.
    #[schemars(with = "Option<String>")]
    pub user_id: Option<UserId>,
    /// The outcome, from `settled` on.
    pub outcome: Option<String>,
    /// Why; on all outcomes but `completed`.
    pub reason: Option<String>,
    /// The sink, for `delivered` and `parked`.
    pub sink: Option<String>,
}

impl GrantEvent {
    /// An event of this grant, as it is afterwards.
    pub(super) fn of(grant: &Grant, happened: Happened, at: Timestamp) -> Self {
        let ended = match &grant.state {
            State::Settling(settling) => Some((settling.outcome, settling.reason.as_ref())),
            State::Closed(closed) => Some((closed.outcome, closed.reason.as_ref())),
            _ => None,
        };
        Self {
            happened,
            at,
            grant: grant.id,
            link: grant.requested.nonce.map(LinkId),
            code: grant.code_hash,
            user_id: grant.requested.user,
            outcome: ended.map(|(outcome, _)| outcome.name().to_owned()),
            reason: ended.and_then(|(_, reason)| reason.map(ToString::to_string)),
            sink: None,
        }
    }
}

/// An event and its number, which counts from the journal's start.
#[derive(Debug, Clone)]
pub struct Numbered {
    /// When the journal started, in milliseconds, and the event's number: `Last-Event-ID`.
    pub id: (i64, u64),
    /// The event.
    pub event: Arc<GrantEvent>,
}

/// The last events, and the subscribers of the next.
#[derive(Debug)]
pub(super) struct Events {
    began: i64,
    last: u64,
    kept: VecDeque<Numbered>,
    /// Gone once the journal is closed: every subscription ends with it.
    told: Option<[broadcast::Sender<Numbered>; 2]>,
}

/// Who subscribes: each has room of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// The control interface.
    Control,
    /// A page that is about to be shown.
    Page,
}

/// Which events are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Those of one user's links.
    pub user_id: Option<UserId>,
    /// Those of one link.
    pub link: Option<LinkId>,
    /// Those of one grant.
    pub grant: Option<GrantId>,
    /// Those of one code.
    pub code: Option<CodeHash>,
}

impl Wanted {
    /// Whether this event is wanted.
    pub fn takes(&self, event: &GrantEvent) -> bool {
        self.user_id.is_none_or(|user| event.user_id == Some(user))
            && self.link.is_none_or(|link| event.link == Some(link))
            && self.grant.is_none_or(|grant| event.grant == grant)
            && self.code.is_none_or(|code| event.code == Some(code))
    }

    fn is_of_some(&self) -> bool {
        *self != Self::default()
    }
}

/// Asks to be told of events.
#[derive(Message)]
#[rtype(result = "Result<Subscription, NoEvents>")]
pub struct Subscribe {
    /// Who asks.
    pub audience: Audience,
    /// Which.
    pub wanted: Wanted,
    /// The last event that the subscriber has seen.
    pub after: Option<(i64, u64)>,
}

/// A subscription: what has happened, then what happens.
#[derive(Debug)]
pub struct Subscription {
    /// Some events between `after` and now are no longer kept.
    pub gap: bool,
    /// The wanted ones that are kept.
    pub past: Vec<Numbered>,
    /// All that follow, the wanted and the others.
    pub next: broadcast::Receiver<Numbered>,
}

/// Why a subscription is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoEvents {
    /// The journal is closed.
    #[error("the service is stopping")]
    Stopping,
    /// Too many subscribers.
    #[error("{SUBSCRIBERS} subscribers are served at the same time: end one, or share it")]
    Full,
}

impl Events {
    pub(super) fn beginning(at: Timestamp) -> Self {
        Self {
            began: at.as_millis(),
            last: 0,
            kept: VecDeque::new(),
            told: Some([broadcast::channel(WAITING).0, broadcast::channel(WAITING).0]),
        }
    }

    /// What these events tell of is durable.
    pub(super) fn tell(&mut self, events: impl IntoIterator<Item = GrantEvent>) {
        for event in events {
            self.last += 1;
            let id = (self.began, self.last);
            let numbered = Numbered {
                id,
                event: Arc::new(event),
            };
            if self.kept.len() == KEPT {
                self.kept.pop_front();
            }
            self.kept.push_back(numbered.clone());
            for told in self.told.iter().flatten() {
                // Nobody may be there.
                let _ = told.send(numbered.clone());
            }
        }
    }

    /// Ends every subscription once it has read what there is.
    pub(super) fn end(&mut self) {
        self.told = None;
    }

    fn subscribe(&self, subscribe: Subscribe) -> Result<Subscription, NoEvents> {
        let Subscribe {
            audience,
            wanted,
            after,
        } = subscribe;
        let [control, pages] = self.told.as_ref().ok_or(NoEvents::Stopping)?;
        let (told, most) = match audience {
            Audience::Control => (control, SUBSCRIBERS),
            Audience::Page => (pages, PAGES),
        };
        if told.receiver_count() >= most {
            return Err(NoEvents::Full);
        }
        let forgotten = self.last - self.kept.len() as u64;
        let ours = after.filter(|(began, _)| *began == self.began);
        // Whoever asks for something of one user, link or grant may ask a moment after it has happened.
        let seen = match (ours, after) {
            (Some((_, seen)), _) => seen,
            (None, Some(_)) => 0,
            (None, None) if wanted.is_of_some() => 0,
            (None, None) => self.last,
        };
        let past = self.kept.iter().filter(|n| n.id.1 > seen && wanted.takes(&n.event));
        Ok(Subscription {
            gap: after.is_some() && (ours.is_none() || seen < forgotten),
            past: past.cloned().collect(),
            next: told.subscribe(),
        })
    }
}

impl Handler<Subscribe> for Journal {
    type Result = Result<Subscription, NoEvents>;

    fn handle(&mut self, subscribe: Subscribe, _: &mut Self::Context) -> Self::Result {
        self.events.subscribe(subscribe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(user: u64) -> GrantEvent {
        GrantEvent {
            happened: Happened::Opened,
            at: Timestamp::from_secs(1_700_000_000),
            grant: GrantId::new(Timestamp::from_secs(1_700_000_000), u128::from(user)),
            link: Some(LinkId([user as u8; 8])),
            code: None,
            user_id: Some(UserId(user)),
            outcome: None,
            reason: None,
            sink: None,
        }
    }

    fn numbers(past: &[Numbered]) -> Vec<u64> {
        past.iter().map(|n| n.id.1).collect()
    }

    #[test]
    fn whoever_asks_for_one_user_or_link_misses_nothing_and_whoever_asks_for_all_begins_now() {
        let mut events = Events::beginning(Timestamp::from_millis(7));
        events.tell([event(1), event(2), event(1)]);
        let ask = |wanted: Wanted, after| {
            events
                .subscribe(Subscribe {
                    audience: Audience::Control,
                    wanted,
                    after,
                })
                .expect("room")
        };
        let user = Wanted {
            user_id: Some(UserId(1)),
            ..Wanted::default()
        };
        assert_eq!(numbers(&ask(user.clone(), None).past), [1, 3]);
        assert_eq!(numbers(&ask(user, Some((7, 1))).past), [3]);
        let link = Wanted {
            link: Some(LinkId([2; 8])),
            ..Wanted::default()
        };
        assert_eq!(numbers(&ask(link, None).past), [2]);
        assert!(ask(Wanted::default(), None).past.is_empty());
        let again = ask(Wanted::default(), Some((7, 2)));
        assert_eq!((numbers(&again.past), again.gap), (vec![3], false));
        let of_another_start = ask(Wanted::default(), Some((6, 2)));
        assert_eq!(
            (numbers(&of_another_start.past), of_another_start.gap),
            (vec![1, 2, 3], true)
        );
    }

    #[test]
    fn what_is_kept_and_what_waits_is_bounded_and_a_gap_is_told() {
        let mut events = Events::beginning(Timestamp::from_millis(7));
        let all = || Subscribe {
            audience: Audience::Control,
            wanted: Wanted::default(),
            after: Some((7, 0)),
        };
        let mut slow = events.subscribe(all()).expect("room").next;
        events.tell((0..KEPT as u64 + 10).map(event));
        let late = events.subscribe(all()).expect("room");
        assert_eq!((late.past.len(), late.gap), (KEPT, true));
        assert!(matches!(
            slow.try_recv(),
            Err(broadcast::error::TryRecvError::Lagged(_))
        ));
        let held: Vec<_> = (0..SUBSCRIBERS).map_while(|_| events.subscribe(all()).ok()).collect();
        assert_eq!(events.subscribe(all()).err(), Some(NoEvents::Full));
        drop(held);
        events.end();
        assert_eq!(events.subscribe(all()).err(), Some(NoEvents::Stopping));
    }
}
