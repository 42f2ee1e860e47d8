//! Holds the merged tree against the known shape: unknown keys and wrong types are named and taken out, every one of
//! them, so that one bad value hides no other.

use std::collections::BTreeMap;

use super::environment::secret_for_key;
use super::error::{ConfigErrors, nearest};
use super::shape::{Key, Shape, below};
use super::tree::{Data, Node, for_example};

/// Takes out of the tree what does not fit the shape, naming each.
pub(super) struct Walk<'a> {
    pub table: &'a Shape,
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
            (Data::Scalar(toml::Value::String(_)), Shape::Text(_) | Shape::Words(_) | Shape::Id | Shape::Limit(_)) => {
                true
            }
            (Data::Scalar(toml::Value::Integer(_)), Shape::Id | Shape::Number) => true,
            (Data::Scalar(toml::Value::Float(_)), Shape::Number) => true,
            (Data::Scalar(toml::Value::Boolean(_)), Shape::Switch) => true,
            (Data::Scalar(toml::Value::Integer(number)), Shape::Whole(..)) if *number >= 0 => true,
            (data, _) => {
                let found = match data {
                    Data::Table(_) => "a table",
                    Data::List(_) => "a list",
                    Data::Scalar(toml::Value::Integer(_)) if matches!(shape, Shape::Whole(..)) => "a negative number",
                    Data::Scalar(toml::Value::Integer(_)) => "a whole number",
                    Data::Scalar(toml::Value::Float(_)) => "a number with a fraction",
                    Data::Scalar(toml::Value::Boolean(_)) => "a boolean",
                    Data::Scalar(toml::Value::Datetime(_)) => "a date or time",
                    Data::Scalar(_) => "a text",
                };
                let problem = format!("is {found}, not {}", shape.expected());
                let cure = match (data, shape) {
                    (Data::Table(_), Shape::List(_)) => format!("write `[[{path}]]`, in double brackets"),
                    _ => for_example(self.table, path),
                };
                self.faults.name(node.origin.place(), Some(path), problem, cure);
                false
            }
        }
    }

    fn keys(&mut self, keys: &mut BTreeMap<String, Node>, known: &[Key], path: &str) {
        keys.retain(|key, node| {
            let path = below(path, key);
            if let Some(known) = known.iter().find(|known| known.name == key) {
                return self.keep(node, &known.shape, &path);
            }
            let cure = cure_for_unknown(self.table, key, known);
            self.faults
                .name(node.origin.place(), Some(&path), "is not a known key", cure);
            false
        });
    }
}

fn cure_for_unknown(table: &Shape, key: &str, known: &[Key]) -> String {
    if let Some(variable) = secret_for_key(key) {
        return format!("secrets do not belong in the file: set {variable}, or name a file in {variable}_FILE");
    }
    if let Some(meant) = nearest(key, known.iter().map(|k| k.name)) {
        return format!("did you mean `{meant}`?");
    }
    let elsewhere: Vec<_> = table
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
            let known: Vec<_> = known.iter().map(|k| format!("`{}`", k.name)).collect();
            format!("the keys here are {}", known.join(", "))
        }
    }
}
