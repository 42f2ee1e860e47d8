//! The interface as a bot's developer uses it: its description holds for what is answered, and a bot waits for its own
//! sign-in with server-sent events.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use codeferry::control::openapi;
use codeferry::control::routes::ROUTES;
use codeferry::simulator::{Endpoint, Fault, FaultRule};
use serde_json::{Value, json};

use super::test_support::{PERSON, Site};
use crate::patience::{Finish as _, until, wait};

/// An answer that is read as it comes.
pub struct Reading {
    stream: UnixStream,
    pub text: String,
}

impl Reading {
    pub fn of(site: &Site, line: &str, more: &str) -> Self {
        let mut stream = UnixStream::connect(site.path("data/control.sock")).expect("it listens");
        stream.set_nonblocking(true).expect("it can");
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\n{more}\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        Self {
            stream,
            text: String::new(),
        }
    }

    /// Reads what has come; whether more may come.
    fn read(&mut self) -> bool {
        let mut some = [0; 8192];
        loop {
            match self.stream.read(&mut some) {
                Ok(0) => return false,
                Ok(n) => self.text.push_str(&String::from_utf8_lossy(&some[..n])),
                Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
            }
        }
    }

    #[track_caller]
    pub fn until(&mut self, text: &str) {
        let came = wait(Duration::from_secs(20), || {
            self.read();
            self.text.contains(text)
        });
        assert!(came, "`{text}` does not come: {}", self.text);
    }

    #[track_caller]
    pub fn ends(&mut self) {
        let ended = wait(Duration::from_secs(20), || !self.read());
        assert!(ended, "it does not end: {}", self.text);
    }

    /// The names of the events that have come.
    fn events(&self) -> Vec<&str> {
        self.text.lines().filter_map(|l| l.strip_prefix("event: ")).collect()
    }
}

/// What a request is answered: its status and JSON.
#[track_caller]
pub fn ask(site: &Site, line: &str, body: Option<&Value>) -> (u16, Value) {
    let body = body.map(ToString::to_string).unwrap_or_default();
    let more = format!("Connection: close\r\nContent-Length: {}\r\n", body.len());
    let mut reading = Reading::of(site, line, &more);
    reading.stream.write_all(body.as_bytes()).expect("sent");
    reading.ends();
    let status = reading.text.get(9..12).and_then(|s| s.parse().ok()).unwrap_or(0);
    let (_, body) = reading.text.split_once("\r\n\r\n").unwrap_or_default();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

/// A link for a person, and the state in it.
fn link(site: &Site, person: u64) -> (String, String) {
    let (status, link) = ask(site, "POST /v1/links", Some(&json!({ "user_id": person.to_string() })));
    assert_eq!(status, 200, "{link}");
    let url = url::Url::parse(link["url"].as_str().expect("a URL")).expect("a URL");
    let state = url.query_pairs().find(|(name, _)| name == "state").expect("a state").1;
    (link["id"].as_str().expect("an id").to_owned(), state.into_owned())
}

/// The person approves this link.
fn approve(site: &Site, person: u64, state: &str) -> String {
    let code = site.code(person, state);
    site.post(0, site.message(&[(code.clone(), state.to_owned())]));
    code
}

#[test]
fn a_bot_waits_for_its_own_sign_in_and_is_told_nothing_secret() {
    let site = Site::without_limits("");
    let service = site.run_ready();
    let (id, state) = link(&site, PERSON);
    let (other, others_state) = link(&site, PERSON + 1);
    assert_ne!(id, other);
    let mut mine = Reading::of(&site, &format!("GET /v1/events?link={id}"), "");
    let mut all = Reading::of(&site, "GET /v1/events", "");
    all.until("retry:");
    let codes = [
        approve(&site, PERSON, &state),
        approve(&site, PERSON + 1, &others_state),
    ];
    mine.until("event: closed");
    all.until(&other);
    until(Duration::from_secs(20), "both have ended", || {
        site.results_of("completed") == 2
    });
    let way = ["opened", "exchanged", "settled", "delivered", "revoked", "closed"];
    let told: BTreeSet<_> = mine.events().into_iter().collect();
    assert_eq!(told, BTreeSet::from(way), "{}", mine.text);
    assert_eq!(mine.events().len(), way.len(), "{}", mine.text);
    assert!(mine.text.contains("\"outcome\":\"completed\""), "{}", mine.text);
    assert!(!mine.text.contains(&other), "{}", mine.text);
    // Whoever comes later, or comes again, misses nothing.
    let mut late = Reading::of(&site, &format!("GET /v1/events?user_id={PERSON}"), "");
    late.until("event: closed");
    assert_eq!(late.events(), mine.events());
    let last = mine
        .text
        .lines()
        .rev()
        .find_map(|l| l.strip_prefix("id: "))
        .expect("an id");
    let mut again = Reading::of(&site, "GET /v1/events", &format!("Last-Event-ID: {last}\r\n"));
    again.until("retry:");

    let grant = mine
        .text
        .split("\"grant\":\"")
        .nth(1)
        .expect("a grant")
        .get(..26)
        .expect("an id");
    let (status, shown) = ask(&site, &format!("GET /v1/grants/{grant}"), None);
    assert_eq!((status, &shown["outcome"]), (200, &json!("completed")), "{shown}");

    service.drain();
    for reading in [&mut mine, &mut all, &mut late, &mut again] {
        reading.ends();
        assert_eq!(reading.events().last(), Some(&"end"), "{}", reading.text);
    }
    let world = site.simulator.describe();
    let told = format!("{}{}{}", mine.text, all.text, again.text);
    let user = site.results()[0]["user"]["username"]
        .as_str()
        .expect("a name")
        .to_owned();
    for secret in codes
        .iter()
        .chain([&world.client_secret, &world.bot_token, &user, &state])
    {
        assert!(!told.contains(secret.as_str()), "{told}");
    }
    assert!(!told.contains("access_token") && !told.contains("\"user\""), "{told}");
}

#[test]
fn an_event_leaves_only_to_the_token_and_a_filter_that_is_not_understood_is_refused() {
    let site = Site::without_limits("");
    let service = site.run_ready();
    for query in ["user=1", "user_id=1", "link=zz", "grant=x", "Link=0000000000000000"] {
        let (status, answer) = ask(&site, &format!("GET /v1/events?{query}"), None);
        assert_eq!(status, 400, "{query}: {answer}");
    }
    let held: Vec<_> = (0..16)
        .map(|_| {
            let mut one = Reading::of(&site, "GET /v1/events", "");
            one.until("retry:");
            one
        })
        .collect();
    let (status, answer) = ask(&site, "GET /v1/events", None);
    assert_eq!(status, 429, "{answer}");
    drop(held);
    service.drain();
}

/// A part of the description as a schema of its own.
fn schema(document: &Value, of: &Value) -> jsonschema::Validator {
    let mut whole = of.clone();
    whole["components"] = document["components"].clone();
    jsonschema::draft202012::new(&whole).expect("a schema")
}

#[track_caller]
fn fits(document: &Value, of: &Value, value: &Value, what: &str) {
    let errors: Vec<String> = schema(document, of).iter_errors(value).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{what}: {errors:?}\n{value}");
}

#[test]
fn every_route_is_described_and_what_it_answers_is_as_described() {
    let site = Site::without_limits("");
    let service = site.run_ready();
    site.sign_in(0, 2);
    site.deny_from(5, 1);
    until(Duration::from_secs(20), "three have ended", || {
        site.results().len() == 3
    });
    // One stays open.
    let refused = FaultRule::on(Endpoint::Token, Fault::InvalidClient { status: 401 });
    site.simulator.faults().add(refused);
    site.sign_in(10, 1);
    let mut open = Value::Null;
    until(Duration::from_secs(20), "one is open", || {
        open = ask(&site, "GET /v1/queue", None).1;
        open["total"] == 1
    });
    let grant = open["grants"][0]["id"].as_str().expect("an id").to_owned();
    let (_, document) = ask(&site, "GET /v1/openapi.json", None);
    assert_eq!(document, openapi::document());

    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            described.insert((method.to_uppercase(), path.clone()));
            let statuses: BTreeSet<&str> = operation["responses"]
                .as_object()
                .expect("some")
                .keys()
                .map(String::as_str)
                .collect();
            let line = format!("{} {}", method.to_uppercase(), path.replace("{id}", &grant));
            let body = operation["requestBody"]
                .is_object()
                .then(|| json!({ "user_id": PERSON.to_string() }));
            if path == "/v1/events" {
                let mut reading = Reading::of(&site, &line, "");
                reading.until("text/event-stream");
                continue;
            }
            let (status, answer) = ask(&site, &line, body.as_ref());
            assert!(statuses.contains(status.to_string().as_str()), "{line}: {status}");
            assert!(![404, 405, 500].contains(&status), "{line}: {status} {answer}");
            let content = &operation["responses"][status.to_string()]["content"];
            if content["application/json"].is_object() {
                fits(&document, &content["application/json"]["schema"], &answer, &line);
            }
        }
    }
    let served: BTreeSet<_> = ROUTES
        .iter()
        .map(|r| (r.method.to_owned(), r.path.to_owned()))
        .collect();
    assert_eq!(described, served);
    for (line, status) in [
        ("GET /v1/nothing", 404),
        ("PUT /v1/links", 405),
        ("GET /v1/queue/x", 404),
        ("GET /v1/", 404),
    ] {
        let (got, answer) = ask(&site, line, None);
        assert_eq!(got, status, "{line}");
        fits(
            &document,
            &json!({ "$ref": "#/components/schemas/Error" }),
            &answer,
            line,
        );
    }
    let (_, of_results) = ask(&site, "GET /v1/results.schema.json", None);
    let of_results = jsonschema::draft202012::new(&of_results).expect("a schema");
    for result in site.results() {
        let errors: Vec<String> = of_results.iter_errors(&result).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}\n{result}");
    }
    site.simulator.faults().clear();
    service.drain();
}

/// A tool of the environment that `.ci/run` makes.
fn tool(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("schemathesis/bin")
        .join(name);
    if !path.exists() {
        eprintln!("SKIPPED: {name} is not installed; `.ci/run` installs it with pip");
        return None;
    }
    Some(path)
}

#[test]
fn whatever_is_sent_to_a_described_path_is_answered_and_never_with_500() {
    const TOKEN: &str = "a-long-random-text-0123456789-abcdef";
    let (Some(schemathesis), Some(python)) = (tool("schemathesis"), tool("python3")) else {
        return;
    };
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("its address");
    drop(free);
    let mut site = Site::without_limits(&format!("[control]\nlisten = \"{address}\"\n"));
    site.variables
        .insert("CODEFERRY_CONTROL_TOKEN".to_owned(), TOKEN.to_owned());
    let service = site.run_ready();
    site.deny(3);
    until(Duration::from_secs(20), "three have ended", || {
        site.results().len() == 3
    });
    let mut document = openapi::document();
    std::fs::write(site.path("openapi.json"), document.to_string()).expect("written");
    let valid = Command::new(python)
        .args(["-m", "openapi_spec_validator"])
        .arg(site.path("openapi.json"))
        .finish();
    assert!(valid.status.success(), "{}", String::from_utf8_lossy(&valid.stdout));
    // What never ends cannot be tried this way.
    document["paths"].as_object_mut().expect("paths").remove("/v1/events");
    std::fs::write(site.path("tried.json"), document.to_string()).expect("written");
    let tried = Command::new(schemathesis)
        .current_dir(site.folder.path())
        .env("NO_COLOR", "1")
        .env("HYPOTHESIS_STORAGE_DIRECTORY", site.path("hypothesis"))
        .arg("run")
        .arg(site.path("tried.json"))
        .arg(format!("--url=http://{address}"))
        .arg(format!("--header=Authorization: Bearer {TOKEN}"))
        .args([
            "--checks",
            "not_a_server_error,status_code_conformance,response_schema_conformance",
        ])
        .args([
            "--phases",
            "examples,fuzzing",
            "--max-examples",
            "25",
            "--seed",
            "1",
            "--request-timeout",
            "5",
        ])
        .finish();
    let told = String::from_utf8_lossy(&tried.stdout);
    assert!(
        tried.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&tried.stderr)
    );
    assert!(told.contains("passed") || told.contains("No issues found"), "{told}");
    service.drain();
}
