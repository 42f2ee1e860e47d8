//! `codeferry worker` from outside.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::cli::exits;
use crate::patience::Finish as _;

const CONFIG: &str = r#"
[discord]
application_id = "1536000000000000001"
redirect_uri = "https://codeferry.example/callback"
[[intake.lanes]]
channel_id = "1536000000000000003"
webhook_id = "1536000000000000004"
pack = 18
[[intake.lanes]]
channel_id = "1536000000000000005"
webhook_id = "1536000000000000006"
[[delivery]]
name = "results"
kind = "jsonl"
path = "results.jsonl"
"#;

fn codeferry(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_codeferry"))
        .args(arguments)
        .env_clear()
        .env("CODEFERRY_RELAY_KEY", "CANARY-relay-0123456789abcdef0123456789abcdef")
        .current_dir(folder)
        .finish()
}

#[test]
fn the_script_needs_no_configuration_and_takes_pages_of_ones_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let (plain, _) = exits(&codeferry(folder.path(), &["worker", "script"]), 0);
    for part in ["export default {", "export class Ferry {", "Zurück zu Discord"] {
        assert_eq!(plain.matches(part).count().min(1), 1, "{part}");
    }
    fs::create_dir(folder.path().join("pages")).expect("a folder");
    let page = folder.path().join("pages/success.html");
    fs::write(&page, "<html><head>{{ wipe }}</head>My </script> \"own\" page</html>").expect("written");
    let (own, _) = exits(&codeferry(folder.path(), &["worker", "script", "--pages", "pages"]), 0);
    assert!(own.contains(r#"My </script> \"own\" page"#) && own != plain);
    fs::write(&page, "no wipe").expect("written");
    let (_, told) = exits(&codeferry(folder.path(), &["worker", "script", "--pages", "pages"]), 2);
    assert!(told.contains("`--pages`") && told.contains("wipe"), "{told}");
    exits(
        &codeferry(folder.path(), &["worker", "script", "--pages", "nowhere"]),
        2,
    );
}

#[test]
fn the_settings_follow_the_configuration_and_hold_no_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_, told) = exits(&codeferry(folder.path(), &["worker", "config"]), 2);
    assert!(told.contains("discord.application_id"), "{told}");
    let more = "[relay]\nbot_id = \"1536000000000000002\"\n[limits]\nwebhook = { per_minute = 28, burst = 4 }\n";
    fs::write(folder.path().join("codeferry.toml"), format!("{CONFIG}{more}")).expect("written");
    let (json, told) = exits(&codeferry(folder.path(), &["worker", "config", "--json"]), 0);
    assert!(
        told.contains("lane 1 has pack = 1") && !told.contains("lane 0"),
        "{told}"
    );
    let settings: Value = serde_json::from_str(&json).expect("JSON");
    let (toml, _) = exits(&codeferry(folder.path(), &["worker", "config"]), 0);
    let same: Value = serde_json::to_value(toml.parse::<toml::Table>().expect("TOML")).expect("a value");
    assert_eq!(settings, same);
    assert_eq!(
        settings["vars"],
        json!({
            "CODEFERRY_API_BASE": "https://discord.com/api/v10",
            "CODEFERRY_BOT": "1536000000000000002",
            "CODEFERRY_BURST": "4",
            "CODEFERRY_CODE_LIFETIME": "100",
            "CODEFERRY_LANES": "[{\"channel_id\":\"1536000000000000003\",\"pack\":18,\"webhook_id\":\"1536000000000000004\"},\
                                {\"channel_id\":\"1536000000000000005\",\"pack\":1,\"webhook_id\":\"1536000000000000006\"}]",
            "CODEFERRY_PER_MINUTE": "28",
        })
    );
    assert_eq!(settings["observability"]["enabled"], false);
    assert_eq!(settings["migrations"][0]["new_sqlite_classes"], json!(["Ferry"]));
}

#[test]
fn a_configuration_that_no_worker_could_serve_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let cases = [
        (CONFIG.to_owned() + "[state]\nmode = \"user_id\"\n", "state.mode"),
        (CONFIG.to_owned() + "[intake]\naccept = [\"v0\"]\n", "intake.accept"),
        (
            CONFIG[..CONFIG.find("[[intake.lanes]]").expect("lanes")].to_owned()
                + &CONFIG[CONFIG.find("[[delivery]]").expect("a sink")..]
                + "[intake.http]\nlisten = \"127.0.0.1:8080\"\n",
            "no lanes",
        ),
    ];
    for (config, word) in cases {
        fs::write(folder.path().join("codeferry.toml"), config).expect("written");
        let (out, told) = exits(&codeferry(folder.path(), &["worker", "config"]), 2);
        assert!(told.contains(word) && out.is_empty(), "{told}");
    }
}
