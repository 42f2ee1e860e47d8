//! One trial: a service that will kill itself somewhere, what is posted to it, its end, and the run after it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use codeferry::intake::v1::Redirect;
use codeferry::simulator::limits::Scope;
use codeferry::simulator::{Endpoint, Fault, FaultBody, FaultRule, PostAuthor, PostRequest, SimulatorOptions};
use codeferry::time::{Clock, SystemClock};

use super::super::test_support::{PERSON, Service, Site};
use super::judge::{Posted, judge, nothing_is_open, on_the_way};
use crate::patience::{until, wait};
use crate::tally::Tally;

/// What goes on when the process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happens {
    /// One code.
    OneCode,
    /// Several messages at once, one of them with three codes, and a denial.
    SeveralAtOnce,
    /// One person signs in three times at once.
    OnePersonThrice,
    /// Discord's limit is met at the first exchange.
    LimitedFirst,
    /// A result is also posted into a channel, under our webhook budget.
    WithAChannel,
    /// A delivery is parked already, and the next one will be.
    Parked,
    /// A code expires before it is read, and its user gets a fresh link. It takes its time, so it goes on only where
    /// nothing else can.
    Dies,
}

impl Happens {
    /// All but [`Self::Dies`].
    pub const ALL: [Self; 6] = [
        Self::OneCode,
        Self::SeveralAtOnce,
        Self::OnePersonThrice,
        Self::LimitedFirst,
        Self::WithAChannel,
        Self::Parked,
    ];

    /// Grants that stay open when everything is done.
    fn parks(self) -> u64 {
        if self == Self::Parked { 2 } else { 0 }
    }

    fn posts_into_a_channel(self) -> bool {
        matches!(self, Self::WithAChannel | Self::Parked)
    }
}

/// What a trial came to.
pub struct Outcome {
    /// Whether the process died at the point.
    pub crashed: bool,
    pub tally: Tally,
    pub faults: Vec<String>,
}

/// One embedded Discord and one journal for all trials.
pub struct Trials {
    site: Site,
    callback: String,
    next_person: u64,
    chats: usize,
}

impl Trials {
    pub fn new() -> Self {
        let mut site = Site::new(SimulatorOptions::without_limits(), "");
        let secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned();
        let log = "info,codeferry=debug".to_owned();
        site.variables.insert("CODEFERRY_LOG".to_owned(), log);
        site.variables.insert("CODEFERRY_CALLBACK_SECRET".to_owned(), secret);
        Self {
            site,
            callback: application(),
            next_person: 0,
            chats: 0,
        }
    }

    /// Dies at the points in turn, each in a run of its own, and then runs undisturbed to the end of everything.
    /// `sure`: the points are surely reached, and waited for.
    pub fn run(&mut self, points: &[String], happens: Happens, nth: u32, sure: bool) -> Outcome {
        self.configure(happens);
        // Somebody chats in the channel: what is read there and is not ours moves the cursor once it is old enough.
        let (channel, _) = self.site.lane(0);
        let chat = PostRequest::new(channel, PostAuthor::Person(PERSON), "hello");
        self.site.simulator.post(chat).expect("the channel exists");
        self.chats += 1;
        let mut posted = Posted::default();
        if happens == Happens::Parked {
            let refused = Fault::Status {
                status: 400,
                body: FaultBody::Json,
                retry_after: None,
                after_work: false,
            };
            self.site
                .simulator
                .faults()
                .add(FaultRule::on(Endpoint::Webhook, refused));
            let service = self.site.run_ready();
            self.code(&mut posted);
            until(Duration::from_secs(30), "a delivery is parked", || {
                self.parked().len() == 1
            });
            service.kill();
        }
        let mut crashed = true;
        for (n, point) in points.iter().enumerate() {
            let nth = if n == 0 { nth } else { 1 };
            let mut service = self.armed(&format!("{point}:{nth}"));
            if n == 0 {
                self.post(happens, &mut posted);
            }
            crashed &= self.dies(&mut service, sure, &posted, happens);
            drop(service);
            posted.on_the_way.extend(on_the_way(&self.site));
        }
        let service = self.site.run_ready();
        if !wait(Duration::from_mins(1), || posted.have_ended(&self.site)) {
            eprintln!("{}", service.log());
        }
        if happens == Happens::Parked {
            until(Duration::from_secs(30), "all deliveries are parked", || {
                self.parked().len() == 2
            });
            self.site.simulator.faults().clear();
            self.requeue();
        }
        let (tally, mut faults) = judge(&self.site, &posted);
        nothing_is_open(&self.site, self.chats);
        service.drain();
        self.site.simulator.faults().clear();
        if self.site.json(&["debug", "verify"])["ok"] != true {
            faults.push("the journal does not verify".to_owned());
        }
        if !faults.is_empty() {
            eprintln!(
                "{points:?}, {happens:?}, {nth}:\n{}",
                fs::read_to_string(self.site.path("service.log")).expect("a log")
            );
        }
        Outcome { crashed, tally, faults }
    }

    fn configure(&self, happens: Happens) {
        let url = &self.callback;
        let channel = format!(
            "[[delivery]]\nname = \"channel\"\nkind = \"discord_webhook\"\nwebhook_id = \"{}\"\n",
            self.site.about.results.webhook.id
        );
        let (channel, webhook) = if happens.posts_into_a_channel() {
            (channel.as_str(), "{ per_minute = 600, burst = 500 }")
        } else {
            ("", "\"off\"")
        };
        let (lifetime, reinvite) = if happens == Happens::Dies {
            ("2s", true)
        } else {
            ("100s", false)
        };
        let more = format!(
            "[[delivery]]\nname = \"callback\"\nkind = \"http\"\nurl = \"{url}\"\n{channel}[intake]\npoll_every = \"1s\"\ncode_lifetime = \"{lifetime}\"\n\
             [reinvite]\nenabled = {reinvite}\n\
             [limits]\nwebhook = {webhook}\nglobal = \"off\"\noauth = \"off\"\n"
        );
        self.site.configure(&more);
    }

    /// Starts a service that is to die at a point, and waits until it is ready or dead.
    fn armed(&mut self, point: &str) -> Service {
        self.site.variables.insert("CRASH_AT".to_owned(), point.to_owned());
        let mut service = self.site.run();
        self.site.variables.remove("CRASH_AT");
        until(Duration::from_secs(30), "ready or dead", || {
            service.ended().is_some() || service.log().contains("READY")
        });
        service
    }

    /// Waits for its death at the point; without being sure of it, until everything is done.
    fn dies(&self, service: &mut Service, sure: bool, posted: &Posted, happens: Happens) -> bool {
        let mut gone = None;
        wait(Duration::from_mins(1), || {
            gone = service.ended();
            gone.is_some() || (!sure && posted.have_ended(&self.site) && self.open() == Some(happens.parks()))
        });
        if let Some(status) = gone {
            assert_eq!(status.signal(), Some(9), "{status}\n{}", service.log());
        }
        gone.is_some()
    }

    fn post(&mut self, happens: Happens, posted: &mut Posted) {
        match happens {
            Happens::OneCode | Happens::WithAChannel | Happens::Parked => self.code(posted),
            Happens::SeveralAtOnce => {
                let people: Vec<u64> = (0..3).map(|_| self.person()).collect();
                let approved: Vec<_> = people.iter().map(|p| self.site.approved(PERSON + p)).collect();
                self.site.post(0, self.site.message(&approved));
                posted
                    .codes
                    .extend(people.into_iter().zip(approved.into_iter().map(|a| a.0)));
                self.code(posted);
                self.denial(posted);
                self.code(posted);
            }
            Happens::OnePersonThrice => {
                let person = self.person();
                for _ in 0..3 {
                    posted.codes.push((person, self.site.sign_in(person, 1).remove(0)));
                }
            }
            Happens::Dies => {
                let busy = Fault::RateLimited {
                    scope: Scope::User,
                    retry_after_ms: 3_000,
                };
                self.site
                    .simulator
                    .faults()
                    .add(FaultRule::on(Endpoint::Token, busy).times(1));
                let person = self.person();
                self.site.sign_in(person, 1);
                posted.died.push(person);
            }
            Happens::LimitedFirst => {
                let limited = Fault::RateLimited {
                    scope: Scope::User,
                    retry_after_ms: 300,
                };
                self.site
                    .simulator
                    .faults()
                    .add(FaultRule::on(Endpoint::Token, limited).times(1));
                self.code(posted);
                self.code(posted);
            }
        }
    }

    fn person(&mut self) -> u64 {
        self.next_person += 1;
        self.next_person
    }

    fn code(&mut self, posted: &mut Posted) {
        let person = self.person();
        posted.codes.push((person, self.site.sign_in(person, 1).remove(0)));
    }

    fn denial(&mut self, posted: &mut Posted) {
        let person = self.person();
        let (_, state) = self.site.approved(PERSON + person);
        let denied = Redirect {
            time: SystemClock.now().as_secs(),
            result: Err("access_denied".to_owned()),
            state: Some(state),
        };
        self.site.post(0, self.site.sign(&[denied]));
        posted.denials.push(person);
    }

    /// Open grants; `None` where the service has just died.
    fn open(&self) -> Option<u64> {
        let output = self.site.codeferry(&["debug", "queue", "list", "--json"]);
        let listed: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        listed["total"].as_u64()
    }

    fn parked(&self) -> Vec<String> {
        let listed = self.site.json(&["debug", "queue", "list", "--parked"]);
        let ids = listed["grants"].as_array().expect("a list").iter();
        ids.map(|g| g["id"].as_str().expect("an id").to_owned()).collect()
    }

    fn requeue(&self) {
        for id in self.parked() {
            self.site.json(&["debug", "queue", "requeue", &id]);
        }
    }
}

/// An application that takes every result.
fn application() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = Vec::new();
            let mut part = [0; 4096];
            // A head, and a body that is one JSON object.
            while !(request.ends_with(b"}") && request.windows(4).any(|w| w == b"\r\n\r\n")) {
                match stream.read(&mut part) {
                    Ok(n @ 1..) => request.extend_from_slice(&part[..n]),
                    _ => break,
                }
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    url
}
