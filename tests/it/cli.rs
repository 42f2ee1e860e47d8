//! The binary from outside: exit codes, what goes to stdout and what to stderr.

mod env_file;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::patience::{Finish as _, Process};

const GIVEN: [(&str, &str); 3] = [
    ("CODEFERRY_BOT_TOKEN", "CANARY-bot"),
    ("CODEFERRY_CLIENT_SECRET", "CANARY-client"),
    ("CODEFERRY_RELAY_KEY", "CANARY-relay-0123456789abcdef0123456789abcdef"),
];

fn folder_with(config: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    fs::write(folder.path().join("codeferry.toml"), config).expect("written");
    folder
}

fn example() -> TempDir {
    folder_with(include_str!("../../config/example.toml"))
}

fn codeferry(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_codeferry"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .current_dir(folder)
        .finish()
}

/// What it printed, if it ended with this code and shows no secret.
#[track_caller]
pub fn exits(output: &Output, code: i32) -> (String, String) {
    let (out, err) = crate::service::test_support::exits(output, code);
    assert!(!out.contains("CANARY") && !err.contains("CANARY"), "{out}{err}");
    (out, err)
}

#[test]
fn help_is_fine_and_wrong_usage_is_2() {
    let folder = example();
    let run = |arguments: &[&str]| codeferry(folder.path(), arguments, &[]);
    let (out, _) = exits(&run(&["--help"]), 0);
    for command in ["demo", "run", "simulate", "link", "worker", "debug", "config"] {
        assert!(out.contains(command), "{out}");
    }
    exits(&run(&["--version"]), 0);
    for wrong in [
        &[][..],
        &["nonsense"],
        &["link"],
        &["link", "12"],
        &["run", "--frobnicate"],
        &["debug", "queue", "list", "--state", "asleep"],
        &["debug", "queue", "show", "not-an-id"],
        &["--log-level", "loud", "config", "show"],
    ] {
        let (out, err) = exits(&run(wrong), 2);
        assert!(out.is_empty() && !err.is_empty(), "{wrong:?}: {out}");
    }
}

#[test]
fn the_promised_arguments_of_debug_are_understood() {
    // Each gets past the parser: what stops it is the missing configuration.
    let folder = tempfile::tempdir().expect("temporary folder");
    let id = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    for arguments in [
        &[
            "debug", "queue", "list", "--limit", "0", "--state", "settling", "--parked", "--json",
        ][..],
        &["debug", "queue", "show", id],
        &["debug", "queue", "stats", "--json"],
        &["debug", "queue", "requeue", id, "--sink", "results"],
        &["debug", "queue", "drop", id, "--yes"],
        &["debug", "queue", "export"],
        &["debug", "budget", "--json"],
        &["debug", "verify", "--json"],
        &["debug", "watch"],
    ] {
        let (_, err) = exits(&codeferry(folder.path(), arguments, &[]), 2);
        assert!(
            err.contains("`discord.application_id` is missing"),
            "{arguments:?}: {err}"
        );
    }
}

#[test]
fn a_good_configuration_is_fine_and_nothing_is_written() {
    let folder = example();
    let (out, err) = exits(&codeferry(folder.path(), &["config", "check"], &GIVEN), 0);
    assert!(out.starts_with("configuration is fine"), "{out}");
    assert!(out.contains("deliver to `results`: jsonl"), "{out}");
    assert!(err.is_empty(), "{err}");
    let (out, _) = exits(&codeferry(folder.path(), &["config", "check", "--json"], &GIVEN), 0);
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&json["ok"], &json["errors"]), (&true.into(), &serde_json::json!([])));
    assert!(!folder.path().join("data").exists());
}

#[test]
fn a_bad_configuration_names_all_its_errors_and_exits_2() {
    let folder = folder_with(
        "[discord]\napplication_id = 5\n[log]\nlevle = \"info\"\n[[delivery]]\nname = \"x\"\nkind = \"fax\"\n",
    );
    let (out, err) = exits(&codeferry(folder.path(), &["config", "check"], &GIVEN[..2]), 2);
    assert!(out.is_empty(), "{out}");
    let wanted = [
        "codeferry: the configuration has 5 errors",
        "codeferry.toml: `intake.lanes` is missing",
        "codeferry.toml:1: `discord.redirect_uri` is missing",
        "codeferry.toml:2: `discord.application_id` is not an id",
        "codeferry.toml:4: `log.levle` is not a known key; did you mean `level`?",
        "codeferry.toml:7: `delivery[0].kind` is `fax`",
    ];
    for part in wanted {
        assert!(err.contains(part), "lacks {part}:\n{err}");
    }
    let (out, _) = exits(&codeferry(folder.path(), &["--json", "config", "check"], &GIVEN), 2);
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(json["ok"], false);
    let unknown = json["errors"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|e| e["key"] == "log.levle");
    assert_eq!(
        unknown.expect("it is named"),
        &serde_json::json!({
            "file": "codeferry.toml",
            "line": 4,
            "variable": null,
            "key": "log.levle",
            "problem": "is not a known key",
            "cure": "did you mean `level`?",
        })
    );
    // `run` says the same and starts nothing.
    exits(&codeferry(folder.path(), &["run"], &GIVEN), 2);
    assert!(!folder.path().join("data").exists());
}

#[test]
fn show_tells_values_and_where_they_came_from_but_no_secret() {
    let folder = example();
    let mut variables = GIVEN.to_vec();
    variables.push(("CODEFERRY_JOURNAL__CACHE_MB", "32"));
    let (out, _) = exits(&codeferry(folder.path(), &["config", "show"], &variables), 0);
    let has = |left: &str, right: &str| {
        assert!(
            out.lines().any(|l| l.starts_with(left) && l.ends_with(right)),
            "lacks {left} … {right}:\n{out}"
        );
    };
    has("journal.cache_mb = 32", "# environment CODEFERRY_JOURNAL__CACHE_MB");
    has("delivery[0].name = \"results\"", "# file codeferry.toml:13");
    has("limits.webhook.per_minute = 30", "# default");
    has("CODEFERRY_BOT_TOKEN", "# set");
    has("CODEFERRY_STATE_KEY", "# not set");
    let (out, _) = exits(&codeferry(folder.path(), &["config", "show", "--json"], &variables), 0);
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        json["values"]["journal.cache_mb"],
        serde_json::json!({ "value": 32, "from": "environment", "variable": "CODEFERRY_JOURNAL__CACHE_MB" })
    );
    assert_eq!(json["secrets"]["CODEFERRY_CLIENT_SECRET"], "set");
}

#[test]
fn the_schema_accepts_the_shipped_files_and_refuses_unknown_keys() {
    let folder = example();
    let (out, _) = exits(&codeferry(folder.path(), &["config", "schema"], &[]), 0);
    let schema: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let value = |text: &str| serde_json::to_value(text.parse::<toml::Table>().expect("TOML")).expect("JSON");
    for text in [
        include_str!("../../config/example.toml"),
        include_str!("../../config/default.toml"),
    ] {
        let value = value(text);
        let faults: Vec<_> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
        assert!(faults.is_empty(), "{faults:?}");
    }
    assert!(!validator.is_valid(&value("[log]\nlevle = \"info\"")));
    assert!(validator.is_valid(&value("[limits]\noauth = \"off\"")));
    assert!(!validator.is_valid(&value("[limits]\noauth = \"on\"")));
}

#[test]
fn a_link_is_signed_for_one_person_and_a_lane() {
    let folder = example();
    let (out, _) = exits(
        &codeferry(folder.path(), &["link", "80000000000000001", "--json"], &[]),
        0,
    );
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let url = url::Url::parse(json["url"].as_str().expect("a text")).expect("a URL");
    let get = |name: &str| url.query_pairs().find(|(n, _)| n == name).map(|(_, v)| v.into_owned());
    assert_eq!(url.host_str(), Some("discord.com"));
    assert_eq!(get("client_id").as_deref(), Some("1536000000000000001"));
    assert_eq!(get("redirect_uri").as_deref(), Some("https://relay.example/callback"));
    assert_eq!(get("code_challenge_method").as_deref(), Some("S256"));
    assert_eq!(get("state").map(|s| (s.len(), s.starts_with("s1."))), Some((57, true)));
    assert_eq!(json["lane"], 0);
    assert!(json["expires_at"].as_str().is_some_and(|t| t.ends_with('Z')));

    // The keys were made, and the next link is made with the same ones but another nonce.
    assert!(folder.path().join("data/keys/state.key").exists());
    let (out, err) = exits(&codeferry(folder.path(), &["link", "80000000000000001"], &[]), 0);
    assert!(
        out.starts_with("https://discord.com/oauth2/authorize?") && out.lines().count() == 1,
        "{out}"
    );
    assert!(
        err.starts_with("valid until ") && err.contains("the service is not running"),
        "{err}"
    );
    assert_ne!(out.trim(), url.as_str());

    let (_, err) = exits(
        &codeferry(folder.path(), &["link", "80000000000000001", "--purpose", "other"], &[]),
        2,
    );
    assert!(err.contains("use one of: default"), "{err}");
}

#[test]
fn a_data_folder_that_cannot_be_made_is_74() {
    let folder = example();
    fs::write(folder.path().join("data"), "").expect("written");
    let (_, err) = exits(&codeferry(folder.path(), &["link", "80000000000000001"], &[]), 74);
    assert!(err.contains("data/keys/state.key"), "{err}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = example();
    let said = folder.path().join("said");
    let mut command = Command::new(env!("CARGO_BIN_EXE_codeferry"));
    command
        .args(["config", "schema"])
        .env_clear()
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&said).expect("made"));
    let mut process = Process::start(&mut command);
    // The schema is longer than a pipe holds only on some systems: the reader goes before it is written.
    drop(process.stdout());
    let status = process.ends(Duration::from_mins(1)).expect("it ends");
    let said = fs::read_to_string(&said).expect("read");
    assert!(status.success() && !said.contains("CANARY"), "{status}: {said}");
}

#[test]
fn log_directives_that_cannot_be_read_are_2() {
    let folder = example();
    let (_, err) = exits(
        &codeferry(folder.path(), &["config", "schema"], &[("CODEFERRY_LOG", "a=b=c")]),
        2,
    );
    assert!(err.contains("CODEFERRY_LOG"), "{err}");
}

/// What `run` would refuse after some seconds, or after a sign-in, is known before.
#[test]
fn config_check_refuses_what_this_machine_or_a_slip_of_the_hand_would_make_run_refuse() {
    let check = |config: String, variables: &[(&str, &str)], says: &[&str]| {
        let folder = folder_with(&config);
        fs::create_dir(folder.path().join("pages")).expect("made");
        fs::write(folder.path().join("pages/success.html"), "{{ wipe }}{% if").expect("written");
        let (_, err) = exits(&codeferry(folder.path(), &["config", "check"], variables), 2);
        assert!(says.iter().all(|part| err.contains(part)), "{err}");
        let (out, _) = exits(&codeferry(folder.path(), &["config", "check", "--json"], variables), 2);
        assert!(out.contains("\"ok\":false"), "{out}");
    };
    let example = include_str!("../../config/example.toml");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("its address");
    let with = |more: &str| format!("{example}\n{more}\n");
    check(
        with(&format!("[intake.http]\nlisten = \"{address}\"\n")),
        &GIVEN,
        &["`intake.http.listen` cannot be listened on: Address already in use"],
    );
    check(
        with("[intake.http]\nlisten = \"127.0.0.1:0\"\npages = \"pages\"\n"),
        &GIVEN,
        &[
            "`intake.http.pages` cannot be used",
            "success.html` is not a valid template",
        ],
    );
    check(
        with("[journal]\npath = \"codeferry.toml/journal\"\n"),
        &GIVEN,
        &[
            "`journal.path` needs a folder, but `",
            "codeferry.toml` is a file; name another path",
        ],
    );
    let token = "MTUzNjAwMDAwMDAwMDAwMDAwOQ.GAbCdE.CANARY89012345678901234567890123456789";
    let secret = "CANARY78901234567890123456789012";
    let swapped = [
        GIVEN[2],
        ("CODEFERRY_BOT_TOKEN", secret),
        ("CODEFERRY_CLIENT_SECRET", token),
    ];
    check(
        example.to_owned(),
        &swapped,
        &[
            "environment CODEFERRY_BOT_TOKEN: looks like a client secret, not like a bot's token",
            "environment CODEFERRY_CLIENT_SECRET: looks like a bot's token, not like a client secret",
        ],
    );
    let quoted = [GIVEN[1], GIVEN[2], ("CODEFERRY_BOT_TOKEN", "\"CANARY-bot\"")];
    check(
        example.to_owned(),
        &quoted,
        &["stands in quotes; give it without quotes"],
    );
}

#[test]
fn config_check_names_folders_that_this_user_may_not_write() {
    let example = include_str!("../../config/example.toml");
    let folder = folder_with(example);
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
    open(folder.path(), 0o755);
    fs::create_dir(folder.path().join("data")).expect("made");
    let keys = folder.path().join("data/keys");
    fs::create_dir(&keys).expect("made");
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(env!("CARGO_BIN_EXE_codeferry"))
            .args(arguments)
            .env_clear()
            .envs(GIVEN)
            .env("PATH", "/usr/bin:/bin")
            .current_dir(folder.path());
        command.finish()
    };
    if !rustix::process::geteuid().is_root() || !as_nobody(&["--version"]).status.success() {
        eprintln!("SKIPPED: this needs root, setpriv, and a build folder that every user may read");
        return;
    }
    open(&keys, 0o700);
    let (_, err) = exits(&as_nobody(&["config", "check"]), 2);
    for part in [
        "`journal.path` needs the folder `",
        "data`, which cannot be used: Permission denied",
    ] {
        assert!(err.contains(part), "{part}: {err}");
    }
}

#[test]
fn completions_and_man_pages_name_every_command() {
    let folder = tempfile::tempdir().expect("a folder");
    for shell in ["bash", "zsh", "fish"] {
        let (out, _) = exits(&codeferry(folder.path(), &["completions", shell], &[]), 0);
        assert!(out.contains("doctor") && out.contains("simulate"), "{shell}: {out}");
    }
    let (out, _) = exits(&codeferry(folder.path(), &["man"], &[]), 0);
    assert!(out.starts_with(".ie") && out.contains("codeferry\\-doctor"), "{out}");
    exits(&codeferry(folder.path(), &["man", "--output", "pages"], &[]), 0);
    for page in ["codeferry.1", "codeferry-run.1", "codeferry-debug-queue-list.1"] {
        assert!(folder.path().join("pages").join(page).exists(), "{page}");
    }
}

#[test]
fn an_error_that_nobody_reads_keeps_its_exit_code() {
    let folder = folder_with("[discord]\n");
    for arguments in [&["config", "check"][..], &["run"], &["link", "80000000000000001"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_codeferry"));
        command
            .args(arguments)
            .env_clear()
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(writer);
        let ended = Process::start(&mut command).ends(Duration::from_secs(30));
        let ended = ended.expect("it ends");
        assert_eq!(ended.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_service_with_too_few_descriptors_is_refused_at_its_start() {
    // A start that goes on ends at once all the same: its journal is no folder.
    let config = include_str!("../../config/example.toml");
    let folder = folder_with(&format!("{config}\n[journal]\npath = \"codeferry.toml/journal\"\n"));
    let command = format!("ulimit -n 48 && exec {} run", env!("CARGO_BIN_EXE_codeferry"));
    let ended = Command::new("/bin/sh")
        .args(["-c", &command])
        .env_clear()
        .envs(GIVEN)
        .current_dir(folder.path())
        .finish();
    let (_, err) = exits(&ended, 2);
    assert!(
        err.contains("only 48 files may be open at once, and the service needs 128"),
        "{err}"
    );
    assert!(err.contains("ulimit -n 1024"), "{err}");
}
