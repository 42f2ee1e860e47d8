//! What is wrong within one section, and what is said of it.

use super::*;

#[test]
fn what_is_not_toml_is_named_by_its_line() {
    let errors = read("[discord]\napplication_id = 1\nscopes = [\"a\"\n[log]\n", []).expect_err("it is not TOML");
    let lines = rendered(&errors);
    assert!(lines[0].contains("this is not TOML"), "{lines:?}");
    let errors = read("[log]\nlevel = info\nformat = \"text\"\n", []).expect_err("it is not TOML");
    let lines = rendered(&errors);
    assert!(
        lines[0].starts_with("2: this is not TOML: a text without quotes; write"),
        "{lines:?}"
    );
    // What stands in a file that cannot be read is not called missing.
    assert_eq!(lines.len(), 1, "{lines:?}");
}

#[test]
fn an_empty_file_lacks_four_things() {
    let errors = read("", []).expect_err("it is empty");
    assert_eq!(
        rendered(&errors),
        [
            "file: `discord.application_id` is missing; set it to the \"Application ID\" of the developer portal, page General Information",
            "file: `discord.redirect_uri` is missing; set it to the redirect of the developer portal, page OAuth2: your relay's URL",
            "file: `delivery` is missing; results must go somewhere: add `[[delivery]]` with `name = \"results\"`, `kind = \"jsonl\"` and `path = \"data/results.jsonl\"`",
            "file: `intake.lanes` is missing; codes must come from somewhere: add `[[intake.lanes]]` with `channel_id` and `webhook_id`, or set `intake.http.listen`",
        ]
    );
}

#[test]
fn unknown_keys_are_told_what_was_meant() {
    let at_end = |body| [("[limits]", body)];
    says(
        &at_end("webhok = \"off\""),
        &["12: `limits.webhok` is not a known key; did you mean `webhook`?"],
    );
    says(
        &at_end("webhook = { per_mintue = 5 }"),
        &["12: `limits.webhook.per_mintue` is not a known key; did you mean `per_minute`?"],
    );
    says(
        &at_end("closed_retention = \"1h\""),
        &["12: `limits.closed_retention` is not a known key; it belongs to `[journal]`"],
    );
    says(
        &at_end("pack = 2"),
        &["12: `limits.pack` is not a known key; it belongs to `[[intake.lanes]]` or `[[relay.lanes]]`"],
    );
    says(
        &[("[shutdown]", "quux = 2")],
        &["12: `shutdown.quux` is not a known key; the keys here are `grace`"],
    );
    says(
        &[("[jornal]", "path = \"x\"")],
        &["11: `jornal` is not a known key; did you mean `journal`?"],
    );
}

#[test]
fn a_secret_in_the_file_is_sent_to_the_environment_and_not_repeated() {
    let text = good_but(&[("[control]", "control_token = \"CANARY\"\ntoken = \"CANARY\"")]);
    let errors = read(&text, []).expect_err("secrets in the file");
    assert_eq!(
        rendered(&errors),
        [
            "12: `control.control_token` is not a known key; secrets do not belong in the file: set CODEFERRY_CONTROL_TOKEN, or name a file in CODEFERRY_CONTROL_TOKEN_FILE",
            "13: `control.token` is not a known key; secrets do not belong in the file: set CODEFERRY_BOT_TOKEN, or name a file in CODEFERRY_BOT_TOKEN_FILE",
        ]
    );
}

#[test]
fn wrong_types_say_what_would_be_right() {
    says(
        &[(
            "[journal]",
            "cache_mb = \"16\"\nmax_open = -1\nclosed_retention = 24\nkeep_parked = true",
        )],
        &[
            "12: `journal.cache_mb` is a text, not a whole number from 0; write for example `cache_mb = 2`",
            "13: `journal.max_open` is a negative number, not a whole number from 0; write for example `max_open = 100000`",
            "14: `journal.closed_retention` is a whole number, not a text in quotes; write for example `closed_retention = \"24h\"`",
            "15: `journal.keep_parked` is a boolean, not a text in quotes; write for example `keep_parked = \"7d\"`",
        ],
    );
    says(
        &[("[fetch]", "resources = \"user\"")],
        &["12: `fetch.resources` is a text, not a list of texts; write for example `resources = [\"user\"]`"],
    );
    says(
        &[("[limits]", "oauth = 5\nglobal = { per_second = 0.5, burst = 1 }")],
        &[
            "12: `limits.oauth` is a whole number, not a table or \"off\"; write for example `oauth = { burst = 10, per_second = 10 }`",
            "13: `limits.global.per_second` is a number with a fraction, not a whole number from 0; write for example `per_second = 45`",
        ],
    );
    says(
        &[("[[delivery]]", ""), ("[delivery]", "name = \"x\"")],
        &["7: `delivery` is a table, not a list of tables; write `[[delivery]]`, in double brackets"],
    );
}

#[test]
fn ids_have_17_to_20_digits() {
    says(
        &[(
            "[[intake.lanes]]",
            "channel_id = 153600\nwebhook_id = \"1536000000000000004x\"",
        )],
        &[
            "5: `intake.lanes[0].channel_id` is not an id: Discord's ids are 17 to 20 digits; write for example `channel_id = \"1536000000000000003\"`",
            "6: `intake.lanes[0].webhook_id` is not an id: Discord's ids are 17 to 20 digits; write for example `webhook_id = \"1536000000000000004\"`",
        ],
    );
}

#[test]
fn one_bad_value_hides_no_other_of_its_table() {
    let discord = "application_id = 1536000000000000001\nredirect_uri = \"https://relay.example/callback\"\n\
                   guild_id = 5\nscopes = []";
    let sink = "name = \"a\"\nkind = \"jsonl\"\nrotate_mb = 0";
    says(
        &[("[discord]", discord), ("[[delivery]]", sink)],
        &[
            "4: `discord.guild_id` is not an id: Discord's ids are 17 to 20 digits; write for example `guild_id = \"1536000000000000002\"`",
            "5: `discord.scopes` is empty; write for example `scopes = [\"identify\"]`",
            "9: `delivery[0].path` is missing; write for example `path = \"data/results.jsonl\"`",
            "12: `delivery[0].rotate_mb` is 0, less than 1; use 1 to 1000000",
        ],
    );
}

#[test]
fn lanes_are_complete_distinct_and_packed_within_bounds() {
    says(
        &[("[[intake.lanes]]", "channel_id = 1536000000000000003\npack = 0")],
        &[
            "4: `intake.lanes[0].webhook_id` is missing; write for example `webhook_id = \"1536000000000000004\"`",
            "6: `intake.lanes[0].pack` is 0, less than 1; use 1 to 18",
        ],
    );
    let twice = "channel_id = 1536000000000000003\nwebhook_id = 1536000000000000004\npack = 19\n\
                 [[intake.lanes]]\nchannel_id = \"1536000000000000003\"\nwebhook_id = 1536000000000000004";
    says(
        &[("[[intake.lanes]]", twice)],
        &[
            "7: `intake.lanes[0].pack` is 19, more than 18; use 1 to 18",
            "9: `intake.lanes[1].channel_id` is the same channel as `intake.lanes[0].channel_id`; remove one of them",
            "10: `intake.lanes[1].webhook_id` is the same webhook as `intake.lanes[0].webhook_id`; remove one of them",
        ],
    );
}

#[test]
fn direct_intake_needs_no_lane() {
    let text = good_but(&[
        ("[[intake.lanes]]", ""),
        ("[intake.http]", "listen = \"127.0.0.1:8080\""),
    ]);
    let config = read(&text, []).expect("no lane is needed");
    assert!(config.intake.lanes.is_empty() && config.intake.http.listen.is_some());
    says(
        &[("[[intake.lanes]]", ""), ("[intake.http]", "listen = \"localhost\"")],
        &[
            "9: `intake.http.listen` is `localhost`, not an IP address with a port; write for example \"127.0.0.1:8080\" or \"[::1]:8080\", or \"\" for none",
        ],
    );
}

#[test]
fn proxies_are_addresses_or_networks() {
    let listed = |text: &str| {
        read(
            &good_but(&[("[intake.http]", &format!("trusted_proxies = [{text}]"))]),
            [],
        )
    };
    let config = listed("\"192.168.1.7\", \"10.0.0.0/8\", \"::1\", \"2001:db8::/32\"").expect("good");
    let proxies: Vec<_> = config
        .intake
        .http
        .trusted_proxies
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(proxies, ["192.168.1.7/32", "10.0.0.0/8", "::1/128", "2001:db8::/32"]);
    for bad in [
        "",
        "10.0.0.0/33",
        "::/129",
        "10.0.0.0/+8",
        "10.0.0.0/",
        "proxy",
        "10.0.0/8",
    ] {
        let errors = rendered(&listed(&format!("\"{bad}\"")).expect_err(bad));
        let problem = format!("`intake.http.trusted_proxies[0]` is `{bad}`, neither an address nor a network");
        assert!(errors[0].contains(&problem), "{errors:?}");
    }
}

#[test]
fn plain_http_is_for_loopback_addresses_only() {
    let discord = |base: &str| {
        format!(
            "application_id = 1536000000000000001\nredirect_uri = \"https://relay.example/callback\"\napi_base = \"{base}\""
        )
    };
    for good in [
        "http://127.0.0.1:1234/api/v10",
        "http://127.8.9.1",
        "http://[::1]:9",
        "http://localhost:9",
        "https://10.0.0.1/x",
    ] {
        assert!(read(&good_but(&[("[discord]", &discord(good))]), []).is_ok(), "{good}");
    }
    let check = |base: &str, expected: &str| says(&[("[discord]", &discord(base))], &[expected]);
    check(
        "http://192.168.1.5/api/v10",
        "4: `discord.api_base` is plain http to `192.168.1.5`, which is not a loopback address; use https: what is sent there is secret",
    );
    check(
        "http://localhost.example.com",
        "4: `discord.api_base` is plain http to `localhost.example.com`, which is not a loopback address; use https: what is sent there is secret",
    );
    check(
        "ftp://discord.com",
        "4: `discord.api_base` is neither http nor https; use https",
    );
    check(
        "discord.com/api",
        "4: `discord.api_base` is not a URL; write it in full, with `https://`",
    );
    check(
        "https://discord.com/api?x=1",
        "4: `discord.api_base` holds a query or a fragment; end it with the path",
    );
    check(
        "https://me:CANARY@discord.com",
        "4: `discord.api_base` holds a user name or a password; secrets do not belong in the file: remove it",
    );
}

#[test]
fn the_control_interface_stays_on_this_machine_unless_the_operator_insists() {
    for here in ["127.0.0.1:9000", "[::1]:9000", "127.8.0.1:9000", ""] {
        read(&good_but(&[("[control]", &format!("listen = \"{here}\""))]), [])
            .unwrap_or_else(|e| panic!("{here}: {e}"));
    }
    for anywhere in ["0.0.0.0:9000", "192.168.1.7:9000", "[::]:9000"] {
        let listen = format!("listen = \"{anywhere}\"");
        says(
            &[("[control]", &listen)],
            &[
                "12: `control.listen` is an address that other machines reach, and the interface is plain http; listen on 127.0.0.1, with a proxy that encrypts in front, or set `control.insecure_network = true`",
            ],
        );
        let insists = format!("{listen}\ninsecure_network = true");
        read(&good_but(&[("[control]", &insists)]), []).unwrap_or_else(|e| panic!("{anywhere}: {e}"));
    }
}

#[test]
fn limits_keep_the_strict_window_possible() {
    says(
        &[("[limits]", "webhook = { per_minute = 30, burst = 30 }")],
        &[
            "12: `limits.webhook` has a burst of 30, which is not less than per_minute (30); write for example `webhook = { per_minute = 30, burst = 5 }`: the rest of the minute is the refill",
        ],
    );
    says(
        &[(
            "[limits]",
            "webhook = \"of\"\nglobal = { per_second = 0 }\ninvalid_requests = 10000",
        )],
        &[
            "12: `limits.webhook` is `of`, neither a limit nor \"off\"; write for example `webhook = { burst = 5, per_minute = 30 }`, or use \"off\"",
            "13: `limits.global.per_second` is 0, less than 1; use 1 to 1000000",
            "14: `limits.invalid_requests` is 10000, more than 9999; use 0 to 9999",
        ],
    );
}

#[test]
fn words_and_durations_are_known_ones() {
    says(
        &[
            (
                "[intake]",
                "after_receipt = \"remove\"\naccept = [\"v1\", \"v2\", \"v1\"]\npoll_every = \"soon\"",
            ),
            ("[state]", "mode = \"singed\"\nlifetime = \"0s\""),
            ("[log]", "level = \"verbose\"\nformat = \"yaml\""),
        ],
        &[
            "12: `intake.after_receipt` is `remove`, not a known value; use \"delete\", \"react\" or \"keep\"",
            "13: `intake.accept[2]` is the same version as `intake.accept[0]`; remove one of them",
            "13: `intake.accept[1]` is `v2`, not a known value; use \"v0\" or \"v1\"",
            "14: `intake.poll_every` is `soon`, not a duration; write for example `poll_every = \"10s\"`",
            "16: `state.mode` is `singed`, not a known value; did you mean \"signed\"?",
            "17: `state.lifetime` is `0s`, out of bounds; use 1s to 1day",
            "19: `log.level` is `verbose`, not a known value; use \"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
            "20: `log.format` is `yaml`, not a known value; use \"text\" or \"json\"",
        ],
    );
    says(
        &[
            ("[stages.exchange]", "slots = 0\ntimeout = \"1h\""),
            ("[intake]", "accept = []"),
        ],
        &[
            "12: `stages.exchange.slots` is 0, less than 1; use 1 to 1024",
            "13: `stages.exchange.timeout` is `1h`, out of bounds; use 100ms to 2m",
            "15: `intake.accept` is empty; write for example `accept = [\"v1\"]`",
        ],
    );
}

#[test]
fn purposes_and_scopes_are_names() {
    says(
        &[("[state]", "purposes = [\"default\", \"Two Words\", \"default\"]")],
        &[
            "12: `state.purposes[2]` is the same name as `state.purposes[0]`; remove one of them",
            "12: `state.purposes[1]` is `Two Words`, not a valid name; use 1 to 32 of a-z, 0-9, `_` and `-`",
        ],
    );
    says(
        &[("[state]", "purposes = []")],
        &["12: `state.purposes` is empty; write for example `purposes = [\"default\"]`"],
    );
    let many: Vec<_> = (0..257).map(|i| format!("\"p{i}\"")).collect();
    let errors = read(
        &good_but(&[("[state]", &format!("purposes = [{}]", many.join(",")))]),
        [],
    )
    .expect_err("too many");
    assert!(rendered(&errors)[0].contains("has 257 names, not 1 to 256"));
}

#[test]
fn a_scope_that_discord_does_not_know_is_named_with_the_one_that_was_meant() {
    let discord = "application_id = 1536000000000000001\nredirect_uri = \"https://relay.example/callback\"\n\
                   scopes = [\"identify\", \"gilds\", \"frobnicate\"]";
    says(
        &[("[discord]", discord)],
        &[
            "4: `discord.scopes[1]` is `gilds`, not a scope of Discord's; did you mean \"guilds\"?",
            "4: `discord.scopes[2]` is `frobnicate`, not a scope of Discord's; see the list of scopes in Discord's \
             documentation, page OAuth2",
        ],
    );
}

#[test]
fn a_redirect_uri_that_our_own_front_does_not_serve_is_refused() {
    let direct = "listen = \"127.0.0.1:8080\"";
    let at = |uri: &str| format!("application_id = 1536000000000000001\nredirect_uri = \"https://app.example{uri}\"");
    says(
        &[("[discord]", &at("/oauth")), ("[intake.http]", direct)],
        &[
            "3: `discord.redirect_uri` has the path `/oauth`, but with `intake.http.listen` only `/callback` is served; let \
           it end with `/callback`, here and on the page OAuth2 of the developer portal",
        ],
    );
    // A proxy may take the prefix away; another relay serves what it likes.
    for (uri, more) in [("/callback", direct), ("/sign-in/callback", direct), ("/oauth", "")] {
        let text = good_but(&[("[discord]", &at(uri)), ("[intake.http]", more)]);
        read(&text, []).unwrap_or_else(|e| panic!("{uri}: {e}"));
    }
}

#[test]
fn a_socket_whose_path_is_too_long_is_refused() {
    let body = format!("socket = \"/{}\"", "x".repeat(107));
    says(
        &[("[control]", &body)],
        &[
            "12: `control.socket` is a path of 108 bytes, and a socket's has at most 107; use a shorter one, such as \
           \"/run/codeferry/control.sock\"",
        ],
    );
    read(&good_but(&[("[control]", &body.replacen('x', "", 1))]), []).expect("107 bytes are fine");
}
