//! Looks at a whole set-up and says what is wrong, with its cure. It stops at nothing, spends no code, changes nothing and
//! begins no gateway session; nothing that it says is secret. Only `probe` posts.

mod application;
mod lanes;
mod local;
mod outside;
mod probe;
mod service;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::config::{Config, Locator, Secrets, Trouble};
use crate::discord::api_base::ApiBase;
use crate::discord::portal::Portal;
use crate::known_fault::{self as known, KnownFault};
use crate::lifecycle::Exit;
use crate::port::discord::BotError;
use crate::secret::BotToken;
use crate::time::SharedClock;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing is wrong.
    Ok,
    /// It works, but not as well as it could.
    Warn,
    /// It does not work.
    Fail,
    /// It could not be looked at.
    Skipped,
}

impl State {
    /// The word in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
        }
    }

    /// The mark before a line.
    pub const fn mark(self) -> char {
        match self {
            Self::Ok => '✓',
            Self::Warn => '!',
            Self::Fail => '✗',
            Self::Skipped => '-',
        }
    }
}

/// One line.
#[derive(Debug, Clone)]
pub struct Check {
    /// The fault; `None` where nothing is wrong.
    pub id: Option<&'static str>,
    /// What was looked at: `token`, `lane 0`.
    pub name: String,
    /// How it went.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    pub cure: Option<String>,
}

impl Check {
    fn new(state: State, name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            id: None,
            name: name.into(),
            state,
            detail: detail.into(),
            cure: None,
        }
    }

    fn ok(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(State::Ok, name, detail)
    }

    fn skipped(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(State::Skipped, name, why)
    }

    fn of(state: State, fault: &'static KnownFault, name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            id: Some(fault.id),
            cure: Some(fault.cure.to_owned()),
            ..Self::new(state, name, detail)
        }
    }

    fn fail(fault: &'static KnownFault, name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::of(State::Fail, fault, name, detail)
    }

    fn warn(fault: &'static KnownFault, name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::of(State::Warn, fault, name, detail)
    }

    fn cured_by(self, cure: impl Into<String>) -> Self {
        Self {
            cure: Some(cure.into()),
            ..self
        }
    }

    /// What a call that should have worked says about this, where nothing better is known.
    fn of_error(name: impl Into<String>, what: &str, error: &BotError) -> Self {
        match error {
            BotError::Unauthorized => {
                Self::skipped(name, format!("{what} could not be looked at without a good token"))
            }
            error => Self::fail(
                &known::UNREACHABLE,
                name,
                format!("{what} could not be looked at: {error}"),
            ),
        }
    }

    /// The check as `doctor --json` shows it.
    pub fn json(&self) -> Value {
        json!({"id": self.id, "name": self.name, "state": self.state.name(), "detail": self.detail, "cure": self.cure})
    }
}

/// Everything that was looked at.
#[derive(Debug)]
pub struct Report(pub Vec<Check>);

impl Report {
    /// How many checks went this way.
    pub fn count(&self, state: State) -> usize {
        self.0.iter().filter(|check| check.state == state).count()
    }

    /// 2 where something does not work.
    pub fn exit(&self) -> Exit {
        if self.count(State::Fail) == 0 {
            Exit::Fine
        } else {
            Exit::Usage
        }
    }

    /// The report as `doctor --json` shows it.
    pub fn json(&self) -> Value {
        json!({"ok": self.exit() == Exit::Fine, "checks": self.0.iter().map(Check::json).collect::<Vec<_>>()})
    }
}

/// What the checks look at.
struct Patient<'a> {
    config: &'a Config,
    secrets: &'a Secrets,
    portal: &'a Portal,
    base: ApiBase,
    clock: SharedClock,
}

/// Asks the running service alone: nothing leaves this machine.
pub fn quick(locator: &Locator, runtime: &Runtime) -> Report {
    match Config::load(locator) {
        Ok(config) => Report(runtime.block_on(service::look(&config))),
        Err(errors) => Report(local::of_config(&errors)),
    }
}

/// Looks at everything, and tries lanes and sinks out where it `probes`. `machine` says what this machine would refuse of a configuration.
pub fn examine(
    locator: &Locator,
    machine: fn(&Config) -> Vec<Trouble>,
    clock: SharedClock,
    probes: bool,
    runtime: &Runtime,
) -> Report {
    let (config, secrets, errors) = crate::config::look(locator, machine);
    let mut checks = local::of_config(&errors);
    checks.extend(local::of_secret_files(locator));
    let Some(config) = config else {
        checks.push(Check::skipped("Discord", "not asked: the configuration has errors"));
        return Report(checks);
    };
    checks.extend(local::of_machine(&config));
    let trusted = local::trust(&config);
    let goes_on = trusted.state != State::Fail;
    checks.push(trusted);
    let base = ApiBase::parse(config.discord.api_base.as_str());
    let (Some(secrets), Ok(base), true) = (secrets, base, goes_on) else {
        checks.push(Check::skipped(
            "Discord",
            "not asked: secrets or certificate authorities are missing",
        ));
        return Report(checks);
    };
    let token = secrets.bot_token.clone().unwrap_or_else(|| BotToken::new(""));
    let Ok(portal) = Portal::new(base.clone(), &token) else {
        checks.push(Check::skipped("Discord", "not asked: the HTTP client cannot be made"));
        return Report(checks);
    };
    let patient = Patient {
        config: &config,
        secrets: &secrets,
        portal: &portal,
        base,
        clock,
    };
    checks.extend(runtime.block_on(ask(&patient, probes)));
    Report(checks)
}

async fn ask(patient: &Patient<'_>, probes: bool) -> Vec<Check> {
    let (mut checks, application) = application::look(patient).await;
    checks.extend(lanes::look(patient, application.as_ref()).await);
    checks.extend(outside::look(patient).await);
    let runs = crate::store::is_in_use(&patient.config.journal.path);
    if runs {
        checks.extend(service::look(patient.config).await);
    }
    if probes {
        checks.extend(probe::lanes(patient, application.as_ref(), runs).await);
        checks.extend(probe::sinks(patient).await);
    }
    checks
}
