//! The environment as a value, so that tests need not change the process's own, and the names that mean something in it.
//! It holds secrets: it prints only names.

use std::collections::BTreeMap;
use std::fmt;

/// Variables by name. Only those that start with `CODEFERRY_` are kept.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(pub(super) BTreeMap<String, String>);

/// Every name of ours starts with it.
pub(super) const PREFIX: &str = "CODEFERRY_";

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

    /// The variables that name files with secrets, and the files.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        all.filter(|(name, _)| name.ends_with("_FILE"))
    }

    /// A variable's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self(
            variables
                .filter(|(name, _): &(String, String)| name.starts_with(PREFIX))
                .collect(),
        )
    }
}

impl<N: Into<String>, V: Into<String>, const K: usize> From<[(N, V); K]> for Environment {
    fn from(variables: [(N, V); K]) -> Self {
        variables.into_iter().collect()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
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
