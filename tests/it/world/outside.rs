//! The world behind the service's ports: each call takes its time, may be struck by a fault, and has its effect at the
//! moment at which it arrives, which may be after the caller was killed.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use codeferry::grant::Reason;
use codeferry::grant::state::Token;
use codeferry::port::discord::{
    Answered, ExchangeAnswer, FetchAnswer, Resource, ResourceServer, RevokeAnswer, TokenEndpoint,
};
use codeferry::port::later::Later;
use codeferry::rate::feedback::HttpFeedback;
use codeferry::secret::{AccessToken, AuthorizationCode, CodeVerifier, PersonalData};
use futures_util::future::LocalBoxFuture;
use rand::RngExt;
use tokio::time::sleep;

use super::discord::{Call, Discord};
use super::faults::Kind;

/// A handle on the world.
#[derive(Clone)]
pub struct Outside(pub Rc<RefCell<Discord>>);

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Fine,
    /// It never leaves.
    NotSent,
    /// 429.
    Limited(Duration),
    /// A 5xx; whether it had its effect all the same.
    Failed(bool),
    /// No answer; whether it had its effect.
    Cut(bool),
    /// An answer that says no for good.
    Refused,
    /// 401 to a token that is alive.
    Unauthorized,
    /// The step panics; whether the call had its effect.
    Panic(bool),
}

impl Fate {
    pub fn has_effect(self) -> bool {
        matches!(
            self,
            Self::Fine | Self::Failed(true) | Self::Cut(true) | Self::Panic(true)
        )
    }
}

/// The kinds of fault of one port.
#[derive(Clone, Copy)]
pub struct Struck {
    pub not_sent: Option<Kind>,
    pub limited: Option<Kind>,
    pub failed: Option<Kind>,
    pub cut: Option<Kind>,
    pub refused: Option<Kind>,
    pub unauthorized: Option<Kind>,
    pub panic: Option<Kind>,
    pub slow: Option<Kind>,
}

pub const UNTOUCHED: Struck = Struck {
    not_sent: None,
    limited: None,
    failed: None,
    cut: None,
    refused: None,
    unauthorized: None,
    panic: None,
    slow: None,
};

/// What a request does when it arrives.
type Effect<'a, R> = Box<dyn FnOnce(&mut Discord) -> R + 'a>;

/// A request that has left: it arrives, or the caller dies first, and nobody knows whether it arrived.
struct OnTheWay<'a, R> {
    outside: &'a Outside,
    call: u64,
    effect: Option<Effect<'a, R>>,
}

impl<R> OnTheWay<'_, R> {
    fn arrive(&mut self) -> Option<R> {
        let effect = self.effect.take()?;
        Some(effect(&mut self.outside.0.borrow_mut()))
    }
}

impl<R> Drop for OnTheWay<'_, R> {
    fn drop(&mut self) {
        let arrives = self.effect.is_some() && self.outside.with(|d| d.random.random_bool(0.5));
        if arrives {
            self.arrive();
        }
        self.outside.with(|d| d.on_the_wire.remove(&self.call));
    }
}

impl Outside {
    pub fn with<R>(&self, work: impl FnOnce(&mut Discord) -> R) -> R {
        work(&mut self.0.borrow_mut())
    }

    /// A dead process makes no calls.
    pub async fn only_alive(&self) {
        if self.with(|d| d.view.with(|view| view.dead)) {
            std::future::pending::<()>().await;
        }
    }

    pub fn fate(&self, struck: Struck) -> (Fate, bool) {
        self.with(|d| {
            let mut hit = |kind: Option<Kind>| kind.is_some_and(|kind| d.strikes(kind));
            let (not_sent, limited, failed, cut) = (
                hit(struck.not_sent),
                hit(struck.limited),
                hit(struck.failed),
                hit(struck.cut),
            );
            let (refused, unauthorized, panic, slow) = (
                hit(struck.refused),
                hit(struck.unauthorized),
                hit(struck.panic),
                hit(struck.slow),
            );
            let effect = d.random.random_bool(0.5);
            let wait = d.between(300, 20_000);
            let fate = match () {
                () if not_sent => Fate::NotSent,
                () if limited => Fate::Limited(wait),
                () if failed => Fate::Failed(effect),
                () if cut => Fate::Cut(effect),
                () if refused => Fate::Refused,
                () if unauthorized => Fate::Unauthorized,
                () if panic => Fate::Panic(effect),
                () => Fate::Fine,
            };
            (fate, slow)
        })
    }

    /// Takes a call there and back; what its effect came to, where it had one.
    pub async fn travel<'a, R>(
        &'a self,
        call: Call,
        (fate, slow): (Fate, bool),
        effect: impl FnOnce(&mut Discord) -> R + 'a,
    ) -> Option<R> {
        let (there, back) = self.with(|d| (d.between(20, 200), d.between(20, 200)));
        if fate == Fate::NotSent {
            sleep(there).await;
            return None;
        }
        let mut way = OnTheWay {
            outside: self,
            call: self.with(|d| d.begin(call)),
            effect: fate.has_effect().then(|| Box::new(effect) as Effect<'a, R>),
        };
        sleep(there).await;
        let came_to = way.arrive();
        let longer = match fate {
            Fate::Cut(_) => self.with(|d| d.between(100, 9_000)),
            _ if slow => self.with(|d| d.between(1_000, 9_000)),
            _ => Duration::ZERO,
        };
        sleep(back + longer).await;
        drop(way);
        self.only_alive().await;
        if matches!(fate, Fate::Panic(_)) {
            // Not by `panic!`: the hook would print each of thousands.
            std::panic::resume_unwind(Box::new("a panic on purpose"));
        }
        came_to
    }

    /// What an answer tells the governor and the clock.
    pub fn heard(&self, status: u16, wait: Option<Duration>) -> HttpFeedback {
        let now = self.with(|d| d.now());
        let date = UNIX_EPOCH + Duration::from_millis(now.as_millis().unsigned_abs());
        let mut headers = vec![
            ("via".to_owned(), "1.1 google".to_owned()),
            ("date".to_owned(), httpdate::fmt_http_date(date)),
            ("content-type".to_owned(), "application/json".to_owned()),
        ];
        if wait.is_some() {
            headers.push(("x-ratelimit-scope".to_owned(), "user".to_owned()));
        }
        HttpFeedback {
            status,
            headers,
            body_retry_after: wait,
            body_global: false,
            came: None,
        }
    }
}

impl TokenEndpoint for Outside {
    fn exchange<'a>(
        &'a self,
        code: &'a AuthorizationCode,
        verifier: Option<&'a CodeVerifier>,
    ) -> LocalBoxFuture<'a, Answered<ExchangeAnswer>> {
        Box::pin(async move {
            self.only_alive().await;
            let code = code.expose();
            let fate = self.fate(Struck {
                not_sent: Some(Kind::ExchangeNotSent),
                limited: Some(Kind::ExchangeLimited),
                failed: Some(Kind::ExchangeFailed),
                cut: Some(Kind::ExchangeCut),
                refused: Some(Kind::Credentials),
                panic: Some(Kind::ExchangePanic),
                slow: Some(Kind::ExchangeSlow),
                ..UNTOUCHED
            });
            let person = self.with(|d| d.judge_presentation(code, verifier));
            if matches!(fate.0, Fate::Failed(_) | Fate::Cut(_) | Fate::Panic(_)) {
                self.with(|d| d.codes.get_mut(code).into_iter().for_each(|c| c.unclear = true));
            }
            let call = Call::Exchange {
                code: code.to_owned(),
                person,
            };
            let came_to = self.travel(call, fate, move |d| d.present(code)).await;
            let (outcome, feedback) = match (fate.0, came_to) {
                (Fate::Fine, Some(Some(token))) => {
                    self.with(|d| d.hand_over(&token));
                    let token = Token {
                        access: AccessToken::new(token),
                        scopes: vec!["identify".to_owned()],
                    };
                    (ExchangeAnswer::Token(token), Some(self.heard(200, None)))
                }
                (Fate::NotSent, _) => (ExchangeAnswer::NotSent(Reason::new("connection_refused")), None),
                (Fate::Limited(wait), _) => (
                    ExchangeAnswer::Later(Later::limited(wait)),
                    Some(self.heard(429, Some(wait))),
                ),
                (Fate::Failed(_), _) => (
                    ExchangeAnswer::Unclear(Reason::new("http_502")),
                    Some(self.heard(502, None)),
                ),
                (Fate::Cut(_), _) => (ExchangeAnswer::CutOff(Reason::new("timeout")), None),
                (Fate::Refused, _) => (ExchangeAnswer::CredentialsRefused, Some(self.heard(401, None))),
                _ => (
                    ExchangeAnswer::Refused(Reason::new("invalid_grant")),
                    Some(self.heard(400, None)),
                ),
            };
            Answered { outcome, feedback }
        })
    }

    fn revoke<'a>(&'a self, token: &'a AccessToken) -> LocalBoxFuture<'a, Answered<RevokeAnswer>> {
        Box::pin(async move {
            self.only_alive().await;
            let token = token.expose();
            let fate = self.fate(Struck {
                limited: Some(Kind::RevokeLimited),
                failed: Some(Kind::RevokeFailed),
                cut: Some(Kind::RevokeCut),
                panic: Some(Kind::RevokePanic),
                slow: Some(Kind::RevokeSlow),
                ..UNTOUCHED
            });
            let (call, too_early) = self.with(|d| {
                let issued = d.tokens.contains_key(token);
                d.view.with(|view| match view.holder(token) {
                    Some((grant, _)) => (Call::Revoke { person: grant.person }, !view.tokens.contains(token)),
                    // Of a token that no grant holds, only one that could not be stored is revoked.
                    None => (Call::Abandon, issued && !view.tokens.contains(token) && !view.failed),
                })
            });
            if too_early {
                self.with(|d| d.breaks(format!("{token} is revoked before it was durable")));
            }
            self.travel(call, fate, move |d| d.revoke(token)).await;
            let again = |after, reason: &str| {
                RevokeAnswer::Later(Later {
                    after,
                    reason: reason.to_owned(),
                })
            };
            let (outcome, feedback) = match fate.0 {
                Fate::Limited(wait) => (again(Some(wait), "http_429"), Some(self.heard(429, Some(wait)))),
                Fate::Failed(_) => (again(None, "http_503"), Some(self.heard(503, None))),
                Fate::Cut(_) => (again(None, "timeout"), None),
                _ => (RevokeAnswer::Revoked, Some(self.heard(200, None))),
            };
            Answered { outcome, feedback }
        })
    }
}

impl ResourceServer for Outside {
    fn fetch<'a>(&'a self, token: &'a AccessToken, _: Resource) -> LocalBoxFuture<'a, Answered<FetchAnswer>> {
        Box::pin(async move {
            self.only_alive().await;
            let token = token.expose();
            let fate = self.fate(Struck {
                limited: Some(Kind::FetchLimited),
                failed: Some(Kind::FetchFailed),
                refused: Some(Kind::FetchRefused),
                unauthorized: Some(Kind::FetchUnauthorized),
                panic: Some(Kind::FetchPanic),
                slow: Some(Kind::FetchSlow),
                ..UNTOUCHED
            });
            let of = move |d: &mut Discord| d.tokens.get(token).filter(|t| t.alive).map(|t| t.user);
            let user = self.travel(Call::Fetch, fate, of).await.flatten();
            let again = |after, reason: &str| {
                FetchAnswer::Later(Later {
                    after,
                    reason: reason.to_owned(),
                })
            };
            let (outcome, feedback) = match (fate.0, user) {
                (Fate::Fine, Some(user)) => {
                    let json = PersonalData::new(format!("{{\"id\":\"{user}\",\"username\":\"somebody\"}}"));
                    (
                        FetchAnswer::Data { json, user: Some(user) },
                        Some(self.heard(200, None)),
                    )
                }
                (Fate::Limited(wait), _) => (again(Some(wait), "http_429"), Some(self.heard(429, Some(wait)))),
                (Fate::Failed(_), _) => (again(None, "http_500"), Some(self.heard(500, None))),
                (Fate::Refused, _) => (
                    FetchAnswer::Refused(Reason::new("http_403")),
                    Some(self.heard(403, None)),
                ),
                _ => (FetchAnswer::Unauthorized, Some(self.heard(401, None))),
            };
            Answered { outcome, feedback }
        })
    }
}
