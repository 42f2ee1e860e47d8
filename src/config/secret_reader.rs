//! Reads secrets from the environment, or from files that it names. No value ever reaches an error.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::environment::{Environment, SECRETS};
use super::error::{ConfigErrors, Location, describe};
use super::key_file::{KEY_BYTES, load_or_make};
use super::table::Config;
use crate::ids::WebhookId;
use crate::secret::{CallbackSecret, Key, WebhookToken};

pub(super) struct Reader<'a> {
    environment: &'a Environment,
    /// Every fault so far, the configuration's too.
    pub faults: ConfigErrors,
}

impl<'a> Reader<'a> {
    pub(super) fn new(environment: &'a Environment, faults: ConfigErrors) -> Self {
        Self { environment, faults }
    }

    /// A secret's text and the variable it came from. An empty variable counts as not given: composition files pass those.
    /// `needed` says why the secret must be there.
    fn text(&mut self, name: &str, needed: Option<&str>) -> Option<(Zeroizing<String>, String)> {
        let file = format!("{name}_FILE");
        let filled = |name: &str| self.environment.get(name).filter(|v| !v.is_empty());
        match (filled(name), filled(&file)) {
            (Some(_), Some(_)) => self.fault(name, &format!("is given, and so is {file}"), "keep one of the two"),
            (Some(value), None) => return Some((Zeroizing::new(value.to_owned()), name.to_owned())),
            (None, Some(path)) => match std::fs::read_to_string(path).map(Zeroizing::new) {
                Ok(text) => {
                    let trimmed = text.strip_suffix('\n').unwrap_or(&text);
                    let trimmed = trimmed.strip_suffix('\r').unwrap_or(trimmed);
                    if !trimmed.is_empty() {
                        return Some((Zeroizing::new(trimmed.to_owned()), file));
                    }
                    self.fault(&file, "names a file that is empty", "write the secret into it");
                }
                Err(error) => {
                    let problem = format!("names `{path}`, which cannot be read: {}", describe(&error));
                    self.fault(&file, &problem, "name a file that this user may read");
                }
            },
            (None, None) => {
                if let Some(why) = needed {
                    let cure = SECRETS.iter().find(|(secret, _)| *secret == name);
                    let cure = cure.map_or("set it", |(_, cure)| cure);
                    let cure = format!("{cure} ({file} may name a file instead)");
                    self.fault(name, &format!("is not set: {why}"), &cure);
                }
            }
        }
        None
    }

    /// A text that goes into an HTTP header or form: visible ASCII, with spaces inside at most.
    pub(super) fn token(&mut self, name: &str, needed: Option<&str>) -> Option<Zeroizing<String>> {
        let (text, from) = self.text(name, needed)?;
        if name == "CODEFERRY_BOT_TOKEN" && text.starts_with("Bot ") {
            self.fault(&from, "starts with `Bot `", "give the token alone");
        } else if text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') && text.trim() == text.as_str() {
            return Some(text);
        } else {
            let problem = "holds white space at an end, or characters that no token has";
            self.fault(&from, problem, "give the token alone, on one line");
        }
        None
    }

    /// A token that protects a port of ours: nobody may guess it.
    pub(super) fn long_token(&mut self, name: &str, needed: Option<&str>) -> Option<Zeroizing<String>> {
        let token = self.token(name, needed)?;
        self.is_long(name, token.len()).then_some(token)
    }

    pub(super) fn key(&mut self, name: &str, needed: Option<&str>) -> Option<Key> {
        let (text, from) = self.text(name, needed)?;
        self.is_long(&from, text.len()).then(|| Key::new(text.as_bytes()))
    }

    /// Whether a secret from this variable has as many bytes as a key.
    fn is_long(&mut self, from: &str, bytes: usize) -> bool {
        if bytes < KEY_BYTES {
            let problem = format!("has {bytes} bytes, fewer than {KEY_BYTES}");
            self.fault(from, &problem, "make one with `openssl rand -base64 32`");
        }
        bytes >= KEY_BYTES
    }

    /// A key that is made once in the data folder of `config` if it is not given. Without `config` nothing may be written.
    pub(super) fn given_or_made(&mut self, given: Option<Key>, config: Option<&Config>, file: &str) -> Option<Key> {
        given.or_else(|| {
            let made = load_or_make(&config?.data_folder().join("keys").join(file));
            made.map_err(|error| self.faults.push(error)).ok()
        })
    }

    pub(super) fn callback_secret(&mut self, needed: Option<&str>) -> Option<CallbackSecret> {
        let (text, from) = self.text("CODEFERRY_CALLBACK_SECRET", needed)?;
        let bytes = text.strip_prefix("whsec_").and_then(|b| STANDARD.decode(b).ok());
        // The range is that of the Standard Webhooks specification, "Signature scheme".
        if bytes.map(Zeroizing::new).is_some_and(|b| (24..=64).contains(&b.len())) {
            return Some(CallbackSecret::new(text.as_str()));
        }
        let cure = "make one with `echo whsec_$(openssl rand -base64 32)`";
        self.fault(&from, "is not `whsec_` and 24 to 64 bytes in base64", cure);
        None
    }

    /// The tokens of webhooks. Each of those needed, with what it is needed for, must have one.
    pub(super) fn webhook_tokens(
        &mut self,
        needed: impl Iterator<Item = (WebhookId, String)>,
    ) -> BTreeMap<WebhookId, WebhookToken> {
        let name = "CODEFERRY_WEBHOOK_TOKENS";
        let form = "`webhook_id:token`, separated by commas; both stand in the webhook's URL";
        let mut tokens = BTreeMap::new();
        let (text, from) = self.text(name, None).unwrap_or_default();
        let entries = text.split([',', '\n']).map(str::trim).enumerate();
        for (i, entry) in entries.filter(|(_, entry)| !entry.is_empty()) {
            let pair = entry.split_once(':');
            match pair.and_then(|(id, token)| Some((id.parse::<WebhookId>().ok()?, token))) {
                Some((id, token)) if !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic() && b != b'/') => {
                    if tokens.insert(id, WebhookToken::new(token)).is_some() {
                        self.fault(&from, &format!("has two tokens for webhook {id}"), "keep one");
                    }
                }
                _ => {
                    let problem = format!("is not a list of `webhook_id:token`: see entry {}", i + 1);
                    self.fault(&from, &problem, &format!("write {form}"));
                }
            }
        }
        for (id, what_for) in needed {
            if !tokens.contains_key(&id) {
                let problem = format!("has no token for webhook {id}, {what_for}");
                self.fault(name, &problem, &format!("add {form}"));
            }
        }
        tokens
    }

    pub(super) fn fault(&mut self, variable: &str, problem: &str, cure: &str) {
        let place = Location::Variable(variable.to_owned());
        self.faults.name(place, None, problem, cure);
    }
}
