//! Makes the changes in one copy of the sources: each is an edit, an incremental build, one test, and the edit undone.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use super::{Mutation, Target, root};
use crate::patience::Process;

/// A build that takes longer hangs: the first one makes everything.
const BUILD_WITHIN: Duration = Duration::from_mins(30);
/// A test may take so many times what it takes unbroken, and a minute more; one that takes longer hangs. That is a fault and
/// not red: each promise here has a test that says what is broken.
const SLOWER: u32 = 3;
const LONGER: Duration = Duration::from_mins(1);

/// How one test ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Green,
    Red,
    Hung,
    /// No test has the name.
    Missing,
}

/// The copy, and where what is built of it lies.
struct Tree {
    sources: PathBuf,
    target: PathBuf,
    log: PathBuf,
}

/// Makes these changes, prints the table, and answers what is not as it must be.
pub(super) fn all(mutations: &[&Mutation]) -> Vec<String> {
    let began = Instant::now();
    let tree = Tree::new();
    let mut faults = Vec::new();
    let unbroken = match tree.unbroken(mutations) {
        Ok(unbroken) => unbroken,
        Err(why) => return vec![why],
    };
    let mut rows = Vec::new();
    for mutation in mutations {
        let started = Instant::now();
        let usual = unbroken[mutation.caught_by];
        let outcome = tree.made(mutation, usual * SLOWER + LONGER);
        let seconds = started.elapsed().as_secs();
        let row = format!(
            "| {} | {} | `{}` | {seconds} | {} |",
            mutation.breaks,
            mutation.file,
            mutation.caught_by,
            outcome.as_ref().map_or_else(String::as_str, |()| "red"),
        );
        eprintln!("{row}");
        rows.push(row);
        if let Err(why) = outcome {
            faults.push(format!("{}: {why}", mutation.breaks));
        }
    }
    eprintln!("\n| promise broken | in | caught by | seconds | |\n|---|---|---|---|---|");
    eprintln!("{}", rows.join("\n"));
    eprintln!(
        "{} of {} red, in {} s",
        mutations.len() - faults.len(),
        mutations.len(),
        began.elapsed().as_secs()
    );
    faults
}

impl Tree {
    /// The sources as they are. Files that are as they were keep their times, so that cargo builds what has changed alone.
    fn new() -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutations");
        let tree = Self {
            sources: folder.join("tree"),
            target: folder.join("target"),
            log: folder.join("log"),
        };
        mirror(&root(), &tree.sources);
        tree
    }

    /// How long each test takes while nothing is broken; all must be green.
    fn unbroken(&self, mutations: &[&Mutation]) -> Result<BTreeMap<&'static str, Duration>, String> {
        let mut took = BTreeMap::new();
        for target in [Target::Lib, Target::It] {
            let mut binary = None;
            for mutation in mutations.iter().filter(|m| m.target == target) {
                if took.contains_key(mutation.caught_by) {
                    continue;
                }
                let binary = match &binary {
                    Some(binary) => binary,
                    None => binary.insert(self.build(target)?),
                };
                let started = Instant::now();
                match self.test(binary, mutation.caught_by, Duration::from_mins(10)) {
                    Ended::Green => took.insert(mutation.caught_by, started.elapsed()),
                    other => return Err(format!("unbroken, `{}` is {other:?}", mutation.caught_by)),
                };
            }
        }
        Ok(took)
    }

    /// Makes one change, and undoes it.
    fn made(&self, mutation: &Mutation, within: Duration) -> Result<(), String> {
        let file = self.sources.join(mutation.file);
        let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", mutation.file))?;
        fs::write(&file, mutation.made_in(&text)?).expect("written");
        let ended = self
            .build(mutation.target)
            .map(|binary| self.test(&binary, mutation.caught_by, within));
        fs::write(&file, text).expect("written back");
        match ended? {
            Ended::Red => Ok(()),
            Ended::Green => Err("GREEN".to_owned()),
            other => Err(format!("{other:?}")),
        }
    }

    /// Builds, and answers the binary with the tests. `CARGO` may name another cargo than the one that built this.
    fn build(&self, target: Target) -> Result<PathBuf, String> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
        let said = self.log.with_extension("json");
        let mut command = Command::new(cargo);
        command
            .args(["test", "--locked", "--no-run", "--message-format", "json"])
            .args(target.arguments())
            .env("CARGO_TARGET_DIR", &self.target)
            .stdout(File::create(&said).expect("a file"));
        match self.ended(&mut command, BUILD_WITHIN) {
            Some(true) => {}
            Some(false) => return Err(format!("does not build: see {}", self.log.display())),
            None => return Err("the build hangs".to_owned()),
        }
        let said = fs::read_to_string(said).expect("what cargo said");
        let messages = said
            .lines()
            .filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
        let tests = messages.filter(|m| m["profile"]["test"] == true);
        let mut binaries = tests.filter_map(|m| m["executable"].as_str().map(PathBuf::from));
        binaries
            .next_back()
            .ok_or_else(|| "cargo names no binary with tests".to_owned())
    }

    /// Runs one test.
    fn test(&self, binary: &Path, name: &str, within: Duration) -> Ended {
        let mut command = Command::new(binary);
        let said = self.log.with_extension("out");
        command
            .args(["--exact", name])
            .env_remove("CODEFERRY_MUTATE")
            // cargo set this for the unbroken sources.
            .env_remove("CARGO_BIN_EXE_codeferry")
            .env("CARGO_MANIFEST_DIR", &self.sources)
            .stdout(File::create(&said).expect("a file"));
        let ended = self.ended(&mut command, within);
        let said = fs::read_to_string(said).unwrap_or_default();
        match ended {
            None => Ended::Hung,
            _ if !said.contains("running 1 test\n") => Ended::Missing,
            Some(true) => Ended::Green,
            Some(false) => Ended::Red,
        }
    }

    /// Whether a command succeeds; `None` where it does not end in time. Whatever it has started ends with it.
    fn ended(&self, command: &mut Command, within: Duration) -> Option<bool> {
        let log = File::create(&self.log).expect("a file");
        let command = command.current_dir(&self.sources).stdin(Stdio::null()).stderr(log);
        Process::start(command).ends(within).map(|status| status.success())
    }
}

/// Makes a folder equal to another, and touches nothing that is equal already.
fn mirror(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    let mut names = Vec::new();
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let (name, path) = (entry.file_name(), entry.path());
        if name == "target" || name == ".git" {
            continue;
        }
        let copy = to.join(&name);
        names.push(name);
        if path.is_dir() {
            mirror(&path, &copy);
        } else if !equal(&path, &copy).unwrap_or(false) {
            fs::copy(&path, &copy).expect("copied");
        }
    }
    for entry in fs::read_dir(to).expect("a folder") {
        let entry = entry.expect("an entry");
        if !names.contains(&entry.file_name()) {
            let path = entry.path();
            if path.is_dir() {
                fs::remove_dir_all(path).expect("removed");
            } else {
                fs::remove_file(path).expect("removed");
            }
        }
    }
}

fn equal(one: &Path, other: &Path) -> io::Result<bool> {
    Ok(fs::read(one)? == fs::read(other)?)
}
