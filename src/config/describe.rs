//! What the table of keys says to people and editors: the JSON schema, the commented defaults, an example for each key.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use toml::Value as Toml;

use super::environment::SECRETS;
use super::rules::quoted;
use super::shape::{Key, Shape, below};
use super::table::ROOT;
use super::tree;

/// What stands at the head of the commented defaults.
const HEAD: &str = "\
# codeferry's defaults, as `codeferry config defaults` prints them. Every key is here with its meaning.
# Lines that start with \"#\" and no space are keys without a default; all others are the values in force unless your
# file or the environment says otherwise. Any key can be set as CODEFERRY_SECTION__KEY (a TOML value, or bare text),
# for example CODEFERRY_LIMITS__OAUTH='{ per_second = 5, burst = 5 }' or CODEFERRY_DELIVERY__0__PATH=results.jsonl.
# Durations are texts such as \"250ms\", \"10s\", \"5m\", \"24h\" or \"7d\". Ids are texts or integers of 17 to 20 digits.
# Relative paths start at the folder of the configuration file (without a file: the working directory).
";

/// The configuration's JSON schema (draft 2020-12), with the defaults filled in.
pub fn schema() -> Value {
    let mut schema = of_shape(&ROOT, Some(&tree::defaults(&ROOT)));
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "codeferry".into();
    schema
}

fn of_shape(shape: &Shape, default: Option<&Toml>) -> Value {
    match shape {
        Shape::Text(_) => json!({ "type": "string" }),
        Shape::Words(words) => json!({ "type": "string", "enum": words }),
        Shape::Id => json!({ "type": ["string", "integer"], "pattern": "^[0-9]{17,20}$" }),
        Shape::Whole(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Shape::Number => json!({ "type": "number" }),
        Shape::Switch => json!({ "type": "boolean" }),
        Shape::List(of) => json!({ "type": "array", "items": of_shape(of, None) }),
        Shape::Limit(keys) => json!({ "oneOf": [{ "const": "off" }, of_keys(keys, None)] }),
        Shape::Table(keys) => of_keys(keys, default),
    }
}

fn of_keys(keys: &[Key], defaults: Option<&Toml>) -> Value {
    let properties = keys.iter().map(|key| {
        let default = match defaults {
            Some(defaults) => defaults.get(key.name).cloned(),
            None => key.default.map(tree::of_toml),
        };
        let mut schema = of_shape(&key.shape, default.as_ref());
        schema["description"] = help(key, default.is_some()).into();
        if let (Some(default), false) = (default, matches!(key.shape, Shape::Table(_))) {
            schema["default"] = serde_json::to_value(default).unwrap_or_default();
        }
        (key.name.to_owned(), schema)
    });
    let properties: Map<_, _> = properties.collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

/// A key's documentation with its bounds.
fn help(key: &Key, has_default: bool) -> String {
    let bounds = bounds(&key.shape);
    let mut help = key.help.clone();
    if !bounds.is_empty() {
        help = format!("{help} {bounds}.");
    }
    if key.required && !has_default {
        help.push_str(" Required.");
    }
    help
}

fn bounds(shape: &Shape) -> String {
    match shape {
        Shape::Text(bounds) => bounds.clone(),
        Shape::Words(words) => format!("One of {}", quoted(words)),
        Shape::Whole(least, most) => format!("{least} to {most}"),
        Shape::List(of) if matches!(**of, Shape::Words(_)) => bounds(of).replace("One of", "Any of"),
        Shape::List(of) => bounds(of),
        _ => String::new(),
    }
}

/// `config/default.toml`: every key with its documentation and its default, or an example behind `#`.
pub fn default_file() -> String {
    let mut text = HEAD.to_owned();
    let secrets = SECRETS.map(|(name, _)| name).join(", ");
    write_comment(
        &mut text,
        &format!("Secrets never stand here but in the environment: {secrets}, or each with _FILE."),
    );
    write_table(&mut text, "", ROOT.keys().unwrap_or_default(), &tree::defaults(&ROOT));
    text
}

fn write_table(text: &mut String, path: &str, keys: &[Key], defaults: &Toml) {
    let is_table = |shape: &Shape| match shape {
        Shape::Table(_) => true,
        Shape::List(of) => of.keys().is_some(),
        _ => false,
    };
    for key in keys.iter().filter(|key| !is_table(&key.shape)) {
        let default = key
            .default
            .map(str::to_owned)
            .or_else(|| defaults.get(key.name).map(ToString::to_string));
        write_comment(text, &help(key, default.is_some()));
        let (sign, value) = match default {
            Some(value) => ("", value),
            None => ("#", key.example.unwrap_or_default().to_owned()),
        };
        let _ = writeln!(text, "{sign}{} = {value}", key.name);
    }
    for key in keys.iter().filter(|key| is_table(&key.shape)) {
        let path = below(path, key.name);
        text.push('\n');
        write_comment(text, &key.help);
        match &key.shape {
            Shape::List(of) => write_examples(text, &path, of.keys().unwrap_or_default(), key.example),
            shape => {
                let keys = shape.keys().unwrap_or_default();
                if keys.iter().any(|key| !is_table(&key.shape)) {
                    let _ = writeln!(text, "[{path}]");
                }
                write_table(text, &path, keys, defaults.get(key.name).unwrap_or(defaults));
            }
        }
    }
}

/// One block for each example, each key explained where it comes first.
fn write_examples(text: &mut String, path: &str, keys: &[Key], example: Option<&str>) {
    let mut explained = Vec::new();
    for block in tree::items(Some(&tree::of_toml(example.unwrap_or("[]")))) {
        let _ = writeln!(text, "#[[{path}]]");
        for (key, value) in keys.iter().filter_map(|key| Some((key, block.get(key.name)?))) {
            if !explained.contains(&key.name) {
                explained.push(key.name);
                write_comment(text, &help(key, key.default.is_some()));
            }
            let _ = writeln!(text, "#{} = {}", key.name, value);
        }
    }
}

/// A comment of at most 120 columns.
fn write_comment(text: &mut String, words: &str) {
    let mut line = String::from("#");
    for word in words.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > 120 {
            let _ = writeln!(text, "{line}");
            line = String::from("#");
        }
        let _ = write!(line, " {word}");
    }
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_knows_no_null_and_carries_the_defaults() {
        let schema = schema();
        assert!(!schema.to_string().contains("null"), "{schema:#}");
        let limits = &schema["properties"]["limits"]["properties"];
        assert_eq!(limits["invalid_requests"]["default"], 5000);
        assert_eq!(limits["oauth"]["oneOf"][0]["const"], "off");
        assert_eq!(
            schema["properties"]["intake"]["properties"]["lanes"]["items"]["additionalProperties"],
            false
        );
    }

    #[test]
    fn the_shipped_defaults_are_those_of_the_table() {
        let shipped = include_str!("../../config/default.toml");
        assert!(
            default_file() == shipped,
            "`codeferry config defaults > config/default.toml` writes it anew"
        );
    }
}
