//! What a stage needs of its step.

use futures_util::future::LocalBoxFuture;

use crate::grant::{Event, Grant};
use crate::port::permit::Permit;
use crate::rate::limits::Need;
use crate::secret::{AccessToken, PersonalData};

/// One outside call.
pub trait Step: 'static {
    /// What the call needs to know; typed, so that a fetcher cannot claim a code.
    type Work: Send + 'static;
    /// Whether the work needs the data that was fetched.
    const NEEDS_DATA: bool = false;

    /// The work that a grant which wants this step gives; `None` where it holds nothing for it, which is a bug.
    fn work(grant: &Grant, data: Option<PersonalData>) -> Option<Self::Work>;

    /// The permit it needs; `None` where no limit of Discord's is touched.
    fn needs(&self, work: &Self::Work) -> Option<Need>;

    /// Makes the call. The permit is completed with what the answer said.
    fn perform<'a>(&'a self, work: &'a Self::Work, permit: Permit) -> LocalBoxFuture<'a, Performed>;

    /// The sink that it delivers to.
    fn sink(&self) -> Option<&str> {
        None
    }

    /// What a panic during the call counts as.
    fn after_panic(&self, work: &Self::Work) -> Performed;

    /// The token that an event brought, if any.
    fn token_of(_event: &Event) -> Option<AccessToken> {
        None
    }

    /// Ends a token that could not be stored.
    fn abandon(&self, _token: AccessToken) -> LocalBoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// What a call came to.
#[derive(Debug)]
pub struct Performed {
    /// What happened.
    pub event: Event,
    /// The data that a fetch brought.
    pub data: Option<PersonalData>,
    /// Why it failed, where it did.
    pub failed: Option<String>,
}

impl Performed {
    /// A call that failed for this reason.
    pub fn failed(event: Event, reason: impl Into<String>) -> Self {
        Self {
            event,
            data: None,
            failed: Some(reason.into()),
        }
    }
}

impl From<Event> for Performed {
    /// The name of an event that is a failure is its reason.
    fn from(event: Event) -> Self {
        let failed = event.is_failure().then(|| event.name().to_owned());
        Self {
            event,
            data: None,
            failed,
        }
    }
}
