//! The shape of the configuration, taken from the raw types: the JSON schema for editors, and the tree of known keys
//! that files and variables are held against.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::layers::{Data, Node, defaults};
use super::raw::RawConfig;

/// The configuration's JSON schema (draft 2020-12), with the defaults filled in.
pub fn schema() -> Value {
    let mut schema = bare_schema();
    add_defaults(&mut schema, &defaults());
    schema
}

/// What may stand at a key.
#[derive(Debug)]
pub(super) enum Shape {
    /// A text.
    Text,
    /// A number, with a fraction or without.
    Number,
    /// A text or an integer.
    Id,
    /// A whole number from 0.
    Whole,
    /// True or false.
    Switch,
    /// A table of keys.
    Table(BTreeMap<String, Shape>),
    /// A list of one shape.
    List(Box<Shape>),
    /// `"off"` or a table of keys.
    Limit(BTreeMap<String, Shape>),
}

impl Shape {
    /// The whole configuration's shape.
    pub(super) fn root() -> Self {
        Self::read(&bare_schema())
    }

    /// The keys below, for tables and limits.
    pub(super) fn keys(&self) -> Option<&BTreeMap<String, Self>> {
        match self {
            Self::Table(keys) | Self::Limit(keys) => Some(keys),
            _ => None,
        }
    }

    /// What would be right here, in words.
    pub(super) fn expected(&self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::Text => "a text in quotes",
            Self::Id => "an id, as a text or an integer",
            Self::Whole => "a whole number from 0",
            Self::Switch => "true or false",
            Self::Table(_) => "a table of keys",
            Self::List(of) if matches!(**of, Self::Table(_)) => "a list of tables",
            Self::List(_) => "a list of texts",
            Self::Limit(_) => "a table or \"off\"",
        }
    }

    /// Every key's dotted path; elements of lists are shown as `[]`.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect(String::new(), &mut paths);
        paths
    }

    fn collect(&self, path: String, into: &mut Vec<String>) {
        match self {
            Self::Table(keys) | Self::Limit(keys) => {
                for (key, shape) in keys {
                    let dot = if path.is_empty() { "" } else { "." };
                    shape.collect(format!("{path}{dot}{key}"), into);
                }
            }
            Self::List(of) if of.keys().is_some() => of.collect(format!("{path}[]"), into),
            _ => into.push(path),
        }
    }

    fn read(schema: &Value) -> Self {
        let table = |schema: &Value| -> Option<BTreeMap<String, Self>> {
            let properties = schema.get("properties")?.as_object()?;
            Some(properties.iter().map(|(k, v)| (k.clone(), Self::read(v))).collect())
        };
        if let Some(keys) = table(schema) {
            return Self::Table(keys);
        }
        if let Some(keys) = schema.pointer("/oneOf/1").and_then(table) {
            return Self::Limit(keys);
        }
        if let Some(items) = schema.get("items") {
            return Self::List(Box::new(Self::read(items)));
        }
        match schema.get("type") {
            Some(Value::Array(_)) => Self::Id,
            Some(Value::String(kind)) if kind == "integer" => Self::Whole,
            Some(Value::String(kind)) if kind == "number" => Self::Number,
            Some(Value::String(kind)) if kind == "boolean" => Self::Switch,
            _ => Self::Text,
        }
    }
}

/// The schema as the raw types give it, without references and without `null`, which TOML does not know.
fn bare_schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<RawConfig>().to_value();
    without_null(&mut schema);
    schema
}

fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.remove("default");
            if let Some(Value::Array(kinds)) = map.get_mut("type") {
                kinds.retain(|k| k != "null");
                if let [only] = kinds.as_slice() {
                    let only = only.clone();
                    map.insert("type".into(), only);
                }
            }
            if let Some(Value::Array(choices)) = map.remove("anyOf") {
                let choices: Vec<_> = choices
                    .into_iter()
                    .filter(|c| c.get("type").is_none_or(|t| t != "null"))
                    .collect();
                match <[Value; 1]>::try_from(choices) {
                    Ok([Value::Object(only)]) => map.extend(only.into_iter().filter(|(k, _)| k != "description")),
                    Ok([other]) => drop(map.insert("anyOf".into(), json!([other]))),
                    Err(choices) => drop(map.insert("anyOf".into(), Value::Array(choices))),
                }
            }
            map.values_mut().for_each(without_null);
        }
        Value::Array(list) => list.iter_mut().for_each(without_null),
        _ => {}
    }
}

fn add_defaults(schema: &mut Value, node: &Node) {
    let Data::Table(keys) = &node.data else {
        return;
    };
    for (key, child) in keys {
        let Some(below) = schema.pointer_mut(&format!("/properties/{key}")) else {
            continue;
        };
        if below.get("properties").is_some() {
            add_defaults(below, child);
        } else if let (Some(map), Ok(value)) = (below.as_object_mut(), serde_json::to_value(child.to_value())) {
            map.insert("default".into(), value);
        }
    }
}

/// The known word nearest to one that is not known, if near enough to have been meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Of two letters, one changed is another word: `v3` is not a slip for `v0`.
    let most = if word.len() < 3 { 0 } else { (word.len() / 3).min(3) };
    known
        .into_iter()
        .map(|k| (distance(word, k), k))
        .filter(|(d, _)| *d <= most)
        .min()
        .map(|(_, k)| k)
}

/// Edits between two texts: insert, remove, replace, or swap two neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let mut best = (rows[i - 1][j] + 1)
                .min(rows[i][j - 1] + 1)
                .min(rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_knows_no_null_and_carries_the_defaults() {
        let schema = schema();
        assert!(!schema.to_string().contains("null"), "{schema:#}");
        assert_eq!(
            schema["properties"]["limits"]["properties"]["invalid_requests"]["default"],
            5000
        );
        assert_eq!(
            schema["properties"]["limits"]["properties"]["oauth"]["oneOf"][0]["const"],
            "off"
        );
        assert_eq!(
            schema["properties"]["intake"]["properties"]["lanes"]["items"]["additionalProperties"],
            false
        );
    }

    #[test]
    fn a_slip_of_the_finger_finds_its_word_and_another_word_does_not() {
        let known = ["per_minute", "burst", "slots"];
        assert_eq!(nearest("per_mintue", known), Some("per_minute"));
        assert_eq!(nearest("slot", known), Some("slots"));
        assert_eq!(nearest("timeout", known), None);
        assert_eq!(nearest("", known), None);
    }
}
