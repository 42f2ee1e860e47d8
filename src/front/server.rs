//! The front state: HTTP for browsers. It judges a callback, hands a good one on, and answers a page once it is safe.
//!
//! `GET` and `HEAD /callback`, `GET /healthz`, nothing else. No code, state or address reaches the log.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::http::{Method, StatusCode, header};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use ipnet::IpNet;
use serde_json::json;
use tokio::time::Instant;

use super::address::{JunkLimit, client};
use super::counts::Counts;
use super::page::Page;
use super::pages::Pages;
use crate::intake::callback::{CallbackRules, Refusal};
use crate::port::callback_intake::{CallbackAnswer, CallbackIntake};
use crate::time::SharedClock;

/// A browser sends its request at once; a slower client only holds a connection.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// Connections at the same time.
const CONNECTIONS: usize = 2048;
/// 503 after this: the code is not durable yet.
const SAFE_WITHIN: Duration = Duration::from_secs(8);

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

struct Shared {
    rules: CallbackRules,
    clock: SharedClock,
    pages: Pages,
    trusted_proxies: Vec<IpNet>,
    intake: Arc<dyn CallbackIntake>,
    counts: Arc<Counts>,
    started: Instant,
}

/// What one worker has for itself.
struct FrontState {
    shared: Arc<Shared>,
    junk: RefCell<JunkLimit>,
}

/// A front that listens.
pub struct Front {
    /// Where, with the port that was taken.
    pub address: SocketAddr,
    handle: ServerHandle,
}

impl Front {
    /// Binds and serves, on a thread of its own, until it is stopped.
    pub fn start(settings: FrontSettings) -> io::Result<Self> {
        let listener = TcpListener::bind(settings.listen)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            rules: settings.rules,
            clock: settings.clock,
            pages: settings.pages,
            trusted_proxies: settings.trusted_proxies,
            intake: settings.intake,
            counts: settings.counts,
            started: Instant::now(),
        });
        let server = HttpServer::new(move || {
            let state = Rc::new(FrontState {
                shared: Arc::clone(&shared),
                junk: RefCell::default(),
            });
            App::new().app_data(state).default_service(web::route().to(answer))
        })
        // One worker: the limit by address is counted in one place, and a callback costs microseconds.
        .workers(1)
        .max_connections(CONNECTIONS)
        .client_request_timeout(HEAD_WITHIN)
        .shutdown_timeout(2)
        .disable_signals()
        .listen(listener)?
        .run();
        Ok(Self {
            address,
            handle: serve(server),
        })
    }

    /// Takes no more connections and lets what is being answered end, for two seconds.
    pub async fn stop(self) {
        self.handle.stop(true).await;
    }
}

fn serve(server: Server) -> ServerHandle {
    let handle = server.handle();
    tokio::task::spawn_local(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the front ended");
        }
    });
    handle
}

async fn answer(request: HttpRequest) -> HttpResponse {
    let state = request.app_data::<Rc<FrontState>>().map(Rc::clone);
    let Some(state) = state else {
        return HttpResponse::InternalServerError().finish();
    };
    let looks = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.path() {
        "/callback" | "/healthz" if !looks => HttpResponse::MethodNotAllowed()
            .insert_header((header::ALLOW, "GET, HEAD"))
            .finish(),
        "/callback" => state.callback(&request).await,
        "/healthz" => state.health(),
        _ => HttpResponse::NotFound().finish(),
    }
}

impl FrontState {
    async fn callback(&self, request: &HttpRequest) -> HttpResponse {
        let shared = &self.shared;
        let came = shared.rules.read(request.query_string(), shared.clock.now());
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
        // Longer than the store may take before the process ends by itself.
        let taken = tokio::time::timeout(SAFE_WITHIN, shared.intake.take(callback)).await;
        let (status, page) = match taken {
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

    fn refuse(&self, request: &HttpRequest, refusal: Refusal) -> HttpResponse {
        let counts = &self.shared.counts;
        tracing::debug!(%refusal, "a callback is refused");
        if refusal.is_unsigned() {
            counts.unsigned.add();
            let now = self.shared.started.elapsed();
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

    fn page(&self, request: &HttpRequest, status: StatusCode, page: Page, error: Option<&str>) -> HttpResponse {
        let languages = request.headers().get(header::ACCEPT_LANGUAGE);
        let languages = languages.and_then(|v| v.to_str().ok()).unwrap_or_default();
        let page = self.shared.pages.render(page, languages, error);
        let mut response = HttpResponse::build(status);
        response
            .content_type("text/html; charset=utf-8")
            .insert_header((header::CONTENT_SECURITY_POLICY, page.policy))
            .insert_header((header::REFERRER_POLICY, "no-referrer"))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((header::X_FRAME_OPTIONS, "DENY"))
            .insert_header((header::CONTENT_LANGUAGE, page.language))
            .insert_header((header::VARY, "Accept-Language"));
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header((header::RETRY_AFTER, "60"));
        }
        response.body(page.html)
    }

    fn address(&self, request: &HttpRequest) -> IpAddr {
        let peer = request.peer_addr().map_or(IpAddr::from([0; 4]), |peer| peer.ip());
        let forwarded = request.headers().get_all("x-forwarded-for");
        let forwarded: Vec<&str> = forwarded.filter_map(|v| v.to_str().ok()).collect();
        client(peer, forwarded.into_iter(), &self.shared.trusted_proxies)
    }

    fn health(&self) -> HttpResponse {
        let counts = self.shared.counts.json();
        HttpResponse::Ok()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(json!({ "uptime_s": self.shared.started.elapsed().as_secs(), "counts": counts }))
    }
}
