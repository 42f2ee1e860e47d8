//! Starts and stops the simulator: its own thread, its own actix System, real sockets on 127.0.0.1.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::KeepAlive;
use actix_web::web::{self, Data, PayloadConfig};
use actix_web::{App, HttpServer};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::gateway::Dispatch;
use super::options::SimulatorOptions;
use super::state::{Later, State};
use super::{connection, control, people, router};
use crate::time::{Clock, SystemClock};

/// The largest body accepted; more than Discord accepts without files.
const MAX_BODY: usize = 8 << 20;
/// Longer than any pause between two requests of one client in a test.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
const CRAWL_TIMEOUT: Duration = Duration::from_secs(5);

/// An embedded Discord that runs until it is stopped or dropped. It dereferences to its controls.
pub struct Simulator {
    state: Arc<State>,
    port: u16,
    server: ServerHandle,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl std::ops::Deref for Simulator {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl Simulator {
    /// Starts it. Fails if the port is taken or no thread can be started.
    pub fn start(options: SimulatorOptions) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))?;
        let port = listener.local_addr()?.port();
        // With the port, two simulators started in one millisecond differ.
        let random = (SystemClock.now().as_millis() as u64) << 16 | u64::from(port);
        let seed = options.seed.unwrap_or(random);
        let (later, queue) = unbounded_channel();
        let state = Arc::new(State::new(options, seed, port, later));
        let (ready, started) = mpsc::channel();
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("simulator".into())
            .spawn(move || actix_web::rt::System::new().block_on(run(listener, shared, queue, ready)))?;
        let Ok(server) = started.recv() else {
            return Err(match thread.join() {
                Ok(Err(error)) => error,
                _ => io::Error::other("the simulator's thread ended at once"),
            });
        };
        Ok(Self {
            state,
            port,
            server,
            thread: Some(thread),
        })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops it: connections are cut, and its thread has ended when this returns.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            // The call itself stops the server; its future would only wait, as the join does.
            drop(self.server.stop(false));
            drop(thread.join());
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.end();
    }
}

async fn run(
    listener: TcpListener,
    state: Arc<State>,
    queue: UnboundedReceiver<Later>,
    ready: mpsc::Sender<ServerHandle>,
) -> io::Result<()> {
    let shared = Data::from(Arc::clone(&state));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(shared.clone())
            .app_data(PayloadConfig::new(MAX_BODY))
            .route("/gateway", web::get().to(connection::serve))
            .route("/_sim/{path:.*}", web::route().to(control::serve))
            .default_service(web::route().to(router::serve))
    })
    .workers(1)
    .disable_signals()
    .keep_alive(KeepAlive::Timeout(KEEP_ALIVE))
    .listen(listener)?
    .run();
    // The caller of `start` waits for this; if it is gone, the server is not needed.
    if ready.send(server.handle()).is_err() {
        return Ok(());
    }
    tokio::select! {
        ended = server => ended,
        () = happen_later(&state, queue) => Ok(()),
    }
}

/// Publishes delayed events, and fetches links as Discord's crawler does.
async fn happen_later(state: &State, mut queue: UnboundedReceiver<Later>) {
    let mut waiting = FuturesUnordered::new();
    loop {
        tokio::select! {
            next = queue.recv() => match next {
                Some(later) => waiting.push(wait_for(later)),
                None => std::future::pending().await,
            },
            Some(dispatch) = waiting.next(), if !waiting.is_empty() => {
                let inner = &mut *state.lock();
                inner.hub.publish(&inner.world, &dispatch);
            }
        }
    }
}

async fn wait_for(later: Later) -> Dispatch {
    tokio::time::sleep_until(later.at).await;
    if let Some(link) = later.link {
        crawl(&link).await;
    }
    later.dispatch
}

/// Fetches a link on loopback. Others are never fetched: the simulator stays on this machine.
async fn crawl(link: &str) {
    let Ok(url) = url::Url::parse(link) else { return };
    if url.scheme() == "http" && matches!(url.host_str(), Some("127.0.0.1" | "localhost")) {
        let request = people::browser()
            .get(url)
            .header(
                "User-Agent",
                "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
            )
            .timeout(CRAWL_TIMEOUT);
        // The event follows even if the page cannot be fetched.
        drop(request.send().await);
    }
}
