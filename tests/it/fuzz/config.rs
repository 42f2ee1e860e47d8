//! The configuration file, the variables that lay over it, and the secrets beside it.

use std::fs;
use std::path::Path;

use codeferry::config::{self, Config, Environment, Locator};
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::mutate::{mutant, pick};
use super::run::{Target, silent};

const NAMES: [&str; 12] = [
    "CODEFERRY_DISCORD__APPLICATION_ID",
    "CODEFERRY_DISCORD__SCOPES",
    "CODEFERRY_INTAKE__LANES__0__PACK",
    "CODEFERRY_INTAKE__LANES__7__CHANNEL_ID",
    "CODEFERRY_INTAKE__LANES",
    "CODEFERRY_LIMITS__WEBHOOK",
    "CODEFERRY_LIMITS__GLOBAL__BURST",
    "CODEFERRY_DELIVERY__1__NAME",
    "CODEFERRY_DELIVERY",
    "CODEFERRY_LOG__LEVEL",
    "CODEFERRY_STAGES__EXCHANGE__TIMEOUT",
    "CODEFERRY_",
];

/// Where secrets stand, and where a user might put them by mistake.
const SECRETS: [&str; 12] = [
    "CODEFERRY_BOT_TOKEN",
    "CODEFERRY_CLIENT_SECRET",
    "CODEFERRY_RELAY_KEY",
    "CODEFERRY_STATE_KEY",
    "CODEFERRY_PKCE_KEY",
    "CODEFERRY_CALLBACK_SECRET",
    "CODEFERRY_WEBHOOK_TOKENS",
    "CODEFERRY_CONTROL_TOKEN",
    "CODEFERRY_METRICS_TOKEN",
    "CODEFERRY_CLIENT_SECRETT",
    "CODEFERRY_DISCORD__TOKEN",
    "CODEFERRY_WEBHOOK_TOKEN",
];

fn corpus() -> Vec<Vec<u8>> {
    let example = include_str!("../../../config/example.toml");
    let shipped = include_str!("../../../config/default.toml");
    // Comments would take most of the mutations.
    let bare = |text: &str| {
        let lines: Vec<_> = text.lines().filter(|l| !l.starts_with("# ") && !l.is_empty()).collect();
        lines.join("\n").replace('#', "").into_bytes()
    };
    let values = [
        "\"off\"",
        "[[1, 2], {a = 1}]",
        "{ per_minute = 30, burst = 5 }",
        "1536000000000000001",
        "10s",
    ];
    let mut corpus = vec![bare(example), bare(shipped)];
    corpus.extend(values.map(|v| v.as_bytes().to_vec()));
    corpus
}

pub fn files_and_variables() {
    let good = corpus();
    let values = &good[2..];
    let tries = |input: &[u8], random: &mut StdRng| {
        let text = String::from_utf8_lossy(input);
        let mut variables = vec![(
            "CODEFERRY_CLIENT_SECRET".to_owned(),
            "CANARY_OF_THE_ENVIRONMENT".to_owned(),
        )];
        for _ in 0..random.random_range(0..3) {
            let value = mutant(random.random(), 0, values).0;
            let name = (*pick(&NAMES, random)).to_owned();
            variables.push((name, String::from_utf8_lossy(&value).into_owned()));
        }
        let environment: Environment = variables.into_iter().collect();
        let read = Config::from_text(&text, Path::new("/etc/codeferry/codeferry.toml"), &environment);
        // A file holds no secret, so an error may quote it.
        let shown = match &read {
            Ok(config) => format!("{config:?}"),
            Err(errors) => format!("{errors} {errors:?}"),
        };
        assert!(!shown.contains("CANARY_OF_THE_ENVIRONMENT"), "{shown}");
        assert!(shown.len() < 4_000_000, "{} bytes of errors", shown.len());
    };
    Target {
        test: "no_configuration_harms_its_reader",
        name: "configuration",
        corpus: good.clone(),
        share: 3,
        tries: &tries,
    }
    .run();
}

pub fn secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = "[discord]\napplication_id = 1536000000000000001\nredirect_uri = \"https://relay.example/callback\"\n\
        [[intake.lanes]]\nchannel_id = 1536000000000000003\nwebhook_id = 1536000000000000004\n\
        [[delivery]]\nname = \"a\"\nkind = \"http\"\nurl = \"https://app.example/\"\n\
        [[delivery]]\nname = \"b\"\nkind = \"discord_webhook\"\nwebhook_id = 1536000000000000005\n";
    fs::write(folder.path().join("codeferry.toml"), file).expect("written");
    let good: Vec<Vec<u8>> = [
        "CANARY",
        "CANARY-0123456789abcdef0123456789abcdef",
        "whsec_Q0FOQVJZQ0FOQVJZQ0FOQVJZQ0FOQVJZ",
        "1536000000000000005:CANARY,1536000000000000006:CANARY",
        "Bot CANARY",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    let tries = |input: &[u8], random: &mut StdRng| {
        let variables = SECRETS.map(|name| {
            let value = match random.random_range(0..3) {
                0 => input.to_vec(),
                1 => pick(&good, random).clone(),
                _ => Vec::new(),
            };
            (name, String::from_utf8_lossy(&value).into_owned())
        });
        let locator = Locator {
            config: None,
            environment: variables.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
            folder: folder.path().into(),
        };
        match config::check(&locator, |_| Vec::new()) {
            Ok(config) => silent(&format!("{config:?}")),
            Err(errors) => silent(&format!("{errors} {errors:?}")),
        }
        silent(&format!("{locator:?}"));
    };
    Target {
        test: "no_secret_variable_gets_into_an_error",
        name: "secrets in the environment",
        corpus: good.clone(),
        share: 3,
        tries: &tries,
    }
    .run();
}
