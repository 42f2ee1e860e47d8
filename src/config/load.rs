//! From a locator to a checked configuration: read the layers, walk them, check every section, name every fault at once.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;

use super::check::Checker;
use super::checked::{Config, SinkKind, WireVersion};
use super::environment::Environment;
use super::error::{ConfigError, ConfigErrors, Location};
use super::layers::{Layers, Node, defaults, parse_file};
use super::overrides::lay_environment;
use super::raw::RawConfig;
use super::schema::Shape;
use super::secrets::{Given, Needs, Secrets, describe};
use super::walk::Walk;
use crate::ids::UserId;
use crate::lifecycle::Exit;

/// The file that is looked for where none is named.
const USUAL: &str = "codeferry.toml";

/// Where a configuration is found.
#[derive(Debug, Clone)]
pub struct Locator {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// The environment.
    pub environment: Environment,
    /// The working directory: where the usual file is looked for, and relative names start.
    pub folder: PathBuf,
}

impl Locator {
    /// What the process was started with.
    pub fn of_process(config: Option<PathBuf>) -> io::Result<Self> {
        Ok(Self {
            config,
            environment: Environment::of_process(),
            folder: std::env::current_dir()?,
        })
    }

    /// The file to read, and whether somebody named it.
    fn file(&self) -> (PathBuf, bool) {
        let named = self.config.clone().or_else(|| {
            let name = self.environment.get("CODEFERRY_CONFIG").filter(|v| !v.is_empty());
            name.map(PathBuf::from)
        });
        match named {
            Some(path) => (path, true),
            None => (PathBuf::from(USUAL), false),
        }
    }
}

/// The configuration and every secret it needs. State and PKCE keys are made if they are not there: for commands that
/// may write. Faults of both are reported together.
pub fn load(locator: &Locator) -> Result<(Config, Secrets), ConfigErrors> {
    let config = check(locator)?;
    let secrets = Secrets::load(&config, &locator.environment)?;
    Ok((config, secrets))
}

/// The configuration, its secrets checked as far as that needs no writing.
pub fn check(locator: &Locator) -> Result<Config, ConfigErrors> {
    let layers = Layers::read(locator);
    let (config, needs, mut faults) = layers.check_all();
    let (_, of_secrets) = Given::read(&needs, &locator.environment);
    faults.extend(of_secrets);
    faults.extend(super::relay::faults_of_section(&layers));
    faults.or(config)
}

impl Config {
    /// The configuration alone.
    pub fn load(locator: &Locator) -> Result<Self, ConfigErrors> {
        Layers::read(locator).check()
    }

    /// The configuration from a text as if it stood in `file`; nothing is read from disk.
    pub fn from_text(text: &str, file: &Path, environment: &Environment) -> Result<Self, ConfigErrors> {
        let base = file.parent().unwrap_or(Path::new("")).to_path_buf();
        Layers::merge(Ok(Some((text, file))), base, environment).check()
    }
}

impl Layers {
    /// Reads defaults, file and environment. What is wrong is kept for [`Layers::check`].
    pub fn read(locator: &Locator) -> Self {
        let (shown, named) = locator.file();
        let path = locator.folder.join(&shown);
        let base = path.parent().unwrap_or(&locator.folder).to_path_buf();
        let fault = |problem: String, cure: &str| {
            let mut faults = ConfigErrors::default();
            faults.push(ConfigError {
                place: Location::File(shown.clone(), None),
                key: None,
                problem,
                cure: cure.into(),
                exit: Exit::Usage,
            });
            faults
        };
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !named => {
                return Self::merge(Ok(None), locator.folder.clone(), &locator.environment);
            }
            Err(error) => {
                let faults = fault(
                    format!("the configuration cannot be read: {}", describe(&error)),
                    "name another file with --config or CODEFERRY_CONFIG",
                );
                return Self::merge(Err(faults), base, &locator.environment);
            }
        };
        match std::str::from_utf8(&bytes) {
            Ok(text) => {
                let text = text.strip_prefix('\u{feff}').unwrap_or(text);
                Self::merge(Ok(Some((text, &shown))), base, &locator.environment)
            }
            Err(error) => {
                let line = bytes[..error.valid_up_to()].split(|b| *b == b'\n').count();
                let faults = fault(format!("line {line} is not UTF-8"), "save the file as UTF-8");
                Self::merge(Err(faults), base, &locator.environment)
            }
        }
    }

    fn merge(file: Result<Option<(&str, &Path)>, ConfigErrors>, base: PathBuf, environment: &Environment) -> Self {
        let shape = Shape::root();
        let mut root = defaults();
        let mut layers = Self {
            root: Node::table(root.origin.clone()),
            file: file.as_ref().ok().and_then(|f| f.map(|(_, path)| path.to_path_buf())),
            base,
            faults: ConfigErrors::default(),
            torn: false,
        };
        let read = file.and_then(|file| match file {
            Some((text, path)) => parse_file(text, path).map(Some),
            None => Ok(None),
        });
        match read {
            Ok(Some(mut node)) => {
                // Walked before it is laid: a wrong type must not first wipe out what it stands over.
                Walk {
                    root: &shape,
                    faults: &mut layers.faults,
                }
                .keep(&mut node, &shape, "");
                root.lay(node);
            }
            Ok(None) => {}
            Err(faults) => {
                layers.torn = true;
                layers.faults.extend(faults);
            }
        }
        lay_environment(&mut root, &shape, environment, &mut layers.faults);
        layers.root = root;
        layers
    }

    /// Checks every rule.
    pub fn check(&self) -> Result<Config, ConfigErrors> {
        let (config, _, faults) = self.check_all();
        faults.or(config)
    }

    /// Checks every rule; tells the secrets' needs even of a configuration that has faults.
    pub(super) fn check_all(&self) -> (Option<Config>, Needs, ConfigErrors) {
        let mut check = Checker {
            layers: self,
            faults: self.faults.clone(),
        };
        let raw = match RawConfig::deserialize(self.root.to_value()) {
            Ok(raw) => raw,
            Err(error) => {
                // The walk has taken out whatever serde would refuse; should the two ever disagree, this is said.
                check.bad(
                    "",
                    format!("cannot be read: {}", error.message()),
                    "`config/default.toml` explains every key",
                );
                return (None, Needs::default(), check.faults);
            }
        };
        let discord = check.discord(&raw.discord);
        let intake = check.intake(&raw.intake);
        let state = check.state(&raw.state);
        let gate = check.gate(&raw.gate);
        check.signed_for(
            "intake.http.listen",
            intake.as_ref().is_some_and(|i| i.http_listen.is_some()),
            &raw.state,
        );
        let fetch = check.fetch(&raw.fetch, &raw.discord);
        let limits = check.limits(&raw.limits);
        let stages = check.stages(&raw.stages);
        let lanes = intake.as_ref().map_or(&[][..], |i| &i.lanes);
        let sinks = check.sinks(&raw.delivery, lanes);
        let journal = check.journal(&raw.journal);
        let control = check.control(&raw.control);
        let commands = check.commands(&raw.commands);
        let reinvite = check.reinvite(&raw.reinvite, &raw.state);
        let hookdeck = check.hookdeck(&raw.hookdeck);
        let relay_bot = match &raw.relay.bot_id {
            Some(id) => check.id("relay.bot_id", id),
            None => discord.as_ref().map(|discord| UserId(discord.application_id.0)),
        };
        let shutdown = check.shutdown(&raw.shutdown);
        let log = check.log(&raw.log);
        let needs = Needs {
            // A webhook sink reads back as the bot what it has posted; the command and invitations are the bot's own.
            bot_token: !raw.intake.lanes.is_empty()
                || raw
                    .delivery
                    .iter()
                    .any(|d| d.kind.as_deref() == Some("discord_webhook"))
                || raw.commands.connect.as_ref().is_some_and(|name| !name.is_empty())
                || raw.reinvite.enabled == Some(true),
            relay_key: !raw.intake.lanes.is_empty()
                && raw.intake.accept.iter().flatten().any(|w| w == WireVersion::V1.word()),
            callback_secret: raw.delivery.iter().any(|d| d.kind.as_deref() == Some("http")),
            control_token: control.as_ref().is_some_and(|c| c.listen.is_some()),
            webhooks: sinks
                .iter()
                .flatten()
                .filter_map(|s| match s.kind {
                    SinkKind::DiscordWebhook { webhook_id } => Some((webhook_id, s.name.clone())),
                    _ => None,
                })
                .collect(),
        };
        let build = || {
            Some(Config {
                discord: discord?,
                intake: intake?,
                state: state?,
                gate: gate?,
                fetch: fetch?,
                limits: limits?,
                stages: stages?,
                sinks: sinks?,
                journal: journal?,
                control: control?,
                commands: commands?,
                reinvite: reinvite?,
                hookdeck: hookdeck?,
                relay_bot: relay_bot?,
                shutdown: shutdown?,
                log: log?,
                file: self
                    .file
                    .as_deref()
                    .and_then(Path::file_name)
                    .map(|name| self.base.join(name)),
            })
        };
        let config = build();
        (config, needs, check.faults)
    }
}
