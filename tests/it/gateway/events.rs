//! Events that come twice, late, odd, huge or in floods. The gateway's words are hints: nothing hangs on any of them.

use std::time::Duration;

use codeferry::simulator::gateway::GatewayFault;
use codeferry::simulator::{Endpoint, Fault, FaultRule, PostAuthor, PostRequest};
use serde_json::{Value, json};

use super::case::{Beset, Case, slow, survive};

/// The poll comes after a minute: the gateway's own events must do.
const fn hinted(kind: &'static str, strike: fn(&Beset) -> Vec<String>) -> Case {
    Case {
        kind,
        poll_every: "1m",
        within: Duration::from_secs(3),
        strike,
    }
}

/// What the events were worth is found by reading.
const fn read(kind: &'static str, strike: fn(&Beset) -> Vec<String>) -> Case {
    Case {
        kind,
        poll_every: "1s",
        within: Duration::from_secs(8),
        strike,
    }
}

/// Posts a code whose own event is withheld, and answers it with its event's data.
fn unheard(beset: &Beset) -> (String, Value) {
    let before = beset.status().withheld;
    beset.gateway(GatewayFault::Withhold { count: 1 });
    let (channel, webhook) = beset.site.lane(0);
    let person = crate::service::test_support::PERSON + beset.site.simulator.summary().codes as u64;
    let approved = beset.site.approved(person);
    let content = beset.site.message(std::slice::from_ref(&approved));
    let id = beset.site.post(0, content.clone());
    assert_eq!(beset.status().withheld, before + 1);
    let data = json!({"id": id.to_string(), "channel_id": channel.to_string(), "webhook_id": webhook.to_string(),
        "content": content, "guild_id": beset.site.about.guild_id, "type": 0});
    (approved.0, data)
}

/// Posts codes whose events come with these fields added or changed.
fn with_fields(beset: &Beset, fields: &[(&str, Value)]) -> Vec<String> {
    let odd = fields.iter().map(|(field, value)| {
        let (code, mut data) = unheard(beset);
        data[*field] = value.clone();
        beset.site.simulator.publish("MESSAGE_CREATE", data);
        code
    });
    odd.collect()
}

fn raw(beset: &Beset, frame: &Value) {
    let text = frame.to_string();
    beset.gateway(GatewayFault::Raw { text });
}

/// Posts a code whose event comes as a frame of one's own.
fn framed(beset: &Beset, frame: impl Fn(Value) -> Value) -> String {
    let (code, data) = unheard(beset);
    raw(beset, &frame(data));
    code
}

fn delivery(beset: &Beset, fault: Fault) {
    beset
        .site
        .simulator
        .faults()
        .add(FaultRule::on(Endpoint::Webhook, fault));
}

#[test]
fn no_event_that_is_odd_late_or_doubled_costs_a_code() {
    survive(&[
        hinted("events: each twice", |b| {
            delivery(b, Fault::DeliverTwice);
            b.post(10)
        }),
        hinted("events: out of order", |b| {
            let faults = b.site.simulator.faults();
            for ms in [1_200, 800, 400] {
                faults.add(FaultRule::on(Endpoint::Webhook, Fault::DeliverLate { ms }).times(1));
            }
            b.post(8)
        }),
        hinted("events: unknown and odd fields", |b| {
            with_fields(
                b,
                &[
                    ("type", json!("a new kind")),
                    ("embeds", json!({"a": "list before"})),
                    ("author", json!(null)),
                    ("timestamp", json!(17)),
                    ("mentions", json!("nobody")),
                    ("id_of_something", json!([1, {"deep": 1e300}])),
                    ("flags", json!("18446744073709551616")),
                ],
            )
        }),
        hinted("events: unknown kinds and opcodes", |b| {
            for frame in [
                json!({"op": 0, "s": 1_000, "t": "A_NEW_KIND", "d": {"id": 7}}),
                json!({"op": 99, "d": {"what": "is this"}}),
                json!({"op": 0, "s": 1_001, "t": "MESSAGE_CREATE", "d": {"content": "without an id"}}),
                json!({"op": 0, "s": 1_002, "t": "MESSAGE_CREATE", "d": null}),
            ] {
                raw(b, &frame);
            }
            b.post(4)
        }),
        read("events: s is null or missing", |b| {
            let null = framed(b, |d| json!({"op": 0, "s": null, "t": "MESSAGE_CREATE", "d": d}));
            let missing = framed(b, |d| json!({"op": 0, "t": "MESSAGE_CREATE", "d": d}));
            let jump = framed(b, |d| json!({"op": 0, "s": 4_000_000, "t": "MESSAGE_CREATE", "d": d}));
            let mut codes = vec![null, missing, jump];
            codes.extend(b.post(3));
            codes
        }),
        read("events: not JSON, not text", |b| {
            for text in ["{", "", "[]", "\u{0}", "null", "{\"op\": \"ten\"}"] {
                b.gateway(GatewayFault::Raw { text: text.to_owned() });
            }
            b.post(4)
        }),
        read("events: frames of 5 and 20 MB", |b| {
            let mut codes = Vec::new();
            for megabytes in [5, 20] {
                let filling = "x".repeat(megabytes << 20);
                codes.push(framed(b, |mut d| {
                    d["filling"] = json!(filling);
                    json!({"op": 0, "s": 1_000, "t": "MESSAGE_CREATE", "d": d})
                }));
                codes.extend(b.post(2));
            }
            codes
        }),
        read("events: a flood of messages", |b| {
            let (channel, _) = b.site.lane(0);
            let talk = |n| PostRequest::new(channel, PostAuthor::OtherBot, format!("talk {n}"));
            let (rounds, each) = (20_u64, if slow() { 1_000 } else { 100 });
            let mut codes = Vec::new();
            for round in 0..rounds {
                for n in 0..each {
                    b.site
                        .simulator
                        .post(talk(round * each + n))
                        .expect("the channel exists");
                }
                codes.extend(b.site.sign_in(100 + round, 1));
            }
            codes
        }),
    ]);
}
