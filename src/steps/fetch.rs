//! Fetches what the person approved, with their token: the user first, then what else the configuration asks for.

use std::rc::Rc;

use futures_util::future::LocalBoxFuture;

use super::step::{Performed, Step};
use crate::crash;
use crate::grant::retry::FETCH_GIVE_UP;
use crate::grant::state::Token;
use crate::grant::{Event, Grant, Reason, State};
use crate::port::discord::{FetchAnswer, Resource, ResourceServer};
use crate::port::later::Later;
use crate::port::permit::{Permit, Permits};
use crate::rate::limits::{Budget, Need, Urgency};
use crate::secret::{AccessToken, PersonalData};
use crate::time::{SharedClock, Timestamp};

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
}

/// What fetching needs.
pub struct FetchWork {
    token: Token,
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
        }
    }

    async fn fetch_one(&self, token: &AccessToken, resource: Resource, permit: Permit) -> FetchAnswer {
        crash::point("fetch.before");
        let answer = self.server.fetch(token, resource).await;
        crash::point("fetch.after");
        permit.settle(answer.feedback);
        answer.outcome
    }

    async fn fetch_all(&self, work: &FetchWork, first: Permit) -> Performed {
        let mut permit = Some(first);
        let mut person = None;
        let mut missing = Vec::new();
        let mut members = String::from("{");
        for resource in &self.resources {
            let permit = match permit.take() {
                Some(permit) => permit,
                None => match self.permits.acquire(NEED).await {
                    Some(mut permit) => {
                        permit.spend();
                        permit
                    }
                    None => return Performed::failed(Event::FetchDeferred { after: None }, "no_permit"),
                },
            };
            let last_try = self.clock.now() >= work.give_up_at && *resource != Resource::User;
            let json = match self.fetch_one(&work.token.access, *resource, permit).await {
                FetchAnswer::Data { json, user } => {
                    person = person.or(user);
                    json
                }
                FetchAnswer::Unauthorized => return Performed::failed(Event::Unauthorized, "http_401"),
                FetchAnswer::Refused(reason) if *resource == Resource::User => {
                    return Event::FetchRefused(reason).into();
                }
                FetchAnswer::Later(Later { after, reason }) if !last_try => {
                    return Performed::failed(Event::FetchDeferred { after }, reason);
                }
                missed @ (FetchAnswer::Refused(_) | FetchAnswer::Later(_)) => {
                    if let FetchAnswer::Refused(reason) = missed {
                        tracing::warn!(resource = resource.name(), %reason, "a resource was refused: the result goes without it");
                    }
                    missing.push(resource.name().to_owned());
                    PersonalData::new("null")
                }
            };
            if members.len() > 1 {
                members.push(',');
            }
            members.push('"');
            members.push_str(resource.name());
            members.push_str("\":");
            members.push_str(json.expose());
        }
        members.push('}');
        match person {
            Some(person) => Performed {
                event: Event::Fetched { person, missing },
                data: Some(PersonalData::new(members)),
                failed: None,
            },
            None => Event::FetchRefused(Reason::new("no_user_id")).into(),
        }
    }
}

impl Step for Fetch {
    type Work = FetchWork;

    fn work(grant: &Grant, _: Option<PersonalData>) -> Option<FetchWork> {
        match &grant.state {
            State::Exchanged { token, attempts, .. } => Some(FetchWork {
                token: token.clone(),
                give_up_at: attempts.since + FETCH_GIVE_UP,
            }),
            _ => None,
        }
    }

    fn needs(&self, _: &FetchWork) -> Option<Need> {
        Some(NEED)
    }

    fn perform<'a>(&'a self, work: &'a FetchWork, permit: Permit) -> LocalBoxFuture<'a, Performed> {
        Box::pin(self.fetch_all(work, permit))
    }

    fn after_panic(&self, _: &FetchWork) -> Performed {
        Event::FetchDeferred { after: None }.into()
    }
}
