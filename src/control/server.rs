//! The server side. The socket is private to the user (mode 0600). On TCP a token is asked for before anything else is
//! read: that of `control` opens everything, that of the metrics opens them alone.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use actix::Addr;
use hyper::StatusCode;
use hyper::header::RETRY_AFTER;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::ask::{Ask, Refusal, verified};
use super::routes::{self, Found, Operation};
use super::{events, openapi, requests};
use crate::actors::governor::{Governor, Inspect};
use crate::actors::journal::Journal;
use crate::actors::journal::message::{JournalError, Mint, Operate};
use crate::actors::journal::view::{CountAll, List, Listing, Show};
use crate::front::counts::Counts;
use crate::grant::Event;
use crate::ids::GrantId;
use crate::intake::mint::Wanted;
use crate::metrics;
use crate::secret::ControlToken;
use crate::server::{self, Answer, Listener, Request, Server, Settings, descriptors};
use crate::store::CommitterHandle;

/// Connections at the same time, of at most an eighth of the descriptors.
const CONNECTIONS: usize = 64;
/// No request here has more to say in its headers.
const LONGEST_HEAD: usize = 16 * 1024;

/// What the server is made of.
pub struct ControlSettings {
    /// The socket; `None` where there is none.
    pub socket: Option<PathBuf>,
    /// A TCP address beside it.
    pub listen: Option<SocketAddr>,
    /// Asked for on TCP.
    pub token: Option<ControlToken>,
    /// Opens the metrics on TCP, and nothing else.
    pub metrics_token: Option<ControlToken>,
    /// The journal.
    pub journal: Addr<Journal>,
    /// The governor.
    pub governor: Addr<Governor>,
    /// The store's handle.
    pub store: CommitterHandle,
    /// `state.purposes`.
    pub purposes: Vec<String>,
    /// What direct intake counts, where there is one.
    pub callbacks: Option<Arc<Counts>>,
}

/// A running control server.
pub struct ControlServer {
    servers: Vec<Server>,
    socket: Option<PathBuf>,
}

/// Why the interface cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum CannotOpen {
    /// The unix socket cannot be made.
    #[error("cannot make the socket `{}`", path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// The TCP address cannot be had.
    #[error("cannot listen on {address}")]
    Port {
        /// The address.
        address: SocketAddr,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// TCP without a token would let anybody on the machine in.
    #[error("`control.listen` needs a token")]
    NoToken,
}

impl CannotOpen {
    /// What the operator can do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Socket { .. } => {
                "set control.socket to a path that this user may write, of at most 100 bytes, or to \"\" for none"
            }
            Self::Port { .. } => "free the port, or set control.listen to another one, or to \"\" for none",
            Self::NoToken => "set CODEFERRY_CONTROL_TOKEN, or control.listen = \"\"",
        }
    }
}

#[derive(Clone)]
struct Live {
    journal: Addr<Journal>,
    governor: Addr<Governor>,
    store: CommitterHandle,
    purposes: Arc<[String]>,
    callbacks: Option<Arc<Counts>>,
    /// `None` on the socket.
    tokens: Option<Tokens>,
}

/// The hashes of the tokens. Hashes are compared, so the time taken tells nothing of the token.
#[derive(Clone)]
struct Tokens {
    control: [u8; 32],
    metrics: Option<[u8; 32]>,
}

/// What a request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    All,
    Metrics,
    Nothing,
}

impl Tokens {
    fn access(&self, request: &Request) -> Access {
        let shown = request.header("authorization").and_then(|v| v.strip_prefix("Bearer "));
        match shown.map(hash) {
            Some(shown) if shown == self.control => Access::All,
            Some(shown) if self.metrics == Some(shown) => Access::Metrics,
            _ => Access::Nothing,
        }
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

impl ControlServer {
    /// Binds and serves. The journal's lock is held by now, so a socket that lies there is a dead one's.
    pub fn start(settings: ControlSettings) -> Result<Self, CannotOpen> {
        let purposes: Arc<[String]> = settings.purposes.into();
        let live = |tokens| Live {
            purposes: Arc::clone(&purposes),
            journal: settings.journal.clone(),
            governor: settings.governor.clone(),
            store: settings.store.clone(),
            callbacks: settings.callbacks.clone(),
            tokens,
        };
        let mut servers = Vec::new();
        if let Some(path) = &settings.socket {
            let started = bind(path).and_then(|listener| serve("control", Listener::Unix(listener), live(None)));
            servers.push(started.map_err(|source| CannotOpen::Socket {
                path: path.clone(),
                source,
            })?);
        }
        if let Some(address) = settings.listen {
            let tokens = Tokens {
                control: settings
                    .token
                    .as_ref()
                    .map(|t| hash(t.expose()))
                    .ok_or(CannotOpen::NoToken)?,
                metrics: settings.metrics_token.as_ref().map(|t| hash(t.expose())),
            };
            let started = TcpListener::bind(address)
                .and_then(|listener| serve("control-tcp", Listener::Tcp(listener), live(Some(tokens))));
            servers.push(started.map_err(|source| CannotOpen::Port { address, source })?);
        }
        Ok(Self {
            servers,
            socket: settings.socket,
        })
    }

    /// Ends it and removes the socket.
    pub async fn stop(self) {
        futures_util::future::join_all(self.servers.into_iter().map(Server::stop)).await;
        if let Some(path) = self.socket {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The socket, for this user alone.
fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match std::fs::symlink_metadata(path) {
        // What a killed process has left.
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::other("the path exists and is not a socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn serve(name: &'static str, listener: Listener, live: Live) -> io::Result<Server> {
    let settings = Settings {
        name,
        connections: descriptors(8, CONNECTIONS),
        longest_head: LONGEST_HEAD,
        trusted: Vec::new(),
    };
    Server::start(settings, listener, move || {
        async move |request: Request| live.answer(request).await
    })
}

impl Live {
    /// Who asks comes first: nothing else of a request counts before.
    async fn answer(&self, request: Request) -> Answer {
        let access = self
            .tokens
            .as_ref()
            .map_or(Access::All, |tokens| tokens.access(&request));
        let found = routes::find(request.method().as_str(), request.path());
        let metrics = found.as_ref().is_ok_and(|found| found.operation == Operation::Metrics);
        match access {
            Access::Nothing => refused(Refusal::new(401, "the control token is missing or wrong")),
            Access::All | Access::Metrics if metrics => self.metrics().await,
            Access::Metrics => refused(Refusal::new(403, "this token is for GET /v1/metrics alone")),
            Access::All => {
                let answered = async { self.serve(found?, request).await };
                answered.await.unwrap_or_else(refused)
            }
        }
    }

    async fn serve(&self, found: Found, request: Request) -> Result<Answer, Refusal> {
        match found.operation {
            Operation::Events => events::events(&self.journal, &request).await,
            Operation::OpenApi => Ok(server::json(StatusCode::OK, &openapi::document())),
            Operation::ResultSchema => Ok(server::json(StatusCode::OK, &openapi::result_schema())),
            _ => {
                let value = self.ask(requests::read(found, request).await?).await?;
                Ok(server::json(StatusCode::OK, &value))
            }
        }
    }

    /// Prometheus' text format; the gauges are brought up to date first.
    async fn metrics(&self) -> Answer {
        // An actor that does not answer leaves its gauges as they were.
        let _ = self.journal.send(CountAll).await;
        let _ = self.governor.send(Inspect).await;
        for (result, so_far) in self.callbacks.iter().flat_map(|counts| counts.callbacks()) {
            metrics::callbacks(result, so_far);
        }
        let format = "text/plain; version=0.0.4; charset=utf-8";
        server::with_body(StatusCode::OK, format, metrics::render())
    }

    async fn ask(&self, ask: Ask) -> Result<Value, Refusal> {
        let dead = |_| Refusal::stopping();
        match ask {
            Ask::List(filter) if filter.state.as_deref() == Some("closed") => {
                let counted = self.journal.send(CountAll).await.map_err(dead)??;
                let total: u64 = counted.closed.values().sum();
                let closed = self.store.newest_closed(filter.most()).await?;
                Ok(json!(Listing::of_closed(&closed, total)))
            }
            Ask::List(filter) => Ok(json!(self.journal.send(List(filter)).await.map_err(dead)?)),
            Ask::Show(id) => {
                let view = self.journal.send(Show(id)).await.map_err(dead)??;
                view.map(|v| json!(v)).ok_or_else(|| Refusal::no_such_grant(id))
            }
            Ask::Stats => {
                let mut stats = self.journal.send(CountAll).await.map_err(dead)??;
                let callbacks = self.callbacks.as_ref().map(|counts| counts.callbacks());
                stats.callbacks = callbacks.map(|all| all.map(|(name, n)| (name.to_owned(), n)).into());
                Ok(json!(stats))
            }
            Ask::Requeue { id, sink } => self.operate(id, Event::Requeued { sink }).await,
            Ask::Drop(id) => self.operate(id, Event::Dropped).await,
            Ask::Budget => {
                let views = self.governor.send(Inspect).await;
                Ok(json!(
                    views.map_err(|_| Refusal::new(503, "the governor does not answer"))?
                ))
            }
            Ask::Verify => Ok(verified(&self.store.verify().await?)),
            Ask::Link(wanted) => {
                let purpose = wanted.purpose_index(&self.purposes)?;
                let mint = Mint(Wanted {
                    user: wanted.user_id,
                    purpose,
                    again: false,
                });
                Ok(json!(self.journal.send(mint).await.map_err(dead)??))
            }
        }
    }

    async fn operate(&self, id: GrantId, event: Event) -> Result<Value, Refusal> {
        let dead = |_| Refusal::stopping();
        let view = match self.journal.send(Show(id)).await.map_err(dead)?? {
            None => return Err(Refusal::no_such_grant(id)),
            Some(view) if view.state == "closed" => return Err(Refusal::closed(id)),
            Some(view) => view,
        };
        let operate = Operate {
            grant: id,
            event: event.clone(),
        };
        match self.journal.send(operate).await.map_err(dead)? {
            Err(JournalError::Refused(_)) => return Err(Refusal::impossible(&event, &view)),
            operated => operated?,
        }
        let view = self.journal.send(Show(id)).await.map_err(dead)??;
        Ok(json!(view))
    }
}

fn refused(refusal: Refusal) -> Answer {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut body = json!({ "error": refusal.message });
    if let Some(seconds) = refusal.retry_after {
        body["retry_after"] = json!(seconds);
    }
    let mut answer = server::json(status, &body);
    if let Some(seconds) = refusal.retry_after {
        answer.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    answer
}
