//! The environment's layer: `CODEFERRY_SECTION__KEY` lays a TOML value over a key. A name that means nothing is a fault,
//! since a setting that is silently not applied is worse than none.

use toml::Value;
use toml::de::DeValue;

use super::environment::{Environment, OTHERS, PREFIX, SECRETS, is_of_secret};
use super::error::{ConfigErrors, Location, nearest};
use super::lay::{Layer, explain};
use super::shape::{Shape, below};
use super::tree::{Places, defaults, for_example, get};

/// Lays the environment over the tree. Names sort so that a table comes before the keys within it.
pub(super) fn lay(
    root: &mut Value,
    table: &Shape,
    environment: &Environment,
    places: &mut Places,
    faults: &mut ConfigErrors,
) {
    for (name, text) in &environment.variables {
        if OTHERS.contains(&name.as_str()) || is_of_secret(name) || is_of_cluster(name, text) {
            continue;
        }
        let place = Location::Variable(name.clone());
        let parts: Vec<_> = name[PREFIX.len()..].split("__").map(str::to_ascii_lowercase).collect();
        let steps = resolve(table, &parts).filter(|_| *name == name.to_ascii_uppercase());
        let Some((path, shape)) = steps.as_ref().and_then(|steps| steps.last()) else {
            let problem = "is neither a configuration key nor a secret";
            faults.name(place, None, problem, cure_for_unknown(table, name));
            continue;
        };
        // Composition files pass empty variables for those that nobody has set. A text may be meant to be empty.
        if text.is_empty() && !matches!(shape, Shape::Text(_)) {
            continue;
        }
        let over = match read(text, shape) {
            Ok(over) => over,
            Err(problem) => {
                faults.name(place, Some(path), problem, for_example(table, path));
                continue;
            }
        };
        let mut value = get(root, path).cloned().unwrap_or_else(|| defaults(shape));
        let mut layer = Layer {
            table,
            places,
            faults,
            place_of: &|_| place.clone(),
        };
        if layer.lay(&mut value, &over, shape, path, place.clone()) {
            let note = |path: &str| drop(places.insert(path.to_owned(), place.clone()));
            match slot(root, &parts, steps.as_deref().unwrap_or_default(), note) {
                Ok(slot) => *slot = value,
                Err(cure) => faults.name(place, Some(path), "does not exist", cure),
            }
        }
    }
}

/// Whether Kubernetes set it, which tells every container of the Services beside it: for one that is called codeferry, or
/// begins so, under our prefix.
fn is_of_cluster(name: &str, value: &str) -> bool {
    let is_port = |rest: &str| {
        let mut parts = rest.split('_');
        let number = parts.next().is_some_and(|number| number.parse::<u16>().is_ok());
        let protocol = matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"));
        number && protocol && matches!(parts.next(), None | Some("PROTO" | "PORT" | "ADDR"))
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && value.contains("://"))
        || name.split_once("_PORT_").is_some_and(|(_, rest)| is_port(rest))
}

/// The dotted path and the shape that each further part of a variable's name leads to.
fn resolve<'t>(table: &'t Shape, parts: &[String]) -> Option<Vec<(String, &'t Shape)>> {
    let mut steps = Vec::new();
    let (mut path, mut shape) = (String::new(), table);
    for part in parts {
        (path, shape) = match shape {
            Shape::List(of) => (format!("{path}[{}]", part.parse::<usize>().ok()?), &**of),
            _ => (below(&path, part), &shape.key(part)?.shape),
        };
        steps.push((path.clone(), shape));
    }
    Some(steps)
}

/// Reads a variable's text as the shape wants it: bare where a text is wanted, else as a TOML value.
fn read<'t>(text: &'t str, shape: &Shape) -> Result<DeValue<'t>, String> {
    let bare = || DeValue::String(text.into());
    let quoted = text.starts_with(['"', '\'']);
    match (shape, DeValue::parse(text.trim())) {
        (Shape::Text(_) | Shape::Words(_) | Shape::Id, _) if !quoted => Ok(bare()),
        (_, Ok(value)) => Ok(value.into_inner()),
        (Shape::Limit(_), Err(_)) if text.trim().chars().all(char::is_alphabetic) => Ok(bare()),
        (Shape::Whole(..), Err(_)) => Err("is not a whole number from 0".into()),
        (Shape::Number, Err(_)) => Err("is not a number".into()),
        (Shape::Switch, Err(_)) => Err("is neither true nor false".into()),
        (_, Err(error)) => Err(format!("is not {}: {}", shape.expected(), explain(&error, text))),
    }
}

/// The place that the parts lead to. What is not there on the way is made, and noted; a list may get its next element.
fn slot<'v>(
    mut at: &'v mut Value,
    parts: &[String],
    steps: &[(String, &Shape)],
    mut note: impl FnMut(&str),
) -> Result<&'v mut Value, String> {
    for (part, (path, shape)) in parts.iter().zip(steps) {
        let mut fresh = || {
            note(path);
            defaults(shape)
        };
        at = match (at, part.parse::<usize>()) {
            (Value::Array(items), Ok(index)) => {
                if index == items.len() {
                    items.push(fresh());
                }
                let len = items.len();
                items
                    .get_mut(index)
                    .ok_or_else(|| format!("elements count from 0, and the next that can be added is {len}"))?
            }
            (Value::Table(keys), _) => keys.entry(part).or_insert_with(&mut fresh),
            _ => unreachable!("the parts fit the shape, and the tree does"),
        };
        // A limit that was "off".
        if shape.keys().is_some() && !at.is_table() {
            *at = fresh();
        }
    }
    Ok(at)
}

fn cure_for_unknown(table: &Shape, name: &str) -> String {
    // Without the prefix, which would make any two names look alike.
    let names = SECRETS.map(|(name, _)| name).into_iter().chain(OTHERS);
    let names = names.map(|name| &name[PREFIX.len()..]);
    let names = names.flat_map(|name| [name.to_owned(), format!("{name}_FILE")]);
    let paths = table.paths();
    let sections = paths
        .iter()
        .flat_map(|p| p.match_indices('.').map(|(i, _)| &p[..i]).chain([p.as_str()]));
    let keys = sections.map(|p| p.replace("[]", ".0").replace('.', "__").to_ascii_uppercase());
    let known: Vec<_> = names.chain(keys).collect();
    let name = name[PREFIX.len()..].to_ascii_uppercase();
    match nearest(&name, known.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean {PREFIX}{meant}?"),
        None => {
            "keys are written CODEFERRY_SECTION__KEY, with two underscores; unset it if it is not meant for codeferry"
                .into()
        }
    }
}
