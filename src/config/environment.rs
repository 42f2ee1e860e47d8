//! The environment as a value, so that tests need not change the process's own, and the names that mean something in it.
//! It holds secrets: it prints only names.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::{fmt, io};

use zeroize::Zeroizing;

use super::error::describe;
use crate::known_fault::SECRET_READABLE;
use crate::lifecycle::{Exit, Failure};

/// Variables by name. Only those that start with `CODEFERRY_` are kept.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    pub(super) variables: BTreeMap<String, String>,
    /// Those of them that a file brought.
    of_file: BTreeSet<String>,
}

/// Every name of ours starts with it.
pub(super) const PREFIX: &str = "CODEFERRY_";

/// A variable that ends with it names a file with the value.
const FILE: &str = "_FILE";

const SECOND: &str = "set it while keys are changed";

/// Every secret's variable, and where to get the secret.
pub(super) const SECRETS: [(&str, &str); 13] = [
    (
        "CODEFERRY_BOT_TOKEN",
        "copy the token from the developer portal, page Bot",
    ),
    (
        "CODEFERRY_CLIENT_SECRET",
        "copy it from the developer portal, page OAuth2",
    ),
    (
        "CODEFERRY_RELAY_KEY",
        "set the same key of at least 32 bytes for the service and its relay",
    ),
    ("CODEFERRY_RELAY_KEY_2", SECOND),
    (
        "CODEFERRY_STATE_KEY",
        "set the same key as the service's, which lies in its `data/keys/state.key` unless it was given",
    ),
    ("CODEFERRY_STATE_KEY_2", SECOND),
    ("CODEFERRY_PKCE_KEY", "set a key of at least 32 bytes"),
    ("CODEFERRY_PKCE_KEY_2", SECOND),
    (
        "CODEFERRY_CALLBACK_SECRET",
        "set `whsec_` and 24 to 64 random bytes in base64",
    ),
    (
        "CODEFERRY_WEBHOOK_TOKENS",
        "set `webhook_id:token`, separated by commas",
    ),
    (
        "CODEFERRY_CONTROL_TOKEN",
        "set a random text of at least 32 bytes, or `control.listen = \"\"`",
    ),
    ("CODEFERRY_METRICS_TOKEN", "set a random text of at least 32 bytes"),
    (
        "CODEFERRY_HOOKDECK_KEY",
        "copy the project's API key from the dashboard, Project Settings, Secrets",
    ),
];

/// Names that are neither keys nor secrets: the configuration file, a test's patience, log directives.
pub(super) const OTHERS: [&str; 3] = ["CODEFERRY_CONFIG", "CODEFERRY_SLOW", "CODEFERRY_LOG"];

impl Environment {
    /// The process's own. A name or value that is not UTF-8 is kept with replacement characters, and refused as such later.
    pub fn of_process() -> Self {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        variables.collect()
    }

    /// Adds what stands in a file of variables, unless the process was given the same secret or key in either form. Paths
    /// start at the file's folder.
    pub(super) fn add_file(&mut self, path: &Path) -> Result<(), Failure> {
        let shown = path.display();
        let failed = |what: String, cure: String| Failure::new(Exit::Usage, what).way_out(cure);
        let text = match std::fs::read_to_string(path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                let what = format!("`{shown}` cannot be read: {}", describe(&error));
                return Err(failed(
                    what,
                    "let the user that runs codeferry own it, or remove it".to_owned(),
                ));
            }
        };
        let mode = path.metadata().map_or(0, |about| about.permissions().mode());
        if mode & 0o077 != 0 {
            let what = format!("other users of this machine can read the secrets in `{shown}`");
            return Err(failed(what, format!("run `chmod 600 {shown}`")).known_as(SECRET_READABLE.id));
        }
        let given: BTreeSet<String> = self.variables.keys().map(|name| stem(name).to_owned()).collect();
        let mut last = None;
        for entry in dotenvy::from_read_iter(text.as_bytes()) {
            // An error would print the line, and with it a secret.
            let Ok((name, mut value)) = entry else {
                let after = last.map_or("the first line".to_owned(), |last| format!("the line after {last}"));
                let cure = "write NAME=value, in single quotes where the value holds spaces, quotes, # or $";
                return Err(failed(format!("`{shown}`: {after} cannot be read"), cure.to_owned()));
            };
            if name.starts_with(PREFIX) && !given.contains(stem(&name)) {
                if name.ends_with(FILE) && !value.is_empty() {
                    let folder = path.parent().unwrap_or(Path::new("."));
                    value = folder.join(value).to_string_lossy().into_owned();
                }
                self.of_file.insert(name.clone());
                self.variables.insert(name.clone(), value);
            }
            last = Some(name);
        }
        Ok(())
    }

    /// Whether a variable came from a file of variables.
    pub fn is_of_file(&self, name: &str) -> bool {
        self.of_file.contains(name)
    }

    /// The variables that name files with secrets, and the files.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self
            .variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        all.filter(|(name, _)| name.ends_with(FILE))
    }

    /// A variable's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }
}

/// A secret's name, in either form.
fn stem(name: &str) -> &str {
    name.strip_suffix(FILE).unwrap_or(name)
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        let ours = variables.filter(|(name, _): &(String, String)| name.starts_with(PREFIX));
        Self {
            variables: ours.collect(),
            of_file: BTreeSet::new(),
        }
    }
}

impl<N: Into<String>, V: Into<String>, const K: usize> From<[(N, V); K]> for Environment {
    fn from(variables: [(N, V); K]) -> Self {
        variables.into_iter().collect()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

/// Whether each secret is given, in the order of their names; for people.
pub fn secrets_given(environment: &Environment) -> Vec<(&'static str, bool)> {
    let filled = |name: &str| environment.get(name).is_some_and(|v| !v.is_empty());
    let given = SECRETS.map(|(name, _)| (name, filled(name) || filled(&format!("{name}_FILE"))));
    given.to_vec()
}

/// Whether a variable holds a secret, or names a file of one.
pub(super) fn is_of_secret(variable: &str) -> bool {
    let secret = variable.strip_suffix("_FILE").unwrap_or(variable);
    SECRETS.iter().any(|(name, _)| *name == secret)
}

/// The variable for a key that stands in the file as a secret.
pub(super) fn secret_for_key(key: &str) -> Option<&'static str> {
    match key {
        "token" => Some("CODEFERRY_BOT_TOKEN"),
        "secret" => Some("CODEFERRY_CLIENT_SECRET"),
        "webhook_token" => Some("CODEFERRY_WEBHOOK_TOKENS"),
        _ => {
            let mut names = SECRETS.iter().map(|(name, _)| *name);
            names.find(|name| name[PREFIX.len()..].eq_ignore_ascii_case(key))
        }
    }
}
