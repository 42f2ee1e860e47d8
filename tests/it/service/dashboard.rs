//! `codeferry dashboard` in a real browser: what it shows is what happens, and nobody else can look.

use std::fs::{self, File};
use std::process::Stdio;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::receiver::Receiver;
use super::test_support::Site;
use crate::patience::{Process, until, wait};
use crate::relay::browser::Browser;
use crate::relay::test_support::{client, runtime};

const SOON: Duration = Duration::from_secs(20);

/// A running dashboard, and the address that it printed.
fn dashboard(site: &Site) -> (Process, String) {
    let printed = site.path("address");
    let file = File::create(&printed).expect("a file");
    let mut command = site.command(&["dashboard", "--json"]);
    let process = Process::start(command.stdout(file).stderr(Stdio::null()));
    let mut url = String::new();
    until(SOON, "its address", || {
        let text = fs::read_to_string(&printed).unwrap_or_default();
        let told: Option<Value> = text.ends_with('\n').then(|| serde_json::from_str(&text).ok()).flatten();
        url = told
            .map(|told| told["url"].as_str().expect("a URL").to_owned())
            .unwrap_or_default();
        !url.is_empty()
    });
    (process, url)
}

/// What a request is answered: its status, its policy, the cookie it sets and its text.
fn get(method: &str, url: &str, headers: &[(&str, &str)]) -> (StatusCode, String, String, String) {
    let mut request = client().request(method.parse().expect("a method"), url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    runtime().block_on(async {
        let answer = request.send().await.expect("an answer");
        let header = |name: &str| {
            let value = answer.headers().get(name).map(|v| v.to_str().expect("text").to_owned());
            value.unwrap_or_default()
        };
        let (policy, cookie) = (header("content-security-policy"), header("set-cookie"));
        (answer.status(), policy, cookie, answer.text().await.expect("a text"))
    })
}

#[test]
fn the_dashboard_opens_once_with_its_key_and_to_its_own_pages_alone() {
    let site = Site::without_limits("");
    let (_dashboard, url) = dashboard(&site);
    let (base, key) = url.split_once("/?key=").expect("a key");
    assert!(key.len() >= 43, "{key}");
    let page = format!("{base}/");
    for (what, url, headers) in [
        ("no key", page.clone(), vec![]),
        ("a wrong key", format!("{page}?key={}", "A".repeat(43)), vec![]),
        ("an empty key", format!("{page}?key="), vec![]),
        ("a made-up cookie", page.clone(), vec![("cookie", "codeferry=x")]),
        ("a file", format!("{base}/page.js"), vec![]),
        ("what is new", format!("{base}/live"), vec![]),
    ] {
        let (status, policy, cookie, text) = get("GET", &url, &headers);
        assert_eq!((status, cookie.as_str()), (StatusCode::FORBIDDEN, ""), "{what}: {text}");
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
    }
    let (status, ..) = get("GET", &url, &[("host", "evil.example")]);
    assert_eq!(status, StatusCode::MISDIRECTED_REQUEST);
    let (status, _, cookie, _) = get("GET", &url, &[]);
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains(key),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().expect("a cookie");
    assert_eq!(get("GET", &url, &[]).0, StatusCode::FORBIDDEN, "the key opens once");
    assert_eq!(get("GET", &page, &[("cookie", cookie)]).0, StatusCode::OK);
    let rebound = [("cookie", cookie), ("host", "evil.example")];
    assert_eq!(get("GET", &page, &rebound).0, StatusCode::MISDIRECTED_REQUEST);
    let requeue = format!("{base}/requeue/01J00000000000000000000000");
    let foreign = [("cookie", cookie), ("origin", "http://evil.example")];
    assert_eq!(get("POST", &requeue, &foreign).0, StatusCode::NOT_FOUND);
    assert_eq!(get("POST", &requeue, &[]).0, StatusCode::FORBIDDEN);
    let (status, _, _, text) = get("POST", &requeue, &[("cookie", cookie), ("origin", base)]);
    assert_eq!(status, StatusCode::BAD_GATEWAY, "no service runs: {text}");
}

#[test]
fn a_real_browser_shows_a_sign_in_live_and_requeues_what_was_parked() {
    let Some(browser) = Browser::start("en") else { return };
    let receiver = Receiver::new(503);
    let mut site = Site::without_limits("");
    let sink = format!(
        "[[delivery]]\nname = \"callback\"\nkind = \"http\"\nurl = \"{}\"\n",
        receiver.url
    );
    let limits = "[limits]\nwebhook = \"off\"\nglobal = \"off\"\noauth = \"off\"\n";
    let secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    site.variables
        .insert("CODEFERRY_CALLBACK_SECRET".to_owned(), secret.to_owned());
    site.configure(&format!("{limits}{sink}"));
    let service = site.run_ready();
    site.sign_in(0, 1);
    until(SOON, "a first attempt", || receiver.count(503) >= 1);
    service.drain();
    site.configure(limits);
    let service = site.run_ready();
    let parked = || site.json(&["debug", "queue", "list", "--parked"])["total"].clone();
    until(SOON, "it is parked", || parked() == 1);
    service.drain();
    site.configure(&format!("{limits}{sink}"));
    receiver.answers(200);
    let service = site.run_ready();

    let (_dashboard, url) = dashboard(&site);
    browser.log("performance");
    browser.open(&url);
    let shown = |id: &str| {
        let text = browser.script(&format!("return document.getElementById('{id}')?.innerText"));
        text.as_str().unwrap_or_default().to_owned()
    };
    let shows = |id: &str, text: &str| {
        let came = wait(SOON, || shown(id).contains(text));
        assert!(came, "`{text}` is not in {id}: {}", shown(id));
    };
    let page = browser.script("return location.href");
    assert_eq!(
        page.as_str(),
        url.split_once("?key=").map(|(page, _)| page),
        "the key has left"
    );
    assert_eq!(browser.script("return document.cookie"), "", "no script reads it");
    shows("state", "running");
    shows("flow-closed", "0\nclosed");
    shows("parked", "callback");
    site.deny(2);
    site.sign_in(20, 3);
    shows("flow-opened", "5\ncodes received");
    shows("flow-closed", "5\nclosed");
    shows("legend", "completed 3");
    shows("legend", "denied 2");
    let bars = browser
        .script("return [document.querySelectorAll('#ages rect').length, !!document.getElementById('line-100')]");
    assert_eq!(bars, json!([12, true]));
    for (width, theme) in [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")] {
        browser.picture("dashboard", width, theme);
        let faults = browser.faults();
        assert!(faults.is_empty(), "{width} {theme}: {faults:?}");
    }
    assert_eq!(parked(), 1);
    browser.script("document.querySelector('#parked button').click()");
    shows("told", "is delivered again");
    until(SOON, "it is delivered", || parked() == 0);
    shows("parked", "None.");
    shows("flow-closed", "6\nclosed");

    let asked = browser.requests();
    let ours = page.as_str().expect("an address").to_owned();
    let files: Vec<&String> = asked.iter().filter(|r| !r.starts_with("data:")).collect();
    assert!(
        files.len() >= 4 && files.iter().all(|r| r.starts_with(&ours)),
        "{asked:?}"
    );
    let refused: Vec<Value> = browser.log("browser");
    assert!(refused.is_empty(), "{refused:?}");
    service.drain();
    shows("state", "does not answer at its control socket");
}
