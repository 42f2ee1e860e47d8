//! What is wrong with a configuration: every fault with its place, its key, what is wrong and what would be right.
//! Values are shown only where no secret can have been put by mistake.

use std::fmt;
use std::path::PathBuf;

use crate::lifecycle::Exit;

/// Where a value or a fault is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// A file, with the line if it can be had, from 1.
    File(PathBuf, Option<usize>),
    /// An environment variable.
    Variable(String),
    /// Neither: a default, or nothing at all.
    Nowhere,
}

impl Location {
    /// The layer's name: `default`, `file` or `environment`.
    pub const fn layer(&self) -> &'static str {
        match self {
            Self::File(..) => "file",
            Self::Variable(_) => "environment",
            Self::Nowhere => "default",
        }
    }
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

    /// Names a fault that the operator corrects.
    pub(super) fn name(
        &mut self,
        place: Location,
        key: Option<&str>,
        problem: impl Into<String>,
        cure: impl Into<String>,
    ) {
        self.push(ConfigError {
            place,
            key: key.map(str::to_owned),
            problem: problem.into(),
            cure: cure.into(),
            exit: Exit::Usage,
        });
    }

    pub(super) fn push(&mut self, error: ConfigError) {
        // One fault may be found on two ways, such as by the command's own needs and by the rules.
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    /// Whether a fault was named at this key, above it or below it.
    pub(super) fn touch(&self, key: &str) -> bool {
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

    /// Adds to the cure of the last fault, which is this key's.
    pub(super) fn also_cured_by(&mut self, key: &str, words: &str) {
        if let Some(last) = self.errors.last_mut().filter(|e| e.key.as_deref() == Some(key)) {
            last.cure.push_str(words);
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

/// Whether a dotted path is another one, or lies below it.
pub(super) fn within(inner: &str, outer: &str) -> bool {
    let rest = inner.strip_prefix(outer);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// A short text in back-ticks, or only its length: what is long may be a secret in the wrong place.
pub(super) fn shown(text: &str) -> String {
    if text.chars().count() <= 20 && !text.chars().any(char::is_control) {
        format!("`{text}`")
    } else {
        format!("a text of {} characters", text.chars().count())
    }
}

/// The known word nearest to one that is not known, if near enough to have been meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Of two letters, one changed is another word: `v3` is not a slip for `v0`.
    let most = if word.len() < 3 { 0 } else { (word.len() / 3).min(3) };
    let near = known.into_iter().map(|k| (strsim::osa_distance(word, k), k));
    near.filter(|(distance, _)| *distance <= most).min().map(|(_, k)| k)
}

/// An I/O error as a person says it, without the number.
pub(super) fn describe(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    text[..1].to_lowercase() + &text[1..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_word_and_another_word_does_not() {
        let known = ["per_minute", "burst", "slots"];
        assert_eq!(nearest("per_mintue", known), Some("per_minute"));
        assert_eq!(nearest("slot", known), Some("slots"));
        assert_eq!(nearest("timeout", known), None);
        assert_eq!(nearest("", known), None);
    }
}
