//! A service as a child process beside an embedded Discord in this process: what every test of the whole way needs.
//!
//! Nothing sleeps for a fixed time: `patience::until` polls for the thing that is waited for, with a bound.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use codeferry::ids::UserId;
use codeferry::intake::pkce;
use codeferry::intake::state::{StateKey, StateToken};
use codeferry::intake::v1::{self, Redirect};
use codeferry::secret::Key;
use codeferry::simulator::{CodeRequest, Description, PostRequest, Simulator, SimulatorOptions};
use codeferry::time::{Clock, SystemClock, Timestamp};
use serde_json::Value;
use tempfile::TempDir;

use crate::patience::{Finish as _, Process, wait};

/// The state key: nothing here is secret.
pub const KEY: &str = "0123456789abcdef0123456789abcdef";
/// The relay key.
pub const RELAY_KEY: &str = "relay-key-0123456789abcdef012345";
/// The PKCE key.
pub const PKCE_KEY: &str = "pkce-key-0123456789abcdef0123456";
/// The first of the people; the others follow.
pub const PERSON: u64 = 80_000_000_000_000_001;

/// An embedded Discord, a folder with a configuration, and the variables that go with it.
pub struct Site {
    pub simulator: Simulator,
    pub about: Description,
    pub folder: TempDir,
    /// Environment variables of every command; change them before a start.
    pub variables: BTreeMap<String, String>,
    nonce: Cell<u64>,
}

impl Site {
    /// With these options, and this TOML after the generated configuration (which has one `jsonl` sink, `results`).
    pub fn new(options: SimulatorOptions, more: &str) -> Self {
        let simulator = Simulator::start(options).expect("a free port");
        let about = simulator.describe();
        let folder = tempfile::tempdir().expect("a folder");
        let variables = Self::variables_for(&about);
        let site = Self {
            simulator,
            about,
            folder,
            variables,
            nonce: Cell::new(0),
        };
        site.configure(more);
        site
    }

    /// The variables that a service needs for this Discord.
    pub fn variables_for(about: &Description) -> BTreeMap<String, String> {
        let mut tokens: Vec<String> = about
            .lanes
            .iter()
            .map(|l| format!("{}:{}", l.webhook.id, l.webhook.token))
            .collect();
        tokens.push(format!("{}:{}", about.results.webhook.id, about.results.webhook.token));
        let variables = [
            ("CODEFERRY_BOT_TOKEN", about.bot_token.as_str()),
            ("CODEFERRY_CLIENT_SECRET", about.client_secret.as_str()),
            ("CODEFERRY_RELAY_KEY", RELAY_KEY),
            ("CODEFERRY_STATE_KEY", KEY),
            ("CODEFERRY_PKCE_KEY", PKCE_KEY),
            ("CODEFERRY_WEBHOOK_TOKENS", &tokens.join(",")),
        ];
        variables.map(|(n, v)| (n.to_owned(), v.to_owned())).into()
    }

    /// Without rate limits on Discord's side nor on ours.
    pub fn without_limits(more: &str) -> Self {
        let limits = "[limits]\nwebhook = \"off\"\nglobal = \"off\"\noauth = \"off\"\n";
        Self::new(SimulatorOptions::without_limits(), &format!("{limits}{more}"))
    }

    /// Writes the configuration again, with this TOML at its end.
    pub fn configure(&self, more: &str) {
        let about = &self.about;
        let mut text = format!(
            "[discord]\napi_base = \"{}\"\nauthorize_url = \"{}\"\napplication_id = \"{}\"\nredirect_uri = \"{}\"\n",
            about.api_base, about.authorize_url, about.application_id, about.redirect_uri
        );
        for lane in &about.lanes {
            let (channel, webhook) = (&lane.channel_id, &lane.webhook.id);
            writeln!(
                text,
                "[[intake.lanes]]\nchannel_id = \"{channel}\"\nwebhook_id = \"{webhook}\""
            )
            .expect("text");
        }
        text.push_str("[[delivery]]\nname = \"results\"\nkind = \"jsonl\"\npath = \"results.jsonl\"\n");
        text.push_str(more);
        fs::write(self.file(), text).expect("written");
    }

    /// The configuration file.
    pub fn file(&self) -> PathBuf {
        self.path("codeferry.toml")
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The bot's user id.
    pub fn bot(&self) -> UserId {
        self.about.bot_id.parse().expect("an id")
    }

    /// The n-th lane's channel and webhook.
    pub fn lane(&self, n: usize) -> (u64, u64) {
        let lane = &self.about.lanes[n];
        let id = |text: &str| text.parse().expect("an id");
        (id(&lane.channel_id), id(&lane.webhook.id))
    }

    /// A signed state with PKCE for a person, good for five minutes, and a code that was issued for it.
    pub fn approved(&self, user: u64) -> (String, String) {
        let state = self.state(user);
        (self.code(user, &state), state)
    }

    /// A signed state with PKCE for a person, good for five minutes.
    pub fn state(&self, user: u64) -> String {
        StateKey::new(&Key::new(KEY.as_bytes())).mint(&self.token(user))
    }

    /// What such a state says.
    pub fn token(&self, user: u64) -> StateToken {
        self.nonce.set(self.nonce.get() + 1);
        StateToken {
            user: UserId(user),
            expires_at: Timestamp::from_secs(SystemClock.now().as_secs() + 300),
            lane: codeferry::ids::Lane(0),
            purpose: 0,
            pkce: true,
            again: false,
            nonce: self.nonce.get().to_be_bytes(),
        }
    }

    /// A code that a person's approval of this state brings; every call is another approval.
    pub fn code(&self, user: u64, state: &str) -> String {
        let challenge = pkce::challenge(&pkce::verifier(&Key::new(PKCE_KEY.as_bytes()), state));
        let request = CodeRequest::of(user).with_challenge(challenge);
        self.simulator.mint_codes(&request).remove(0)
    }

    /// A signed message of version 1 that carries these codes with their states.
    pub fn message(&self, approved: &[(String, String)]) -> String {
        let redirects: Vec<Redirect> = approved
            .iter()
            .map(|(code, state)| redirect(Ok(code.clone()), state))
            .collect();
        self.sign(&redirects)
    }

    /// A signed message of version 1 that carries these redirects.
    pub fn sign(&self, redirects: &[Redirect]) -> String {
        v1::encode(self.bot(), redirects, &Key::new(RELAY_KEY.as_bytes()))
    }

    /// Posts the denials of `count` people, 18 in a message: results without an exchange.
    pub fn deny(&self, count: u64) {
        self.deny_from(0, count);
    }

    /// The same from the `first` on.
    pub fn deny_from(&self, first: u64, count: u64) {
        let people: Vec<u64> = (PERSON + first..PERSON + first + count).collect();
        for some in people.chunks(18) {
            let denied: Vec<Redirect> = some
                .iter()
                .map(|person| Redirect {
                    time: SystemClock.now().as_secs(),
                    result: Err("access_denied".to_owned()),
                    state: Some(self.approved(*person).1),
                })
                .collect();
            self.post(0, self.sign(&denied));
        }
    }

    /// Posts content through the n-th lane's own webhook, past every limit.
    pub fn post(&self, lane: usize, content: impl Into<String>) -> u64 {
        let (_, webhook) = self.lane(lane);
        let posted = self.simulator.post(PostRequest::webhook(webhook, content));
        posted.expect("the webhook exists")
    }

    /// Approves and posts one code for each of `count` people, from the `first` on; answers the codes.
    pub fn sign_in(&self, first: u64, count: u64) -> Vec<String> {
        let signed_in = (first..first + count).map(|n| {
            let approved = self.approved(PERSON + n);
            self.post(0, self.message(std::slice::from_ref(&approved)));
            approved.0
        });
        signed_in.collect()
    }

    /// Starts `codeferry run`; its log goes to `log_name` in the folder.
    pub fn run_with_log(&self, log_name: &str) -> Service {
        self.run_as(log_name, &["run"])
    }

    /// Starts the service with these arguments; its log goes to `log_name` in the folder.
    pub fn run_as(&self, log_name: &str, arguments: &[&str]) -> Service {
        self.start(self.command(arguments), log_name)
    }

    /// Starts `codeferry run` behind another command, such as `strace -D`; its log is `service.log`.
    pub fn run_behind(&self, words: &[&str]) -> Service {
        let run = self.command(&["run"]);
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .arg(run.get_program())
            .args(run.get_args())
            .env_clear()
            .envs(&self.variables)
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        self.start(command, "service.log")
    }

    /// Starts a command of any kind; its log goes to `log_name` in the folder.
    pub fn start(&self, mut command: Command, log_name: &str) -> Service {
        let log = self.path(log_name);
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .expect("a log file");
        let from = file.metadata().expect("its length").len() as usize;
        let process = Process::start(command.stderr(file).stdout(Stdio::null()));
        Service { process, log, from }
    }

    /// Starts `codeferry run`; its log is `service.log`.
    pub fn run(&self) -> Service {
        self.run_with_log("service.log")
    }

    /// Starts the service and waits until codes are taken.
    pub fn run_ready(&self) -> Service {
        let service = self.run();
        service.ready();
        service
    }

    /// Runs a command to its end.
    pub fn codeferry(&self, arguments: &[&str]) -> Output {
        self.command(arguments).finish()
    }

    /// Runs a command to its end and reads the JSON it prints.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.codeferry(&[arguments, &["--json"]].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {error}"))
    }

    /// A command with the site's configuration and variables.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_at(self.folder.path(), arguments)
    }

    /// The same with the configuration that lies in another folder.
    pub fn command_at(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_codeferry"));
        command
            .arg("--config")
            .arg(folder.join("codeferry.toml"))
            .args(arguments)
            .env_clear()
            .envs(&self.variables)
            .current_dir(folder)
            .stdin(Stdio::null());
        command
    }

    /// The results in the `results` sink.
    pub fn results(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("results.jsonl")).unwrap_or_default();
        // A last line that is being written is no result yet.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|l| serde_json::from_str(l).expect("a line of JSON"))
            .collect()
    }

    /// How many results have this type, such as `completed`.
    pub fn results_of(&self, outcome: &str) -> usize {
        let kind = format!("authorization.{outcome}");
        self.results().iter().filter(|r| r["type"] == kind.as_str()).count()
    }
}

/// A redirect that came now, with a code or with an error.
pub fn redirect(result: Result<String, String>, state: &str) -> Redirect {
    Redirect {
        time: SystemClock.now().as_secs(),
        result,
        state: Some(state.to_owned()),
    }
}

/// A running `codeferry run`; killed when dropped.
pub struct Service {
    process: Process,
    log: PathBuf,
    from: usize,
}

impl Service {
    /// What it has logged since it was started.
    pub fn log(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text[self.from.min(text.len())..]).into_owned()
    }

    /// Waits until codes are taken.
    #[track_caller]
    pub fn ready(&self) {
        self.logs("READY: codes are taken");
    }

    /// Waits until it has logged this.
    #[track_caller]
    pub fn logs(&self, text: &str) {
        let came = wait(Duration::from_secs(30), || self.log().contains(text));
        assert!(came, "`{text}` is not in the log:\n{}", self.log());
    }

    /// What it said at its end, for people: everything from its own name on.
    pub fn last_words(&self) -> String {
        let log = self.log();
        log.find("codeferry: ").map_or(String::new(), |at| log[at..].to_owned())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The most memory it has had so far, in kB.
    pub fn peak_memory_kb(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let peak = status
            .lines()
            .find_map(|l| l.strip_prefix("VmHWM:"))
            .expect("Linux tells");
        peak.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        self.process.signal(signal);
    }

    /// Kills it without warning (SIGKILL).
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// Waits for its end and answers the exit code.
    #[track_caller]
    pub fn ends(&mut self, within: Duration) -> i32 {
        let Some(status) = self.process.ends(within) else {
            panic!("it does not end:\n{}", self.log());
        };
        status.code().expect("an exit code")
    }

    /// Drains it with SIGTERM and expects a clean end.
    #[track_caller]
    pub fn drain(mut self) {
        self.signal(rustix::process::Signal::TERM);
        let code = self.ends(Duration::from_secs(40));
        assert_eq!(code, 0, "{}", self.log());
    }
}

/// The two streams and the exit code of a command that has ended.
#[track_caller]
pub fn exits(output: &Output, code: i32) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "\nstdout: {out}\nstderr: {err}");
    (out, err)
}
