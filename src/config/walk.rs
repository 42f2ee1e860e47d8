//! Holds the merged tree against the known shape: unknown keys and wrong types are named and taken out, every one of
//! them, so that one bad value hides no other.

use std::collections::BTreeMap;

use super::error::{ConfigError, ConfigErrors, Location};
use super::layers::{DEFAULTS, Data, Node, Origin, parse_file};
use super::schema::{Shape, nearest};
use super::secrets::secret_for_key;
use crate::lifecycle::Exit;

/// Where a value's origin is, for an error. A default is never wrong by itself, so it counts as no place of its own.
pub(super) fn place(origin: &Origin) -> Option<Location> {
    match origin {
        Origin::Default => None,
        // The root table is on no line.
        Origin::File(path, line) => Some(Location::File(path.to_path_buf(), (*line > 0).then_some(*line))),
        Origin::Environment(name) => Some(Location::Variable(name.clone())),
    }
}

/// Takes out of the tree what does not fit the shape, naming each.
pub(super) struct Walk<'a> {
    pub root: &'a Shape,
    pub faults: &'a mut ConfigErrors,
}

impl Walk<'_> {
    /// Walks one node; false if it has to be taken out.
    pub(super) fn keep(&mut self, node: &mut Node, shape: &Shape, path: &str) -> bool {
        match (&mut node.data, shape) {
            (Data::Table(keys), Shape::Table(known) | Shape::Limit(known)) => {
                self.keys(keys, known, path);
                true
            }
            (Data::List(items), Shape::List(of)) => {
                let mut fits = true;
                // An element that does not fit makes the list void: taking it out would renumber the others.
                for (i, item) in items.iter_mut().enumerate() {
                    fits &= self.keep(item, of, &format!("{path}[{i}]"));
                }
                fits
            }
            (Data::Scalar(toml::Value::String(_)), Shape::Text | Shape::Id | Shape::Limit(_)) => true,
            (Data::Scalar(toml::Value::Integer(_)), Shape::Id | Shape::Number) => true,
            (Data::Scalar(toml::Value::Float(_)), Shape::Number) => true,
            (Data::Scalar(toml::Value::Boolean(_)), Shape::Switch) => true,
            (Data::Scalar(toml::Value::Integer(number)), Shape::Whole) if *number >= 0 => true,
            (data, _) => {
                let found = match data {
                    Data::Table(_) => "a table",
                    Data::List(_) => "a list",
                    Data::Scalar(toml::Value::Integer(_)) if matches!(shape, Shape::Whole) => "a negative number",
                    Data::Scalar(toml::Value::Integer(_)) => "a whole number",
                    Data::Scalar(toml::Value::Float(_)) => "a number with a fraction",
                    Data::Scalar(toml::Value::Boolean(_)) => "true or false",
                    Data::Scalar(toml::Value::Datetime(_)) => "a date or time",
                    Data::Scalar(_) => "a text",
                };
                let problem = format!("is {found}, not {}", shape.expected());
                let cure = match (data, shape) {
                    (Data::Table(_), Shape::List(_)) => format!("write `[[{path}]]`, in double brackets"),
                    _ => for_example(path),
                };
                self.fault(&node.origin, path, problem, cure);
                false
            }
        }
    }

    fn keys(&mut self, keys: &mut BTreeMap<String, Node>, known: &BTreeMap<String, Shape>, path: &str) {
        keys.retain(|key, node| {
            let below = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            if let Some(shape) = known.get(key) {
                return self.keep(node, shape, &below);
            }
            let cure = self.cure_for_unknown(key, known);
            self.fault(&node.origin, &below, "is not a known key".into(), cure);
            false
        });
    }

    fn cure_for_unknown(&self, key: &str, known: &BTreeMap<String, Shape>) -> String {
        if let Some(variable) = secret_for_key(key) {
            return format!("secrets never stand in the file: set {variable}, or name a file in {variable}_FILE");
        }
        if let Some(meant) = nearest(key, known.keys().map(String::as_str)) {
            return format!("did you mean `{meant}`?");
        }
        let elsewhere: Vec<_> = self
            .root
            .paths()
            .into_iter()
            .filter_map(|p| p.rsplit_once('.').filter(|(_, k)| *k == key).map(|(s, _)| s.to_owned()))
            .collect();
        let named = |section: &String| match section.strip_suffix("[]") {
            Some(list) => format!("`[[{list}]]`"),
            None => format!("`[{section}]`"),
        };
        match elsewhere.as_slice() {
            [section] => format!("it belongs to {}", named(section)),
            [one, other] => format!("it belongs to {} or {}", named(one), named(other)),
            _ => {
                let known: Vec<_> = known.keys().map(|k| format!("`{k}`")).collect();
                format!("known here are {}", known.join(", "))
            }
        }
    }

    fn fault(&mut self, origin: &Origin, path: &str, problem: String, cure: String) {
        self.faults.push(ConfigError {
            place: place(origin).unwrap_or(Location::Nowhere),
            key: Some(path.to_owned()),
            problem,
            cure,
            exit: Exit::Usage,
        });
    }
}

/// A right value for a key, from the commented defaults: "write for example `cache_mb = 16`".
pub(super) fn for_example(path: &str) -> String {
    let full = full_example();
    let parts: Vec<_> = path.split('.').map(|p| p.split('[').next().unwrap_or(p)).collect();
    match (find(&full, &parts), parts.last()) {
        (Some(value), Some(key)) => format!("write for example `{key} = {}`", inline(&value)),
        _ => "`config/default.toml` explains every key".into(),
    }
}

/// The defaults with the keys that have none: each such line starts with `#` and no space.
pub(super) fn full_example() -> Node {
    let text: Vec<_> = DEFAULTS
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if !key.is_empty() && !key.starts_with(' ') => key,
            _ => line,
        })
        .collect();
    parse_file(&text.join("\n"), "config/default.toml".as_ref()).expect("a test reads the defaults with every key")
}

fn find(node: &Node, parts: &[&str]) -> Option<Node> {
    match (&node.data, parts) {
        (Data::List(items), [_, ..]) => items.iter().find_map(|item| find(item, parts)),
        (_, []) => Some(node.clone()),
        (Data::Table(keys), [key, rest @ ..]) => find(keys.get(*key)?, rest),
        (Data::Scalar(_), _) => None,
    }
}

/// A value on one line, as it would stand in the file.
pub(super) fn inline(node: &Node) -> String {
    match &node.data {
        Data::Table(keys) => {
            let keys: Vec<_> = keys
                .iter()
                .map(|(key, node)| format!("{key} = {}", inline(node)))
                .collect();
            format!("{{ {} }}", keys.join(", "))
        }
        Data::List(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Data::Scalar(value) => value.to_string(),
    }
}
