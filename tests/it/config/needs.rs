//! Keys that need one another, sinks, and variables that mean nothing.

use super::*;

#[test]
fn resources_need_their_scopes() {
    says(
        &[("[fetch]", "resources = [\"user\", \"guilds\", \"member\", \"guild\"]")],
        &[
            "12: `fetch.resources[1]` is \"guilds\", which needs the scope \"guilds\"; add \"guilds\" to `discord.scopes`, or take \"guilds\" away",
            "12: `fetch.resources[2]` is \"member\", which needs the scope \"guilds.members.read\"; add \"guilds.members.read\" to `discord.scopes`, or take \"member\" away",
            "12: `fetch.resources[2]` is \"member\", which needs a guild; set `discord.guild_id`, or take \"member\" away",
            "12: `fetch.resources[3]` is `guild`, which is not known here; did you mean \"guilds\"?",
        ],
    );
    let discord = "application_id = 1536000000000000001\nredirect_uri = \"https://relay.example/callback\"\n\
                   scopes = [\"connections\", \"guilds members\"]";
    says(
        &[("[discord]", discord), ("[fetch]", "resources = [\"connections\"]")],
        &[
            "4: `discord.scopes[1]` is `guilds members`, which is no scope; write one scope an element, as in `[\"identify\", \"guilds\"]`",
            "13: `fetch.resources` lacks \"user\", without which nobody knows who approved; add \"user\"",
        ],
    );
    says(
        &[("[discord]", &discord.replace("guilds members", "guilds"))],
        &["4: `discord.scopes` lacks \"identify\", without which nobody knows who approved; add \"identify\""],
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
            "9: `delivery[0].kind` is `kafka`, which is not known here; use \"jsonl\", \"http\" or \"discord_webhook\"",
            "10: `delivery[1].path` is missing; write for example `path = \"data/results.jsonl\"`",
            "11: `delivery[1].name` is the same name as `delivery[0].name`; each may stand once",
            "13: `delivery[1].url` does not belong to kind `jsonl`; take it away; this kind has `path` and `rotate_mb`",
            "14: `delivery[2].name` is missing; write for example `name = \"results\"`: deliveries are remembered by it",
            "14: `delivery[2].webhook_id` is missing; write for example `webhook_id = \"1536000000000000005\"`",
            "16: `delivery[3].kind` is missing; use \"jsonl\", \"http\" or \"discord_webhook\"",
            "17: `delivery[3].name` is `UPPER`, which is no name; use 1 to 32 of a-z, 0-9, `_` and `-`",
            "21: `delivery[4].url` is plain http to `app.example`, which is not a loopback address; use https: what is sent there is secret",
            "25: `delivery[5].webhook_id` is the webhook of a lane: results would be taken for codes and removed; make another webhook for results",
        ],
    );
    let twice = "name = \"a\"\nkind = \"jsonl\"\npath = \"r.jsonl\"\n[[delivery]]\nname = \"b\"\nkind = \"jsonl\"\npath = \"./r.jsonl\"";
    says(
        &[("[[delivery]]", twice)],
        &["14: `delivery[1].path` is the same file as `delivery[0].path`; each may stand once"],
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
            "environment CODEFERRY_BOT_TOKN: means no key and no secret; did you mean CODEFERRY_BOT_TOKEN?",
            "environment CODEFERRY_LIMITS__OATH: means no key and no secret; did you mean CODEFERRY_LIMITS__OAUTH?",
            "environment CODEFERRY_LOG_LEVEL: means no key and no secret; did you mean CODEFERRY_LOG__LEVEL?",
            "environment CODEFERRY_SOMETHING_ELSE: means no key and no secret; keys are CODEFERRY_SECTION__KEY, with two underscores between; take it away if it is not meant",
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
            "environment CODEFERRY_DELIVERY__3__NAME: `delivery[3].name` is not there to be set; elements are counted from 0, and the next that can be added is 1",
            "environment CODEFERRY_DISCORD__SCOPES: `discord.scopes` is not a list of texts: a text stands without quotes; write for example `scopes = [\"identify\"]`",
            "environment CODEFERRY_JOURNAL__CACHE_MB: `journal.cache_mb` is not a whole number from 0; write for example `cache_mb = 16`",
            "environment CODEFERRY_LIMITS__OAUTH__BURST: `limits.oauth.burst` is a text, not a whole number from 0; write for example `burst = 10`",
            "environment CODEFERRY_LIMITS__WEBHOOK: `limits.webhook` is not a table or \"off\": unclosed inline table, expected `}`; write for example `webhook = { burst = 5, per_minute = 30 }`",
            "environment CODEFERRY_LOG__LEVEL: `log.level` is `loud`, which is not known here; use \"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
        ],
    );
}
