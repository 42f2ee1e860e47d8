//! Fetches what the person approved, with their token: the user first, then what else the configuration asks for.
//!
//! Only what was granted is asked for. Discord bans an address for too many refusals, so no person can bring about many:
//! a few, and the results of that person go without the resource.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::step::{Performed, Step};
use crate::crash;
use crate::grant::retry::FETCH_GIVE_UP;
use crate::grant::state::Token;
use crate::grant::{Event, Grant, Reason, State};
use crate::ids::UserId;
use crate::port::discord::{FetchAnswer, Resource, ResourceServer};
use crate::port::later::Later;
use crate::port::permit::{Permit, Permits};
use crate::rate::breaker::Breaker;
use crate::rate::limits::{Budget, Need, Urgency};
use crate::rate::moment::Moment;
use crate::secret::PersonalData;
use crate::time::{SharedClock, Timestamp};

/// Discord refuses a token transiently right after its exchange (discord-api-docs issue 6769).
const YOUNG: Duration = Duration::from_secs(4);
/// After so many 401s and 403s of one person in ten minutes only the user is asked for.
const FEW_REFUSALS: u32 = 3;
/// After so many nothing is.
const MOST_REFUSALS: u32 = 6;
/// From so many people on, those without a refusal in ten minutes are forgotten.
const PEOPLE_KNOWN: usize = 1_000;

/// What each of its calls needs.
const NEED: Need = Need {
    budget: Budget::Global,
    urgency: Urgency::Fetch,
};

/// The fetch.
pub struct Fetch {
    server: Rc<dyn ResourceServer>,
    /// What is fetched; `User` first.
    resources: Vec<Resource>,
    /// Each call after the first takes a permit of its own.
    permits: Rc<dyn Permits>,
    clock: SharedClock,
    /// When it was made: [`Moment::START`].
    began: Instant,
    refusals: RefCell<BTreeMap<UserId, Breaker>>,
}

/// What fetching needs.
pub struct FetchWork {
    token: Token,
    /// Whose link it was, where the state says so.
    asked: Option<UserId>,
    /// When the token was received.
    since: Timestamp,
    /// From here on a resource that still fails is done without.
    give_up_at: Timestamp,
}

impl Fetch {
    /// A fetch of these resources.
    pub fn new(
        server: Rc<dyn ResourceServer>,
        resources: Vec<Resource>,
        permits: Rc<dyn Permits>,
        clock: SharedClock,
    ) -> Self {
        Self {
            server,
            resources,
            permits,
            clock,
            began: Instant::now(),
            refusals: RefCell::default(),
        }
    }

    fn now(&self) -> Moment {
        Moment::START + self.began.elapsed()
    }

    /// How many calls were refused in ten minutes because of this person.
    fn refusals(&self, asked: Option<UserId>) -> u32 {
        let mut refusals = self.refusals.borrow_mut();
        let of_person = asked.and_then(|person| refusals.get_mut(&person));
        of_person.map_or(0, |breaker| breaker.count(self.now()))
    }

    fn note_refusal(&self, asked: Option<UserId>) {
        let Some(person) = asked else { return };
        let (mut refusals, now) = (self.refusals.borrow_mut(), self.now());
        if refusals.len() >= PEOPLE_KNOWN {
            refusals.retain(|_, breaker| breaker.count(now) > 0);
        }
        refusals.entry(person).or_insert_with(|| Breaker::new(0)).note(now);
    }

    async fn fetch_one(&self, work: &FetchWork, resource: Resource, permit: Option<Permit>) -> Option<FetchAnswer> {
        let permit = match permit {
            Some(permit) => permit,
            None => {
                let mut permit = self.permits.acquire(NEED).await?;
                permit.spend();
                permit
            }
        };
        crash::point("fetch.before");
        let answer = self.server.fetch(&work.token.access, resource).await;
        crash::point("fetch.after");
        if answer
            .feedback
            .as_ref()
            .is_some_and(|told| matches!(told.status, 401 | 403))
        {
            self.note_refusal(work.asked);
        }
        permit.settle(answer.feedback);
        Some(answer.outcome)
    }

    /// Why a resource is not asked for, if it is not.
    fn skipped(&self, work: &FetchWork, resource: Resource) -> Option<&'static str> {
        let scopes = &work.token.scopes;
        let most = if resource == Resource::User {
            MOST_REFUSALS
        } else {
            FEW_REFUSALS
        };
        // An answer without scopes granted what was asked for (RFC 6749 section 5.1).
        if !scopes.is_empty() && !scopes.iter().any(|scope| scope == resource.scope()) {
            Some("scope_not_granted")
        } else if self.refusals(work.asked) >= most {
            Some("refused_too_often")
        } else {
            None
        }
    }

    /// What a resource came to that is not the user. A 401 says that the token is dead only where the user says so too.
    async fn fetch_other(&self, work: &FetchWork, resource: Resource) -> Result<Option<PersonalData>, Performed> {
        let Some(mut answer) = self.fetch_one(work, resource, None).await else {
            return Err(deferred(None, "no_permit"));
        };
        if matches!(answer, FetchAnswer::Unauthorized) {
            answer = match self.fetch_one(work, Resource::User, None).await {
                Some(FetchAnswer::Data { .. }) => FetchAnswer::Refused(Reason::new("http_401")),
                Some(FetchAnswer::Unauthorized) => return Err(unauthorized()),
                Some(answer) => answer,
                None => return Err(deferred(None, "no_permit")),
            };
            let is_young = self.clock.now().since(work.since) < YOUNG;
            if is_young && self.refusals(work.asked) < FEW_REFUSALS {
                return Err(deferred(None, "http_401"));
            }
        }
        match answer {
            FetchAnswer::Data { json, .. } => Ok(Some(json)),
            FetchAnswer::Later(Later { after, reason }) if self.clock.now() < work.give_up_at => {
                Err(deferred(after, reason))
            }
            FetchAnswer::Refused(reason) => {
                tracing::warn!(resource = resource.name(), %reason, "Discord refused a resource: the result omits it");
                Ok(None)
            }
            FetchAnswer::Later(_) | FetchAnswer::Unauthorized => Ok(None),
        }
    }

    async fn fetch_all(&self, work: &FetchWork, first: Permit) -> Result<Performed, Performed> {
        if let Some(why) = self.skipped(work, Resource::User) {
            return Err(Event::FetchRefused(Reason::new(why)).into());
        }
        let (user, person) = match self.fetch_one(work, Resource::User, Some(first)).await {
            Some(FetchAnswer::Data { json, user: Some(user) }) => (json, user),
            Some(FetchAnswer::Data { .. }) => return Err(Event::FetchRefused(Reason::new("no_user_id")).into()),
            Some(FetchAnswer::Unauthorized) => return Err(unauthorized()),
            Some(FetchAnswer::Refused(reason)) => return Err(Event::FetchRefused(reason).into()),
            Some(FetchAnswer::Later(Later { after, reason })) => return Err(deferred(after, reason)),
            None => return Err(deferred(None, "no_permit")),
        };
        let mut members = Zeroizing::new(format!("{{\"user\":{}", user.expose()));
        let mut missing = Vec::new();
        for resource in self.resources.iter().filter(|resource| **resource != Resource::User) {
            let json = match self.skipped(work, *resource) {
                Some(_) => None,
                None => self.fetch_other(work, *resource).await?,
            };
            if json.is_none() {
                missing.push(resource.name().to_owned());
            }
            let json = json.as_ref().map_or("null", |json| json.expose());
            for part in [",\"", resource.name(), "\":", json] {
                members.push_str(part);
            }
        }
        members.push('}');
        Ok(Performed {
            event: Event::Fetched { person, missing },
            data: Some(PersonalData::new(members.as_str())),
            failed: None,
        })
    }
}

fn deferred(after: Option<Duration>, reason: impl Into<String>) -> Performed {
    Performed::failed(Event::FetchDeferred { after }, reason)
}

fn unauthorized() -> Performed {
    Performed::failed(Event::Unauthorized, "http_401")
}

impl Step for Fetch {
    type Work = FetchWork;

    fn work(grant: &Grant, _: Option<PersonalData>) -> Option<FetchWork> {
        match &grant.state {
            State::Exchanged { token, attempts, .. } => Some(FetchWork {
                token: token.clone(),
                asked: grant.requested.user,
                since: attempts.since,
                give_up_at: attempts.since + FETCH_GIVE_UP,
            }),
            _ => None,
        }
    }

    fn needs(&self, _: &FetchWork) -> Option<Need> {
        Some(NEED)
    }

    fn perform<'a>(&'a self, work: &'a FetchWork, permit: Permit) -> LocalBoxFuture<'a, Performed> {
        Box::pin(async move { self.fetch_all(work, permit).await.unwrap_or_else(|failed| failed) })
    }

    fn after_panic(&self, _: &FetchWork) -> Performed {
        Event::FetchDeferred { after: None }.into()
    }
}

#[cfg(test)]
mod tests;
