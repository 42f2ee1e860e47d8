//! Presents an authorization code once (RFC 6749 section 4.1.3).

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use super::step::{Performed, Step};
use crate::crash;
use crate::grant::{Event, Grant, Reason, State};
use crate::intake::pkce;
use crate::intake::state::pkce_id_of;
use crate::port::discord::{ExchangeAnswer, RevokeAnswer, TokenEndpoint};
use crate::port::later::Later;
use crate::port::permit::Permit;
use crate::rate::limits::{Budget, Need, Urgency};
use crate::secret::{AccessToken, AuthorizationCode, CodeVerifier, Keys, PersonalData, RawState};

/// The exchange.
pub struct Exchange {
    endpoint: Rc<dyn TokenEndpoint>,
    pkce_keys: Keys,
}

/// What presenting a code needs.
pub struct ExchangeWork {
    code: AuthorizationCode,
    /// The state from which the verifier is derived; only where the link was minted with PKCE.
    minted_with_pkce: Option<RawState>,
}

impl Exchange {
    /// An exchange with this endpoint; verifiers are derived with these keys.
    pub fn new(endpoint: Rc<dyn TokenEndpoint>, pkce_keys: Keys) -> Self {
        Self { endpoint, pkce_keys }
    }

    /// The verifier of a state.
    fn verifier(&self, raw: &RawState) -> Result<CodeVerifier, Reason> {
        let key = pkce::key_named(pkce_id_of(raw), &self.pkce_keys);
        let key = key.ok_or_else(|| Reason::new("pkce_key_unknown"))?;
        Ok(pkce::verifier(&key, raw.expose()))
    }
}

impl Step for Exchange {
    type Work = ExchangeWork;

    fn work(grant: &Grant, _: Option<PersonalData>) -> Option<ExchangeWork> {
        let State::Received { code, .. } = &grant.state else {
            return None;
        };
        Some(ExchangeWork {
            code: code.clone(),
            minted_with_pkce: grant.requested.raw.clone().filter(|_| grant.requested.pkce),
        })
    }

    fn needs(&self, _: &ExchangeWork) -> Option<Need> {
        Some(Need {
            budget: Budget::OAuth,
            urgency: Urgency::Exchange,
        })
    }

    fn perform<'a>(&'a self, work: &'a ExchangeWork, permit: Permit) -> LocalBoxFuture<'a, Performed> {
        Box::pin(async move {
            let verifier = work.minted_with_pkce.as_ref().map(|raw| self.verifier(raw));
            let verifier = match verifier.transpose() {
                Ok(verifier) => verifier,
                Err(unknown) => return Event::Refused(unknown).into(),
            };
            crash::point("exchange.before");
            let answer = self.endpoint.exchange(&work.code, verifier.as_ref()).await;
            crash::point("exchange.after");
            permit.settle(answer.feedback);
            match answer.outcome {
                ExchangeAnswer::Token(token) => Event::Exchanged(token).into(),
                ExchangeAnswer::NotSent(reason) => Performed::failed(Event::NotSent, reason.as_str()),
                ExchangeAnswer::Later(Later { after, reason }) => Performed::failed(Event::Deferred { after }, reason),
                ExchangeAnswer::Unclear(reason) => Performed::failed(Event::Unclear, reason.as_str()),
                ExchangeAnswer::Unreadable => Performed::failed(Event::Unreadable, "no_token"),
                ExchangeAnswer::CutOff(reason) => Performed::failed(Event::CutOff, reason.as_str()),
                ExchangeAnswer::Refused(reason) => Event::Refused(reason).into(),
                ExchangeAnswer::CredentialsRefused => Performed::failed(Event::CredentialsRefused, "invalid_client"),
            }
        })
    }

    fn after_panic(&self, _: &ExchangeWork) -> Performed {
        Event::CutOff.into()
    }

    fn token_of(event: &Event) -> Option<AccessToken> {
        match event {
            Event::Exchanged(token) => Some(token.access.clone()),
            _ => None,
        }
    }

    fn abandon(&self, token: AccessToken) -> LocalBoxFuture<'_, ()> {
        Box::pin(async move {
            // The process ends within seconds of a store failure: a few quick attempts are all there is time for.
            for _ in 0..3 {
                if let RevokeAnswer::Revoked = self.endpoint.revoke(&token).await.outcome {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            tracing::error!("a token that could not be stored could not be revoked either");
        })
    }
}
