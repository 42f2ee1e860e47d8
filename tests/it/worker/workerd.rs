//! The Worker in Cloudflare's own runtime, workerd, with a Durable Object on the disk, between browsers and the embedded
//! Discord. Where workerd is not installed the tests say so and are skipped.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::conformance::engine::literal;
use crate::patience::{Finish as _, until, wait};
use crate::relay::test_support::Edge;
use crate::service::test_support::{PERSON, Service};
use crate::tally::{Tally, tell};

/// Where `.ci/run` puts it: the binary itself, not npm's launcher, which a kill would leave it behind.
fn workerd() -> Option<PathBuf> {
    let modules = Path::new(env!("CARGO_TARGET_TMPDIR")).join("workerd/node_modules/@cloudflare");
    let platforms = fs::read_dir(&modules).into_iter().flatten().flatten();
    let found = platforms
        .map(|folder| folder.path().join("bin/workerd"))
        .find(|path| path.exists());
    if found.is_none() {
        eprintln!(
            "SKIPPED: no workerd here; install it (npm install --ignore-scripts --prefix target/tmp/workerd workerd)"
        );
    }
    found
}

/// Puts the Worker's script and settings into the edge's folder, both as the commands print them.
fn deploy(edge: &Edge) {
    let printed = |arguments: &[&str]| {
        let out = edge.site.command(arguments).finish();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).expect("text")
    };
    let script = printed(&["worker", "script"]);
    let settings: Value = serde_json::from_str(&printed(&["worker", "config", "--json"])).expect("JSON");
    let mut bindings = String::new();
    for (name, value) in settings["vars"].as_object().expect("variables") {
        writeln!(
            bindings,
            "(name = \"{name}\", text = {}),",
            literal(value.as_str().expect("a text"))
        )
        .expect("text");
    }
    for name in ["CODEFERRY_RELAY_KEY", "CODEFERRY_STATE_KEY", "CODEFERRY_WEBHOOK_TOKENS"] {
        let value = &edge.site.variables[name];
        assert!(!script.contains(value.as_str()) && !settings.to_string().contains(value.as_str()));
        writeln!(bindings, "(name = \"{name}\", text = {}),", literal(value)).expect("text");
    }
    let binding = &settings["durable_objects"]["bindings"][0];
    let (name, class) = (
        binding["name"].as_str().expect("a name"),
        binding["class_name"].as_str().expect("a class"),
    );
    let disk = edge.site.path("edge/disk");
    fs::create_dir_all(&disk).expect("a folder");
    let config = format!(
        "using Workerd = import \"/workerd/workerd.capnp\";
         const config :Workerd.Config = (
           services = [
             (name = \"main\", worker = .main),
             (name = \"disk\", disk = (path = \"{}\", writable = true)),
             (name = \"internet\", network = (allow = [\"local\", \"private\"])),
           ],
           sockets = [(name = \"http\", address = \"127.0.0.1:{}\", http = (), service = \"main\")],
         );
         const main :Workerd.Worker = (
           modules = [(name = \"{}\", esModule = embed \"worker.js\")],
           compatibilityDate = {},
           bindings = [{bindings} (name = \"{name}\", durableObjectNamespace = \"{class}\")],
           durableObjectNamespaces = [(className = \"{class}\", uniqueKey = \"ferry\", enableSql = true)],
           durableObjectStorage = (localDisk = \"disk\"),
         );",
        disk.display(),
        edge.port,
        settings["main"].as_str().expect("a name"),
        settings["compatibility_date"],
    );
    fs::write(edge.site.path("edge/worker.js"), script).expect("written");
    fs::write(edge.site.path("edge/worker.capnp"), config).expect("written");
}

/// Lets lanes carry as many codes in a message as there is room for, for this bot.
fn pack(edge: &Edge) {
    let file = edge.site.file();
    let text = fs::read_to_string(&file).expect("a file");
    let text = text.replace("[[intake.lanes]]", "[[intake.lanes]]\npack = 18");
    fs::write(
        &file,
        format!("{text}[relay]\nbot_id = \"{}\"\n", edge.site.about.bot_id),
    )
    .expect("written");
}

fn start(edge: &Edge, workerd: &Path) -> Service {
    // What the Worker logs comes on stdout.
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$0\" serve \"$1\" >&2"])
        .arg(workerd)
        .arg(edge.site.path("edge/worker.capnp"));
    let worker = edge.site.start(command, "worker.log");
    let up = || {
        edge.runtime
            .block_on(async { edge.http.get(edge.url("/healthz")).send().await.is_ok() })
    };
    assert!(wait(Duration::from_secs(30), up), "{}", worker.log());
    worker
}

#[test]
fn everybody_who_comes_through_the_worker_completes_and_its_limits_hold() {
    let Some(workerd) = workerd() else { return };
    let edge = Edge::with_limits(1, "");
    pack(&edge);
    deploy(&edge);
    let service = edge.site.run_ready();
    let worker = start(&edge, &workerd);
    let health = edge.get("/healthz");
    assert_eq!(health.status, 200, "{}", health.body);
    let people = 60;
    let told = edge.crowd(1_000, people, 8).told();
    assert_eq!(told.len() as u64, people);
    let denied = edge.get(&format!(
        "/callback?error=access_denied&state={}",
        Edge::state(PERSON + 7_000, 0, crate::relay::test_support::in_seconds(500), 7)
    ));
    assert!(denied.body.contains("<main id=\"denied\">"), "{}", denied.body);
    let all = wait(Duration::from_mins(1), || edge.completed().len() as u64 == people);
    assert!(
        all,
        "{} of {people} completed: {}",
        edge.completed().len(),
        worker.log()
    );
    until(Duration::from_secs(30), "the denial arrives", || {
        edge.site.results().len() as u64 == people + 1
    });
    let worker_log = worker.log();
    worker.kill();
    service.drain();
    let summary = edge.site.simulator.summary();
    assert_eq!(summary.presented_twice, 0);
    assert!(
        (5..=30).contains(&summary.worst_minute),
        "{} posts in a minute",
        summary.worst_minute
    );
    assert!(!worker_log.contains("not posted"), "{worker_log}");
}

#[test]
fn no_code_that_the_worker_answered_with_the_success_page_is_lost_by_a_kill() {
    let Some(workerd) = workerd() else { return };
    let edge = Edge::without_limits("");
    pack(&edge);
    deploy(&edge);
    let service = edge.site.run_ready();
    let mut told = BTreeSet::new();
    let kills: u64 = 3;
    for kill in 0..kills {
        let worker = start(&edge, &workerd);
        let crowd = edge.crowd(kill * 1_000, 100, 8);
        until(Duration::from_secs(20), "people on their way", || {
            crowd.set_out() as u64 >= 20 + kill * 31
        });
        worker.kill();
        told.extend(crowd.told());
    }
    assert!(
        told.len() as u64 >= kills * 5,
        "{} people were told that they are done",
        told.len()
    );
    let worker = start(&edge, &workerd);
    // This runtime keeps alarms in memory, other than Cloudflare: the next request wakes the Durable Object.
    told.extend(edge.crowd(50_000, 1, 1).told());
    until(Duration::from_mins(1), "everybody who was told completes", || {
        let completed: BTreeSet<u64> = edge.completed().into_iter().collect();
        told.is_subset(&completed)
    });
    worker.kill();
    service.drain();
    assert_eq!(edge.site.simulator.summary().presented_twice, 0);
    tell(
        "worker: kill -9 under load",
        Tally {
            tried: kills,
            survived: kills,
            ..Tally::default()
        },
    );
}
