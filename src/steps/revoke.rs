//! Revokes a token (RFC 7009). Idempotent, never given up.

use std::rc::Rc;

use futures_util::future::LocalBoxFuture;

use super::step::{Performed, Step};
use crate::crash;
use crate::grant::state::Revocation;
use crate::grant::{Event, Grant, State};
use crate::port::discord::{RevokeAnswer, TokenEndpoint};
use crate::port::later::Later;
use crate::port::permit::Permit;
use crate::rate::limits::{Budget, Need, Urgency};
use crate::secret::{AccessToken, PersonalData};

/// The revocation.
pub struct Revoke {
    endpoint: Rc<dyn TokenEndpoint>,
}

impl Revoke {
    /// A revocation with this endpoint.
    pub fn new(endpoint: Rc<dyn TokenEndpoint>) -> Self {
        Self { endpoint }
    }
}

impl Step for Revoke {
    type Work = AccessToken;

    fn work(grant: &Grant, _: Option<PersonalData>) -> Option<AccessToken> {
        match &grant.state {
            State::Settling(s) => match &s.revocation {
                Revocation::Owed { token, .. } => Some(token.clone()),
                _ => None,
            },
            _ => None,
        }
    }

    fn needs(&self, _: &AccessToken) -> Option<Need> {
        Some(Need {
            budget: Budget::OAuth,
            urgency: Urgency::Revoke,
        })
    }

    fn perform<'a>(&'a self, token: &'a AccessToken, permit: Permit) -> LocalBoxFuture<'a, Performed> {
        Box::pin(async move {
            crash::point("revoke.before");
            let answer = self.endpoint.revoke(token).await;
            crash::point("revoke.after");
            permit.settle(answer.feedback);
            match answer.outcome {
                RevokeAnswer::Revoked => Event::Revoked.into(),
                RevokeAnswer::Later(Later { after, reason }) => {
                    Performed::failed(Event::RevocationFailed { after }, reason)
                }
                RevokeAnswer::CredentialsRefused => {
                    tracing::error!(
                        "Discord refused the application's credentials (invalid_client): a token cannot be revoked; \
                         check discord.application_id and CODEFERRY_CLIENT_SECRET"
                    );
                    Performed::failed(Event::RevocationFailed { after: None }, "invalid_client")
                }
            }
        })
    }

    fn after_panic(&self, _: &AccessToken) -> Performed {
        Event::RevocationFailed { after: None }.into()
    }
}
