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

/// What a second key's variable ends in.
const SECOND: &str = "_2";

pub(super) struct Reader<'a> {
    environment: &'a Environment,
    /// Every fault so far, the configuration's too.
    pub faults: ConfigErrors,
    /// The keys so far, with where each came from.
    keys: Vec<(String, Key)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(environment: &'a Environment, faults: ConfigErrors) -> Self {
        Self {
            environment,
            faults,
            keys: Vec::new(),
        }
    }

    /// A secret's text and the variable it came from.
    fn text(&mut self, name: &str, needed: Option<&str>) -> Option<(Zeroizing<String>, String)> {
        let (mut text, from) = self.line(name, needed)?;
        if text.ends_with('\r') {
            text.pop();
        }
        Some((text, from))
    }

    /// A secret's text without the end of its line. An empty variable counts as not given: composition files pass those;
    /// so does an empty file of a second key. `needed` says why the secret must be there.
    fn line(&mut self, name: &str, needed: Option<&str>) -> Option<(Zeroizing<String>, String)> {
        let file = format!("{name}_FILE");
        let filled = |name: &str| self.environment.get(name).filter(|v| !v.is_empty());
        match (filled(name), filled(&file)) {
            (Some(_), Some(_)) => self.fault(name, &format!("is given, and so is {file}"), "keep one of the two"),
            (Some(value), None) => return Some((Zeroizing::new(value.to_owned()), name.to_owned())),
            (None, Some(path)) => match std::fs::read_to_string(path).map(Zeroizing::new) {
                Ok(text) => {
                    let trimmed = text.strip_suffix('\n').unwrap_or(&text);
                    if !matches!(trimmed, "" | "\r") {
                        return Some((Zeroizing::new(trimmed.to_owned()), file));
                    }
                    if !name.ends_with(SECOND) {
                        self.fault(&file, "names a file that is empty", "write the secret into it");
                    }
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
        let is_word =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        // A token has three parts with the bot's id in the first; a client secret is 32 letters and digits.
        let is_bot_token = text.len() > 50 && text.split('.').count() == 3 && text.split('.').all(is_word);
        let is_client_secret = text.len() == 32 && is_word(&text);
        if name == "CODEFERRY_BOT_TOKEN" && text.starts_with("Bot ") {
            self.fault(&from, "starts with `Bot `", "give the token alone");
        } else if name == "CODEFERRY_BOT_TOKEN" && is_client_secret {
            let cure = "copy the token from the developer portal, page Bot; the client secret is of the page OAuth2";
            self.fault(&from, "looks like a client secret, not like a bot's token", cure);
        } else if name == "CODEFERRY_CLIENT_SECRET" && is_bot_token {
            let cure = "copy the client secret from the developer portal, page OAuth2; the token is of the page Bot";
            self.fault(&from, "looks like a bot's token, not like a client secret", cure);
        } else if text.len() > 1 && text.starts_with(['"', '\'']) && text.ends_with(['"', '\'']) {
            self.fault(
                &from,
                "stands in quotes",
                "give it without quotes: an env file keeps them",
            );
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

    /// A key and the second one beside it.
    pub(super) fn keys(&mut self, name: &str, needed: Option<&str>) -> [Option<Key>; 2] {
        [self.key(name, needed), self.key(&format!("{name}{SECOND}"), None)]
    }

    fn key(&mut self, name: &str, needed: Option<&str>) -> Option<Key> {
        let (text, from) = self.line(name, needed)?;
        if let Some(stray) = stray_end(&text) {
            let problem = format!("has {stray} at an end: the other side would have another key");
            self.fault(&from, &problem, "give the key alone, on one line");
            return None;
        }
        let key = self.is_long(&from, text.len()).then(|| Key::new(text.as_bytes()))?;
        self.unlike_others(Location::Variable(from.clone()), from, key)
    }

    /// A key that no other is the same as: what is signed with them does not say what it is for.
    fn unlike_others(&mut self, place: Location, from: String, key: Key) -> Option<Key> {
        if let Some((other, _)) = self.keys.iter().find(|(_, other)| *other == key) {
            let problem = format!("is the same as {other}");
            let cure = "make another one with `openssl rand -base64 32`";
            self.faults.name(place, None, problem, cure);
            return None;
        }
        self.keys.push((from, key.clone()));
        Some(key)
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
    /// A new one is drawn until it fits.
    pub(super) fn given_or_made(
        &mut self,
        given: Option<Key>,
        config: Option<&Config>,
        file: &str,
        fits: impl Fn(&Key) -> bool,
    ) -> Option<Key> {
        given.or_else(|| {
            let path = config?.data_folder().join("keys").join(file);
            let made = load_or_make(&path, fits);
            let made = made.map_err(|error| self.faults.push(error)).ok()?;
            self.unlike_others(Location::File(path, None), format!("`{file}`"), made)
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

/// What an editor or a shell has left at an end of a key.
fn stray_end(key: &str) -> Option<&'static str> {
    let at_end = |stray: fn(char) -> bool| key.starts_with(stray) || key.ends_with(stray);
    if at_end(|c| c == '\u{feff}') {
        Some("a byte order mark")
    } else if at_end(|c| c == '\r') {
        Some("a carriage return")
    } else if at_end(char::is_whitespace) {
        Some("white space")
    } else if at_end(|c| matches!(c, '"' | '\'' | '`')) {
        Some("a quote")
    } else {
        None
    }
}
