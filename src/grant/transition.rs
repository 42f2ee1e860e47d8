//! The one total function that changes a grant.
//!
//! Every rule about what an answer means for a code stands here and in `retry`; `docs/state-machine.md` draws it.

use super::event::{Event, IllegalTransition};
use super::retry::{self, Policy};
use super::state::{
    Attempts, ClosedGrant, Delivery, DeliveryState, Grant, Invitation, Outcome, Presentations, Reason, Requested,
    Revocation, Settling, State, Token,
};
use crate::ids::UserId;
use crate::secret::{AccessToken, AuthorizationCode};
use crate::time::Timestamp;

impl Grant {
    /// What becomes of the grant when `event` happens at `now`. The grant itself is untouched.
    pub fn apply(&self, event: Event, now: Timestamp, policy: &Policy) -> Result<Self, IllegalTransition> {
        let illegal = IllegalTransition {
            grant: self.id,
            state: self.state.name(),
            event: event.name(),
        };
        let mut next = self.clone();
        match (&self.state, event) {
            (State::Received { code, presentations }, event) => {
                next.state = self
                    .while_received(code, *presentations, event, now, policy)
                    .ok_or(illegal)?;
            }
            (State::Exchanging { code, presentations }, event) => {
                next.state = self
                    .while_exchanging(code, *presentations, event, now, policy)
                    .ok_or(illegal)?;
            }
            (
                State::Exchanged {
                    token,
                    attempts,
                    unauthorized,
                },
                event,
            ) => {
                if let Event::Fetched { person, .. } = event {
                    next.person = Some(person);
                }
                next.state = self
                    .while_exchanged(token, *attempts, *unauthorized, event, now, policy)
                    .ok_or(illegal)?;
            }
            (State::Settling(settling), event) => {
                let mut settling = settling.clone();
                self.while_settling(&mut settling, event, now, policy).ok_or(illegal)?;
                next.state = State::Settling(settling);
            }
            (State::Closed(_), _) => return Err(illegal),
        }
        next.close_if_settled(now);
        Ok(next)
    }

    fn while_received(
        &self,
        code: &AuthorizationCode,
        mut presentations: Presentations,
        event: Event,
        now: Timestamp,
        policy: &Policy,
    ) -> Option<State> {
        Some(match event {
            Event::Began => {
                presentations.count += 1;
                State::Exchanging {
                    code: code.clone(),
                    presentations,
                }
            }
            Event::Expired if presentations.outcome_unknown() => {
                self.settle(Outcome::Lost, Some("answer_lost"), None, now, policy)
            }
            Event::Expired => self.settle(Outcome::Expired, Some("code_expired"), None, now, policy),
            Event::Superseded => State::Closed(self.closed(Outcome::Duplicate, Some(Reason::new("state_used")), now)),
            // An exchange whose answer was cut off may have left a token that nobody has: that is what must be told.
            Event::Dropped if presentations.outcome_unknown() => {
                uninvited(self.settle(Outcome::Lost, Some("answer_lost"), None, now, policy))
            }
            Event::Dropped => self.settle(Outcome::Dropped, Some("dropped_by_operator"), None, now, policy),
            Event::Aged => State::Received {
                code: code.clone(),
                presentations,
            },
            _ => return None,
        })
    }

    fn while_exchanging(
        &self,
        code: &AuthorizationCode,
        mut presentations: Presentations,
        event: Event,
        now: Timestamp,
        policy: &Policy,
    ) -> Option<State> {
        let again = |presentations| State::Received {
            code: code.clone(),
            presentations,
        };
        // By the relay's clock the code is past its life: it is presented once, whatever comes back.
        let only_once = self.is_suspect(now, policy);
        Some(match event {
            Event::NotSent => {
                presentations.not_before = now + retry::AFTER_NOT_SENT;
                again(presentations)
            }
            Event::Deferred { after } => {
                presentations.not_before = now + after.min(retry::LONGEST_WAIT);
                again(presentations)
            }
            Event::CredentialsRefused => {
                presentations.not_before = now + retry::AFTER_NOT_SENT;
                again(presentations)
            }
            Event::Unclear => {
                presentations.unclear += 1;
                match retry::after_unclear(presentations.unclear) {
                    Some(wait) if !only_once => {
                        presentations.not_before = now + wait;
                        again(presentations)
                    }
                    _ => self.settle(Outcome::Lost, Some("answer_unclear"), None, now, policy),
                }
            }
            Event::CutOff | Event::FoundAtStart => {
                let wait = if matches!(event, Event::CutOff) {
                    retry::AFTER_CUT_OFF
                } else {
                    std::time::Duration::ZERO
                };
                presentations.cut_off += 1;
                if retry::once_more_after_cut_off(&presentations) && !only_once {
                    presentations.not_before = now + wait;
                    again(presentations)
                } else {
                    self.settle(Outcome::Lost, Some("answer_lost"), None, now, policy)
                }
            }
            Event::Exchanged(token) => State::Exchanged {
                token,
                attempts: Attempts::owed_since(now),
                unauthorized: 0,
            },
            // After an answer that did not tell, a refusal most likely means that the earlier presentation consumed it.
            Event::Refused(_) if presentations.outcome_unknown() => {
                self.settle(Outcome::Lost, Some("answer_lost"), None, now, policy)
            }
            Event::Refused(_) if now >= self.deadline => {
                self.settle(Outcome::Expired, Some("code_expired"), None, now, policy)
            }
            Event::Refused(reason) => self.settle(Outcome::Refused, Some(reason.as_str()), None, now, policy),
            Event::Aged => State::Exchanging {
                code: code.clone(),
                presentations,
            },
            _ => return None,
        })
    }

    fn while_exchanged(
        &self,
        token: &Token,
        attempts: Attempts,
        unauthorized: u32,
        event: Event,
        now: Timestamp,
        policy: &Policy,
    ) -> Option<State> {
        let failed = |reason| self.settle(Outcome::Failed, Some(reason), Some(token), now, policy);
        Some(match event {
            Event::Unauthorized => match retry::AFTER_UNAUTHORIZED.get(unauthorized as usize) {
                Some(wait) => State::Exchanged {
                    token: token.clone(),
                    attempts: Attempts {
                        not_before: now + *wait,
                        ..attempts
                    },
                    unauthorized: unauthorized + 1,
                },
                None => failed("token_dead"),
            },
            Event::FetchDeferred { .. } if now.since(attempts.since) >= retry::FETCH_GIVE_UP => failed("fetch_gave_up"),
            Event::FetchDeferred { after } => State::Exchanged {
                token: token.clone(),
                attempts: retry::next_attempt(attempts, self.id, after, retry::FETCH_SPACING, now),
                unauthorized,
            },
            Event::FetchRefused(reason) => failed(reason.as_str()),
            Event::Fetched { person, .. } if !self.was_asked_of(person) => {
                self.settle(Outcome::WrongPerson, Some("wrong_person"), Some(token), now, policy)
            }
            Event::Fetched { missing, .. } => {
                let State::Settling(mut settling) = self.settle(Outcome::Completed, None, Some(token), now, policy)
                else {
                    unreachable!("settle gives Settling");
                };
                settling.missing = missing;
                settling.has_data = true;
                State::Settling(settling)
            }
            Event::Dropped => self.settle(Outcome::Dropped, Some("dropped_by_operator"), Some(token), now, policy),
            Event::Aged => State::Exchanged {
                token: token.clone(),
                attempts,
                unauthorized,
            },
            _ => return None,
        })
    }

    fn while_settling(&self, settling: &mut Settling, event: Event, now: Timestamp, policy: &Policy) -> Option<()> {
        match event {
            Event::Delivered { sink } => {
                let delivery = settling.deliveries.get_mut(&sink)?;
                delivery.state = DeliveryState::Done;
            }
            Event::DeliveryFailed { sink, after, uncertain } => {
                let delivery = settling
                    .deliveries
                    .get_mut(&sink)
                    .filter(|d| d.state == DeliveryState::Owed)?;
                delivery.uncertain |= uncertain;
                delivery.attempts =
                    retry::next_attempt(delivery.attempts, self.id, after, retry::DELIVERY_SPACING, now);
                if now.since(delivery.attempts.since) >= retry::PARK_AFTER {
                    park(delivery, now);
                }
            }
            Event::DeliveryRefused { sink } => {
                let delivery = settling
                    .deliveries
                    .get_mut(&sink)
                    .filter(|d| d.state == DeliveryState::Owed)?;
                delivery.attempts.count = delivery.attempts.count.saturating_add(1);
                park(delivery, now);
            }
            Event::Requeued { sink } => {
                let mut any = false;
                for (name, delivery) in &mut settling.deliveries {
                    let meant = sink.as_ref().is_none_or(|s| s == name);
                    if meant && delivery.state == DeliveryState::Parked && policy.sink_index(name).is_some() {
                        delivery.state = DeliveryState::Owed;
                        delivery.attempts = Attempts::owed_since(now);
                        any = true;
                    }
                }
                any.then_some(())?;
            }
            Event::Revoked => match settling.revocation {
                Revocation::Owed { .. } => settling.revocation = Revocation::Done,
                Revocation::Done => {}
                Revocation::NotNeeded => return None,
            },
            Event::RevocationFailed { after } => {
                let Revocation::Owed { attempts, .. } = &mut settling.revocation else {
                    return None;
                };
                *attempts = retry::next_attempt(*attempts, self.id, after, retry::REVOCATION_SPACING, now);
            }
            Event::Invited => match settling.invitation {
                Invitation::Owed(_) => settling.invitation = Invitation::Sent,
                Invitation::Sent => {}
                _ => return None,
            },
            Event::InvitationDeferred { after, or } => {
                let Invitation::Owed(attempts) = settling.invitation else {
                    return None;
                };
                let next = retry::next_attempt(attempts, self.id, after, retry::INVITATION_SPACING, now);
                let in_time = next.not_before.since(next.since) <= retry::INVITATION_LAST_ATTEMPT;
                settling.invitation = if in_time { Invitation::Owed(next) } else { or.into() };
            }
            Event::InvitationRefused(why) => {
                let Invitation::Owed(_) = settling.invitation else {
                    return None;
                };
                settling.invitation = why.into();
            }
            // Another code of the same consent was completed: nobody waits for a link any more.
            Event::Superseded => {
                let Invitation::Owed(_) = settling.invitation else {
                    return None;
                };
                settling.invitation = Invitation::NotNeeded;
            }
            Event::Dropped => {
                if let Invitation::Owed(_) = settling.invitation {
                    settling.invitation = Invitation::NotNeeded;
                }
                for delivery in settling.deliveries.values_mut() {
                    if matches!(delivery.state, DeliveryState::Owed | DeliveryState::Parked) {
                        delivery.state = DeliveryState::GaveUp;
                    }
                }
            }
            Event::Aged | Event::FoundAtStart => {
                let restarted = matches!(event, Event::FoundAtStart);
                if settling.invitation_is_overdue(now) || !policy.reinvite {
                    settling.give_invitation_up();
                }
                for (name, delivery) in &mut settling.deliveries {
                    delivery.uncertain |= restarted && delivery.state == DeliveryState::Owed;
                    match delivery.state {
                        DeliveryState::Owed if policy.sink_index(name).is_none() => park(delivery, now),
                        DeliveryState::Parked if now.since(delivery.attempts.not_before) >= policy.keep_parked => {
                            delivery.state = DeliveryState::GaveUp;
                        }
                        _ => {}
                    }
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// Owes a result to every sink, and a revocation where a token is held.
    pub fn settle(
        &self,
        outcome: Outcome,
        reason: Option<&str>,
        token: Option<&Token>,
        now: Timestamp,
        policy: &Policy,
    ) -> State {
        let owed = Delivery {
            state: DeliveryState::Owed,
            attempts: Attempts::owed_since(now),
            uncertain: false,
        };
        State::Settling(Settling {
            outcome,
            reason: reason.map(Reason::new),
            settled_at: now,
            scopes: token.map(|t| t.scopes.clone()).unwrap_or_default(),
            missing: Vec::new(),
            has_data: false,
            deliveries: policy.sinks.iter().map(|name| (name.clone(), owed)).collect(),
            revocation: token.map_or(Revocation::NotNeeded, |t| owed_revocation(&t.access, now)),
            invitation: self.owed_invitation(outcome, now, policy),
        })
    }

    /// A fresh link is owed to whom a signed state names: no other state proves that this person ever asked for one. Who
    /// was sent one already is left in peace.
    fn owed_invitation(&self, outcome: Outcome, now: Timestamp, policy: &Policy) -> Invitation {
        let Requested { user, nonce, again, .. } = &self.requested;
        let asked = user.is_some() && nonce.is_some() && !again;
        if policy.reinvite && outcome.is_a_dead_code() && asked {
            Invitation::Owed(Attempts::owed_since(now))
        } else {
            Invitation::NotNeeded
        }
    }

    /// Whether the relay's clock says that the code is past its life.
    pub fn is_suspect(&self, now: Timestamp, policy: &Policy) -> bool {
        self.redirected_at.is_some_and(|at| now >= at + policy.code_lifetime)
    }

    fn was_asked_of(&self, person: UserId) -> bool {
        self.requested.user.is_none_or(|asked| asked == person)
    }

    fn close_if_settled(&mut self, now: Timestamp) {
        let State::Settling(settling) = &self.state else { return };
        let delivered = settling
            .deliveries
            .values()
            .all(|d| matches!(d.state, DeliveryState::Done | DeliveryState::GaveUp));
        let revoked = !matches!(settling.revocation, Revocation::Owed { .. });
        let invited = !matches!(settling.invitation, Invitation::Owed(_));
        if delivered && revoked && invited {
            self.state = State::Closed(self.closed(settling.outcome, settling.reason.clone(), now));
        }
    }

    fn closed(&self, outcome: Outcome, reason: Option<Reason>, now: Timestamp) -> ClosedGrant {
        ClosedGrant {
            id: self.id,
            received_at: self.received_at,
            closed_at: now,
            lane: self.origin.lane,
            outcome,
            reason,
        }
    }
}

/// An outcome that an operator chose invites nobody.
fn uninvited(mut state: State) -> State {
    if let State::Settling(settling) = &mut state {
        settling.invitation = Invitation::NotNeeded;
    }
    state
}

impl Settling {
    /// Whether the person should have been invited by now: results wait no longer.
    pub fn invitation_is_overdue(&self, now: Timestamp) -> bool {
        match &self.invitation {
            Invitation::Owed(attempts) => now.since(attempts.since) >= retry::INVITATION_WITHIN,
            _ => false,
        }
    }

    fn give_invitation_up(&mut self) {
        if let Invitation::Owed(_) = self.invitation {
            self.invitation = Invitation::Failed;
        }
    }
}

fn owed_revocation(token: &AccessToken, now: Timestamp) -> Revocation {
    Revocation::Owed {
        token: token.clone(),
        attempts: Attempts::owed_since(now),
    }
}

/// Parks a delivery; from then on `not_before` tells since when it has been parked.
fn park(delivery: &mut Delivery, now: Timestamp) {
    delivery.state = DeliveryState::Parked;
    delivery.attempts.not_before = now;
}

#[cfg(test)]
mod tests;
