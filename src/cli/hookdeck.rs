//! `hookdeck`: prints the transformation's script, plans the changes to a project, and applies them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::{Global, out};
use crate::config::{Config, HookdeckSecrets};
use crate::http;
use crate::lifecycle::{Exit, Failure};
use crate::relay::hookdeck::api::{ApiError, Hookdeck};
use crate::relay::hookdeck::plan::{self, AccountState, Change};
use crate::relay::hookdeck::trial::{self, TrialError};
use crate::relay::hookdeck::wanted::HookdeckSettings;
use crate::relay::script;
use crate::secret::{Key, random_bytes};
use crate::time::{Clock as _, SystemClock};

/// The commands of `hookdeck`.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Print the transformation's script; it contains no secrets
    Script,
    /// Show what `apply` would change in the project
    Plan,
    /// Create what is missing and update what differs
    Apply {
        /// Create a source even if `discord.redirect_uri` names a different one at Hookdeck
        #[arg(long)]
        new_source: bool,
    },
}

/// Runs a command of `hookdeck`.
pub fn run(action: &Action, global: &Global) -> anyhow::Result<Exit> {
    if matches!(action, Action::Script) {
        out::write(&[&script::hookdeck()])?;
        return Ok(Exit::Fine);
    }
    let locator = global.locator()?;
    let (config, known) = global.load_before_redirect()?;
    let secrets = HookdeckSecrets::load(&config, &locator.environment)?;
    let settings = settings(&config, &secrets);
    http::trust::prepare(config.tls.extra_ca.as_deref(), [&config.hookdeck.api_base])?;
    let api = Hookdeck::new(config.hookdeck.api_base.clone(), secrets.api_key, settings.hidden())
        .map_err(|e| failure(e, &config))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let found = AccountState::read(&api, &settings)
            .await
            .map_err(|e| failure(e, &config))?;
        let changes = found.changes(&settings);
        let Action::Apply { new_source } = action else {
            let report = Report {
                config: &config,
                known,
                found: &found,
                settings: &settings,
                changes: &changes,
                done: None,
            };
            report.print(global.json)?;
            return Ok(Exit::Fine);
        };
        if found.url().is_none() && !new_source && names_hookdeck(&config) {
            return Err(wrong_project(&config).into());
        }
        apply(&api, (&config, known), &settings, found, &changes, global.json).await
    })
}

async fn apply(
    api: &Hookdeck,
    (config, known): (&Config, bool),
    settings: &HookdeckSettings,
    found: AccountState,
    changes: &[Change],
    as_json: bool,
) -> anyhow::Result<Exit> {
    let mut done = Vec::new();
    let mut after = found;
    if !changes.is_empty() {
        let keys = [random_key()?, random_key()?];
        trial::run(api, settings, keys, SystemClock.now())
            .await
            .map_err(|error| match error {
                TrialError::Api(error) => failure(error, config),
                other => Failure::new(
                    Exit::Failed,
                    "the test run of the script failed, so nothing was changed",
                )
                .source(other)
                .way_out("update codeferry; Hookdeck may have changed its runtime"),
            })?;
        done = plan::apply(api, settings, &after, changes).await.map_err(|error| {
            let before = match error.done.as_slice() {
                [] => "nothing was changed".to_owned(),
                done => format!("already done: {}", done.join(", ")),
            };
            let failed = failure(error.source, config);
            let advice = failed.advice().unwrap_or_default().to_owned();
            Failure::new(
                failed.exit(),
                format!("cannot create or update `{}`; {before}", error.failed),
            )
            .source(failed)
            .way_out(format!("{advice}; then run the same command again to continue"))
        })?;
        after = AccountState::read(api, settings)
            .await
            .map_err(|e| failure(e, config))?;
    }
    let report = Report {
        config,
        known,
        found: &after,
        settings,
        changes,
        done: Some(&done),
    };
    report.print(as_json)?;
    Ok(Exit::Fine)
}

fn settings(config: &Config, secrets: &HookdeckSecrets) -> HookdeckSettings {
    HookdeckSettings {
        name: config.hookdeck.name.clone(),
        discord: config.discord.api_base.clone(),
        bot: config.relay_bot(),
        code_lifetime: config.intake.code_lifetime.as_secs(),
        lanes: secrets.lanes.clone(),
        relay_key: secrets.relay_key.clone(),
        state_keys: secrets.state_keys.clone(),
    }
}

/// A random key for the test run.
fn random_key() -> anyhow::Result<Key> {
    Ok(Key::new(URL_SAFE_NO_PAD.encode(random_bytes()?)))
}

fn names_hookdeck(config: &Config) -> bool {
    let url = url::Url::parse(&config.discord.redirect_uri).ok();
    let host = url.as_ref().and_then(url::Url::host_str);
    host.is_some_and(|h| h == "hkdk.events" || h == "events.hookdeck.com")
}

fn wrong_project(config: &Config) -> Failure {
    Failure::new(
        Exit::Usage,
        format!(
            "discord.redirect_uri names a source at Hookdeck, but this key's project has no source `{}`",
            config.hookdeck.name
        ),
    )
    .way_out("check CODEFERRY_HOOKDECK_KEY, which may belong to another project, and `hookdeck.name`; --new-source creates a new source")
}

/// The failure for an error of Hookdeck, with what to do.
fn failure(error: ApiError, config: &Config) -> Failure {
    let host = config.hookdeck.api_base.host_str().unwrap_or_default().to_owned();
    let (exit, advice) = match &error {
        ApiError::KeyRefused | ApiError::Forbidden { .. } => (
            Exit::Usage,
            "set CODEFERRY_HOOKDECK_KEY to the API key of the project: dashboard, Project Settings, Secrets".to_owned(),
        ),
        ApiError::Refused { .. } => (
            Exit::Usage,
            "correct what Hookdeck names; `codeferry hookdeck plan` shows the planned changes".to_owned(),
        ),
        ApiError::Limited => (
            Exit::Failed,
            "wait a minute and try again: another program uses the same key".to_owned(),
        ),
        ApiError::Broken { .. } => (
            Exit::Failed,
            format!("check https://status.hookdeck.com, and that `hookdeck.api_base` (`{host}`) is right"),
        ),
        ApiError::Unreachable(_) => (
            Exit::Failed,
            format!("check that this machine can reach `{host}` (`hookdeck.api_base`)"),
        ),
    };
    Failure::new(exit, "the request to Hookdeck failed")
        .source(error)
        .way_out(advice)
}

/// What is printed at the end.
struct Report<'a> {
    config: &'a Config,
    /// Whether `discord.redirect_uri` is set.
    known: bool,
    found: &'a AccountState,
    settings: &'a HookdeckSettings,
    changes: &'a [Change],
    done: Option<&'a [String]>,
}

impl Report<'_> {
    fn print(&self, as_json: bool) -> anyhow::Result<()> {
        let registered = self.known.then_some(&self.config.discord.redirect_uri);
        let url = self.found.url();
        let matches = url.zip(registered).map(|(url, registered)| leads_to(registered, url));
        let notes = self.found.notes(self.settings);
        if as_json {
            return out::json(&json!({
                "changes": self.changes,
                "done": self.done,
                "source": { "name": self.settings.name, "url": url },
                "redirect_uri": { "configured": registered, "matches": matches },
                "notes": notes,
            }));
        }
        let applied = self.done.is_some();
        if self.changes.is_empty() {
            let verb = if applied { "changed" } else { "would change" };
            out::line(format!("nothing {verb}: the project is up to date"))?;
        }
        for change in self.changes {
            let done = match (applied, change.action) {
                (true, "create") => "created",
                (true, _) => "updated",
                (false, action) => action,
            };
            let differs = match change.differs.as_slice() {
                [] => String::new(),
                differs => format!(": {}", differs.join(", ")),
            };
            out::line(format!("{done} {} {}{differs}", change.kind, change.name))?;
        }
        for note in notes {
            out::line(format!("note: {note}"))?;
        }
        match (url, registered) {
            (None, _) => {
                out::line("the source does not exist yet; `codeferry hookdeck apply` creates it and prints its URL")
            }
            (Some(url), Some(registered)) if leads_to(registered, url) => out::line(format!(
                "source: {url}\nIt matches `discord.redirect_uri`. In the developer portal, OAuth2, Redirects, `{registered}` must be registered."
            )),
            (Some(url), registered) => {
                let state = registered.map_or_else(
                    || "`discord.redirect_uri` is not set yet.".to_owned(),
                    |registered| format!("It does not match `discord.redirect_uri` (`{registered}`)."),
                );
                out::line(format!(
                    "source: {url}\n{state} Add `{url}` in the developer portal, OAuth2, Redirects, set \
                     `redirect_uri = \"{url}\"` under `[discord]` in the configuration, and restart the service."
                ))
            }
        }
    }
}

/// Whether a redirect URI leads to a source. Hookdeck ignores a path after the source's URL.
fn leads_to(redirect_uri: &str, source: &str) -> bool {
    redirect_uri
        .strip_prefix(source)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
}
