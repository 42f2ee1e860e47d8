//! A folder with a configuration, an API, and commands that use both.

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use super::api::Api;
use crate::patience::Finish as _;

pub const RELAY_KEY: &str = "relay-key-CANARY-relay-key-CANARY-1";
pub const STATE_KEY: &str = "state-key-CANARY-state-key-CANARY-1";

/// The place that commands run in.
pub struct Account {
    pub api: Api,
    pub variables: Vec<(String, String)>,
    folder: TempDir,
}

impl Account {
    /// With one lane.
    pub fn new() -> Self {
        let place = Self {
            api: Api::start(),
            variables: Vec::new(),
            folder: tempfile::tempdir().expect("a folder"),
        };
        let mut place = place;
        for (name, value) in [
            ("CODEFERRY_HOOKDECK_KEY", "hookdeck-key-CANARY"),
            ("CODEFERRY_RELAY_KEY", RELAY_KEY),
            ("CODEFERRY_STATE_KEY", STATE_KEY),
            (
                "CODEFERRY_WEBHOOK_TOKENS",
                "1536000000000000004:token-CANARY-0,1536000000000000006:token-CANARY-1",
            ),
        ] {
            place.set(name, value);
        }
        place.configure(1, "https://relay.example/callback");
        place
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(n, _)| n != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Writes the configuration, with so many lanes.
    pub fn configure(&self, lanes: usize, redirect_uri: &str) {
        let mut text = format!(
            "[discord]\napplication_id = 1536000000000000001\nredirect_uri = \"{redirect_uri}\"\n\
             [[delivery]]\nname = \"results\"\nkind = \"jsonl\"\npath = \"results.jsonl\"\n\
             [hookdeck]\napi_base = \"{}\"\n",
            self.api.base()
        );
        for lane in 0..lanes {
            let (channel, webhook) = (1_536_000_000_000_000_003_u64, 1_536_000_000_000_000_004_u64);
            let n = 2 * lane as u64;
            writeln!(
                text,
                "[[intake.lanes]]\nchannel_id = {}\nwebhook_id = {}",
                channel + n,
                webhook + n
            )
            .expect("text");
        }
        fs::write(self.folder.path().join("codeferry.toml"), text).expect("written");
    }

    /// Takes the redirect URI out of the configuration.
    pub fn configure_without_redirect(&self) {
        let file = self.folder.path().join("codeferry.toml");
        let text = fs::read_to_string(&file).expect("written");
        let kept = text.lines().filter(|line| !line.starts_with("redirect_uri"));
        fs::write(&file, kept.collect::<Vec<_>>().join("\n")).expect("written");
    }

    /// Runs `codeferry hookdeck …`; no secret may be printed.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Output {
        let output = Command::new(env!("CARGO_BIN_EXE_codeferry"))
            .arg("hookdeck")
            .args(arguments)
            .env_clear()
            .envs(self.variables.iter().cloned())
            .current_dir(self.folder.path())
            .finish();
        let printed = [output.stdout.as_slice(), &output.stderr].concat();
        let printed = String::from_utf8_lossy(&printed);
        assert!(!printed.contains("CANARY"), "a secret is printed: {printed}");
        output
    }

    /// Runs it to a good end; answers what it printed.
    #[track_caller]
    pub fn fine(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{error}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// The same with `--json`.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.fine(&[arguments, &["--json"]].concat())).expect("JSON")
    }

    /// Runs it to a bad end; answers the exit code and what it said.
    #[track_caller]
    pub fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let code = output.status.code().expect("it ended by itself");
        assert_ne!(code, 0, "{}", String::from_utf8_lossy(&output.stdout));
        (code, said)
    }
}
