//! What the documents promise to have.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use codeferry::grant::Outcome;
use codeferry::known_fault;

use crate::patience::Finish as _;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(root().join(path)).expect("a document")
}

/// The documents of the repository.
fn documents() -> Vec<PathBuf> {
    let folders = [root().to_owned(), root().join("docs")];
    let files = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).expect("a folder"));
    let documents = files.map(|file| file.expect("an entry").path());
    documents
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .collect()
}

#[test]
fn every_known_fault_is_in_the_document_on_troubles_and_nothing_else_is() {
    let document = text("docs/troubleshooting.md");
    let headings: Vec<&str> = document.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let known: Vec<String> = known_fault::ALL
        .iter()
        .map(|fault| format!("{}: {}", fault.id, fault.title.trim_end_matches('.')))
        .collect();
    assert_eq!(headings, known);
}

#[test]
fn every_outcome_and_command_is_documented() {
    let readme = text("README.md");
    for outcome in Outcome::ALL {
        for (document, text) in [
            ("README.md", &readme),
            ("docs/state-machine.md", &text("docs/state-machine.md")),
        ] {
            let name = format!("`{}`", outcome.name());
            assert!(text.contains(&name), "{document} does not name the outcome {name}");
        }
    }
    let help = Command::new(env!("CARGO_BIN_EXE_codeferry")).arg("--help").finish();
    let help = String::from_utf8(help.stdout).expect("text");
    let commands = help
        .split("Commands:\n")
        .nth(1)
        .and_then(|rest| rest.split("\n\n").next());
    let commands: BTreeSet<&str> = commands
        .expect("commands")
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.contains("run"), "{help}");
    for command in commands {
        assert!(
            readme.contains(&format!("codeferry {command}")) || readme.contains(&format!("-- {command}")),
            "README.md does not name the command `codeferry {command}`"
        );
    }
}

/// A line without a blank, such as a long address, may be longer.
#[test]
fn no_document_has_a_line_of_more_than_120_columns() {
    let mut long = Vec::new();
    for path in documents() {
        let name = path.strip_prefix(root()).expect("below it").display().to_string();
        let text = text(&path);
        let lines = text.lines().enumerate().filter(|(_, line)| line.chars().count() > 120);
        let lines = lines.filter(|(_, line)| line.trim().contains(' '));
        long.extend(lines.map(|(n, line)| format!("{name}:{}: {} columns", n + 1, line.chars().count())));
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn every_link_between_documents_leads_to_a_file() {
    let mut lost = Vec::new();
    for path in documents() {
        let text = text(&path);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://") && !target.starts_with('#')) {
            let file = target.split('#').next().unwrap_or(target);
            if !path.parent().expect("a folder").join(file).exists() {
                lost.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(lost.is_empty(), "{}", lost.join("\n"));
}
