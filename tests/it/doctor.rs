//! `doctor`: each mistake of a set-up is named by its id, and nothing where nothing is wrong.

mod mistakes;
mod probe;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use codeferry::permission::{Overwrite, Permissions};
use codeferry::simulator::options::SimulatorOptions;
use codeferry::simulator::{BotPermissions, PortalChange};
use serde_json::Value;

use crate::patience::until;
use crate::relay::test_support::{Edge, free_port};
use crate::service::test_support::{Site, exits};

const SOON: Duration = Duration::from_secs(20);
const TEXT: u8 = 0;

/// What answers where browsers come in.
#[derive(Clone, Copy)]
enum WayIn {
    Ours,
    Foreign,
    /// Ours is there, but at another path.
    ElsewhereOnTheHost,
}

/// A set-up in which nothing is wrong until something is changed.
struct SetUp {
    site: Site,
    text: String,
    way_in: u16,
}

impl SetUp {
    fn new(options: SimulatorOptions) -> Self {
        let mut site = Site::new(options, "");
        let way_in = serve(WayIn::Ours);
        let uri = format!("http://127.0.0.1:{way_in}/callback");
        register(&site, &[&uri]);
        site.about.redirect_uri.clone_from(&uri);
        site.configure(&format!("[relay]\nbot_id = \"{}\"\n", site.about.bot_id));
        let text = fs::read_to_string(site.file()).expect("written");
        Self { site, text, way_in }
    }

    /// Replaces a part of the configuration.
    #[track_caller]
    fn edit(&mut self, from: &str, to: &str) {
        assert!(self.text.contains(from), "{from} does not stand in {}", self.text);
        self.text = self.text.replacen(from, to, 1);
    }

    /// Adds to the configuration.
    fn add(&mut self, more: &str) {
        self.text.push_str(more);
        self.text.push('\n');
    }

    /// Adds a key to `[discord]`.
    fn add_to_discord(&mut self, line: &str) {
        self.edit("[discord]\n", &format!("[discord]\n{line}\n"));
    }

    /// Adds a sink that posts into the channel for results; answers its webhook.
    fn add_channel_sink(&mut self) -> u64 {
        let id = self.site.about.results.webhook.id.clone();
        self.add(&format!(
            "[[delivery]]\nname = \"channel\"\nkind = \"discord_webhook\"\nwebhook_id = \"{id}\""
        ));
        id.parse().expect("an id")
    }

    fn set(&mut self, variable: &str, value: &str) {
        self.site.variables.insert(variable.to_owned(), value.to_owned());
    }

    fn comes_in_at(&mut self, uri: &str) {
        let now = format!("redirect_uri = \"{}\"", self.site.about.redirect_uri);
        self.edit(&now, &format!("redirect_uri = \"{uri}\""));
        register(&self.site, &[uri]);
    }

    fn change_portal(&self, change: PortalChange) {
        self.site.simulator.change_portal(change);
    }

    fn overwrite(&self, id: u64, allow: Permissions) {
        let deny = Permissions::default();
        let (channel, _) = self.site.lane(0);
        let changed = self
            .site
            .simulator
            .change_channel(channel, TEXT, &[Overwrite { id, deny, allow }]);
        assert!(changed, "the channel exists");
    }

    fn permit(&self, change: impl FnOnce(&mut BotPermissions)) {
        let mut permissions = BotPermissions::default();
        change(&mut permissions);
        assert!(self.site.simulator.permit(self.site.lane(0).0, permissions));
    }

    /// Moves the lane's webhook, or deletes it.
    fn move_webhook(&self, to: Option<u64>) {
        assert!(self.site.simulator.change_webhook(self.site.lane(0).1, to));
    }

    fn without_webhook_tokens(&mut self) {
        self.site.variables.remove("CODEFERRY_WEBHOOK_TOKENS");
    }

    fn write(&self) {
        fs::write(self.site.file(), &self.text).expect("written");
    }

    /// What `doctor` finds: the exit code, and what is not fine.
    fn examined(&self) -> (i32, Vec<Value>) {
        let (code, mut checks) = self.report(&["doctor", "--json"]);
        checks.retain(|check| !check["id"].is_null());
        (code, checks)
    }

    /// All that `doctor --probe` says.
    fn probed(&self) -> (i32, Vec<Value>) {
        self.report(&["doctor", "--probe", "--json"])
    }

    fn report(&self, arguments: &[&str]) -> (i32, Vec<Value>) {
        self.write();
        let output = self.site.codeferry(arguments);
        let code = output.status.code().expect("it ends by itself");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut report: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        for secret in self.site.variables.values().filter(|value| value.len() > 30) {
            assert!(!said.contains(secret.as_str()), "a secret is shown: {said}");
        }
        assert_eq!(report["ok"], code == 0, "{said}");
        let Value::Array(checks) = report["checks"].take() else {
            panic!("no list: {said}");
        };
        (code, checks)
    }
}

fn register(site: &Site, uris: &[&str]) {
    site.simulator.change_portal(PortalChange {
        redirect_uris: Some(uris.iter().map(|uri| (*uri).to_owned()).collect()),
        ..PortalChange::default()
    });
}

/// A server that answers every request in one way, on a thread that ends with the process.
fn serve(way_in: WayIn) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        for mut connection in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 2048];
            let read = connection.read(&mut head).unwrap_or(0);
            let asks_health = String::from_utf8_lossy(&head[..read]).contains("/healthz");
            let (status, body) = match way_in {
                WayIn::Ours => ("400 Bad Request", "<main id=\"invalid\"></main>"),
                WayIn::ElsewhereOnTheHost if asks_health => ("200 OK", "{\"uptime_s\":1}"),
                WayIn::ElsewhereOnTheHost => ("404 Not Found", ""),
                WayIn::Foreign => ("200 OK", "<h1>It works!</h1>"),
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = connection.write_all(answer.as_bytes());
        }
    });
    port
}

/// Part of what is said, the id, and what was done wrong.
type Mistake = (&'static str, &'static str, fn(&mut SetUp));

/// Each mistake is named by its id, and nothing else is.
#[track_caller]
fn each_is_named(mistakes: &[Mistake]) {
    let mut missed = Vec::new();
    for (says, id, make) in mistakes {
        let mut set_up = SetUp::new(SimulatorOptions::without_limits());
        make(&mut set_up);
        let (code, wrong) = set_up.examined();
        let ids: BTreeSet<_> = wrong.iter().filter_map(|check| check["id"].as_str()).collect();
        let text = |check: &Value, name: &str| check[name].as_str().unwrap_or_default().to_owned();
        let said = wrong.iter().any(|check| text(check, "detail").contains(says));
        let cured = wrong.iter().all(|check| text(check, "cure").len() > 10);
        let fails = wrong.iter().any(|check| check["state"] == "fail");
        if !said || !cured || ids != BTreeSet::from([*id]) || code != i32::from(fails) * 2 {
            missed.push(format!("{id} \"{says}\": exit {code}, {wrong:#?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn few_sessions_and_a_discord_that_is_not_there_are_named() {
    let mut options = SimulatorOptions::without_limits();
    options.gateway.session_starts = 40;
    let (code, wrong) = SetUp::new(options).examined();
    assert_eq!((code, wrong.len()), (0, 1), "{wrong:?}");
    assert_eq!(wrong[0]["id"], "CF111");

    let mut away = SetUp::new(SimulatorOptions::without_limits());
    let now = away.site.about.api_base.clone();
    away.edit(&now, &format!("http://127.0.0.1:{}/api/v10", free_port()));
    let (code, wrong) = away.examined();
    assert_eq!(code, 2);
    assert!(
        wrong.iter().all(|check| check["id"] == "CF100") && !wrong.is_empty(),
        "{wrong:?}"
    );
}

#[test]
fn a_receiver_that_knows_no_head_was_reached_all_the_same() {
    let receiver = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = receiver.local_addr().expect("its address");
    std::thread::spawn(move || receiver.incoming().map_while(Result::ok).for_each(drop));
    let mut set_up = SetUp::new(SimulatorOptions::without_limits());
    set_up.set(
        "CODEFERRY_CALLBACK_SECRET",
        "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    );
    set_up.add(&format!(
        "[[delivery]]\nname = \"callback\"\nkind = \"http\"\nurl = \"http://{address}/\""
    ));
    let (code, wrong) = set_up.examined();
    assert_eq!((code, wrong.len()), (0, 0), "{wrong:?}");
}

#[test]
fn nothing_is_named_where_nothing_is_wrong_and_no_session_is_begun() {
    let edge = Edge::without_limits("");
    edge.site.configure(&format!(
        "[relay]\nbot_id = \"{}\"\n[limits]\nwebhook = \"off\"\nglobal = \"off\"\noauth = \"off\"\n",
        edge.site.about.bot_id
    ));
    let relay = edge.relay();
    let (said, _) = exits(&edge.site.codeferry(&["doctor"]), 0);
    assert!(
        said.lines().all(|line| line.starts_with('✓') || line.ends_with("good")),
        "{said}"
    );
    exits(&edge.site.codeferry(&["doctor", "--quick"]), 2);

    let service = edge.site.run_ready();
    let begun = || edge.site.simulator.gateway_status().identifies;
    until(SOON, "a session", || begun() == 1);
    let (said, _) = exits(&edge.site.codeferry(&["doctor"]), 0);
    assert!(said.contains("it answers; 0 grants are open"), "{said}");
    let (said, _) = exits(&edge.site.codeferry(&["doctor", "--quick"]), 0);
    assert!(said.starts_with("✓ service"), "{said}");
    assert_eq!(begun(), 1, "the service's own");
    service.drain();
    relay.drain();
}
