//! Reads every path of `src` that begins with `crate`, `super` or `self`, and holds it against the allowed directions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A module may use those on the lines above its own; those on one line do not use each other. One with a colon uses only
/// what it names. `docs/architecture.md` shows the same list.
const DIRECTIONS: &str = "\
time secret text lifecycle crash known_fault
ids permission
grant
intake rate metrics
http port server
store config
telemetry delivery front
steps relay
discord
actors
service
control
dashboard doctor
simulator: time ids permission
cli
";

type Module = Vec<String>;

struct Use {
    by: Module,
    of: Module,
}

/// The paths of one file, nested lists taken apart: `super::{a, b::{self, c}}` is three.
fn paths(source: &str) -> Vec<Module> {
    let mut found = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in source.match_indices(start) {
            let before = source[..at].chars().next_back();
            if before.is_none_or(|c| !(c.is_alphanumeric() || c == '_' || c == ':')) {
                tree(&source[at..], &[], &mut found);
            }
        }
    }
    found
}

/// Reads one path or list, and answers what follows it.
fn tree<'s>(mut rest: &'s str, prefix: &[String], found: &mut Vec<Module>) -> &'s str {
    let mut path = prefix.to_vec();
    loop {
        rest = rest.trim_start();
        if let Some(mut list) = rest.strip_prefix('{') {
            loop {
                list = list.trim_start_matches([',', ' ', '\n']);
                match list.strip_prefix('}') {
                    Some(after) => return after,
                    None if list.is_empty() => return list,
                    None => list = tree(list, &path, found),
                }
            }
        }
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(rest.len());
        if end == 0 {
            found.push(path);
            return rest.strip_prefix('*').unwrap_or(rest);
        }
        path.push(rest[..end].to_owned());
        rest = &rest[end..];
        match rest.strip_prefix("::") {
            Some(more) => rest = more,
            None => {
                found.push(path);
                let renamed = rest.strip_prefix(" as ").unwrap_or(rest);
                return renamed
                    .trim_start_matches(|c: char| rest.len() != renamed.len() && (c.is_alphanumeric() || c == '_'));
            }
        }
    }
}

/// Code that is not a test's, without its comments.
fn code(source: &str) -> String {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// What a path means inside a module.
fn absolute(by: &Module, path: &[String]) -> Module {
    match path[0].as_str() {
        "crate" => path[1..].to_vec(),
        "self" => [by.as_slice(), &path[1..]].concat(),
        _ => {
            let up = path.iter().take_while(|step| *step == "super").count();
            [&by[..by.len().saturating_sub(up)], &path[up..]].concat()
        }
    }
}

fn visit(folder: &Path, module: &Module, modules: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if name == "tests" || name.ends_with("_tests") || name == "test_support" || name == "testing" {
            continue;
        }
        let inner = [module.as_slice(), std::slice::from_ref(&name)].concat();
        if path.is_dir() {
            visit(&path, &inner, modules);
        } else if path.extension().is_some_and(|ext| ext == "rs") && name != "lib" && name != "main" {
            let module = if name == "mod" { module.clone() } else { inner };
            let source = fs::read_to_string(&path).expect("a text");
            modules.insert(module, code(&source));
        }
    }
}

fn modules() -> BTreeMap<Module, String> {
    let mut modules = BTreeMap::new();
    visit(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &Vec::new(),
        &mut modules,
    );
    assert!(modules.len() > 150, "only {} modules were found", modules.len());
    modules
}

fn uses(modules: &BTreeMap<Module, String>) -> Vec<Use> {
    let of_one = |(by, code): (&Module, &String)| {
        let by = by.clone();
        let used = paths(code).into_iter().map(move |path| Use {
            of: absolute(&by, &path),
            by: by.clone(),
        });
        used.collect::<Vec<_>>()
    };
    modules
        .iter()
        .flat_map(of_one)
        .filter(|used| !used.of.is_empty())
        .collect()
}

#[test]
fn every_module_uses_only_those_above_it_in_the_list() {
    let mut rank = BTreeMap::new();
    let mut named = BTreeMap::new();
    for (line, names) in DIRECTIONS.lines().enumerate() {
        let (names, only) = names
            .split_once(':')
            .map_or((names, None), |(name, only)| (name, Some(only)));
        for name in names.split_whitespace() {
            rank.insert(name, line);
            named.extend(only.map(|only| (name, only.split_whitespace().collect::<Vec<_>>())));
        }
    }
    let modules = modules();
    let mut wrong = BTreeSet::new();
    for Use { by, of } in uses(&modules) {
        let (user, used) = (by[0].as_str(), of[0].as_str());
        if user == used || !modules.keys().any(|module| module[0] == used) {
            continue;
        }
        let allowed = match named.get(user) {
            Some(only) => only.contains(&used),
            None => rank
                .get(used)
                .zip(rank.get(user))
                .is_some_and(|(used, user)| used < user),
        };
        if !allowed {
            wrong.insert(format!("{} uses {}", by.join("::"), of.join("::")));
        }
    }
    assert!(wrong.is_empty(), "against the list: {wrong:#?}");
}

#[test]
fn the_architecture_shows_the_same_list() {
    let shown = include_str!("../../docs/architecture.md");
    let list = format!("```\n{DIRECTIONS}```");
    assert!(
        shown.contains(&list),
        "docs/architecture.md does not show this list:\n{list}"
    );
}

/// Modules of one folder that can reach themselves through each other.
#[test]
fn no_modules_of_one_folder_use_each_other_in_a_circle() {
    let modules = modules();
    let mut edges: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for Use { by, of } in uses(&modules) {
        let shared = by.iter().zip(&of).take_while(|(a, b)| a == b).count();
        if shared < by.len() && shared < of.len() {
            let sibling = of[..=shared].to_vec();
            if modules.keys().any(|module| module.starts_with(&sibling)) {
                edges.entry(by[..=shared].to_vec()).or_default().insert(sibling);
            }
        }
    }
    let reaches_itself = |start: &Module| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![start]);
        while let Some(module) = next.pop() {
            for used in edges.get(module).into_iter().flatten() {
                if used == start {
                    return true;
                }
                if seen.insert(used) {
                    next.push(used);
                }
            }
        }
        false
    };
    let circles = edges.keys().filter(|m| reaches_itself(m)).map(|m| m.join("::"));
    let circles: Vec<String> = circles.collect();
    assert!(circles.is_empty(), "in circles: {circles:#?}");
}

#[test]
fn every_form_of_a_path_is_read() {
    let source =
        "use crate::a::{self, b::{C, d::*}, E as F};\nuse super::g;\nlet x = self::h::i(my_crate::j, &crate::k::L);";
    let found: BTreeSet<String> = paths(source).iter().map(|path| path.join("::")).collect();
    let expected = [
        "crate::a::self",
        "crate::a::b::C",
        "crate::a::b::d",
        "crate::a::E",
        "super::g",
        "self::h::i",
        "crate::k::L",
    ];
    assert_eq!(found, expected.map(str::to_owned).into());
    let by = ["a", "b"].map(str::to_owned).to_vec();
    assert_eq!(absolute(&by, &["super".to_owned(), "c".to_owned()]), ["a", "c"]);
}
