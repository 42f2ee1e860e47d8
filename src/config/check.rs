//! What every rule is written with: the checker collects faults, and [`At`] is one place of the tree that is being read.

use std::path::Path;

use toml::Value;

use super::error::ConfigErrors;
use super::layers::Layers;
use super::shape::below;
use super::tree::{for_example, items, text};
use crate::ids::Lane;

/// Collects faults while values are read. A reader that answers `None` has named a fault, now or before.
pub(super) struct Checker<'a> {
    pub layers: &'a Layers,
    pub faults: ConfigErrors,
}

impl<'a> Checker<'a> {
    pub(super) fn new(layers: &'a Layers) -> Self {
        Self {
            layers,
            faults: layers.faults.clone(),
        }
    }

    /// A place of the tree, whether something stands there or not.
    pub(super) fn at(&mut self, path: &str) -> At<'_, 'a> {
        At {
            node: self.layers.get(path),
            path: path.to_owned(),
            check: self,
        }
    }

    /// Names a fault at a key.
    pub(super) fn bad(&mut self, key: &str, problem: impl Into<String>, cure: impl Into<String>) {
        self.faults.name(self.layers.place(key), Some(key), problem, cure);
    }

    /// Names a required key that is missing, unless what stood there was at fault already.
    pub(super) fn missing(&mut self, key: &str, cure: impl Into<String>) {
        if !self.layers.torn && !self.faults.touch(key) {
            self.bad(key, "is missing", cure);
        }
    }
}

/// One place of the tree that is being read.
pub(super) struct At<'c, 'a> {
    pub check: &'c mut Checker<'a>,
    pub path: String,
    pub node: Option<&'c Value>,
}

impl<'c, 'a> At<'c, 'a> {
    /// A key of this table.
    pub(super) fn key(&mut self, name: &str) -> At<'_, 'a> {
        At {
            path: below(&self.path, name),
            node: self.node.and_then(|node| node.get(name)),
            check: self.check,
        }
    }

    /// Reads each element of this list.
    pub(super) fn each<T>(&mut self, mut read: impl FnMut(&mut At<'_, 'a>) -> Option<T>) -> Vec<Option<T>> {
        let elements = self.items().iter().enumerate().map(|(i, node)| {
            read(&mut At {
                path: format!("{}[{i}]", self.path),
                node: Some(node),
                check: self.check,
            })
        });
        elements.collect()
    }

    /// The elements of this list. An absent list has none.
    pub(super) fn items(&self) -> &'c [Value] {
        items(self.node)
    }

    /// The text here; an id that was written as an integer too.
    pub(super) fn text(&self) -> Option<String> {
        text(self.node)
    }

    /// Names this key as missing.
    pub(super) fn missing<T>(&mut self, cure: impl Into<String>) -> Option<T> {
        self.check.missing(&self.path, cure);
        None
    }

    /// Names a fault here.
    pub(super) fn bad<T>(&mut self, problem: impl Into<String>, cure: impl Into<String>) -> Option<T> {
        self.check.bad(&self.path, problem, cure);
        None
    }

    /// Names a fault here, with a right value as its cure.
    pub(super) fn unlike_example<T>(&mut self, problem: impl Into<String>) -> Option<T> {
        let cure = self.example();
        self.bad(problem, cure)
    }

    /// A right value for this key, as a cure.
    pub(super) fn example(&self) -> String {
        for_example(self.check.layers.table, &self.path)
    }

    /// Names every value of this list that stands twice.
    pub(super) fn once<T: PartialEq>(&mut self, values: &[Option<T>], name: &str, what: &str) {
        let key = |i: usize| format!("{}[{i}]{name}", self.path);
        for (i, value) in values.iter().enumerate().filter(|(_, value)| value.is_some()) {
            if let Some(first) = values[..i].iter().position(|v| v == value) {
                let problem = format!("is the same {what} as `{}`", key(first));
                self.check.bad(&key(i), problem, "remove one of them");
            }
        }
    }

    /// The lane whose table this is.
    pub(super) fn lane(&self) -> Lane {
        let index = self
            .path
            .rsplit_once('[')
            .and_then(|(_, i)| i.trim_end_matches(']').parse().ok());
        Lane(index.expect("a lane is an element of a list of at most 256"))
    }

    /// The file that was read.
    pub(super) fn file(&self) -> Option<std::path::PathBuf> {
        let name = self.check.layers.file.as_deref().and_then(Path::file_name);
        name.map(|name| self.check.layers.base.join(name))
    }
}
