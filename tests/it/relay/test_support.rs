//! A relay as a child process beside a [`Site`]: its own folder, its own file, only its own secrets.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use codeferry::ids::{Lane, UserId};
use codeferry::intake::state::{StateKey, StateToken};
use codeferry::secret::Key;
use codeferry::simulator::{LaneDescription, PortalChange, SimulatorOptions};
use codeferry::time::{Clock as _, SystemClock, Timestamp};
use serde_json::Value;

use crate::service::test_support::{KEY, PERSON, Service, Site};

/// A site with a relay before it.
pub struct Edge {
    pub site: Site,
    pub port: u16,
    pub runtime: tokio::runtime::Runtime,
    pub http: reqwest::Client,
}

/// What a browser was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: String,
}

impl Edge {
    /// Without limits on Discord's side; our own webhook limit off too.
    pub fn without_limits(more: &str) -> Self {
        let limits = "[limits]\nwebhook = \"off\"\nglobal = \"off\"\noauth = \"off\"\n";
        let edge = Self::new(Site::without_limits(""), limits);
        edge.configure(&format!("[limits]\nwebhook = \"off\"\n{more}"));
        edge
    }

    /// With Discord's limits, ours, and so many lanes.
    pub fn with_limits(lanes: u8, more: &str) -> Self {
        let options = SimulatorOptions {
            lanes,
            ..SimulatorOptions::default()
        };
        let edge = Self::new(Site::new(options, ""), "");
        edge.configure(more);
        edge
    }

    /// Without limits, with two lanes of which only the first is configured, as is the way of a webhook's change.
    pub fn with_a_spare_lane() -> (Self, LaneDescription) {
        let options = SimulatorOptions {
            lanes: 2,
            ..SimulatorOptions::without_limits()
        };
        let mut edge = Self::new(Site::new(options, ""), "");
        let spare = edge.site.about.lanes.pop().expect("two lanes");
        edge.configure_both();
        (edge, spare)
    }

    /// Writes both files again, without limits.
    pub fn configure_both(&self) {
        let limits = "[limits]\nwebhook = \"off\"\nglobal = \"off\"\noauth = \"off\"\n";
        self.site.configure(limits);
        self.configure("[limits]\nwebhook = \"off\"\n");
    }

    fn new(mut site: Site, of_service: &str) -> Self {
        // The port must be known before: it stands in the registered redirect URI, and stays over restarts.
        let port = free_port();
        let uri = format!("http://127.0.0.1:{port}/callback");
        site.simulator.change_portal(PortalChange {
            redirect_uris: Some(vec![uri]),
            ..PortalChange::default()
        });
        site.about = site.simulator.describe();
        site.configure(of_service);
        fs::create_dir(site.path("edge")).expect("a folder");
        Self {
            site,
            port,
            runtime: runtime(),
            http: client(),
        }
    }

    /// Writes the relay's file, with this TOML at its end.
    pub fn configure(&self, more: &str) {
        let about = &self.site.about;
        let mut text = format!(
            "[discord]\napi_base = \"{}\"\napplication_id = \"{}\"\n[relay]\nlisten = \"127.0.0.1:{}\"\njournal = \"journal\"\n\
             trusted_proxies = [\"127.0.0.2\"]\n",
            about.api_base, about.application_id, self.port
        );
        if about.bot_id != about.application_id {
            writeln!(text, "bot_id = \"{}\"", about.bot_id).expect("text");
        }
        for lane in &about.lanes {
            writeln!(text, "[[relay.lanes]]\nwebhook_id = \"{}\"", lane.webhook.id).expect("text");
        }
        text.push_str(more);
        fs::write(self.site.path("edge/codeferry.toml"), text).expect("written");
    }

    /// A command with the relay's file and only its own secrets.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.site.command_at(&self.site.path("edge"), arguments);
        command.env_clear();
        for name in ["CODEFERRY_RELAY_KEY", "CODEFERRY_STATE_KEY", "CODEFERRY_WEBHOOK_TOKENS"] {
            command.env(name, &self.site.variables[name]);
        }
        command
    }

    /// Starts the relay and waits until it takes callbacks; its log is `relay.log`.
    #[track_caller]
    pub fn relay(&self) -> Service {
        let relay = self.site.start(self.command(&["relay"]), "relay.log");
        relay.logs("READY: callbacks are taken");
        relay
    }

    /// What a browser gets at a path with its query.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send(self.http.get(self.url(path)))
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Sends a request.
    #[track_caller]
    pub fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.runtime.block_on(read(request)).expect("the relay answers")
    }

    /// A person's code and state, as a callback's path and query.
    pub fn callback(&self, person: u64) -> String {
        let (code, state) = self.site.approved(person);
        format!("/callback?code={code}&state={state}")
    }

    /// A good state for a lane, that expires at some moment.
    pub fn state(person: u64, lane: u8, expires_at: Timestamp, nonce: u64) -> String {
        StateKey::new(&Key::new(KEY.as_bytes())).mint(&StateToken {
            user: UserId(person),
            expires_at,
            lane: Lane(lane),
            purpose: 0,
            pkce: true,
            again: false,
            nonce: nonce.to_be_bytes(),
        })
    }

    /// `count` people, each with a code of their own, come one after another in several connections at once until all
    /// have come or the relay is gone; answers the users who saw the success page.
    pub fn crowd(&self, first: u64, count: u64, at_once: usize) -> Crowd {
        let callbacks: Vec<(u64, String)> = (first..first + count)
            .map(|n| (PERSON + n, self.url(&self.callback(PERSON + n))))
            .collect();
        let next = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&next);
        let work = std::thread::spawn(move || {
            let http = client();
            let one = async || {
                let mut told = Vec::new();
                while let Some((person, url)) = callbacks.get(counted.fetch_add(1, Ordering::Relaxed)) {
                    match read(http.get(url)).await {
                        Ok(answer) if answer.status == 200 => told.push(*person),
                        Ok(_) => {}
                        // The relay is gone.
                        Err(_) => break,
                    }
                }
                told
            };
            let told = runtime().block_on(futures_util::future::join_all((0..at_once).map(|_| one())));
            told.concat()
        });
        Crowd { work, next }
    }

    /// The relay's numbers.
    #[track_caller]
    pub fn counts(&self) -> Value {
        let answer = self.get("/healthz");
        assert_eq!(answer.status, 200);
        let all: Value = serde_json::from_str(&answer.body).expect("JSON");
        all["counts"].clone()
    }

    /// People who completed.
    pub fn completed(&self) -> Vec<u64> {
        let results = self.site.results();
        let completed = results.iter().filter(|r| r["type"] == "authorization.completed");
        completed
            .map(|r| {
                r["state"]["user_id"]
                    .as_str()
                    .and_then(|id| id.parse().ok())
                    .expect("an id")
            })
            .collect()
    }
}

/// People on their way, on a thread of their own.
pub struct Crowd {
    work: std::thread::JoinHandle<Vec<u64>>,
    next: Arc<AtomicUsize>,
}

impl Crowd {
    /// How many have set out.
    pub fn set_out(&self) -> usize {
        self.next.load(Ordering::Relaxed)
    }

    /// Waits for all; the users who saw the success page.
    pub fn told(self) -> Vec<u64> {
        let mut told = self.work.join().expect("no panic");
        told.sort_unstable();
        told
    }
}

/// A browser that opens a connection for each request: the relay is restarted between them.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(15))
        .pool_max_idle_per_host(0)
        .no_proxy()
        .build()
        .expect("a client with no TLS options can be made")
}

/// A runtime for requests.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

async fn read(request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
    let answer = request.send().await?;
    Ok(Answer {
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
        body: answer.text().await?,
    })
}

/// A port that is free now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// A moment from now.
pub fn in_seconds(seconds: i64) -> Timestamp {
    Timestamp::from_secs(SystemClock.now().as_secs() + seconds)
}

/// Long enough for anything that does not wait for a limit.
pub const SOON: Duration = Duration::from_secs(20);
