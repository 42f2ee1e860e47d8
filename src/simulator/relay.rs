//! A plain test relay: takes redirects and packs them into version-1 messages within Discord's limits.
//!
//! It keeps nothing on disk and trusts everybody: the real relay is another part. It stands here so that the whole way
//! of a code can be walked on one machine.

use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use crate::ids::UserId;
use crate::intake::v1::{self, Redirect};
use crate::secret::Key;
use crate::time::{Clock, SystemClock};

/// Posts in any 4 s and in any 60 s: what waits meanwhile shares a message, and the minute's budget lasts the minute.
/// One less than Discord allows, for our window and Discord's differ by the way between.
const PACE: [(usize, Duration); 2] = [(2, Duration::from_secs(4)), (29, Duration::from_mins(1))];

/// A running relay.
pub struct Relay {
    url: String,
    counts: Arc<Counts>,
    server: ServerHandle,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Counts {
    redirects: AtomicU64,
    posted: AtomicU64,
    messages: AtomicU64,
}

/// Where and how it posts.
pub struct RelaySettings {
    /// `…/api/v10/webhooks/ID/TOKEN`.
    pub webhook_url: String,
    /// The bot to mention.
    pub bot: UserId,
    /// Signs the messages.
    pub relay_key: Key,
}

impl Relay {
    /// Starts on a listener that is bound already, so that its address can be registered first.
    pub fn start(listener: TcpListener, settings: RelaySettings) -> io::Result<Self> {
        let url = format!("http://{}/oauth", listener.local_addr()?);
        let counts = Arc::new(Counts::default());
        let counted = Arc::clone(&counts);
        let (started, server) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("codeferry-relay".to_owned())
            .spawn(move || {
                let outcome = actix::System::new().block_on(serve(listener, settings, counted, started));
                if let Err(error) = outcome {
                    tracing::error!(%error, "the test relay ended");
                }
            })?;
        let server = server.recv().map_err(io::Error::other)?;
        Ok(Self {
            url,
            counts,
            server,
            thread: Some(thread),
        })
    }

    /// The redirect URI.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Redirects taken, redirects posted, messages posted.
    pub fn counts(&self) -> (u64, u64, u64) {
        let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
        (
            read(&self.counts.redirects),
            read(&self.counts.posted),
            read(&self.counts.messages),
        )
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // The stop is asked for when the future is made; the thread ends by it.
        drop(self.server.stop(false));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(
    listener: TcpListener,
    settings: RelaySettings,
    counts: Arc<Counts>,
    started: std::sync::mpsc::Sender<ServerHandle>,
) -> io::Result<()> {
    let (redirects, waiting) = unbounded_channel();
    let posted = Arc::clone(&counts);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(redirects.clone()))
            .app_data(web::Data::from(Arc::clone(&counts)))
            .route("/oauth", web::get().to(callback))
    })
    .workers(1)
    .disable_signals()
    .listen(listener)?
    .run();
    let _ = started.send(server.handle());
    let posting = post_all(waiting, settings, posted);
    tokio::select! {
        outcome = server => outcome,
        () = posting => Ok(()),
    }
}

/// One redirect of a browser.
async fn callback(
    request: HttpRequest,
    redirects: web::Data<UnboundedSender<Redirect>>,
    counts: web::Data<Counts>,
) -> HttpResponse {
    let query = request.query_string();
    let value = |name: &str| {
        let pair = query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        pair.filter(|v| !v.is_empty()).map(ToOwned::to_owned)
    };
    let result = match (value("code"), value("error")) {
        (Some(code), _) => Ok(code),
        (None, Some(error)) => Err(error),
        (None, None) => return HttpResponse::BadRequest().body("This address takes the way back from Discord."),
    };
    let denied = result.is_err();
    let time = SystemClock.now().as_secs();
    let redirect = Redirect {
        time,
        result,
        state: value("state"),
    };
    counts.redirects.fetch_add(1, Ordering::Relaxed);
    let _ = redirects.send(redirect);
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .body(if denied {
            "You said no. Nothing was shared."
        } else {
            "Thank you. You can close this page."
        })
}

async fn post_all(mut waiting: UnboundedReceiver<Redirect>, settings: RelaySettings, counts: Arc<Counts>) {
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(10))
        .no_proxy()
        .build()
        .expect("a client with no TLS options can be made");
    let mut queue: Vec<Redirect> = Vec::new();
    let mut sent: VecDeque<Instant> = VecDeque::new();
    loop {
        if queue.is_empty() {
            match waiting.recv().await {
                Some(redirect) => queue.push(redirect),
                None => return,
            }
        }
        while let Some(wait) = must_wait(&sent) {
            tokio::time::sleep(wait).await;
        }
        while let Ok(redirect) = waiting.try_recv() {
            queue.push(redirect);
        }
        let count = v1::fitting(settings.bot, &queue).max(1).min(queue.len());
        let content = v1::encode(settings.bot, &queue[..count], &settings.relay_key);
        let body = json!({
            "content": content,
            "allowed_mentions": { "users": [settings.bot.to_string()] },
            "flags": 4,
        });
        sent.push_back(Instant::now());
        if sent.len() > PACE[1].0 {
            sent.pop_front();
        }
        match post(&http, &settings.webhook_url, &body).await {
            Ok(()) => {
                queue.drain(..count);
                counts.posted.fetch_add(count as u64, Ordering::Relaxed);
                counts.messages.fetch_add(1, Ordering::Relaxed);
            }
            Err(wait) => tokio::time::sleep(wait).await,
        }
    }
}

fn must_wait(sent: &VecDeque<Instant>) -> Option<Duration> {
    let now = Instant::now();
    let waits = PACE.iter().filter_map(|(most, within)| {
        let oldest = sent.len().checked_sub(*most).and_then(|i| sent.get(i))?;
        (*oldest + *within + Duration::from_millis(50)).checked_duration_since(now)
    });
    waits.max().filter(|wait| !wait.is_zero())
}

/// Posts one message; `Err` says how long to wait before it is tried again.
async fn post(http: &reqwest::Client, url: &str, body: &Value) -> Result<(), Duration> {
    let again = Duration::from_secs(1);
    let answer = http
        .post(format!("{url}?wait=true"))
        .json(body)
        .send()
        .await
        .map_err(|_| again)?;
    match answer.status().as_u16() {
        200..=299 => Ok(()),
        429 => {
            let body: Value = answer.json().await.unwrap_or_default();
            Err(body["retry_after"].as_f64().map_or(again, Duration::from_secs_f64))
        }
        _ => Err(again),
    }
}
