//! From a locator to a checked configuration: reads the layers, checks every key, and names every fault at once.

use std::path::Path;
use std::time::Duration;

use url::Url;

use super::check::Checker;
use super::environment::Environment;
use super::error::ConfigErrors;
use super::layers::{Layers, Locator};
use super::relations::{Needs, is_for_relay};
use super::secrets::{RelaySecrets, Secrets};
use super::section::Section;
use super::table::{Config, DiscordConfig, IntakeConfig, LogConfig, ROOT, RelaySection, ShutdownConfig};
use super::tree::Effective;
use crate::ids::UserId;
use crate::rate::limits::{Limits, WebhookLimit};

/// The configuration and every secret it needs. State and PKCE keys are made if they are not there: for commands that
/// may write. Faults of both are reported together.
pub fn load(locator: &Locator) -> Result<(Config, Secrets), ConfigErrors> {
    let (config, needs) = checked(locator)?;
    let secrets = Secrets::load(&needs, &locator.environment, &config)?;
    Ok((config, secrets))
}

/// The configuration, its secrets checked as far as that needs no writing.
pub fn check(locator: &Locator) -> Result<Config, ConfigErrors> {
    checked(locator).map(|(config, _)| config)
}

fn checked(locator: &Locator) -> Result<(Config, Needs), ConfigErrors> {
    let layers = read(locator);
    let (config, mut check) = check_all(&layers);
    check.relation_to_relay();
    let mut faults = check.faults;
    let needs = Needs::of(&layers.root);
    faults.extend(Secrets::check(&needs, &locator.environment));
    faults.or(config).map(|config| (config, needs))
}

impl Config {
    /// The configuration alone.
    pub fn load(locator: &Locator) -> Result<Self, ConfigErrors> {
        let layers = read(locator);
        let (config, check) = check_all(&layers);
        check.faults.or(config)
    }

    /// The configuration from a text as if it stood in `file`; nothing is read from disk.
    pub fn from_text(text: &str, file: &Path, environment: &Environment) -> Result<Self, ConfigErrors> {
        let base = file.parent().unwrap_or(Path::new("")).to_path_buf();
        let layers = Layers::merge(&ROOT, Ok(Some((text, file))), base, environment);
        let (config, check) = check_all(&layers);
        check.faults.or(config)
    }
}

/// Every value in force, if all are right.
pub fn effective(locator: &Locator) -> Result<Vec<Effective>, ConfigErrors> {
    let layers = read(locator);
    let (config, check) = check_all(&layers);
    let mut values = Vec::new();
    layers.root.leaves(String::new(), &mut values);
    check.faults.or(config.map(|_| values))
}

fn read(locator: &Locator) -> Layers {
    Layers::read(locator, &ROOT)
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
    /// `shutdown.grace`.
    pub grace: Duration,
    /// `[log]`
    pub log: LogConfig,
}

/// Whether a configuration is a relay's alone: it has relay lanes, and nothing that a service needs.
pub fn is_relays_own(locator: &Locator) -> bool {
    is_for_relay(&read(locator).root)
}

/// What a relay reads, and its secrets; all faults of both together. Of what only a service needs nothing is missed.
pub fn load_relay(locator: &Locator) -> Result<(RelayConfig, RelaySecrets), ConfigErrors> {
    let layers = read(locator);
    let mut check = Checker::new(&layers);
    let relay = RelaySection::read(&mut check.at("relay"));
    let api_base = DiscordConfig::api_base().read(&mut check.at("discord.api_base"));
    let application = match layers.root.get("discord.application_id") {
        Some(_) => DiscordConfig::application_id().read(&mut check.at("discord.application_id")),
        None => None,
    };
    let code_lifetime = IntakeConfig::code_lifetime().read(&mut check.at("intake.code_lifetime"));
    let limits = Limits::read(&mut check.at("limits"));
    let grace = ShutdownConfig::grace().read(&mut check.at("shutdown.grace"));
    let log = LogConfig::read(&mut check.at("log"));
    check.relations_of_relay();
    let build = || {
        let relay = relay?;
        Some(RelayConfig {
            bot: relay.bot_id.or(application.map(|id| UserId(id.0)))?,
            relay,
            api_base: api_base?,
            code_lifetime: code_lifetime?,
            limit: limits?.webhook,
            grace: grace?,
            log: log?,
        })
    };
    let config = build();
    let lanes = layers.root.get("relay.lanes").map_or(&[][..], |lanes| lanes.items());
    let webhooks = lanes
        .iter()
        .filter_map(|lane| lane.get("webhook_id")?.text()?.parse().ok());
    let (secrets, of_secrets) = RelaySecrets::read(&webhooks.collect::<Vec<_>>(), &locator.environment);
    let mut faults = check.faults;
    faults.extend(of_secrets);
    faults.or(config.zip(secrets))
}
