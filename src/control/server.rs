//! The server side. The socket is private to the user (mode 0600); on TCP a bearer token is asked for.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use actix_http::{HttpService, Protocol};
use actix_service::{IntoServiceFactory as _, map_config};
use actix_web::dev::{AppConfig, Service as _, ServiceFactory as _};
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;

use super::ask::{Ask, Refusal, verified};
use crate::actors::governor::{Governor, Inspect};
use crate::actors::journal::Journal;
use crate::actors::journal::message::{Mint, Operate};
use crate::actors::journal::view::{CountAll, Filter, List, Listing, Show};
use crate::front::counts::Counts;
use crate::grant::Event;
use crate::ids::GrantId;
use crate::intake::mint::Wanted;
use crate::metrics;
use crate::secret::ControlToken;
use crate::store::CommitterHandle;

/// After a connection that could not be taken, as when all file descriptors are in use.
const NEXT_CONNECTION_AFTER: Duration = Duration::from_millis(500);

/// What the server is made of.
pub struct ControlSettings {
    /// The socket; `None` where there is none.
    pub socket: Option<PathBuf>,
    /// A TCP address beside it.
    pub listen: Option<SocketAddr>,
    /// Asked for on TCP.
    pub token: Option<ControlToken>,
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

/// A running control server. Dropping it ends every connection.
pub struct ControlServer {
    listening: JoinSet<()>,
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
    /// The hash of the token that must be shown; `None` on the socket.
    token: Option<Arc<[u8; 32]>>,
}

impl ControlServer {
    /// Binds and serves. The journal's lock is held by now, so a socket that lies there is a dead one's.
    pub fn start(settings: ControlSettings) -> Result<Self, CannotOpen> {
        let purposes: Arc<[String]> = settings.purposes.into();
        let live = |token| Live {
            purposes: Arc::clone(&purposes),
            journal: settings.journal.clone(),
            governor: settings.governor.clone(),
            store: settings.store.clone(),
            callbacks: settings.callbacks.clone(),
            token,
        };
        let mut listening = JoinSet::new();
        if let Some(path) = &settings.socket {
            let bound = bind(path).map_err(|source| CannotOpen::Socket {
                path: path.clone(),
                source,
            })?;
            let accept = async move || Ok(bound.accept().await?.0);
            listening.spawn_local(serve(accept, live(None)));
        }
        if let Some(address) = settings.listen {
            let token = settings
                .token
                .as_ref()
                .map(|t| Arc::new(Sha256::digest(t.expose().as_bytes()).into()));
            let token = token.ok_or(CannotOpen::NoToken)?;
            let bound = bind_tcp(address).map_err(|source| CannotOpen::Port { address, source })?;
            let accept = async move || Ok(bound.accept().await?.0);
            listening.spawn_local(serve(accept, live(Some(token))));
        }
        Ok(Self {
            listening,
            socket: settings.socket,
        })
    }

    /// Ends it and removes the socket.
    pub async fn stop(mut self) {
        self.listening.shutdown().await;
        if let Some(path) = self.socket {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let bound = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(bound)
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let bound = std::net::TcpListener::bind(address)?;
    bound.set_nonblocking(true)?;
    TcpListener::from_std(bound)
}

/// Takes connections. `HttpServer` would keep a thread, and wake it twice a second for the `Date` header, while nobody
/// asks anything; here only a connection does.
async fn serve<S>(mut accept: impl AsyncFnMut() -> io::Result<S>, live: Live)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        match accept().await {
            Ok(connection) => drop(connections.spawn_local(answer(connection, live.clone()))),
            Err(error) => {
                tracing::warn!(%error, "the control interface could not take a connection");
                tokio::time::sleep(NEXT_CONNECTION_AFTER).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn answer<S>(connection: S, live: Live)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let app = App::new().app_data(web::Data::new(live)).configure(routes);
    let app = map_config(app.into_factory(), |()| AppConfig::default());
    let Ok(service) = HttpService::build().finish(app).new_service(()).await else {
        return;
    };
    if let Err(error) = service.call((connection, Protocol::Http1, None)).await {
        tracing::debug!(%error, "a connection to the control interface failed");
    }
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/v1/queue", web::get().to(list))
        .route("/v1/queue/{id}", web::get().to(show))
        .route("/v1/queue/{id}/requeue", web::post().to(requeue))
        .route("/v1/queue/{id}/drop", web::post().to(drop_grant))
        .route(
            "/v1/stats",
            web::get().to(async |live: web::Data<Live>, r: HttpRequest| live.answer(&r, Ask::Stats).await),
        )
        .route(
            "/v1/budget",
            web::get().to(async |live: web::Data<Live>, r: HttpRequest| live.answer(&r, Ask::Budget).await),
        )
        .route("/v1/links", web::post().to(link))
        .route("/v1/metrics", web::get().to(metrics_text))
        .route(
            "/v1/verify",
            web::get().to(async |live: web::Data<Live>, r: HttpRequest| live.answer(&r, Ask::Verify).await),
        );
}

async fn list(live: web::Data<Live>, request: HttpRequest, filter: web::Query<Filter>) -> HttpResponse {
    live.answer(&request, Ask::List(filter.into_inner())).await
}

async fn show(live: web::Data<Live>, request: HttpRequest, id: web::Path<GrantId>) -> HttpResponse {
    live.answer(&request, Ask::Show(id.into_inner())).await
}

/// Prometheus' text format; the gauges are brought up to date first.
async fn metrics_text(live: web::Data<Live>, request: HttpRequest) -> HttpResponse {
    if !live.may(&request) {
        return Live::unauthorized();
    }
    // An actor that does not answer leaves its gauges as they were.
    let _ = live.journal.send(CountAll).await;
    let _ = live.governor.send(Inspect).await;
    for (result, so_far) in live.callbacks.iter().flat_map(|counts| counts.callbacks()) {
        metrics::callbacks(result, so_far);
    }
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(metrics::render())
}

#[derive(Deserialize)]
struct RequeueBody {
    sink: Option<String>,
}

async fn requeue(
    live: web::Data<Live>,
    request: HttpRequest,
    id: web::Path<GrantId>,
    body: web::Json<RequeueBody>,
) -> HttpResponse {
    live.answer(
        &request,
        Ask::Requeue {
            id: id.into_inner(),
            sink: body.into_inner().sink,
        },
    )
    .await
}

async fn drop_grant(live: web::Data<Live>, request: HttpRequest, id: web::Path<GrantId>) -> HttpResponse {
    live.answer(&request, Ask::Drop(id.into_inner())).await
}

/// The body is read by hand: what is wrong with it is told, and a client need not name its content type.
async fn link(live: web::Data<Live>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    match serde_json::from_slice(&body) {
        Ok(wanted) => live.answer(&request, Ask::Link(wanted)).await,
        Err(_) if !live.may(&request) => Live::unauthorized(),
        Err(error) => HttpResponse::BadRequest().json(json!({
            "error": format!("write {{\"user_id\": \"<a Discord id>\", \"purpose\": \"<optional>\"}}: {error}"),
        })),
    }
}

impl Live {
    async fn answer(&self, request: &HttpRequest, ask: Ask) -> HttpResponse {
        if !self.may(request) {
            return Self::unauthorized();
        }
        match self.ask(ask).await {
            Ok(value) => HttpResponse::Ok().json(value),
            Err(refusal) => {
                let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let mut answer = HttpResponse::build(status);
                let mut body = json!({ "error": refusal.message });
                if let Some(seconds) = refusal.retry_after {
                    answer.insert_header(("Retry-After", seconds));
                    body["retry_after"] = json!(seconds);
                }
                answer.json(body)
            }
        }
    }

    fn unauthorized() -> HttpResponse {
        HttpResponse::Unauthorized().json(json!({ "error": "the control token is missing or wrong" }))
    }

    fn may(&self, request: &HttpRequest) -> bool {
        let Some(wanted) = &self.token else { return true };
        let shown = request
            .headers()
            .get("authorization")
            .and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
        // Hashes are compared, so the time taken tells nothing of the token.
        shown.is_some_and(|token| <[u8; 32]>::from(Sha256::digest(token.as_bytes())) == **wanted)
    }

    async fn ask(&self, ask: Ask) -> Result<Value, Refusal> {
        let dead = |_| Refusal::new(503, "the journal does not answer");
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
        let dead = |_| Refusal::new(503, "the journal does not answer");
        match self.journal.send(Show(id)).await.map_err(dead)?? {
            None => return Err(Refusal::no_such_grant(id)),
            Some(view) if view.state == "closed" => return Err(Refusal::closed(id)),
            Some(_) => {}
        }
        let operated = self.journal.send(Operate { grant: id, event }).await;
        operated.map_err(dead)??;
        let view = self.journal.send(Show(id)).await.map_err(dead)??;
        Ok(json!(view))
    }
}
