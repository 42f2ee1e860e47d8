//! The dashboard for Grafana and the alerts for Prometheus name metrics and labels that there are, and promtool takes them.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::patience::{Finish as _, installed};

const ALERTS: &str = "packaging/prometheus/alerts.yml";
const DASHBOARD: &str = "packaging/grafana/dashboard.json";

fn text(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The names of metrics in a text.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
    let metrics = words.filter(|word| word.starts_with("codeferry_"));
    let plain = |word: &str| {
        let ends = ["_bucket", "_sum", "_count"];
        ends.iter()
            .find_map(|end| word.strip_suffix(end))
            .unwrap_or(word)
            .to_owned()
    };
    metrics.map(plain).collect()
}

#[test]
fn every_metric_of_the_dashboard_and_of_the_alerts_exists_and_every_one_that_exists_is_shown() {
    let source = text("src/metrics.rs");
    let (described, _) = source.split_once("const BUCKETS").expect("the list of metrics");
    let exist = named(described);
    assert!(exist.len() >= 14, "{exist:?}");
    let dashboard: Value = serde_json::from_str(&text(DASHBOARD)).expect("JSON");
    let mut shown = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().expect("targets") {
            shown.extend(named(target["expr"].as_str().expect("an expression")));
        }
    }
    assert_eq!(shown, exist);
    let alerts: String = text(ALERTS)
        .lines()
        .filter(|l| !l.trim_start().starts_with('#'))
        .collect();
    let told = named(&alerts);
    assert!(
        told.len() >= 6 && told.is_subset(&exist),
        "{:?}",
        told.difference(&exist)
    );
    let documented = named(&text("docs/operations.md"));
    assert!(exist.is_subset(&documented), "{:?}", exist.difference(&documented));
}

#[test]
fn promtool_takes_the_alerts_and_they_go_off_when_they_should() {
    if !installed("promtool") {
        eprintln!("SKIPPED: promtool is not installed; install it (apt install prometheus)");
        return;
    }
    let folder = format!("{}/packaging/prometheus", env!("CARGO_MANIFEST_DIR"));
    for words in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]] {
        let output = Command::new("promtool").current_dir(&folder).args(words).finish();
        let (out, error) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{words:?}: {out}{error}");
    }
}
