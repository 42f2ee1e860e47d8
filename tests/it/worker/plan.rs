//! What is posted when: limits, order, failures, and what an instance that ends leaves to the next.

use std::collections::BTreeSet;

use codeferry::ids::UserId;
use serde_json::json;

use super::cloud::{Cloud, Post, START, callback, code, read, webhook};

/// Codes that Discord took, each with its moment, the earliest first.
pub fn codes(cloud: &Cloud) -> Vec<(u64, String)> {
    let lines = cloud.lines().into_iter();
    lines
        .filter_map(|(at, entry)| Some((at, entry.result.ok()?.expose().to_owned())))
        .collect()
}

/// Nobody posted more than a channel takes, as the channel saw it.
#[track_caller]
fn keeps_the_limits(posts: &[Post]) {
    assert!(posts.iter().all(|post| !post.limited), "a post came beyond the limits");
    for post in posts {
        assert!(post.content.chars().count() <= 2_000);
        let within = |span: u64| {
            let others = posts.iter().filter(|p| p.channel == post.channel);
            others.filter(|p| p.at <= post.at && post.at - p.at < span).count()
        };
        assert!(within(60_000) <= 30 && within(2_000) <= 5, "at {}", post.at - START);
    }
}

/// Everybody who saw the success page arrived once and in time.
#[track_caller]
pub fn everybody_told_arrives(cloud: &Cloud, within: u64) {
    let seen = cloud.seen();
    let told: BTreeSet<u64> = seen
        .iter()
        .filter(|(_, one)| one.status == 200)
        .map(|(name, _)| name.parse().expect("a number"))
        .collect();
    let arrived = codes(cloud);
    let people: BTreeSet<u64> = arrived
        .iter()
        .map(|(_, code)| code.parse().expect("a number"))
        .collect();
    assert_eq!(told, people);
    for (at, code) in &arrived {
        let person: u64 = code.parse().expect("a number");
        let waited = at - seen[&person.to_string()].at;
        assert!(waited <= within, "{person} waited {waited} ms");
    }
}

#[test]
fn three_hundred_a_minute_go_through_one_lane_in_time_and_within_the_limits() {
    let cloud = Cloud::new(1, 18);
    for person in 0..1_500 {
        cloud.visit(&person.to_string(), START + person * 200, &callback(person, 0));
    }
    cloud.run(START + 400_000);
    let seen = cloud.seen();
    assert!(seen.values().all(|one| one.page() == "success"));
    everybody_told_arrives(&cloud, 10_000);
    let arrived = codes(&cloud);
    assert_eq!(arrived.len(), 1_500, "nobody twice");
    keeps_the_limits(&cloud.posts());
    assert_eq!(
        cloud.value("kept.size"),
        1_500 + 1,
        "what is posted is gone; who came is known till the link's end"
    );
    cloud.run(START + 2_000_000);
    assert_eq!(cloud.value("kept.size"), 1, "and forgotten then");
    assert_eq!(cloud.value("alarm"), json!(null), "nothing wakes it for nothing");
    let writes = cloud.value("writes").as_u64().expect("a number");
    assert!(writes <= 8 * 1_500, "{writes} rows written");
}

#[test]
fn a_code_that_comes_alone_costs_eight_rows_written_at_most() {
    for lifetime in [300, 600, 86_400] {
        let cloud = Cloud::new(1, 18);
        let state = super::cloud::state(1, 0, START / 1_000 + lifetime);
        cloud.visit("1", START, &format!("/callback?code={}&state={state}", code(1)));
        cloud.run(START + 100_000_000);
        assert_eq!(codes(&cloud).len(), 1);
        assert_eq!(cloud.value("alarm"), json!(null));
        let writes = cloud.value("writes").as_u64().expect("a number");
        assert!(writes <= 8, "{writes} rows written");
    }
}

/// An instance that woke after a busy minute once charged every post of it at that moment: it posted nothing for 53 s, and one
/// that was woken every three minutes never again.
#[test]
fn an_instance_that_wakes_long_after_a_busy_minute_posts_at_once() {
    let cloud = Cloud::new(1, 1);
    for person in 0..40 {
        cloud.visit(&person.to_string(), START + person * 500, &callback(person, 0));
    }
    for person in 40..60 {
        let state = super::cloud::state(person, 0, START / 1_000 + 7_200);
        let path = format!("/callback?code={}&state={state}", code(person));
        cloud.visit(&person.to_string(), START + (person - 39) * 180_000, &path);
    }
    cloud.run(START + 4_000_000);
    assert!(cloud.value("generation").as_u64() > Some(20), "it slept in between");
    let seen = cloud.seen();
    let late: Vec<u64> = codes(&cloud)
        .into_iter()
        .map(|(at, code)| (at, code.parse::<u64>().expect("a number")))
        .filter(|(_, person)| *person >= 40)
        .map(|(at, person)| at - seen[&person.to_string()].at)
        .collect();
    assert_eq!(late, [75; 20]);
}

/// Asleep, it once forgot what Discord had refused, and posted into it with every code that came.
#[test]
fn an_instance_that_sleeps_forgets_no_refusal() {
    let cloud = Cloud::new(1, 18);
    cloud.js(&format!(
        "answers = ({{ clock }}) => clock < {START} + 1_800_000 \
         ? {{ status: 429, headers: {{ 'retry-after': '1800' }}, body: 'error code: 1015' }} : null"
    ));
    for person in 0..30 {
        let state = super::cloud::state(person, 0, START / 1_000 + 7_200);
        let path = format!("/callback?code={}&state={state}", code(person));
        cloud.visit(&person.to_string(), START + person * 60_000, &path);
    }
    cloud.run(START + 1_799_000);
    assert!(cloud.value("generation").as_u64() > Some(20), "it slept in between");
    assert_eq!(cloud.posts().len(), 1);
    // The first, before anybody knew, and the last, who can still be carried afterwards.
    let told: Vec<String> = cloud
        .seen()
        .into_iter()
        .filter(|(_, one)| one.page() == "success")
        .map(|(n, _)| n)
        .collect();
    assert_eq!(told, ["0", "29"]);
    cloud.run(START + 1_801_000);
    assert_eq!(
        codes(&cloud).into_iter().map(|(_, code)| code).collect::<Vec<_>>(),
        [code(29)]
    );

    let cloud = Cloud::new(1, 18);
    cloud.js("answers = () => ({ status: 404, body: '{\"code\":10015}' })");
    for person in 0..10 {
        cloud.visit(&person.to_string(), START + person * 60_000, &callback(person, 0));
    }
    cloud.run(START + 600_000);
    assert_eq!(cloud.posts().len(), 1);
    assert!(
        (38..=41).contains(&cloud.value("looks.length").as_u64().expect("a number")),
        "every 15 s"
    );
    assert_eq!(cloud.said().iter().filter(|(_, level, _)| level == "error").count(), 1);
}

/// What breaks after the headers once left the lane busy for ever, and a 429 without its wait.
#[test]
fn an_answer_that_breaks_off_after_its_headers_is_taken_by_them() {
    let cloud = Cloud::new(1, 18);
    cloud.js(&format!(
        "answers = ({{ clock, method }}) => method === 'GET' ? {{ status: 503, broken: true }} \
         : clock < {START} + 100 ? {{ status: 404, body: '{{\"code\":10015}}' }} : null; \
         at({START} + 40_000, () => {{ answers = ({{ method }}) => (method === 'GET' ? {{ status: 200, broken: true }} : null); }})"
    ));
    cloud.visit("1", START, &callback(1, 0));
    cloud.run(START + 90_000);
    assert_eq!(codes(&cloud).len(), 1);

    let cloud = Cloud::new(1, 18);
    let limited = "{ status: 429, headers: { via: 'v', 'retry-after': '60' }, broken: true }";
    cloud.js(&format!(
        "answers = ({{ clock }}) => clock < {START} + 30_000 ? {limited} : null"
    ));
    cloud.visit("1", START, &callback(1, 0));
    cloud.run(START + 99_000);
    let moments: Vec<u64> = cloud.posts().iter().map(|post| post.at - START).collect();
    assert_eq!(moments, [75, 60_225]);
}

/// A new deployment during the check of a webhook once left the check undone for ever.
#[test]
fn a_look_that_an_instance_leaves_behind_is_made_again_by_the_next() {
    let cloud = Cloud::new(1, 18);
    cloud.js(&format!(
        "answers = ({{ clock, method }}) => clock > {START} + 20_000 ? null : method === 'GET' ? {{}} \
         : {{ status: 404, body: '{{\"code\":10015}}' }}; at({START} + 17_000, evict)"
    ));
    cloud.visit("1", START, &callback(1, 0));
    cloud.run(START + 90_000);
    assert_eq!(codes(&cloud).len(), 1);
}

#[test]
fn with_limits_off_a_closure_still_sends_people_away() {
    let cloud = Cloud::new(1, 18);
    cloud.set("CODEFERRY_PER_MINUTE", "0");
    cloud.js("answers = () => ({ status: 429, headers: { 'retry-after': '3600' }, body: 'error code: 1015' })");
    for person in 0..20 {
        cloud.visit(&person.to_string(), START + person * 1_000, &callback(person, 0));
    }
    cloud.run(START + 60_000);
    assert_eq!(cloud.seen().values().filter(|one| one.page() == "success").count(), 1);
}

#[test]
fn what_waits_outlives_settings_that_do_not_hold() {
    let cloud = Cloud::new(1, 18);
    cloud.js("answers = () => ({})");
    cloud.visit("1", START, &callback(1, 0));
    cloud.run(START + 5_000);
    cloud.set("CODEFERRY_LANES", "[");
    cloud.js("answers = () => null; evict()");
    cloud.run(START + 40_000);
    assert_eq!(codes(&cloud).len(), 0);
    cloud.set(
        "CODEFERRY_LANES",
        &json!([{ "webhook_id": webhook(3), "pack": 18 }]).to_string(),
    );
    cloud.set("CODEFERRY_WEBHOOK_TOKENS", &format!("{}:token", webhook(3)));
    cloud.js("evict()");
    cloud.run(START + 99_000);
    assert_eq!(codes(&cloud).len(), 1, "and lanes that have others' numbers");
}

#[test]
fn a_crowd_that_is_too_large_is_told_so_and_nobody_who_was_taken_waits_too_long() {
    let cloud = Cloud::new(1, 4);
    for person in 0..2_000 {
        cloud.visit(&person.to_string(), START + person, &callback(person, 0));
    }
    cloud.run(START + 200_000);
    let seen = cloud.seen();
    let busy = seen.values().filter(|one| one.page() == "busy").count();
    let taken = seen.values().filter(|one| one.page() == "success").count();
    assert_eq!(busy + taken, 2_000);
    // 5 at once and 25 a minute for 90 s, 4 to a message.
    assert!((150..=175).contains(&taken), "{taken} were taken");
    assert!(
        seen.values()
            .filter(|one| one.page() == "busy")
            .all(|one| one.headers["retry-after"] == "60")
    );
    everybody_told_arrives(&cloud, 91_000);
    keeps_the_limits(&cloud.posts());
}

#[test]
fn codes_go_first_and_the_earliest_deadline_first() {
    let cloud = Cloud::new(1, 2);
    cloud.js("latency = 1000");
    let denial = |person: u64| {
        let state = super::cloud::state(person, 0, START / 1_000 + 600);
        format!("/callback?error=access_denied&state={state}")
    };
    // The first leaves alone; what comes while it is on its way waits.
    cloud.visit("1", START, &callback(1, 0));
    cloud.visit("2", START + 10, &denial(2));
    cloud.visit("3", START + 20, &callback(3, 0));
    cloud.visit("4", START + 30, &callback(4, 0));
    cloud.visit("5", START + 40, &callback(5, 0));
    cloud.run(START + 30_000);
    let messages: Vec<Vec<UserId>> = cloud
        .posts()
        .iter()
        .map(|post| read(&post.content).iter().map(user).collect())
        .collect();
    let people = |all: &[u64]| {
        all.iter()
            .map(|n| UserId(80_000_000_000_000_000 + n))
            .collect::<Vec<_>>()
    };
    assert_eq!(messages, [people(&[1]), people(&[3, 4]), people(&[5, 2])]);
}

fn user(entry: &codeferry::intake::entry::Entry) -> UserId {
    use codeferry::intake::state::StateKey;
    use codeferry::secret::Key;
    let key = StateKey::new(&Key::new(super::cloud::KEY.as_bytes()));
    let state = entry.state.as_ref().expect("a state");
    key.open(state.expose()).expect("ours").user
}

#[test]
fn an_instance_that_ends_at_any_moment_loses_nothing_and_overshoots_nothing() {
    for seed in 0..10_u64 {
        let cloud = Cloud::new(2, 6);
        for person in 0..150 {
            cloud.visit(
                &person.to_string(),
                START + person * 200,
                &callback(person, (person % 2) as u8),
            );
        }
        // Ends that fall before, between and after the moments of posts and answers.
        for n in 1..12_u64 {
            cloud.js(&format!("at({}, evict)", START + n * 2_741 + seed * 37));
        }
        cloud.run(START + 300_000);
        let seen = cloud.seen();
        assert!(
            seen.values().filter(|one| one.page() == "success").count() >= 140,
            "seed {seed}"
        );
        let told: BTreeSet<String> = seen
            .iter()
            .filter(|(_, one)| one.page() == "success")
            .map(|(name, _)| code(name.parse().expect("a number")))
            .collect();
        let arrived = codes(&cloud);
        let distinct: BTreeSet<String> = arrived.iter().map(|(_, code)| code.clone()).collect();
        assert!(told.is_subset(&distinct), "seed {seed}");
        for (at, code) in &arrived {
            let came = seen[&code.parse::<u64>().expect("a number").to_string()].at;
            assert!(at - came < 100_000, "seed {seed}: {code} came dead");
        }
        keeps_the_limits(&cloud.posts());
    }
}

#[test]
fn two_webhooks_of_one_channel_share_its_limit() {
    let lanes: Vec<_> = (0..2)
        .map(|n| json!({ "webhook_id": webhook(n), "channel_id": "1536000000000002000", "pack": 1 }))
        .collect();
    let pages = codeferry::front::pages::Pages::load(None, codeferry::front::face::Face::default()).expect("built in");
    let cloud = Cloud::with(&codeferry::relay::script::worker(&pages).expect("a script"), &lanes);
    for person in 0..60 {
        cloud.visit(
            &person.to_string(),
            START + person * 50,
            &callback(person, (person % 2) as u8),
        );
    }
    cloud.run(START + 200_000);
    keeps_the_limits(&cloud.posts());
    everybody_told_arrives(&cloud, 91_000);
}
