//! What the simulator answers over REST, held against Discord's own description of it.

use jsonschema::{Registry, Validator};
use reqwest::Method;
use serde_json::{Value, json};

use super::support::{Discord, PERSON, answer};
use codeferry::simulator::person::Person;
use codeferry::simulator::{CodeRequest, SimulatorOptions, UseRequest};

const SPECIFICATION: &str = include_str!("openapi-subset.json");
const ALL: [&str; 5] = ["identify", "email", "guilds", "connections", "guilds.members.read"];

struct Schemas(Registry<'static>);

impl Schemas {
    fn load() -> Self {
        let document: Value = serde_json::from_str(SPECIFICATION).expect("the excerpt is JSON");
        let registry = Registry::new()
            .add("urn:discord", document)
            .expect("the excerpt is taken")
            .prepare()
            .expect("its references hold");
        Self(registry)
    }

    fn validator(&self, name: &str) -> Validator {
        jsonschema::options()
            .with_registry(&self.0)
            .offline()
            .build(&json!({"$ref": format!("urn:discord#/components/schemas/{name}")}))
            .expect("the schema is in the excerpt")
    }

    #[track_caller]
    fn check(&self, name: &str, value: &Value) {
        let validator = self.validator(name);
        let faults: Vec<_> = validator
            .iter_errors(value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{name}: {faults:#?}\n{value:#}");
    }

    #[track_caller]
    fn check_each(&self, name: &str, list: &Value) -> usize {
        let list = list.as_array().expect("a list");
        for value in list {
            self.check(name, value);
        }
        list.len()
    }
}

#[test]
fn the_schemas_refuse_what_is_wrong() {
    let schemas = Schemas::load();
    let user = schemas.validator("UserPIIResponse");
    assert!(!user.is_valid(&json!({"id": "80000000000000001"})));
    assert!(!schemas.validator("MessageResponse").is_valid(&json!({"content": 5})));
    assert!(!schemas.validator("ErrorResponse").is_valid(&json!({"message": "x"})));
}

#[tokio::test]
async fn everything_about_people_is_as_specified() {
    let discord = Discord::with(SimulatorOptions {
        people: 24,
        ..SimulatorOptions::without_limits()
    });
    let schemas = Schemas::load();
    let (mut guilds, mut connections, mut members) = (0, 0, 0);
    for person in &discord.about.people {
        let request = CodeRequest::of(person.parse().expect("an id")).with_scopes(&ALL);
        let (_, body) = discord.exchange(&discord.simulator.mint_codes(&request)[0]).await;
        let token = body["access_token"].as_str().expect("a token");
        schemas.check("UserPIIResponse", &discord.get_as(token, "/users/@me").await.1);
        schemas.check(
            "OAuth2GetAuthorizationResponse",
            &discord.get_as(token, "/oauth2/@me").await.1,
        );
        let (_, list) = discord.get_as(token, "/users/@me/guilds?with_counts=true").await;
        guilds += schemas.check_each("MyGuildResponse", &list);
        let (_, list) = discord.get_as(token, "/users/@me/connections").await;
        connections += schemas.check_each("ConnectedAccountResponse", &list);
        let path = format!("/users/@me/guilds/{}/member", discord.about.guild_id);
        match discord.get_as(token, &path).await {
            (200, member) => {
                schemas.check("PrivateGuildMemberResponse", &member);
                members += 1;
            }
            (_, error) => schemas.check("ErrorResponse", &error),
        }
    }
    assert!(guilds > 0 && connections > 0 && members > 0);
}

#[tokio::test]
async fn everything_the_bot_reads_is_as_specified() {
    let discord = Discord::start();
    let schemas = Schemas::load();
    let get = |path: String| {
        let discord = &discord;
        async move {
            let (status, body) = discord.get(&path).await;
            assert_eq!(status, 200, "{path}: {body}");
            body
        }
    };
    let channel = discord.lane_channel();
    let guild = &discord.about.guild_id;
    schemas.check("PrivateApplicationResponse", &get("/applications/@me".into()).await);
    schemas.check("UserPIIResponse", &get("/users/@me".into()).await);
    schemas.check("GatewayResponse", &get("/gateway".into()).await);
    schemas.check("GatewayBotResponse", &get("/gateway/bot".into()).await);
    schemas.check(
        "GuildWithCountsResponse",
        &get(format!("/guilds/{guild}?with_counts=true")).await,
    );
    schemas.check("GuildChannelResponse", &get(format!("/channels/{channel}")).await);
    let channels = get(format!("/guilds/{guild}/channels")).await;
    assert_eq!(schemas.check_each("GuildChannelResponse", &channels), 2);
    for member in [&discord.about.bot_id, &discord.about.owner_id] {
        schemas.check(
            "GuildMemberResponse",
            &get(format!("/guilds/{guild}/members/{member}")).await,
        );
    }
    let webhooks = get(format!("/channels/{channel}/webhooks")).await;
    assert_eq!(schemas.check_each("GuildIncomingWebhookResponse", &webhooks), 2);
    let own = discord.about.lanes[0].webhook.url.replace(&discord.about.api_base, "");
    schemas.check(
        "GuildIncomingWebhookResponse",
        &answer(discord.request(Method::GET, &own)).await.1,
    );
    let made = discord
        .as_bot(Method::POST, &format!("/channels/{channel}/webhooks"))
        .json(&json!({"name": "another"}));
    schemas.check("GuildIncomingWebhookResponse", &answer(made).await.1);
    let dm = discord
        .as_bot(Method::POST, "/users/@me/channels")
        .json(&json!({"recipient_id": discord.about.people[0]}));
    schemas.check("PrivateChannelResponse", &answer(dm).await.1);
}

#[tokio::test]
async fn every_message_is_as_specified() {
    let discord = Discord::start();
    let schemas = Schemas::load();
    let channel = discord.lane_channel();
    let content = format!("<@{}> <@80000000000000001> hello", discord.about.bot_id);
    let url = format!("{}?wait=true", discord.about.lanes[0].webhook.url);
    let (_, posted) = answer(discord.http.post(&url).json(&json!({"content": content}))).await;
    schemas.check("MessageResponse", &posted);
    for author in [json!("bot"), json!("other_bot"), json!({"person": "80000000000000001"})] {
        let body = json!({"channel_id": channel, "as": author, "content": content});
        assert_eq!(discord.control(Method::POST, "/post", body).await.0, 200);
    }
    let id = posted["id"].as_str().expect("an id");
    let one = format!("/channels/{channel}/messages/{id}");
    let reaction = discord.as_bot(Method::PUT, &format!("{one}/reactions/%E2%9C%85/@me"));
    assert_eq!(answer(reaction).await.0, 204);
    schemas.check("MessageResponse", &discord.get(&one).await.1);
    let (_, page) = discord.get(&format!("/channels/{channel}/messages")).await;
    assert_eq!(schemas.check_each("MessageResponse", &page), 4);
}

#[tokio::test]
async fn commands_and_what_is_said_to_people_are_as_specified() {
    let discord = Discord::start();
    let schemas = Schemas::load();
    let path = format!("/applications/{}/commands", discord.about.application_id);
    let command = json!({"name": "connect", "type": 1, "description": "Connect", "contexts": [0, 1],
        "integration_types": [0], "description_localizations": {"de": "Verbinde"},
        "options": [{"type": 3, "name": "purpose", "description": "What for", "description_localizations": {"de": "Wofür"},
            "required": false, "choices": [{"name": "default", "value": "default"}, {"name": "other", "value": "other"}]}]});
    schemas.check("ApplicationCommandCreateRequest", &command);
    let set = |method: Method, body: Value| answer(discord.as_bot(method, &path).json(&body));
    let (status, made) = set(Method::POST, command.clone()).await;
    assert_eq!(status, 201);
    schemas.check("ApplicationCommandResponse", &made);
    let (status, changed) = set(Method::POST, command).await;
    assert_eq!(
        (status, &changed["id"]),
        (200, &made["id"]),
        "the same command, by its name"
    );
    assert_eq!(
        schemas.check_each("ApplicationCommandResponse", &discord.get(&path).await.1),
        1
    );
    let with_choices = |name: &str, count: usize| {
        let choices: Vec<_> = (0..count)
            .map(|n| json!({"name": n.to_string(), "value": "x"}))
            .collect();
        let option = json!({"type": 3, "name": name, "description": "x", "choices": choices});
        json!({"name": "connect", "description": "x", "options": [option]})
    };
    for (body, field) in [
        (json!({"name": "Connect", "description": "x"}), "name"),
        (json!({"name": "connect", "description": ""}), "description"),
        (
            json!({"name": "connect", "description": "x", "description_localizations": {"en": "x"}}),
            "description_localizations",
        ),
        (
            json!({"name": "connect", "description": "x", "contexts": []}),
            "contexts",
        ),
        (with_choices("Purpose", 1), "options"),
        (with_choices("purpose", 26), "options"),
    ] {
        let (status, refused) = set(Method::POST, body).await;
        assert_eq!((status, &refused["code"]), (400, &json!(50035)));
        assert!(refused["errors"].get(field).is_some(), "{refused}");
    }
    let (status, _) = set(Method::PUT, json!([{"name": "other", "description": "x"}])).await;
    assert_eq!(status, 200);
    assert_eq!(discord.get(&path).await.1[0]["name"], "other");
    assert_eq!(discord.simulator.ledger().answers["bulk_commands"][&200], 1);

    let button = json!({"type": 2, "style": 5, "label": "Connect", "url": "https://discord.com/"});
    let row = json!([{"type": 1, "components": [button]}]);
    let answered = json!({"type": 4, "data": {"content": "Here", "flags": 64, "components": row}});
    schemas.check("CreateMessageInteractionCallbackRequest", &answered);
    let used = discord.simulator.use_command(&UseRequest::of(PERSON, "connect"));
    let token = discord.simulator.interaction(used).expect("it was made").token;
    let reply = |id: u64, token: &str| {
        let path = format!("/interactions/{id}/{token}/callback");
        answer(discord.request(Method::POST, &path).json(&answered))
    };
    for (got, want) in [
        (reply(5, &token).await, (404, 10062)),
        (reply(used, "wrong").await, (401, 50027)),
        (reply(used, &token).await, (204, 0)),
        (reply(used, &token).await, (400, 40060)),
    ] {
        assert_eq!(u32::from(got.0), want.0, "{got:?}");
        if want.1 > 0 {
            schemas.check("ErrorResponse", &got.1);
            assert_eq!(got.1["code"], want.1);
        }
    }

    let (_, channel) = answer(
        discord
            .as_bot(Method::POST, "/users/@me/channels")
            .json(&json!({"recipient_id": PERSON.to_string()})),
    )
    .await;
    let messages = format!("/channels/{}/messages", channel["id"].as_str().expect("an id"));
    let body = json!({"content": "Here", "components": row, "nonce": "x".repeat(25), "enforce_nonce": true});
    schemas.check("MessageCreateRequest", &body);
    for _ in 0..2 {
        let (status, message) = answer(discord.as_bot(Method::POST, &messages).json(&body)).await;
        assert_eq!(status, 200);
        schemas.check("MessageResponse", &message);
    }
    assert_eq!(
        discord.simulator.direct_messages(PERSON).len(),
        1,
        "the mark is the same"
    );
    let mut closed = Person::synthetic(PERSON);
    closed.direct_messages_closed = true;
    discord.simulator.set_person(closed);
    let refused = answer(discord.as_bot(Method::POST, &messages).json(&body)).await;
    assert_eq!((refused.0, &refused.1["code"]), (403, &json!(50007)));
}

#[tokio::test]
async fn refusals_are_as_specified() {
    let discord = Discord::with(SimulatorOptions::default());
    let schemas = Schemas::load();
    for (path, status) in [
        ("/channels/5", 404),
        ("/channels/abc", 400),
        ("/guilds/5", 404),
        ("/webhooks/5", 404),
        ("/nothing", 404),
    ] {
        let (got, mut body) = discord.get(path).await;
        assert_eq!(got, status, "{path}");
        // The specification has numbers for the codes of single fields where the documentation and Discord have names.
        if let Some(errors) = body.as_object_mut().and_then(|b| b.remove("errors")) {
            assert_eq!(errors["channel_id"]["_errors"][0]["code"], "NUMBER_TYPE_COERCE");
        }
        schemas.check("ErrorResponse", &body);
    }
    for _ in 0..5 {
        assert_eq!(discord.post("x").await.status(), 204);
    }
    let mut refused: Value = discord.post("x").await.json().await.expect("JSON");
    // The specification demands `code`, the documentation calls it optional, and Discord leaves it out here.
    assert!(refused.get("code").is_none());
    refused["code"] = json!(0);
    schemas.check("RatelimitedResponse", &refused);
}
