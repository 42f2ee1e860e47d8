//! What is wrong with a configuration: every fault with its place, its key, what is wrong and what would be right.
//! Values are shown only where no secret can have been put by mistake.

use std::fmt;
use std::path::PathBuf;

use crate::lifecycle::Exit;

/// Where a fault is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// A file, with the line if it can be had, from 1.
    File(PathBuf, Option<usize>),
    /// An environment variable.
    Variable(String),
    /// There is no file, and no variable says it either.
    Nowhere,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, Some(line)) => write!(f, "{}:{line}", path.display()),
            Self::File(path, None) => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "environment {name}"),
            Self::Nowhere => f.write_str("no configuration file"),
        }
    }
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it is.
    pub place: Location,
    /// The key, dotted (`intake.lanes[0].pack`), where there is one.
    pub key: Option<String>,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub cure: String,
    /// The code this fault alone would end the process with.
    pub exit: Exit,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if let Some(key) = &self.key {
            write!(f, "`{key}` ")?;
        }
        write!(f, "{}; {}", self.problem, self.cure)
    }
}

/// Every fault at once; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigErrors {
    errors: Vec<ConfigError>,
}

impl ConfigErrors {
    /// The faults: those of the file by line, then those of variables by name.
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }

    /// 2, or 74 where nothing is wrong but a folder that cannot be written.
    pub fn exit(&self) -> Exit {
        if self.errors.iter().all(|e| e.exit == Exit::Store) {
            Exit::Store
        } else {
            Exit::Usage
        }
    }

    pub(super) fn push(&mut self, error: ConfigError) {
        // One fault may be found on two ways, such as by the command's own needs and by the rules.
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    /// Whether a fault was named at this key, above it or below it.
    pub(super) fn touch(&self, key: &str) -> bool {
        let within = |inner: &str, outer: &str| {
            inner
                .strip_prefix(outer)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.errors
            .iter()
            .filter_map(|e| e.key.as_deref())
            .any(|k| within(k, key) || within(key, k))
    }

    /// `Err` with everything that was found, or the value.
    pub(super) fn or<T>(mut self, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => {
                self.errors.sort_by(|a, b| a.place.cmp(&b.place));
                assert!(
                    !self.errors.is_empty(),
                    "a value is missing only where a fault was named"
                );
                Err(self)
            }
        }
    }

    pub(super) fn extend(&mut self, others: Self) {
        for error in others.errors {
            self.push(error);
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errors.as_slice() {
            [one] => one.fmt(f),
            many => {
                write!(f, "the configuration has {} errors", many.len())?;
                many.iter().try_for_each(|e| write!(f, "\n  {e}"))
            }
        }
    }
}

impl std::error::Error for ConfigErrors {}

/// A short text in back-ticks, or only its length: what is long may be a secret in the wrong place.
pub(super) fn shown(text: &str) -> String {
    if text.chars().count() <= 20 && !text.chars().any(char::is_control) {
        format!("`{text}`")
    } else {
        format!("a text of {} characters", text.chars().count())
    }
}
