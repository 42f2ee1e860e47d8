//! Lays a layer's values onto the tree. Unknown keys and wrong types are named and left out, every one of them, so that
//! one bad value neither hides another nor wipes out what it would stand over.

use toml::Value;
use toml::de::{DeTable, DeValue};

use super::environment::secret_for_key;
use super::error::{ConfigErrors, Location, nearest, within};
use super::shape::{Key, Shape, below};
use super::tree::{Places, defaults, for_example};

/// A layer on its way onto the tree.
pub(super) struct Layer<'a> {
    pub table: &'a Shape,
    pub places: &'a mut Places,
    pub faults: &'a mut ConfigErrors,
    /// Where that came from which stands at an offset of the layer's text.
    pub place_of: &'a dyn Fn(usize) -> Location,
}

impl Layer<'_> {
    /// Lays one value over another: tables merge, anything else is replaced. False if it does not fit the shape.
    pub(super) fn lay(
        &mut self,
        under: &mut Value,
        over: &DeValue<'_>,
        shape: &Shape,
        path: &str,
        place: Location,
    ) -> bool {
        match (over, shape) {
            (DeValue::Table(over), Shape::Table(known) | Shape::Limit(known)) => {
                if !under.is_table() {
                    *under = defaults(shape);
                }
                self.places.insert(path.to_owned(), place);
                self.keys(under, over, known, path);
                true
            }
            (DeValue::Array(over), Shape::List(of)) => {
                let before = self.places.clone();
                self.replace(path, place);
                let mut fits = true;
                let items = over.iter().enumerate().map(|(i, item)| {
                    let mut value = defaults(of);
                    let place = (self.place_of)(item.span().start);
                    fits &= self.lay(&mut value, item.get_ref(), of, &format!("{path}[{i}]"), place);
                    value
                });
                let items = items.collect();
                // An element that does not fit makes the list void: taking it out would renumber the others.
                if fits {
                    *under = Value::Array(items);
                } else {
                    *self.places = before;
                }
                fits
            }
            _ => self.scalar(under, over, shape, path, place),
        }
    }

    fn keys(&mut self, under: &mut Value, over: &DeTable<'_>, known: &[Key], path: &str) {
        for (key, value) in over {
            let (name, place) = (&**key.get_ref(), (self.place_of)(key.span().start));
            let path = below(path, name);
            let Some(known) = known.iter().find(|known| known.name == name) else {
                let cure = cure_for_unknown(self.table, name, known);
                self.faults.name(place, Some(&path), "is not a known key", cure);
                continue;
            };
            let mut laid = under.get(name).cloned().unwrap_or_else(|| defaults(&known.shape));
            if self.lay(&mut laid, value.get_ref(), &known.shape, &path, place)
                && let Value::Table(under) = under
            {
                under.insert(known.name.to_owned(), laid);
            }
        }
    }

    fn scalar(&mut self, under: &mut Value, over: &DeValue<'_>, shape: &Shape, path: &str, place: Location) -> bool {
        let value = scalar(over);
        let found = match (&value, shape) {
            (Some(Value::String(_)), Shape::Text(_) | Shape::Words(_) | Shape::Id | Shape::Limit(_))
            | (Some(Value::Integer(_)), Shape::Id | Shape::Number)
            | (Some(Value::Integer(0..)), Shape::Whole(..))
            | (Some(Value::Float(_)), Shape::Number)
            | (Some(Value::Boolean(_)), Shape::Switch) => {
                self.replace(path, place);
                under.clone_from(value.as_ref().expect("it was just matched"));
                return true;
            }
            (Some(Value::Integer(_)), Shape::Whole(..)) => "a negative number",
            (Some(Value::Integer(_)), _) => "a whole number",
            (Some(Value::Float(_)), _) => "a number with a fraction",
            (Some(Value::Boolean(_)), _) => "a boolean",
            (Some(Value::Datetime(_)), _) => "a date or time",
            (Some(_), _) => "a text",
            (None, _) if over.is_table() => "a table",
            (None, _) => "a list",
        };
        let cure = match shape {
            Shape::List(_) if over.is_table() => format!("write `[[{path}]]`, in double brackets"),
            _ => for_example(self.table, path),
        };
        let problem = format!("is {found}, not {}", shape.expected());
        self.faults.name(place, Some(path), problem, cure);
        false
    }

    fn replace(&mut self, path: &str, place: Location) {
        self.places.retain(|key, _| !within(key, path));
        self.places.insert(path.to_owned(), place);
    }
}

/// A value that is neither a table nor a list. A number beyond 64 bits stays a text and is refused as a wrong type; an
/// id of 20 digits is then still readable.
fn scalar(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Boolean(flag) => (*flag).into(),
        DeValue::Datetime(time) => (*time).into(),
        DeValue::Integer(number) => {
            let read = i64::from_str_radix(number.as_str(), number.radix());
            read.map_or_else(|_| number.as_str().into(), Value::Integer)
        }
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .map_or_else(|_| number.as_str().into(), Value::Float),
        DeValue::Table(_) | DeValue::Array(_) => return None,
    })
}

/// What the parser stumbled over. Of a word without quotes it says what number it took it for; that helps nobody.
pub(super) fn explain(error: &toml::de::Error, value: &str) -> String {
    if value.trim_start().starts_with(char::is_alphabetic) {
        return "a text without quotes".into();
    }
    error.message().lines().next().unwrap_or("it cannot be read").to_owned()
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
