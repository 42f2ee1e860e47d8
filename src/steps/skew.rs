//! Learns how far our clock is from Discord's, by the `Date` header of its answers: codes age by Discord's clock.

use std::rc::Rc;

use futures_util::future::LocalBoxFuture;

use crate::port::discord::{Answered, ExchangeAnswer, RevokeAnswer, TokenEndpoint};
use crate::rate::feedback::HttpFeedback;
use crate::secret::{AccessToken, AuthorizationCode, CodeVerifier};
use crate::time::{SharedClock, Timestamp};

/// `Date` has whole seconds and the answer took its time: a smaller difference says nothing.
const TOLERANCE_MS: i64 = 2_000;

/// A token endpoint that tells what its answers say of the clock.
pub struct SkewWatch {
    inner: Rc<dyn TokenEndpoint>,
    clock: SharedClock,
    tell: Box<dyn Fn(i64)>,
}

impl SkewWatch {
    /// Wraps an endpoint; `tell` gets Discord's clock minus ours, in milliseconds.
    pub fn new(inner: Rc<dyn TokenEndpoint>, clock: SharedClock, tell: Box<dyn Fn(i64)>) -> Self {
        Self { inner, clock, tell }
    }

    fn look_at(&self, feedback: Option<&HttpFeedback>) {
        if let Some(skew) = feedback.and_then(|f| skew_ms(f, self.clock.now())) {
            (self.tell)(skew);
        }
    }
}

/// Discord's clock minus ours, 0 where they agree; `None` where the answer has no `Date`, or is not from the API.
pub fn skew_ms(feedback: &HttpFeedback, now: Timestamp) -> Option<i64> {
    feedback.header("via")?;
    let date = httpdate::parse_http_date(feedback.header("date")?).ok()?;
    // The header is cut to the second: on average half a second was lost.
    let skew = Timestamp::from(date).as_millis() + 500 - now.as_millis();
    Some(if skew.abs() <= TOLERANCE_MS { 0 } else { skew })
}

impl TokenEndpoint for SkewWatch {
    fn exchange<'a>(
        &'a self,
        code: &'a AuthorizationCode,
        verifier: Option<&'a CodeVerifier>,
    ) -> LocalBoxFuture<'a, Answered<ExchangeAnswer>> {
        Box::pin(async move {
            let answer = self.inner.exchange(code, verifier).await;
            self.look_at(answer.feedback.as_ref());
            answer
        })
    }

    fn revoke<'a>(&'a self, token: &'a AccessToken) -> LocalBoxFuture<'a, Answered<RevokeAnswer>> {
        Box::pin(async move {
            let answer = self.inner.revoke(token).await;
            self.look_at(answer.feedback.as_ref());
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasting_difference_is_seen_and_a_small_one_is_none() {
        let check = |now: i64, want: Option<i64>| {
            let headers = [("via", "1.1 google"), ("date", "Tue, 14 Nov 2023 22:13:20 GMT")];
            let headers = headers.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec();
            let feedback = HttpFeedback {
                status: 200,
                headers,
                ..HttpFeedback::default()
            };
            assert_eq!(skew_ms(&feedback, Timestamp::from_millis(now)), want, "{now}");
        };
        check(1_700_000_000_000, Some(0));
        check(1_700_000_002_400, Some(0));
        check(1_700_000_060_500, Some(-60_000));
        check(1_699_999_940_500, Some(60_000));
        assert_eq!(skew_ms(&HttpFeedback::default(), Timestamp::from_millis(0)), None);
    }
}
