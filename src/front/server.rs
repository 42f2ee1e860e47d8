//! The front state: HTTP for browsers. It judges a callback, hands a good one on, and answers a page once it is safe.
//!
//! `GET` and `HEAD /callback`, `GET /healthz`, nothing else. No code, state or address reaches the log.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use ipnet::IpNet;
use serde_json::json as object;
use tokio::time::Instant;

use super::address::{JunkLimit, client};
use super::counts::Counts;
use super::page::Page;
use super::pages::Pages;
use crate::intake::callback::{CallbackRules, Refusal};
use crate::port::callback_intake::{CallbackAnswer, CallbackIntake, Ending};
use crate::server::{Answer, Listener, Request, Server, Settings, descriptors, empty, json, with_body};
use crate::time::SharedClock;

/// Connections at the same time, of at most half the descriptors.
const CONNECTIONS: usize = 2048;
/// More than the 64 KiB that a client may send and still be told that its address is too long.
const LONGEST_HEAD: usize = 72 * 1024;
/// 503 after this: the code is not durable yet.
const SAFE_WITHIN: Duration = Duration::from_secs(8);
/// How long a visitor waits to be told how it ended.
const ENDS_WITHIN: Duration = Duration::from_secs(3);

/// What the front needs.
pub struct FrontSettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How a callback is judged.
    pub rules: CallbackRules,
    /// The clock by which states age.
    pub clock: SharedClock,
    /// The pages.
    pub pages: Pages,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Where good callbacks go.
    pub intake: Arc<dyn CallbackIntake>,
    /// What is counted.
    pub counts: Arc<Counts>,
}

/// What the front's thread has.
struct FrontState {
    settings: FrontSettings,
    started: Instant,
    junk: RefCell<JunkLimit>,
}

/// A front that listens.
pub struct Front {
    /// Where, with the port that was taken.
    pub address: SocketAddr,
    server: Server,
}

impl Front {
    /// Binds and serves, on a thread of its own, until it is stopped.
    pub fn start(settings: FrontSettings) -> io::Result<Self> {
        let listener = TcpListener::bind(settings.listen)?;
        let address = listener.local_addr()?;
        let bounds = Settings {
            name: "front",
            connections: descriptors(2, CONNECTIONS),
            longest_head: LONGEST_HEAD,
            trusted: settings.trusted_proxies.clone(),
        };
        let server = Server::start(bounds, Listener::Tcp(listener), move || {
            let state = FrontState {
                settings,
                started: Instant::now(),
                junk: RefCell::default(),
            };
            async move |request: Request| state.answer(&request).await
        })?;
        Ok(Self { address, server })
    }

    /// Takes no more connections and lets what is being answered end, for four seconds: longer than a page waits to say how it ended.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

impl FrontState {
    async fn answer(&self, request: &Request) -> Answer {
        let looks = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.path() {
            "/" | "/callback" | "/healthz" if !looks => {
                let mut answer = empty(StatusCode::METHOD_NOT_ALLOWED);
                let allowed = HeaderValue::from_static("GET, HEAD");
                answer.headers_mut().insert(header::ALLOW, allowed);
                answer
            }
            "/callback" => self.callback(request).await,
            "/healthz" => self.health(),
            // What comes with a query was meant for another path.
            "/" if request.query().is_empty() => self.page(request, StatusCode::OK, Page::Home, None),
            _ => empty(StatusCode::NOT_FOUND),
        }
    }

    async fn callback(&self, request: &Request) -> Answer {
        let settings = &self.settings;
        let came = settings.rules.read(request.query(), settings.clock.now());
        let callback = match came {
            Ok(callback) => callback,
            Err(refusal) => return self.refuse(request, refusal),
        };
        let denied = callback.result.as_ref().err().map(ToString::to_string);
        let page = match denied {
            Some(_) => Page::Denied,
            None => Page::Success,
        };
        // A HEAD alone (Android sends one before the page) takes nothing in.
        if request.method() == Method::HEAD {
            return self.page(request, StatusCode::OK, page, denied.as_deref());
        }
        let ending = settings.intake.ending(&callback);
        // Longer than the store may take before the process ends by itself.
        let taken = tokio::time::timeout(SAFE_WITHIN, settings.intake.take(callback)).await;
        let (status, page) = match taken {
            Ok(CallbackAnswer::Safe) if page == Page::Success => {
                let ending = tokio::time::timeout(ENDS_WITHIN, ending).await;
                let page = match ending.ok().flatten() {
                    Some(Ending::Completed) => Page::Completed,
                    Some(Ending::WrongPerson) => Page::WrongPerson,
                    Some(Ending::Failed) => Page::Failed,
                    None => Page::Success,
                };
                (StatusCode::OK, page)
            }
            Ok(CallbackAnswer::Safe) => (StatusCode::OK, page),
            Ok(CallbackAnswer::TooMany) => (StatusCode::TOO_MANY_REQUESTS, Page::Limited),
            Ok(CallbackAnswer::Busy | CallbackAnswer::Failed) | Err(_) => (StatusCode::SERVICE_UNAVAILABLE, Page::Busy),
        };
        self.page(
            request,
            status,
            page,
            denied.filter(|_| page == Page::Denied).as_deref(),
        )
    }

    fn refuse(&self, request: &Request, refusal: Refusal) -> Answer {
        let counts = &self.settings.counts;
        tracing::debug!(%refusal, "a callback is refused");
        if refusal.is_unsigned() {
            counts.unsigned.add();
            let now = self.started.elapsed();
            if self.junk.borrow_mut().exceeded(self.address(request), now) {
                counts.limited.add();
                return self.page(request, StatusCode::TOO_MANY_REQUESTS, Page::Limited, None);
            }
        }
        let (status, page) = match refusal {
            Refusal::StateExpired => {
                counts.expired_links.add();
                (StatusCode::GONE, Page::Expired)
            }
            Refusal::TooLong => (StatusCode::URI_TOO_LONG, Page::Invalid),
            _ => (StatusCode::BAD_REQUEST, Page::Invalid),
        };
        if !refusal.is_unsigned() && refusal != Refusal::StateExpired {
            counts.refused.add();
        }
        self.page(request, status, page, None)
    }

    fn page(&self, request: &Request, status: StatusCode, page: Page, error: Option<&str>) -> Answer {
        let languages = request.header("accept-language").unwrap_or_default();
        let page = self.settings.pages.render(page, languages, error);
        let mut answer = with_body(status, "text/html; charset=utf-8", page.html);
        let mut set = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                answer.headers_mut().insert(name, value);
            }
        };
        set(header::CONTENT_SECURITY_POLICY, &page.policy);
        set(header::REFERRER_POLICY, "no-referrer");
        set(header::CACHE_CONTROL, "no-store");
        set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(header::X_FRAME_OPTIONS, "DENY");
        set(header::CONTENT_LANGUAGE, &page.language);
        set(header::VARY, "Accept-Language");
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
            set(header::RETRY_AFTER, "60");
        }
        answer
    }

    fn address(&self, request: &Request) -> IpAddr {
        let peer = request.peer.unwrap_or(IpAddr::from([0; 4]));
        let forwarded = request.head.headers.get_all("x-forwarded-for").iter();
        let forwarded: Vec<&str> = forwarded.filter_map(|v| v.to_str().ok()).collect();
        client(peer, forwarded.into_iter(), &self.settings.trusted_proxies)
    }

    fn health(&self) -> Answer {
        let counts = self.settings.counts.json();
        let health = object!({ "uptime_s": self.started.elapsed().as_secs(), "counts": counts });
        let mut answer = json(StatusCode::OK, &health);
        let never = HeaderValue::from_static("no-store");
        answer.headers_mut().insert(header::CACHE_CONTROL, never);
        answer
    }
}
