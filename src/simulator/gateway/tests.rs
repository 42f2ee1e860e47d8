//! The gateway without sockets: sessions, replay and blanking. Real clients are tried in the integration tests.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::hub::Out;
use super::*;

struct World;

impl Directory for World {
    fn bot(&self, token: &str) -> Option<BotIdentity> {
        (token == "good").then(|| BotIdentity {
            user: json!({ "id": "9", "username": "door" }),
            application_id: 1,
            application_flags: 0,
            guilds: vec![json!({ "id": "5", "name": "Lab" })],
        })
    }
    fn may_view(&self, channel_id: u64) -> bool {
        channel_id != 666
    }
}

fn gateway() -> Gateway {
    Gateway::new(
        GatewaySettings {
            replay_events: 4,
            ..GatewaySettings::default()
        },
        Arc::new(World),
    )
}

fn frames(out: &mut UnboundedReceiver<Out>) -> Vec<Value> {
    let mut frames = Vec::new();
    while let Ok(Out::Text(text)) = out.try_recv() {
        frames.push(serde_json::from_str(&text).expect("JSON"));
    }
    frames
}

fn message(channel: &str, mentions: Value) -> Dispatch {
    let data = json!({ "channel_id": channel, "guild_id": "5", "content": "hello", "mentions": mentions, "author": { "id": "7" } });
    Dispatch {
        kind: "MESSAGE_CREATE",
        data,
        intents: 512,
    }
}

#[test]
fn wrong_tokens_and_intents_are_closed_with_their_codes() {
    let check = |d: Value, want: u16| {
        let gateway = gateway();
        let (out, _in) = unbounded_channel();
        let id = gateway.connect(out.clone());
        let got = gateway.identify(id, &out, &d);
        assert!(
            matches!(got, Err(Out::Close(Some(code))) if code == want),
            "{d}: {got:?}"
        );
    };
    check(json!({ "token": "bad", "intents": 513 }), 4004);
    check(json!({ "token": "Bot good" }), 4013);
    check(json!({ "token": "good", "intents": 1_u64 << 40 }), 4013);
    check(json!({ "token": "good", "intents": 512 | 1 << 15 }), 4014);
    check(json!({ "token": "good", "intents": 2 }), 4014);
}

#[test]
fn content_comes_only_with_a_mention_and_hidden_channels_say_nothing() {
    let gateway = gateway();
    let (out, mut received) = unbounded_channel();
    let id = gateway.connect(out.clone());
    gateway
        .identify(id, &out, &json!({ "token": "Bot good", "intents": 513 }))
        .expect("identifies");
    let kinds: Vec<_> = frames(&mut received).iter().map(|f| f["t"].clone()).collect();
    assert_eq!(kinds, [json!("READY"), json!("GUILD_CREATE")]);
    gateway.publish(message("4", json!([])));
    gateway.publish(message("4", json!([{ "id": "9" }])));
    gateway.publish(message("666", json!([{ "id": "9" }])));
    gateway.publish(Dispatch {
        intents: 4096,
        ..message("4", json!([]))
    });
    let contents: Vec<_> = frames(&mut received)
        .iter()
        .map(|f| f["d"]["content"].clone())
        .collect();
    assert_eq!(contents, [json!(""), json!("hello")]);
}

#[test]
fn a_resumed_session_gets_what_it_missed_and_an_overrun_one_does_not() {
    let gateway = gateway();
    let (out, mut received) = unbounded_channel();
    let id = gateway.connect(out.clone());
    gateway
        .identify(id, &out, &json!({ "token": "good", "intents": 512 }))
        .expect("identifies");
    let session = frames(&mut received)[0]["d"]["session_id"].clone();
    gateway.disconnect(id, false);
    gateway.publish(message("4", json!([])));
    gateway.fault(GatewayFault::Withhold { count: 1 });
    gateway.publish(message("4", json!([])));
    gateway.publish(message("4", json!([])));
    let again = gateway.connect(out.clone());
    let resume = json!({ "token": "good", "session_id": session, "seq": 1 });
    gateway.resume(again, &out, &resume).expect("resumes");
    let replayed: Vec<_> = frames(&mut received)
        .iter()
        .map(|f| (f["s"].clone(), f["t"].clone()))
        .collect();
    let message_create = json!("MESSAGE_CREATE");
    assert_eq!(
        replayed,
        [
            (json!(2), message_create.clone()),
            (json!(3), message_create),
            (json!(4), json!("RESUMED"))
        ]
    );
    for _ in 0..9 {
        gateway.publish(message("4", json!([])));
    }
    assert!(matches!(gateway.resume(again, &out, &resume), Err(Out::Text(t)) if t.contains("\"op\":9")));
    assert!(matches!(
        gateway.resume(
            again,
            &out,
            &json!({ "token": "good", "session_id": session, "seq": 999 })
        ),
        Err(Out::Close(Some(4007)))
    ));
}
