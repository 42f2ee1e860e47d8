//! The pages in a real browser: Chromium, driven by ChromeDriver in plain WebDriver (W3C WebDriver, with Chromium's own
//! `log` for what the console and the network saw). Where neither is installed the test says so and is skipped.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use codeferry::front::face::{Face, data_url};
use codeferry::front::page::Page;
use codeferry::front::pages::Pages;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::test_support::{Edge, client, free_port, in_seconds, runtime};
use crate::patience::{Process, until, wait};
use crate::service::test_support::PERSON;

const DRIVER: &str = "/usr/bin/chromedriver";
const CHROMIUM: &str = "/usr/bin/chromium";

/// A browser with an empty profile; gone when dropped.
pub struct Browser {
    _driver: Process,
    base: String,
    session: String,
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    profile: TempDir,
}

impl Browser {
    /// Starts one that wants pages in this language; `None` where there is none on this machine.
    pub fn start(language: &str) -> Option<Self> {
        if !Path::new(DRIVER).exists() || !Path::new(CHROMIUM).exists() {
            eprintln!("SKIPPED: no browser here; install it (apt install chromium chromium-driver)");
            return None;
        }
        let profile = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let log = File::create(profile.path().join("driver.log")).expect("a log");
        let mut command = Command::new(DRIVER);
        command
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        let mut browser = Self {
            _driver: Process::start(&mut command),
            base: format!("http://127.0.0.1:{port}"),
            session: String::new(),
            http: client(),
            runtime: runtime(),
            profile,
        };
        let ready = wait(Duration::from_secs(30), || {
            browser
                .try_call("GET", "/status", None)
                .is_some_and(|status| status["ready"] == true)
        });
        assert!(ready, "the driver does not come up");
        let profile = browser.profile.path().join("profile");
        let arguments = [
            "--headless",
            // The tests may run as root, in a container.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &format!("--user-data-dir={}", profile.display()),
            &format!("--accept-lang={language}"),
        ];
        let session = browser.call(
            "POST",
            "/session",
            Some(json!({ "capabilities": { "alwaysMatch": {
                "browserName": "chrome",
                "goog:chromeOptions": { "binary": CHROMIUM, "args": arguments },
                "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
            }}})),
        );
        session["sessionId"]
            .as_str()
            .expect("a session")
            .clone_into(&mut browser.session);
        browser.open("about:blank");
        Some(browser)
    }

    pub fn try_call(&self, method: &str, path: &str, body: Option<Value>) -> Option<Value> {
        let method = method.parse().expect("a method");
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let request = request.timeout(Duration::from_mins(1));
        let answer = self
            .runtime
            .block_on(async { request.send().await?.json::<Value>().await });
        answer.ok().map(|answer| answer["value"].clone())
    }

    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let value = self.try_call(method, path, body).expect("the driver answers");
        assert!(value["error"].is_null(), "{path}: {value}");
        value
    }

    #[track_caller]
    pub fn of_session(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        self.call(method, &format!("/session/{}{path}", self.session), body)
    }

    #[track_caller]
    pub fn open(&self, url: &str) {
        self.of_session("POST", "/url", Some(json!({ "url": url })));
    }

    #[track_caller]
    pub fn script(&self, text: &str) -> Value {
        self.of_session("POST", "/execute/sync", Some(json!({ "script": text, "args": [] })))
    }

    /// What was logged since this was last asked.
    #[track_caller]
    pub fn log(&self, kind: &str) -> Vec<Value> {
        let log = self.of_session("POST", "/se/log", Some(json!({ "type": kind })));
        log.as_array().cloned().unwrap_or_default()
    }

    /// The addresses that the page asked for, itself first.
    #[track_caller]
    pub fn requests(&self) -> Vec<String> {
        let events = self.log("performance").into_iter().filter_map(|entry| {
            let event: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let sent = event["message"]["method"] == "Network.requestWillBeSent";
            sent.then(|| event["message"]["params"]["request"]["url"].as_str().map(str::to_owned))?
        });
        // The browser's own first page is made of such.
        events.filter(|url| !url.starts_with("chrome")).collect()
    }
}

impl Browser {
    /// Saves what the browser shows at this width, in this theme, below the target folder; nothing may be wider.
    #[track_caller]
    pub fn picture(&self, name: &str, width: u32, theme: &str) {
        let media = [
            json!({ "name": "prefers-color-scheme", "value": theme }),
            json!({ "name": "prefers-reduced-motion", "value": "reduce" }),
        ];
        let command = |name: &str, params: Value| {
            let body = json!({ "cmd": name, "params": params });
            self.of_session("POST", "/goog/cdp/execute", Some(body))
        };
        command("Emulation.setEmulatedMedia", json!({ "features": media }));
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        command("Emulation.setDeviceMetricsOverride", metrics);
        let over = self.script("const d = document.documentElement; return d.scrollWidth - d.clientWidth");
        assert_eq!(over, 0, "{name}: nothing is wider than {width} pixels");
        let shot = command("Page.captureScreenshot", json!({ "captureBeyondViewport": true }));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pictures");
        fs::create_dir_all(&folder).expect("a folder");
        let png = BASE64_STANDARD.decode(shot["data"].as_str().expect("a picture"));
        fs::write(folder.join(format!("{name}-{width}-{theme}.png")), png.expect("base64")).expect("written");
    }

    /// What axe-core finds in the page as it is shown.
    #[track_caller]
    pub fn faults(&self) -> Vec<Value> {
        let axe = Path::new(env!("CARGO_TARGET_TMPDIR")).join("axe/node_modules/axe-core/axe.min.js");
        let Ok(axe) = fs::read_to_string(axe) else {
            eprintln!("SKIPPED: axe-core is not installed; `.ci/run` installs it with npm");
            return Vec::new();
        };
        // The page's policy lets no script in; the driver's own scripts are not the page's.
        self.script(&axe);
        let run = "window.found = null; axe.run().then((r) => { window.found = r.violations.map((v) => \
                   [v.id, v.nodes.map((n) => n.html)]) }); return 0";
        self.script(run);
        let mut found = Value::Null;
        until(Duration::from_secs(20), "axe-core is through", || {
            found = self.script("return window.found");
            found.is_array()
        });
        found.as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _ = self.try_call("DELETE", &format!("/session/{}", self.session), None);
        }
    }
}

#[test]
fn a_real_browser_shows_every_page_and_keeps_no_code() {
    let Some(browser) = Browser::start("de-DE,de") else {
        return;
    };
    let edge = Edge::without_limits("");
    let relay = edge.relay();
    let state = edge.site.state(PERSON + 1);
    let old = Edge::state(PERSON, 0, in_seconds(-1_000), 1);
    let callback = edge.callback(PERSON);
    let cases = [
        (callback.clone(), "success", "Fast fertig"),
        // Loaded again, it says the same.
        (callback, "success", "Fast fertig"),
        (
            format!("/callback?error=access_denied&error_description=x&state={state}"),
            "denied",
            "Es wurde nichts freigegeben",
        ),
        (
            format!("/callback?code=ABCDEFGHIJKLMNOPQRSTUVWXYZ&state={old}"),
            "expired",
            "Dieser Link ist abgelaufen",
        ),
        (
            "/callback?code=<script>alert(1)</script>&state=<b>".to_owned(),
            "invalid",
            "Diese Adresse führt nirgendwohin",
        ),
    ];
    for (path, page, title) in cases {
        browser.log("performance");
        browser.log("browser");
        let url = edge.url(&path);
        browser.open(&url);
        let text = browser.script("return document.body.innerText");
        assert!(text.as_str().is_some_and(|text| text.contains(title)), "{page}: {text}");
        assert_eq!(browser.script("return document.querySelector('main').id"), page);
        assert_eq!(browser.script("return document.documentElement.lang"), "de");
        // The script has run, so the policy lets it, and took the code away.
        assert_eq!(browser.script("return location.href"), edge.url("/callback").as_str());
        assert_eq!(browser.script("return document.referrer + (opener || '')"), "");
        // The style counts: without it the text would stand to the left.
        let align = browser.script("return getComputedStyle(document.querySelector('main')).textAlign");
        assert_eq!(align, "center");
        let requests = browser.requests();
        let mut others = requests.iter().filter(|r| !r.starts_with(&edge.url("/callback")));
        // A browser asks for an icon by itself where it wants one; that goes to this address too.
        assert!(others.all(|r| *r == edge.url("/favicon.ico")), "{page}: {requests:?}");
        assert_eq!(
            requests.iter().filter(|r| r.contains("/callback")).count(),
            1,
            "{requests:?}"
        );
        let policy_faults: Vec<Value> = browser
            .log("browser")
            .into_iter()
            .filter(|entry| {
                let message = entry["message"].as_str().unwrap_or_default();
                // A status of 400 or 410 is itself logged, for the page's own address.
                !message.contains("the server responded with a status of")
            })
            .collect();
        assert!(policy_faults.is_empty(), "{page}: {policy_faults:?}");
    }
    // What a page does not hold cannot be put into it: the policy forbids a script from elsewhere, and one in line.
    browser.script(
        "const s = document.createElement('script'); s.textContent = 'window.taken = 1'; document.head.append(s)",
    );
    assert!(browser.script("return window.taken || null").is_null());
    let refused = browser.log("browser");
    assert!(
        refused.iter().any(|e| e["message"]
            .as_str()
            .is_some_and(|m| m.contains("Content Security Policy"))),
        "the judge above sees faults of the policy: {refused:?}"
    );
    assert_eq!(edge.counts()["accepted"], 2);
    relay.drain();
}

/// Serves every page at `/NAME`, on a thread that ends with the process.
fn serve(pages: Pages) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        for mut connection in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 4096];
            let read = connection.read(&mut head).unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            let header = |name: &str| {
                head.lines()
                    .find_map(|line| line.strip_prefix(name))
                    .unwrap_or_default()
            };
            let page = Page::ALL
                .into_iter()
                .find(|page| head.starts_with(&format!("GET /{} ", page.name())));
            let shown = pages.render(page.unwrap_or(Page::Home), header("Accept-Language: "), None);
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Security-Policy: {}\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{}",
                shown.policy,
                shown.html.len(),
                shown.html
            );
            let _ = connection.write_all(answer.as_bytes());
        }
    });
    port
}

#[test]
fn every_page_can_be_read_by_everybody_in_both_themes_and_at_every_width() {
    for (language, mirrored) in [("en", false), ("fr", true)] {
        let Some(browser) = Browser::start(language) else {
            return;
        };
        let face = Face::of(Some("Door".to_owned()), "#4752c4", "https://discord.com/channels/1/2");
        let pages = Pages::load(None, face).expect("built in");
        let icon = data_url(include_bytes!("../../../src/simulator/door.png"));
        pages.face().learn(String::new(), icon);
        let port = serve(pages);
        for page in Page::ALL {
            let name = page.name();
            browser.log("browser");
            browser.open(&format!("http://127.0.0.1:{port}/{name}"));
            assert_eq!(browser.script("return document.documentElement.lang"), language);
            assert_eq!(
                browser.script("return document.querySelector('header img').naturalWidth"),
                64
            );
            for (width, theme) in [(320, "light"), (320, "dark"), (1920, "light"), (1920, "dark")] {
                browser.picture(&format!("{name}-{language}"), width, theme);
                let faults = browser.faults();
                assert!(faults.is_empty(), "{name} {width} {theme}: {faults:?}");
            }
            if mirrored {
                browser.script("document.documentElement.dir = 'rtl'");
                let [icon, name] = ["img", "span"].map(|tag| {
                    let left = format!("return document.querySelector('header {tag}').getBoundingClientRect().left");
                    browser.script(&left).as_f64().expect("a number")
                });
                assert!(icon > name, "the icon stands on the other side");
                let inside = "const r = document.querySelector('main').getBoundingClientRect(); \
                              return r.left >= 0 && r.right <= innerWidth";
                assert_eq!(browser.script(inside), true, "{name} mirrored");
            }
            // The one thing to reach by keyboard is the button, and it shows that it is reached.
            browser.script("document.querySelector('a').focus({ focusVisible: true })");
            let outline = browser.script("return getComputedStyle(document.activeElement).outlineStyle");
            assert_eq!(outline, "solid", "{name}");
            let refused = browser.log("browser");
            assert!(refused.is_empty(), "{name}: {refused:?}");
        }
    }
}
