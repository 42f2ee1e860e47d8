//! The shipped files: the defaults name every key, the example is the smallest.

use super::*;

/// The keys of a schema, dotted; elements of lists as `[]`.
fn keys(schema: &serde_json::Value, path: &str, into: &mut BTreeSet<String>) {
    let properties = schema
        .get("properties")
        .or_else(|| schema.pointer("/oneOf/1/properties"));
    if let Some(properties) = properties.and_then(|p| p.as_object()) {
        for (key, below) in properties {
            let dot = if path.is_empty() { "" } else { "." };
            keys(below, &format!("{path}{dot}{key}"), into);
        }
    } else if schema.pointer("/items/properties").is_some() {
        keys(&schema["items"], &format!("{path}[]"), into);
    } else {
        into.insert(path.to_owned());
    }
}

fn keys_of_text(value: &toml::Value, path: &str, into: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, below) in table {
                let dot = if path.is_empty() { "" } else { "." };
                keys_of_text(below, &format!("{path}{dot}{key}"), into);
            }
        }
        toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
            for item in items {
                keys_of_text(item, &format!("{path}[]"), into);
            }
        }
        _ => drop(into.insert(path.to_owned())),
    }
}

#[test]
fn the_defaults_name_every_key_of_the_schema_and_no_other() {
    let mut known = BTreeSet::new();
    keys(&config::schema(), "", &mut known);
    let mut named = BTreeSet::new();
    keys_of_text(
        &toml::Value::Table(full_defaults().parse().expect("TOML")),
        "",
        &mut named,
    );
    assert_eq!(named, known);
    assert!(known.len() > 40, "{known:?}");
}

#[test]
fn every_key_of_the_defaults_is_explained_and_every_example_is_good() {
    let config = read(&full_defaults(), []).expect("the examples in the defaults are good");
    assert_eq!(config.delivery.len(), 3);
    assert_eq!(config.intake.code_lifetime, Duration::from_secs(100));
    let mut before = "";
    for line in include_str!("../../../config/default.toml").lines() {
        let key = line.strip_prefix('#').filter(|l| !l.starts_with(' ')).unwrap_or(line);
        let is_key = key.contains(" = ") && !key.starts_with('#') && !line.starts_with("# ");
        let again = ["name =", "kind ="].iter().any(|k| key.starts_with(k));
        assert!(
            !is_key || again || before.starts_with("# "),
            "no comment above `{line}`"
        );
        before = line;
    }
}

#[test]
fn the_example_is_the_smallest_that_runs() {
    let text = include_str!("../../../config/example.toml");
    read(text, []).expect("it is good");
    let lines: Vec<_> = text.lines().collect();
    for (i, line) in lines
        .iter()
        .enumerate()
        .filter(|(_, l)| l.contains(" = ") && !l.starts_with('#'))
    {
        let without: Vec<_> = lines
            .iter()
            .enumerate()
            .filter(|(j, _)| *j != i)
            .map(|(_, l)| *l)
            .collect();
        assert!(read(&without.join("\n"), []).is_err(), "`{line}` could be left out");
    }
}
