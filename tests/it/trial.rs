//! `try` and `simulate --write` as processes: a user comes from the link to the result, and nothing stays.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use codeferry::simulator::people::{Behaviour, walk};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::patience::{Finish as _, Process, until};
use crate::relay::browser::Browser;
use crate::relay::test_support::{client, free_port, runtime};

const SOON: Duration = Duration::from_mins(1);

/// The command in a folder, with nothing from the test's own environment.
fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_codeferry"));
    command
        .env_clear()
        .env("TMPDIR", folder)
        .current_dir(folder)
        .args(arguments);
    command
}

/// Starts it; returns it with the JSON that it prints once it is ready.
fn start(folder: &Path, arguments: &[&str]) -> (Process, Value) {
    let printed = folder.join("printed");
    let file = File::create(&printed).expect("a file");
    let mut command = command(folder, arguments);
    let process = Process::start(command.stdout(file).stderr(Stdio::null()));
    let mut told = Value::Null;
    until(SOON, "what it prints", || {
        let text = fs::read_to_string(&printed).unwrap_or_default();
        told = serde_json::from_str(&text).unwrap_or_default();
        text.ends_with('\n') && !told.is_null()
    });
    (process, told)
}

fn end(mut process: Process) {
    process.signal(Signal::INT);
    assert!(process.ends(SOON).expect("it ends").success());
}

struct Trial {
    folder: TempDir,
    process: Process,
    url: String,
}

impl Trial {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (process, told) = start(folder.path(), &["--json", "try"]);
        let url = told["url"].as_str().expect("a URL").to_owned();
        Self { folder, process, url }
    }

    fn live(&self) -> Value {
        runtime().block_on(async {
            let answer = client()
                .get(format!("{}live", self.url))
                .send()
                .await
                .expect("an answer");
            answer.json().await.expect("JSON")
        })
    }

    fn decide(&self, query: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = client().post(format!("{}decide?{query}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = runtime().block_on(async { request.send().await });
        answer.expect("an answer").status().as_u16()
    }
}

fn kinds(live: &Value) -> Vec<&str> {
    let results = live["results"].as_array().expect("results");
    results.iter().map(|r| r["type"].as_str().expect("a type")).collect()
}

#[test]
fn a_player_approves_denies_or_is_someone_else_and_sees_each_result_and_no_secret() {
    let trial = Trial::start();
    let live = trial.live();
    let id = |n: usize| live["people"][n]["id"].as_str().expect("an id").to_owned();
    let (ada, grace, edsger) = (id(0), id(1), id(2));
    for (query, kind) in [
        (format!("user={ada}&as={ada}&action=approve"), "authorization.completed"),
        (format!("user={grace}&as={grace}&action=deny"), "authorization.denied"),
        (
            format!("user={edsger}&as={ada}&action=approve"),
            "authorization.wrong_person",
        ),
    ] {
        assert_eq!(trial.decide(&query, &[]), 200, "{query}");
        until(SOON, kind, || kinds(&trial.live()).first() == Some(&kind));
    }
    until(SOON, "both tokens are revoked", || {
        trial.live()["steps"].to_string().matches("revoked the token").count() == 2
    });
    let shown = trial.live().to_string();
    assert!(
        shown.contains("got a token") && shown.contains("Discord issued a code"),
        "{shown}"
    );
    let secrets = fs::read_dir(trial.folder.path())
        .expect("a folder")
        .flatten()
        .find_map(|entry| {
            let text = fs::read_to_string(entry.path().join(".env")).ok()?;
            let (_, secret) = text.split_once("CLIENT_SECRET='")?;
            Some(secret.split('\'').next()?.to_owned())
        });
    assert!(!shown.contains(&secrets.expect("a client secret")));
    assert!(
        !shown.contains("\"code\"") && !shown.contains("access_token"),
        "{shown}"
    );
}

#[test]
fn a_page_from_elsewhere_plays_nobody() {
    let trial = Trial::start();
    let id = trial.live()["people"][0]["id"].as_str().expect("an id").to_owned();
    let query = format!("user={id}&as={id}&action=approve");
    assert_eq!(trial.decide(&query, &[("origin", "http://evil.example")]), 404);
    assert_eq!(trial.decide(&query, &[("host", "evil.example")]), 421);
    assert_eq!(trial.live()["steps"], json!([]));
}

#[test]
fn ctrl_c_leaves_no_file_and_no_process() {
    let Trial { folder, process, .. } = Trial::start();
    let named = folder.path().to_str().expect("UTF-8").to_owned();
    let children = || {
        let processes = fs::read_dir("/proc").expect("Linux").flatten();
        let commands = processes.filter_map(|p| fs::read_to_string(p.path().join("cmdline")).ok());
        commands.filter(|c| c.contains(&named)).count()
    };
    assert_eq!(children(), 1, "the service runs");
    end(process);
    assert_eq!(children(), 0);
    let left: Vec<_> = fs::read_dir(folder.path())
        .expect("a folder")
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert_eq!(left, ["printed"]);
}

#[test]
fn a_player_in_a_real_browser_decides_on_the_consent_page_and_watches_the_way() {
    let Some(browser) = Browser::start("en") else {
        return;
    };
    let trial = Trial::start();
    let text = || {
        browser
            .script("return document.body.innerText")
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    browser.open(&trial.url);
    until(SOON, "the users", || {
        browser.script("return document.getElementById('user').length > 7") == true
    });
    browser
        .script("const u = document.getElementById('user'); u.selectedIndex = 2; u.dispatchEvent(new Event('change'))");
    let consent = browser.script("return document.getElementById('consent').href");
    browser.open(consent.as_str().expect("an address"));
    let page = text();
    assert!(
        page.contains("wants to access your account") && page.contains("Access your username"),
        "{page}"
    );
    assert_eq!(
        browser.script("return document.querySelector('select').selectedIndex"),
        2
    );
    picture(&browser, "consent");
    browser.script("document.querySelector('button.yes').click()");
    until(SOON, "the service's page", || {
        browser.script("return location.pathname") == "/callback"
    });
    browser.open(&trial.url);
    until(SOON, "the result", || text().contains("authorization.completed"));
    browser.script("document.getElementById('deny').click()");
    until(SOON, "the denial", || text().contains("authorization.denied"));
    until(SOON, "what was done", || {
        text().contains("The browser is back at the service.")
    });
    picture(&browser, "try");
    let faults = browser.log("browser");
    let mut messages = faults.iter().filter_map(|entry| entry["message"].as_str());
    assert!(!messages.any(|m| m.contains("Content Security Policy")), "{faults:?}");
}

/// Saves what the browser shows, to be looked at, wide and narrow.
fn picture(browser: &Browser, name: &str) {
    use base64::Engine as _;
    for width in [1_280, 360] {
        browser.of_session("POST", "/window/rect", Some(json!({ "width": width, "height": 1_000 })));
        let wide = browser.script("return document.documentElement.scrollWidth - innerWidth");
        assert!(wide.as_i64() <= Some(0), "{name} scrolls sideways at {width}: {wide}");
        let picture = browser.of_session("GET", "/screenshot", None);
        let picture = base64::prelude::BASE64_STANDARD.decode(picture.as_str().expect("a picture"));
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{width}.png"));
        fs::write(file, picture.expect("base64")).expect("the target folder");
    }
}

#[test]
fn the_written_folder_signs_a_user_in_without_a_further_thought() {
    let folder = tempfile::tempdir().expect("a folder");
    let written = folder.path().join("written");
    let redirect = format!("http://127.0.0.1:{}/callback", free_port());
    let arguments = [
        "--json",
        "simulate",
        "--port",
        "0",
        "--redirect-uri",
        &redirect,
        "--write",
        "written",
    ];
    let (discord, told) = start(folder.path(), &arguments);
    let mode = fs::metadata(written.join(".env"))
        .expect("secrets")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let log = File::create(folder.path().join("log")).expect("a log");
    let mut service = command(&written, &["run"]);
    let service = Process::start(service.stdout(Stdio::null()).stderr(log));
    until(SOON, "the service is ready", || {
        fs::read_to_string(folder.path().join("log")).is_ok_and(|log| log.contains("READY: codes are taken"))
    });
    let person = told["people"][0].as_str().expect("an id");
    let link = command(&written, &["link", person]).finish();
    let link = String::from_utf8(link.stdout).expect("UTF-8");
    let id = person.parse().expect("an id");
    let visit = runtime().block_on(walk(&client(), link.trim(), id, Behaviour::Approve));
    visit.expect("the user gets to the end");
    until(SOON, "the result", || {
        let results = fs::read_to_string(written.join("data/results.jsonl"));
        results.is_ok_and(|text| text.contains("authorization.completed"))
    });
    end(service);
    end(discord);
    // Started again it renews its own files, and no others.
    let (discord, _) = start(folder.path(), &arguments);
    end(discord);
    fs::write(written.join(".env"), "CODEFERRY_BOT_TOKEN=mine\n").expect("a file");
    let refused = command(folder.path(), &arguments).finish();
    assert_eq!(refused.status.code(), Some(2));
    let kept = fs::read_to_string(written.join(".env")).expect("a file");
    assert_eq!(kept, "CODEFERRY_BOT_TOKEN=mine\n");
}

#[test]
fn a_redirect_that_leads_nowhere_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    for redirect in ["https://door.example/callback", "http://127.0.0.1:8710/oauth"] {
        let arguments = [
            "simulate",
            "--port",
            "0",
            "--redirect-uri",
            redirect,
            "--write",
            "written",
        ];
        let refused = command(folder.path(), &arguments).finish();
        let errors = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{errors}");
        assert!(
            errors.contains(redirect) && errors.contains("--redirect-uri"),
            "{errors}"
        );
        assert!(!folder.path().join("written").exists());
    }
}
