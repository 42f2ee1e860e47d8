//! Secrets: which are needed, what is wrong with them, keys that are made.

use codeferry::intake::pkce;
use codeferry::secret::{BotToken, Key, Keys};

use super::*;

const KEY: &str = "0123456789abcdef0123456789abcdef";
const OTHER_KEY: &str = "fedcba9876543210fedcba9876543210";
const NEEDED: [(&str, &str); 3] = [
    ("CODEFERRY_BOT_TOKEN", "x"),
    ("CODEFERRY_CLIENT_SECRET", "x"),
    ("CODEFERRY_RELAY_KEY", KEY),
];

fn secrets(changes: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<(Config, Secrets), ConfigErrors> {
    let folder = tempfile::tempdir().expect("temporary folder");
    fs::write(folder.path().join("codeferry.toml"), good_but(changes)).expect("written");
    config::load(&Locator {
        config: None,
        environment: variables.iter().copied().collect(),
        folder: folder.path().into(),
    })
}

#[test]
fn every_missing_secret_is_named_with_what_needs_it() {
    let sinks = "name = \"a\"\nkind = \"http\"\nurl = \"https://app.example/hook\"\n\
                 [[delivery]]\nname = \"b\"\nkind = \"discord_webhook\"\nwebhook_id = 1536000000000000005";
    let errors = secrets(
        &[("[[delivery]]", sinks), ("[control]", "listen = \"127.0.0.1:9000\"")],
        &[],
    )
    .expect_err("nothing is given");
    assert_eq!(errors.exit(), Exit::Usage);
    assert_eq!(
        rendered(&errors),
        [
            "environment CODEFERRY_BOT_TOKEN: is not set: the bot that reads the lanes needs it; copy the token from the developer portal, page Bot (CODEFERRY_BOT_TOKEN_FILE may name a file instead)",
            "environment CODEFERRY_CALLBACK_SECRET: is not set: a sink of kind `http` signs with it; set `whsec_` and 24 to 64 random bytes in base64 (CODEFERRY_CALLBACK_SECRET_FILE may name a file instead)",
            "environment CODEFERRY_CLIENT_SECRET: is not set: exchanging codes needs it; copy it from the developer portal, page OAuth2 (CODEFERRY_CLIENT_SECRET_FILE may name a file instead)",
            "environment CODEFERRY_CONTROL_TOKEN: is not set: `control.listen` opens a TCP port that needs it; set a random text of at least 32 bytes, or `control.listen = \"\"` (CODEFERRY_CONTROL_TOKEN_FILE may name a file instead)",
            "environment CODEFERRY_RELAY_KEY: is not set: `intake.accept` has \"v1\", whose messages are signed with it; set the same key of at least 32 bytes for the service and its relay (CODEFERRY_RELAY_KEY_FILE may name a file instead)",
            "environment CODEFERRY_WEBHOOK_TOKENS: has no token for webhook 1536000000000000005, which sink `b` posts to; add `webhook_id:token`, separated by commas; both stand in the webhook's URL",
        ]
    );
}

#[test]
fn without_lanes_the_bots_token_is_needed_for_what_the_bot_does_itself() {
    let direct = [
        ("[[intake.lanes]]", ""),
        ("[intake.http]", "listen = \"127.0.0.1:8080\""),
    ];
    let given = [("CODEFERRY_CLIENT_SECRET", "x")];
    secrets(&direct, &given).expect("nothing is done as the bot");
    for of_the_bot in [
        ("[commands]", "connect = \"connect\""),
        ("[reinvite]", "enabled = true"),
    ] {
        let changes = [&direct[..], &[of_the_bot]].concat();
        let errors = rendered(&secrets(&changes, &given).expect_err("the bot has no token"));
        assert!(errors[0].contains("CODEFERRY_BOT_TOKEN: is not set"), "{errors:?}");
    }
}

#[test]
fn bad_secrets_are_named_without_their_values() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("empty");
    fs::write(&file, "\n").expect("written");
    let errors = secrets(
        &[],
        &[
            ("CODEFERRY_BOT_TOKEN", "Bot CANARY"),
            ("CODEFERRY_CLIENT_SECRET", "CANARY\n"),
            ("CODEFERRY_RELAY_KEY", "CANARY"),
            ("CODEFERRY_STATE_KEY_FILE", file.to_str().expect("text")),
            ("CODEFERRY_PKCE_KEY_FILE", "/gone/CANARY"),
            ("CODEFERRY_CONTROL_TOKEN", "CANARY"),
            ("CODEFERRY_CONTROL_TOKEN_FILE", "/x"),
            ("CODEFERRY_CALLBACK_SECRET", "whsec_CANARY"),
            (
                "CODEFERRY_WEBHOOK_TOKENS",
                "1536000000000000005:abc,CANARY,1536000000000000005:x",
            ),
        ],
    )
    .expect_err("all are bad");
    assert_eq!(
        rendered(&errors),
        [
            "environment CODEFERRY_BOT_TOKEN: starts with `Bot `; give the token alone",
            "environment CODEFERRY_CALLBACK_SECRET: is not `whsec_` and 24 to 64 bytes in base64; make one with `echo whsec_$(openssl rand -base64 32)`",
            "environment CODEFERRY_CLIENT_SECRET: holds white space at an end, or characters that no token has; give the token alone, on one line",
            "environment CODEFERRY_CONTROL_TOKEN: is given, and so is CODEFERRY_CONTROL_TOKEN_FILE; keep one of the two",
            "environment CODEFERRY_PKCE_KEY_FILE: names `/gone/CANARY`, which cannot be read: no such file or directory; name a file that this user may read",
            "environment CODEFERRY_RELAY_KEY: has 6 bytes, fewer than 32; make one with `openssl rand -base64 32`",
            "environment CODEFERRY_STATE_KEY_FILE: names a file that is empty; write the secret into it",
            "environment CODEFERRY_WEBHOOK_TOKENS: is not a list of `webhook_id:token`: see entry 2; write `webhook_id:token`, separated by commas; both stand in the webhook's URL",
            "environment CODEFERRY_WEBHOOK_TOKENS: has two tokens for webhook 1536000000000000005; keep one",
        ]
    );
}

#[test]
fn tokens_of_the_control_interface_are_long_and_differ() {
    let others = [
        ("CODEFERRY_BOT_TOKEN", "x"),
        ("CODEFERRY_CLIENT_SECRET", "x"),
        ("CODEFERRY_RELAY_KEY", KEY),
    ];
    let tokens = |control: &'static str, metrics: &'static str| {
        let tokens = [
            ("CODEFERRY_CONTROL_TOKEN", control),
            ("CODEFERRY_METRICS_TOKEN", metrics),
        ];
        secrets(
            &[("[control]", "listen = \"127.0.0.1:9000\"")],
            &[&others[..], &tokens[..]].concat(),
        )
    };
    let short = "fewer than 32; make one with `openssl rand -base64 32`";
    assert_eq!(
        rendered(&tokens("x", &KEY[1..]).expect_err("both are short")),
        [
            format!("environment CODEFERRY_CONTROL_TOKEN: has 1 bytes, {short}"),
            format!("environment CODEFERRY_METRICS_TOKEN: has 31 bytes, {short}"),
        ]
    );
    assert_eq!(
        rendered(&tokens(KEY, KEY).expect_err("they are the same")),
        [
            "environment CODEFERRY_METRICS_TOKEN: is the same as CODEFERRY_CONTROL_TOKEN, which opens everything; make another one with `openssl rand -base64 32`"
        ]
    );
    tokens(KEY, "fedcba9876543210fedcba9876543210").expect("good");
    tokens(KEY, "").expect("the metrics token is optional");
}

#[test]
fn secrets_come_from_variables_or_files_and_print_nothing() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("bot");
    fs::write(&file, "CANARY-bot\n").expect("written");
    let variables = [
        ("CODEFERRY_BOT_TOKEN_FILE", file.to_str().expect("text")),
        ("CODEFERRY_BOT_TOKEN", ""),
        ("CODEFERRY_CLIENT_SECRET", "CANARY-client"),
        ("CODEFERRY_RELAY_KEY", KEY),
        (
            "CODEFERRY_WEBHOOK_TOKENS",
            "1536000000000000005:CANARY-a, 1536000000000000006:CANARY-b",
        ),
    ];
    let (config, secrets) = secrets(&[], &variables).expect("good");
    assert_eq!(secrets.bot_token.as_ref().map(BotToken::expose), Some("CANARY-bot"));
    assert_eq!(secrets.webhook_tokens.len(), 2);
    assert_eq!(secrets.relay_keys.as_ref().map(Keys::first), Some(Key::new(KEY)));
    let environment: Environment = variables.into();
    let shown = format!("{secrets:?} {config:?} {environment:?}");
    assert!(!shown.contains("CANARY") && !shown.contains(KEY), "{shown}");
}

#[test]
fn keys_are_made_once_only_when_all_else_is_right() {
    let folder = tempfile::tempdir().expect("temporary folder");
    fs::write(folder.path().join("codeferry.toml"), good_but(&[])).expect("written");
    let mut locator = Locator {
        config: None,
        environment: Environment::default(),
        folder: folder.path().into(),
    };
    config::load(&locator).expect_err("secrets are missing");
    assert!(!folder.path().join("data").exists());
    let given = [
        ("CODEFERRY_BOT_TOKEN", "x"),
        ("CODEFERRY_CLIENT_SECRET", "x"),
        ("CODEFERRY_RELAY_KEY", KEY),
        ("CODEFERRY_PKCE_KEY", OTHER_KEY),
    ];
    locator.environment = given.into();
    config::check(&locator, |_| Vec::new()).expect("good");
    assert!(!folder.path().join("data").exists(), "checking writes nothing");
    let (config, first) = config::load(&locator).expect("good");
    let (_, second) = config::load(&locator).expect("good");
    assert_eq!(first.state_keys.first(), second.state_keys.first());
    assert_eq!(first.pkce_keys.first(), Key::new(OTHER_KEY));
    assert!(
        !folder.path().join("data/keys/pkce.key").exists(),
        "a given key is not made"
    );
    let links = LinkKeys::load(&config, &locator.environment).expect("good");
    assert_eq!(links.state_keys.first(), first.state_keys.first());
}

#[test]
fn a_data_folder_that_cannot_be_written_is_the_stores_fault() {
    let folder = tempfile::tempdir().expect("temporary folder");
    // A file where the folder should be: unlike permissions, it stops the superuser too.
    fs::write(folder.path().join("data"), "").expect("written");
    fs::write(folder.path().join("codeferry.toml"), good_but(&[])).expect("written");
    let locator = Locator {
        config: None,
        environment: [
            ("CODEFERRY_BOT_TOKEN", "x"),
            ("CODEFERRY_CLIENT_SECRET", "x"),
            ("CODEFERRY_RELAY_KEY", KEY),
        ]
        .into(),
        folder: folder.path().into(),
    };
    let errors = config::load(&locator).expect_err("no folder");
    assert_eq!(errors.exit(), Exit::Store);
}

#[test]
fn keys_with_something_at_an_end_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let quoted = format!("\"{KEY}\"");
    for (text, stray) in [
        (format!(" {KEY}\n"), "white space"),
        (format!("{KEY}\t\n"), "white space"),
        (format!("{KEY}\n\n"), "white space"),
        (format!("{KEY}\r\n"), "a carriage return"),
        (format!("\u{feff}{KEY}\n"), "a byte order mark"),
        (format!("{quoted}\n"), "a quote"),
        (format!("'{KEY}'"), "a quote"),
    ] {
        let file = folder.path().join("key");
        fs::write(&file, &text).expect("written");
        let file = file.to_str().expect("text");
        let variables = [NEEDED[0], NEEDED[1], ("CODEFERRY_RELAY_KEY_FILE", file)];
        let errors = rendered(&secrets(&[], &variables).expect_err("a stray end"));
        let told = format!(
            "environment CODEFERRY_RELAY_KEY_FILE: has {stray} at an end: the other side would have another key; give the \
             key alone, on one line"
        );
        assert_eq!(errors, [told], "{text:?}");
    }
    let variables = [NEEDED[0], NEEDED[1], ("CODEFERRY_RELAY_KEY", quoted.as_str())];
    assert!(rendered(&secrets(&[], &variables).expect_err("quotes"))[0].contains("a quote"));
}

#[test]
fn keys_that_are_equal_are_refused_whatever_they_are_for() {
    let names = ["RELAY_KEY_2", "STATE_KEY", "STATE_KEY_2", "PKCE_KEY", "PKCE_KEY_2"];
    for name in names.map(|name| format!("CODEFERRY_{name}")) {
        let variables = [&NEEDED[..], &[(name.as_str(), KEY)]].concat();
        let errors = rendered(&secrets(&[], &variables).expect_err("two are the same"));
        let told = format!(
            "environment {name}: is the same as CODEFERRY_RELAY_KEY; make another one with `openssl rand -base64 32`"
        );
        assert_eq!(errors, [told]);
    }
}

#[test]
fn two_pkce_keys_whose_links_could_not_be_told_apart_are_refused_or_drawn_again() {
    let id = |text: &str| pkce::id(&Key::new(text));
    let alike = (0..10_000)
        .map(|n| format!("{n:032}"))
        .find(|text| id(text) == id(OTHER_KEY));
    let alike = alike.expect("one in sixteen");
    let second = ("CODEFERRY_PKCE_KEY_2", OTHER_KEY);
    let variables = [&NEEDED[..], &[("CODEFERRY_PKCE_KEY", alike.as_str()), second]].concat();
    let errors = rendered(&secrets(&[], &variables).expect_err("alike"));
    assert!(
        errors[0].starts_with("environment CODEFERRY_PKCE_KEY_2: cannot be told apart"),
        "{errors:?}"
    );
    // Of so many, some would be alike by chance.
    for _ in 0..80 {
        let (_, made) = secrets(&[], &[&NEEDED[..], &[second]].concat()).expect("good");
        assert_ne!(pkce::id(&made.pkce_keys.first()), id(OTHER_KEY));
        assert_eq!(made.pkce_keys.second(), Some(Key::new(OTHER_KEY)));
    }
}

#[test]
fn a_second_key_may_wait_in_an_empty_file() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("second");
    fs::write(&file, "").expect("written");
    let variables = [
        &NEEDED[..],
        &[("CODEFERRY_STATE_KEY_2_FILE", file.to_str().expect("text"))],
    ]
    .concat();
    let (_, empty) = secrets(&[], &variables).expect("good");
    assert_eq!(empty.state_keys.second(), None);
    fs::write(&file, format!("{OTHER_KEY}\n")).expect("written");
    let (_, filled) = secrets(&[], &variables).expect("good");
    assert_eq!(filled.state_keys.second(), Some(Key::new(OTHER_KEY)));
}
