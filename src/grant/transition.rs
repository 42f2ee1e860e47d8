//! The one total function that changes a grant.
//!
//! Every rule about what an answer means for a code stands here and in `retry`; `docs/state-machine.md` has the table.

use std::time::Duration;

use super::event::{Event, IllegalTransition};
use super::retry::{self, At};
use super::state::{
    Attempts, ClosedGrant, Delivery, DeliveryState, FAILED_CALLS, FailedCall, Grant, Invitation, Outcome,
    Presentations, Reason, Requested, Revocation, Settling, State, Token,
};
use crate::ids::UserId;
use crate::secret::{AccessToken, AuthorizationCode};
use crate::time::Timestamp;

impl Grant {
    /// What becomes of the grant when `event` happens. The grant itself is untouched.
    pub fn apply(&self, event: Event, at: At<'_>) -> Result<Self, IllegalTransition> {
        let illegal = IllegalTransition {
            grant: self.id,
            state: self.state.name(),
            event: event.name(),
        };
        let person = match (&self.state, &event) {
            (State::Exchanged { .. }, Event::Fetched { person, .. }) => Some(*person),
            _ => self.person,
        };
        let state = match &self.state {
            State::Received { code, presentations } => self.while_received(code, *presentations, event, at),
            State::Exchanging { code, presentations } => self.while_exchanging(code, *presentations, event, at),
            State::Exchanged {
                token,
                attempts,
                unauthorized,
            } => self.while_exchanged(token, *attempts, *unauthorized, event, at),
            State::Settling(settling) => {
                let mut settling = settling.clone();
                self.while_settling(&mut settling, event, at)
                    .map(|()| State::Settling(settling))
            }
            State::Closed(_) => None,
        };
        let mut next = Self {
            person,
            state: state.ok_or(illegal)?,
            requested: self.requested.clone(),
            failed: self.failed.clone(),
            ..*self
        };
        next.close_if_settled(at.now);
        Ok(next)
    }

    /// Keeps why a call failed, with those before it.
    pub fn keep_failure(&mut self, failed: FailedCall) {
        self.failed.push(failed);
        let too_many = self.failed.len().saturating_sub(FAILED_CALLS);
        self.failed.drain(..too_many);
    }

    fn while_received(
        &self,
        code: &AuthorizationCode,
        mut presentations: Presentations,
        event: Event,
        at: At<'_>,
    ) -> Option<State> {
        Some(match event {
            Event::Began => {
                presentations.count += 1;
                State::Exchanging {
                    code: code.clone(),
                    presentations,
                }
            }
            Event::Expired if presentations.outcome_unknown() => self.ends(Outcome::Lost, "answer_lost", at),
            Event::Expired => self.ends(Outcome::Expired, "code_expired", at),
            Event::Superseded => {
                State::Closed(self.closed(Outcome::Duplicate, Some(Reason::new("state_used")), at.now))
            }
            // The cut-off exchange may have left a token that nobody has. Operators must learn that, so it is not `dropped`.
            Event::Dropped if presentations.outcome_unknown() => uninvited(self.ends(Outcome::Lost, "answer_lost", at)),
            Event::Dropped => self.ends(Outcome::Dropped, "dropped_by_operator", at),
            Event::Aged => self.state.clone(),
            _ => return None,
        })
    }

    fn while_exchanging(
        &self,
        code: &AuthorizationCode,
        mut presentations: Presentations,
        event: Event,
        at: At<'_>,
    ) -> Option<State> {
        // By the relay's clock the code has expired: it is presented once, whatever the answer.
        let only_once = self.is_suspect(at);
        let again_after = |wait, mut presentations: Presentations| {
            presentations.not_before = at.now + wait;
            State::Received {
                code: code.clone(),
                presentations,
            }
        };
        Some(match event {
            Event::NotSent | Event::CredentialsRefused => again_after(retry::AFTER_NOT_SENT, presentations),
            Event::Deferred { after } => {
                let wait = after.unwrap_or(retry::AFTER_NOT_SENT);
                again_after(wait.min(retry::LONGEST_WAIT), presentations)
            }
            Event::Unclear => {
                presentations.unclear += 1;
                match retry::after_unclear(presentations.unclear) {
                    Some(wait) if !only_once => again_after(wait, presentations),
                    _ => self.ends(Outcome::Lost, "answer_unclear", at),
                }
            }
            // Presented again, the code could only be refused; a server may even end the token that nobody has.
            Event::Unreadable => self.ends(Outcome::Lost, "answer_unreadable", at),
            Event::CutOff | Event::FoundAtStart => {
                let cut_off = matches!(event, Event::CutOff);
                let wait = if cut_off { retry::AFTER_CUT_OFF } else { Duration::ZERO };
                presentations.cut_off += 1;
                if retry::once_more_after_cut_off(&presentations) && !only_once {
                    again_after(wait, presentations)
                } else {
                    self.ends(Outcome::Lost, "answer_lost", at)
                }
            }
            Event::Exchanged(token) => State::Exchanged {
                token,
                attempts: Attempts::owed_since(at.now),
                unauthorized: 0,
            },
            // The earlier presentation, whose answer did not say, most likely consumed the code.
            Event::Refused(_) if presentations.outcome_unknown() => self.ends(Outcome::Lost, "answer_lost", at),
            Event::Refused(_) if at.now >= self.deadline => self.ends(Outcome::Expired, "code_expired", at),
            Event::Refused(reason) => self.ends(Outcome::Refused, reason.as_str(), at),
            Event::Aged => self.state.clone(),
            _ => return None,
        })
    }

    fn while_exchanged(
        &self,
        token: &Token,
        attempts: Attempts,
        unauthorized: u32,
        event: Event,
        at: At<'_>,
    ) -> Option<State> {
        let failed = |reason| self.settle(Outcome::Failed, Some(reason), Some(token), at);
        let again = |attempts, unauthorized| State::Exchanged {
            token: token.clone(),
            attempts,
            unauthorized,
        };
        Some(match event {
            Event::Unauthorized => match retry::AFTER_UNAUTHORIZED.get(unauthorized as usize) {
                Some(wait) => {
                    let not_before = at.now + *wait;
                    again(Attempts { not_before, ..attempts }, unauthorized + 1)
                }
                None => failed("token_dead"),
            },
            Event::FetchDeferred { .. } if at.now.since(attempts.since) >= retry::FETCH_GIVE_UP => {
                failed("fetch_gave_up")
            }
            Event::FetchDeferred { after } => {
                let next = retry::next_attempt(attempts, self.id, after, retry::FETCH_SPACING, at.now);
                again(next, unauthorized)
            }
            Event::FetchRefused(reason) => failed(reason.as_str()),
            Event::Fetched { person, .. } if !self.was_asked_of(person) => {
                self.settle(Outcome::WrongPerson, Some("wrong_person"), Some(token), at)
            }
            Event::Fetched { missing, .. } => State::Settling(Settling {
                missing,
                has_data: true,
                ..self.settling(Outcome::Completed, None, Some(token), at)
            }),
            Event::Dropped => self.settle(Outcome::Dropped, Some("dropped_by_operator"), Some(token), at),
            Event::Aged => self.state.clone(),
            _ => return None,
        })
    }

    fn while_settling(&self, settling: &mut Settling, event: Event, at: At<'_>) -> Option<()> {
        match event {
            Event::Delivered { sink } => settling.deliveries.get_mut(&sink)?.state = DeliveryState::Done,
            Event::DeliveryFailed { sink, after, uncertain } => {
                let delivery = settling.owed_delivery(&sink)?;
                delivery.uncertain |= uncertain;
                delivery.attempts =
                    retry::next_attempt(delivery.attempts, self.id, after, retry::DELIVERY_SPACING, at.now);
                if at.now.since(delivery.attempts.since) >= retry::PARK_AFTER {
                    park(delivery, at.now);
                }
            }
            Event::DeliveryRefused { sink } => {
                let delivery = settling.owed_delivery(&sink)?;
                delivery.attempts.count = delivery.attempts.count.saturating_add(1);
                park(delivery, at.now);
            }
            Event::Requeued { sink } => settling.requeue(sink.as_deref(), at)?,
            Event::Revoked => match settling.revocation {
                Revocation::Owed { .. } => settling.revocation = Revocation::Done,
                Revocation::Done => {}
                Revocation::NotNeeded => return None,
            },
            Event::RevocationFailed { after } => {
                let Revocation::Owed { attempts, .. } = &mut settling.revocation else {
                    return None;
                };
                *attempts = retry::next_attempt(*attempts, self.id, after, retry::REVOCATION_SPACING, at.now);
            }
            Event::Invited if settling.invitation == Invitation::Sent => {}
            Event::Invited | Event::InvitationDeferred { .. } | Event::InvitationRefused(_) | Event::Superseded => {
                settling.invitation = self.after_invitation(settling.invitation, &event, at.now)?;
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
            Event::Aged => settling.age(false, at),
            Event::FoundAtStart => settling.age(true, at),
            _ => return None,
        }
        Some(())
    }

    fn after_invitation(&self, invitation: Invitation, event: &Event, now: Timestamp) -> Option<Invitation> {
        let Invitation::Owed(attempts) = invitation else {
            return None;
        };
        Some(match event {
            Event::Invited => Invitation::Sent,
            Event::InvitationDeferred { after, or } => {
                let next = retry::next_attempt(attempts, self.id, *after, retry::INVITATION_SPACING, now);
                let in_time = next.not_before.since(next.since) <= retry::INVITATION_LAST_ATTEMPT;
                if in_time { Invitation::Owed(next) } else { (*or).into() }
            }
            Event::InvitationRefused(why) => (*why).into(),
            // The person signed in with another code of the same consent, and needs no link any more.
            _ => Invitation::NotNeeded,
        })
    }

    fn ends(&self, outcome: Outcome, reason: &str, at: At<'_>) -> State {
        self.settle(outcome, Some(reason), None, at)
    }

    /// Owes a result to every sink, and a revocation where a token is held.
    pub fn settle(&self, outcome: Outcome, reason: Option<&str>, token: Option<&Token>, at: At<'_>) -> State {
        State::Settling(self.settling(outcome, reason, token, at))
    }

    fn settling(&self, outcome: Outcome, reason: Option<&str>, token: Option<&Token>, at: At<'_>) -> Settling {
        let owed = Delivery {
            state: DeliveryState::Owed,
            attempts: Attempts::owed_since(at.now),
            uncertain: false,
        };
        Settling {
            outcome,
            reason: reason.map(Reason::new),
            settled_at: at.now,
            scopes: token.map(|t| t.scopes.clone()).unwrap_or_default(),
            missing: Vec::new(),
            has_data: false,
            deliveries: at.policy.sinks.iter().map(|name| (name.clone(), owed)).collect(),
            revocation: token.map_or(Revocation::NotNeeded, |t| owed_revocation(&t.access, at.now)),
            invitation: self.owed_invitation(outcome, at),
        }
    }

    /// Only a signed state proves that its user asked for a link, so only they are sent a fresh one, and only once.
    fn owed_invitation(&self, outcome: Outcome, at: At<'_>) -> Invitation {
        let Requested { user, nonce, again, .. } = &self.requested;
        let asked = user.is_some() && nonce.is_some() && !again;
        if at.policy.reinvite && outcome.is_a_dead_code() && asked {
            Invitation::Owed(Attempts::owed_since(at.now))
        } else {
            Invitation::NotNeeded
        }
    }

    /// Whether the code has expired by the relay's clock.
    pub fn is_suspect(&self, at: At<'_>) -> bool {
        let expires = |seen| seen + at.policy.code_lifetime;
        self.redirected_at.is_some_and(|seen| at.now >= expires(seen))
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

/// Where an operator chose the outcome, no fresh link is sent.
fn uninvited(mut state: State) -> State {
    if let State::Settling(settling) = &mut state {
        settling.invitation = Invitation::NotNeeded;
    }
    state
}

impl Settling {
    /// Whether the fresh link should have been sent by now: results wait no longer.
    pub fn invitation_is_overdue(&self, now: Timestamp) -> bool {
        match &self.invitation {
            Invitation::Owed(attempts) => now.since(attempts.since) >= retry::INVITATION_WITHIN,
            _ => false,
        }
    }

    fn owed_delivery(&mut self, sink: &str) -> Option<&mut Delivery> {
        let delivery = self.deliveries.get_mut(sink)?;
        (delivery.state == DeliveryState::Owed).then_some(delivery)
    }

    /// Parked deliveries of one sink, or of all, are owed again. `None` where there is none.
    fn requeue(&mut self, sink: Option<&str>, at: At<'_>) -> Option<()> {
        let mut any = None;
        for (name, delivery) in &mut self.deliveries {
            let meant = sink.is_none_or(|sink| sink == name);
            if meant && delivery.state == DeliveryState::Parked && at.policy.sink_index(name).is_some() {
                delivery.state = DeliveryState::Owed;
                delivery.attempts = Attempts::owed_since(at.now);
                any = Some(());
            }
        }
        any
    }

    fn age(&mut self, restarted: bool, at: At<'_>) {
        let overdue = self.invitation_is_overdue(at.now) || !at.policy.reinvite;
        if overdue && matches!(self.invitation, Invitation::Owed(_)) {
            self.invitation = Invitation::Failed;
        }
        for (name, delivery) in &mut self.deliveries {
            delivery.uncertain |= restarted && delivery.state == DeliveryState::Owed;
            match delivery.state {
                DeliveryState::Owed if at.policy.sink_index(name).is_none() => park(delivery, at.now),
                DeliveryState::Parked if at.now.since(delivery.attempts.not_before) >= at.policy.keep_parked => {
                    delivery.state = DeliveryState::GaveUp;
                }
                _ => {}
            }
        }
    }
}

fn owed_revocation(token: &AccessToken, now: Timestamp) -> Revocation {
    Revocation::Owed {
        token: token.clone(),
        attempts: Attempts::owed_since(now),
    }
}

/// Parks a delivery; from then on `not_before` is the moment at which it was parked.
fn park(delivery: &mut Delivery, now: Timestamp) {
    delivery.state = DeliveryState::Parked;
    delivery.attempts.not_before = now;
}

#[cfg(test)]
mod tests;
