//! Serves the page and its few files, what is new, and takes requests to requeue.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::stream::unfold;
use hyper::header::{HeaderValue, LOCATION, SET_COOKIE};
use hyper::{Method, StatusCode};
use serde_json::json;

use super::access::Access;
use super::look::Looking;
use crate::control::Ask;
use crate::control::client::ControlClient;
use crate::server::local::{self, LocalPage, file, text};
use crate::server::{self, Answer, Listener, Request, Server, Settings};

/// One operator's browsers.
const CONNECTIONS: usize = 32;
/// Nothing from elsewhere, and nothing in line.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A running dashboard.
pub struct Dashboard {
    server: Server,
}

/// What was opened.
pub struct Opened {
    /// To be stopped at the end.
    pub dashboard: Dashboard,
    /// What the operator's browser opens, once.
    pub url: String,
}

impl Dashboard {
    /// Listens on a port of loopback, or on any free one for 0.
    pub fn open(socket: PathBuf, port: u16, random: [[u8; 32]; 2]) -> io::Result<Opened> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        let address = listener.local_addr()?;
        let (access, key) = Access::new(address, random);
        let settings = Settings {
            name: "dashboard",
            connections: CONNECTIONS,
            longest_head: 16 * 1024,
            trusted: Vec::new(),
        };
        let server = Server::start(settings, Listener::Tcp(listener), move || {
            let site = Rc::new(Site {
                page: LocalPage::at(address),
                access: RefCell::new(access),
                socket: Arc::new(socket),
            });
            async move |request: Request| local::guarded(POLICY, site.answer(&request).await)
        })?;
        Ok(Opened {
            dashboard: Self { server },
            url: format!("http://{address}/?key={key}"),
        })
    }

    /// Ends it.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

struct Site {
    page: LocalPage,
    access: RefCell<Access>,
    socket: Arc<PathBuf>,
}

impl Site {
    async fn answer(&self, request: &Request) -> Answer {
        if !self.page.is_host(request.header("host")) {
            return text(StatusCode::MISDIRECTED_REQUEST, "this is not the host that was opened");
        }
        if let Some(key) = request.query().strip_prefix("key=") {
            return self.exchange(key);
        }
        if !self.access.borrow().is_known(request.header("cookie")) {
            let why = "open the address that `codeferry dashboard` printed; it works once: start it again for another";
            return text(StatusCode::FORBIDDEN, why);
        }
        match (request.method(), request.path()) {
            (&Method::GET, "/") => file("text/html; charset=utf-8", include_str!("page.html")),
            (&Method::GET, "/page.css") => file("text/css; charset=utf-8", include_str!("page.css")),
            (&Method::GET, "/page.js") => file("text/javascript; charset=utf-8", include_str!("page.js")),
            (&Method::GET, "/live") => {
                let looking = Looking::at(Arc::clone(&self.socket));
                server::events(unfold(looking, async |looking| Some(looking.part().await)))
            }
            (&Method::POST, path) if self.page.is_origin(request.header("origin")) => self.requeue(path).await,
            _ => text(StatusCode::NOT_FOUND, "there is nothing here"),
        }
    }

    /// The key leaves the address for a cookie.
    fn exchange(&self, key: &str) -> Answer {
        let Some(cookie) = self.access.borrow_mut().exchange(key) else {
            let why = "this key is wrong or was used: start `codeferry dashboard` again";
            return text(StatusCode::FORBIDDEN, why);
        };
        let mut answer = server::empty(StatusCode::SEE_OTHER);
        let headers = answer.headers_mut();
        headers.insert(LOCATION, HeaderValue::from_static("/"));
        headers.extend(HeaderValue::try_from(cookie).ok().map(|cookie| (SET_COOKIE, cookie)));
        answer
    }

    async fn requeue(&self, path: &str) -> Answer {
        let Some(id) = path.strip_prefix("/requeue/").and_then(|id| id.parse().ok()) else {
            return text(StatusCode::NOT_FOUND, "there is nothing here");
        };
        let ask = Ask::Requeue { id, sink: None };
        let asked = async { ControlClient::new(&self.socket)?.ask(&ask).await };
        match asked.await {
            Ok(Ok(view)) => server::json(StatusCode::OK, &view),
            Ok(Err(refusal)) => {
                let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_GATEWAY);
                server::json(status, &json!({ "error": refusal.message }))
            }
            Err(nobody) => server::json(StatusCode::BAD_GATEWAY, &json!({ "error": nobody.to_string() })),
        }
    }
}
