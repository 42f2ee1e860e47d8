//! Promises that are broken on purpose, in a copy of the sources, and the test that must go red for each.
//!
//! The normal run sees that each change can still be made and that its test is there. `just mutate` makes them, one after
//! the other: a check that stays green is no check. `just mutate list` prints them.

mod run;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use self::table::mutations;

/// One promise, and how it is broken.
#[derive(Debug, Clone, Copy)]
struct Mutation {
    /// What is broken, in words.
    breaks: &'static str,
    file: &'static str,
    /// Stands in the file once.
    find: &'static str,
    replace: &'static str,
    /// Where the test is.
    target: Target,
    /// Its whole name.
    caught_by: &'static str,
}

/// A binary with tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// The unit tests.
    Lib,
    /// The integration tests.
    It,
}

impl Target {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Lib => &["--lib"],
            Self::It => &["--test", "it"],
        }
    }

    /// Where its tests stand.
    fn folder(self) -> &'static str {
        match self {
            Self::Lib => "src",
            Self::It => "tests/it",
        }
    }
}

impl Mutation {
    /// The test's own name, which is a sentence.
    fn test(&self) -> &'static str {
        self.caught_by.rsplit("::").next().unwrap_or(self.caught_by)
    }

    /// The file's text with the change made.
    fn made_in(&self, text: &str) -> Result<String, String> {
        if text.matches(self.find).count() == 1 {
            Ok(text.replacen(self.find, self.replace, 1))
        } else {
            Err(format!("the mutation's text no longer stands in {} once", self.file))
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a folder, as text.
pub fn texts_below(folder: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.push_str(&texts_below(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            all.push_str(&fs::read_to_string(path).expect("a source file"));
        }
    }
    all
}

#[test]
fn every_mutation_can_be_made_and_has_its_test() {
    let [lib, it] = [Target::Lib, Target::It].map(|target| texts_below(&root().join(target.folder())));
    let mut wrong = Vec::new();
    for mutation in mutations() {
        let text = fs::read_to_string(root().join(mutation.file)).expect("a source file");
        if let Err(why) = mutation.made_in(&text) {
            wrong.push(format!("{}: {why}", mutation.breaks));
        }
        let tests = if mutation.target == Target::Lib { &lib } else { &it };
        if !tests.contains(&format!("fn {}()", mutation.test())) {
            wrong.push(format!(
                "{}: there is no test `{}`",
                mutation.breaks, mutation.caught_by
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_mutation_turns_its_test_red() {
    let Ok(wanted) = std::env::var("CODEFERRY_MUTATE") else {
        return;
    };
    if wanted == "list" {
        return mutations().for_each(|m| println!("| {} | {} | `{}` |", m.breaks, m.file, m.caught_by));
    }
    let chosen: Vec<_> = mutations()
        .filter(|m| wanted == "1" || m.breaks.contains(&wanted))
        .collect();
    assert!(!chosen.is_empty(), "no mutation's name holds `{wanted}`");
    let faults = run::all(&chosen);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
