//! The layers of the configuration laid over one another: defaults, file, environment.

use std::io;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::error::{ConfigErrors, Location, describe};
use super::shape::Shape;
use super::tree::{Node, parse_file};
use super::variables;
use super::walk::Walk;

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
    pub fn of_process(config: Option<PathBuf>) -> io::Result<Self> {
        Ok(Self {
            config,
            environment: Environment::of_process(),
            folder: std::env::current_dir()?,
        })
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
    pub root: Node,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Where relative paths start.
    pub base: PathBuf,
    /// What was wrong with reading alone: unknown keys, wrong types, unknown variables.
    pub faults: ConfigErrors,
    /// A part could not be read at all, so that nothing can be called missing.
    pub torn: bool,
}

impl Layers {
    /// Reads defaults, file and environment. What is wrong is kept, to be reported with all else.
    pub(super) fn read(locator: &Locator, table: &'static Shape) -> Self {
        let (shown, named) = locator.file();
        let path = locator.folder.join(&shown);
        let base = path.parent().unwrap_or(&locator.folder).to_path_buf();
        let unreadable = |problem: String, cure: &str| {
            let mut faults = ConfigErrors::default();
            faults.name(Location::File(shown.clone(), None), None, problem, cure);
            Self::merge(table, Err(faults), base.clone(), &locator.environment)
        };
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !named => {
                return Self::merge(table, Ok(None), locator.folder.clone(), &locator.environment);
            }
            Err(error) => {
                let problem = format!("the configuration cannot be read: {}", describe(&error));
                return unreadable(problem, "name another file with --config or CODEFERRY_CONFIG");
            }
        };
        match std::str::from_utf8(&bytes) {
            Ok(text) => {
                let text = text.strip_prefix('\u{feff}').unwrap_or(text);
                Self::merge(table, Ok(Some((text, &shown))), base, &locator.environment)
            }
            Err(error) => {
                let line = bytes[..error.valid_up_to()].split(|b| *b == b'\n').count();
                unreadable(format!("line {line} is not UTF-8"), "save the file as UTF-8")
            }
        }
    }

    /// Lays a file's text and the environment over the defaults.
    pub(super) fn merge(
        table: &'static Shape,
        file: Result<Option<(&str, &Path)>, ConfigErrors>,
        base: PathBuf,
        environment: &Environment,
    ) -> Self {
        let mut layers = Self {
            table,
            root: Node::defaults(table.keys().unwrap_or_default()),
            file: file.as_ref().ok().and_then(|f| f.map(|(_, path)| path.to_path_buf())),
            base,
            faults: ConfigErrors::default(),
            torn: false,
        };
        match file.and_then(|file| file.map(|(text, path)| parse_file(text, path)).transpose()) {
            Ok(Some(mut node)) => {
                // Walked before it is laid: a wrong type must not first wipe out what it stands over.
                let faults = &mut layers.faults;
                Walk { table, faults }.keep(&mut node, table, "");
                layers.root.lay(node);
            }
            Ok(None) => {}
            Err(faults) => {
                layers.torn = true;
                layers.faults.extend(faults);
            }
        }
        variables::lay(&mut layers.root, table, environment, &mut layers.faults);
        layers.root.fill(table);
        layers
    }
}
