//! Secrets are changed while people sign in, by the steps of docs/operations.md; and what a wrong key leaves unread waits
//! until it is right.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use codeferry::simulator::PortalChange;
use codeferry::simulator::people::{Behaviour, walk};
use rustix::process::Signal;
use serde_json::json;
use standardwebhooks::Webhook;

use super::links::post_at;
use super::receiver::Receiver;
use super::test_support::{PERSON, PKCE_KEY, RELAY_KEY, Service, Site};
use crate::patience::{until, wait};
use crate::relay::test_support::{Edge, client, free_port, runtime};
use crate::tally::{Tally, tell};

const SOON: Duration = Duration::from_mins(1);
/// So many links are out before the oldest is used: some of each key are out whenever one is changed.
const OUT: usize = 10;
/// Between two people.
const BETWEEN: Duration = Duration::from_millis(40);

/// People who sign in one after another, on a thread of their own.
struct People {
    stop: Arc<AtomicBool>,
    walked: Arc<AtomicUsize>,
    work: JoinHandle<()>,
}

impl People {
    fn start(socket: PathBuf) -> Self {
        Self::who(socket, false)
    }

    /// People who load a page again that did not come: a relay that restarts turns browsers away for a second.
    fn who_reload(socket: PathBuf) -> Self {
        Self::who(socket, true)
    }

    fn who(socket: PathBuf, reload: bool) -> Self {
        let (stop, walked) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&walked));
        let work = std::thread::spawn(move || {
            let (runtime, http) = (runtime(), client());
            let mut out = VecDeque::new();
            let mut next = PERSON;
            while !stopped.load(Ordering::Relaxed) || !out.is_empty() {
                if out.len() < OUT && !stopped.load(Ordering::Relaxed) {
                    let wanted = json!({ "user_id": next.to_string() }).to_string();
                    // While the service restarts nobody gets a link.
                    let answer = post_at(&socket, "/v1/links", wanted.as_bytes());
                    if let Some(url) = answer.and_then(|a| a.body["url"].as_str().map(ToOwned::to_owned)) {
                        out.push_back((next, url));
                        next += 1;
                        continue;
                    }
                }
                // Faster, and a development build falls behind further and further.
                std::thread::sleep(BETWEEN);
                if let Some((person, url)) = out.pop_front() {
                    let visit = || runtime.block_on(walk(&http, &url, person, Behaviour::Approve));
                    if reload {
                        until(SOON, "a person gets past the relay", || visit().is_ok());
                    } else {
                        visit().unwrap_or_else(|stuck| panic!("person {person}: {stuck}"));
                    }
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { stop, walked, work }
    }

    /// Waits until every link that is out now was used, and its code has a result.
    fn pass(&self, site: &Site) {
        let so_far = self.walked.load(Ordering::Relaxed) + 2 * OUT;
        let completed = || site.results_of("completed");
        assert!(
            wait(SOON, || completed() >= so_far),
            "{} of {so_far} people have signed in",
            completed()
        );
    }

    fn finish(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.work.join().expect("every sign-in passes the relay");
        self.walked.load(Ordering::Relaxed)
    }
}

/// Secrets in files, as `…_FILE` names them.
struct Files<'a>(&'a Site);

impl Files<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    /// Takes the variable's value into a file.
    fn name_in(&self, command: &mut Command, variable: &str, file: &str) {
        command
            .env_remove(variable)
            .env(format!("{variable}_FILE"), self.path(file));
    }
}

fn hup(service: &Service, applied: &str) {
    let before = service.log().matches(applied).count();
    service.signal(Signal::HUP);
    until(SOON, applied, || service.log().matches(applied).count() > before);
}

#[test]
fn each_secret_is_changed_under_load_and_no_sign_in_fails() {
    let edge = Edge::without_limits("");
    let site = &edge.site;
    let files = Files(site);
    let keys = ["RELAY_KEY", "STATE_KEY", "PKCE_KEY"];
    for name in keys {
        files.write(name, &site.variables[&format!("CODEFERRY_{name}")]);
        files.write(&format!("{name}_2"), "");
    }
    files.write("BOT_TOKEN", &site.about.bot_token);
    files.write("CLIENT_SECRET", &site.about.client_secret);
    let with_files = |mut command: Command, names: &[&str]| {
        for name in names {
            files.name_in(&mut command, &format!("CODEFERRY_{name}"), name);
        }
        command
    };
    let all = [
        &keys[..],
        &["RELAY_KEY_2", "STATE_KEY_2", "PKCE_KEY_2", "BOT_TOKEN", "CLIENT_SECRET"],
    ]
    .concat();
    let start = || {
        let service = site.start(with_files(site.command(&["run"]), &all), "service.log");
        service.ready();
        service
    };
    let mut service = start();
    let of_relay = ["RELAY_KEY", "STATE_KEY", "RELAY_KEY_2", "STATE_KEY_2"];
    let relay = site.start(with_files(edge.command(&["relay"]), &of_relay), "relay.log");
    relay.logs("READY: callbacks are taken");
    let people = People::start(site.path("data/control.sock"));
    people.pass(site);
    for name in keys {
        let (second, old) = (
            format!("{name}_2"),
            site.variables[&format!("CODEFERRY_{name}")].clone(),
        );
        let (new, applied) = (
            format!("a-new-{name}-of-at-least-32-bytes"),
            format!("CODEFERRY_{name}\""),
        );
        let apply = || {
            hup(&service, &applied);
            if name != "PKCE_KEY" {
                hup(&relay, &applied);
            }
            people.pass(site);
        };
        files.write(&second, &new);
        apply();
        files.write(name, &new);
        files.write(&second, &old);
        apply();
        files.write(&second, "");
        apply();
    }
    for name in ["BOT_TOKEN", "CLIENT_SECRET"] {
        let new = format!("new.{name}-made-in-the-portal");
        service.signal(Signal::TERM);
        assert_eq!(service.ends(SOON), 0, "{}", service.log());
        let (bot_token, client_secret) = match name {
            "BOT_TOKEN" => (Some(new.clone()), None),
            _ => (None, Some(new.clone())),
        };
        site.simulator.change_portal(PortalChange {
            bot_token,
            client_secret,
            ..PortalChange::default()
        });
        files.write(name, &new);
        service = start();
        people.pass(site);
    }
    let walked = people.finish();
    until(SOON, "every result", || site.results_of("completed") == walked);
    let results = site.results().len();
    service.drain();
    relay.drain();
    let summary = site.simulator.summary();
    tell(
        "key rotation",
        Tally {
            tried: walked as u64,
            survived: results as u64,
            twice: summary.presented_twice as u64,
            left_behind: summary.tokens_left as u64,
            ..Tally::default()
        },
    );
    assert_eq!((results, summary.presented_twice, summary.tokens_left), (walked, 0, 0));
}

#[test]
fn the_secrets_of_receivers_and_scrapers_are_changed_under_load_and_no_sign_in_fails() {
    let secrets = [
        "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        "whsec_YWJjZGVmMDEyMzQ1Njc4OTAxMjM0NTY3ODlhYmNkZWY=",
    ];
    let port = free_port();
    let receiver = Receiver::new(204);
    let mut edge = Edge::without_limits("");
    edge.site.configure(&format!(
        "[limits]\nwebhook = \"off\"\nglobal = \"off\"\noauth = \"off\"\n[control]\nlisten = \"127.0.0.1:{port}\"\n\
         [[delivery]]\nname = \"callback\"\nkind = \"http\"\nurl = \"{}\"\n",
        receiver.url
    ));
    let tokens = |n: usize| ["CONTROL", "METRICS"].map(|name| format!("{name}-token-{n}-of-more-than-32-bytes"));
    let set = |site: &mut Site, n: usize| {
        let [control, metrics] = tokens(n);
        let changed = [
            ("CODEFERRY_CALLBACK_SECRET", secrets[n].to_owned()),
            ("CODEFERRY_CONTROL_TOKEN", control),
            ("CODEFERRY_METRICS_TOKEN", metrics),
        ];
        site.variables
            .extend(changed.map(|(name, value)| (name.to_owned(), value)));
    };
    let (runtime, http) = (runtime(), client());
    let asked = |path: &str, token: &str| {
        let request = http
            .get(format!("http://127.0.0.1:{port}/v1/{path}"))
            .bearer_auth(token);
        let answered = runtime.block_on(async { request.send().await });
        answered.expect("it answers").status().as_u16()
    };
    let relay = edge.relay();
    set(&mut edge.site, 0);
    let mut service = edge.site.run_ready();
    let people = People::start(edge.site.path("data/control.sock"));
    people.pass(&edge.site);
    service.signal(Signal::TERM);
    assert_eq!(service.ends(SOON), 0, "{}", service.log());
    set(&mut edge.site, 1);
    service = edge.site.run_ready();
    people.pass(&edge.site);
    let ([old, old_metrics], [control, metrics]) = (tokens(0), tokens(1));
    assert_eq!([asked("stats", &old), asked("metrics", &old_metrics)], [401, 401]);
    assert_eq!([asked("stats", &control), asked("metrics", &metrics)], [200, 200]);
    let walked = people.finish();
    until(SOON, "every callback", || receiver.count(204) >= walked);
    service.drain();
    relay.drain();
    let signed_by = receiver.look(|came| {
        secrets.map(|secret| {
            let key = Webhook::new(secret).expect("a key");
            let good = came.iter().filter(|c| key.verify(&c.body, &c.headers).is_ok());
            good.count()
        })
    });
    assert!(signed_by.iter().all(|n| *n > 0), "{signed_by:?}");
    assert_eq!(
        signed_by.iter().sum::<usize>(),
        receiver.count(204),
        "each is signed by one of them"
    );
    assert_eq!(edge.site.results_of("completed"), walked);
}

#[test]
fn a_webhook_is_replaced_under_load_and_no_sign_in_fails() {
    let (mut edge, spare) = Edge::with_a_spare_lane();
    let mut relay = edge.relay();
    let mut service = edge.site.run_ready();
    let people = People::who_reload(edge.site.path("data/control.sock"));
    people.pass(&edge.site);
    edge.site.about.lanes.push(spare);
    edge.configure_both();
    relay.signal(Signal::TERM);
    assert_eq!(relay.ends(SOON), 0, "{}", relay.log());
    relay = edge.relay();
    people.pass(&edge.site);
    service.signal(Signal::TERM);
    assert_eq!(service.ends(SOON), 0, "{}", service.log());
    service = edge.site.run_ready();
    people.pass(&edge.site);
    assert!(edge.site.simulator.change_webhook(edge.site.lane(0).1, None));
    people.pass(&edge.site);
    people.pass(&edge.site);
    let walked = people.finish();
    until(SOON, "every result", || edge.site.results_of("completed") == walked);
    assert_eq!(edge.site.results().len(), walked, "no other result");
    service.drain();
    relay.drain();
}

#[test]
fn a_code_under_another_relay_key_completes_once_the_key_is_right() {
    let mut site = Site::without_limits("");
    let right = site.variables.remove("CODEFERRY_RELAY_KEY").expect("a key");
    let file = site.path("relay-key");
    let path = file.to_str().expect("text").to_owned();
    site.variables.insert("CODEFERRY_RELAY_KEY_FILE".to_owned(), path);
    let set = |key: &str| std::fs::write(&file, key).expect("written");
    assert_eq!(right, RELAY_KEY);

    set(&PKCE_KEY.replace("pkce", "some"));
    let service = site.run_ready();
    site.sign_in(0, 1);
    service.logs("the MAC matches no relay key of this service");
    set(&right);
    service.signal(Signal::HUP);
    until(SOON, "a result after the reload", || site.results_of("completed") == 1);

    set(&PKCE_KEY.replace("pkce", "some"));
    hup(&service, "CODEFERRY_RELAY_KEY\"");
    site.sign_in(1, 1);
    let unread = || site.json(&["debug", "queue", "stats"])["messages"]["malformed"] == 2;
    until(SOON, "the message is counted as unreadable", unread);
    service.drain();
    set(&right);
    let service = site.run_ready();
    until(SOON, "a result after the restart", || site.results_of("completed") == 2);
    service.drain();
}
