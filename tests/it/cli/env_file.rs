//! The file `.env` beside the configuration.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::{GIVEN, codeferry, example, exits};

/// A folder with a configuration and a file of variables of this mode.
fn folder_with_env(text: &str, mode: u32) -> TempDir {
    let folder = example();
    let path = folder.path().join(".env");
    fs::write(&path, text).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("changed");
    folder
}

const ENV: &str = "# secrets\nCODEFERRY_BOT_TOKEN=CANARY-bot\nexport CODEFERRY_CLIENT_SECRET='CANARY-client'\n\
                   CODEFERRY_RELAY_KEY_FILE=relay.key\nCODEFERRY_GATE__SHARE=0.5\nPATH=/nowhere\n";

#[test]
fn variables_are_read_from_a_file_beside_the_configuration_wherever_the_command_runs() {
    let folder = folder_with_env(ENV, 0o600);
    fs::write(folder.path().join("relay.key"), GIVEN[2].1).expect("written");
    exits(&codeferry(folder.path(), &["config", "check"], &[]), 0);
    let file = folder.path().join("codeferry.toml");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let show = ["config", "show", "--config", file.to_str().expect("text")];
    let (out, _) = exits(&codeferry(elsewhere.path(), &show, &[]), 0);
    assert!(out.contains("# .env CODEFERRY_GATE__SHARE"), "{out}");
    let set = |out: &str| out.lines().filter(|line| line.ends_with("# set")).count();
    assert_eq!(set(&out), 3, "{out}");
}

#[test]
fn what_the_process_is_given_wins_over_the_file_of_variables_in_either_form() {
    let folder = folder_with_env(ENV, 0o600);
    let given = [("CODEFERRY_GATE__SHARE", "0.25"), GIVEN[2]];
    let (out, _) = exits(&codeferry(folder.path(), &["config", "show"], &given), 0);
    assert!(out.contains("gate.share = 0.25"), "{out}");
    // Given as a value, it is not given as a file too.
    exits(&codeferry(folder.path(), &["config", "check"], &given), 0);
}

#[test]
fn a_file_of_variables_that_others_can_read_or_that_cannot_be_read_is_refused() {
    for mode in [0o644, 0o640, 0o604] {
        let folder = folder_with_env(ENV, mode);
        let (_, err) = exits(&codeferry(folder.path(), &["config", "check"], &GIVEN), 2);
        assert!(err.contains("[CF006]") && err.contains("chmod 600"), "{mode:o}: {err}");
    }
    let folder = folder_with_env("CODEFERRY_LOG=info\nCODEFERRY_BOT_TOKEN='CANARY\n", 0o600);
    let (_, err) = exits(&codeferry(folder.path(), &["config", "check"], &GIVEN), 2);
    assert!(err.contains("the line after CODEFERRY_LOG cannot be read"), "{err}");
}
