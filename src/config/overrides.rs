//! The environment's layer: `CODEFERRY_SECTION__KEY` lays a TOML value over a key. A name that means nothing is a fault,
//! since a setting that is silently not applied is worse than none.

use toml::de::DeValue;

use super::environment::{Environment, PREFIX};
use super::error::{ConfigError, ConfigErrors, Location};
use super::layers::{Data, Node, Origin, explain, from_value};
use super::schema::{Shape, nearest};
use super::secrets::{SECRETS, secret_of_variable};
use super::walk::{Walk, for_example};
use crate::lifecycle::Exit;

/// Names that are neither keys nor secrets: the configuration file, a test's patience, log directives.
const OTHERS: [&str; 3] = ["CODEFERRY_CONFIG", "CODEFERRY_SLOW", "CODEFERRY_LOG"];

/// Lays the environment over the tree. Names sort so that a table comes before the keys within it.
pub(super) fn lay_environment(root: &mut Node, shape: &Shape, environment: &Environment, faults: &mut ConfigErrors) {
    for (name, text) in environment.iter() {
        if OTHERS.contains(&name) || secret_of_variable(name).is_some() {
            continue;
        }
        let parts: Vec<_> = name[PREFIX.len()..].split("__").map(str::to_ascii_lowercase).collect();
        let origin = Origin::Environment(name.to_owned());
        let fault = |key: Option<String>, problem: String, cure: String| ConfigError {
            place: Location::Variable(name.to_owned()),
            key,
            problem,
            cure,
            exit: Exit::Usage,
        };
        let Some((path, at)) = resolve(shape, &parts).filter(|_| name == name.to_ascii_uppercase()) else {
            faults.push(fault(
                None,
                "means no key and no secret".into(),
                cure_for_unknown(shape, name),
            ));
            continue;
        };
        match read(text, at, &origin) {
            Ok(mut node) => {
                // Walked before it is laid: a wrong type must not wipe out what it stands over.
                if !(Walk { root: shape, faults }).keep(&mut node, at, &path) {
                    continue;
                }
                if let Err(cure) = set(root, &parts, node, &origin) {
                    faults.push(fault(Some(path), "is not there to be set".into(), cure));
                }
            }
            Err(problem) => faults.push(fault(Some(path.clone()), problem, for_example(&path))),
        }
    }
}

/// The dotted path and the shape that a variable's parts name.
fn resolve<'a>(shape: &'a Shape, parts: &[String]) -> Option<(String, &'a Shape)> {
    let mut at = shape;
    let mut path = String::new();
    for part in parts {
        match at {
            Shape::Table(keys) | Shape::Limit(keys) => {
                at = keys.get(part)?;
                let dot = if path.is_empty() { "" } else { "." };
                path = format!("{path}{dot}{part}");
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
        (Shape::Text | Shape::Id, _) if !quoted => Ok(bare()),
        (_, Ok(value)) => Ok(from_value(&value, origin.clone(), &|_| origin.clone())),
        (Shape::Limit(_), Err(_)) if text.trim().chars().all(char::is_alphabetic) => Ok(bare()),
        (Shape::Whole, Err(_)) => Err("is not a whole number from 0".into()),
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
                "elements are counted from 0, and the next that can be added is {len}"
            )),
        };
    }
    if part.parse::<usize>().is_ok() && !matches!(root.data, Data::List(_)) {
        // A list that no layer mentions so far.
        *root = Node {
            origin: origin.clone(),
            data: Data::List(Vec::new()),
        };
        return set(root, parts, node, origin);
    }
    if !matches!(root.data, Data::Table(_)) {
        // `"off"` gives way to the keys of a limit.
        *root = Node::table(origin.clone());
    }
    let Data::Table(keys) = &mut root.data else {
        unreachable!("it was made a table above");
    };
    let below = keys.entry(part.clone()).or_insert_with(|| Node::table(origin.clone()));
    set(below, rest, node, origin)
}

fn cure_for_unknown(shape: &Shape, name: &str) -> String {
    let files: Vec<_> = SECRETS.iter().map(|s| format!("{s}_FILE")).collect();
    let keys: Vec<_> = shape
        .paths()
        .iter()
        .flat_map(|p| p.match_indices('.').map(|(i, _)| &p[..i]).chain([p.as_str()]))
        .map(|p| {
            format!(
                "{PREFIX}{}",
                p.replace("[]", ".0").replace('.', "__").to_ascii_uppercase()
            )
        })
        .collect();
    let known = SECRETS
        .into_iter()
        .chain(OTHERS)
        .chain(files.iter().map(String::as_str))
        .chain(keys.iter().map(String::as_str));
    // Without the prefix, which would make any two names look alike.
    let known = known.filter_map(|name| name.strip_prefix(PREFIX));
    match nearest(&name[PREFIX.len()..].to_ascii_uppercase(), known) {
        Some(meant) => format!("did you mean {PREFIX}{meant}?"),
        None => "keys are CODEFERRY_SECTION__KEY, with two underscores between; take it away if it is not meant".into(),
    }
}
