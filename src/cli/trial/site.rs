//! Serves the page: who there is, what has happened, and what a user does next.

use std::fmt::Display;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::Context as _;
use hyper::header::{HeaderValue, LOCATION};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::page;
use crate::control::client::ControlClient;
use crate::control::{Ask, LinkRequest};
use crate::ids::UserId;
use crate::lifecycle::{Exit, Failure};
use crate::server::local::{self, LocalPage, file, text};
use crate::server::{self, Answer, Listener, Request, Server, Settings};
use crate::simulator::Simulator;
use crate::simulator::people::{Behaviour, browser, walk};

/// One person's browsers.
const CONNECTIONS: usize = 32;
/// Nothing from elsewhere, and nothing in line.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What the page shows, and acts on.
pub struct Site {
    pub simulator: Simulator,
    /// The service's control socket.
    pub socket: PathBuf,
    /// The file with the results.
    pub results: PathBuf,
}

/// What was opened.
pub struct Opened {
    /// Serves until it is dropped.
    pub server: Server,
    pub url: String,
}

impl Site {
    /// Listens on a port of loopback, or on any free one for 0.
    pub fn open(self, port: u16) -> anyhow::Result<Opened> {
        let listen = || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
            let address = listener.local_addr()?;
            io::Result::Ok((listener, address))
        };
        let (listener, address) = listen().map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot listen on 127.0.0.1:{port}"))
                .source(error)
                .way_out("choose another --port, or 0 for any free one")
        })?;
        let settings = Settings {
            name: "try",
            connections: CONNECTIONS,
            longest_head: 16 * 1024,
            trusted: Vec::new(),
        };
        let server = Server::start(settings, Listener::Tcp(listener), move || {
            let (site, page) = (Rc::new(self), Rc::new(LocalPage::at(address)));
            async move |request: Request| local::guarded(POLICY, site.answer(&request, &page).await)
        });
        Ok(Opened {
            server: server.context("cannot serve the page")?,
            url: format!("http://{address}/"),
        })
    }

    async fn answer(&self, request: &Request, page: &LocalPage) -> Answer {
        if !page.is_host(request.header("host")) {
            return text(StatusCode::MISDIRECTED_REQUEST, "this is not the host that was opened");
        }
        let same_origin = page.is_origin(request.header("origin"));
        match (request.method(), request.path()) {
            (&Method::GET, "/") => file("text/html; charset=utf-8", include_str!("page.html")),
            (&Method::GET, "/page.css") => file("text/css; charset=utf-8", include_str!("page.css")),
            (&Method::GET, "/page.js") => file("text/javascript; charset=utf-8", include_str!("page.js")),
            (&Method::GET, "/live") => server::json(StatusCode::OK, &self.live()),
            (&Method::GET, "/consent") => told(self.consent(request.query()).await.map(seen)),
            (&Method::POST, "/decide") if same_origin => told(self.decide(request.query()).await),
            _ => text(StatusCode::NOT_FOUND, "there is nothing here"),
        }
    }

    fn live(&self) -> Value {
        let results = std::fs::read_to_string(&self.results).unwrap_or_default();
        page::live(&self.simulator.names(), &self.simulator.ledger(), &results)
    }

    /// A link for a user, as the bot would get it from the service.
    async fn link(&self, user: UserId) -> Result<String, String> {
        let purpose = None;
        let ask = Ask::Link(LinkRequest { user_id: user, purpose });
        let asked = async { ControlClient::new(&self.socket)?.ask(&ask).await };
        match asked.await {
            Ok(Ok(link)) => link["url"]
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| "the link has no URL".into()),
            Ok(Err(refusal)) => Err(format!("the service refused a link: {}", refusal.message)),
            Err(error) => Err(format!("the service did not answer: {error}")),
        }
    }

    /// The address of the consent page, with the user chosen.
    async fn consent(&self, query: &str) -> Result<String, String> {
        let user = user(query, "user")?;
        Ok(format!("{}&user_id={user}", self.link(user).await?))
    }

    /// Plays a user's link to the service's answer; `as` names the account that approves.
    async fn decide(&self, query: &str) -> Result<Answer, String> {
        let (user, approver) = (user(query, "user")?, user(query, "as")?);
        let behaviour = match field(query, "action").as_deref() {
            Some("approve") => Behaviour::Approve,
            Some("deny") => Behaviour::Deny,
            _ => return Err("`action` is neither approve nor deny".into()),
        };
        let link = self.link(user).await?;
        let walked = walk(&browser(), &link, approver.0, behaviour).await;
        walked.map_err(|error| error.to_string())?;
        Ok(server::json(StatusCode::OK, &json!({ "done": true })))
    }
}

fn field(query: &str, name: &str) -> Option<String> {
    let mut fields = url::form_urlencoded::parse(query.as_bytes());
    fields.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn user(query: &str, name: &str) -> Result<UserId, String> {
    let given = field(query, name).and_then(|id| id.parse().ok());
    given.ok_or_else(|| format!("`{name}` is no user id"))
}

fn seen(url: String) -> Answer {
    let mut answer = server::empty(StatusCode::SEE_OTHER);
    answer
        .headers_mut()
        .extend(HeaderValue::try_from(url).ok().map(|url| (LOCATION, url)));
    answer
}

fn told(outcome: Result<Answer, impl Display>) -> Answer {
    outcome.unwrap_or_else(|why| server::json(StatusCode::BAD_GATEWAY, &json!({ "error": why.to_string() })))
}
