//! The environment as a value, so that tests need not change the process's own. It holds secrets: it prints only names.

use std::collections::BTreeMap;
use std::fmt;

/// Variables by name. Only those that start with `CODEFERRY_` are kept.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

/// Every name of ours starts with it.
pub(super) const PREFIX: &str = "CODEFERRY_";

impl Environment {
    /// The process's own. A name or value that is not UTF-8 is kept with replacement characters, and refused as such later.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .map(|(name, value)| {
                (
                    name.to_string_lossy().into_owned(),
                    value.to_string_lossy().into_owned(),
                )
            })
            .collect()
    }

    /// A variable's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All of them, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(
            variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
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
