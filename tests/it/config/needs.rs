//! Keys that need one another, sinks, and variables that mean nothing.

use super::*;

#[test]
fn resources_need_their_scopes() {
    says(
        &[("[fetch]", "resources = [\"user\", \"guilds\", \"member\", \"guild\"]")],
        &[
            "12: `fetch.resources[3]` is `guild`, not a known value; did you mean \"guilds\"?",
            "12: `fetch.resources[1]` is \"guilds\", which needs the scope \"guilds\"; add \"guilds\" to `discord.scopes`, or remove \"guilds\"",
            "12: `fetch.resources[2]` is \"member\", which needs the scope \"guilds.members.read\"; add \"guilds.members.read\" to `discord.scopes`, or remove \"member\"",
            "12: `fetch.resources[2]` is \"member\", which needs a guild; set `discord.guild_id`, or remove \"member\"",
        ],
    );
    let discord = "application_id = 1536000000000000001\nredirect_uri = \"https://relay.example/callback\"\n\
                   scopes = [\"connections\", \"guilds members\"]";
    says(
        &[("[discord]", discord), ("[fetch]", "resources = [\"connections\"]")],
        &[
            "4: `discord.scopes[1]` is `guilds members`, not a valid scope; write one scope an element, as in `[\"identify\", \"guilds\"]`",
            "13: `fetch.resources` lacks \"user\", without which the user is unknown; add \"user\"",
        ],
    );
    says(
        &[("[discord]", &discord.replace("guilds members", "guilds"))],
        &["4: `discord.scopes` lacks \"identify\", without which the user is unknown; add \"identify\""],
    );
}

#[test]
fn sinks_are_named_complete_and_of_a_known_kind() {
    let sinks = "name = \"a\"\nkind = \"kafka\"\n[[delivery]]\nname = \"a\"\nkind = \"jsonl\"\nurl = \"https://x.example\"\n\
                 [[delivery]]\nkind = \"discord_webhook\"\n[[delivery]]\nname = \"UPPER\"\n\
                 [[delivery]]\nname = \"c\"\nkind = \"http\"\nurl = \"http://app.example/hook?CANARY\"\n\
                 [[delivery]]\nname = \"d\"\nkind = \"discord_webhook\"\nwebhook_id = 1536000000000000004";
    says(
        &[("[[delivery]]", sinks)],
        &[
            "9: `delivery[0].kind` is `kafka`, not a known value; use \"jsonl\", \"http\" or \"discord_webhook\"",
            "10: `delivery[1].path` is missing; write for example `path = \"data/results.jsonl\"`",
            "11: `delivery[1].name` is the same name as `delivery[0].name`; remove one of them",
            "13: `delivery[1].url` does not belong to kind `jsonl`; remove it; this kind has `path` and `rotate_mb`",
            "14: `delivery[2].name` is missing; write for example `name = \"results\"`: deliveries are remembered by it",
            "14: `delivery[2].webhook_id` is missing; write for example `webhook_id = \"1536000000000000005\"`",
            "16: `delivery[3].kind` is missing; use \"jsonl\", \"http\" or \"discord_webhook\"",
            "17: `delivery[3].name` is `UPPER`, not a valid name; use 1 to 32 of a-z, 0-9, `_` and `-`",
            "21: `delivery[4].url` is plain http to `app.example`, which is not a loopback address; use https: what is sent there is secret",
            "25: `delivery[5].webhook_id` is the webhook of a lane: results would be taken for codes and removed; create another webhook for results",
        ],
    );
    let twice = "name = \"a\"\nkind = \"jsonl\"\npath = \"r.jsonl\"\n[[delivery]]\nname = \"b\"\nkind = \"jsonl\"\npath = \"./r.jsonl\"";
    says(
        &[("[[delivery]]", twice)],
        &["14: `delivery[1].path` is the same file as `delivery[0].path`; remove one of them"],
    );
}

#[test]
fn a_callback_to_a_neighbour_is_plain_http_only_where_that_is_allowed() {
    let sink =
        |url: &str, allowed| format!("name = \"callback\"\nkind = \"http\"\nurl = \"{url}\"\nallow_http = {allowed}");
    for near in ["http://app:3000/x", "http://10.0.0.5"] {
        read(&good_but(&[("[[delivery]]", &sink(near, true))]), []).expect("a neighbour");
    }
    says(
        &[("[[delivery]]", &sink("http://app:3000/x", false))],
        &[
            "10: `delivery[0].url` is plain http to `app`, which is not a loopback address; use https: what is sent there is secret; or set `allow_http = true` where nobody else reads that network",
        ],
    );
    says(
        &[("[[delivery]]", &sink("http://app.example/x", true))],
        &[
            "10: `delivery[0].url` is plain http to `app.example`, to which `allow_http` does not apply: it is no name without a dot, in .internal or .local, nor a private address; use https: what is sent there is secret",
        ],
    );
}

#[test]
fn variables_of_a_cluster_and_empty_ones_are_passed_by() {
    let variables = [
        // What Kubernetes gives every container where Services are called codeferry and codeferry-relay.
        ("CODEFERRY_SERVICE_HOST", "10.0.0.1"),
        ("CODEFERRY_SERVICE_PORT", "80"),
        ("CODEFERRY_SERVICE_PORT_HTTP", "80"),
        ("CODEFERRY_PORT", "tcp://10.0.0.1:80"),
        ("CODEFERRY_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("CODEFERRY_PORT_80_TCP_PROTO", "tcp"),
        ("CODEFERRY_RELAY_SERVICE_HOST", "10.0.0.2"),
        ("CODEFERRY_RELAY_PORT_8080_TCP_ADDR", "10.0.0.2"),
        // What composition files pass for variables that nobody has set.
        ("CODEFERRY_DISCORD__GUILD_ID", ""),
        ("CODEFERRY_JOURNAL__CACHE_MB", ""),
        ("CODEFERRY_LOG__LEVEL", ""),
        ("CODEFERRY_REINVITE__ENABLED", ""),
        ("CODEFERRY_LIMITS__OAUTH", ""),
        // A text that may be empty means none.
        ("CODEFERRY_CONTROL__SOCKET", ""),
    ];
    let config = read(&good_but(&[]), variables).expect("nothing is wrong");
    assert_eq!(config.discord.guild_id, None);
    assert_eq!((config.journal.cache_mb, config.control.socket), (2, None));
    of_variables(
        &[("CODEFERRY_PORT", "8080")],
        &[
            "environment CODEFERRY_PORT: is neither a configuration key nor a secret; keys are written CODEFERRY_SECTION__KEY, with two underscores; unset it if it is not meant for codeferry",
        ],
    );
}

#[test]
fn variables_that_mean_nothing_are_errors() {
    of_variables(
        &[
            ("CODEFERRY_LIMITS__OATH", "off"),
            ("CODEFERRY_BOT_TOKN", "x"),
            ("CODEFERRY_LOG_LEVEL", "debug"),
            ("CODEFERRY_SOMETHING_ELSE", "x"),
            ("CODEFERRY_CONFIG", "is known"),
            ("CODEFERRY_LOG", "is known"),
            ("CODEFERRY_SLOW", "is known"),
            ("PATH", "is not ours"),
        ],
        &[
            "environment CODEFERRY_BOT_TOKN: is neither a configuration key nor a secret; did you mean CODEFERRY_BOT_TOKEN?",
            "environment CODEFERRY_LIMITS__OATH: is neither a configuration key nor a secret; did you mean CODEFERRY_LIMITS__OAUTH?",
            "environment CODEFERRY_LOG_LEVEL: is neither a configuration key nor a secret; did you mean CODEFERRY_LOG__LEVEL?",
            "environment CODEFERRY_SOMETHING_ELSE: is neither a configuration key nor a secret; keys are written CODEFERRY_SECTION__KEY, with two underscores; unset it if it is not meant for codeferry",
        ],
    );
}

#[test]
fn bad_values_of_variables_name_the_variable() {
    of_variables(
        &[
            ("CODEFERRY_JOURNAL__CACHE_MB", "lots"),
            ("CODEFERRY_LIMITS__WEBHOOK", "{ per_minute = 5"),
            ("CODEFERRY_LIMITS__OAUTH__BURST", "\"x\""),
            ("CODEFERRY_LOG__LEVEL", "loud"),
            ("CODEFERRY_DELIVERY__3__NAME", "x"),
            ("CODEFERRY_DISCORD__SCOPES", "identify"),
        ],
        &[
            "environment CODEFERRY_DELIVERY__3__NAME: `delivery[3].name` does not exist; elements count from 0, and the next that can be added is 1",
            "environment CODEFERRY_DISCORD__SCOPES: `discord.scopes` is not a list of texts: a text without quotes; write for example `scopes = [\"identify\"]`",
            "environment CODEFERRY_JOURNAL__CACHE_MB: `journal.cache_mb` is not a whole number from 0; write for example `cache_mb = 2`",
            "environment CODEFERRY_LIMITS__OAUTH__BURST: `limits.oauth.burst` is a text, not a whole number from 0; write for example `burst = 10`",
            "environment CODEFERRY_LIMITS__WEBHOOK: `limits.webhook` is not a table or \"off\": unclosed inline table, expected `}`; write for example `webhook = { burst = 5, per_minute = 30 }`",
            "environment CODEFERRY_LOG__LEVEL: `log.level` is `loud`, not a known value; use \"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
        ],
    );
}

#[test]
fn a_commands_name_and_texts_are_tried_out() {
    for name in ["", "connect", "konto-verbinden_2", "подключить", "接続"] {
        read(&good_but(&[("[commands]", &format!("connect = \"{name}\""))]), [])
            .unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    for name in ["/connect", "Connect", "two words", "a.b"] {
        says(
            &[("[commands]", &format!("connect = \"{name}\""))],
            &[&format!(
                "12: `commands.connect` is `{name}`, not a valid command name; use 1 to 32 letters and digits of any script, `-` and `_`, in lower case and without the slash, or \"\" for none"
            )],
        );
    }
    let long = format!("connect = \"{}\"", "x".repeat(33));
    read(&good_but(&[("[commands]", &long)]), []).expect_err("33 letters");
    let texts = "locale = \"de\"\nlink = \"Hier {{ minutes\"\nlater = \"Bitte in {{ minutes }}\"\nbutton = \"\"\n\
                 [[commands.texts]]\nlocale = \"fr\"\ndescription = \"Relier\"\nlink = \"Ici\"\nlater = \"Plus tard\"\nfailed = \"Non\"\n\
                 [[commands.texts]]\nlocale = \"de\"\n[[commands.texts]]\nlocale = \"pt_BR\"\nbutton = \"x\"";
    says(
        &[("[[commands.texts]]", texts)],
        &[
            "13: `commands.texts[0].link` cannot be used: syntax error: unexpected end of input, expected end of variable block (line 1 of the text); write for example `link = \"Ouvre ce lien pour relier ton compte.{% if minutes %} Il est valable {{ minutes }} min.{% endif %}\"`",
            "14: `commands.texts[0].later` cannot be used: uses `minutes`, which is not defined; write for example `later = \"Beaucoup de monde en ce moment. Essaie encore dans {{ seconds }} s.\"`",
            "15: `commands.texts[0].button` cannot be used: renders to 0 characters, not 1 to 80; write for example `button = \"Relier\"`",
            "16: `commands.texts[1].button` is missing; write for example `button = \"Relier\"`",
            "23: `commands.texts[2].locale` is the same language as `commands.texts[0].locale`; remove one of them",
            "25: `commands.texts[3].locale` is `pt_BR`, not a known value; did you mean \"pt-BR\"?",
        ],
    );
    let config = read(
        &good_but(&[("[[commands.texts]]", "locale = \"de\"\nbutton = \"Los\"")]),
        [],
    )
    .expect("good");
    let locales: Vec<_> = config.commands.texts.iter().map(|t| t.locale.as_str()).collect();
    assert_eq!(locales, ["en", "de"]);
    assert_eq!(config.commands.texts[1].button.fill(&[]).as_deref(), Ok("Los"));
    assert_eq!(
        config.commands.texts[1].description.fill(&[]).as_deref(),
        Ok("Verbinde dein Konto")
    );
    // What is newer than the others may be left out everywhere.
    let french = "locale = \"fr\"\ndescription = \"Relier\"\nlink = \"Ici\"\nbutton = \"Oui\"\nlater = \"Plus tard\"\nfailed = \"Non\"";
    let config = read(&good_but(&[("[[commands.texts]]", french)]), []).expect("good");
    assert_eq!(config.commands.texts[2].purpose.fill(&[]).as_deref(), Ok("What for"));
}

#[test]
fn a_new_invitation_is_a_switch_and_a_text() {
    says(
        &[("[reinvite]", "enabled = \"yes\"\ntext = \"{{ url }}\"\nbutton = \"Go\"")],
        &[
            "12: `reinvite.enabled` is a text, not true or false; write for example `enabled = false`",
            "13: `reinvite.text` cannot be used: uses `url`, which is not defined; write for example `text = \"Your account could not be connected in time. Please open this new link{% if minutes %} within {{ minutes }} min{% endif %}.\"`",
        ],
    );
    says(
        &[("[state]", "mode = \"user_id\""), ("[reinvite]", "enabled = true")],
        &[
            "14: `reinvite.enabled` is true, but only a signed state proves which user to message; set `state.mode = \"signed\"`, or set it to false",
        ],
    );
    of_variables(
        &[("CODEFERRY_REINVITE__ENABLED", "maybe")],
        &[
            "environment CODEFERRY_REINVITE__ENABLED: `reinvite.enabled` is neither true nor false; write for example `enabled = false`",
        ],
    );
    let config = read(&good_but(&[]), [("CODEFERRY_REINVITE__ENABLED", "true")]).expect("good");
    assert!(config.reinvite.enabled);
}
