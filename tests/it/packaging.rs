//! What is given away besides the binary: the unit, the configuration, the container.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli::exits;
use crate::patience::{Finish as _, installed};

const BINARY: &str = env!("CARGO_BIN_EXE_codeferry");

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(packaging(name)).expect("a file")
}

/// `codeferry` with the packages' configuration, which says who the user is by a name of its own.
fn codeferry(arguments: &[&str], variables: &[(&str, &str)]) -> std::process::Output {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = text("codeferry.toml");
    // Here nobody may write to the real one.
    config = config.replace("/var/lib/codeferry", folder.path().to_str().expect("text"));
    fs::create_dir(folder.path().join("data")).expect("a folder");
    fs::write(folder.path().join("codeferry.toml"), config).expect("written");
    let mut command = Command::new(BINARY);
    command.env_clear().envs(variables.iter().copied());
    command.env("CODEFERRY_CONFIG", folder.path().join("codeferry.toml"));
    command.args(arguments).finish()
}

#[test]
fn the_packages_configuration_and_the_variables_of_the_container_are_what_the_service_takes() {
    let folder = tempfile::tempdir().expect("a folder");
    let compose = text("compose.yaml");
    let named = compose
        .lines()
        .filter_map(|line| line.trim().split_once(": /run/secrets/"));
    let files: Vec<(&str, PathBuf)> = named.map(|(name, file)| (name, folder.path().join(file))).collect();
    assert!(files.len() >= 3, "{compose}");
    for (name, file) in &files {
        use std::os::unix::fs::PermissionsExt as _;
        fs::write(file, format!("{name}-0123456789abcdef0123456789abcdef")).expect("written");
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("its owner's");
    }
    let variables: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, file)| (*name, file.to_str().expect("text")))
        .collect();
    exits(&codeferry(&["config", "check"], &variables), 0);
    for left_out in 0..variables.len() {
        let mut fewer = variables.clone();
        fewer.remove(left_out);
        exits(&codeferry(&["config", "check"], &fewer), 2);
    }
}

/// What the unit, the container and its health check call exists.
#[test]
fn the_commands_that_the_packages_call_are_commands() {
    let container = text("Containerfile");
    assert!(
        container.contains("CMD [\"codeferry\", \"doctor\", \"--quick\"]"),
        "{container}"
    );
    assert!(container.contains("\nUSER 10001\n"), "{container}");
    let output = codeferry(&["doctor", "--help"], &[]);
    assert!(exits(&output, 0).0.contains("--quick"));
    assert!(text("codeferry.service").contains("\nExecStart=/usr/bin/codeferry run\n"));
    exits(&codeferry(&["run", "--help"], &[]), 0);
}

#[test]
fn the_unit_is_read_without_a_complaint_and_its_exposure_is_at_most_2() {
    if !installed("systemd-analyze") {
        eprintln!("SKIPPED: systemd-analyze is not installed (apt install systemd)");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let unit = folder.path().join("codeferry.service");
    let here = text("codeferry.service")
        .replace("/usr/bin/codeferry", BINARY)
        // The manual is not installed here.
        .replace("Documentation=man:codeferry(1)\n", "");
    fs::write(&unit, here).expect("written");
    let analyze = |arguments: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        command.arg("--no-pager").args(arguments).arg(&unit).finish()
    };
    let read = analyze(&["verify", "--man=no", "--recursive-errors=no"]);
    let complaints = String::from_utf8_lossy(&read.stderr);
    assert!(
        read.status.success() && !complaints.contains("codeferry.service"),
        "{complaints}"
    );
    let exposed = analyze(&["security", "--offline=yes", "--threshold=20"]);
    let told = String::from_utf8_lossy(&exposed.stdout);
    assert!(exposed.status.success(), "{told}");
    assert!(told.contains("Overall exposure level"), "{told}");
}
