//! The environment's layer: `CODEFERRY_SECTION__KEY` lays a TOML value over a key. A name that means nothing is a fault,
//! since a setting that is silently not applied is worse than none.

use toml::de::DeValue;

use super::environment::{Environment, OTHERS, PREFIX, SECRETS, is_of_secret};
use super::error::{ConfigErrors, Location, nearest};
use super::shape::{Shape, below};
use super::tree::{Data, Node, Origin, explain, for_example, from_value};
use super::walk::Walk;

/// Lays the environment over the tree. Names sort so that a table comes before the keys within it.
pub(super) fn lay(root: &mut Node, table: &Shape, environment: &Environment, faults: &mut ConfigErrors) {
    for (name, text) in &environment.0 {
        if OTHERS.contains(&name.as_str()) || is_of_secret(name) {
            continue;
        }
        let parts: Vec<_> = name[PREFIX.len()..].split("__").map(str::to_ascii_lowercase).collect();
        let origin = Origin::Environment(name.to_owned());
        let place = Location::Variable(name.clone());
        let Some((path, at)) = resolve(table, &parts).filter(|_| *name == name.to_ascii_uppercase()) else {
            faults.name(
                place,
                None,
                "is neither a configuration key nor a secret",
                cure_for_unknown(table, name),
            );
            continue;
        };
        match read(text, at, &origin) {
            Ok(mut node) => {
                // Walked before it is laid: a wrong type must not wipe out what it stands over.
                let fits = Walk { table, faults }.keep(&mut node, at, &path);
                if fits && let Err(cure) = set(root, &parts, node, &origin) {
                    faults.name(place, Some(&path), "does not exist", cure);
                }
            }
            Err(problem) => faults.name(place, Some(&path), problem, for_example(table, &path)),
        }
    }
}

/// The dotted path and the shape that a variable's parts name.
fn resolve<'t>(table: &'t Shape, parts: &[String]) -> Option<(String, &'t Shape)> {
    let mut at = table;
    let mut path = String::new();
    for part in parts {
        match at {
            Shape::Table(_) | Shape::Limit(_) => {
                at = &at.key(part)?.shape;
                path = below(&path, part);
            }
            Shape::List(of) => {
                let index: usize = part.parse().ok()?;
                at = of;
                path = format!("{path}[{index}]");
            }
            _ => return None,
        }
    }
    Some((path, at))
}

/// Reads a variable's text as the shape wants it: bare where a text is wanted, else as a TOML value.
fn read(text: &str, shape: &Shape, origin: &Origin) -> Result<Node, String> {
    let bare = || Node {
        origin: origin.clone(),
        data: Data::Scalar(toml::Value::String(text.to_owned())),
    };
    let quoted = text.starts_with(['"', '\'']);
    match (shape, DeValue::parse(text.trim())) {
        (Shape::Text(_) | Shape::Words(_) | Shape::Id, _) if !quoted => Ok(bare()),
        (_, Ok(value)) => Ok(from_value(&value, origin.clone(), &|_| origin.clone())),
        (Shape::Limit(_), Err(_)) if text.trim().chars().all(char::is_alphabetic) => Ok(bare()),
        (Shape::Whole(..), Err(_)) => Err("is not a whole number from 0".into()),
        (Shape::Number, Err(_)) => Err("is not a number".into()),
        (Shape::Switch, Err(_)) => Err("is neither true nor false".into()),
        (_, Err(error)) => Err(format!("is not {}: {}", shape.expected(), explain(&error, text))),
    }
}

/// Puts a node where the parts say, making tables on the way. An element of a list may be changed or added next.
fn set(root: &mut Node, parts: &[String], node: Node, origin: &Origin) -> Result<(), String> {
    let Some((part, rest)) = parts.split_first() else {
        root.lay(node);
        return Ok(());
    };
    if let (Data::List(items), Ok(index)) = (&mut root.data, part.parse::<usize>()) {
        if index == items.len() {
            items.push(Node::table(origin.clone()));
        }
        let len = items.len();
        return match items.get_mut(index) {
            Some(item) => set(item, rest, node, origin),
            None => Err(format!(
                "elements count from 0, and the next that can be added is {len}"
            )),
        };
    }
    // A list that no layer mentions so far, or a limit that was "off".
    match (&root.data, part.parse::<usize>()) {
        (_, Ok(_)) => {
            root.data = Data::List(Vec::new());
            return set(root, parts, node, origin);
        }
        (Data::Table(_), Err(_)) => {}
        (_, Err(_)) => *root = Node::table(origin.clone()),
    }
    let Data::Table(keys) = &mut root.data else {
        unreachable!("it was made a table above");
    };
    let inner = keys.entry(part.clone()).or_insert_with(|| Node::table(origin.clone()));
    set(inner, rest, node, origin)
}

fn cure_for_unknown(table: &Shape, name: &str) -> String {
    // Without the prefix, which would make any two names look alike.
    let names = SECRETS.map(|(name, _)| name).into_iter().chain(OTHERS);
    let names = names.flat_map(|name| {
        [
            name[PREFIX.len()..].to_owned(),
            format!("{}_FILE", &name[PREFIX.len()..]),
        ]
    });
    let paths = table.paths();
    let sections = paths
        .iter()
        .flat_map(|p| p.match_indices('.').map(|(i, _)| &p[..i]).chain([p.as_str()]));
    let keys = sections.map(|p| p.replace("[]", ".0").replace('.', "__").to_ascii_uppercase());
    let known: Vec<_> = names.chain(keys).collect();
    match nearest(
        &name[PREFIX.len()..].to_ascii_uppercase(),
        known.iter().map(String::as_str),
    ) {
        Some(meant) => format!("did you mean {PREFIX}{meant}?"),
        None => {
            "keys are written CODEFERRY_SECTION__KEY, with two underscores; unset it if it is not meant for codeferry"
                .into()
        }
    }
}
