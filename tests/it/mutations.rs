//! Promises that are broken on purpose, in a copy of the sources, and the tests that must go red for it.
//!
//! The normal run sees that each change can still be made and that `docs/testing.md` lists it. `just mutate` makes them, one
//! after the other: a check that stays green is no check.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One promise, and how it is broken.
#[derive(Clone, Copy)]
struct Mutation {
    /// What is broken, as the document says it.
    breaks: &'static str,
    file: &'static str,
    find: &'static str,
    replace: &'static str,
    /// Where the red test is: `--lib`, or `--test it`.
    target: &'static [&'static str],
    /// What it is called, or what its folder is.
    caught_by: &'static str,
}

const LIB: &[&str] = &["--lib"];

const MUTATIONS: &[Mutation] = &[
    Mutation {
        breaks: "codes are not de-duplicated",
        file: "src/actors/journal/book/entry.rs",
        find: "if self.codes.contains_key(hash) {",
        replace: "if false {",
        target: LIB,
        caught_by: "actors::journal",
    },
    Mutation {
        breaks: "a consent that has completed may complete again",
        file: "src/actors/journal/book/begin.rs",
        find: "            if self.nonces.contains_key(nonce) {\n                return Verdict::End(Event::Superseded);",
        replace: "            if false {\n                return Verdict::End(Event::Superseded);",
        target: LIB,
        caught_by: "actors::journal",
    },
    Mutation {
        breaks: "a revocation does not wait for the person's other sign-ins",
        file: "src/actors/journal/book/begin.rs",
        find: "if !person::revocation_may_begin(theirs.iter().copied(), unknown, now) {",
        replace: "if false {",
        target: LIB,
        caught_by: "actors::journal",
    },
    Mutation {
        breaks: "an exchange does not wait for a revocation on the wire",
        file: "src/actors/journal/book/begin.rs",
        find: "if person::exchange_may_begin(others, self.revoking.contains_key(&person), now) {",
        replace: "if others.count() < usize::MAX {",
        target: LIB,
        caught_by: "actors::journal",
    },
    Mutation {
        breaks: "a message is removed before its codes are spent",
        file: "src/actors/journal/book/messages.rs",
        find: "&& carrier.unspent == 0",
        replace: "",
        target: LIB,
        caught_by: "actors",
    },
    Mutation {
        breaks: "what was received is not revoked",
        file: "src/grant/transition.rs",
        find: "revocation: token.map_or(Revocation::NotNeeded, |t| owed_revocation(&t.access, now)),",
        replace: "revocation: Revocation::NotNeeded,",
        target: LIB,
        caught_by: "grant::transition",
    },
    Mutation {
        breaks: "somebody else may use a link",
        file: "src/grant/transition.rs",
        find: "self.requested.user.is_none_or(|asked| asked == person)",
        replace: "self.requested.user.is_none_or(|asked| asked.0 > 0 || asked == person)",
        target: LIB,
        caught_by: "grant::transition",
    },
    Mutation {
        breaks: "a state's MAC is not checked",
        file: "src/intake/state.rs",
        find: "if !verify(&self.0, &body, &mac) {",
        replace: "if !verify(&self.0, &body, &mac) && body.is_empty() {",
        target: LIB,
        caught_by: "intake::state",
    },
    Mutation {
        breaks: "a state's expiry is not checked",
        file: "src/intake/state.rs",
        find: "if now >= token.expires_at + self.code_lifetime {",
        replace: "if false {",
        target: LIB,
        caught_by: "intake::state",
    },
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_mutation_can_be_made_and_is_listed() {
    let listed = fs::read_to_string(root().join("docs/testing.md")).expect("a document");
    for Mutation { breaks, file, find, .. } in MUTATIONS {
        let text = fs::read_to_string(root().join(file)).expect("a source file");
        assert_eq!(text.matches(find).count(), 1, "`{find}` in {file}");
        assert!(
            listed.contains(&format!("| {breaks} |")),
            "docs/testing.md does not list: {breaks}"
        );
    }
}

/// Copies what is needed to build; nothing is copied twice.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let (name, path) = (entry.file_name(), entry.path());
        if name == "target" || name == ".git" {
            continue;
        }
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).expect("copied");
        }
    }
}

/// Whether cargo succeeds in the copy.
fn cargo(tree: &Path, arguments: &[&[&str]]) -> bool {
    let mut command = Command::new(env!("CARGO"));
    command
        .arg("test")
        .arg("--locked")
        .args(arguments.concat())
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", tree.with_file_name("target"))
        .env_remove("CODEFERRY_MUTATE")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().expect("cargo runs").success()
}

#[test]
fn every_mutation_turns_its_tests_red() {
    let Ok(wanted) = std::env::var("CODEFERRY_MUTATE") else {
        return;
    };
    let tree = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutations/tree");
    let _ = fs::remove_dir_all(&tree);
    copy(&root(), &tree);
    let mut survived = Vec::new();
    for mutation in MUTATIONS.iter().filter(|m| wanted == "1" || m.breaks.contains(&wanted)) {
        let file = tree.join(mutation.file);
        let text = fs::read_to_string(&file).expect("a source file");
        fs::write(&file, text.replacen(mutation.find, mutation.replace, 1)).expect("written");
        let outcome = if !cargo(&tree, &[mutation.target, &["--no-run"]]) {
            "does not build"
        } else if cargo(&tree, &[mutation.target, &["--", mutation.caught_by]]) {
            "GREEN"
        } else {
            "red"
        };
        eprintln!("{:<62} {:<32} {outcome}", mutation.breaks, mutation.caught_by);
        if outcome != "red" {
            survived.push(format!("{}: {outcome}", mutation.breaks));
        }
        fs::write(&file, text).expect("written back");
    }
    assert!(survived.is_empty(), "{survived:#?}");
}
