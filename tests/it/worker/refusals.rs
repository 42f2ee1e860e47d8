//! What Discord refuses, and codes that expire: other codes do not wait, and the relay tells the service.

use std::collections::BTreeSet;

use serde_json::json;

use super::cloud::{Cloud, Post, START, callback, code, webhook};
use super::plan::{codes, everybody_told_arrives};

#[test]
fn limits_of_every_shape_pause_what_they_name_and_lose_nothing() {
    let shapes = [
        // The channel's own, in a body, in a header, in milliseconds.
        (
            "{ via: 'v', 'retry-after': '3' }",
            "{\"retry_after\":2.5}",
            2_500,
            false,
        ),
        ("{ via: 'v', 'retry-after': '3' }", "nothing", 3_000, false),
        (
            "{ via: 'v', 'retry-after': '2500' }",
            "{\"retry_after\":2.5}",
            2_500,
            false,
        ),
        ("{ via: 'v' }", "{}", 5_000, false),
        ("{ via: 'v', 'x-ratelimit-reset-after': '4' }", "{}", 4_000, false),
        // Everything: global, and Discord's edge.
        (
            "{ via: 'v', 'retry-after': '3' }",
            "{\"retry_after\":3,\"global\":true}",
            3_000,
            true,
        ),
        (
            "{ via: 'v', 'retry-after': '3', 'x-ratelimit-scope': 'global' }",
            "{}",
            3_000,
            true,
        ),
        ("{ 'content-type': 'text/html' }", "<h1>1015</h1>", 60_000, true),
        ("{ 'retry-after': '30' }", "error code: 1015", 30_000, true),
    ];
    for (headers, body, wait, everything) in shapes {
        let cloud = Cloud::new(2, 18);
        cloud.js(&format!(
            "answers = ({{ clock, webhook }}) => clock < {START} + 200 && webhook === '{}' \
             ? {{ status: 429, headers: {headers}, body: {} }} : null",
            webhook(0),
            json!(body)
        ));
        cloud.visit("1", START, &callback(1, 0));
        cloud.visit("2", START + 500, &callback(2, 1));
        cloud.visit("3", START + 600, &callback(3, 0));
        cloud.run(START + 90_000);
        let arrived = codes(&cloud);
        assert_eq!(arrived.len(), 3, "{headers} {body}");
        let answered = START + 150;
        let first = arrived.iter().map(|(at, _)| *at).min().expect("one");
        if everything {
            assert!(
                (answered + wait..answered + wait + 200).contains(&first),
                "{headers} {body}: {}",
                first - START
            );
        } else {
            // The other lane carries at once what this one cannot.
            assert!(first < answered + 200, "{headers} {body}: {}", first - START);
            let own = cloud
                .posts()
                .into_iter()
                .filter(|p| p.webhook == webhook(0) && p.status == 200);
            let own = own.map(|post| post.at).min();
            assert!(own.is_none_or(|at| at >= answered + wait), "{headers} {body}: {own:?}");
        }
    }
}

#[test]
fn a_deleted_webhook_is_named_its_codes_go_through_another_lane_and_it_comes_back() {
    let cloud = Cloud::new(2, 18);
    cloud.js(&format!(
        "answers = ({{ clock, webhook }}) => clock < {START} + 40_000 && webhook === '{}' \
         ? {{ status: 404, body: '{{\"code\":10015}}' }} : null",
        webhook(0)
    ));
    for person in 0..40 {
        cloud.visit(&person.to_string(), START + person * 2_500, &callback(person, 0));
    }
    cloud.run(START + 200_000);
    everybody_told_arrives(&cloud, 3_000);
    let posts = cloud.posts();
    let own: Vec<&Post> = posts.iter().filter(|post| post.webhook == webhook(0)).collect();
    assert_eq!(own.iter().filter(|post| post.status == 404).count(), 1, "asked once");
    assert!(
        own.iter().filter(|post| post.status == 200).count() > 10,
        "and used again"
    );
    let looks = cloud.value("looks.length");
    assert_eq!(looks, 3, "every 15 s, until it is there");
    let errors: Vec<String> = cloud
        .said()
        .into_iter()
        .filter(|(_, level, _)| level == "error")
        .map(|s| s.2)
        .collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].contains(&webhook(0)) && !errors[0].contains("token-of"),
        "{errors:?}"
    );
    assert!(cloud.said().iter().any(|(_, _, text)| text.ends_with("works again")));
}

#[test]
fn a_text_that_discord_refuses_takes_nobody_else_with_it() {
    let cloud = Cloud::new(1, 18);
    cloud.js(&format!(
        "answers = ({{ body, clock }}) => clock < {START} + 1_000 ? {{ status: 500, body: '' }} \
         : body.includes('{}') ? {{ status: 400, body: '{{\"code\":50035}}' }} : null",
        code(3)
    ));
    for person in 0..6 {
        cloud.visit(&person.to_string(), START + person, &callback(person, 0));
    }
    cloud.run(START + 60_000);
    let arrived: BTreeSet<String> = codes(&cloud).into_iter().map(|(_, code)| code).collect();
    let expected: BTreeSet<String> = (0..6).filter(|person| *person != 3).map(code).collect();
    assert_eq!(arrived, expected);
    assert_eq!(
        cloud.value("[...kept.keys()].filter((key) => key.startsWith('line:')).length"),
        0
    );
}

#[test]
fn a_code_that_dies_is_told_and_after_ten_minutes_nobody_is() {
    let cloud = Cloud::new(1, 18);
    cloud.js(&format!(
        "answers = ({{ clock }}) => clock < {START} + 130_000 ? {{}} : null"
    ));
    cloud.visit("1", START, &callback(1, 0));
    cloud.run(START + 200_000);
    let told = cloud.lines();
    assert_eq!(told.len(), 1);
    assert_eq!(
        told[0].1.result.as_ref().map_err(ToString::to_string).err().as_deref(),
        Some("relay_expired")
    );
    assert!(told[0].0 < START + 150_000);

    let cloud = Cloud::new(1, 18);
    cloud.js("answers = () => ({})");
    cloud.visit("1", START, &callback(1, 0));
    cloud.run(START + 720_000);
    let before = cloud.posts().len();
    cloud.run(START + 2_000_000);
    assert_eq!(cloud.posts().len(), before, "nobody waits for the word any more");
    assert!(cloud.said().iter().any(|(_, _, text)| text.contains("were dropped")));
    assert_eq!(
        cloud.value("[...kept.keys()].filter((key) => key.startsWith('line:')).length"),
        0
    );
}
