//! The layers of the configuration laid over one another: defaults, file, environment.

use std::io;
use std::path::{Path, PathBuf};

use toml::Value;
use toml::de::{DeTable, DeValue};

use super::environment::Environment;
use super::error::{ConfigErrors, Location, describe};
use super::lay::{Layer, explain};
use super::shape::Shape;
use super::tree::{Places, defaults, get, items, text};
use super::variables;
use crate::lifecycle::{Exit, Failure};

/// The file that is looked for where none is named.
const USUAL: &str = "codeferry.toml";

/// Where a configuration is found.
#[derive(Debug, Clone)]
pub struct Locator {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// The environment.
    pub environment: Environment,
    /// The working directory: where the usual file is looked for, and relative names start.
    pub folder: PathBuf,
}

impl Locator {
    /// What the process was started with.
    /// And what stands in the file `.env` beside the configuration, if there is one.
    pub fn of_process(config: Option<PathBuf>) -> Result<Self, Failure> {
        let folder = std::env::current_dir();
        let folder = folder.map_err(|e| Failure::new(Exit::Failed, "cannot find the working directory").source(e))?;
        let mut located = Self {
            config,
            environment: Environment::of_process(),
            folder,
        };
        let file = located.folder.join(located.file().0);
        located.environment.add_file(&file.with_file_name(".env"))?;
        Ok(located)
    }

    /// The file to read, and whether it was named.
    fn file(&self) -> (PathBuf, bool) {
        let named = self.config.clone().or_else(|| {
            let name = self.environment.get("CODEFERRY_CONFIG").filter(|v| !v.is_empty());
            name.map(PathBuf::from)
        });
        named.map_or_else(|| (PathBuf::from(USUAL), false), |path| (path, true))
    }
}

/// The merged layers, not yet checked.
#[derive(Debug)]
pub(super) struct Layers {
    /// Every key there is.
    pub table: &'static Shape,
    pub root: Value,
    pub places: Places,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Where relative paths start.
    pub base: PathBuf,
    /// What was wrong with reading alone: unknown keys, wrong types, unknown variables.
    pub faults: ConfigErrors,
    /// A part could not be read at all, so that nothing can be called missing.
    pub torn: bool,
}

/// A text, or why there is none and what helps.
type Text<T> = Result<T, (String, &'static str)>;

impl Layers {
    /// Reads defaults, file and environment. What is wrong is kept, to be reported with all else.
    pub(super) fn read(locator: &Locator, table: &'static Shape) -> Self {
        let (shown, named) = locator.file();
        let path = locator.folder.join(&shown);
        let text = match std::fs::read(&path) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|error| {
                let line = line_of(error.as_bytes(), error.utf8_error().valid_up_to());
                (format!("line {line} is not UTF-8"), "save the file as UTF-8")
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !named => {
                return Self::merge(table, None, locator.folder.clone(), &locator.environment);
            }
            Err(error) => Err((
                format!("the configuration cannot be read: {}", describe(&error)),
                "name another file with --config or CODEFERRY_CONFIG",
            )),
        };
        let text = text.as_deref().map_err(Clone::clone);
        let base = path.parent().unwrap_or(&locator.folder).to_path_buf();
        Self::merge(table, Some((&shown, text)), base, &locator.environment)
    }

    /// Lays a file's text and the environment over the defaults.
    pub(super) fn merge(
        table: &'static Shape,
        file: Option<(&Path, Text<&str>)>,
        base: PathBuf,
        environment: &Environment,
    ) -> Self {
        let mut layers = Self {
            table,
            root: defaults(table),
            places: Places::new(),
            file: None,
            base,
            faults: ConfigErrors::default(),
            torn: false,
        };
        match file {
            Some((path, Ok(text))) => layers.lay_file(path, text.strip_prefix('\u{feff}').unwrap_or(text)),
            Some((path, Err((problem, cure)))) => {
                layers.torn = true;
                let place = Location::File(path.to_owned(), None);
                layers.faults.name(place, None, problem, cure);
            }
            None => {}
        }
        variables::lay(
            &mut layers.root,
            table,
            environment,
            &mut layers.places,
            &mut layers.faults,
        );
        layers
    }

    /// Lays a file's text over the tree, unless it has syntax errors; then each is named.
    fn lay_file(&mut self, path: &Path, text: &str) {
        let whole = Location::File(path.to_owned(), None);
        self.places.insert(String::new(), whole.clone());
        self.file = Some(path.to_owned());
        let place_of = |offset| Location::File(path.to_owned(), Some(line_of(text.as_bytes(), offset)));
        let (parsed, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            let mut layer = Layer {
                table: self.table,
                places: &mut self.places,
                faults: &mut self.faults,
                place_of: &place_of,
            };
            let parsed = DeValue::Table(parsed.into_inner());
            layer.lay(&mut self.root, &parsed, self.table, "", whole);
            return;
        }
        self.torn = true;
        let mut lines = Vec::new();
        for error in errors {
            let line = error.span().map(|span| line_of(text.as_bytes(), span.start));
            // One slip makes the parser stumble several times on its line.
            if !lines.contains(&line) {
                lines.push(line);
                let at_fault = line.and_then(|n| text.lines().nth(n - 1)).unwrap_or_default();
                let at_fault = at_fault.split_once('=').map_or(at_fault, |(_, value)| value);
                let problem = format!("this is not TOML: {}", explain(&error, at_fault));
                let place = Location::File(path.to_owned(), line);
                self.faults
                    .name(place, None, problem, "write `key = value`, with texts in quotes");
            }
        }
    }

    /// The value at a dotted path.
    pub(super) fn get(&self, path: &str) -> Option<&Value> {
        get(&self.root, path)
    }

    /// The elements of a list.
    pub(super) fn items(&self, path: &str) -> &[Value] {
        items(self.get(path))
    }

    /// A text, or an id that was written as an integer.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        text(self.get(path))
    }

    /// The text at a key of each table in a list.
    pub(super) fn texts(&self, list: &str, key: &str) -> Vec<Option<String>> {
        self.items(list).iter().map(|item| text(item.get(key))).collect()
    }

    /// Whether there is a text that is not `""`.
    pub(super) fn is_filled(&self, path: &str) -> bool {
        self.text(path).is_some_and(|text| !text.is_empty())
    }

    /// Whether a switch is on.
    pub(super) fn is_true(&self, path: &str) -> bool {
        self.get(path).and_then(Value::as_bool) == Some(true)
    }

    /// Where a fault at a key is: where its value came from; for an absent one where its table did, else the file.
    pub(super) fn place(&self, key: &str) -> Location {
        let above = key.rfind(['.', '[']).map_or("", |end| &key[..end]);
        match self.places.get(key) {
            Some(place) => place.clone(),
            None if key.is_empty() => Location::Nowhere,
            None if self.get(key).is_some() => self.place(""),
            None => self.place(above),
        }
    }
}

/// The line of an offset, from 1.
fn line_of(text: &[u8], offset: usize) -> usize {
    text[..offset.min(text.len())].split(|b| *b == b'\n').count()
}
