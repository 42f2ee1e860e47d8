//! One run of the service through everything that goes wrong, at the loudest log level, killed in the middle; then every
//! byte that it wrote or printed is searched, and the files that are left once all is closed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use codeferry::grant::State;
use codeferry::intake::pkce;
use codeferry::intake::v0;
use codeferry::secret::Key;
use codeferry::simulator::faults::{Endpoint, Fault, FaultBody, FaultRule};
use codeferry::simulator::gateway::GatewayFault;
use codeferry::simulator::limits::{EdgeForm, Scope};
use codeferry::simulator::person::Person;
use codeferry::simulator::{PostAuthor, PostRequest, SimulatorOptions, UseRequest};
use codeferry::store::{StoreOptions, open};
use codeferry::time::SystemClock;
use serde_json::json;

use super::grep::{Needles, files};
use crate::files::copy_folder;
use crate::patience::until;
use crate::service::links::state_of;
use crate::service::live::metrics;
use crate::service::network::CALLED;
use crate::service::test_support::{KEY, PERSON, PKCE_KEY, RELAY_KEY, Site, exits};
use crate::tally::{Tally, tell};

const PATIENCE: Duration = Duration::from_mins(1);
const CLIENT_SECRET: &str = "CANARY-client-secret-9f2c";
const BOT_TOKEN: &str = "CANARY.bot-token.7Hq2w";
const CONTROL_TOKEN: &str = "CANARY-control-token-1Xz-0123456789";
const METRICS_TOKEN: &str = "CANARY-metrics-token-8Kq-0123456789";
const CALLBACK_SECRET: &str = "whsec_Q0FOQVJZLWNhbGxiYWNrLXNlY3JldC0wMTIz";
/// People who sign in while everything fails.
const PEOPLE: u64 = 12;
/// Sections that make every call quick to give up, so that much goes wrong in little time.
const MORE: &str = "[stages.exchange]\ntimeout = \"700ms\"\n[stages.fetch]\ntimeout = \"700ms\"\n\
    [stages.deliver]\ntimeout = \"700ms\"\n[stages.revoke]\ntimeout = \"700ms\"\n[limits]\nwebhook = \"off\"\n\
    global = \"off\"\noauth = \"off\"\n[log]\nlevel = \"trace\"\n[commands]\nconnect = \"connect\"\n";

fn mail(n: u64) -> String {
    format!("canary.person.{n:04}@mail.example")
}

fn site() -> Site {
    let mut options = SimulatorOptions::without_limits();
    options.application.client_secret = CLIENT_SECRET.into();
    options.application.bot_token = BOT_TOKEN.into();
    let mut site = Site::new(options, "");
    site.configure(&format!(
        "{MORE}[[delivery]]\nname = \"channel\"\nkind = \"discord_webhook\"\nwebhook_id = \"{}\"\n",
        site.about.results.webhook.id
    ));
    for (name, value) in [
        ("CODEFERRY_CONTROL_TOKEN", CONTROL_TOKEN),
        ("CODEFERRY_METRICS_TOKEN", METRICS_TOKEN),
        ("CODEFERRY_CALLBACK_SECRET", CALLBACK_SECRET),
    ] {
        site.variables.insert(name.to_owned(), value.to_owned());
    }
    for n in 0..=PEOPLE {
        let mut person = Person::synthetic(PERSON + n);
        person.overrides.insert("email".to_owned(), json!(mail(n)));
        site.simulator.set_person(person);
    }
    site
}

/// Every secret that this site knows by now.
fn needles(site: &Site, states: &[String]) -> Needles {
    let mut needles = Needles::default();
    needles.add("the client secret", CLIENT_SECRET);
    needles.add("the bot token", BOT_TOKEN);
    needles.add("the control token", CONTROL_TOKEN);
    needles.add("the metrics token", METRICS_TOKEN);
    needles.add("the callback secret", CALLBACK_SECRET);
    for key in [KEY, RELAY_KEY, PKCE_KEY] {
        needles.add("a relay, state or PKCE key", key);
    }
    for (n, lane) in site.about.lanes.iter().enumerate() {
        needles.add(&format!("the webhook token of lane {n}"), &lane.webhook.token);
    }
    needles.add("the results webhook's token", &site.about.results.webhook.token);
    let ledger = site.simulator.ledger();
    for code in &ledger.codes {
        needles.add("a code", &code.code);
    }
    for token in &ledger.tokens {
        needles.add("an access token", &token.token);
    }
    let key = Key::new(PKCE_KEY.as_bytes());
    for state in states {
        needles.add("a state", state);
        needles.add("a code verifier", pkce::verifier(&key, state).expose());
    }
    needles
}

/// What must stand nowhere but in the results.
fn personal() -> Needles {
    let mut needles = Needles::default();
    for n in 0..=PEOPLE {
        needles.add("an e-mail address", &mail(n));
    }
    needles
}

fn everything_fails(site: &Site) {
    let status = |status, after_work| Fault::Status {
        status,
        body: FaultBody::Json,
        retry_after: None,
        after_work,
    };
    let elsewhere = |status| Fault::Redirect {
        status,
        location: "http://127.0.0.1:1/elsewhere".to_owned(),
    };
    let limited = Fault::RateLimited {
        scope: Scope::User,
        retry_after_ms: 200,
    };
    let edge = Fault::Edge {
        form: EdgeForm::Html,
        retry_after: Some(1),
    };
    for endpoint in CALLED {
        for fault in [
            status(500, true),
            status(502, false),
            Fault::HtmlAnswer,
            Fault::TruncatedJson,
            Fault::LostAnswer,
            Fault::CutAnswer,
            Fault::UnknownFields,
            Fault::NullFields { fields: Vec::new() },
            Fault::HugeAnswer { megabytes: 2 },
            Fault::DelayAnswer { ms: 1_500 },
            elsewhere(302),
            elsewhere(307),
            limited.clone(),
        ] {
            let rule = FaultRule::on(endpoint, fault).with_chance(0.06);
            site.simulator.faults().add(rule.lasting(Duration::from_secs(6)));
        }
    }
    let once = |endpoint, fault| {
        site.simulator
            .faults()
            .add(FaultRule::on(endpoint, fault).times(1).after(3));
    };
    once(Endpoint::Any, edge);
    // At the token endpoint it would pause the exchange for a minute.
    once(Endpoint::Revoke, Fault::InvalidClient { status: 401 });
    once(Endpoint::Me, Fault::TransientUnauthorized { ms: 500 });
    once(Endpoint::Delete, Fault::Forbidden);
}

/// Signs a user in and remembers the state.
fn sign_in(site: &Site, n: u64, states: &mut Vec<String>) {
    let approved = site.approved(PERSON + n);
    site.post(0, site.message(std::slice::from_ref(&approved)));
    states.push(approved.1);
}

/// Messages that hold codes and are not what they should be.
fn odd_messages(site: &Site, states: &mut Vec<String>) {
    let (channel, webhook) = site.lane(0);
    let mut carried = || {
        let (code, state) = site.approved(PERSON + PEOPLE);
        states.push(state.clone());
        let good = site.message(&[(code.clone(), state.clone())]);
        (code, state, good)
    };
    let (code, state, good) = carried();
    site.post(0, good.replace("\nm1 ", "\nm1 A"));
    site.post(0, v0::encode(site.bot(), &code, Some(&state), 1_700_000_000));
    site.post(0, format!("the code is {code}, the state is {state}"));
    site.post(0, good.replace(' ', "  "));
    for author in [PostAuthor::Person(PERSON), PostAuthor::OtherBot] {
        site.simulator.post(PostRequest::new(channel, author, good.clone()));
    }
    // What a client cannot read it may print.
    let (_, _, good) = carried();
    let odd = json!({"id": "1536343372988416999", "channel_id": channel.to_string(), "webhook_id": webhook.to_string(),
        "content": good, "author": 7, "mentions": {}, "timestamp": null, "type": "odd"});
    site.simulator.publish("MESSAGE_CREATE", odd.clone());
    let gap = json!({"op": 0, "s": 999_999, "t": "MESSAGE_CREATE", "d": odd});
    site.simulator
        .gateway_fault(GatewayFault::Raw { text: gap.to_string() });
    site.simulator.gateway_fault(GatewayFault::Raw {
        text: format!("{{\"op\":0,\"t\":\"MESSAGE_CREATE\",\"d\":{{\"content\":\"{code}"),
    });
}

/// What every command prints, of a running service or a stopped store, and every command that fails.
fn printed(site: &Site, within: &mut Vec<(String, Vec<u8>)>) {
    let list = site.json(&["debug", "queue", "list", "--limit", "0"]);
    let ids = list["grants"].as_array().cloned().unwrap_or_default();
    let id = ids.first().map_or("01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(), |g| {
        g["id"].as_str().expect("an id").to_owned()
    });
    let out = site.path("exported.jsonl").display().to_string();
    for arguments in [
        &["debug", "queue", "list", "--limit", "0"][..],
        &["debug", "queue", "list", "--state", "closed"],
        &["debug", "queue", "show", &id],
        &["debug", "queue", "stats"],
        &["debug", "queue", "requeue", &id],
        &["debug", "queue", "drop", &id],
        &["debug", "queue", "export"],
        &["debug", "queue", "export", "--output", &out],
        &["debug", "budget"],
        &["debug", "verify"],
        &["debug", "watch", "--looks", "1"],
        &["config", "show"],
        &["config", "check"],
        &["config", "schema"],
        &["--config", "/nowhere/at/all.toml", "run"],
    ] {
        for arguments in [
            arguments.to_vec(),
            [arguments, &["--json", "--log-level", "trace"]].concat(),
        ] {
            let ran = site.codeferry(&arguments);
            within.push((format!("{arguments:?}"), [ran.stdout, ran.stderr].concat()));
        }
    }
}

/// Errors of a bad configuration do not print the secrets in its environment.
fn refused(site: &mut Site, within: &mut Vec<(String, Vec<u8>)>) {
    let good = site.variables.clone();
    for (name, value) in [
        ("CODEFERRY_BOT_TOKEN", format!("Bot {BOT_TOKEN}")),
        ("CODEFERRY_CLIENT_SECRET", format!("{CLIENT_SECRET}\n")),
        ("CODEFERRY_CLIENT_SECRETT", CLIENT_SECRET.to_owned()),
        ("CODEFERRY_WEBHOOK_TOKENS", format!("x:{CONTROL_TOKEN}")),
        ("CODEFERRY_CALLBACK_SECRET", format!("{CALLBACK_SECRET}%")),
        ("CODEFERRY_DISCORD__TOKEN", BOT_TOKEN.to_owned()),
        ("CODEFERRY_STATE_KEY_FILE", KEY.to_owned()),
        ("CODEFERRY_METRICS_TOKEN", CONTROL_TOKEN.to_owned()),
    ] {
        site.variables.insert(name.to_owned(), value);
        let ran = site.codeferry(&["run"]);
        exits(&ran, 2);
        within.push((format!("run with a bad {name}"), [ran.stdout, ran.stderr].concat()));
        site.variables.clone_from(&good);
    }
}

fn keys_of(data: &Path) -> Vec<(String, Vec<u8>)> {
    let keys = files(&data.join("keys/seal")).into_iter();
    keys.map(|(path, bytes)| (path.display().to_string(), bytes)).collect()
}

/// What an opened copy of a data folder holds in the clear.
fn readable(data: &Path) -> (BTreeSet<&'static str>, Vec<u8>) {
    let copied = tempfile::tempdir().expect("a folder");
    copy_folder(data, copied.path());
    let options = StoreOptions::new(copied.path().join("journal"), SystemClock::shared());
    let opened = open(&options).unwrap_or_else(|e| panic!("the copy should open: {e}"));
    let mut held = Vec::new();
    for grant in &opened.loaded.grants {
        if let State::Received { code, .. } | State::Exchanging { code, .. } = &grant.state {
            held.extend_from_slice(code.expose().as_bytes());
        }
        held.extend_from_slice(serde_json::to_string(grant).expect("a record").as_bytes());
    }
    (opened.loaded.grants.iter().map(|g| g.state.name()).collect(), held)
}

#[test]
fn no_secret_is_in_any_log_output_or_file_and_closed_grants_can_be_opened_by_nobody() {
    let mut site = site();
    let (mut states, mut outputs) = (Vec::new(), Vec::new());
    let data = site.path("data");

    site.variables.insert("CODEFERRY_LOG".to_owned(), "trace".to_owned());
    let service = site.run_as("directives.log", &["run"]);
    service.ready();
    everything_fails(&site);
    for n in 0..PEOPLE {
        sign_in(&site, n, &mut states);
    }
    odd_messages(&site, &mut states);
    let mut uses = vec![site.simulator.use_command(&UseRequest::of(PERSON, "connect"))];
    site.simulator.gateway_fault(GatewayFault::DropConnections);
    until(PATIENCE, "half of them have a result", || {
        site.results().len() as u64 >= PEOPLE / 2
    });
    printed(&site, &mut outputs);

    // Killed while it holds tokens that it could not revoke.
    let failing = Fault::Status {
        status: 503,
        body: FaultBody::Html,
        retry_after: None,
        after_work: false,
    };
    site.simulator.faults().add(FaultRule::on(Endpoint::Revoke, failing));
    sign_in(&site, PEOPLE, &mut states);
    let held = || site.json(&["debug", "queue", "list", "--state", "settling"])["total"] != 0;
    until(PATIENCE, "a token is held", held);
    service.kill();
    let killed = tempfile::tempdir().expect("a folder");
    copy_folder(&data, killed.path());
    let keys = keys_of(&data);
    assert!(!keys.is_empty(), "what is open has a key");
    site.simulator.faults().clear();

    site.variables.remove("CODEFERRY_LOG");
    let service = site.run_as("level.log", &["--log-level", "trace", "run"]);
    service.ready();
    sign_in(&site, 0, &mut states);
    let used = site.simulator.use_command(&UseRequest::of(PERSON + 1, "connect"));
    uses.push(used);
    let answer = || site.simulator.interaction(used).expect("it was made").answer;
    until(PATIENCE, "the command is answered", || answer().is_some());
    let link = answer().expect("it was seen")["components"][0]["components"][0]["url"].clone();
    states.push(state_of(link.as_str().expect("a link")));
    until(PATIENCE, "all is closed", || {
        site.json(&["debug", "queue", "list"])["total"] == 0
    });
    printed(&site, &mut outputs);
    outputs.push(("metrics".to_owned(), metrics(&site).into_bytes()));
    service.drain();
    printed(&site, &mut outputs);
    refused(&mut site, &mut outputs);

    let (mut needles, personal) = (needles(&site, &states), personal());
    for id in uses {
        needles.add(
            "an interaction's token",
            &site.simulator.interaction(id).expect("it was made").token,
        );
    }
    assert!(needles.count() > 50, "only {} secrets are known", needles.count());
    let mut tallies = [Tally::default(); 3];
    let mut searched = |kind: usize, what: &str, hay: &[u8], results: bool| {
        tallies[kind].tried += 1;
        needles.absent_from(what, hay);
        if !results {
            personal.absent_from(what, hay);
        }
        tallies[kind].survived += 1;
    };
    for log in ["directives.log", "level.log"] {
        let text = fs::read(site.path(log)).expect("a log");
        assert!(text.windows(5).any(|w| w == b"TRACE") || text.windows(5).any(|w| w == b"DEBUG"));
        searched(0, log, &text, false);
    }
    for (what, output) in &outputs {
        searched(1, what, output, false);
    }
    for (path, bytes) in files(site.folder.path()).into_iter().chain(files(killed.path())) {
        let results = path.ends_with("results.jsonl");
        searched(2, &path.display().to_string(), &bytes, results);
    }
    // The results are where personal data belong: the search does see them.
    let results = fs::read(site.path("results.jsonl")).expect("results");
    assert!(!personal.found_in(&results).is_empty());

    // The copy from before could still be opened; what is left now cannot, with whatever key is left.
    let (before, held) = readable(killed.path());
    assert!(before.contains("settling"), "{before:?}");
    assert!(
        !needles.found_in(&held).is_empty(),
        "what was open could be read with its key"
    );
    let (after, _) = readable(&data);
    assert!(after.is_empty(), "{after:?}");
    assert_eq!(keys_of(&data), [], "every sealing key is destroyed");
    for (path, bytes) in files(&data) {
        for (key, secret) in &keys {
            let found = bytes.windows(secret.len()).any(|w| w == secret);
            assert!(!found, "the key `{key}` still stands in `{}`", path.display());
        }
    }
    for (kind, tally) in ["logs at trace", "commands and errors", "files"]
        .into_iter()
        .zip(tallies)
    {
        tell(&format!("secrets: {kind}"), tally);
    }
}
