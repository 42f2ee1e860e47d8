//! The secrets, from the environment or from files it names. No value ever reaches an error.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::checked::{Config, SinkKind, WireVersion};
use super::environment::Environment;
use super::error::{ConfigError, ConfigErrors, Location};
use super::key_file;
use crate::ids::WebhookId;
use crate::lifecycle::Exit;
use crate::secret::{BotToken, CallbackSecret, ClientSecret, ControlToken, Key, WebhookToken};

/// Every secret's variable.
pub(super) const SECRETS: [&str; 9] = [
    "CODEFERRY_BOT_TOKEN",
    "CODEFERRY_CLIENT_SECRET",
    "CODEFERRY_RELAY_KEY",
    "CODEFERRY_STATE_KEY",
    "CODEFERRY_PKCE_KEY",
    "CODEFERRY_CALLBACK_SECRET",
    "CODEFERRY_WEBHOOK_TOKENS",
    "CODEFERRY_CONTROL_TOKEN",
    "CODEFERRY_HOOKDECK_KEY",
];

/// The shortest key, in bytes: as long as the HMAC-SHA256 output (RFC 2104 section 3).
const KEY_BYTES: usize = 32;

/// Every secret the service uses.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// `CODEFERRY_BOT_TOKEN`; there whenever a lane is configured.
    pub bot_token: Option<BotToken>,
    /// `CODEFERRY_CLIENT_SECRET`.
    pub client_secret: ClientSecret,
    /// `CODEFERRY_RELAY_KEY`; there whenever a lane accepts version 1.
    pub relay_key: Option<Key>,
    /// `CODEFERRY_STATE_KEY`, or made once.
    pub state_key: Key,
    /// `CODEFERRY_PKCE_KEY`, or made once.
    pub pkce_key: Key,
    /// `CODEFERRY_CALLBACK_SECRET`; there whenever an `http` sink is configured.
    pub callback_secret: Option<CallbackSecret>,
    /// `CODEFERRY_WEBHOOK_TOKENS`; one for each `discord_webhook` sink, and any others given.
    pub webhook_tokens: BTreeMap<WebhookId, WebhookToken>,
    /// `CODEFERRY_CONTROL_TOKEN`; there whenever `control.listen` is set.
    pub control_token: Option<ControlToken>,
}

impl Secrets {
    /// Reads every secret that the configuration needs. State and PKCE keys that are not given are made once, in
    /// `<data>/keys`; nothing is made unless everything else is right. For commands that may write.
    pub fn load(config: &Config, environment: &Environment) -> Result<Self, ConfigErrors> {
        let (given, faults) = Given::read(&Needs::of(config), environment);
        let given = faults.or(given)?;
        let keys = LinkKeys::make_missing(config, given.state_key, given.pkce_key)?;
        Ok(Self {
            bot_token: given.bot_token,
            client_secret: given.client_secret,
            relay_key: given.relay_key,
            state_key: keys.state_key,
            pkce_key: keys.pkce_key,
            callback_secret: given.callback_secret,
            webhook_tokens: given.webhook_tokens,
            control_token: given.control_token,
        })
    }
}

/// The two keys that links are made with.
#[derive(Debug, Clone)]
pub struct LinkKeys {
    /// `CODEFERRY_STATE_KEY`, or made once.
    pub state_key: Key,
    /// `CODEFERRY_PKCE_KEY`, or made once.
    pub pkce_key: Key,
}

impl LinkKeys {
    /// Reads the two keys alone, making those that are not given. For commands that may write.
    pub fn load(config: &Config, environment: &Environment) -> Result<Self, ConfigErrors> {
        let mut read = Reader::new(environment);
        let (state, pkce) = (read.key("CODEFERRY_STATE_KEY"), read.key("CODEFERRY_PKCE_KEY"));
        read.faults.or(Some(()))?;
        Self::make_missing(config, state, pkce)
    }

    /// The state key that was given, or the one that was made for the service.
    pub(super) fn load_state_key(config: &Config, given: Option<Key>) -> Result<Key, ConfigErrors> {
        let folder = config.data_folder().join("keys");
        given.map_or_else(
            || {
                key_file::load_or_make(&folder, "state.key", KEY_BYTES).map_err(|error| {
                    let mut faults = ConfigErrors::default();
                    faults.push(error);
                    faults
                })
            },
            Ok,
        )
    }

    fn make_missing(config: &Config, state: Option<Key>, pkce: Option<Key>) -> Result<Self, ConfigErrors> {
        let folder = config.data_folder().join("keys");
        let mut faults = ConfigErrors::default();
        let mut get = |given: Option<Key>, name: &str| match given {
            Some(key) => Some(key),
            None => key_file::load_or_make(&folder, name, KEY_BYTES)
                .map_err(|error| faults.push(error))
                .ok(),
        };
        let keys = get(state, "state.key").zip(get(pkce, "pkce.key"));
        faults.or(keys.map(|(state_key, pkce_key)| Self { state_key, pkce_key }))
    }
}

/// Which secrets a configuration needs, and for the sake of what.
#[derive(Debug, Default)]
pub(super) struct Needs {
    pub bot_token: bool,
    pub relay_key: bool,
    pub callback_secret: bool,
    pub control_token: bool,
    /// Webhook ids with the names of their sinks.
    pub webhooks: Vec<(WebhookId, String)>,
}

impl Needs {
    pub(super) fn of(config: &Config) -> Self {
        let lanes = !config.intake.lanes.is_empty();
        Self {
            bot_token: lanes
                || config
                    .sinks
                    .iter()
                    .any(|s| matches!(s.kind, SinkKind::DiscordWebhook { .. }))
                || config.commands.connect.is_some()
                || config.reinvite.enabled,
            relay_key: lanes && config.intake.accept.contains(&WireVersion::V1),
            callback_secret: config.sinks.iter().any(|s| matches!(s.kind, SinkKind::Http { .. })),
            control_token: config.control.listen.is_some(),
            webhooks: config
                .sinks
                .iter()
                .filter_map(|s| match s.kind {
                    SinkKind::DiscordWebhook { webhook_id } => Some((webhook_id, s.name.clone())),
                    _ => None,
                })
                .collect(),
        }
    }
}

/// What the environment gave, before missing keys are made.
pub(super) struct Given {
    bot_token: Option<BotToken>,
    client_secret: ClientSecret,
    relay_key: Option<Key>,
    state_key: Option<Key>,
    pkce_key: Option<Key>,
    callback_secret: Option<CallbackSecret>,
    webhook_tokens: BTreeMap<WebhookId, WebhookToken>,
    control_token: Option<ControlToken>,
}

impl Given {
    /// Reads and checks everything, writing nothing. Without a fault there is a value.
    pub(super) fn read(needs: &Needs, environment: &Environment) -> (Option<Self>, ConfigErrors) {
        let mut read = Reader::new(environment);
        let bot_token = read.token("CODEFERRY_BOT_TOKEN");
        if needs.bot_token && bot_token.is_none() {
            read.missing(
                "CODEFERRY_BOT_TOKEN",
                "the bot that reads the lanes needs it",
                "copy the token from the developer portal, page Bot",
            );
        }
        if bot_token.as_ref().is_some_and(|t| t.starts_with("Bot ")) {
            read.fault("CODEFERRY_BOT_TOKEN", "starts with `Bot `", "give the token alone");
        }
        let client_secret = read.token("CODEFERRY_CLIENT_SECRET");
        if client_secret.is_none() {
            read.missing(
                "CODEFERRY_CLIENT_SECRET",
                "exchanging codes needs it",
                "copy it from the developer portal, page OAuth2",
            );
        }
        let relay_key = read.key("CODEFERRY_RELAY_KEY");
        if needs.relay_key && relay_key.is_none() {
            read.missing(
                "CODEFERRY_RELAY_KEY",
                "`intake.accept` has \"v1\", whose messages are signed with it",
                "set the relay's key of at least 32 bytes, or accept only [\"v0\"]",
            );
        }
        let state_key = read.key("CODEFERRY_STATE_KEY");
        let pkce_key = read.key("CODEFERRY_PKCE_KEY");
        let callback_secret = read.callback_secret();
        if needs.callback_secret && callback_secret.is_none() {
            read.missing(
                "CODEFERRY_CALLBACK_SECRET",
                "a sink of kind `http` signs with it",
                "set `whsec_` and 24 to 64 random bytes in base64",
            );
        }
        let webhook_tokens = read.webhook_tokens();
        for (id, sink) in &needs.webhooks {
            if !webhook_tokens.contains_key(id) {
                read.fault(
                    "CODEFERRY_WEBHOOK_TOKENS",
                    &format!("has no token for webhook {id}, which sink `{sink}` posts to"),
                    "add `webhook_id:token`, separated by commas; both stand in the webhook's URL",
                );
            }
        }
        let control_token = read.token("CODEFERRY_CONTROL_TOKEN");
        if needs.control_token && control_token.is_none() {
            read.missing(
                "CODEFERRY_CONTROL_TOKEN",
                "`control.listen` opens a TCP port that needs it",
                "set a long random text, or `control.listen = \"\"`",
            );
        }
        let given = client_secret.map(|client_secret| Self {
            bot_token: bot_token.map(|t| BotToken::new(t.as_str())),
            client_secret: ClientSecret::new(client_secret.as_str()),
            relay_key,
            state_key,
            pkce_key,
            callback_secret,
            webhook_tokens,
            control_token: control_token.map(|t| ControlToken::new(t.as_str())),
        });
        (given, read.faults)
    }
}

/// Whether each secret is given, in the order of their names; for people.
pub fn secrets_given(environment: &Environment) -> Vec<(&'static str, bool)> {
    let filled = |name: &str| environment.get(name).is_some_and(|v| !v.is_empty());
    SECRETS
        .into_iter()
        .map(|name| (name, filled(name) || filled(&format!("{name}_FILE"))))
        .collect()
}

/// The secret that a variable holds or names a file of.
pub(super) fn secret_of_variable(variable: &str) -> Option<&'static str> {
    SECRETS.into_iter().find(|s| {
        variable
            .strip_prefix(s)
            .is_some_and(|rest| rest.is_empty() || rest == "_FILE")
    })
}

/// The variable for a key that somebody wrote into the file as a secret.
pub(super) fn secret_for_key(key: &str) -> Option<&'static str> {
    match key {
        "token" => Some("CODEFERRY_BOT_TOKEN"),
        "secret" => Some("CODEFERRY_CLIENT_SECRET"),
        "webhook_token" => Some("CODEFERRY_WEBHOOK_TOKENS"),
        _ => SECRETS
            .into_iter()
            .find(|s| s["CODEFERRY_".len()..].eq_ignore_ascii_case(key)),
    }
}

pub(super) struct Reader<'a> {
    environment: &'a Environment,
    pub(super) faults: ConfigErrors,
}

impl<'a> Reader<'a> {
    pub(super) fn new(environment: &'a Environment) -> Self {
        Self {
            environment,
            faults: ConfigErrors::default(),
        }
    }

    /// A secret's text and the variable it came from. An empty variable counts as not given: composition files pass those.
    fn text(&mut self, name: &'static str) -> Option<(Zeroizing<String>, String)> {
        let file = format!("{name}_FILE");
        let value = self.environment.get(name).filter(|v| !v.is_empty());
        let path = self.environment.get(&file).filter(|v| !v.is_empty());
        match (value, path) {
            (Some(_), Some(_)) => {
                self.fault(name, &format!("is given, and so is {file}"), "keep one of the two");
                None
            }
            (Some(value), None) => Some((Zeroizing::new(value.to_owned()), name.to_owned())),
            (None, Some(path)) => match std::fs::read_to_string(Path::new(path)) {
                Ok(text) => {
                    let text = Zeroizing::new(text);
                    let trimmed = text.strip_suffix('\n').unwrap_or(&text);
                    let trimmed = trimmed.strip_suffix('\r').unwrap_or(trimmed);
                    if trimmed.is_empty() {
                        self.fault(&file, "names a file that is empty", "write the secret into it");
                        return None;
                    }
                    Some((Zeroizing::new(trimmed.to_owned()), file))
                }
                Err(error) => {
                    let path = PathBuf::from(path);
                    self.fault(
                        &file,
                        &format!("names `{}`, which cannot be read: {}", path.display(), describe(&error)),
                        "name a file that this user may read",
                    );
                    None
                }
            },
            (None, None) => None,
        }
    }

    /// A text that goes into an HTTP header or form: visible ASCII, save the space in the middle.
    pub(super) fn token(&mut self, name: &'static str) -> Option<Zeroizing<String>> {
        let (text, from) = self.text(name)?;
        if text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') && text.trim() == text.as_str() {
            return Some(text);
        }
        self.fault(
            &from,
            "holds white space at an end, or characters that no token has",
            "give the token alone, on one line",
        );
        None
    }

    pub(super) fn key(&mut self, name: &'static str) -> Option<Key> {
        let (text, from) = self.text(name)?;
        if text.len() >= KEY_BYTES {
            return Some(Key::new(text.as_bytes()));
        }
        self.fault(
            &from,
            &format!("has {} bytes, fewer than {KEY_BYTES}", text.len()),
            "make one with `openssl rand -base64 32`",
        );
        None
    }

    fn callback_secret(&mut self) -> Option<CallbackSecret> {
        let (text, from) = self.text("CODEFERRY_CALLBACK_SECRET")?;
        let bytes = text
            .strip_prefix("whsec_")
            .and_then(|b| STANDARD.decode(b).ok())
            .map(Zeroizing::new);
        // The range is that of the Standard Webhooks specification, "Signature scheme".
        if bytes.is_some_and(|b| (24..=64).contains(&b.len())) {
            return Some(CallbackSecret::new(text.as_str()));
        }
        self.fault(
            &from,
            "is not `whsec_` and 24 to 64 bytes in base64",
            "make one with `echo whsec_$(openssl rand -base64 32)`",
        );
        None
    }

    pub(super) fn webhook_tokens(&mut self) -> BTreeMap<WebhookId, WebhookToken> {
        let name = "CODEFERRY_WEBHOOK_TOKENS";
        let mut tokens = BTreeMap::new();
        let Some((text, from)) = self.text(name) else {
            return tokens;
        };
        for (i, entry) in text.split([',', '\n']).map(str::trim).enumerate() {
            if entry.is_empty() {
                continue;
            }
            let pair = entry
                .split_once(':')
                .and_then(|(id, token)| Some((id.parse::<WebhookId>().ok()?, token)));
            match pair {
                Some((id, token)) if !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic() && b != b'/') => {
                    if tokens.insert(id, WebhookToken::new(token)).is_some() {
                        self.fault(&from, &format!("has two tokens for webhook {id}"), "keep one");
                    }
                }
                _ => self.fault(
                    &from,
                    &format!("has an entry {} that is not `webhook_id:token`", i + 1),
                    "write `webhook_id:token`, separated by commas; both stand in the webhook's URL",
                ),
            }
        }
        tokens
    }

    /// Names a secret that is needed and not given, unless what was given is at fault already.
    pub(super) fn missing(&mut self, name: &str, why: &str, cure: &str) {
        let file = format!("{name}_FILE");
        let given = |e: &ConfigError| matches!(&e.place, Location::Variable(v) if v == name || *v == file);
        if !self.faults.errors().iter().any(given) {
            self.fault(
                name,
                &format!("is not set: {why}"),
                &format!("{cure} ({file} may name a file instead)"),
            );
        }
    }

    pub(super) fn fault(&mut self, variable: &str, problem: &str, cure: &str) {
        self.faults.push(ConfigError {
            place: Location::Variable(variable.to_owned()),
            key: None,
            problem: problem.to_owned(),
            cure: cure.to_owned(),
            exit: Exit::Usage,
        });
    }
}

/// An I/O error as a person says it, without the number.
pub(super) fn describe(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    text[..1].to_lowercase() + &text[1..]
}
