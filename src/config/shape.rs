//! What is known about keys, as the table tells it: names, documentation, and what may stand there.

/// What may stand at a key.
#[derive(Debug)]
pub(super) enum Shape {
    /// A text, with what the default file says of its bounds; may be empty.
    Text(String),
    /// One of some words.
    Words(&'static [&'static str]),
    /// A text or an integer.
    Id,
    /// A whole number within bounds.
    Whole(u64, u64),
    /// A number, with a fraction or without.
    Number,
    /// True or false.
    Switch,
    /// A table of keys.
    Table(Vec<Key>),
    /// A list of one shape.
    List(Box<Shape>),
    /// `"off"` or a table of keys.
    Limit(Vec<Key>),
}

/// What is known about a key, but for its rule, which stands beside it in the table.
#[derive(Debug)]
pub(super) struct Key {
    pub name: &'static str,
    /// Its documentation.
    pub help: String,
    /// The value in force unless a layer says otherwise, in TOML.
    pub default: Option<&'static str>,
    /// A good value where there is no default, in TOML.
    pub example: Option<&'static str>,
    /// Whether it must be given.
    pub required: bool,
    pub shape: Shape,
}

impl Shape {
    /// The keys below, for tables and limits.
    pub(super) fn keys(&self) -> Option<&[Key]> {
        match self {
            Self::Table(keys) | Self::Limit(keys) => Some(keys),
            _ => None,
        }
    }

    /// One of the keys below.
    pub(super) fn key(&self, name: &str) -> Option<&Key> {
        self.keys()?.iter().find(|key| key.name == name)
    }

    /// What is right here, in words.
    pub(super) fn expected(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Words(_) => "a text in quotes",
            Self::Id => "an id, as a text or an integer",
            Self::Whole(..) => "a whole number from 0",
            Self::Number => "a number",
            Self::Switch => "true or false",
            Self::Table(_) => "a table of keys",
            Self::List(of) if of.keys().is_some() => "a list of tables",
            Self::List(_) => "a list of texts",
            Self::Limit(_) => "a table or \"off\"",
        }
    }

    /// The dotted path of every key; elements of lists are shown as `[]`.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect(String::new(), &mut paths);
        paths
    }

    fn collect(&self, path: String, into: &mut Vec<String>) {
        match self {
            Self::Table(keys) | Self::Limit(keys) => {
                for key in keys {
                    key.shape.collect(below(&path, key.name), into);
                }
            }
            Self::List(of) if of.keys().is_some() => of.collect(format!("{path}[]"), into),
            _ => into.push(path),
        }
    }
}

/// The path of a key within a table.
pub(super) fn below(path: &str, name: &str) -> String {
    let dot = if path.is_empty() { "" } else { "." };
    format!("{path}{dot}{name}")
}
