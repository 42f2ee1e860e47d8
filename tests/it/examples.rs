//! The examples, as they stand, against the embedded Discord: a user asks for a link, approves, and is answered once.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use codeferry::simulator::UseRequest;
use codeferry::time::{Clock as _, SystemClock};
use serde_json::json;
use standardwebhooks::Webhook;

use crate::patience::{Process, until};
use crate::service::test_support::{PERSON, Site};

/// Nothing here is secret.
const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const SOON: Duration = Duration::from_secs(30);

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// What `.ci/run` has installed below the target folder.
fn installed(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if !path.exists() {
        eprintln!("SKIPPED: {name} is not there; `.ci/run` installs it below the target folder");
        return None;
    }
    Some(path)
}

/// An application that runs: its process, what it prints, and its port.
struct Running {
    printed: BufReader<std::process::ChildStdout>,
    port: u16,
    _process: Process,
}

impl Running {
    /// Starts it, and waits until it says on which port it receives results.
    fn start(site: &Site, command: &mut Command) -> Self {
        command
            .env("BOT_TOKEN", &site.about.bot_token)
            .env("CODEFERRY_CALLBACK_SECRET", SECRET)
            .env("CONTROL_SOCKET", site.path("data/control.sock"))
            .env("SEEN", site.path("seen.txt"))
            .env("PORT", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = Process::start(command);
        let mut running = Self {
            printed: BufReader::new(process.stdout()),
            port: 0,
            _process: process,
        };
        let line = running.line();
        let port = line.rsplit([' ', ':']).next().and_then(|port| port.parse().ok());
        running.port = port.unwrap_or_else(|| panic!("no port: {line}"));
        running
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.printed.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }

    /// Posts a result that this secret signs; the status of the answer.
    fn post(&self, secret: &str, id: &str, body: &str) -> String {
        let at = SystemClock.now().as_secs();
        let signer = Webhook::new(secret).expect("a secret");
        let signature = signer.sign(id, at, body.as_bytes()).expect("signed");
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        write!(
            stream,
            "POST /codeferry HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Webhook-Id: {id}\r\nWebhook-Timestamp: {at}\r\nWebhook-Signature: {signature}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer.get(9..12).unwrap_or_default().to_owned()
    }
}

fn sink(port: u16) -> String {
    let limits = "[limits]\nwebhook = \"off\"\nglobal = \"off\"\noauth = \"off\"\n";
    format!("{limits}[[delivery]]\nname = \"callback\"\nkind = \"http\"\nurl = \"http://127.0.0.1:{port}/codeferry\"\n")
}

fn site() -> Site {
    let mut site = Site::without_limits("");
    let secret = ("CODEFERRY_CALLBACK_SECRET".to_owned(), SECRET.to_owned());
    site.variables.extend([secret]);
    site
}

/// The person approves the link in a text.
fn approve(site: &Site, text: &str) {
    let url = text
        .split_whitespace()
        .find(|word| word.starts_with("http"))
        .expect("a link");
    let url = url::Url::parse(url).expect("a URL");
    let state = url.query_pairs().find(|(name, _)| name == "state").expect("a state").1;
    let code = site.code(PERSON, &state);
    site.post(0, site.message(&[(code, state.into_owned())]));
}

/// A bot whose user asks for a link with `/signin`, approves, and is told about it once.
fn signs_in(site: &Site, command: &mut Command) {
    let bot = Running::start(site, command);
    site.configure(&sink(bot.port));
    let service = site.run_ready();
    let id = site.simulator.use_command(
        &serde_json::from_value::<UseRequest>(json!({ "command": "signin", "user_id": PERSON.to_string() }))
            .expect("a use"),
    );
    let answer = || site.simulator.interaction(id).and_then(|shown| shown.answer);
    until(SOON, "the bot answers the command", || answer().is_some());
    let answer = answer().expect("just seen");
    assert_eq!(answer["flags"], json!(64), "nobody else sees it: {answer}");
    approve(site, answer["content"].as_str().expect("text"));
    let told = || {
        let messages = site.simulator.direct_messages(PERSON);
        let texts = messages
            .iter()
            .map(|m| m["content"].as_str().unwrap_or_default().to_owned());
        texts.collect::<Vec<_>>()
    };
    until(SOON, "the user is told", || !told().is_empty());
    assert!(told()[0].starts_with("Welcome, "), "{:?}", told());
    service.drain();
    // What was delivered comes again, and something that somebody else has signed.
    let result = site.results().remove(0);
    let id = result["id"].as_str().expect("an id");
    until(SOON, "the repeat is accepted", || {
        bot.post(SECRET, id, &result.to_string()).starts_with('2')
    });
    let forged = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";
    let mut other = result.clone();
    other["id"] = json!("01J00000000000000000000000");
    assert_eq!(
        bot.post(forged, "01J00000000000000000000000", &other.to_string()),
        "401"
    );
    assert_eq!(told().len(), 1, "{:?}", told());
}

#[test]
fn the_bot_in_javascript_signs_a_user_in_and_answers_once() {
    let Some(modules) = installed("discord.js/node_modules") else {
        return;
    };
    let site = site();
    // Modules are looked for beside the script.
    std::os::unix::fs::symlink(modules, site.path("node_modules")).expect("linked");
    fs::copy(source("examples/discord.js/bot.mjs"), site.path("bot.mjs")).expect("copied");
    let mut command = Command::new("node");
    command
        .arg(site.path("bot.mjs"))
        .env("DISCORD_API", format!("{}/api", site.about.base_url));
    signs_in(&site, &mut command);
}

#[test]
fn the_bot_in_python_signs_a_user_in_and_answers_once() {
    let Some(python) = installed("discord.py/bin/python") else {
        return;
    };
    let site = site();
    let mut command = Command::new(python);
    command
        .arg(source("tests/it/examples/beside.py"))
        .arg(source("examples/discord.py/bot.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("DISCORD_API", &site.about.api_base)
        .env("DISCORD_GATEWAY", &site.about.gateway_url);
    signs_in(&site, &mut command);
}

/// `cargo test` builds it; `cargo test --test it` does not.
#[test]
fn the_example_of_plain_http_prints_a_link_and_how_the_sign_in_ended() {
    let built = Path::new(env!("CARGO_BIN_EXE_codeferry")).with_file_name("examples/plain_http");
    if !built.exists() {
        eprintln!("SKIPPED: the example plain_http is not built (cargo build --example plain_http)");
        return;
    }
    let site = site();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("its address").port();
    drop(free);
    site.configure(&sink(port));
    let service = site.run_ready();
    let mut command = Command::new(built);
    command
        .arg(PERSON.to_string())
        .arg(site.path("data/control.sock"))
        .arg(format!("127.0.0.1:{port}"));
    let mut example = Running::start(&site, &mut command);
    assert_eq!(
        example.post("whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=", "x", "{}"),
        "401"
    );
    approve(&site, &example.line());
    let told = example.line();
    assert!(
        told.starts_with("authorization.completed: ") && !told.ends_with("nobody"),
        "{told}"
    );
    service.drain();
}
