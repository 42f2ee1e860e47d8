//! From a locator to a checked configuration: reads the layers, checks every key, and names every fault at once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::check::Checker;
use super::environment::Environment;
use super::error::ConfigErrors;
use super::layers::{Layers, Locator};
use super::rules::optional;
use super::secret_reader::Reader;
use super::secrets::{RelaySecrets, Secrets};
use super::section::Section;
use super::table::{
    Config, DiscordConfig, IntakeConfig, LogConfig, PagesConfig, ROOT, RelaySection, ShutdownConfig, TlsConfig,
};
use super::tree::{Effective, leaves};
use crate::ids::UserId;
use crate::rate::limits::{Limits, WebhookLimit};

/// The configuration and every secret it needs. State and PKCE keys are made if they are not there: for commands that
/// may write. Faults of both are reported together.
pub fn load(locator: &Locator) -> Result<(Config, Secrets), ConfigErrors> {
    let (config, secrets, faults) = read_all(locator, true, |_| Vec::new());
    faults.or(config.zip(secrets))
}

/// Something that this machine would refuse.
#[derive(Debug)]
pub struct Trouble {
    /// The key.
    pub key: &'static str,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub cure: String,
}

/// The configuration, its secrets checked as far as that needs no writing; `machine` says what this machine would refuse
/// of it.
pub fn check(locator: &Locator, machine: impl FnOnce(&Config) -> Vec<Trouble>) -> Result<Config, ConfigErrors> {
    let (config, _, faults) = look(locator, machine);
    faults.or(config)
}

/// The same for those who go on with what is right: configuration, secrets, and what is wrong with either. Keys that a
/// first start would make are not real yet.
pub fn look(
    locator: &Locator,
    machine: impl FnOnce(&Config) -> Vec<Trouble>,
) -> (Option<Config>, Option<Secrets>, ConfigErrors) {
    read_all(locator, false, machine)
}

fn add(faults: &mut ConfigErrors, layers: &Layers, found: Option<Vec<Trouble>>) {
    for Trouble { key, problem, cure } in found.into_iter().flatten() {
        faults.name(layers.place(key), Some(key), problem, cure);
    }
}

fn read_all(
    locator: &Locator,
    may_write: bool,
    machine: impl FnOnce(&Config) -> Vec<Trouble>,
) -> (Option<Config>, Option<Secrets>, ConfigErrors) {
    let layers = read(locator);
    let (config, mut check) = check_all(&layers);
    check.relation_to_relay();
    let mut read = Reader::new(&locator.environment, check.faults);
    let secrets = Secrets::read(&layers, &mut read, config.as_ref().filter(|_| may_write));
    add(&mut read.faults, &layers, config.as_ref().map(machine));
    (config, secrets, read.faults)
}

impl Config {
    /// The configuration alone.
    pub fn load(locator: &Locator) -> Result<Self, ConfigErrors> {
        checked(&read(locator))
    }

    /// The same for those who set up a relay, whose URL is only known afterwards: without `discord.redirect_uri` that key
    /// holds a URL that leads nowhere, and the answer says so with false.
    pub fn load_before_redirect(locator: &Locator) -> Result<(Self, bool), ConfigErrors> {
        let mut layers = read(locator);
        let known = layers.is_filled("discord.redirect_uri");
        let discord = layers.root.get_mut("discord").and_then(toml::Value::as_table_mut);
        if let Some(discord) = discord.filter(|_| !known) {
            let nowhere = toml::Value::from("https://redirect.invalid/callback");
            discord.entry("redirect_uri").or_insert(nowhere);
        }
        checked(&layers).map(|config| (config, known))
    }

    /// The configuration from a text as if it stood in `file`; nothing is read from disk.
    pub fn from_text(text: &str, file: &Path, environment: &Environment) -> Result<Self, ConfigErrors> {
        let base = file.parent().unwrap_or(Path::new("")).to_path_buf();
        checked(&Layers::merge(&ROOT, Some((file, Ok(text))), base, environment))
    }
}

impl Default for Limits {
    /// The table's.
    fn default() -> Self {
        let layers = Layers::merge(&ROOT, None, PathBuf::new(), &Environment::default());
        let limits = Self::read(&mut Checker::new(&layers).at("limits"));
        limits.expect("the defaults are right: a test reads every key")
    }
}

/// Every value in force, if all are right.
pub fn effective(locator: &Locator) -> Result<Vec<Effective>, ConfigErrors> {
    let layers = read(locator);
    checked(&layers)?;
    let mut values = Vec::new();
    leaves(&layers.root, String::new(), &layers.places, &mut values);
    Ok(values)
}

fn read(locator: &Locator) -> Layers {
    Layers::read(locator, &ROOT)
}

fn checked(layers: &Layers) -> Result<Config, ConfigErrors> {
    let (config, check) = check_all(layers);
    check.faults.or(config)
}

fn check_all(layers: &Layers) -> (Option<Config>, Checker<'_>) {
    let mut check = Checker::new(layers);
    let config = Config::read(&mut check.at(""));
    check.relations();
    (config, check)
}

/// What a relay reads, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayConfig {
    /// `[relay]`, with at least one lane.
    pub relay: RelaySection,
    /// The bot that messages mention.
    pub bot: UserId,
    /// `discord.api_base`.
    pub api_base: Url,
    /// `intake.code_lifetime`.
    pub code_lifetime: Duration,
    /// `limits.webhook`.
    pub limit: Option<WebhookLimit>,
    /// `[pages]`.
    pub pages: PagesConfig,
    /// `tls.extra_ca`.
    pub extra_ca: Option<PathBuf>,
    /// `shutdown.grace`.
    pub grace: Duration,
    /// `[log]`
    pub log: LogConfig,
}

/// Whether a configuration is a relay's alone: it has relay lanes, and nothing that a service needs.
pub fn is_relays_own(locator: &Locator) -> bool {
    let tree = read(locator);
    let none = |path| tree.items(path).is_empty();
    !none("relay.lanes") && none("intake.lanes") && none("delivery") && !tree.is_filled("intake.http.listen")
}

/// What a relay reads, and its secrets; all faults of both together. Of what only a service needs nothing is missed.
pub fn load_relay(locator: &Locator) -> Result<(RelayConfig, RelaySecrets), ConfigErrors> {
    check_relay(locator, |_| Vec::new())
}

/// The same; `machine` says what this machine would refuse of it.
pub fn check_relay(
    locator: &Locator,
    machine: impl FnOnce(&RelayConfig) -> Vec<Trouble>,
) -> Result<(RelayConfig, RelaySecrets), ConfigErrors> {
    let layers = read(locator);
    let mut check = Checker::new(&layers);
    let config = RelayConfig::read(&mut check);
    check.relations_of_relay();
    let mut read = Reader::new(&locator.environment, check.faults);
    let secrets = RelaySecrets::read(&layers, &mut read);
    add(&mut read.faults, &layers, config.as_ref().map(machine));
    read.faults.or(config.zip(secrets))
}

impl RelayConfig {
    fn read(check: &mut Checker<'_>) -> Option<Self> {
        let relay = RelaySection::read(&mut check.at("relay"));
        let api_base = DiscordConfig::api_base().read(&mut check.at("discord.api_base"));
        let application = optional(DiscordConfig::application_id()).read(&mut check.at("discord.application_id"));
        let code_lifetime = IntakeConfig::code_lifetime().read(&mut check.at("intake.code_lifetime"));
        let limits = Limits::read(&mut check.at("limits"));
        let pages = PagesConfig::read(&mut check.at("pages"));
        let extra_ca = TlsConfig::extra_ca().read(&mut check.at("tls.extra_ca"));
        let grace = ShutdownConfig::grace().read(&mut check.at("shutdown.grace"));
        let log = LogConfig::read(&mut check.at("log"));
        let relay = relay?;
        Some(Self {
            bot: relay.bot_id.or(application?.map(|id| UserId(id.0)))?,
            relay,
            api_base: api_base?,
            code_lifetime: code_lifetime?,
            limit: limits?.webhook,
            pages: pages?,
            extra_ca: extra_ca?,
            grace: grace?,
            log: log?,
        })
    }
}
