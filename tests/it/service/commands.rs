//! The bot's own slash command: set beside those of others, and answered privately with a link that works.

use std::time::Duration;

use codeferry::simulator::gateway::GatewayFault;
use codeferry::simulator::people::{Behaviour, browser, decide};
use codeferry::simulator::{Endpoint, Fault, FaultBody, FaultRule, SimulatorOptions, UseRequest};
use serde_json::{Value, json};

use super::live::metrics;
use super::test_support::{PERSON, Site};
use crate::patience::{until, wait};

const SOON: Duration = Duration::from_secs(20);
const COMMAND: &str = "[commands]\nconnect = \"connect\"\n";

fn now<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

/// What a command was answered.
#[track_caller]
fn answered(site: &Site, interaction: u64) -> Value {
    let answer = || site.simulator.interaction(interaction).expect("it was made").answer;
    until(SOON, "an answer", || answer().is_some());
    answer().expect("it was seen")
}

/// A person opens the link and approves, and the redirect arrives as a message, as a relay would post it.
pub fn open(site: &Site, link: &Value, person: u64) {
    let link = link.as_str().expect("a link");
    let decided = now(decide(&browser(), link, person, Behaviour::Approve));
    let location = decided.expect("the consent page redirects");
    let back = url::Url::parse(&location).expect("a URL");
    let value = |name: &str| {
        let found = back.query_pairs().find(|(n, _)| n == name);
        found.expect("it comes back").1.into_owned()
    };
    site.post(0, site.message(&[(value("code"), value("state"))]));
}

/// How often an endpoint was asked.
pub fn asked(site: &Site, endpoint: &str) -> u64 {
    let answers = site.simulator.ledger().answers;
    answers.get(endpoint).map_or(0, |by_status| by_status.values().sum())
}

#[test]
fn the_command_is_set_alone_and_leads_to_a_result_in_a_guild_and_in_a_direct_message() {
    let site = Site::new(SimulatorOptions::without_limits(), COMMAND);
    // Another program of the same bot has a command of its own.
    let commands = format!(
        "{}/applications/{}/commands",
        site.about.api_base, site.about.application_id
    );
    let bot = format!("Bot {}", site.about.bot_token);
    let request = browser().post(&commands).header("Authorization", &bot);
    let other = json!({"name": "weather", "description": "Tells the weather"});
    let made = now(async { request.json(&other).send().await }).expect("an answer");
    assert_eq!(made.status(), 201);
    for _ in 0..2 {
        let service = site.run_ready();
        service.logs("the slash command is set");
        service.drain();
    }
    let listed = now(async {
        let request = browser().get(&commands).header("Authorization", &bot);
        let answer = request.send().await.expect("an answer");
        answer.json::<Value>().await.expect("JSON")
    });
    let names: Vec<_> = listed.as_array().expect("a list").iter().map(|c| &c["name"]).collect();
    assert_eq!(names, ["weather", "connect"]);
    assert_eq!(listed[0]["description"], "Tells the weather");
    assert_eq!(listed[1]["description_localizations"]["de"], "Verbinde dein Konto");
    assert_eq!(asked(&site, "bulk_commands"), 0, "that would have ended the other one");

    let service = site.run_ready();
    for (nth, direct) in [(0, false), (1, true)] {
        let person = PERSON + nth;
        let answer = answered(
            &site,
            site.simulator.use_command(&UseRequest {
                locale: "de".to_owned(),
                direct,
                ..UseRequest::of(person, "connect")
            }),
        );
        assert_eq!(answer["flags"], 64, "nobody else sees it: {answer}");
        assert!(
            answer["content"].as_str().is_some_and(|t| t.contains("5 Min.")),
            "{answer}"
        );
        let button = &answer["components"][0]["components"][0];
        assert_eq!((&button["style"], &button["label"]), (&json!(5), &json!("Verbinden")));
        open(&site, &button["url"], person);
    }
    until(SOON, "two results", || site.results_of("completed") == 2);
    let tokens = site.simulator.ledger();
    assert!(!service.log().contains(&tokens.codes[0].code));
    service.drain();
}

/// The commands of the application, as Discord has them.
fn commands(site: &Site) -> Value {
    let url = format!(
        "{}/applications/{}/commands",
        site.about.api_base, site.about.application_id
    );
    let bot = format!("Bot {}", site.about.bot_token);
    now(async {
        let answer = browser().get(&url).header("Authorization", &bot).send().await;
        answer.expect("an answer").json::<Value>().await.expect("JSON")
    })
}

fn choose(person: u64, purpose: &str) -> UseRequest {
    UseRequest {
        options: [("purpose".to_owned(), purpose.to_owned())].into(),
        ..UseRequest::of(person, "connect")
    }
}

#[test]
fn people_choose_one_of_several_purposes_and_one_that_is_gone_is_told_so() {
    let limits = "[limits]\nwebhook = \"off\"\nglobal = \"off\"\noauth = \"off\"\n";
    let of = |purposes: &[&str]| format!("{limits}{COMMAND}[state]\npurposes = {purposes:?}\n");
    let site = Site::new(SimulatorOptions::without_limits(), &of(&["default"]));
    site.run_ready().drain();
    let alone = commands(&site);
    assert_eq!(alone[0].get("options"), None, "{alone}");

    site.configure(&of(&["default", "linked-role", "raffle"]));
    let service = site.run_ready();
    let several = commands(&site);
    assert_eq!(several[0]["id"], alone[0]["id"], "the same command");
    let option = &several[0]["options"][0];
    assert_eq!(several[0]["options"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&option["name"], &option["required"]),
        (&json!("purpose"), &json!(false))
    );
    assert_eq!(option["description"], "What for");
    assert_eq!(option["description_localizations"]["de"], "Wof\u{fc}r");
    let choices = ["default", "linked-role", "raffle"].map(|name| json!({"name": name, "value": name}));
    assert_eq!(option["choices"], json!(choices));
    for (nth, chosen, comes_to) in [
        (0, None, "default"),
        (1, Some("raffle"), "raffle"),
        (2, Some("linked-role"), "linked-role"),
    ] {
        let person = PERSON + nth;
        let request = chosen.map_or_else(|| UseRequest::of(person, "connect"), |name| choose(person, name));
        let answer = answered(&site, site.simulator.use_command(&request));
        open(&site, &answer["components"][0]["components"][0]["url"], person);
        let theirs = || {
            site.results()
                .into_iter()
                .find(|r| r["state"]["user_id"] == json!(person.to_string()))
        };
        until(SOON, "a result", || theirs().is_some());
        let result = theirs().expect("it came");
        assert_eq!(
            (&result["type"], &result["state"]["purpose"]),
            (&json!("authorization.completed"), &json!(comes_to))
        );
    }
    service.drain();

    site.configure(&of(&["default", "raffle"]));
    let service = site.run_ready();
    let changed = commands(&site);
    assert_eq!(
        (&changed[0]["id"], changed.as_array().map(Vec::len)),
        (&alone[0]["id"], Some(1))
    );
    assert_eq!(changed[0]["options"][0]["choices"].as_array().map(Vec::len), Some(2));
    // A client that has not heard of it yet.
    let answer = answered(&site, site.simulator.use_command(&choose(PERSON + 3, "linked-role")));
    let text = answer["content"].as_str().expect("a text");
    assert!(text.contains("not offered any more"), "{text}");
    assert_eq!((&answer["flags"], &answer["components"]), (&json!(64), &json!([])));
    assert_eq!(site.json(&["debug", "queue", "stats"])["links"], 0, "it holds no place");
    let counted = "codeferry_commands_total{answer=\"gone\"} 1";
    assert!(metrics(&site).contains(counted), "{}", metrics(&site));
    service.drain();

    // More than Discord shows.
    let many: Vec<String> = (0..27).map(|n| format!("purpose-{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    site.configure(&of(&many));
    let service = site.run_ready();
    service.logs("offers the first 25 of state.purposes");
    let choices = commands(&site)[0]["options"][0]["choices"].clone();
    assert_eq!(choices.as_array().map(Vec::len), Some(25));
    assert_eq!(choices[24]["name"], "purpose-24");
    service.drain();
    assert_eq!(
        asked(&site, "bulk_commands"),
        0,
        "that would end the commands of others"
    );
}

#[test]
fn other_commands_replays_and_late_ones_are_left_alone() {
    let site = Site::without_limits(COMMAND);
    let service = site.run_ready();
    let uses = |request: UseRequest| site.simulator.use_command(&request);
    let foreign = uses(UseRequest::of(PERSON, "weather"));
    let typing = uses(UseRequest {
        kind: 4,
        ..UseRequest::of(PERSON, "connect")
    });
    let late = uses(UseRequest {
        age_ms: 3_500,
        ..UseRequest::of(PERSON + 1, "connect")
    });
    service.logs("a command older than 3 s was ignored");
    site.simulator.gateway_fault(GatewayFault::Duplicate { count: 1 });
    let twice = uses(UseRequest::of(PERSON + 2, "connect"));
    answered(&site, twice);
    // Whatever was to become of the copy would have become of it before this one.
    answered(&site, uses(UseRequest::of(PERSON + 3, "connect")));
    for ignored in [foreign, typing, late] {
        let found = site.simulator.interaction(ignored).expect("it was made");
        assert_eq!((found.answer, found.refused), (None, 0));
    }
    assert_eq!(site.simulator.interaction(twice).expect("it was made").refused, 0);
    assert_eq!(asked(&site, "interaction"), 2);
    assert_eq!(site.json(&["debug", "queue", "stats"])["links"], 2, "{}", service.log());
    service.drain();
}

#[test]
fn who_finds_the_gate_full_is_told_when_to_come_back() {
    let site = Site::new(
        SimulatorOptions::without_limits(),
        &format!("{COMMAND}[gate]\nshare = 0.05\n"),
    );
    let service = site.run_ready();
    let text = |person: u64| {
        let answer = answered(&site, site.simulator.use_command(&UseRequest::of(person, "connect")));
        (
            answer["content"].as_str().expect("a text").to_owned(),
            answer["components"].clone(),
        )
    };
    // 0.05 x (5 + 25/60 x 85) = 2.
    for nth in 0..2 {
        assert_ne!(text(PERSON + nth).1, json!([]));
    }
    let (later, components) = text(PERSON + 2);
    assert!(later.contains("try again in") && components == json!([]), "{later}");
    service.drain();
}

#[test]
fn an_answer_that_seems_lost_is_given_again() {
    let site = Site::without_limits(COMMAND);
    let status = |status, after_work| Fault::Status {
        status,
        body: FaultBody::Json,
        retry_after: None,
        after_work,
    };
    let lost = FaultRule::on(Endpoint::Interaction, status(503, true)).times(1);
    let cut = FaultRule::on(Endpoint::Commands, Fault::LostAnswer).times(1);
    site.simulator.faults().add(lost);
    site.simulator.faults().add(cut);
    let service = site.run_ready();
    service.logs("the slash command is set");
    let used = site.simulator.use_command(&UseRequest::of(PERSON, "connect"));
    let came = wait(SOON, || {
        site.simulator.interaction(used).expect("it was made").refused == 1
    });
    assert!(came, "no second answer: {}", service.log());
    assert!(!service.log().contains("ERROR"), "{}", service.log());
    service.drain();
}

#[test]
fn a_command_that_discord_refuses_keeps_no_code_from_its_end() {
    let site = Site::without_limits(COMMAND);
    let refused = Fault::Status {
        status: 400,
        body: FaultBody::Json,
        retry_after: None,
        after_work: false,
    };
    site.simulator.faults().add(FaultRule::on(Endpoint::Commands, refused));
    let service = site.run_ready();
    let log = service.log();
    assert!(log.contains("refuses the slash command of commands.connect"), "{log}");
    site.sign_in(PERSON, 1);
    assert!(wait(SOON, || site.results_of("completed") == 1), "{}", service.log());
    service.drain();
}
