//! Which layer wins, and which file is read.

use super::*;

#[test]
fn the_environment_goes_before_the_file_and_the_file_before_the_defaults() {
    let text = good_but(&[
        ("[limits]", "oauth = { per_second = 3, burst = 4 }\nglobal = \"off\""),
        ("[log]", "level = \"warn\""),
        ("[state]", "purposes = [\"a\", \"b\"]"),
    ]);
    let file = read(&text, []).expect("good");
    assert_eq!(file.limits.oauth.map(|l| (l.per_second, l.burst)), Some((3, 4)));
    assert_eq!((file.limits.global, file.log.level), (None, LevelFilter::WARN));
    assert_eq!(file.limits.webhook.map(|l| (l.per_minute, l.burst)), Some((30, 5)));

    let both = read(
        &text,
        [
            ("CODEFERRY_LIMITS__OAUTH", "{ per_second = 5, burst = 5 }"),
            ("CODEFERRY_LIMITS__OAUTH__BURST", "6"),
            ("CODEFERRY_LIMITS__GLOBAL__PER_SECOND", "7"),
            ("CODEFERRY_LIMITS__GLOBAL__BURST", "8"),
            ("CODEFERRY_LIMITS__WEBHOOK", "off"),
            ("CODEFERRY_LOG__LEVEL", "debug"),
            ("CODEFERRY_STATE__PURPOSES", "[\"c\"]"),
            ("CODEFERRY_JOURNAL__PATH", "/var/lib/codeferry/journal"),
            ("CODEFERRY_DISCORD__APPLICATION_ID", "18446744073709551615"),
            ("CODEFERRY_DELIVERY__0__PATH", "\"quoted.jsonl\""),
            ("CODEFERRY_DELIVERY__1__NAME", "second"),
            ("CODEFERRY_DELIVERY__1__KIND", "http"),
            ("CODEFERRY_DELIVERY__1__URL", "https://app.example/hook"),
        ],
    )
    .expect("good");
    assert_eq!(both.limits.oauth.map(|l| (l.per_second, l.burst)), Some((5, 6)));
    assert_eq!(both.limits.global.map(|l| (l.per_second, l.burst)), Some((7, 8)));
    assert_eq!((both.limits.webhook, both.log.level), (None, LevelFilter::DEBUG));
    assert_eq!(both.state.purposes, ["c"]);
    assert_eq!(both.discord.application_id.0, u64::MAX);
    assert_eq!(both.data_folder(), Path::new("/var/lib/codeferry"));
    assert_eq!(both.delivery.len(), 2);
    assert!(
        matches!(&both.delivery[0].kind, SinkKind::Jsonl { path, .. } if path == Path::new("/etc/codeferry/quoted.jsonl"))
    );
}

#[test]
fn everything_may_stand_in_the_environment_alone() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let locator = Locator {
        config: None,
        environment: [
            ("CODEFERRY_DISCORD__APPLICATION_ID", "1536000000000000001"),
            ("CODEFERRY_DISCORD__REDIRECT_URI", "https://relay.example/callback"),
            (
                "CODEFERRY_INTAKE__LANES",
                "[{ channel_id = 1536000000000000003, webhook_id = 1536000000000000004 }]",
            ),
            (
                "CODEFERRY_DELIVERY",
                "[{ name = \"r\", kind = \"jsonl\", path = \"r.jsonl\" }]",
            ),
        ]
        .into(),
        folder: folder.path().into(),
    };
    let config = Config::load(&locator).expect("good");
    assert_eq!(config.file, None);
    assert_eq!(config.journal.path, folder.path().join("data/journal"));
}

#[test]
fn the_file_is_the_named_one_or_the_usual_one() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let write = |name: &str, level: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("has a parent")).expect("folder");
        fs::write(&path, good_but(&[("[log]", &format!("level = \"{level}\""))])).expect("written");
    };
    write("codeferry.toml", "error");
    write("by/variable.toml", "warn");
    write("by/flag.toml", "debug");
    let level = |flag: Option<&str>, environment: Environment| {
        let locator = Locator {
            config: flag.map(PathBuf::from),
            environment,
            folder: folder.path().into(),
        };
        Config::load(&locator).map(|c| (c.log.level, c.journal.path))
    };
    let variable: Environment = [("CODEFERRY_CONFIG", "by/variable.toml")].into();
    let at = |p: &str| folder.path().join(p);
    assert_eq!(
        level(None, Environment::default()),
        Ok((LevelFilter::ERROR, at("data/journal")))
    );
    assert_eq!(
        level(None, variable.clone()),
        Ok((LevelFilter::WARN, at("by/data/journal")))
    );
    assert_eq!(
        level(Some("by/flag.toml"), variable),
        Ok((LevelFilter::DEBUG, at("by/data/journal")))
    );
    let gone = level(Some("gone.toml"), Environment::default()).expect_err("it is not there");
    assert_eq!(
        gone.to_string(),
        "gone.toml: the configuration cannot be read: no such file or directory; name another file with --config or CODEFERRY_CONFIG"
    );
}
