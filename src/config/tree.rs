//! The tree of values, and where each of them came from, so that each fault and each shown value names its place.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::error::Location;
use super::shape::{Key, Shape, below};

/// Where each value came from, by its dotted path. A default is not in it.
pub(super) type Places = BTreeMap<String, Location>;

/// A value in force and where it came from.
#[derive(Debug, Clone)]
pub struct Effective {
    /// Its key, dotted.
    pub key: String,
    /// The value.
    pub value: Value,
    /// Where it came from; nowhere for a default.
    pub place: Location,
}

/// The value at a dotted path.
pub(super) fn get<'v>(root: &'v Value, path: &str) -> Option<&'v Value> {
    let parts = path.split(['.', '[']).map(|part| part.trim_end_matches(']'));
    parts
        .filter(|part| !part.is_empty())
        .try_fold(root, |value, part| match value {
            Value::Array(items) => items.get(part.parse::<usize>().ok()?),
            _ => value.get(part),
        })
}

/// The elements of a list; anything else has none.
pub(super) fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A text, or an id that was written as an integer.
pub(super) fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A value that is compiled in.
pub(super) fn of_toml(text: &str) -> Value {
    text.parse()
        .expect("what is compiled in is TOML: a test reads every key")
}

/// What stands at a place before any layer says something. For texts and the like it is a table, which is replaced.
pub(super) fn defaults(shape: &Shape) -> Value {
    match shape {
        Shape::Table(keys) => of_keys(keys, |key| key.default),
        Shape::List(_) => Value::Array(Vec::new()),
        _ => Value::Table(Table::new()),
    }
}

/// A table of what each key has in TOML. What it has for a table goes over what that table's own keys have.
fn of_keys(keys: &[Key], toml: fn(&Key) -> Option<&'static str>) -> Value {
    let mut table = Table::new();
    for key in keys {
        let mut value = toml(key).map(of_toml);
        if let Shape::Table(keys) = &key.shape {
            let mut below = of_keys(keys, toml);
            if let (Value::Table(below), Some(Value::Table(own))) = (&mut below, value) {
                below.extend(own);
            }
            value = Some(below);
        }
        table.extend(value.map(|value| (key.name.to_owned(), value)));
    }
    Value::Table(table)
}

/// A right value for a key, as a cure: "write for example `cache_mb = 2`".
pub(super) fn for_example(table: &Shape, path: &str) -> String {
    let examples = of_keys(table.keys().unwrap_or_default(), |key| key.default.or(key.example));
    let parts: Vec<_> = path
        .split('.')
        .map(|part| part.split('[').next().unwrap_or(part))
        .collect();
    match (find(&examples, &parts), parts.last()) {
        (Some(value), Some(key)) => format!("write for example `{key} = {value}`"),
        _ => "`codeferry config defaults` explains every key".into(),
    }
}

/// The first that an example has at a path without numbers.
fn find<'v>(example: &'v Value, parts: &[&str]) -> Option<&'v Value> {
    match (example, parts) {
        (_, []) => Some(example),
        (Value::Array(items), _) => items.iter().find_map(|item| find(item, parts)),
        (_, [key, rest @ ..]) => find(example.get(*key)?, rest),
    }
}

/// Every value in force, by its dotted path.
pub(super) fn leaves(value: &Value, path: String, places: &Places, into: &mut Vec<Effective>) {
    match value {
        Value::Table(keys) => {
            for (key, value) in keys {
                leaves(value, below(&path, key), places, into);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_table) => {
            for (i, value) in items.iter().enumerate() {
                leaves(value, format!("{path}[{i}]"), places, into);
            }
        }
        _ => into.push(Effective {
            value: value.clone(),
            place: places.get(&path).cloned().unwrap_or(Location::Nowhere),
            key: path,
        }),
    }
}
