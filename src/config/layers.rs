//! The layers of the configuration laid over one another: defaults, file, environment. Every value remembers where it
//! came from, so that each fault and each shown value names its place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, ConfigErrors, Location};
use crate::lifecycle::Exit;

/// The compiled-in defaults.
pub(super) const DEFAULTS: &str = include_str!("../../config/default.toml");

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The compiled-in defaults.
    Default,
    /// The file, at this line, from 1; its root table is at 0.
    File(Arc<Path>, usize),
    /// An environment variable.
    Environment(String),
}

impl Origin {
    /// The layer's name: `default`, `file` or `environment`.
    pub const fn layer(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File(..) => "file",
            Self::Environment(_) => "environment",
        }
    }
}

/// A value in force and where it came from.
#[derive(Debug, Clone)]
pub struct Effective {
    /// Its key, dotted.
    pub key: String,
    /// The value.
    pub value: toml::Value,
    /// Where it came from.
    pub origin: Origin,
}

/// The merged layers, not yet checked.
#[derive(Debug)]
pub struct Layers {
    pub(super) root: Node,
    /// The file that was read.
    pub(super) file: Option<PathBuf>,
    /// Where relative paths start.
    pub(super) base: PathBuf,
    /// What was wrong with reading alone: unknown keys, wrong types, unknown variables.
    pub(super) faults: ConfigErrors,
    /// A part could not be read at all, so that what is missing cannot be told.
    pub(super) torn: bool,
}

impl Layers {
    /// Every value in force, by key. Empty lists and absent keys are left out.
    pub fn effective(&self) -> Vec<Effective> {
        let mut values = Vec::new();
        self.root.leaves(String::new(), &mut values);
        values
    }
}

/// One value of the tree.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub origin: Origin,
    pub data: Data,
}

#[derive(Debug, Clone)]
pub(super) enum Data {
    Table(BTreeMap<String, Node>),
    List(Vec<Node>),
    Scalar(toml::Value),
}

impl Node {
    /// An empty table.
    pub(super) fn table(origin: Origin) -> Self {
        Self {
            origin,
            data: Data::Table(BTreeMap::new()),
        }
    }

    /// Lays another node over this one: tables merge, anything else is replaced.
    pub(super) fn lay(&mut self, over: Self) {
        match (&mut self.data, over) {
            (
                Data::Table(keys),
                Self {
                    data: Data::Table(new),
                    origin,
                },
            ) => {
                for (key, node) in new {
                    match keys.get_mut(&key) {
                        Some(old) => old.lay(node),
                        None => drop(keys.insert(key, node)),
                    }
                }
                self.origin = origin;
            }
            (_, over) => *self = over,
        }
    }

    /// The value without its origins.
    pub(super) fn to_value(&self) -> toml::Value {
        match &self.data {
            Data::Table(keys) => {
                toml::Value::Table(keys.iter().map(|(key, node)| (key.clone(), node.to_value())).collect())
            }
            Data::List(items) => toml::Value::Array(items.iter().map(Self::to_value).collect()),
            Data::Scalar(value) => value.clone(),
        }
    }

    /// The node at a dotted path, or the nearest one above it.
    pub(super) fn nearest(&self, path: &str) -> &Self {
        let mut node = self;
        for part in path.split(['.', '[']).map(|p| p.trim_end_matches(']')) {
            let below = match &node.data {
                Data::Table(keys) => keys.get(part),
                Data::List(items) => part.parse().ok().and_then(|i: usize| items.get(i)),
                Data::Scalar(_) => None,
            };
            match below {
                Some(below) => node = below,
                None => return node,
            }
        }
        node
    }

    fn leaves(&self, path: String, into: &mut Vec<Effective>) {
        match &self.data {
            Data::Table(keys) => {
                for (key, node) in keys {
                    let dot = if path.is_empty() { "" } else { "." };
                    node.leaves(format!("{path}{dot}{key}"), into);
                }
            }
            Data::List(items) if items.iter().any(|i| matches!(i.data, Data::Table(_))) => {
                for (i, node) in items.iter().enumerate() {
                    node.leaves(format!("{path}[{i}]"), into);
                }
            }
            _ => into.push(Effective {
                key: path,
                value: self.to_value(),
                origin: self.origin.clone(),
            }),
        }
    }
}

/// The compiled-in defaults as a tree.
pub(super) fn defaults() -> Node {
    let table = DeTable::parse(DEFAULTS).expect("the compiled-in defaults are TOML: a test reads them");
    from_table(table.get_ref(), &Origin::Default, &|_| Origin::Default)
}

/// A file's text as a tree. Every syntax error is named; then there is no tree.
pub(super) fn parse_file(text: &str, path: &Path) -> Result<Node, ConfigErrors> {
    let line_of = |offset: usize| text.as_bytes()[..offset.min(text.len())].split(|b| *b == b'\n').count();
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let path: Arc<Path> = path.into();
        let at = |offset: usize| Origin::File(Arc::clone(&path), line_of(offset));
        return Ok(from_table(table.get_ref(), &Origin::File(Arc::clone(&path), 0), &at));
    }
    let mut faults = ConfigErrors::default();
    let mut lines = Vec::new();
    for error in errors {
        let line = error.span().map(|s| line_of(s.start));
        // One slip makes the parser stumble several times on its line.
        if !lines.contains(&line) {
            lines.push(line);
            let at_fault = line.and_then(|n| text.lines().nth(n - 1)).unwrap_or_default();
            let at_fault = at_fault.split_once('=').map_or(at_fault, |(_, value)| value);
            faults.push(ConfigError {
                place: Location::File(path.to_owned(), line),
                key: None,
                problem: format!("this is not TOML: {}", explain(&error, at_fault)),
                cure: "write `key = value`, with texts in quotes".into(),
                exit: Exit::Usage,
            });
        }
    }
    Err(faults)
}

/// What the parser stumbled over. Of a word without quotes it says what number it took it for; that helps nobody.
pub(super) fn explain(error: &toml::de::Error, value: &str) -> String {
    if value.trim_start().starts_with(char::is_alphabetic) {
        return "a text stands without quotes".into();
    }
    error.message().lines().next().unwrap_or("it cannot be read").to_owned()
}

fn from_table(table: &DeTable<'_>, origin: &Origin, at: &dyn Fn(usize) -> Origin) -> Node {
    let keys = table.iter().map(|(key, value)| {
        let origin = at(key.span().start);
        (key.get_ref().to_string(), from_value(value, origin, at))
    });
    Node {
        origin: origin.clone(),
        data: Data::Table(keys.collect()),
    }
}

/// One value as a tree, every part of it from `origin` or from what `at` says of its offset.
pub(super) fn from_value(value: &Spanned<DeValue<'_>>, origin: Origin, at: &dyn Fn(usize) -> Origin) -> Node {
    let data = match value.get_ref() {
        DeValue::Table(table) => return from_table(table, &origin, at),
        DeValue::Array(items) => Data::List(
            items
                .iter()
                .map(|item| from_value(item, at(item.span().start), at))
                .collect(),
        ),
        DeValue::String(text) => Data::Scalar(toml::Value::String(text.to_string())),
        DeValue::Boolean(flag) => Data::Scalar(toml::Value::Boolean(*flag)),
        DeValue::Datetime(time) => Data::Scalar(toml::Value::Datetime(*time)),
        // A number beyond 64 bits stays text and is refused as a wrong type; an id of 20 digits is then still readable.
        DeValue::Integer(number) => Data::Scalar(i64::from_str_radix(number.as_str(), number.radix()).map_or_else(
            |_| toml::Value::String(number.as_str().to_owned()),
            toml::Value::Integer,
        )),
        DeValue::Float(number) => Data::Scalar(
            number
                .as_str()
                .parse()
                .map_or_else(|_| toml::Value::String(number.as_str().to_owned()), toml::Value::Float),
        ),
    };
    Node { origin, data }
}
