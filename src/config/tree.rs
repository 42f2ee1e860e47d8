//! The tree of values that the layers are laid into. Every value remembers where it came from, so that each fault and each
//! shown value names its place.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigErrors, Location};
use super::shape::{Key, Shape, below};

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

    /// Where a fault is. The root table is on no line, and a default is never wrong by itself.
    pub(super) fn place(&self) -> Location {
        match self {
            Self::Default => Location::Nowhere,
            Self::File(path, line) => Location::File(path.to_path_buf(), (*line > 0).then_some(*line)),
            Self::Environment(name) => Location::Variable(name.clone()),
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
        match (&mut self.data, over.data) {
            (Data::Table(keys), Data::Table(new)) => {
                for (key, node) in new {
                    match keys.get_mut(&key) {
                        Some(old) => old.lay(node),
                        None => drop(keys.insert(key, node)),
                    }
                }
            }
            (data, new) => *data = new,
        }
        self.origin = over.origin;
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

    /// The node at a dotted path.
    pub(super) fn get(&self, path: &str) -> Option<&Self> {
        let parts = path.split(['.', '[']).map(|part| part.trim_end_matches(']'));
        parts
            .filter(|part| !part.is_empty())
            .try_fold(self, |node, part| match &node.data {
                Data::Table(keys) => keys.get(part),
                Data::List(items) => items.get(part.parse::<usize>().ok()?),
                Data::Scalar(_) => None,
            })
    }

    /// The node at a dotted path, or the nearest one above it.
    pub(super) fn nearest(&self, path: &str) -> &Self {
        let above = || path.rfind(['.', '[']).map_or(self, |end| self.nearest(&path[..end]));
        self.get(path).unwrap_or_else(above)
    }

    /// The elements of a list; anything else has none.
    pub(super) fn items(&self) -> &[Self] {
        match &self.data {
            Data::List(items) => items,
            _ => &[],
        }
    }

    /// A text, or an id that was written as an integer.
    pub(super) fn text(&self) -> Option<String> {
        match &self.data {
            Data::Scalar(toml::Value::String(text)) => Some(text.clone()),
            Data::Scalar(toml::Value::Integer(number)) => Some(number.to_string()),
            _ => None,
        }
    }

    /// Gives every table in a list the defaults of its keys.
    pub(super) fn fill(&mut self, shape: &Shape) {
        match (&mut self.data, shape) {
            (Data::Table(below), Shape::Table(keys)) => {
                for key in keys {
                    if let Some(node) = below.get_mut(key.name) {
                        node.fill(&key.shape);
                    }
                }
            }
            (Data::List(items), Shape::List(of)) => {
                if let Shape::Table(keys) = &**of {
                    for item in items {
                        let given = std::mem::replace(item, Self::defaults(keys));
                        item.lay(given);
                    }
                }
            }
            _ => {}
        }
    }

    /// The defaults of a table's keys.
    pub(super) fn defaults(keys: &[Key]) -> Self {
        Self::of_keys(keys, |key| key.default)
    }

    /// A table of what each key has in TOML. What it has for a table goes over what that table's own keys have.
    fn of_keys(keys: &[Key], toml: fn(&Key) -> Option<&'static str>) -> Self {
        let mut node = Self::table(Origin::Default);
        for key in keys {
            let own = toml(key).map(Self::of_toml);
            let value = match &key.shape {
                Shape::Table(keys) => {
                    let mut below = Self::of_keys(keys, toml);
                    if let Some(own) = own {
                        below.lay(own);
                    }
                    Some(below)
                }
                _ => own,
            };
            if let (Data::Table(table), Some(value)) = (&mut node.data, value) {
                table.insert(key.name.to_owned(), value);
            }
        }
        node
    }

    /// The first that an example has at a path without numbers.
    fn find(&self, parts: &[&str]) -> Option<&Self> {
        match (&self.data, parts) {
            (_, []) => Some(self),
            (Data::List(items), _) => items.iter().find_map(|item| item.find(parts)),
            (Data::Table(keys), [key, rest @ ..]) => keys.get(*key)?.find(rest),
            (Data::Scalar(_), _) => None,
        }
    }

    /// A value that is compiled in.
    pub(super) fn of_toml(text: &str) -> Self {
        let value = DeValue::parse(text).expect("what is compiled in is TOML: a test reads every key");
        from_value(&value, Origin::Default, &|_| Origin::Default)
    }

    /// Every value in force, by its dotted path.
    pub(super) fn leaves(&self, path: String, into: &mut Vec<Effective>) {
        match &self.data {
            Data::Table(keys) => {
                for (key, node) in keys {
                    node.leaves(below(&path, key), into);
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

/// A right value for a key, as a cure: "write for example `cache_mb = 16`".
pub(super) fn for_example(table: &Shape, path: &str) -> String {
    let examples = Node::of_keys(table.keys().unwrap_or_default(), |key| key.default.or(key.example));
    let parts: Vec<_> = path
        .split('.')
        .map(|part| part.split('[').next().unwrap_or(part))
        .collect();
    match (examples.find(&parts), parts.last()) {
        (Some(value), Some(key)) => format!("write for example `{key} = {}`", value.to_value()),
        _ => "`codeferry config defaults` explains every key".into(),
    }
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
            let problem = format!("this is not TOML: {}", explain(&error, at_fault));
            let place = Location::File(path.to_owned(), line);
            faults.name(place, None, problem, "write `key = value`, with texts in quotes");
        }
    }
    Err(faults)
}

/// What the parser stumbled over. Of a word without quotes it says what number it took it for; that helps nobody.
pub(super) fn explain(error: &toml::de::Error, value: &str) -> String {
    if value.trim_start().starts_with(char::is_alphabetic) {
        return "a text without quotes".into();
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
